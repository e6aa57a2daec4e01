"""What goes over a connection: events, pauses, and the connection's early end.

In: payloads from `responses` and `chat`. Out: the bytes of one server-sent event (WHATWG HTML 9.2.5), and sequences of
events. Knows nothing of APIs, faults or sockets.
"""

from __future__ import annotations

import enum
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]


class EventKind(enum.Enum):
    """What an event is for. Faults look for events by their kind, since the two APIs name them differently."""

    DELTA = enum.auto()  # a piece of the answer: of its text, its refusal, a tool call's arguments
    FINISH = enum.auto()  # the terminal event; on Chat, the chunk with the finish_reason
    DONE = enum.auto()  # Chat's closing [DONE]
    OTHER = enum.auto()


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


class Event(NamedTuple):
    """One event: `data` is a JSON object, or text that is sent as it is.

    `name` is the `event:` line ("" for none), `field` the name of the line that carries the data. With field "" the
    data is the whole body of a reply that is not a stream, so that such a body passes through the same faults.
    """

    data: Json | str
    name: str = ""
    kind: EventKind = EventKind.OTHER
    field: str = "data"

    @property
    def text(self) -> str:
        """The data as it is sent."""
        if isinstance(self.data, str):
            return self.data
        return json_text(self.data)

    def encode(self) -> bytes:
        """The event's bytes, its blank line included."""
        if not self.field:
            return self.text.encode()
        lines = f"{self.field}: {self.text}\n\n"
        if self.name:
            lines = f"event: {self.name}\n{lines}"
        return lines.encode()

    def renumber(self, number: int) -> Event:
        """The same event with another sequence number, if it has one; Chat's have none."""
        if isinstance(self.data, str) or "sequence_number" not in self.data:
            return self
        return self._replace(data={**self.data, "sequence_number": number})


class Pause(NamedTuple):
    """Nothing is sent for this many seconds (infinity: until the other side goes)."""

    seconds: float


class CutKind(enum.StrEnum):
    """How a connection ends before its time; the values are those of the key `cut`."""

    FIN = "fin"  # the body ends properly: only what it says is incomplete
    DROP = "drop"  # FIN without the last chunk: the client can tell that something is missing
    RST = "rst"  # a reset, which may overtake bytes that were sent before it
    CHUNK = "chunk"  # FIN inside a chunk, whose head has promised more


class Cut(NamedTuple):
    """The connection ends here, before its time; `part` is sent before it, as the beginning of `promised` bytes."""

    kind: CutKind
    part: bytes = b""
    promised: int = 0


Item = Event | Pause
"""What an answer consists of, before it is bytes."""
Wire = bytes | Pause | Cut
"""What the server is given to send."""


class EventSequence(NamedTuple):
    """The events of one answer, by number from 0. An endless one repeats its deltas forever."""

    events: tuple[Event, ...]
    endless: bool = False

    def at(self, number: int) -> Event | None:
        """The event of that number; None after the last.

        A job in the background is read by number from anywhere, so the events of an endless sequence are computed.
        """
        if self.endless:
            return self._repeated_event(number)
        if number < len(self.events):
            return self.events[number]
        return None

    def _repeated_event(self, number: int) -> Event:
        """An event of an endless sequence: after its last delta comes its first one again, with the next number."""
        deltas = [place for place, event in enumerate(self.events) if event.kind is EventKind.DELTA] or [0]
        last = deltas[-1]
        if number <= last:
            return self.events[number]
        place = deltas[(number - last - 1) % len(deltas)]
        return self.events[place].renumber(number)

    def play(self, pace: float) -> Iterator[Item]:
        """All events, `pace` seconds apart."""
        if self.endless:
            return _space_out(map(self._repeated_event, itertools.count()), pace)
        return _space_out(self.events, pace)


def _space_out(events: Iterable[Event], pace: float) -> Iterator[Item]:
    for number, event in enumerate(events):
        if number and pace:  # no pause before the first: that is the key `delay`
            yield Pause(pace)
        yield event
