"""HTTP/1.1: a request → its bytes; the bytes of a response → its head, its body in bounded pieces, and its end.

In: what the connection brings, cut anywhere, and that it has ended. Out: status and headers, the body without its
framing and its compression, whether it is whole, and whether the connection may carry another request. Framing is
httptools' (the parser of Node.js, in C).
Does no I/O, and knows nothing of deadlines, APIs or exit statuses. Whatever HTTP asks of a client is decided here, so
that whoever owns a connection only moves bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import httptools

if TYPE_CHECKING:
    from oastream.http.inflate import Inflater

MAX_HEAD_BYTES = 256 * 1024
"""Largest status line and headers together, interim replies included."""
_MAX_SHOWN_BYTES = 40
"""Bytes of a reply that is no HTTP, for a message."""

# What a client may overlook: none of it lets one message pass for another on a connection that is used once. Where it
# might on one that is used again, `is_reusable` says no.
_LENIENCIES = {
    "lenient_headers": True,  # control characters in a value, which some gateways send
    "lenient_chunked_length": True,  # both framings at once: chunked counts (RFC 9112 6.3)
    "lenient_data_after_close": True,  # whatever follows the answer, it is complete
    "lenient_optional_cr_before_lf": True,  # a bare LF ends a line (RFC 9112 2.2)
    "lenient_spaces_after_chunk_size": True,  # old Apache and IIS pad it
}


class TruncatedBody(Exception):
    """The body ended before its framing, or its compression, said so."""


class NoReply(Exception):
    """The connection ended before a head was complete.

    `is_silent` is whether nothing at all had arrived: on a connection that was kept, the server may have closed it
    before it saw the request, which may then be sent again (RFC 9112 9.3.1).
    """

    def __init__(self, is_silent: bool) -> None:
        where = "within its reply"
        if is_silent:
            where = "without a reply"
        super().__init__(f"it closed the connection {where}")
        self.is_silent = is_silent


class NotHttp(Exception):
    """What arrived is not the head of an HTTP response. `what` says what is wrong with the server, the text why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


class HeadTooLarge(NotHttp):
    """The head has more bytes than one may have."""

    def __init__(self) -> None:
        super().__init__("does not speak HTTP", "response headers too large")


class UnreadableBody(Exception):
    """The body's compression is corrupt, or none that is known here."""


# The request -----------------------------------------------------------------------------------------------------


