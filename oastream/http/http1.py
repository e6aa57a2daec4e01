"""Bytes of an HTTP/1.1 response → its head, its body in pieces of bounded size, and its end.

In: what the connection brings, cut anywhere, and that it has ended. Out: status and headers, the body without its
framing and its compression, and whether it is whole. Framing is httptools' (the parser of Node.js, in C).
Does no I/O, and knows nothing of requests, deadlines or exit statuses.
"""

from __future__ import annotations

import zlib
from typing import Any

import httptools

PIECE = 1 << 16
"""Largest piece of an inflated body, in bytes: what a small body inflates to must not be held at once."""
MAX_HEAD_BYTES = 256 * 1024
"""Largest status line and headers together, interim replies included."""
_OPENING = 40
"""Bytes of a reply that is no HTTP, for a message."""

# What a client may overlook: none of it can be confused with another message on a connection used once.
_LENIENCIES = {
    "lenient_headers": True,
    "lenient_chunked_length": True,
    "lenient_data_after_close": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}


class TruncatedBody(Exception):
    """The body ended before its framing, or its compression, said so."""


class NoReply(Exception):
    """The connection ended before a head was complete."""


class NotHttp(Exception):
    """What came is not the head of an HTTP response. `what` says what is wrong with the server, the text why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


class UnreadableBody(Exception):
    """The body's compression is corrupt, or none that is known here."""


class Http1Response:
    """One response. Feed it until `head_ended`, then take pieces, and feed it again when there is none.

    Only the first final response counts: a server has no business to send another one, and it is not looked at.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case; of a repeated header the last one counts."""
        self.head_ended = False
        self._has_ended = False
        self._broken = ""
        self._size = 0  # bytes of the head
        self._opening = b""
        self._body: list[bytes] = []
        self._inflater: Inflater | None = None
        self._calls = calls = _Calls(self._body)
        calls.parser = self._parser = httptools.HttpResponseParser(calls)
        self._parser.set_dangerous_leniencies(**_LENIENCIES)

    def feed(self, data: bytes | memoryview) -> None:
        """Take in bytes. Raises `NotHttp`, as long as the head has not ended."""
        if self._has_ended or self._broken:
            return
        if not self.head_ended:
            self._opening += bytes(data[: _OPENING - len(self._opening)])
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._take_error(error)
        if not self.head_ended:
            self._size += len(data)
            self._end_head()
        if self._calls.message_ended:
            self._has_ended = True
            del self._body[self._calls.pieces :]

    def feed_eof(self, why: str = "the connection was closed") -> None:
        """The connection has ended. Raises `NoReply`, as long as the head has not ended."""
        if not self.head_ended:
            where = "within its reply" if self._size else "without a reply"
            raise NoReply(f"it closed the connection {where}")
        if self._until_close:
            self._has_ended = True
        elif not self._has_ended:
            self._broken = self._broken or why

    def break_off(self, why: str) -> None:
        """The connection has failed within the body."""
        if not self._has_ended:
            self._broken = self._broken or why

    @property
    def has_more(self) -> bool:
        """Whether there may be another piece without anything being fed."""
        return bool(self._body) or (self._inflater is not None and self._inflater.has_more)

    def next_piece(self) -> bytes | None:
        """The next bytes of the body; nothing when more must be fed first, None when the body has ended.

        Raises `TruncatedBody` once the pieces that came before are taken, and `UnreadableBody`.
        """
        piece = self._next_plain() if self._inflater is None else self._next_inflated(self._inflater)
        if piece:
            return piece
        if self._broken:
            raise TruncatedBody(self._broken)
        if not self._has_ended:
            return b""
        if self._inflater is not None and not self._inflater.is_whole:
            raise TruncatedBody("truncated compressed body")
        return None

    def _next_plain(self) -> bytes:
        piece = b"".join(self._body)
        self._body.clear()
        return piece

    def _next_inflated(self, inflater: Inflater) -> bytes:
        if self._body:
            inflater.feed(self._next_plain())
        return inflater.next_piece()

    @property
    def _until_close(self) -> bool:
        """Whether the end of the connection is the end of the body (RFC 9112 6.3)."""
        is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        return not is_chunked and "content-length" not in self.headers

    def _end_head(self) -> None:
        """Take over the head, when all of it has come."""
        calls = self._calls
        if not calls.head_ended:
            if self._size > MAX_HEAD_BYTES:
                raise NotHttp("does not speak HTTP", "response headers too large")
            return
        self.status, self.headers, self.head_ended = calls.status, calls.headers, True
        coding = ", ".join(_codings(self.headers.get("content-encoding", "")))
        if coding:
            self._inflater = Inflater(coding)

    def _take_error(self, error: Exception) -> None:
        """What is no HTTP is fatal in the head, the end of the body within it, and of no interest after it."""
        calls = self._calls
        if calls.message_ended:
            return
        if calls.head_ended:
            self._broken = "malformed chunked encoding"
            return
        if calls.status == 101:
            raise NotHttp("switched protocols", "101") from error
        raise NotHttp("does not speak HTTP", _why_not_http(self._opening, error)) from error


