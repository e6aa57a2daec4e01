"""What a server can do wrong, as changes to a stream of events.

In: the events of an answer and one `Fault`. Out: bytes to send, pauses, and the point where the connection ends.
Every fault is one small generator; `apply_faults` strings together those that the `Fault` asks for.
Knows nothing of APIs, scripts or sockets.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from oastream.exits import Outcome
from oastream.mock.answer import Answer
from oastream.mock.errors import ErrorShape
from oastream.mock.events import Cut, CutKind, Event, EventKind, EventSequence, Item, Json, Pause, Wire

HALF = -1
"""An event's number that stands for the middle of the answer's text, until `resolve_half` has seen the events."""
KEEP_ALIVE = b": keep-alive\n\n"
BROKEN_JSON = '{"type": "broken", "delta": '
DEADLINE_PACE = 0.1
"""Seconds between the events of an endless answer that was given no pace."""

ErrorEvents = Callable[[int], list[Event]]
"""The events that report an error, from a sequence number on."""


class AttemptKind(enum.StrEnum):
    """Which requests an attempt is counted with; the values are those of the key `on`."""

    STREAM = "stream"  # the answer itself, streamed or not, and the stream of a background response
    POLL = "poll"
    CANCEL = "cancel"


class Framing(enum.StrEnum):
    """How the end of a body is signalled (RFC 9112 6.3); the values are those of the key `framing`."""

    CHUNKED = "chunked"
    LENGTH = "length"
    CLOSE = "close"


class Numbering(enum.StrEnum):
    """What becomes of Responses' sequence numbers; the values are those of the key `sequence`."""

    NONE = "none"
    CONSTANT = "constant"  # 0 in every event, which says nothing of their order


class BackgroundReply(enum.StrEnum):
    """How a request for a background response is misunderstood; the values are those of the key `background`."""

    QUEUED = "queued"  # one JSON object, to be polled, also where a stream was asked for
    IGNORED = "ignored"  # answered in the foreground


class Fault(NamedTuple):
    """What happens to one attempt. Names and meanings as in `keys.KEYS`; every default is good behaviour."""

    on: AttemptKind = AttemptKind.STREAM
    end: Outcome = Outcome.STOP
    reply: Answer | None = None
    pace: float = 0.0
    delay: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    body: str | None = None
    raw: str | None = None
    framing: Framing | None = None
    stall_after: int | None = None
    stall: float = math.inf
    comments: float | None = None
    drip: float | None = None
    cut_events: int | None = None
    cut_bytes: int | None = None
    cut: CutKind = CutKind.FIN
    duplicate: tuple[int, ...] = ()
    skip: tuple[int, ...] = ()
    reorder: tuple[int, ...] = ()
    malformed: int | None = None
    huge: int | None = None
    error: ErrorShape | None = None
    after: int = 0
    code: str | None = None
    type: str | None = None
    message: str | None = None
    no_done: bool = False
    no_finish: bool = False
    keep_open: bool = False
    sequence: Numbering | None = None
    endless: bool = False
    replay: bool = True
    background: BackgroundReply | None = None


def resolve_half(fault: Fault, events: Iterable[Event]) -> Fault:
    """The fault with `half` replaced by the number of the event after the middle delta of these events."""
    wants_half = [name for name in ("stall_after", "cut_events", "malformed", "after") if getattr(fault, name) == HALF]
    if not wants_half:
        return fault
    places: dict[str, Any] = dict.fromkeys(wants_half, _place_after_middle(tuple(events)))
    return fault._replace(**places)


