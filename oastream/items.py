"""The pieces of a response while they come: runs of text, and output items with what they are called with.

In: deltas, and the whole texts and items that repeat them. Out: what of a text is new, an item as far as it is known.
Does no I/O. Of text only its length and checksum are kept, so that memory stays flat; that is enough to tell whether
a later `done` goes on with it or contradicts it.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

import orjson

from oastream.exits import Outcome, failure
from oastream.text import Gathered, Joiner, whole

Event = dict[str, Any]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Tool calls that the client runs, and the field with what they are called with."""
_LONG_NUMBER = r"\d{16}"
_COUNT_AT = 4096
"""So many characters of deltas are counted at once: one checksum a delta took a tenth of the time of an event."""
_SLACK = 64
"""Longest run of white space, in bytes, that a server may strip from a text when it repeats it."""


class Text:
    """One run of text that is printed as it comes: length and checksum of what was, and whether more may follow.

    `shown` says that it belongs to the answer's text, `printed` that its deltas cannot be taken back.
    """

    __slots__ = ("_core", "_crc", "_head", "_joiner", "_kept", "_new", "_new_size", "_printed", "_size", "shown")

    def __init__(self, shown: bool, printed: bool, kept: bool) -> None:
        self.shown = shown
        self._kept = Gathered() if kept else None
        self._printed = printed
        self._new: list[str] = []  # not counted yet
        self._new_size = 0
        self._size = 0
        self._crc = 0
        self._core: tuple[int, int] | None = None  # size and checksum without the white space at the end
        self._head = b""  # white space that it began with
        self._joiner = Joiner()

    def add(self, delta: str) -> str:
        """A delta came; what of it can be printed."""
        text = self._joiner.feed(delta)
        if text:
            self._new.append(text)
            self._new_size += len(text)
            if self._new_size >= _COUNT_AT:
                self._count()
        return text

    def complete(self, full: str) -> str:
        """The server repeats the whole text; what of it is new. Raises `Failure` if it contradicts what was printed."""
        left = self._joiner.close()
        self._new.append(left)
        data = _encoded(full)
        if not data:
            return left
        self._count()
        rest = self._rest(data)
        if rest is None and not self._printed:
            self._kept = None if self._kept is None else Gathered(data.decode())
            return ""
        if rest is None:
            raise failure(Outcome.MALFORMED, "the answer contradicts itself", "a final text differs from its deltas")
        text = rest.decode()
        self._new.append(text)
        return left + text

    def text(self) -> str:
        """The text so far, when it was to be kept."""
        self._count()
        return "" if self._kept is None else self._kept.text()

    def _count(self) -> None:
        text = "".join(self._new)
        self._new.clear()
        self._new_size = 0
        if not text:
            return
        if self._kept is not None:
            self._kept.add(text)
        data = text.encode()
        if self._size == len(self._head):  # nothing but white space so far
            self._head += data[: len(data) - len(data.lstrip())]
        if data[-1] > 32:
            self._core = None
        else:
            self._mark_core(data)
        self._size += len(data)
        self._crc = zlib.crc32(data, self._crc)

    def _mark_core(self, data: bytes) -> None:
        """`data` ends in white space: what is before that may be all that the server repeats."""
        kept = data.rstrip()
        if kept:
            self._core = (self._size + len(kept), zlib.crc32(kept, self._crc))
        elif self._core is None:
            self._core = (self._size, self._crc)

    def _rest(self, data: bytes) -> bytes | None:
        """What `data` has beyond what was printed; None when it is another text. Stripped white space is the same."""
        for head in dict.fromkeys((b"", self._head)):
            begun = memoryview(head + data if head else data)
            if len(begun) >= self._size and zlib.crc32(begun[: self._size]) == self._crc:
                return bytes(begun[self._size :])
            size, crc = self._core or (self._size, self._crc)
            if size <= len(begun) <= self._size <= size + _SLACK and zlib.crc32(begun[:size]) == crc:
                return b"" if not bytes(begun[size:]).strip() else None
        return None


def _encoded(text: str) -> bytes:
    """A whole text in UTF-8; it may be as long as the answer, and is copied no more than it must."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return whole(text).encode()


class Item:
    """One output item, as far as it has come."""

    def __init__(self, kind: str, fields: Event) -> None:
        self.kind = kind
        self.fields = fields
        self.parts: dict[Any, Text] = {}
        self.arguments: list[str] = []
        self.whole = False
        self.printed = False

    @property
    def text_shown(self) -> bool:
        return not self.fields.get("choice_index")

    def payload(self) -> str:
        """What a tool is called with, as the server wrote it."""
        given = self.fields.get(CALLS[self.kind])
        if isinstance(given, (dict, list)):
            return orjson.dumps(given).decode()
        return "".join(self.arguments) or (given if isinstance(given, str) else "")

    def assembled(self) -> Event:
        """The item with the text and arguments that only its deltas had."""
        if self.kind in CALLS:
            return {**self.fields, CALLS[self.kind]: self.payload()}
        if self.kind != "message" or self.fields.get("content"):
            return self.fields
        content = [{"type": "output_text", "text": text.text(), "annotations": []} for text in self.parts.values()]
        return {**self.fields, "content": content}

    def replace(self, fields: Event) -> None:
        """The server's last word on the item: what it says counts, and what it leaves out of a call's head stays."""
        kept = {name: self.fields[name] for name in ("call_id", "name", "choice_index") if self.fields.get(name)}
        self.fields = fields | {name: value for name, value in kept.items() if not fields.get(name)}
        self.call_with(fields)

    def call_with(self, fields: Event) -> None:
        """The whole of what a tool is called with, instead of its pieces."""
        payload = fields.get(CALLS.get(self.kind, ""))
        if isinstance(payload, str) and payload:
            self.arguments = [payload]


def arguments_of(payload: str) -> Event:
    """A call's arguments as an object; raises `ValueError`. orjson would round integers over 64 bits."""
    payload = whole(payload).strip()
    if payload in ("", "null"):
        return {}
    value = json.loads(payload) if re.search(_LONG_NUMBER, payload) else orjson.loads(payload)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
