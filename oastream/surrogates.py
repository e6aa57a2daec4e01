"""UTF-16 halves that belong together: JSON escapes an emoji as two halves, and a server may cut a delta between them.

In: str pieces as a JSON parser gives them. Out: str without lone surrogates, which UTF-8 cannot carry. Does no I/O.
"""

from __future__ import annotations

_HIGH = ("\ud800", "\udbff")
"""The first and the last of the halves that begin a character: another must follow."""


class SurrogateJoiner:
    """Joins surrogate halves that were split over two pieces; a half that stays alone becomes U+FFFD."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        """`piece`, with a half that waited before it, without a half that may go on in the next piece."""
        # Nearly every piece leaves here, and ASCII is known without a look at it.
        if not self._half and (piece.isascii() or not _has_surrogate(piece)):
            return piece
        piece = self._half + piece
        self._half = ""
        if _HIGH[0] <= piece[-1:] <= _HIGH[1]:
            self._half = piece[-1]
            piece = piece[:-1]
        return join_surrogates(piece)

    def close(self) -> str:
        """What is left: U+FFFD if a half waits in vain."""
        if not self._half:
            return ""
        self._half = ""
        return "\ufffd"


def join_surrogates(text: str) -> str:
    """`text` with each pair of surrogates as its character and each lone one as U+FFFD."""
    # UTF-16 is what the halves are of: its decoder joins them, and replaces those it cannot.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
