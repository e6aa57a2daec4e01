"""--schema-multi: each item of the answer's list on a line, as soon as it is whole and valid.

In: the text of an answer as it comes, a check of one item. Out: lines; at the end what was wrong, if anything was.
Memory holds the item that is being read, and nothing of those before it. What a valid item is, and how the text came,
is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from oastream.exits import Outcome, Verdict
from oastream.output.formats import Event, Format

if TYPE_CHECKING:
    from oastream.events.reply import Reply

LIST_KEY = "items"
"""The field of the answer that has the list, as in `llm --schema-multi`."""
_MARK = re.compile(r'["{}\[\],]')
_END_OF_TEXT = re.compile(r'["\\]')
_OPENING = re.compile(r'\s*\{\s*"' + LIST_KEY + r'"\s*:\s*\[\s*')
_CLOSING = "}"
_MOST_AROUND_LIST = 1024
"""Characters before the list, and behind it but for white space; more of them are no such answer."""
_MOST_ERRORS = 20
"""Items whose mistakes are named."""


class ItemReader:
    """Text in any pieces → the JSON of each item. `is_whole` once the list and the object around it are closed."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._depth = 0
        self._is_in_text = False
        self._is_escaped = False
        self._is_open = False
        self._is_closed = False
        self._is_after_comma = False
        self._around = ""
        """What has come before the list while it is not open; behind it, once it is closed."""

    def feed(self, text: str) -> Iterator[str]:
        """The items that this piece completes."""
        if not self._is_open:
            text = self._open(text)
        if self._is_closed:
            self._close(text)
        elif self._is_open:
            yield from self._read(text)

    @property
    def is_whole(self) -> bool:
        return self._is_closed and self._around == _CLOSING

    def _open(self, text: str) -> str:
        """What follows the bracket that opens the list; nothing while it has not come."""
        before = self._around + text
        found = _OPENING.match(before)
        if found is None:
            self._around = before[:_MOST_AROUND_LIST]
            return ""
        self._around, self._is_open = "", True
        return before[found.end() :]

    def _close(self, text: str) -> None:
        self._is_closed = True
        self._around = (self._around + "".join(text.split()))[:_MOST_AROUND_LIST]

    def _read(self, text: str) -> Iterator[str]:
        begun = at = 0
        while True:
            if self._is_in_text:
                at = self._skip_text(text, at)
                if self._is_in_text:
                    break
            found = _MARK.search(text, at)
            if found is None:
                break
            mark, at = found[0], found.end()
            if mark == '"':
                self._is_in_text = True
            elif mark in "{[":
                self._depth += 1
            elif self._depth and mark in "}]":
                self._depth -= 1
            elif not self._depth:  # a comma between two items, or the end of the list
                item = "".join([*self._pieces, text[begun : found.start()]]).strip()
                self._pieces.clear()
                begun = at
                if item or mark == "," or self._is_after_comma:
                    yield item
                self._is_after_comma = mark == ","
                if not self._is_after_comma:
                    self._close(text[at:])
                    return
        self._pieces.append(text[begun:])

    def _skip_text(self, text: str, at: int) -> int:
        """The place behind the quotation mark that ends a text, or the end of this piece."""
        if self._is_escaped and at < len(text):
            self._is_escaped, at = False, at + 1
        while found := _END_OF_TEXT.search(text, at):
            at = found.end()
            if found[0] == '"':
                self._is_in_text = False
                return at
            if at == len(text):
                self._is_escaped = True
                return at
            at += 1
        return len(text)


class ItemsFormat(Format):
    """A valid item a line. `find_error` says where an item does not fit, as a path within it; None where it does."""

    def __init__(self, sanitized: bool, find_error: Callable[[str], str | None]) -> None:
        super().__init__(sanitized)
        self._find_error = find_error
        self._reader = ItemReader()
        self._count = 0
        self._errors: list[str] = []
        self._wrong = 0

    def add_event(self, event: Event, raw: bytes | None, text: str, reply: Reply) -> None:
        for item in self._reader.feed(text):
            self._add_item(item)

    def _add_item(self, item: str) -> None:
        error = self._find_error(item)
        if error is None:
            self._add_json(item.replace("\r", " ").replace("\n", " ").encode("utf-8", "replace"))
        else:
            self._wrong += 1
            if len(self._errors) < _MOST_ERRORS:
                self._errors.append(f"$.{LIST_KEY}[{self._count}]{error}")
        self._count += 1

    def find_lack(self, reply: Reply) -> Verdict | None:
        """Items that are not valid, or an answer that is no such list. A call has a schema of its own."""
        if reply.awaits_client:
            return None
        lines = list(self._errors)
        if self._wrong > len(lines):
            lines.append(f"and {self._wrong - len(lines)} more")
        if not self._reader.is_whole:
            lines.append(f'$: not a whole {{"{LIST_KEY}": [...]}}')
        if not lines:
            return None
        what = "the answer does not fit the schema"
        return Verdict(Outcome.SCHEMA, what, f"{self._wrong} of {self._count} items", more_lines=tuple(lines))