def serialize_request(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """The request as it goes over the wire. Its length is told here, whatever the headers are."""
    opening = serialize_opening(method, target, headers)
    if body or method == "POST":  # a POST without a body says so (RFC 9110 8.6)
        return with_body(opening, body)
    return opening + b"\r\n"


def serialize_opening(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head without its length and its end: what requests that differ in their bodies have in common."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, ""]).encode("latin-1")


def with_body(opening: bytes, body: bytes) -> bytes:
    """The request that begins so."""
    return b"%bContent-Length: %d\r\n\r\n%b" % (opening, len(body), body)


# The head of a response ------------------------------------------------------------------------------------------


class HeadReader:
    """Reads up to the end of the first final head; interim ones (1xx, RFC 9110 15.2) are passed over.

    httptools calls back its `on_…` methods. `error` is what the parser could not read.
    """

    __slots__ = ("_max_bytes", "_opening", "_parser", "_size", "error", "headers", "is_complete", "reason", "status")

    def __init__(self, max_bytes: int) -> None:
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[str, str]] = []
        """Names in lower case, in the order and as often as they were sent; trailers are not among them."""
        self.is_complete = False
        self.error: Exception | None = None
        self._max_bytes = max_bytes
        self._size = 0
        self._opening = b""
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_LENIENCIES)

    @property
    def has_begun(self) -> bool:
        """Whether anything at all has arrived."""
        return self._size > 0

    @property
    def opening(self) -> bytes:
        """The first bytes, for a message."""
        return self._opening

    def feed(self, data: bytes | memoryview) -> None:
        """Take in bytes, up to those that complete the head. Raises `NotHttp`."""
        self._size += len(data)
        self._opening += bytes(data[: _MAX_SHOWN_BYTES - len(self._opening)])
        self.parse(data)
        if self.is_complete:  # one read may bring the end of the head and much of the body
            return
        if self.error is not None:
            raise self._as_not_http(self.error) from self.error
        if self._size > self._max_bytes:
            raise HeadTooLarge

    def parse(self, data: bytes | memoryview) -> None:
        """Give bytes to the parser, of the head or behind it; what it cannot read is in `error`."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.error = error

    def on_message_begin(self) -> None:
        if not self.is_complete:
            self.reason = b""

    def on_status(self, reason: bytes) -> None:
        if not self.is_complete:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_complete:  # else a trailer
            self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self.is_complete:
            return
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            self.headers.clear()  # an interim reply: the real one follows
        else:
            self.is_complete = True

    def _as_not_http(self, error: Exception) -> NotHttp:
        if self.status == 101:  # nobody asked for another protocol
            return NotHttp("switched protocols", "101")
        if self._opening.startswith(b"HTTP/"):
            return NotHttp("does not speak HTTP", f"malformed response: {error}".lower())
        if not self._opening.strip():
            return NotHttp("does not speak HTTP", "it says nothing")
        line = self._opening.splitlines()[0].decode("utf-8", "replace")
        return NotHttp("does not speak HTTP", f"it says {line!r}")


class _MessageReader(HeadReader):
    """Reads the first final message to its end."""

    __slots__ = ("_body", "is_followed", "keeps_alive", "message_ended", "on_body", "pieces")

    def __init__(self, body: list[bytes]) -> None:
        self.message_ended = False
        self.pieces = 0
        """How many pieces the body has, once the message has ended: those behind it are another one's."""
        self.keeps_alive = False
        self.is_followed = False
        """Whether another message has begun, which nobody asked for."""
        self._body = body
        self.on_body = body.append  # httptools looks it up once: each chunk goes from C to C
        super().__init__(MAX_HEAD_BYTES)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.message_ended:
            self.is_followed = True

    def forget(self) -> None:
        """The head has been read: what it was made of is not needed any more."""
        self.headers.clear()
        self._opening = b""

    def let_go(self) -> None:
        """Nothing is read any more. The parser knows us and we know it: only a collection would free the two."""
        self._parser = None

    def on_message_complete(self) -> None:
        if self.is_complete and not self.message_ended:
            self.message_ended = True
            self.pieces = len(self._body)
            # Asked now: the parser forgets with the message what its headers said.
            self.keeps_alive = self._parser.should_keep_alive()


# The whole response ----------------------------------------------------------------------------------------------


class _State(enum.Enum):
    """How far a response has got, and what may happen next.

              feed                    feed_eof                             break_off
    HEAD      BODY, COMPLETE          raises `NoReply`                     not called: the error itself says why
    BODY      COMPLETE, BROKEN        COMPLETE where the end of the        BROKEN
                                      connection ends it, else BROKEN
    COMPLETE  what follows is not looked at, the connection not used again
    BROKEN    likewise
    """

    HEAD = enum.auto()
    BODY = enum.auto()
    COMPLETE = enum.auto()
    BROKEN = enum.auto()


# As globals: until Python 3.12 a member is looked up by code in Python, 1,000 instructions each time.
_HEAD, _BODY, _COMPLETE, _BROKEN = _State
_NO_HEADERS: dict[str, str] = {}


