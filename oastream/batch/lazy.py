"""Events of the Responses API that are not looked at until it is known whether they are needed.

In: the bytes of a body. Out: what `Decoder` makes of them, later or never. The terminal event holds the whole response:
what came before it is kept raw, and decoded only where the response lacks an item that the stream had, or where the
stream ends in any other way. Decoding takes most of a stream's time, and 99 of 100 streams end well.

What is lost by it: a broken event in the middle of a stream is not noticed when the response is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from oastream.events import sse
from oastream.events.body_kind import EVENTS
from oastream.events.decode import DecodedEvent, Decoder
from oastream.events.responses_dialect import ResponsesDialect

_MOST_KEPT = 4 << 20
_TERMINAL = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})
# As many whole events as may be kept, in one pass. The name beside an event may be wrong, then its data has the word:
# so that names the same type, in OpenAI's events right at its beginning. Possessive, as in `sse`: linear in the bytes.
_KEPT_EVENTS = re.compile(
    rb"(?:event: (response\.(?!(?:completed|incomplete|failed)\n)[^\n]++)\n"
    rb'data: (?:\{"type": ?"\1"|(?=[^\n]*?"type": ?"\1"))[^\n]*+\n\n)*+'
)
# With the blank line that ends the event before it, so that no data can look like it.
_ITEM_BEGINS = b"\n\nevent: response.output_item.added\n"
_ITEM_ENDS = b"\n\nevent: response.output_item.done\n"


class KeptBytes:
    """How much all streams of a run keep raw together: 5,000 long answers at once would be half a gigabyte."""

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._most = most
        self._size = 0

    def take(self, size: int) -> bool:
        """Whether there is room for so much more."""
        if self._size + size > self._most:
            return False
        self._size += size
        return True

    def give_back(self, size: int) -> None:
        self._size -= size


class LazyResponsesDialect(ResponsesDialect):
    """Keeps events raw until the terminal one. `is_lazy` is whether it still does."""

    __slots__ = ("_kept", "_kept_bytes", "is_lazy")

    def __init__(self, kept_bytes: KeptBytes) -> None:
        super().__init__()
        self._kept_bytes = kept_bytes
        self._kept = bytearray()
        self.is_lazy = True

    def keep(self, events: bytes | memoryview) -> bool:
        """Keep whole events, as they were sent. False where there is no room for them."""
        if not self._kept_bytes.take(len(events)):
            return False
        self._kept += events
        return True

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent] | Iterator[DecodedEvent]:  # type: ignore[override]
        if kind in _TERMINAL:
            return self._end(kind, data)
        if self.is_lazy:
            event = b"event: %b\ndata: %b\n\n" % (kind, data)
            if _KEPT_EVENTS.fullmatch(event) and self.keep(event):
                return ()
        return self._decode_all(kind, data)

    def close(self) -> Sequence[DecodedEvent]:
        """What was kept, where no terminal event came."""
        return self._decode_kept()  # type: ignore[return-value]

    def _end(self, kind: bytes, data: bytes) -> Iterator[DecodedEvent]:
        terminal = super().feed(kind, data)
        if not self._is_enough(terminal):
            yield from self._decode_kept()
        self._take_kept()
        yield from terminal

    def _is_enough(self, terminal: Sequence[DecodedEvent]) -> bool:
        """Whether the response has every item that the stream had, and each of them was finished."""
        if not self.is_lazy or not terminal or terminal[0][0].get("type") != "response.completed":
            return False
        response = terminal[0][0].get("response")
        output: Any = response.get("output") if isinstance(response, dict) else None
        if not isinstance(output, list):
            return False
        kept = b"\n\n" + self._kept
        return kept.count(_ITEM_BEGINS) == kept.count(_ITEM_ENDS) == len(output) > 0

    def _decode_all(self, kind: bytes, data: bytes) -> Iterator[DecodedEvent]:
        yield from self._decode_kept()
        yield from super().feed(kind, data)

    def _decode_kept(self) -> Iterator[DecodedEvent]:
        """What was kept, in its order; from here on every event is decoded as it comes."""
        self.is_lazy = False
        kept = self._take_kept()
        for kind, data in sse.Parser(len(kept)).feed(kept):
            yield from super().feed(kind, data)

    def _take_kept(self) -> bytes:
        kept, self._kept = bytes(self._kept), bytearray()
        self._kept_bytes.give_back(len(kept))
        return kept


class LazyDecoder(Decoder):
    """Decodes a body of the Responses API. Whole events that may be kept are not even taken apart.

    200 events that arrive together then take 50 µs; to take them apart and look at each name took 200.
    """

    __slots__ = ("dialect",)

    def __init__(self, kept_bytes: KeptBytes, max_event_bytes: int) -> None:
        self.dialect = LazyResponsesDialect(kept_bytes)
        super().__init__(self.dialect, max_event_bytes)

    def feed(self, chunk: bytes) -> Iterator[DecodedEvent]:
        if not self.dialect.is_lazy or len(chunk) > self._limit:
            return super().feed(chunk)
        return self._feed_lazily(chunk)

    def _feed_lazily(self, chunk: bytes) -> Iterator[DecodedEvent]:
        """The body's first event and one that is cut go the long way, and so does what follows the first such event."""
        begin = 0
        if self._kind != EVENTS or not self._parser.is_between_events:
            begin = chunk.find(b"\n\n") + 2
            if begin < 2:
                begin = len(chunk)
            yield from super().feed(chunk[:begin])
        end = begin
        if self._parser.is_between_events:
            end = self._keep_events(chunk, begin)
        if end < len(chunk):
            yield from super().feed(chunk[end:])

    def _keep_events(self, chunk: bytes, begin: int) -> int:
        """Keep what may be kept of the events from `begin`; where the others begin."""
        found = _KEPT_EVENTS.match(chunk, begin)
        assert found is not None  # no event at all matches too
        end = found.end()
        with memoryview(chunk) as view:
            if begin == end or not self.dialect.is_lazy or not self.dialect.keep(view[begin:end]):
                return begin
        self.payloads += 1  # or more: it is only asked whether any have come
        return end
