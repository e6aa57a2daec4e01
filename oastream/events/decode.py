"""A body's bytes → events of one vocabulary, the Responses API's, whichever API the server speaks.

In: bytes in pieces. Out: `DecodedEvent`s, or a `Failure` for what is not an answer. Finds out what the body is
(`body_kind`): an event stream goes event by event through a `Dialect`, which knows the API; a JSON document is one
answer, or an error. Does no I/O, and refuses to know what any event means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from oastream.display import one_line
from oastream.events import sse
from oastream.events.api_error import error_verdict, event_error, read_error
from oastream.events.body_kind import (
    BYTE_ORDER_MARK,
    DOCUMENT,
    EVENTS,
    SHOWN_BYTES,
    UNKNOWN,
    is_event_stream,
    kind_of_body,
)
from oastream.events.fields import Event, Fields, dict_or_empty
from oastream.events.json_body import is_complete_event, malformed, web_page
from oastream.exits import Failure, Outcome, failure_of
from oastream.lenient_json import parse_json

if TYPE_CHECKING:
    from oastream.events.delta_runs import DeltaRuns, LoneDelta

_AT_ONCE = 4
"""Events in one piece from which on runs of them are looked for: fewer are read as quickly one by one."""
_LEARN_AFTER = 128
"""Events that arrive so, and are read one by one, before it is learned what runs look like.

That takes 3 million instructions, as long as reading them took: a short answer is not slower for it.
"""

DecodedEvent = tuple[Event, bytes | None]
"""An event, and the server's own JSON of it on one line, where that is the event word for word.

Where deltas were joined, the JSON is that of each event, one a line.
"""


class Dialect:
    """How the events of one API are read. A third API is a third class like this."""

    __slots__ = ()

    hint: str
    """What may be wrong when the body ends without an answer."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer is complete without a terminal event, so that nothing that goes wrong later counts."""
        return False

    @property
    def is_settled(self) -> bool:
        """Whether it is complete, and nothing but trailing data can be expected."""
        return False

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent]:
        """The events that a raw event stands for. `kind` is its type, empty when the stream named none."""
        raise NotImplementedError

    def close(self) -> Sequence[DecodedEvent]:
        """The events that the end of the body completes."""
        return ()

    def lone_delta(self, event: Event) -> LoneDelta | None:
        """The delta of an event that says nothing else, so that two of them say as much as one with both deltas."""
        return None

    def decode_answer(self, answer: Fields) -> Sequence[DecodedEvent] | None:
        """The events of an answer that came in one piece, None for JSON that is none.

        Not asked about the Responses API's own, which needs no translation.
        """
        raise NotImplementedError


