"""Text that arrives in pieces: UTF-16 halves that belong together, and what a terminal must not see raw.

In: str pieces as a JSON parser gives them. Out: str without lone surrogates; text safe to show. Does no I/O.
"""

from __future__ import annotations

_HIGH = ("\ud800", "\udbff")


class Joiner:
    """Joins surrogate halves that were split over two pieces; a half that stays alone becomes U+FFFD."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """`piece`, with a half that waited before it, without a half that may go on in the next piece."""
        if not self._half and (piece.isascii() or not _has_surrogate(piece)):
            return piece
        piece = self._half + piece
        self._half = ""
        if _HIGH[0] <= piece[-1:] <= _HIGH[1]:
            self._half = piece[-1]
            piece = piece[:-1]
        return whole(piece)

    def close(self) -> str:
        """What is left: U+FFFD if a half waits in vain."""
        left = "\ufffd" if self._half else ""
        self._half = ""
        return left


_LONG = 1 << 16
"""Characters of a long piece: a short one takes fifty bytes more than its text, in `io.StringIO` too (Python 3.11)."""


class Gathered:
    """A text that comes in short pieces and is kept in long ones."""

    __slots__ = ("_long", "_short", "_size")

    def __init__(self, text: str = "") -> None:
        self._long = [text]
        self._short: list[str] = []
        self._size = 0

    def add(self, piece: str) -> None:
        self._short.append(piece)
        self._size += len(piece)
        if self._size >= _LONG:
            self._gather()

    def text(self) -> str:
        """All of it: one string, however often it is asked for."""
        self._gather()
        if len(self._long) > 1:
            self._long = ["".join(self._long)]
        return self._long[0]

    def _gather(self) -> None:
        if self._short:
            self._long.append("".join(self._short))
            self._short.clear()
            self._size = 0


def whole(text: str) -> str:
    """`text` with each pair of surrogates as its character and each lone one as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


# C0 but tab and newline, DEL, C1, and the overrides and isolates that reorder text (CWE-150; Unicode TR 9).
_UNSAFE = [
    *(c for c in range(0x20) if c not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
_VISIBLE = {c: f"\\x{c:02x}" if c < 0x100 else f"\\u{c:04x}" for c in _UNSAFE}
_ESCAPED = {c: f"\\u{c:04x}" for c in _UNSAFE if c >= 0x7F}


def visible(text: str) -> str:
    """`text` with control characters, escapes and bidi overrides shown as text."""
    return text.translate(_VISIBLE)


def escaped(json_text: str) -> str:
    """The same for a JSON text, in JSON's own escapes: it stays valid and means the same."""
    return json_text.translate(_ESCAPED)


CUT = "…"
"""What stands where a line was cut."""


def one_line(text: str, longest: int = 500) -> str:
    """`text` as a part of one line of a message: no newlines, no control characters, not endless."""
    line = visible(" ".join(whole(text).split()))
    return line if len(line) <= longest else line[: longest - 1] + CUT
