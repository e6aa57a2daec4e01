"""Server-sent events: bytes → events, as WHATWG HTML 9.2.6 defines them.

In: a body's bytes in pieces of any size. Out: `(type, data)` pairs, both bytes, in order.
Does no I/O and refuses to know JSON. Beyond the standard, as real servers need it:
a field named `error` is an event of type error (llama.cpp until 2025-09); a line that is a bare JSON error is one too
(lemonade #2826); and `close` hands out an event that no blank line closed, for the caller to judge.
Left out, since nothing here needs it: `id` and `retry`, with which a browser connects again.
"""

from __future__ import annotations

import re

RawEvent = tuple[bytes, bytes]
"""Type (empty when the stream named none) and data."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_FIELD_NAME = 64
"""What a line that has not ended may be longer than the data in it."""
# A block of lines: the two shapes that servers send, taken apart in one pass, or any other, whole. Nothing in it can be
# matched in two ways (`?+` takes its space or leaves it for good), so that its time grows with the length alone.
_BLOCK = re.compile(rb"(?:event: ?+([^\n]+)\n)?data: ?+([^\n]+)\n\n|((?s:.*?)\n\n|\n)")
_BARE_ERRORS = (b'{"error"', b'{"object":"error"')


def split_block(block: bytes) -> RawEvent:
    """Type and data of an event in one of the usual shapes, blank line included; both empty for any other block."""
    found = _BLOCK.fullmatch(block)
    if found is None or found[2] is None:
        return b"", b""
    return found[1] or b"", found[2]


class Parser:
    """Feeds on chunks, gives the events that they complete. Linear in the bytes, however they are cut.

    Whole blocks within a chunk, which are nearly all, go through one regular expression; lines are looked at one by
    one only in the block that the chunk's beginning or end cuts, and in blocks of other shapes. `test_short_ways`
    holds both ways to the standard.
    """

    __slots__ = (
        "_beginning",
        "_data",
        "_ended_in_cr",
        "_has_data",
        "_is_past_bom",
        "_limit",
        "_open_line",
        "_type",
        "comments",
        "has_overflowed",
    )

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._beginning = b""  # while it may still be a byte order mark
        self._is_past_bom = False
        self._ended_in_cr = False  # the last chunk: a LF at the start of the next belongs to it
        # Each in one piece: malloc would keep what many small ones took, 16 MiB of a large event.
        self._open_line = bytearray()  # a line that has not ended
        self._type = b""  # of the event that has not ended, like what follows
        self._data = bytearray()
        self._has_data = False
        self.has_overflowed = False
        """An event went over the limit: what follows it is not read."""
        self.comments = 0
        """How many comment lines have come: each is a sign of life."""

    @property
    def is_between_events(self) -> bool:
        """Whether an event has ended, and nothing has come of another one."""
        is_within_event = self._open_line or self._has_data or self._type or self._ended_in_cr
        return self._is_past_bom and not is_within_event and not self.has_overflowed

    def feed(self, chunk: bytes) -> list[RawEvent]:
        """The events that `chunk` completes."""
        if not self._is_past_bom:
            chunk = self._skip_bom(chunk)
        chunk = self._with_newlines(chunk)
        events: list[RawEvent] = []
        if self._open_line or self._has_data or self._type:
            chunk = self._finish_block(chunk, events)
            if self.has_overflowed:
                return events
        last_blank_line = chunk.rfind(b"\n\n")
        end = 0  # of the blocks that are whole
        if last_blank_line >= 0:
            end = last_blank_line + 2
        for kind, data, other in _BLOCK.findall(chunk, 0, end):
            if other:
                self._read_lines(other, events)
            elif len(data) <= self._limit:
                events.append((kind, data))
            else:
                self.has_overflowed = True
            if self.has_overflowed:
                return events
        if end < len(chunk):
            self._read_lines(chunk[end:], events)
        return events

    def close(self) -> list[RawEvent]:
        """The event that the end of the body cut off before its blank line, if there is one."""
        events: list[RawEvent] = []
        self._read_lines(b"\n\n", events)
        return events

    # Bytes → lines -----------------------------------------------------------------------------------------------

    def _skip_bom(self, chunk: bytes) -> bytes:
        chunk = self._beginning + chunk
        if len(chunk) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(chunk):
            self._beginning = chunk
            return b""
        self._is_past_bom = True
        return chunk.removeprefix(_BYTE_ORDER_MARK)

    def _with_newlines(self, chunk: bytes) -> bytes:
        """Every line end as a line feed; a CR at the end of one chunk and a LF in the next are one."""
        if self._ended_in_cr and chunk:
            self._ended_in_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._ended_in_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _finish_block(self, chunk: bytes, events: list[RawEvent]) -> bytes:
        """Bring the block that earlier chunks began to its blank line; what follows that is returned."""
        blank_line = chunk.find(b"\n\n")
        if not self._open_line and chunk.startswith(b"\n"):
            end = 1  # the line before it ended with the last chunk
        elif blank_line < 0:
            end = len(chunk)
        else:
            end = blank_line + 2
        self._read_lines(chunk[:end], events)
        return chunk[end:]

    def _read_lines(self, text: bytes, events: list[RawEvent]) -> None:
        *lines, rest = text.split(b"\n")
        for line in lines:
            if self._open_line:
                self._end_open_line(line, events)
            else:
                self._read_line(line, events)
        if rest:
            self._open_line += rest
            if len(self._open_line) + len(self._data) > self._limit + _MAX_FIELD_NAME:
                self.has_overflowed = True

    def _end_open_line(self, rest: bytes, events: list[RawEvent]) -> None:
        line, self._open_line = self._open_line, bytearray()
        line += rest
        self._read_line(line, events)

    # Lines → events ----------------------------------------------------------------------------------------------

    def _read_line(self, line: bytes | bytearray, events: list[RawEvent]) -> None:
        if not line:
            self._dispatch(events)
            return
        colon = line.find(b":")
        if colon < 0:
            colon = len(line)
        name, begin = line[:colon], colon + 1
        if line[begin : begin + 1] == b" ":
            begin += 1
        if not name:
            self.comments += 1
        elif name == b"data":
            self._add_data(line, begin)
        elif name == b"event":
            self._type = bytes(line[begin:])
        elif name == b"error":
            self._type = b"error"
            self._add_data(line, begin)
        elif line.startswith(_BARE_ERRORS):
            self._type = b"error"
            self._add_data(line, 0)

    def _add_data(self, line: bytes | bytearray, begin: int) -> None:
        """Add a line, from `begin` on."""
        if self._has_data:
            self._data += b"\n"
        self._has_data = True
        with memoryview(line) as view:
            self._data += view[begin:]
        if len(self._data) > self._limit:
            self.has_overflowed = True

    def _dispatch(self, events: list[RawEvent]) -> None:
        """A blank line ends the event; without data it is none."""
        if self._data and not self.has_overflowed:
            events.append((self._type, bytes(self._data)))
        self._type = b""
        self._data.clear()
        self._has_data = False