class Decoder:
    """Decodes one body. `joins_deltas` says that events in a row may be given as one, with all their deltas in it."""

    __slots__ = (
        "_dialect",
        "_held",
        "_joins_deltas",
        "_kind",
        "_limit",
        "_opening",
        "_parser",
        "_runs",
        "_unlearned",
        "is_unfinished",
        "payloads",
    )

    def __init__(self, dialect: Dialect, max_event_bytes: int, joins_deltas: bool = False) -> None:
        self._dialect = dialect
        self._limit = max_event_bytes
        self._parser = sse.Parser(max_event_bytes)
        self._joins_deltas = joins_deltas
        self._runs: DeltaRuns | None = None
        self._unlearned = 0  # events that were read one by one since it was learned what runs look like
        self._kind = UNKNOWN
        self._held = bytearray()  # the body so far, while its kind is unknown, and all of a document
        self._opening = b""  # of a stream, to judge it if no event comes of it
        self.payloads = 0
        """Events received, `[DONE]` included."""
        self.is_unfinished = False
        """Whether the body was one JSON object: a response that the server is still working on."""

    @property
    def is_settled(self) -> bool:
        """Whether the answer is complete, and nothing but trailing data can be expected."""
        return self._dialect.is_settled

    @property
    def is_complete(self) -> bool:
        """Whether the answer is complete, so that nothing that goes wrong from now on counts."""
        return self._dialect.is_complete

    @property
    def comments(self) -> int:
        return self._parser.comments

    @property
    def hint(self) -> str:
        """What may be wrong when the body ends without an answer."""
        return self._dialect.hint

    def feed(self, chunk: bytes) -> Iterator[DecodedEvent]:
        """The events that `chunk` completes."""
        if self._runs is not None and self._runs.may_be_in(chunk) and len(chunk) <= self._limit:
            return self._read_with_runs(self._runs, chunk)
        return self._read(chunk)

    def _read(self, chunk: bytes) -> Iterator[DecodedEvent]:
        if self._kind != EVENTS:
            chunk = self._hold_until_known(chunk)
        if not chunk:
            return
        decode = self._dialect.feed
        events = self._parser.feed(chunk)
        for kind, data in events:
            if not data.isspace():
                self.payloads += 1
                for decoded in decode(kind, data):  # noqa: UP028 - `yield from` takes 130 instructions more an event
                    yield decoded
        if self.payloads:
            self._opening = b""
        if self._parser.has_overflowed:
            if not self.is_complete:
                raise self._too_large()
            yield from self._dialect.close()
        elif self._joins_deltas and len(events) >= _AT_ONCE:
            self._unlearned += len(events)
            if self._unlearned >= _LEARN_AFTER:
                self._learn_runs(chunk)

    def _learn_runs(self, chunk: bytes) -> None:
        """Learn what runs look like from the last events that have been read."""
        self._unlearned = 0
        if self._runs is None:
            from oastream.events.delta_runs import DeltaRuns  # not for answers of a few events

            self._runs = DeltaRuns(self._dialect.lone_delta)
        self._runs.learn(chunk)

    def _read_with_runs(self, runs: DeltaRuns, chunk: bytes) -> Iterator[DecodedEvent]:
        """The event that earlier pieces began, the run of deltas that follows, and the rest one by one."""
        begin = 0
        if not self._parser.is_between_events:
            begin = runs.end_of_event(chunk)
            yield from self._read(chunk[:begin])
            if self._parser.has_overflowed:
                return
        if self._parser.is_between_events and (run := runs.find(chunk, begin)) is not None:
            begin = run.end
            self.payloads += run.events
            for event, raw in self._dialect.feed(run.kind, run.data):
                yield event, raw and run.lines
        yield from self._read(chunk[begin:])

    def close(self, truncated: bool = False) -> Iterator[DecodedEvent]:
        """What the end of the body completes: an event without its blank line counts if its data is complete.

        `truncated` says that the body's framing promised more: a document that does not parse is then only a beginning.
        """
        if self._kind == DOCUMENT and self._held:
            document = bytes(self._held)
            self._held.clear()  # the document may take 16 MiB: twice is enough
            yield from self._decode_document(document, truncated)
        for kind, data in self._parser.close():
            if is_complete_event(data):
                self.payloads += 1
                yield from self._dialect.feed(kind, data)
        if self._opening and not self.payloads and not truncated and not is_event_stream(self._opening):
            raise failure_of(Outcome.NOT_API, "the server sent neither events nor JSON", _beginning(self._opening))
        yield from self._dialect.close()

    # Before the first event --------------------------------------------------------------------------------------

    def _hold_until_known(self, chunk: bytes) -> bytes:
        """Hold back a body until its first character tells what it is, then a document to its end.

        Returns what the event parser may read.
        """
        self._held += chunk
        if self._kind == DOCUMENT:
            if len(self._held) > self._limit:
                raise self._too_large()
            return b""
        if len(self._held) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(self._held):
            return b""
        beginning = bytes(self._held).removeprefix(BYTE_ORDER_MARK).lstrip(b"\r\n")
        self._kind = kind_of_body(beginning)
        text = beginning.lstrip()
        if self._kind == UNKNOWN:
            self._held = bytearray(beginning)  # without the blank lines: a gzip may hold 200 MiB of them
            return b""
        if self._kind == DOCUMENT:
            self._held = bytearray(text)
            return b""
        self._held.clear()
        self._opening = text[:SHOWN_BYTES]
        return beginning

    def _too_large(self) -> Failure:
        return failure_of(Outcome.MALFORMED, "an event is too large", f"over --max-event-bytes {self._limit}")

    # A document --------------------------------------------------------------------------------------------------

    def _decode_document(self, document: bytes, truncated: bool) -> Iterator[DecodedEvent]:
        """A body that is not an event stream: an answer or an error as JSON, a page, or events after a stray line."""
        try:
            value = parse_json(document)
        except ValueError:
            if not truncated:
                yield from self._decode_after_stray_line(document)
            return
        self.payloads += 1
        yield from self._decode_answer(value, document)

    def _decode_after_stray_line(self, document: bytes) -> Iterator[DecodedEvent]:
        events = self._parser.feed(document + b"\n\n")
        if not events and document.startswith(b"<"):
            raise web_page(document)
        if not events:
            raise malformed("the answer is not JSON", document)
        for kind, data in events:
            self.payloads += 1
            yield from self._dialect.feed(kind, data)

    def _decode_answer(self, value: Any, document: bytes) -> Iterator[DecodedEvent]:
        """The events of an answer in one piece, from a server that ignored `stream`, say."""
        fields = dict_or_empty(value)
        is_failed_response = fields.get("object") == "response" and fields.get("status") == "failed"
        error = event_error(value) if isinstance(value, dict) else read_error(value)
        if error is not None and not is_failed_response:  # a failed response is an answer, and tells of its error
            raise Failure(error_verdict(error))
        translated = self._dialect.decode_answer(fields)
        if translated is not None:
            yield from translated
        elif isinstance(fields.get("output"), list):
            yield from self._decode_response(fields)
        else:
            summary = "the server sent JSON that is not an answer"
            raise failure_of(Outcome.NOT_API, summary, _beginning(document[:SHOWN_BYTES]))

    def _decode_response(self, response: Fields) -> Iterator[DecodedEvent]:
        status = response.get("status")
        if status in ("queued", "in_progress"):
            self.is_unfinished = True
            yield {"type": f"response.{status}", "response": response}, None
            raise failure_of(Outcome.INTERRUPTED, "the answer is not complete", f"the server calls it {status}")
        if status not in ("incomplete", "failed"):
            status = "completed"
        yield {"type": f"response.{status}", "response": response}, None


def _beginning(data: bytes) -> str:
    return one_line(data.decode("utf-8", "replace"), 80)
