"""A `Request` → the head and the body's bytes of its response, over a socket.

In: a request, a deadline for each wait. Out: a `Response` whose `read` gives the body as it comes.
The waits are `Watch`'s, HTTP is `http1`'s; their errors become ours here. Does not know what the body means.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlunsplit

from oastream.exits import Outcome, failure_of
from oastream.http.connect import Line, connect, origin, translated
from oastream.http.http1 import Http1Response, NoReply, NotHttp, UnreadableBody
from oastream.http.request import Request
from oastream.watch import READ, WRITE, Watch

READ_SIZE = 1 << 16
_NOTHING = memoryview(b"")


class Response:
    """The server's response: its head is there, its body is read piece by piece. Close it to end the request.

    The request goes up while the response comes down: a server may answer before it has all of it (413), and read no
    more.
    """

    def __init__(self, line: Line, url: SplitResult, watch: Watch, request: bytes) -> None:
        self._line = line
        self._socket = line.socket
        self._url = url
        self._watch = watch
        self._message = Http1Response()
        self._unsent = memoryview(request)
        self._buffer = memoryview(bytearray(READ_SIZE))  # one for all reads: a new one takes as long as the read
        self._overdue = False

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

    def read_head(self, deadline: float) -> None:
        """Send the request, wait for the head. Raises `TimeoutError`, `OSError`, or `Failure`: unreachable, not_api."""
        while not self._message.head_ended:
            self._feed(self._received(deadline))
        if self.status >= 300:
            self._unsent = _NOTHING  # as curl does: what is refused need not be sent to its end

    def read(self, deadline: float) -> bytes | None:
        """The next bytes of the body, None at its end.

        Raises `TimeoutError` when the deadline passes first, `Cut` when the connection ends within the body, `Failure`
        when its compression cannot be read.
        """
        message = self._message
        if message.has_more:  # of what was read before: small bodies inflate to large ones, without another wait
            self._look_up(deadline)
        while True:
            try:
                piece = message.next_piece()
            except UnreadableBody as error:
                raise failure_of(Outcome.MALFORMED, "cannot read the answer", error) from error
            if piece or piece is None:
                return piece
            try:
                data = self._received(deadline)
            except TimeoutError:
                raise
            except OSError as error:
                message.break_off("connection timed out" if error.errno == errno.ETIMEDOUT else "connection reset")
            else:
                self._feed(data)

    def _feed(self, data: memoryview) -> None:
        try:
            self._message.feed(data) if data else self._message.feed_eof()
        except NoReply as error:
            raise failure_of(Outcome.UNREACHABLE, f"no reply from {origin(self._url)}", error) from error
        except NotHttp as error:
            raise failure_of(Outcome.NOT_API, f"{origin(self._url)} {error.what}", error) from error

    # The socket --------------------------------------------------------------------------------------------------

    def _received(self, deadline: float) -> memoryview:
        """What one read of the socket brings, nothing at its end; valid until the next read. Sends what is unsent.

        Raises `TimeoutError` for the deadline alone, another `OSError` when the connection fails.
        """
        while True:
            if self._has_pending():
                self._look_up(deadline)
            else:
                self._wait(deadline)
            if self._unsent:
                self._send_more()
            data = self._take()
            if data is not None:
                return data

    def _wait(self, deadline: float) -> None:
        """Until there is something to do.

        Bytes that are there when the deadline has passed are still taken once (the process may have been stopped);
        a server that drips for ever does not get a second time.
        """
        overdue = self._watch.now() >= deadline
        events = READ | WRITE if self._unsent else READ
        if (overdue and self._overdue) or not self._watch.ready(self._socket.fileno(), events, deadline):
            raise TimeoutError
        self._overdue = overdue

    def _look_up(self, deadline: float) -> None:
        """Where there is no need to wait: heed signals, the deadline, and a reader that has gone, all the same."""
        overdue = self._watch.now() >= deadline
        if overdue and self._overdue:
            raise TimeoutError
        self._overdue = overdue
        self._watch.ready(self._socket.fileno(), READ, 0.0)

    def _send_more(self) -> None:
        """As much of the request as the connection takes. One that fails may have brought an answer before."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except OSError as error:
            if not _would_block(error):
                self._unsent = _NOTHING

    def _take(self) -> memoryview | None:
        """What is there to be read, None when nothing is."""
        try:
            return self._buffer[: self._socket.recv_into(self._buffer)]
        except TimeoutError as error:  # the kernel's ETIMEDOUT, of a peer that is gone: no deadline of ours
            raise ConnectionError(error.errno, "connection timed out") from error
        except OSError as error:
            if _would_block(error):
                return None
            raise

    def _has_pending(self) -> bool:
        """Whether TLS holds bytes that the socket will not announce again."""
        pending = getattr(self._socket, "pending", None)
        return pending is not None and pending() > 0


def _would_block(error: OSError) -> bool:
    """Whether the socket has no more to give or to take now. TLS says so in words of `ssl`, which http never loads."""
    return isinstance(error, BlockingIOError) or type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def open_response(
    request: Request, environ: Mapping[str, str], watch: Watch, connect_deadline: float, deadline: float
) -> Response:
    """Send the request and wait for the head of its response.

    Raises `Failure` (unreachable, timeout, tls, config, not_api, signal) and `TimeoutError` for `deadline`.
    """
    line = connect(request.url, environ, watch, connect_deadline)
    response = Response(line, request.url, watch, serialised(request, line.through_proxy))
    try:
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
