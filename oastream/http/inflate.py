"""A compressed body → its plain bytes, in pieces of bounded size.

In: the bytes of a body, cut anywhere, and the coding that its head names. Out: what they inflate to, and whether it is
whole. Does no I/O, and knows nothing of framing. Loaded only for a reply that is compressed, which ours ask not to be.
"""

from __future__ import annotations

import zlib
from typing import Any

MAX_PIECE_BYTES = 1 << 16
"""What a small body inflates to must not be held at once: 4 MiB of gzip may stand for 4 GiB of blank lines."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Inflater:
    """gzip, of one member or several (RFC 1952 2.2), zlib, or the raw deflate that some servers send as "deflate"."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._packed = b""
        self._stream: Any = None
        self._ended_members = 0
        self._may_hold_more = False  # the last piece was as large as one may be
        self._is_padding = False  # what follows is no member, and is passed over as gzip(1) does

    def feed(self, data: bytes) -> None:
        self._packed += data

    @property
    def has_more(self) -> bool:
        return bool(self._packed) or self._may_hold_more

    @property
    def is_whole(self) -> bool:
        """Whether no stream is open; of an empty body none ever was."""
        return self._stream is None and (self._ended_members > 0 or not self._packed)

    def next_piece(self) -> bytes:
        """At most `MAX_PIECE_BYTES`, nothing when more must be fed. Raises `ValueError`."""
        while self.has_more:
            if self._stream is None and not self._begin_stream():
                return b""
            # zlib may take input without giving output, such as the header of a member: then it is asked again.
            if piece := self._inflate():
                return piece
        return b""

    def _inflate(self) -> bytes:
        stream = self._stream
        try:
            piece: bytes = stream.decompress(self._packed, MAX_PIECE_BYTES)
        except zlib.error as error:
            raise ValueError("corrupt compressed body") from error
        self._may_hold_more = len(piece) == MAX_PIECE_BYTES and not stream.eof
        if stream.eof:
            self._packed = stream.unused_data
            self._stream = None
            self._ended_members += 1
        else:
            self._packed = stream.unconsumed_tail
        return piece

    def _begin_stream(self) -> bool:
        """Open the stream that begins here; False when that takes more bytes, or when none does."""
        if self._coding not in ("gzip", "x-gzip", "deflate"):
            raise ValueError(f"it is compressed with {self._coding}")
        # One byte can be the first of the magic number: only what contradicts it is padding.
        if self._ended_members and not _GZIP_MAGIC.startswith(self._packed[:2]):
            self._is_padding = True
        if self._is_padding:
            self._packed = b""
            return False
        if len(self._packed) < 2:
            return False
        self._stream = zlib.decompressobj(wbits=self._window_bits(self._packed[:2]))
        return True

    def _window_bits(self, opening: bytes) -> int:
        """zlib's name for the format that begins so: servers confuse them, and two bytes tell each."""
        if opening == _GZIP_MAGIC:
            return _GZIP
        # RFC 1950 2.2: the method is in the low bits, and the two bytes are a multiple of 31.
        if opening[0] & 0x0F == zlib.DEFLATED and int.from_bytes(opening, "big") % 31 == 0:
            return _ZLIB
        if self._coding == "deflate":
            return _RAW
        raise ValueError("corrupt compressed body")
