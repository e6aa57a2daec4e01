"""What goes over a connection: events, waits, and the connection's early end.

In: payloads from `responses` and `chat`. Out: the bytes of one server-sent event (WHATWG HTML 9.2.5).
Knows nothing of APIs, faults or sockets.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

Json = dict[str, Any]

DELTA = "delta"
"""Kind of a frame that carries a piece of the answer: text, refusal, tool call."""
FINISH = "finish"
"""Kind of the terminal event; on Chat, of the chunk with the finish_reason."""
DONE = "done"
"""Kind of Chat's closing `[DONE]`."""

# ensure_ascii=False as OpenAI sends it; an encoder made once takes half the time of json.dumps.
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_text(value: object) -> str:
    """JSON without blanks, in raw UTF-8; a lone surrogate stays an escape, since UTF-8 cannot carry it."""
    text = _COMPACT(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


@dataclass(frozen=True, slots=True)
class Frame:
    """One event: `data` is a JSON object, or text that is sent as it is.

    `event` is the `event:` line ("" for none), `kind` one of DELTA, FINISH, DONE or "", `field` the name of the line
    that carries the data; with field "" the data is the whole body of a reply that is not a stream.
    """

    data: Json | str
    event: str = ""
    kind: str = ""
    field: str = "data"

    @property
    def text(self) -> str:
        """The data as it is sent."""
        return self.data if isinstance(self.data, str) else json_text(self.data)

    def encode(self) -> bytes:
        """The event's bytes, its blank line included."""
        if not self.field:
            return self.text.encode()
        name = f"event: {self.event}\n" if self.event else ""
        return f"{name}{self.field}: {self.text}\n\n".encode()

    def numbered(self, number: int) -> Frame:
        """The same event with another sequence number, if it has one."""
        if isinstance(self.data, str) or "sequence_number" not in self.data:
            return self
        return replace(self, data={**self.data, "sequence_number": number})


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is sent for so many seconds (infinity: until the other side goes)."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends here, before its time.

    `kind` as in the script; `part` is sent before it, as the beginning of `promised` bytes where a chunk is left open.
    """

    kind: str
    part: bytes = b""
    promised: int = 0


Item = Frame | Wait
Wire = bytes | Wait | Cut


@dataclass(frozen=True, slots=True)
class Tape:
    """The events of one answer, by number from 0. An endless one repeats its deltas for ever."""

    frames: tuple[Frame, ...]
    endless: bool = False

    def at(self, number: int) -> Frame | None:
        """The event of that number; None after the last."""
        if not self.endless:
            return self.frames[number] if number < len(self.frames) else None
        deltas = [n for n, frame in enumerate(self.frames) if frame.kind == DELTA] or [0]
        if number <= deltas[-1]:
            return self.frames[number]
        again = deltas[(number - deltas[-1] - 1) % len(deltas)]
        return self.frames[again].numbered(number)

    def play(self, pace: float) -> Iterator[Item]:
        """All events, `pace` seconds apart."""
        if not self.endless:
            return _spaced(self.frames, pace)
        return _spaced(_existing(map(self.at, itertools.count())), pace)


def _existing(frames: Iterable[Frame | None]) -> Iterator[Frame]:
    return (frame for frame in frames if frame is not None)


def _spaced(frames: Iterable[Frame], pace: float) -> Iterator[Item]:
    for n, frame in enumerate(frames):
        if n and pace:
            yield Wait(pace)
        yield frame