def _place_after_middle(events: tuple[Event, ...]) -> int:
    deltas = [number for number, event in enumerate(events) if event.kind is EventKind.DELTA]
    if not deltas:
        return len(events) // 2
    return deltas[(len(deltas) - 1) // 2] + 1


def apply_faults(items: Iterable[Item], fault: Fault, error_events: ErrorEvents) -> Iterator[Wire]:
    """The events as they go over the wire."""
    # The order of the stages counts. Events are changed before any is left out, so that a number in a script always
    # means the event that the answer has there; an error and a stall are placed among those that are left.
    for names, stage in _EVENT_STAGES.items():
        if any(_is_wanted(fault, name) for name in names):
            items = stage(items, fault)
    if fault.error is not None:
        items = end_in_error(items, fault.after, error_events)
    if fault.stall_after is not None and fault.drip is None:  # a drip begins there instead
        items = _stall(items, fault.stall_after, fault.stall)
    wire: Iterable[Wire] = _encode(items)
    for name, wire_stage in _WIRE_STAGES.items():
        if _is_wanted(fault, name):
            wire = wire_stage(wire, fault)
    return iter(wire)


def _is_wanted(fault: Fault, name: str) -> bool:
    """Whether a key was given: 0 is a place like any other."""
    value = getattr(fault, name)
    return value is not None and value is not False and value != ()


def end_in_error(items: Iterable[Item], after: int, error_events: ErrorEvents) -> Iterator[Item]:
    """The first `after` events, then those that report an error."""
    last = -1
    for number, item in _with_numbers(items):
        if number >= after and isinstance(item, Event):
            break
        last = _sequence_number(item, last)
        yield item
    yield from error_events(last + 1)


def body_length(sequence: EventSequence, fault: Fault, error_events: ErrorEvents) -> int:
    """Bytes that the whole body would have: what `framing = "length"` promises, whatever is cut later."""
    uncut = fault._replace(cut_events=None, cut_bytes=None, comments=None, drip=None, stall_after=None, keep_open=False)
    wire = apply_faults(sequence.events, uncut, error_events)
    return sum(len(item) for item in wire if isinstance(item, bytes))


# --- changes of events; they are counted as they come in


def _with_numbers(items: Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """Each event with its number from 0; a pause has the number of the event after it."""
    number = 0
    for item in items:
        yield number, item
        number += isinstance(item, Event)


def _break_json(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    for number, item in _with_numbers(items):
        if number == fault.malformed and isinstance(item, Event):
            item = item._replace(data=BROKEN_JSON)
        yield item


def _pad_delta(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    """The first delta is padded as OpenAI pads, in a field that nobody reads, so the answer stays what it is."""
    size = cast(int, fault.huge)
    for item in items:
        if size and isinstance(item, Event) and item.kind is EventKind.DELTA:
            item = _pad(item, size)
            size = 0
        yield item


def _pad(event: Event, size: int) -> Event:
    bare = {**cast(Json, event.data), "obfuscation": ""}
    room = size - len(event._replace(data=bare).text.encode())
    return event._replace(data={**bare, "obfuscation": "x" * max(room, 0)})


def _rearrange(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    """Events left out, sent twice, or sent after the one that follows them."""
    held: list[Item] = []
    for number, item in _with_numbers(items):
        if isinstance(item, Pause):
            yield item
        elif number in fault.reorder:
            held.append(item)
        elif number not in fault.skip:
            yield item
            if number in fault.duplicate:
                yield item
            yield from held
            held.clear()
    yield from held  # one that nothing follows


def _renumber(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Pause) or isinstance(item.data, str):
            yield item
        elif fault.sequence is Numbering.CONSTANT:
            yield item.renumber(0)
        else:
            data = {key: value for key, value in item.data.items() if key != "sequence_number"}
            yield item._replace(data=data)


def _leave_out(kind: EventKind) -> Callable[[Iterable[Item], Fault], Iterator[Item]]:
    def stage(items: Iterable[Item], fault: Fault) -> Iterator[Item]:
        return (item for item in items if isinstance(item, Pause) or item.kind is not kind)

    return stage


def _sequence_number(item: Item, last: int) -> int:
    """That of this event, or the last one that there was: Chat's events and changed ones may have none."""
    if isinstance(item, Pause) or isinstance(item.data, str):
        return last
    return int(item.data.get("sequence_number", last))


def _stall(items: Iterable[Item], after: int, seconds: float) -> Iterator[Item]:
    is_pending = True
    for number, item in _with_numbers(items):
        if is_pending and number >= after and isinstance(item, Event):
            is_pending = False
            yield Pause(seconds)
        yield item
    if is_pending:  # a place behind the last event: the body does not end in time
        yield Pause(seconds)


# The keys that ask for it → the change.
_EVENT_STAGES: dict[tuple[str, ...], Callable[[Iterable[Item], Fault], Iterator[Item]]] = {
    ("malformed",): _break_json,
    ("huge",): _pad_delta,
    ("duplicate", "skip", "reorder"): _rearrange,
    ("no_finish",): _leave_out(EventKind.FINISH),
    ("no_done",): _leave_out(EventKind.DONE),
    ("sequence",): _renumber,
}


# --- changes of bytes; until `drip`, one item is one event


def _encode(items: Iterable[Item]) -> Iterator[Wire]:
    for item in items:
        if isinstance(item, Event):
            yield item.encode()
        else:
            yield item


def _cut_after_events(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    left = cast(int, fault.cut_events)
    for item in wire:
        if isinstance(item, bytes):
            if not left:
                # Half of the next event is inside the chunk that breaks off; the other ways end between events.
                begun = 0
                if fault.cut is CutKind.CHUNK:
                    begun = len(item) // 2
                yield Cut(fault.cut, item[:begun], len(item))
                return
            left -= 1
        yield item


def _cut_after_bytes(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    left = cast(int, fault.cut_bytes)
    for item in wire:
        if isinstance(item, bytes):
            if len(item) > left:
                yield Cut(fault.cut, item[:left], len(item))
                return
            left -= len(item)
        yield item


def _drip(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    left = fault.stall_after or 0
    for item in wire:
        if isinstance(item, bytes) and left <= 0:
            yield from _byte_by_byte(item, cast(float, fault.drip))
            continue
        left -= isinstance(item, bytes)
        yield item


def _byte_by_byte(item: bytes, seconds: float) -> Iterator[Wire]:
    for place in range(len(item)):
        yield item[place : place + 1]
        yield Pause(seconds)


def _add_comments(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    """A comment whenever `comments` seconds went by without an event; several pauses in a row count as one."""
    interval = cast(float, fault.comments)
    quiet = 0.0  # seconds since something was sent
    for item in wire:
        if not isinstance(item, Pause):
            quiet = 0.0
            yield item
            continue
        left = item.seconds
        while quiet + left >= interval:
            yield Pause(interval - quiet)
            yield KEEP_ALIVE
            left -= interval - quiet
            quiet = 0.0
        yield Pause(left)
        quiet += left


def _keep_open(wire: Iterable[Wire], fault: Fault) -> Iterator[Wire]:
    yield from wire
    yield Pause(math.inf)


# In this order: a cut counts whole events, so it comes before they are single bytes; one that counts bytes comes last,
# so that comments count too.
_WIRE_STAGES: dict[str, Callable[[Iterable[Wire], Fault], Iterator[Wire]]] = {
    "cut_events": _cut_after_events,
    "drip": _drip,
    "keep_open": _keep_open,
    "comments": _add_comments,
    "cut_bytes": _cut_after_bytes,
}
