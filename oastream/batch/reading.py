"""What reads the reply to one request of a batch, and makes of it the object that the API sends without `stream`.

In: an API, the limits of a run; then bytes, through `Answer`. Out: verdict, text and calls by the single run's own
rules, and the object as JSON. Does no I/O.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from oastream.batch.completion import CompletionBuilder
from oastream.batch.lazy import KeptBytes, LazyDecoder, LazyResponsesDialect
from oastream.events.answer import Answer, Limits
from oastream.events.api_error import error_verdict, event_error, read_error
from oastream.events.chat_dialect import ChatDialect
from oastream.events.decode import DecodedEvent, Decoder
from oastream.events.items import CALLS
from oastream.events.json_body import parse_document
from oastream.events.reply import Reply
from oastream.events.responses_dialect import ResponsesDialect
from oastream.exits import Failure, Outcome, failure_of
from oastream.lenient_json import dumps

Event = dict[str, Any]


class Reading:
    """One reply as it is read. `document` has its body, for a request whose answer comes in one piece."""

    __slots__ = ("_lazy", "answer", "completion", "document")

    def __init__(
        self,
        answer: Answer,
        completion: CompletionBuilder | None = None,
        in_one_piece: bool = False,
        lazy: LazyResponsesDialect | None = None,
    ) -> None:
        self._lazy = lazy
        self.answer = answer
        self.completion = completion
        self.document: bytearray | None = bytearray() if in_one_piece else None

    def catch_up(self) -> None:
        """Let the reply have what was kept raw: the answer broke off, and what there is of it counts."""
        if self._lazy is None:
            return
        with contextlib.suppress(Failure):  # the one that ended it counts
            for event, _ in self._lazy.close():
                self.answer.reply.feed(event)

    def body(self) -> bytes:
        """The answer as the API has it without `stream`."""
        reply = self.answer.reply
        if self.document is not None and self.document.lstrip().startswith(b"{"):
            return bytes(self.document)
        if self.completion is None:
            return dumps(reply.response())
        calls = [item for item in reply.response()["output"] if item["type"] in CALLS]
        return dumps(self.completion.build(calls))


class CompletionDialect(ChatDialect):
    """Reads chunks, and puts the completion together on the way."""

    __slots__ = ("completion",)

    knows_chunks = False  # the completion needs each

    def __init__(self, choices: int) -> None:
        super().__init__(choices, keep_text=False)  # the reply keeps it
        self.completion = CompletionBuilder()

    def read_chunk(self, data: bytes, kind: bytes) -> Event:
        chunk = super().read_chunk(data, kind)
        self.completion.add(chunk)
        return chunk

    def decode_answer(self, answer: Event) -> Any:
        if isinstance(answer.get("choices"), list):
            self.completion.add(answer)
        return super().decode_answer(answer)


class PlainDecoder(Decoder):
    """Reads the reply of an endpoint that does not stream, such as /embeddings: any JSON object that is no error."""

    __slots__ = ("_body", "_most")

    def __init__(self, max_bytes: int) -> None:
        super().__init__(ResponsesDialect(), max_bytes)
        self._body = bytearray()
        self._most = max_bytes

    def feed(self, chunk: bytes) -> Iterator[DecodedEvent]:
        self._body += chunk
        if len(self._body) > self._most:
            raise failure_of(Outcome.MALFORMED, "the reply is too large", f"over --max-event-bytes {self._most}")
        return iter(())

    def close(self, truncated: bool = False) -> Iterator[DecodedEvent]:
        if truncated or not self._body:
            return
        value = parse_document(bytes(self._body), "the reply")
        error = event_error(value) if isinstance(value, dict) else read_error(value)
        if error is not None:
            raise Failure(error_verdict(error))
        if not isinstance(value, dict):
            raise failure_of(Outcome.NOT_API, "the server sent JSON that is not an object")
        self.payloads += 1
        response = {"status": "completed", "output": [{"type": "document"}], "usage": value.get("usage")}
        yield {"type": "response.completed", "response": response}, None


class Reader:
    """Makes what reads a reply. `limits` are those of the run, `max_event_bytes` is the option of that name.

    `is_lazy` is false where every event is to be looked at, as the single run does.
    """

    def __init__(self, limits: Limits, max_event_bytes: int, is_lazy: bool = True) -> None:
        self._kept_bytes = KeptBytes() if is_lazy else None
        self._limits = limits
        self._max_event_bytes = max_event_bytes

    def responses(self, now: float, reply: Reply, in_one_piece: bool) -> Reading:
        if self._kept_bytes is None:
            return self._reading(Decoder(ResponsesDialect(), self._max_event_bytes), now, reply, None, in_one_piece)
        decoder = LazyDecoder(self._kept_bytes, self._max_event_bytes)
        answer = Answer(decoder, reply, self._limits, now)
        return Reading(answer, None, in_one_piece, decoder.dialect)

    def chat(self, now: float, reply: Reply, choices: int, in_one_piece: bool) -> Reading:
        dialect = CompletionDialect(choices)
        return self._reading(Decoder(dialect, self._max_event_bytes), now, reply, dialect.completion, in_one_piece)

    def plain(self, now: float, reply: Reply) -> Reading:
        return self._reading(PlainDecoder(self._max_event_bytes), now, reply, None, True)

    def _reading(
        self, decoder: Decoder, now: float, reply: Reply, completion: CompletionBuilder | None, in_one_piece: bool
    ) -> Reading:
        return Reading(Answer(decoder, reply, self._limits, now), completion, in_one_piece)
