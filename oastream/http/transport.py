"""A `Request` → the head and the body's bytes of its response, over a socket.

In: a request, a deadline for each wait. Out: a `Response` whose `read` gives the body as it arrives.
Moves bytes and no more: the waits are `Watch`'s, the rules of HTTP are `http1`'s, the way to the server is `route`'s.
Does not know what the body means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from oastream.http.connect import connect
from oastream.http.http1 import Http1Response, NoReply, NotHttp, UnreadableBody, serialize_request
from oastream.http.request import Request
from oastream.http.route import route_to
from oastream.watch import READ, READ_SIZE, WRITE, Watch

_NOTHING = memoryview(b"")


class Response:
    """The server's response: its head is there, its body is read piece by piece. Close it to end the request.

    The request goes up while the response comes down: a server may answer before it has all of it (413), and read no
    more.
    """

    def __init__(self, connection: Any, label: str, watch: Watch, request: bytes) -> None:
        """`connection` does not block; `label` is how messages name the server."""
        self._connection = connection
        self._label = label
        self._watch = watch
        self._message = Http1Response()
        self._unsent = memoryview(request)
        self._buffer = memoryview(bytearray(READ_SIZE))  # one for all reads: a new one takes as long as the read
        self._is_overtime = False
        self._pending: Callable[[], int] | None = getattr(connection, "pending", None)  # a plain socket has none

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
        self._connection.close()

    def read_head(self, deadline: float) -> None:
        """Send the request, wait for the head. Raises `TimeoutError`, or `Failure`: unreachable, not_api."""
        try:
            while not self._message.head_ended:
                self._feed(self._receive(deadline))
        except TimeoutError:
            raise
        except (OSError, NoReply, NotHttp) as error:
            raise self._as_failure(error) from error
        if self._message.refuses_request:
            self._unsent = _NOTHING

    def read(self, deadline: float) -> bytes | None:
        """The next bytes of the body, None at its end.

        Raises `TimeoutError` when the deadline passes first, `TruncatedBody` when the connection ends within the body,
        `Failure` when its compression cannot be read.
        """
        message = self._message
        if message.has_more:  # small bodies inflate to large ones: many pieces may need no wait
            self._poll_watch(deadline)
        elif message.is_in_body:
            self._feed_body(deadline)
        try:
            while (piece := message.next_piece()) == b"":
                self._feed_body(deadline)
        except UnreadableBody as error:
            raise self._as_failure(error) from error
        return piece

    def _feed_body(self, deadline: float) -> None:
        try:
            self._feed(self._receive(deadline))
        except TimeoutError:
            raise
        except OSError as error:
            from oastream.system_errors import describe_break  # only to say what went wrong

            self._message.break_off(describe_break(error))

    def _feed(self, data: memoryview) -> None:
        if data:
            self._message.feed(data)
        else:
            self._message.feed_eof()

    def _as_failure(self, error: Exception) -> BaseException:
        from oastream.http.connection_errors import as_failure  # only to say what went wrong

        return as_failure(error, self._label)

    # The socket --------------------------------------------------------------------------------------------------

    def _receive(self, deadline: float) -> memoryview:
        """What one read of the socket brings, nothing at its end; valid until the next read. Sends what is unsent.

        Raises `TimeoutError` for the deadline alone, another `OSError` when the connection fails.
        """
        while True:
            if self._has_pending():
                self._poll_watch(deadline)
            else:
                self._wait(deadline)
            if self._unsent:
                self._send_more()
            # Also after a send that failed, and when the poll was for writing: what is there to read counts first.
            data = self._read_socket()
            if data is not None:
                return data

    def _wait(self, deadline: float) -> None:
        """Until there is something to do."""
        self._is_overtime = self._watch.now() >= deadline and self._allow_overtime()
        events = READ
        if self._unsent:
            events |= WRITE
        if not self._watch.wait_for(self._connection.fileno(), events, deadline):
            raise TimeoutError

    def _poll_watch(self, deadline: float) -> None:
        """Where there is no need to wait, the deadline, signals and a reader that has gone count all the same."""
        self._is_overtime = self._watch.now() >= deadline and self._allow_overtime()
        self._watch.wait_for(self._connection.fileno(), READ, 0.0)

    def _allow_overtime(self) -> bool:
        """The deadline has passed: True the first time, `TimeoutError` the second time in a row.

        Bytes that are there when it has are still taken once: the process may have been stopped. A server that drips
        forever does not get a second time.
        """
        if self._is_overtime:
            raise TimeoutError
        return True

    def _send_more(self) -> None:
        """As much of the request as the connection takes. One that fails may have brought an answer before."""
        try:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except OSError as error:
            if not _would_block(error):
                self._unsent = _NOTHING  # the next read tells how the connection ended

    def _read_socket(self) -> memoryview | None:
        """What is there to be read, None when nothing is."""
        try:
            return self._buffer[: self._connection.recv_into(self._buffer)]
        except TimeoutError as error:  # the kernel's ETIMEDOUT, of a peer that is gone: no deadline of ours
            raise ConnectionError(error.errno, "connection timed out") from error
        except OSError as error:
            if _would_block(error):
                return None
            raise

    def _has_pending(self) -> bool:
        """Whether TLS holds bytes that the socket will not announce again."""
        return self._pending is not None and self._pending() > 0


def _would_block(error: OSError) -> bool:
    """Whether the socket has no more to give or to take now. TLS says so in words of `ssl`, which http never loads."""
    return isinstance(error, BlockingIOError) or type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")


def open_response(
    request: Request, environ: Mapping[str, str], watch: Watch, connect_deadline: float, deadline: float
) -> Response:
    """Send the request and wait for the head of its response.

    Raises `Failure` (unreachable, timeout, tls, config, not_api, signal) and `TimeoutError` for `deadline`.
    """
    route = route_to(request.url, environ)
    connection = connect(route, watch, connect_deadline)
    headers = (*request.headers, *route.proxy_headers)
    data = serialize_request(request.method, route.request_target, headers, request.body)
    response = Response(connection, route.server, watch, data)
    try:
        response.read_head(deadline)
    except BaseException:
        response.__exit__()
        raise
    return response
