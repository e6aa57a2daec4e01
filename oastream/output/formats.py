"""Events → the bytes of one format. One class per format, one entry in `FORMATS`.

In: events, the text they add, the body's raw bytes; at the end the `Reply` that they made up, which assembles text,
calls and response. Out: bytes that `take` gives, for the attempt to write.
Refuses to know where events come from and where bytes go. The command line takes the formats' names and words from
here, so this module must not import what --help does without: orjson loads with the first format that is used.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, ClassVar

from oastream.display import escape_controls, escape_json_controls
from oastream.exits import Verdict, error_fields
from oastream.surrogates import join_surrogates

if TYPE_CHECKING:
    from oastream.events.reply import Reply

Event = dict[str, Any]

FLUSH_AT = 1 << 16
"""A line longer than this goes out before the next is made: the events that end an answer repeat all of its text."""


class Format:
    """Bytes that wait to be written. `sanitized` is for a terminal: what could steer it is shown as text.

    Its attributes are what the rest of a run must know of a format, each with what most formats have.
    """

    name: ClassVar[str] = ""
    """What --format calls it."""
    summary: ClassVar[str] = ""
    """What is printed, and when: a sentence, which begins its entry in the man page."""

    prints_deltas = True
    """Whether text is printed as it comes, and cannot be taken back."""
    repeats_text = False
    """Whether events that repeat the whole text are part of the output."""
    prints_events = False
    """Whether each event is printed by itself."""
    assembles = False
    """Whether the assembled response is needed at the end."""
    wants_rest_of_body = False
    """Whether the bytes that follow the terminal event are part of the output."""

    def __init__(self, sanitized: bool) -> None:
        from oastream.lenient_json import dumps  # not for --help

        self._dumps = dumps
        self._sanitized = sanitized
        self._pending: list[bytes] = []
        self.is_full = False
        """Whether so much is ready that no more should be added before it is taken."""

    def take(self) -> bytes:
        """The bytes that are ready, once."""
        data = b"".join(self._pending)
        self._pending.clear()
        self.is_full = False
        return data

    def add_chunk(self, data: bytes) -> None:
        """Take a piece of the body as it came."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        """Take an event, the server's own JSON of it if there is one, and the text it adds to the answer."""

    def add_record(self, record: Event) -> None:
        """Take a record of oastream's own."""

    def complete(self, reply: Reply) -> None:
        """The answer is complete, plain or not. Raises `Failure` when what is printed now is not whole."""

    def find_lack(self, reply: Reply) -> Verdict | None:
        """What a complete answer lacks of what the format prints, as a verdict; None if nothing. Follows `complete`."""
        return None

    def _add_value(self, value: Any) -> None:
        self._add_json(self._dumps(value))

    def _add_json(self, line: bytes) -> None:
        if self._sanitized:
            line = escape_json_controls(line.decode()).encode()
        self._pending += (line, b"\n")
        if len(line) > FLUSH_AT:
            self.is_full = True

    def _encode(self, text: str) -> bytes:
        if self._sanitized:
            text = escape_controls(text)
        return text.encode()


class TextFormat(Format):
    """The answer's text and nothing else."""

    name = "text"
    summary = "The text of the answer, as it arrives."

    def __init__(self, sanitized: bool) -> None:
        super().__init__(sanitized)
        self._texts: list[str] = []
        self._last = "\n"
        """The last character that was taken; an answer without text gets no newline."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if text:
            self._texts.append(text)

    def take(self) -> bytes:
        if not self._texts:
            return b""
        # Joined before they are encoded: a read brings some hundred deltas of a few characters each.
        text = "".join(self._texts)
        self._texts.clear()
        self._last = text[-1]
        return self._encode(text)

    def complete(self, reply: Reply) -> None:
        last = self._last
        if self._texts:
            last = self._texts[-1]
        if not last.endswith("\n"):
            self._texts.append("\n")


class NdjsonFormat(Format):
    """One event per line: the server's own JSON where it is one of the vocabulary, and oastream's records."""

    name = "ndjson"
    summary = "One event per line, as it arrives."
    prints_events = True
    repeats_text = True

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if raw is None:  # translated from Chat, or put right: there is no JSON of the server's that says the same
            self._add_value(event)
        else:
            self._add_json(as_utf8(raw))

    def add_record(self, record: Event) -> None:
        self._add_value(record)


class ToolsFormat(Format):
    """One tool call per line, once all are whole."""

    name = "tools"
    summary = "One finished tool call per line, once the answer is complete."
    prints_deltas = False

    def complete(self, reply: Reply) -> None:
        for call in list(reply.calls()):  # all or none: the list raises for a broken call before a whole one is added
            self._add_value(call)


class EagerToolsFormat(ToolsFormat):
    """--eager: one tool call per line, each as soon as it is whole."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if event["type"] == "response.output_item.done":
            for call in reply.finished_calls():
                self._add_value(call)

    def complete(self, reply: Reply) -> None:
        for call in reply.unprinted_calls():
            self._add_value(call)


class JsonFormat(Format):
    """The assembled response, one object."""

    name = "json"
    summary = "The assembled response as one object, once the answer is complete."
    prints_deltas = False
    repeats_text = True
    assembles = True

    def complete(self, reply: Reply) -> None:
        self._add_value(reply.response())


class SseFormat(Format):
    """The raw response body."""

    name = "sse"
    summary = "The raw body of the response, as it arrives."
    wants_rest_of_body = True

    def __init__(self, sanitized: bool) -> None:
        super().__init__(sanitized)
        # Only for a terminal: a character may be cut between two pieces of the body.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add_chunk(self, data: bytes) -> None:
        if self._sanitized:
            data = self._encode(self._decoder.decode(data))
        self._pending.append(data)


class SseEventsFormat(SseFormat):
    """--background and --resume: the events of a body that may come in several streams, each whole, framed anew, once.

    The bytes of those bodies, one after the other, would be no event stream: half an event at the end of one would run
    into the next, and a stream that is resumed may repeat some.
    """

    wants_rest_of_body = False

    def add_chunk(self, data: bytes) -> None:
        """Nothing: events are what is printed."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if raw is None:
            data = self._dumps(event)
        else:
            data = as_utf8(raw)
        kind = str(event["type"]).encode("utf-8", "replace")
        super().add_chunk(b"event: %s\ndata: %s\n\n" % (kind, data))


class ResponseIdFormat(Format):
    """--detach: the id of the response, once the server has named it."""

    def __init__(self, sanitized: bool) -> None:
        super().__init__(sanitized)
        self._is_printed = False

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if reply.response_id and not self._is_printed:
            self._is_printed = True
            self._pending.append(self._encode(join_surrogates(reply.response_id)) + b"\n")


FORMATS: dict[str, type[Format]] = {
    each.name: each for each in (TextFormat, NdjsonFormat, ToolsFormat, JsonFormat, SseFormat)
}
"""What --format takes, in the order in which help and completions name it."""


def as_utf8(data: bytes) -> bytes:
    """The server's JSON with U+FFFD for what is not UTF-8. ASCII, as nearly every server sends, takes no copy."""
    if data.isascii():
        return data
    return data.decode("utf-8", "replace").encode()


def end_record(verdict: Verdict, exit_status: int, figures: Event) -> Event:
    """The last record of NDJSON, in every outcome."""
    error = None if verdict.has_answer else error_fields(verdict)
    head = {"type": "oastream:end", "exit": exit_status, "outcome": verdict.outcome.value}
    return {**head, **figures, "error": error}
