"""Which item, and which text of a message, an event belongs to.

In: events that begin, continue or end an item. Out: the `Item` or the `StreamedText`, a new one where there is none.
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
        """Texts that may continue, by output_index and content_index: the short way for deltas.

        Kept exact: a text must leave it once a delta with its indices could belong to another one.
        """
        self._by_index: dict[tuple[str, Any], Item] = {}
        """The latest of each kind at each index: several items may share one."""
        self._by_name: dict[tuple[str, str, str], Item] = {}
        """The latest of each kind with a name, by the field that names it and the name."""
        self._open: dict[str, dict[Item, None]] = {}
        """Items without a `done` event yet, by kind and in order. Dicts, to remove any of them in no time."""

    # Items -------------------------------------------------------------------------------------------------------

    def add(self, fields: Fields, index: Any) -> Item:
        """Add a new item. The one that was at its index is found only by its name from now on."""
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
        """Remember an item by its names. It keeps those that it had: ids may rotate, and rotate back."""
        for field in ("id", "call_id"):
            name = nonempty_str(fields.get(field))
            if name is not None:
                self._by_name[item.kind, field, name] = item

    def close(self, item: Item, index: Any) -> None:
        """The item's own `done` event was received."""
        item.is_closed = True
        self._open[item.kind].pop(item, None)
        self._forget_texts(item, index)

    def begin(self, event: Event) -> None:
        """Add the item of an `added` event, unless it is known: an empty item that is added again is the same one.

        LiteLLM gives several items one output_index, so if there is more at the index than a beginning, the item is
        another one.
        """
        fields = dict_or_empty(event.get("item"))
        index = item_index(event, fields)
        known = self._by_index.get((kind_of(fields), index))
        if known is None or known.is_complete or not known.is_empty or not known.agrees_by_name(fields):
            self.add(fields, index)

    def find_done(self, fields: Fields, index: Any) -> Item | None:
        """The item that a `done` event completes; None when no event has announced it. The first that fits:

        1. the one at its index, unless its name says otherwise;
        2. the one that has its name;
        3. the one at its index while that is open, whatever its name: ids rotate (GitHub Copilot);
        4. the last open one, if that may have the name, or has the content.
        """
        kind = kind_of(fields)
        at_index = self._by_index.get((kind, index))
        # Several complete items without any index are several items, though all of them are "at" None.
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
        """The item that a delta or a text belongs to; a new one when no event has announced it.

        Looked for in the same order as by `find_done`, except that the last open item is taken only by an event without
        an index: with one, it is the first event of an item that was not announced.
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
        """The item that has the call_id or the id of `fields`, unless the other one of the two says otherwise.

        An open item is taken nevertheless: its id may have rotated.
        """
        for field in ("call_id", "id"):
            item = self._by_name.get((kind, field, nonempty_str(fields.get(field)) or ""))
            if item is not None and (not item.is_closed or item.agrees_by_name(fields)):
                return item
        return None

    def _last_open(self, kind: str) -> Item | None:
        return next(reversed(self._open.get(kind, {})), None)

    # Texts -------------------------------------------------------------------------------------------------------

    def text_of(self, event: Event) -> StreamedText:
        """The text that an event belongs to: without a content_index, the last one of its item."""
        item = self.item_of(event, "message")
        part = event.get("content_index")
        if part is None and item.parts:
            part = next(reversed(item.parts))
        text = item.parts.get(part) or self.add_text(item, part)
        if event.get("output_index") is not None and not item.is_closed:
            self.open_texts[event["output_index"], part] = text
        return text

    def text_of_delta(self, event: Event) -> StreamedText:
        """The same for a delta. If nothing says where it belongs and the text is done, it begins another message."""
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
    """What ties an event to its item: the output_index, else the id, since Lemonade sends no indices."""
    index = event.get("output_index")
    if index is None:
        return nonempty_str(fields.get("id"))
    return index
