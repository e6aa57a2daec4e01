"""What is known of an answer before it comes, and the parts that read one by it.

In: what the request asks for. Out: a decoder for a body, a reply for its events. Refuses to know of attempts.
"""

from __future__ import annotations

from typing import Any

from oastream.events.decode import Decoder, Dialect
from oastream.events.reply import Reply
from oastream.output.formats import Format


def load_dialect(api: str) -> None:
    """Import what reads the events of an API: at the start, while nobody waits, and not what reads those of the other.

    Chat's takes 4 million instructions, nearly 2 % of a whole 20-event answer over the Responses API.
    """
    if api == "chat":
        import oastream.events.chat_dialect
    else:
        import oastream.events.responses_dialect  # noqa: F401 - loaded is all it must be


class AnswerSettings:
    """`choices` is how many answers the request asks for; `max_tokens` is its --max-output-tokens.

    `keep_text` tells whether the answer's text is needed after it was printed; `request_fields` are the fields of a
    response that repeat the request, for an API whose own chunks do not; `tool_names` are those of the tools that the
    request offers, None when they are not known.
    """

    def __init__(
        self,
        api: str,
        max_event_bytes: int,
        choices: int,
        max_tokens: int | None,
        keep_text: bool,
        request_fields: dict[str, Any] | None,
        tool_names: frozenset[str] | None,
    ) -> None:
        self._api = api
        self._max_event_bytes = max_event_bytes
        self._choices = choices
        self._max_tokens = max_tokens
        self._keep_text = keep_text
        self._request_fields = request_fields
        self._tool_names = tool_names

    def new_decoder(self, output_format: Format) -> Decoder:
        return Decoder(self._new_dialect(output_format), self._max_event_bytes)

    def _new_dialect(self, output_format: Format) -> Dialect:
        if self._api != "chat":
            from oastream.events.responses_dialect import ResponsesDialect

            return ResponsesDialect()
        from oastream.events.chat_dialect import ChatDialect

        keep_text = output_format.repeats_text or self._keep_text
        return ChatDialect(self._choices, keep_text, self._request_fields)

    def new_reply(self, output_format: Format) -> Reply:
        keep_text = output_format.assembles or self._keep_text
        limit = self._max_tokens if self._choices == 1 else None  # of several, nobody knows which one used them up
        return Reply(limit, output_format.prints_deltas, keep_text, self._tool_names)
