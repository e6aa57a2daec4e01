"""A text that arrives in pieces, kept in little memory.

In: str pieces. Out: the complete text, any number of times. Refuses to know what the text is.
"""

from __future__ import annotations

_LONG = 1 << 12
"""Characters of a long piece: a short one takes fifty bytes more than its text, in `io.StringIO` too (Python 3.11)."""
_JOINED_AT = 1 << 8
"""Characters in short pieces that are joined to one.

Not more, since each stream of a batch has such buffers: with 4,096, half an answer of 200 words on Chat took 6 kB more.
"""


class TextBuffer:
    """A text that arrives in short pieces and is kept in long ones."""

    __slots__ = ("_long", "_short", "_size")

    def __init__(self, text: str = "") -> None:
        self._long: list[str] = []
        if text:
            self._long.append(text)
        self._short: list[str] = []
        self._size = 0

    def add(self, piece: str) -> None:
        self._short.append(piece)
        self._size += len(piece)
        if self._size >= _JOINED_AT:
            self._gather()

    def text(self) -> str:
        """All of it: one and the same string, however often it is asked for."""
        self._gather()
        if len(self._long) != 1:
            self._long = ["".join(self._long)]
        return self._long[0]

    def _gather(self) -> None:
        if self._short:
            if self._long and len(self._long[-1]) < _LONG:
                self._short.insert(0, self._long.pop())
            self._long.append("".join(self._short))
            self._short.clear()
            self._size = 0