class Http1Response:
    """One response. Feed it until `head_ended`, then take pieces, and feed it again when there is none.

    Only the first final response counts: a server has no business to send another one, and it is not looked at.
    """

    __slots__ = (
        "_body",
        "_break_reason",
        "_ends_with_connection",
        "_has_excess",
        "_inflater",
        "_is_ambiguous",
        "_reader",
        "_state",
        "headers",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.headers = _NO_HEADERS
        """Names in lower case; of a repeated header the last one counts. Whoever has read them may drop them."""
        self._state = _HEAD
        self._break_reason = ""
        self._body: list[bytes] = []
        self._inflater: Inflater | None = None
        self._has_excess = False
        self._is_ambiguous = False
        """Two framings at once are how a response is smuggled in behind another (RFC 9112 6.3, 11.2)."""
        self._ends_with_connection = False
        """Whether the end of the connection is the end of the body (RFC 9112 6.3)."""
        self._reader = _MessageReader(self._body)

    @property
    def head_ended(self) -> bool:
        return self._state is not _HEAD

    @property
    def is_in_body(self) -> bool:
        """Whether the body has begun, and neither ended nor broken."""
        return self._state is _BODY

    @property
    def refuses_request(self) -> bool:
        """Whether the rest of a request need not be sent, as curl has it: a server may answer before it has all."""
        return self.status >= 300

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another request, if this one was sent to its end (RFC 9112 9.3)."""
        reader = self._reader
        is_followed = self._has_excess or reader.is_followed or reader.error is not None
        return self._state is _COMPLETE and reader.keeps_alive and not is_followed and not self._is_ambiguous

    def feed(self, data: bytes | memoryview) -> None:
        """Take in bytes. Raises `NotHttp`, as long as the head has not ended."""
        reader = self._reader
        if self._state is _BODY:
            reader.parse(data)
        elif self._state is _HEAD:
            reader.feed(data)
            if not reader.is_complete:
                return
            self._begin_body()
        else:
            self._has_excess = True
            return
        if reader.message_ended:
            self._state = _COMPLETE
            del self._body[reader.pieces :]
            reader.let_go()
        elif reader.error is not None:
            self.break_off("malformed chunked encoding")

    def feed_eof(self, why: str = "the connection was closed") -> None:
        """The connection has ended. Raises `NoReply`, as long as the head has not ended."""
        if self._state is _HEAD:
            raise NoReply(is_silent=not self._reader.has_begun)
        if self._state is not _BODY:
            return
        if self._ends_with_connection:
            self._state = _COMPLETE
        else:
            self.break_off(why)

    def break_off(self, why: str) -> None:
        """The connection has failed; of interest only within the body."""
        assert self._state is not _HEAD
        if self._state is _BODY:
            self._state = _BROKEN
            self._break_reason = why

    @property
    def has_more(self) -> bool:
        """Whether there may be another piece without anything being fed."""
        return bool(self._body) or (self._inflater is not None and self._inflater.has_more)

    def next_piece(self) -> bytes | None:
        """The next bytes of the body; nothing when more must be fed first, None when the body has ended.

        Raises `TruncatedBody` once the pieces that came before are taken, and `UnreadableBody`.
        """
        piece = self._next_available()
        if piece:
            return piece
        if self._state is _BROKEN:
            raise TruncatedBody(self._break_reason)
        if self._state is not _COMPLETE:
            return b""
        if self._inflater is not None and not self._inflater.is_whole:
            raise TruncatedBody("truncated compressed body")
        return None

    def _next_available(self) -> bytes:
        piece = b"".join(self._body)
        self._body.clear()
        if self._inflater is None:
            return piece
        if piece:
            self._inflater.feed(piece)
        try:
            return self._inflater.next_piece()
        except ValueError as error:
            raise UnreadableBody(str(error)) from error

    def _begin_body(self) -> None:
        self._state = _BODY
        self.status = self._reader.status
        self.headers = dict(self._reader.headers)
        self._reader.forget()
        is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        has_length = "content-length" in self.headers
        self._ends_with_connection = not is_chunked and not has_length
        self._is_ambiguous = "transfer-encoding" in self.headers and has_length
        if coding := ", ".join(_codings(self.headers.get("content-encoding", ""))):
            from oastream.http.inflate import Inflater  # we ask for none: few servers send one all the same

            self._inflater = Inflater(coding)


def _codings(header: str) -> list[str]:
    """The codings that a Content-Encoding names, without those that change nothing."""
    names = (name.strip().lower() for name in header.split(","))
    return [name for name in names if name not in ("", "identity")]
