"""Events of the Responses API that are not looked at until it is known whether they are needed.

In: the type and data of a raw event. Out: what `ResponsesDialect` makes of it, later or never. The terminal event holds
the whole response: what came before it is kept raw, and decoded only where the response lacks an item that the stream
had, or where the stream ends in any other way. Decoding takes most of a stream's time, and 99 of 100 streams end well.

What is lost by it: a broken event in the middle of a stream is not noticed when the response is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from oastream.events.decode import DecodedEvent
from oastream.events.responses_dialect import ResponsesDialect

_MOST_KEPT = 16 << 20
_TERMINAL = frozenset({b"response.completed", b"response.incomplete", b"response.failed"})
_ITEM_BEGINS = b"response.output_item.added"
_ITEM_ENDS = b"response.output_item.done"


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
    """Keeps events raw until the terminal one."""

    __slots__ = ("_begun", "_ended", "_is_lazy", "_kept", "_kept_bytes", "_size")

    def __init__(self, kept_bytes: KeptBytes) -> None:
        super().__init__()
        self._kept_bytes = kept_bytes
        self._kept: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._begun = 0
        self._ended = 0
        self._is_lazy = True

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent] | Iterator[DecodedEvent]:  # type: ignore[override]
        if kind in _TERMINAL:
            return self._end(kind, data)
        # The name beside an event may be wrong: then its data has the word, and is looked at.
        if self._is_lazy and kind.startswith(b"response.") and kind in data and self._keep(kind, data):
            return ()
        return self._decode_all(kind, data)

    def close(self) -> Sequence[DecodedEvent]:
        """What was kept, where no terminal event came."""
        return self._decode_kept()  # type: ignore[return-value]

    def _keep(self, kind: bytes, data: bytes) -> bool:
        size = len(data)
        if not self._kept_bytes.take(size):
            return False
        self._size += size
        self._kept.append((kind, data))
        if kind == _ITEM_ENDS:
            self._ended += 1
        elif kind == _ITEM_BEGINS:
            self._begun += 1
        return True

    def _end(self, kind: bytes, data: bytes) -> Iterator[DecodedEvent]:
        terminal = super().feed(kind, data)
        if not self._is_enough(terminal):
            yield from self._decode_kept()
        self._drop_kept()
        yield from terminal

    def _is_enough(self, terminal: Sequence[DecodedEvent]) -> bool:
        """Whether the response has every item that the stream had, and each of them was finished."""
        if not self._is_lazy or not terminal or terminal[0][0].get("type") != "response.completed":
            return False
        response = terminal[0][0].get("response")
        output: Any = response.get("output") if isinstance(response, dict) else None
        return isinstance(output, list) and self._begun == self._ended == len(output) > 0

    def _decode_all(self, kind: bytes, data: bytes) -> Iterator[DecodedEvent]:
        yield from self._decode_kept()
        yield from super().feed(kind, data)

    def _decode_kept(self) -> Iterator[DecodedEvent]:
        """What was kept, in its order; from here on every event is decoded as it comes."""
        self._is_lazy = False
        kept = self._kept
        self._drop_kept()
        for kind, data in kept:
            yield from super().feed(kind, data)

    def _drop_kept(self) -> None:
        self._kept_bytes.give_back(self._size)
        self._kept, self._size = [], 0
