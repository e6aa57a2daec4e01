"""A server that keeps its connections: each request on them is answered by a function of the test's.

In: that function, request → steps (`tests.support.wire`) or bytes. Out: the bytes on the wire, and a record of what was
asked, on which connection. Knows nothing of oastream; what a good answer to either API is comes from `streams`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support import streams
from tests.support.wire import NO_HEADERS, PATIENCE, Reply, chunk


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `number` counts all requests, `connection` the connections, `nth` the requests on this one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    connection: int
    nth: int
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def prompt(self) -> str:
        return streams.prompt_in(self.json)


Answer = Callable[[Asked], Reply]


class Origin:
    """A running server. `asked` are its requests, `most_at_once` how many it has worked on at the same time."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def prompts(self) -> Counter[str]:
        """How often each prompt was asked."""
        with self._lock:
            return Counter(asked.prompt for asked in self.asked)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # Linux: close alone leaves accept() waiting
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

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
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._open = (self._open - {raw}) | {connection}
            self._serve_requests(connection, number)
        except OSError:
            pass
        finally:
            with self._lock:
                self._open -= {raw, connection}
            with contextlib.suppress(OSError):
                connection.close()

    def _serve_requests(self, connection: socket.socket, number: int) -> None:
        data, nth = b"", 0
        while True:
            while b"\r\n\r\n" not in data:
                data += _receive(connection)
            top, _, data = data.partition(b"\r\n\r\n")
            line, *lines = top.decode("latin-1").split("\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (row.partition(":") for row in lines)}
            size = int(headers.get("content-length", 0))
            while len(data) < size:
                data += _receive(connection)
            body, data = data[:size], data[size:]
            method, path, _ = line.split(" ", 2)
            with self._lock:
                asked = Asked(method, path, headers, body, len(self.asked), number, nth, time.monotonic())
                self.asked.append(asked)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
            nth += 1
            try:
                reply = self.answer(asked)
                for step in (reply,) if isinstance(reply, bytes) else reply:
                    if isinstance(step, bytes):
                        connection.sendall(step)
                    else:
                        step(connection)
            finally:
                with self._lock:
                    self.at_once -= 1


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 20)
    if not data:
        raise ConnectionResetError
    return data


def streamed(body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """A streamed 200, after which the connection can be used again."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n{extra}\r\n"
    return head.encode() + chunk(body) + b"0\r\n\r\n"


def whole(value: Any, status: str = "200 OK", headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    """A JSON reply in one piece, after which the connection can be used again."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def error(status: str, message: str = "no", headers: Mapping[str, str] = NO_HEADERS, **fields: Any) -> bytes:
    """An error reply in OpenAI's words."""
    return whole({"error": {"message": message, "type": "error", **fields}}, status, headers)


def say(text: str, asked: Asked) -> bytes:
    """A plain answer by the API that was asked, in fifty deltas at most."""
    piece = max(4, len(text) // 50)
    if asked.path.partition("?")[0].endswith("/chat/completions"):
        return streamed(streams.chat_body(text, piece=piece))
    return streamed(streams.responses_body(streams.message(text), piece=piece))


def echo(asked: Asked) -> bytes:
    """An answer that repeats the prompt."""
    return say(asked.prompt, asked)


@contextlib.contextmanager
def run_origin(answer: Answer = echo, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Origin]:
    """A server for the length of a test."""
    origin = Origin(answer, tls, port)
    try:
        yield origin
    finally:
        origin.close()
