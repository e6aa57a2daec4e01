"""What is known of an answer before it comes, and the parts that read one by it.

In: what the request asks for. Out: a decoder for a body, a reply for its events. Refuses to know of attempts.
"""

from __future__ import annotations

from typing import Any

from oastream.apis.api import Api
from oastream.events.decode import Decoder
from oastream.events.reply import Reply
from oastream.output.formats import Format


class AnswerSettings:
    """`choices` is how many answers the request asks for; `max_tokens` is its --max-output-tokens.

    `keep_text` tells whether the answer's text is needed after it was printed; `request_fields` are the fields of a
    response that repeat the request, for an API whose own chunks do not; `tool_names` are those of the tools that the
    request offers, None when they are not known.
    """

    def __init__(
        self,
        api: Api,
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

    def new_decoder(self, output_format: Format, shows_events: bool) -> Decoder:
        """`shows_events` says that somebody looks at each event by itself."""
        keep_text = output_format.repeats_text or self._keep_text
        dialect = self._api.new_dialect(self._choices, keep_text, self._request_fields)
        # Of deltas that were joined the server's own JSON is left, one event a line; of translated ones there is none.
        joins_deltas = not shows_events and (self._api.has_own_events or not output_format.prints_events)
        return Decoder(dialect, self._max_event_bytes, joins_deltas)

    def new_reply(self, output_format: Format) -> Reply:
        keep_text = output_format.assembles or self._keep_text
        limit = self._max_tokens if self._choices == 1 else None  # of several, nobody knows which one used them up
        return Reply(limit, output_format.prints_deltas, keep_text, self._tool_names)
