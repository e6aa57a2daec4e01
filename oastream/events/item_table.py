"""Which item, and which text of a message, an event is of.

In: events that begin, go on with or end an item. Out: the `Item` or the `StreamedText`, new where there is none yet.
Refuses to know what events do to it.

Items are found by output_index, since ids rotate (GitHub Copilot) or are missing; by their ids where several share an
index (LiteLLM) or there is none (Lemonade); by their order where there is neither.
"""

from __future__ import annotations

from typing import Any

from oastream.events.fields import Event, Fields, dict_or_empty, nonempty_str
from oastream.events.items import Item, kind_of
from oastream.events.streamed_text import StreamedText


class ItemTable:
    """The items of one response. `deltas_are_final` and `keep_text` are for their texts, see `StreamedText`."""

    __slots__ = ("_by_index", "_by_name", "_deltas_are_final", "_keep_text", "_open", "items", "open_texts")

    def __init__(self, deltas_are_final: bool, keep_text: bool) -> None:
        self._deltas_are_final = deltas_are_final
        self._keep_text = keep_text
        self.items: list[Item] = []
        """All of them, in order."""
        self.open_texts: dict[tuple[Any, Any], StreamedText] = {}
        """Texts that go on, by output_index and content_index: the short way of a delta."""
        self._by_index: dict[tuple[str, Any], Item] = {}
        """The latest by kind and index: several items may share one."""
        self._by_name: dict[tuple[str, str, str], Item] = {}
        """The latest by kind, the field that names it, and the name."""
        self._open: dict[str, dict[Item, None]] = {}
        """Items by kind whose `done` has not come, in order."""

    # Items -------------------------------------------------------------------------------------------------------

    def add(self, fields: Fields, index: Any) -> Item:
        """A new item; what was at its index goes on only by its name."""
        item = Item(kind_of(fields), fields)
        self.items.append(item)
        displaced = self._by_index.get((item.kind, index))
        if displaced is not None:
            self._forget_texts(displaced, index)
        self._by_index[item.kind, index] = item
        self._open.setdefault(item.kind, {})[item] = None
        self.learn_names(item, fields)
        return item

    def learn_names(self, item: Item, fields: Fields) -> None:
        """An item may be named by any id that it ever had."""
        for field in ("id", "call_id"):
            name = nonempty_str(fields.get(field))
            if name is not None:
                self._by_name[item.kind, field, name] = item

    def close(self, item: Item, index: Any) -> None:
        """The item's own `done` event has come."""
        item.is_closed = True
        self._open[item.kind].pop(item, None)
        self._forget_texts(item, index)

    def begin(self, event: Event) -> None:
        """The item of an `added` event, unless it is there: a repeated `added` of an empty item is the same item.

        LiteLLM gives several items one output_index, so one that has come so far that it cannot be begun is another.
        """
        fields = dict_or_empty(event.get("item"))
        index = item_index(event, fields)
        known = self._by_index.get((kind_of(fields), index))
        if known is None or known.is_complete or not known.is_empty or not known.agrees_by_name(fields):
            self.add(fields, index)

    def find_done(self, fields: Fields, index: Any) -> Item | None:
        """The item that a `done` event completes; None when it brings one that nothing announced.

        At its index, if no name speaks against it; by its name; at its index whatever its name, since ids rotate
        (GitHub Copilot), while that is open; or the last open one that has the same name or content.
        """
        kind = kind_of(fields)
        at_index = self._by_index.get((kind, index))
        # Where nothing places a whole item, it is another one than the whole one before it.
        is_taken = at_index is not None and at_index.is_closed and index is None
        if at_index is not None and at_index.agrees_by_name(fields) and not is_taken:
            return at_index
        named = self._find_named(kind, fields)
        if named is not None:
            return named
        if at_index is not None and not at_index.is_closed:
            return at_index
        last = self._last_open(kind)
        if last is not None and (last.agrees_by_name(fields) or last.agrees_by_content(fields)):
            return last
        return None

    def item_of(self, event: Event, kind: str) -> Item:
        """The item that an event is part of; it may come without its `added`.

        Looked for as by `find_done`. The last open one is it only where the event has no index to say otherwise.
        """
        names = {"type": kind, "id": event.get("item_id")}
        index = item_index(event, names)
        at_index = self._by_index.get((kind, index))
        if at_index is not None and at_index.agrees_by_name(names):
            return at_index
        named = self._find_named(kind, names)
        if named is not None:
            return named
        if at_index is not None and not at_index.is_closed:
            return at_index
        if event.get("output_index") is None:
            last = self._last_open(kind)
            if last is not None and last.agrees_by_name(names):
                return last
        return self.add(names, index)

    def _find_named(self, kind: str, fields: Fields) -> Item | None:
        """The item that has the call_id or the id of `fields`; ids that rotate name nothing."""
        for field in ("call_id", "id"):
            item = self._by_name.get((kind, field, nonempty_str(fields.get(field)) or ""))
            if item is not None and (not item.is_closed or item.agrees_by_name(fields)):
                return item
        return None

    def _last_open(self, kind: str) -> Item | None:
        return next(reversed(self._open.get(kind, {})), None)

    # Texts -------------------------------------------------------------------------------------------------------

    def text_of(self, event: Event) -> StreamedText:
        """The text that an event is of. One without a content_index goes on with the last of its item."""
        item = self.item_of(event, "message")
        part = event.get("content_index")
        if part is None and item.parts:
            part = next(reversed(item.parts))
        text = item.parts.get(part) or self.add_text(item, part)
        if event.get("output_index") is not None and not item.is_closed:
            self.open_texts[event["output_index"], part] = text
        return text

    def text_of_delta(self, event: Event) -> StreamedText:
        """The same for a delta, which no text that is done can have: where nothing places it, it begins a message."""
        text = self.text_of(event)
        if text.is_done and event.get("output_index") is None and nonempty_str(event.get("item_id")) is None:
            return self.add_text(self.add({"type": "message"}, None), event.get("content_index"))
        return text

    def add_text(self, item: Item, part: Any) -> StreamedText:
        text = item.parts[part] = StreamedText(item.in_answer, self._deltas_are_final, self._keep_text)
        return text

    def _forget_texts(self, item: Item, index: Any) -> None:
        for part in item.parts:
            self.open_texts.pop((index, part), None)


def item_index(event: Event, fields: Fields) -> Any:
    """What ties an event to its item: the output_index, else the id (Lemonade sends no indices)."""
    index = event.get("output_index")
    if index is None:
        return nonempty_str(fields.get("id"))
    return index
