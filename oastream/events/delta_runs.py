"""Events in a row that differ in nothing but their delta are read as one, with all their deltas in it.

In: the bytes of a stream, from where an event begins. Out: one event for several, its delta theirs joined, and where
the next one begins; none where the bytes are not exactly that. Refuses to know any API: which field of an event is the
delta, and whether the event says nothing else, is for the `Dialect` to say.

A server that is faster than we are has hundreds of such events sent when we read. One by one, each of them takes 28,000
instructions until its text is written, and together 10,000. `test_delta_runs` holds this way to the long one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from oastream.events.fields import Event
from oastream.events.sse import split_block
from oastream.lenient_json import parse_json

LoneDelta = tuple[str, str]
"""The field that holds the delta of an event which says nothing else, and the delta."""

_MOST_SHAPES = 8
"""Shapes that are learned of one stream: `re` keeps the patterns of all."""
_LONGEST_EVENT = 2048
"""Bytes of an event whose shape is learned: of longer ones few come at once."""
_FEWEST = 4
"""Events of that size that a piece must have room for, to be looked at."""

# What may differ from one event to the next. Whatever of it stands in its place, the event is as valid as the first,
# and nobody looks at it but for the delta.
_NUMBER = rb"(?:0|[1-9]\d{0,17}+)"
_PADDING = rb"[ !#-\[\]-~]*+"
# A delta must not begin within a character of UTF-8: joined to the one before it, it would complete that.
_DELTA = rb'(?![\x80-\xbf])((?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))++)'
# Such a name behind a brace, a comma or a space is one: within a text, a backslash would precede its quotes.
_PLACES = rb'(?<=[{, ])"(%b|obfuscation|sequence_number|created)": ?(?:"((?:[^"\\]|\\.)*+)"|([1-9]\d*+)(?=[,} ]))'
_PROBE = "another delta"


class DeltaRun(NamedTuple):
    """`events` of them as one, which end at `end`. `lines` are the data of each as it was sent, one a line."""

    kind: bytes
    data: bytes
    lines: bytes
    events: int
    end: int


class _Shape(NamedTuple):
    """What events have in common: what precedes their data, the data around the delta, a blank line."""

    kind: bytes
    frame: bytes
    before: bytes
    after: bytes
    blank_line: bytes
    pattern: re.Pattern[bytes]


class DeltaRuns:
    """Finds the runs in one stream, once it has learned what they look like."""

    __slots__ = ("_find_lone_delta", "_learned", "_shape", "_size")

    def __init__(self, find_lone_delta: Callable[[Event], LoneDelta | None]) -> None:
        self._find_lone_delta = find_lone_delta
        self._shape: _Shape | None = None
        self._size = 0
        self._learned = 0

    def may_be_in(self, chunk: bytes) -> bool:
        """Whether to look for a run in these bytes."""
        return self._shape is not None and len(chunk) >= self._size

    def end_of_event(self, chunk: bytes) -> int:
        """Where the event ends that `chunk` begins within; 0 if that does not end there."""
        if self._shape is None:
            return 0
        blank_line = self._shape.blank_line
        at = chunk.find(blank_line)
        return at + len(blank_line) if at >= 0 else 0

    def find(self, chunk: bytes, begin: int) -> DeltaRun | None:
        """The run that begins at `begin`, where an event must begin."""
        shape = self._shape
        if shape is None:
            return None
        found = shape.pattern.findall(chunk, begin)
        end = len(chunk)
        if found and found[-1][1]:
            end -= len(found.pop()[1])
        if not found:
            return None
        data = b"".join([shape.before, *(delta for delta, _ in found), shape.after])
        first, last = begin + len(shape.frame), end - len(shape.blank_line)
        lines = chunk[first:last].replace(shape.blank_line + shape.frame, b"\n")
        return DeltaRun(shape.kind, data, lines, len(found), end)

    def learn(self, chunk: bytes) -> None:
        """Learn what the events of a run look like from the last whole one of `chunk`, which has been read."""
        if self._learned == _MOST_SHAPES:
            return
        blank_line = b"\r\n\r\n" if b"\r\n\r\n" in chunk else b"\n\n"
        parts = chunk.rsplit(blank_line, 2)
        if len(parts) < 3 or len(parts[1]) > _LONGEST_EVENT:
            return
        shape = self._shape_of(parts[1], blank_line)
        if shape is not None:
            self._shape = shape
            self._size = _FEWEST * (len(parts[1]) + len(blank_line))
            self._learned += 1

    def _shape_of(self, block: bytes, blank_line: bytes) -> _Shape | None:
        """The shape of an event, None where it says more than its delta."""
        newline = blank_line[: len(blank_line) // 2]
        lines = block.replace(newline, b"\n")
        if b"\r" in lines:
            return None  # it ends a line, too, and is no part of the data
        kind, data = split_block(lines + b"\n\n")
        lone = self._lone_delta_in(data)
        if lone is None:
            return None
        places = _places(data, lone[0].encode())
        deltas = [(begin, end) for begin, end, what in places if what is _DELTA]
        if len(deltas) != 1:
            return None
        before, after = data[: deltas[0][0]], data[deltas[0][1] :]
        if not (before.isascii() and after.isascii()):
            return None
        if self._lone_delta_in(b"".join([before, _PROBE.encode(), after])) != (lone[0], _PROBE):
            return None  # it was found in a field of that name, but not in the one that counts
        frame = block[: -len(data)]
        pattern = re.escape(frame) + _pattern(data, places) + re.escape(blank_line) + rb"|(?s:(.+))"
        return _Shape(kind, frame, before, after, blank_line, re.compile(pattern))

    def _lone_delta_in(self, data: bytes) -> LoneDelta | None:
        try:
            event = parse_json(data)
        except ValueError:
            return None
        return self._find_lone_delta(event) if isinstance(event, dict) else None


_Place = tuple[int, int, bytes]
"""Where in the data something may differ, and the pattern of what may stand there."""


def _places(data: bytes, field: bytes) -> list[_Place]:
    places = []
    for found in re.finditer(_PLACES % field, data):
        name, text, number = found.groups()
        if name == field and text is not None:
            places.append((*found.span(2), _DELTA))
        elif name == b"obfuscation" and text is not None:
            places.append((*found.span(2), _PADDING))
        elif name not in (field, b"obfuscation") and number is not None:
            places.append((*found.span(3), _NUMBER))
    return places


def _pattern(data: bytes, places: list[_Place]) -> bytes:
    """A pattern for data that differs in these places alone."""
    pattern, at = b"", 0
    for begin, end, what in places:
        pattern += re.escape(data[at:begin]) + what
        at = end
    return pattern + re.escape(data[at:])
