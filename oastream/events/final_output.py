"""The items of the final output ↔ the items that were streamed: which completes which.

In: the `output` of a terminal event, and the streamed items. Out: for each final item the streamed one. Refuses to
change either. A terminal event may hold only part of the answer, in another order, under other ids, with trimmed texts.
Linear in the number of items: 20,000 calls took over a minute when each was compared with all others.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from itertools import islice

from oastream.events.fields import Fields, nonempty_str
from oastream.events.items import CALLS, Item, kind_of, part_text, payload_of, text_parts
from oastream.events.streamed_text import encode_text

_MAX_CANDIDATES = 64
"""How many streamed messages are compared with a final one that has no name in common with any: all is quadratic."""


def match_streamed_items(finals: list[Fields], items: Iterable[Item]) -> list[Item | None]:
    """For each item of the final output the streamed one that it completes, None for one that was not streamed.

    Matched by id, then call_id, then equal text or a beginning of it, then by order among what is left of the kind.
    Each pass goes over all items, or else a guess for an early one would take what a later one names.
    """
    matching = _Matching(finals, items)
    for field in ("id", "call_id"):
        matching.match_field(field)
    matching.match_keys(_content_key, _final_content_key)
    matching.match_keys(_trimmed_key, _final_trimmed_key)
    matching.match_beginnings()
    matching.match_order()
    return matching.found


class _Matching:
    """Final and streamed items, as far as they are matched."""

    def __init__(self, finals: list[Fields], items: Iterable[Item]) -> None:
        self._finals = finals
        self._left = dict.fromkeys(items)  # in order
        self.found: list[Item | None] = [None] * len(finals)

    def match_field(self, name: str) -> None:
        """Match those that have the same name in a field."""
        self.match_keys(lambda item: nonempty_str(item.fields.get(name)), lambda fields: nonempty_str(fields.get(name)))

    def match_keys(self, item_key: Callable[[Item], Hashable], final_key: Callable[[Fields], Hashable]) -> None:
        """Match those of the same kind and key; a key of None matches nothing."""
        known: dict[tuple[str, Hashable], list[Item]] = {}
        for item in reversed(self._left):  # so that `pop` gives equal ones in order
            if key := item_key(item):
                known.setdefault((item.kind, key), []).append(item)
        for place, fields in self._unmatched():
            same = known.get((kind_of(fields), final_key(fields)))
            if same:
                self._match(place, same.pop())

    def match_beginnings(self) -> None:
        """Match messages where one is the beginning of the other."""
        messages = dict.fromkeys(item for item in self._left if item.kind == "message")
        for place, fields in self._unmatched():
            if kind_of(fields) != "message":
                continue
            for item in islice(messages, _MAX_CANDIDATES):
                if item.agrees_by_content(fields):
                    self._match(place, item)
                    del messages[item]
                    break

    def match_order(self) -> None:
        """Match what is left of each kind in order. A complete call with another call_id is another call."""
        queues: dict[str, deque[Item]] = {}
        for item in self._left:
            queues.setdefault(item.kind, deque()).append(item)
        for place, fields in self._unmatched():
            queue = queues.get(kind_of(fields))
            if queue and (queue[0].kind not in CALLS or not queue[0].is_complete or queue[0].agrees_by_name(fields)):
                self._match(place, queue.popleft())

    def _unmatched(self) -> list[tuple[int, Fields]]:
        return [(place, fields) for place, fields in enumerate(self._finals) if self.found[place] is None]

    def _match(self, place: int, item: Item) -> None:
        self.found[place] = item
        del self._left[item]


# Keys: what makes items the same that have no name in common; None for an item without any content ------------------


def _content_key(item: Item) -> Hashable:
    """A call's name and payload, or the fingerprint of a message's first text."""
    if item.kind in CALLS:
        if not item.pieces:
            return None
        return item.fields.get("name"), item.payload()
    for text in item.parts.values():
        return text.fingerprint()
    return None


def _final_content_key(fields: Fields) -> Hashable:
    kind = kind_of(fields)
    if kind in CALLS:
        return fields.get("name"), payload_of(kind, fields)
    return _fingerprint(_final_text(fields))


def _trimmed_key(item: Item) -> Hashable:
    """The same for messages without the white space at their end, which servers trim in what they repeat."""
    for text in item.parts.values():
        return text.trimmed_fingerprint()
    return None


def _final_trimmed_key(fields: Fields) -> Hashable:
    return _fingerprint(_final_text(fields).rstrip())


def _final_text(fields: Fields) -> bytes:
    """The first text of a final message."""
    if kind_of(fields) == "message":
        for part in text_parts(fields):
            return encode_text(part_text(part) or "")
    return b""


def _fingerprint(data: bytes) -> Hashable:
    """As `StreamedText.fingerprint` makes it."""
    return (len(data), zlib.crc32(data)) if data else None