class _Calls:
    """What httptools calls back with: the head and the body of the first final message."""

    def __init__(self, body: list[bytes]) -> None:
        self.parser: Any = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head_ended = False
        self.message_ended = False
        self.pieces = 0
        """How many pieces the body has, once the message has ended: those behind it are another one's."""
        self._body = body
        self.on_body = body.append  # asked for once by httptools: each chunk goes from C to C

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_ended:  # else a trailer
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.head_ended:
            return
        self.status = self.parser.get_status_code()
        if 100 <= self.status < 200:
            self.headers.clear()  # an interim reply: the real one follows
        else:
            self.head_ended = True

    def on_message_complete(self) -> None:
        if self.head_ended and not self.message_ended:
            self.message_ended = True
            self.pieces = len(self._body)


def _codings(header: str) -> list[str]:
    """The codings that a Content-Encoding names, without those that change nothing."""
    names = (name.strip().lower() for name in header.split(","))
    return [name for name in names if name not in ("", "identity")]


def _why_not_http(opening: bytes, error: Exception) -> str:
    """For a message: the beginning of what came instead of HTTP, or what is wrong with a head that began as one."""
    if opening.startswith(b"HTTP/"):
        return f"malformed response: {error}".lower()
    return f"it says {opening.splitlines()[0].decode('utf-8', 'replace')!r}" if opening.strip() else "it says nothing"


# Compression -----------------------------------------------------------------------------------------------------

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Inflater:
    """gzip, of one member or several (RFC 1952 2.2), zlib, or the raw deflate that some servers send as "deflate"."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._packed = b""
        self._stream: Any = None
        self._members = 0  # that have ended
        self._is_full = False  # the last piece was as large as one may be: there may be more behind it
        self._is_over = False  # what follows is no member: padding, which is passed over as gzip(1) does

    def feed(self, data: bytes) -> None:
        self._packed += data

    @property
    def has_more(self) -> bool:
        return bool(self._packed) or self._is_full

    @property
    def is_whole(self) -> bool:
        """Whether no stream is open; of an empty body none ever was."""
        return self._stream is None and (self._members > 0 or not self._packed)

    def next_piece(self) -> bytes:
        """At most `PIECE` bytes, nothing when more must be fed. Raises `UnreadableBody`."""
        while self._packed or self._is_full:
            if self._stream is None and not self._begin_stream():
                return b""
            piece = self._inflate()
            if piece:
                return piece
        return b""

    def _inflate(self) -> bytes:
        stream = self._stream
        try:
            piece: bytes = stream.decompress(self._packed, PIECE)
        except zlib.error as error:
            raise UnreadableBody("corrupt compressed body") from error
        self._is_full = len(piece) == PIECE and not stream.eof
        self._packed = stream.unused_data if stream.eof else stream.unconsumed_tail
        if stream.eof:
            self._stream = None
            self._members += 1
        return piece

    def _begin_stream(self) -> bool:
        """Open the stream that begins here; False when that takes more bytes, or when none does."""
        if self._coding not in ("gzip", "x-gzip", "deflate"):
            raise UnreadableBody(f"it is compressed with {self._coding}")
        if self._is_over or (self._members and not _GZIP_MAGIC.startswith(self._packed[:2])):
            self._is_over, self._packed = True, b""
            return False
        if len(self._packed) < 2:
            return False
        self._stream = zlib.decompressobj(wbits=self._window(self._packed[:2]))
        return True

    def _window(self, opening: bytes) -> int:
        """zlib's name for the format that begins so: servers confuse them, and each can be told by two bytes."""
        if opening == _GZIP_MAGIC:
            return _GZIP
        if opening[0] & 0x0F == zlib.DEFLATED and int.from_bytes(opening, "big") % 31 == 0:  # RFC 1950 2.2
            return _ZLIB
        if self._coding == "deflate":
            return _RAW
        raise UnreadableBody("corrupt compressed body")
