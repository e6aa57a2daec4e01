"""Events → the bytes of one format. One small class a format.

In: events, the text they add, the body's raw bytes. Out: bytes that `take` gives, for the attempt to write.
Where events come from, and where bytes go, is not known here.
"""

from __future__ import annotations

import codecs
from typing import Any

from oastream.events.reply import Reply
from oastream.exits import Verdict
from oastream.lenient_json import dumps
from oastream.text import escaped, visible, whole

Event = dict[str, Any]


FLUSH_AT = 1 << 16
"""A line longer than this goes out before the next is made: the events that end an answer repeat all of its text."""


class Format:
    """What the formats share: bytes that wait to be written. `sanitized` is for a terminal."""

    wants_rest_of_body = False
    """Whether the bytes that follow the terminal event belong to the output."""
    prints_deltas = True
    """Whether text is printed as it comes, and cannot be taken back."""
    repeats_text = False
    """Whether events that repeat the whole text are part of the output."""
    assembles = False
    """Whether the assembled response is needed at the end."""

    def __init__(self, sanitized: bool) -> None:
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
        """A piece of the body as it came."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        """An event, the server's own JSON of it if there is one, and the text it adds to the answer."""

    def add_record(self, record: Event) -> None:
        """A record of oastream's own."""

    def complete(self, reply: Reply) -> None:
        """The answer is complete, plain or not. Raises `Failure` when what is printed now is not whole."""

    def _add_value(self, value: Any) -> None:
        line = dumps(value)
        self._add_line(escaped(line.decode()).encode() if self._sanitized else line)

    def _add_line(self, line: bytes) -> None:
        self._pending += (line, b"\n")
        if len(line) > FLUSH_AT:
            self.is_full = True


class TextFormat(Format):
    """The answer's text and nothing else."""

    def __init__(self, sanitized: bool) -> None:
        super().__init__(sanitized)
        self._texts: list[str] = []
        self._last = "\n"

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if text:
            self._texts.append(text)

    def take(self) -> bytes:
        if not self._texts:
            return b""
        text = "".join(self._texts)
        self._texts.clear()
        self._last = text[-1]
        return (visible(text) if self._sanitized else text).encode()

    def complete(self, reply: Reply) -> None:
        if (self._texts[-1] if self._texts else self._last)[-1] != "\n":
            self._texts.append("\n")


class NdjsonFormat(Format):
    """One event a line: the server's own JSON where it is one of the vocabulary, and oastream's records."""

    repeats_text = True

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if raw is None:
            self._add_value(event)
        else:
            raw = on_one_line(raw)
            self._add_line(escaped(raw.decode()).encode() if self._sanitized else raw)

    def add_record(self, record: Event) -> None:
        self._add_value(record)


class ToolsFormat(Format):
    """One tool call a line, once all are whole."""

    prints_deltas = False

    def complete(self, reply: Reply) -> None:
        for call in list(reply.calls()):  # all or none
            self._add_value(call)


class EagerToolsFormat(ToolsFormat):
    """One tool call a line, each as soon as it is whole."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if event["type"] == "response.output_item.done":
            for call in reply.finished_calls():
                self._add_value(call)

    def complete(self, reply: Reply) -> None:
        for call in reply.unprinted_calls():
            self._add_value(call)


class JsonFormat(Format):
    """The assembled response, one object."""

    prints_deltas = False
    repeats_text = True
    assembles = True

    def complete(self, reply: Reply) -> None:
        self._add_value(reply.response())


class SseFormat(Format):
    """The body as it came."""

    wants_rest_of_body = True

    def __init__(self, sanitized: bool) -> None:
        super().__init__(sanitized)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add_chunk(self, data: bytes) -> None:
        self._pending.append(visible(self._decoder.decode(data)).encode() if self._sanitized else data)


class SseEventsFormat(SseFormat):
    """The events of a body that may come in several streams: each whole, framed anew, once."""

    wants_rest_of_body = False

    def add_chunk(self, data: bytes) -> None:
        """Half an event at the end of one stream must not run into the next."""

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        data = dumps(event) if raw is None else on_one_line(raw)
        super().add_chunk(b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode("utf-8", "replace"), data))


class ResponseIdFormat(Format):
    """The id of the response, once the server has named it: --detach."""

    def __init__(self, sanitized: bool) -> None:
        super().__init__(sanitized)
        self._printed = False

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        if reply.response_id and not self._printed:
            self._printed = True
            ident = whole(reply.response_id)
            self._pending.append(f"{visible(ident) if self._sanitized else ident}\n".encode())


FORMATS: dict[str, type[Format]] = {
    "text": TextFormat,
    "ndjson": NdjsonFormat,
    "tools": ToolsFormat,
    "json": JsonFormat,
    "sse": SseFormat,
}


def on_one_line(data: bytes) -> bytes:
    """The server's JSON on one line: between tokens, the only place where JSON has newlines, a space means the same."""
    if not data.isascii():
        data = data.decode("utf-8", "replace").encode()
    return data.replace(b"\n", b" ") if b"\n" in data else data


def end_record(verdict: Verdict, exit_status: int, figures: Event) -> Event:
    """The last record of NDJSON, in every outcome."""
    head = {"type": "oastream:end", "exit": exit_status, "outcome": verdict.outcome.value}
    return {**head, **figures, "error": None if verdict.answered else error_fields(verdict)}


def error_fields(verdict: Verdict) -> Event:
    """What went wrong, for a program to read."""
    return {
        "kind": verdict.outcome.value,
        "message": verdict.message,
        "status": verdict.http_status,
        "code": verdict.code,
        "request_id": verdict.request_id,
        "retryable": verdict.retryable,
        "retry_after": verdict.retry_after,
    }
