"""The chunks of Chat Completions, as events of the Responses API.

In: the type and data of a raw event. Out: the events that its chunk is translated into, none of which is the server's
own JSON. Refuses to know what a chunk means (`chat` does), except for errors. Once the answer is complete nothing can
fail it: what is broken after that ends it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oastream.events.api_error import ApiError, event_error
from oastream.events.chat import ChatTranslator, CurrentText
from oastream.events.chat_fields import lone_delta, lone_text
from oastream.events.decode import DecodedEvent, Dialect
from oastream.events.fields import Event, dicts_in
from oastream.events.json_body import is_done_marker, parse_event
from oastream.exits import Failure, Outcome, failure_of

if TYPE_CHECKING:
    from oastream.events.delta_runs import LoneDelta

_LEARN_AFTER = 8
"""Chunks of text before one is learned, which takes as long as one; twice as many each time that it is not the last."""
_PROBE = "another text"
_KnownChunk = tuple[CurrentText, bytes, bytes]
"""A chunk of text: where its text belongs, and the bytes before and after it."""
_ERROR_FIELDS = ("code", "message", "type", "detail", "status")
"""The fields of an error that is the chunk itself."""


class ChatDialect(Dialect):
    """Reads chunks. `request_fields` are the fields of a response that repeat the request: no chunk has them."""

    __slots__ = ("_has_ended", "_known", "_pause", "_request_fields", "_translator", "_unknown", "hint")

    knows_chunks = True
    """Whether a chunk that differs from another in its text alone need not be looked at."""

    def __init__(self, choices: int = 1, keep_text: bool = True, request_fields: Event | None = None) -> None:
        self.hint = ""
        self._request_fields = request_fields
        self._translator = ChatTranslator(choices, keep_text, request_fields)
        self._has_ended = False
        """Whether the terminal event, or the error, has been given."""
        self._known: _KnownChunk | None = None
        self._unknown = 0
        """Chunks of text that were not known, since the last one was learned."""
        self._pause = _LEARN_AFTER

    @property
    def is_settled(self) -> bool:
        return self._translator.is_settled

    @property
    def is_complete(self) -> bool:
        return self._translator.is_complete

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent]:
        if self._known is not None and not kind and (text := self._known_text(*self._known, data)):
            return _without_raw(self._translator.lone_text_events(text))
        if is_done_marker(data):
            return self._finish()
        try:
            chunk = self.read_chunk(data, kind)
            if not kind and (events := self._translator.text_only_events(chunk)) is not None:
                self._learn(data)
                return _without_raw(events)
            if kind.startswith(b"response."):
                self.hint = "these are events of the Responses API; try --api responses"
            if not self.is_complete and (error := event_error(chunk, kind.decode("utf-8", "replace"))) is not None:
                return self._fail(error, chunk)
            return self._translate(chunk)
        except Failure:
            if not self.is_complete:
                raise
            return self._finish()

    # Chunks that differ in their text alone -----------------------------------------------------------------------

    def _known_text(self, belongs: CurrentText, before: bytes, after: bytes, data: bytes) -> str:
        """The text of a chunk that is the known one but for its text; "" for any other.

        What it saves, parsing and `lone_text`, is 12,000 of the 47,000 instructions that a line of NDJSON takes.
        """
        if not (data.startswith(before) and data.endswith(after)) or self._translator.current_text != belongs:
            return ""
        try:
            text = data[len(before) : -len(after)].decode()
        except UnicodeDecodeError:
            return ""
        # What ends a text, or stands for something else in it, is not plain; nor is what JSON allows in no text.
        if '"' in text or "\\" in text or not text.isprintable():
            return ""
        return text

    def _learn(self, data: bytes) -> None:
        """Learn a chunk of text from one that was translated. Each time fails that the next is tried later."""
        self._unknown += 1
        if self._unknown < self._pause or not self.knows_chunks:
            return
        self._unknown = 0
        self._pause *= 2
        belongs = self._translator.current_text
        text = lone_text(self.read_chunk(data, b""), None).encode("utf-8", "replace")
        before, quote, after = data.partition(b'"%b"' % text)
        if belongs is None or not quote:
            return
        before, after = before + b'"', b'"' + after
        if self._is_text_between(before, after, belongs[3]):
            self._known = belongs, before, after

    def _is_text_between(self, before: bytes, after: bytes, choice_number: int | None) -> bool:
        """Whether what stands between these bytes is the text of a chunk that says nothing else."""
        try:
            probe = self.read_chunk(b"".join([before, _PROBE.encode(), after]), b"")
        except Failure:  # the text was `,` or the like, and was found between two quotes that are no text's
            return False
        return lone_text(probe, choice_number) == _PROBE

    def read_chunk(self, data: bytes, kind: bytes) -> Event:
        """The chunk in an event's data. Raises `Failure`. The place where something else may look at each."""
        return parse_event(data, kind)[0]

    def lone_delta(self, chunk: Event) -> LoneDelta | None:
        return lone_delta(chunk)

    def decode_answer(self, answer: Event) -> Sequence[DecodedEvent] | None:
        if not isinstance(answer.get("choices"), list):
            return None
        complete = ChatDialect(len(answer["choices"]), request_fields=self._request_fields)
        # An answer in one piece is complete, whatever its finish_reason says.
        return [*complete._translate(answer), *complete._finish()]

    def close(self) -> Sequence[DecodedEvent]:
        if self.is_complete:
            return self._finish()
        return ()

    def _finish(self) -> Sequence[DecodedEvent]:
        """The events that end the answer, once."""
        if self._has_ended:
            return ()
        self._has_ended = True
        return _without_raw(self._translator.close())

    def _fail(self, error: ApiError, chunk: Event) -> Sequence[DecodedEvent]:
        """The events that end an answer that failed, in the server's word."""
        self._has_ended = True
        return _without_raw(self._translator.fail(_error_fields(error, chunk)))

    def _translate(self, chunk: Event) -> Sequence[DecodedEvent]:
        try:
            return _without_raw(self._translator.feed(chunk))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise failure_of(Outcome.MALFORMED, "a chunk has a field of the wrong type", error) from error


def _without_raw(events: list[Event]) -> Sequence[DecodedEvent]:
    return [(event, None) for event in events]


def _error_fields(error: ApiError, chunk: Event) -> Event:
    """The fields of the API's error event; `error` keeps what the server said."""
    given = _given_error(chunk) or {"message": error.message, "code": error.code, "status": error.status}
    return {"code": error.name, "message": error.message, "param": error.param, "error": given}


def _given_error(chunk: Event) -> Event:
    """The error in a chunk: a field, as words or as an object; the same in a choice; or the chunk itself."""
    given = chunk.get("error")
    if isinstance(given, dict) and given:
        return given
    if given:
        return {"message": given}
    for choice in dicts_in(chunk.get("choices")):
        error = choice.get("error")
        if isinstance(error, dict):
            return error
    return {name: value for name, value in chunk.items() if name in _ERROR_FIELDS}
