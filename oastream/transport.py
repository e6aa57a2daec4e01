"""A `Request` → the head and the body's bytes of its response, over HTTP/1.1.

In: a request, a deadline for each wait. Out: a `Response` whose `read` gives the body as it comes.
Framing is httptools' (the parser of Node.js, in C); the waits are `Watch`'s. Does not know what the body means.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlunsplit

import httptools

from oastream.connect import Line, connect, origin, translated
from oastream.endpoint import Request
from oastream.exits import Outcome, failure
from oastream.watch import READ, WRITE, Watch

PIECE = 1 << 16
MAX_HEAD_BYTES = 256 * 1024
"""Largest status line and headers together."""


# What a client may overlook: none of it can be confused with another message on a connection used once.
_LENIENCIES = {
    "lenient_headers": True,
    "lenient_chunked_length": True,
    "lenient_data_after_close": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_spaces_after_chunk_size": True,
}


class Cut(Exception):
    """The body ended before its framing said so."""


class Response:
    """The server's response: its head is there, its body is read piece by piece. Close it to end the request."""

    def __init__(self, line: Line, url: SplitResult, watch: Watch) -> None:
        self._line = line
        self._socket = line.socket
        self._url = url
        self._watch = watch
        self._message = _Message()
        self._parser = self._message.parser = httptools.HttpResponseParser(self._message)
        self._parser.set_dangerous_leniencies(**_LENIENCIES)
        self._buffer = memoryview(bytearray(PIECE))  # one for all reads: a new one for each takes as long as the read
        self._unzip: Any = None
        self._overdue = False
        self._broken = ""

    @property
    def status(self) -> int:
        return self._message.status

    @property
    def headers(self) -> dict[str, str]:
        """Names in lower case; of a repeated header the last one counts."""
        return self._message.headers

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def send(self, data: bytes, deadline: float) -> None:
        """Write the whole request. A server that closes early may have answered: that is for `read_head` to find."""
        left = memoryview(data)
        while left:
            if not self._watch.ready(self._socket.fileno(), WRITE, deadline):
                raise TimeoutError
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                if type(error).__name__.startswith("SSLWant"):
                    continue
                return

    def read_head(self, deadline: float) -> None:
        """Wait for the head. Raises `TimeoutError`, or `Failure`: unreachable, not_api."""
        size = 0
        while not self._message.head_ended:
            data = self._received(deadline)
            size += len(data)
            if not data:
                why = (
                    "it closed the connection within its reply" if size else "it closed the connection without a reply"
                )
                raise failure(Outcome.UNREACHABLE, f"no reply from {origin(self._url)}", why)
            if size > MAX_HEAD_BYTES and not self._message.head_ended:
                raise failure(Outcome.NOT_API, f"{origin(self._url)} does not speak HTTP", "its headers have no end")
            self._feed(data)
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        elif encoding not in ("identity", ""):
            raise failure(Outcome.MALFORMED, "cannot read the answer", f"it is compressed with {encoding}")

    def read(self, deadline: float) -> bytes | None:
        """The next bytes of the body, None at its end.

        Raises `TimeoutError` when the deadline passes first, `Cut` when the connection ends within the body.
        """
        while True:
            if self._message.body:
                body = b"".join(self._message.body)
                self._message.body.clear()
                return self._unzipped(body)
            if self._broken:
                raise Cut(self._broken)
            if self._message.ended:
                self._check_whole()
                return None
            try:
                data = self._received(deadline)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise
                raise Cut("connection reset") from error
            if not data:
                if self._message.until_close:
                    self._check_whole()
                    return None
                raise Cut("the connection was closed")
            self._feed(data)

    def _check_whole(self) -> None:
        """The body ended where its framing says so; what it was compressed with may say otherwise."""
        if self._unzip is not None and not self._unzip.eof:
            raise Cut("its compression was cut short")

    def _received(self, deadline: float) -> memoryview:
        """What one read of the socket brings, nothing at its end; valid until the next read.

        Bytes that are there when the deadline has passed are still taken once (the process may have been stopped);
        a server that drips for ever does not get a second time.
        """
        while True:
            if not self._pending():
                overdue = self._watch.now() >= deadline
                if (overdue and self._overdue) or not self._watch.ready(self._socket.fileno(), READ, deadline):
                    raise TimeoutError
                self._overdue = overdue
            try:
                return self._buffer[: self._socket.recv_into(self._buffer)]
            except BlockingIOError:
                continue
            except OSError as error:
                if type(error).__name__.startswith("SSLWant"):
                    continue
                raise

    def _pending(self) -> bool:
        """Whether TLS holds bytes that the socket will not announce again."""
        pending = getattr(self._socket, "pending", None)
        return pending is not None and pending() > 0

    def _feed(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise failure(Outcome.NOT_API, f"{origin(self._url)} changed the protocol", "101") from error
        except httptools.HttpParserError as error:
            if self._message.ended:
                return  # bytes after the end of the message
            if self._message.head_ended:
                self._broken = "its chunks are malformed"
                return
            why = _first_line(bytes(data[:40]))
            raise failure(Outcome.NOT_API, f"{origin(self._url)} does not speak HTTP", why) from error

    def _unzipped(self, data: bytes) -> bytes:
        """At most `PIECE` bytes at a time: what a small body inflates to must not be held at once."""
        if self._unzip is None:
            return data
        try:
            plain: bytes = self._unzip.decompress(data, PIECE)
        except zlib.error as error:
            raise failure(Outcome.MALFORMED, "cannot read the answer", "its compression is broken") from error
        if self._unzip.unconsumed_tail:
            self._message.body.insert(0, self._unzip.unconsumed_tail)
        return plain


class _Message:
    """What httptools calls back with: the head, the body's pieces, and whether each has ended."""

    def __init__(self) -> None:
        self.parser: Any = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.head_ended = False
        self.ended = False
        self.on_body = self.body.append

    @property
    def until_close(self) -> bool:
        """Whether the end of the connection is the end of the body."""
        return "content-length" not in self.headers and "chunked" not in self.headers.get("transfer-encoding", "")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        if 100 <= self.status < 200:
            self.headers.clear()  # an interim reply: the real one follows
        else:
            self.head_ended = True

    def on_message_complete(self) -> None:
        self.ended = self.head_ended


def open_response(
    request: Request, environ: Mapping[str, str], watch: Watch, connect_deadline: float, deadline: float
) -> Response:
    """Send the request and wait for the head of its response.

    Raises `Failure` (unreachable, timeout, tls, config, not_api, signal) and `TimeoutError` for `deadline`.
    """
    line = connect(request.url, environ, watch, connect_deadline)
    response = Response(line, request.url, watch)
    try:
        response.send(serialised(request, line.through_proxy), deadline)
        response.read_head(deadline)
    except TimeoutError:
        response.__exit__()
        raise
    except OSError as error:
        response.__exit__()
        raise translated(error, origin(request.url)) from error
    except BaseException:
        response.__exit__()
        raise
    return response


def serialised(request: Request, through_proxy: tuple[tuple[str, str], ...] | None) -> bytes:
    """The request as it goes over the wire; a plain-http proxy gets the whole URL and its own headers."""
    url = request.url
    target = urlunsplit(("", "", url.path or "/", url.query, "")) if through_proxy is None else urlunsplit(url)
    lines = [f"{request.method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (*request.headers, *(through_proxy or ()))]
    if request.body or request.method == "POST":
        lines.append(f"Content-Length: {len(request.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body


def _first_line(data: bytes) -> str:
    """The beginning of what came instead of HTTP, for a message."""
    return f"it says {data.splitlines()[0].decode('utf-8', 'replace')!r}" if data.strip() else "it says nothing"
