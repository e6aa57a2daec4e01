"""Server-sent events: bytes → events, as WHATWG HTML 9.2.6 defines them.

In: a body's bytes in pieces of any size. Out: `(type, data)` pairs, both bytes, in order.
Does no I/O and knows nothing of JSON. Beyond the standard, as real servers need it:
a field named `error` is an event of type error (llama.cpp until 2025-09); a line that is a bare JSON error is one too
(lemonade #2826); and `close` hands out an event that no blank line closed, for the caller to judge.
"""

from __future__ import annotations

import re

RawEvent = tuple[bytes, bytes]
"""Type (empty when the stream named none) and data."""

_BOM = b"\xef\xbb\xbf"
_FIELD_NAME = 64
"""What a line that has not ended may be longer than the data in it."""
# A block of lines: the two shapes that servers send, taken apart in one pass, or any other, whole.
_BLOCK = re.compile(rb"(?:event: ?+([^\n]+)\n)?data: ?+([^\n]+)\n\n|((?s:.*?)\n\n|\n)")
_BARE_ERRORS = (b'{"error"', b'{"object":"error"')


class Parser:
    """Feeds on chunks, gives the events that they complete. Linear in the bytes, however they are cut."""

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._start = b""  # the first bytes, while they may still be a byte order mark
        self._started = False
        self._after_cr = False
        self._line: list[bytes] = []  # pieces of a line that has not ended
        self._type = b""
        self._data: list[bytes] = []
        self._line_size = 0
        self._data_size = 0
        self.overflowed = False
        """An event went over the limit: what follows it is not read."""
        self.comments = 0
        """How many comment lines have come: each is a sign of life."""

    def feed(self, chunk: bytes) -> list[RawEvent]:
        """The events that `chunk` completes."""
        chunk = self._with_newlines(chunk if self._started else self._without_bom(chunk))
        events: list[RawEvent] = []
        if self._line or self._data or self._type:
            chunk = self._finish_block(chunk, events)
            if self.overflowed:
                return events
        end = chunk.rfind(b"\n\n") + 2 if b"\n\n" in chunk else 0
        for kind, data, other in _BLOCK.findall(chunk, 0, end):
            if other:
                self._lines(other, events)
            elif len(data) <= self._limit:
                events.append((kind, data))
            else:
                self.overflowed = True
            if self.overflowed:
                return events
        if end < len(chunk):
            self._lines(chunk[end:], events)
        if self._line_size + self._data_size > self._limit + _FIELD_NAME:
            self.overflowed = True
        return events

    def close(self) -> list[RawEvent]:
        """The event that the end of the body cut off before its blank line, if there is one."""
        events: list[RawEvent] = []
        self._lines(b"\n\n", events)
        return events

    def _without_bom(self, chunk: bytes) -> bytes:
        chunk = self._start + chunk
        if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
            self._start = chunk
            return b""
        self._started = True
        return chunk.removeprefix(_BOM)

    def _with_newlines(self, chunk: bytes) -> bytes:
        """Every line end as a line feed; a CR at the end of one chunk and a LF in the next are one."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _finish_block(self, chunk: bytes, events: list[RawEvent]) -> bytes:
        """Bring the block that earlier chunks began to its blank line; what follows that is returned."""
        if not self._line and chunk.startswith(b"\n"):
            end = 1
        else:
            end = chunk.find(b"\n\n") + 2
            end = len(chunk) if end == 1 else end
        self._lines(chunk[:end], events)
        return chunk[end:]

    def _lines(self, text: bytes, events: list[RawEvent]) -> None:
        *lines, rest = text.split(b"\n")
        for line in lines:
            if self._line:
                self._line.append(line)
                line = b"".join(self._line)
                self._line.clear()
            self._whole_line(line, events)
        if rest:
            self._line.append(rest)
            self._line_size += len(rest)

    def _whole_line(self, line: bytes, events: list[RawEvent]) -> None:
        self._line_size = 0
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not name:
            self.comments += 1
        elif name == b"data":
            self._add_data(value)
        elif name == b"event":
            self._type = value
        elif name == b"error":
            self._type = b"error"
            self._add_data(value)
        elif line.startswith(_BARE_ERRORS):
            self._type = b"error"
            self._add_data(line)

    def _add_data(self, value: bytes) -> None:
        self._data.append(value)
        self._data_size += len(value) + 1
        if self._data_size - 1 > self._limit:
            self.overflowed = True

    def _dispatch(self, events: list[RawEvent]) -> None:
        data = b"\n".join(self._data)
        if data and not self.overflowed:
            events.append((self._type, data))
        self._type = b""
        self._data.clear()
        self._data_size = 0
