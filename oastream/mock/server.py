"""The server: sockets, threads, and the bytes of HTTP/1.1.

In: a `Plan`. Out: replies on loopback, one thread a connection. Decides nothing: `routes` gives each reply.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from oastream import __version__
from oastream.mock.frames import Cut, Wait
from oastream.mock.routes import Reply, Request, Routes
from oastream.mock.script import Plan

SHUTDOWN_POLL = 0.02
"""Seconds within which `close` is noticed."""
BACKLOG = 1024
RECORDED = 10_000
"""Requests that `Server.requests` holds; older ones are dropped."""
LAST_CHUNK = b"0\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class _Gone(Exception):
    """The client has closed its side."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, address: tuple[str, int], routes: Routes, log: Callable[[str], None] | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.routes = routes
        self.log = log
        self.requests: list[Request] = []
        self.open: set[socket.socket] = set()
        super().__init__(address, _Connection)

    def server_bind(self) -> None:
        """Binds without looking up the host's name, which http.server does and which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; a bug is one line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            with contextlib.suppress(OSError):
                print(f"oastream-mock: internal: {error!r}", file=sys.stderr, flush=True)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"oastream-mock/{__version__}"
    sys_version = ""
    disable_nagle_algorithm = True
    server: _Http
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        with contextlib.suppress(_Gone, ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.log:
            self.server.log(format % args)

    def do_POST(self) -> None:
        self._answer(self._read())

    def do_GET(self) -> None:
        self._answer(self._read())

    do_PUT = do_PATCH = do_DELETE = do_GET

    def _read(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        body = self.rfile.read(int(length)) if length.isdigit() else b""
        request = Request(self.command, self.path, headers, _parsed(body))
        self.server.requests.append(request)
        del self.server.requests[:-RECORDED]
        return request

    def _answer(self, request: Request) -> None:
        reply = self.server.routes.reply(request)
        self._wait(reply.delay)
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self._end(reply.cut)
            return
        self._send_head(reply)
        if _has_body(reply):
            self._send_body(reply)

    def _send_head(self, reply: Reply) -> None:
        phrase = HTTPStatus(reply.status).phrase if reply.status in HTTPStatus._value2member_map_ else ""
        self.send_response(reply.status, phrase)
        given = {name.lower() for name in reply.headers}
        for name, value in {**reply.headers, **_framing(reply)}.items():
            if name in reply.headers or name.lower() not in given:
                self.send_header(name, value)
        if reply.framing == "close":
            self.close_connection = True
        self.end_headers()

    def _send_body(self, reply: Reply) -> None:
        write = self._write_chunk if reply.framing == "chunked" else self.wfile.write
        for item in reply.wire:
            if isinstance(item, Wait):
                self._wait(item.seconds)
            elif isinstance(item, Cut):
                self._send_cut(item, reply.framing)
                return
            else:
                write(item)
        if reply.framing == "chunked":
            self.wfile.write(LAST_CHUNK)

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _send_cut(self, cut: Cut, framing: str) -> None:
        chunked = framing == "chunked"
        if chunked and cut.kind == "chunk":
            self.wfile.write(b"%x\r\n%b" % (cut.promised, cut.part))
        elif chunked and cut.part:
            self._write_chunk(cut.part)
        else:
            self.wfile.write(cut.part)
        if chunked and cut.kind == "fin":
            self.wfile.write(LAST_CHUNK)
        self._end(cut.kind)

    def _end(self, kind: str) -> None:
        self.close_connection = True
        if kind == "rst":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # Before socketserver shuts it down in good order; rfile holds the socket open too.
            self.rfile.close()
            self.connection.close()

    def _wait(self, seconds: float) -> None:
        """Waits, and ends the connection as soon as the client closes its side."""
        if seconds <= 0:
            return
        self.connection.settimeout(None if math.isinf(seconds) else seconds)
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise _Gone
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)
        threading.Event().wait(None if math.isinf(seconds) else seconds)  # the next request is already here


def _has_body(reply: Reply) -> bool:
    return reply.status not in (204, 304)


def _framing(reply: Reply) -> dict[str, str]:
    if not _has_body(reply):
        return {}
    if reply.framing == "chunked":
        return {"Transfer-Encoding": "chunked"}
    return {"Content-Length": str(reply.length)} if reply.framing == "length" else {"Connection": "close"}


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


class Server:
    """A running server. `url` is its base URL, `requests` what it was asked (the last RECORDED), oldest first."""

    def __init__(self, http: _Http) -> None:
        self._http = http
        host, port = http.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        self.url = f"http://{name}:{port}/v1"
        self.requests = http.requests

    def close(self) -> None:
        """Stops listening and closes every connection."""
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self._http.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def serve(plan: Plan, host: str = "127.0.0.1", port: int = 0, log: Callable[[str], None] | None = None) -> Server:
    """Starts a server in a daemon thread; port 0 means any. `log` gets a line for each request.

    Raises OSError where it cannot listen.
    """
    http = _Http((host, port), Routes(plan), log)
    threading.Thread(target=http.serve_forever, args=(SHUTDOWN_POLL,), name="oastream-mock", daemon=True).start()
    return Server(http)
