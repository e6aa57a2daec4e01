"""What a server can do wrong, as changes to a stream of events.

In: the events of an answer and one `Fault`. Out: bytes to send, waits, and the point where the connection ends.
Every fault is one small generator; `bent` strings together those that the `Fault` asks for.
Knows nothing of APIs, scripts or sockets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from oastream.mock.answer import Answer
from oastream.mock.frames import DELTA, DONE, FINISH, Cut, Frame, Item, Json, Tape, Wait, Wire

HALF = -1
"""An event's number that stands for the middle of the answer's text."""
KEEP_ALIVE = b": keep-alive\n\n"
BROKEN_JSON = '{"type": "broken", "delta": '
DEADLINE_PACE = 0.1
"""Seconds between the events of an endless answer that was given no pace."""

Failing = Callable[[int], list[Frame]]
"""The events that report an error, from a sequence number on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one attempt. Keys and meanings as in `script.KEYS`; every default is good behaviour."""

    on: str = "stream"
    end: str = "stop"
    reply: Answer | None = None
    pace: float = 0.0
    delay: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    raw: str | None = None
    framing: str = ""
    stall_after: int | None = None
    stall: float = math.inf
    comments: float | None = None
    drip: float | None = None
    cut_events: int | None = None
    cut_bytes: int | None = None
    cut: str = "fin"
    duplicate: tuple[int, ...] = ()
    skip: tuple[int, ...] = ()
    reorder: tuple[int, ...] = ()
    malformed: int | None = None
    huge: int | None = None
    error: str | None = None
    after: int = 0
    code: str | None = None
    type: str | None = None
    message: str | None = None
    no_done: bool = False
    no_finish: bool = False
    keep_open: bool = False
    sequence: str | None = None
    endless: bool = False
    replay: bool = True
    background: str | None = None


def settled(fault: Fault, frames: Iterable[Frame]) -> Fault:
    """The fault with `half` replaced by the number of the event after the middle delta of these frames."""
    places = ("stall_after", "cut_events", "malformed", "after")
    if not any(getattr(fault, name) == HALF for name in places):
        return fault
    frames = tuple(frames)
    deltas = [n for n, frame in enumerate(frames) if frame.kind == DELTA]
    middle = deltas[(len(deltas) - 1) // 2] + 1 if deltas else len(frames) // 2
    found: dict[str, Any] = {name: middle for name in places if getattr(fault, name) == HALF}
    return replace(fault, **found)


def bent(items: Iterable[Item], fault: Fault, failing: Failing) -> Iterator[Wire]:
    """The events as they go over the wire."""
    for names, stage in _EVENT_STAGES.items():
        if any(_wanted(fault, name) for name in names.split()):
            items = stage(items, fault)
    if fault.error is not None:
        items = failed(items, fault.after, failing)
    if fault.stall_after is not None and fault.drip is None:
        items = _stalled(items, fault.stall_after, fault.stall)
    wire: Iterable[Wire] = (item.encode() if isinstance(item, Frame) else item for item in items)
    for name, wire_stage in _WIRE_STAGES.items():
        if _wanted(fault, name):
            wire = wire_stage(wire, fault)
    return iter(wire)


def _wanted(fault: Fault, name: str) -> bool:
    value = getattr(fault, name)
    return value is not None and value is not False and value != ()


# --- changes of events; they are counted as they come in


def _numbered(items: Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """Each event with its number from 0; a wait has the number of the event after it."""
    number = 0
    for item in items:
        yield number, item
        number += isinstance(item, Frame)


def _changed(items: Iterable[Item], number: int, change: Callable[[Frame], Frame]) -> Iterator[Item]:
    for n, item in _numbered(items):
        yield change(item) if n == number and isinstance(item, Frame) else item


def _malformed(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    return _changed(items, cast(int, fault.malformed), lambda frame: replace(frame, data=BROKEN_JSON))


def _huge(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    """The first delta is padded as OpenAI pads, so the answer stays what it is."""
    size = cast(int, fault.huge)
    for item in items:
        if size and isinstance(item, Frame) and item.kind == DELTA:
            item, size = _padded(item, size), 0
        yield item


def _padded(frame: Frame, size: int) -> Frame:
    bare = {**cast(Json, frame.data), "obfuscation": ""}
    room = size - len(replace(frame, data=bare).text.encode())
    return replace(frame, data={**bare, "obfuscation": "x" * max(room, 0)})


def _shuffled(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    """Events skipped, sent twice, or sent after the one that follows them."""
    held: list[Item] = []
    for n, item in _numbered(items):
        if isinstance(item, Wait):
            yield item
        elif n in fault.reorder:
            held.append(item)
        elif n not in fault.skip:
            yield from [item] * (1 + (n in fault.duplicate))
            yield from held
            held.clear()
    yield from held


def _unnumbered(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Wait) or isinstance(item.data, str):
            yield item
        elif fault.sequence == "constant":
            yield item.numbered(0)
        else:
            yield replace(item, data={k: v for k, v in item.data.items() if k != "sequence_number"})


def _without(kind: str) -> Callable[[Iterable[Item], Fault], Iterator[Item]]:
    def stage(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
        return (item for item in items if isinstance(item, Wait) or item.kind != kind)

    return stage


def failed(items: Iterable[Item], after: int, failing: Failing) -> Iterator[Item]:
    """The first `after` events, then those that report an error."""
    last = -1
    for n, item in _numbered(items):
        if n >= after and isinstance(item, Frame):
            break
        last = _sequence_number(item, last)
        yield item
    yield from failing(last + 1)


def _sequence_number(item: Item, last: int) -> int:
    if isinstance(item, Wait) or isinstance(item.data, str):
        return last
    return int(item.data.get("sequence_number", last))


def _stalled(items: Iterable[Item], after: int, seconds: float) -> Iterator[Item]:
    pending = True
    for n, item in _numbered(items):
        if pending and n >= after and isinstance(item, Frame):
            pending = False
            yield Wait(seconds)
        yield item
    if pending:
        yield Wait(seconds)


# The keys that ask for it -> the change.
_EVENT_STAGES: dict[str, Callable[[Iterable[Item], Fault], Iterator[Item]]] = {
    "malformed": _malformed,
    "huge": _huge,
    "duplicate skip reorder": _shuffled,
    "no_finish": _without(FINISH),
    "no_done": _without(DONE),
    "sequence": _unnumbered,
}


# --- changes of bytes; until `drip`, one item is one event


def _cut_after_events(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    left = cast(int, fault.cut_events)
    for item in wire:
        if isinstance(item, bytes):
            if not left:
                yield _cut(fault.cut, item, len(item) // 2 if fault.cut == "chunk" else 0)
                return
            left -= 1
        yield item


def _cut_after_bytes(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    left = cast(int, fault.cut_bytes)
    for item in wire:
        if isinstance(item, bytes):
            if len(item) > left:
                yield _cut(fault.cut, item, left)
                return
            left -= len(item)
        yield item


def _cut(kind: str, item: bytes, length: int) -> Cut:
    return Cut(kind, item[:length], len(item))


def _dripped(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    left = fault.stall_after or 0
    for item in wire:
        if isinstance(item, bytes) and left <= 0:
            yield from _byte_by_byte(item, cast(float, fault.drip))
            continue
        left -= isinstance(item, bytes)
        yield item


def _byte_by_byte(item: bytes, seconds: float) -> Iterator[Wire]:
    for n in range(len(item)):
        yield item[n : n + 1]
        yield Wait(seconds)


def _commented(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    """A comment whenever `comments` seconds went by without an event; several waits in a row count as one."""
    every = cast(float, fault.comments)
    quiet = 0.0
    for item in wire:
        if not isinstance(item, Wait):
            quiet = 0.0
            yield item
            continue
        left = item.seconds
        while quiet + left >= every:
            yield Wait(every - quiet)
            yield KEEP_ALIVE
            left, quiet = left - (every - quiet), 0.0
        yield Wait(left)
        quiet += left


def _kept_open(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    yield from wire
    yield Wait(math.inf)


_WIRE_STAGES: dict[str, Callable[[Iterable[Wire], Fault], Iterator[Wire]]] = {
    "cut_events": _cut_after_events,
    "drip": _dripped,
    "keep_open": _kept_open,
    "comments": _commented,
    "cut_bytes": _cut_after_bytes,
}


def body_length(tape: Tape, fault: Fault, failing: Failing) -> int:
    """Bytes that the whole body would have: what `framing = "length"` promises, whatever is cut later."""
    calm = replace(fault, cut_events=None, cut_bytes=None, comments=None, drip=None, stall_after=None, keep_open=False)
    return sum(len(item) for item in bent(tape.frames, calm, failing) if isinstance(item, bytes))
