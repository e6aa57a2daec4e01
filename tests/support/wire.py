"""A scripted server on loopback: each connection reads one request and plays a list of steps.

In: steps, or bytes to send. Out: the bytes on the wire, and a record of what the client sent and when it closed.
It knows no API. The bytes it is given come from `tests.support.streams`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

PATIENCE = 30.0  # a stalled connection ends after this, so that a broken client cannot hang the suite


@dataclass(slots=True)
class Request:
    """What one connection asked for. `closed` is set when the client has closed, `closed_at` says when."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    closed: threading.Event = field(default_factory=threading.Event)
    closed_at: float | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Step = Callable[[socket.socket], object]
Reply = bytes | Sequence[Step]
NO_HEADERS: Mapping[str, str] = {}


def send(data: bytes) -> Step:
    return lambda connection: connection.sendall(data)


def sleep(seconds: float) -> Step:
    return lambda connection: time.sleep(seconds)


def wait(event: threading.Event) -> Step:
    """Go on when the test says so."""
    return lambda connection: event.wait(PATIENCE)


def mark(event: threading.Event) -> Step:
    """Tell the test that the script has got this far."""
    return lambda connection: event.set()


def forever(data: bytes, pause: float = 0.0) -> Step:
    """Send the same bytes until the client closes."""

    def play(connection: socket.socket) -> None:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            connection.sendall(data)
            if pause:
                time.sleep(pause)

    return play


def stall(connection: socket.socket) -> None:
    """Send nothing, until the client closes."""
    connection.settimeout(PATIENCE)
    while connection.recv(65536):
        pass
    raise ConnectionResetError


def fin(connection: socket.socket) -> None:
    """End our side, as a clean end of the body."""
    if isinstance(connection, ssl.SSLSocket):
        try:
            connection.unwrap()
        except ValueError as error:  # the test has ended, and its server with it
            raise ConnectionResetError from error
    else:
        connection.shutdown(socket.SHUT_WR)


def drop(connection: socket.socket) -> None:
    """Close without a word: over TLS, without the close_notify that marks a clean end."""
    connection.close()
    raise ConnectionResetError


def rst(connection: socket.socket) -> None:
    """Reset the connection."""
    time.sleep(0.02)  # a reset overtakes bytes that the peer has not read yet
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionResetError


def http_response(
    body: bytes | str = b"",
    status: str = "200 OK",
    content_type: str = "application/json",
    headers: Mapping[str, str] = NO_HEADERS,
) -> bytes:
    """A whole answer with a Content-Length."""
    content = body
    if isinstance(content, str):
        content = content.encode()
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


Framing = Literal["chunked", "length", "close"]


def head(
    framing: Framing,
    length: int = 0,
    content_type: str = "text/event-stream; charset=utf-8",
    headers: Mapping[str, str] = NO_HEADERS,
) -> bytes:
    """The head of a 200 that streams."""
    frame = {"chunked": "Transfer-Encoding: chunked\r\n", "length": f"Content-Length: {length}\r\n", "close": ""}
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{frame[framing]}{extra}Connection: close\r\n\r\n".encode()
    )


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def cut(body: bytes, pieces: int | Sequence[int] | None) -> list[bytes]:
    """The body whole, in pieces of n bytes, or cut at the given offsets."""
    if pieces is None:
        return [body]
    offsets = range(pieces, len(body), pieces) if isinstance(pieces, int) else pieces
    edges = [0, *offsets, len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges) if b > a]


def sse_response(
    body: bytes,
    framing: Framing = "chunked",
    pieces: int | Sequence[int] | None = None,
    content_type: str = "text/event-stream; charset=utf-8",
    headers: Mapping[str, str] = NO_HEADERS,
    ending: Sequence[Step] | None = None,
) -> list[Step]:
    """A streamed 200. `ending` plays instead of the clean end (the last chunk, and FIN)."""
    frame: Callable[[bytes], bytes] = bytes
    clean: Sequence[Step] = [fin]
    if framing == "chunked":
        frame, clean = chunk, [send(b"0\r\n\r\n"), fin]
    if ending is None:
        ending = clean
    return [
        send(head(framing, len(body), content_type, headers)),
        *(send(frame(piece)) for piece in cut(body, pieces) if piece),
        *ending,
    ]


def stall_after(body: bytes) -> list[Step]:
    """A stream that comes this far, and then no further; the connection stays open."""
    return sse_response(body, ending=[stall])


class Server:
    """Plays its replies in turn, one a connection; the last one again and again."""

    def __init__(self, replies: Sequence[Reply], tls: ssl.SSLContext | None = None) -> None:
        self.replies = replies
        self.tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/v1"

    @property
    def request(self) -> Request:
        """The only request."""
        assert len(self.requests) == 1, f"{len(self.requests)} requests: {self.requests}"
        return self.requests[0]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # Linux: close alone leaves accept() waiting
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def reply(self, request: Request, number: int) -> Reply:
        """What to play on the connection with this number, from 0."""
        return self.replies[min(number, len(self.replies) - 1)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(PATIENCE)
        with self._lock:
            self._open.add(raw)
        connection = raw
        request: Request | None = None
        try:
            if self.tls:
                connection = self.tls.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._open.add(connection)
            request = read_request(connection)
            self.requests.append(request)
            play(self.reply(request, number), connection)
        except OSError:
            pass
        finally:
            if request:
                request.closed_at = time.monotonic()
                request.closed.set()
            with self._lock:
                self._open -= {raw, connection}
            with contextlib.suppress(OSError):
                connection.close()
            raw.close()


def play(reply: Reply, connection: socket.socket) -> None:
    """All the steps; after the last one, a clean end, and the wait for the client's own."""
    steps: Sequence[Step] = [send(reply), fin] if isinstance(reply, bytes) else reply
    for step in steps:
        step(connection)
    if not steps or steps[-1] is not fin:
        fin(connection)
    stall(connection)


def read_request(connection: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            raise ConnectionResetError
        data += received
        if data.startswith(b"\x16"):  # TLS, and we are not: answered as nginx does
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            raise ConnectionResetError
    top, _, rest = data.partition(b"\r\n\r\n")
    body = bytearray(rest)
    line, *lines = top.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        received = connection.recv(1 << 20)
        if not received:
            raise ConnectionResetError
        body += received
    method, path, _ = line.split(" ", 2)
    return Request(method, path, headers, bytes(body), time.monotonic())


@contextlib.contextmanager
def serve(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for the length of a test."""
    server = Server(replies, tls)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def serve_connections(play: Step) -> Iterator[str]:
    """The base URL of a server that does with each connection what `play` does, and reads nothing by itself."""

    def serve_one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            play(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve_one, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)  # Linux: close alone leaves accept() waiting


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
