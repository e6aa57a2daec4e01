"""The server: sockets, threads, and the bytes of HTTP/1.1.

In: a `Plan`. Out: replies on loopback, one thread per connection. Decides nothing: `routes` gives each reply.
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
from oastream.mock.events import Cut, CutKind, Pause
from oastream.mock.exchange import Reply, Request, merge_headers
from oastream.mock.faults import Framing
from oastream.mock.routes import Routes
from oastream.mock.script import Plan

SHUTDOWN_POLL = 0.02
"""Seconds within which `close` is noticed."""
BACKLOG = 1024
"""Connections that may wait to be accepted: a client that opens hundreds at once shall see no refusals."""
RECORDED = 10_000
"""Requests that `Server.requests` holds; older ones are dropped."""
LAST_CHUNK = b"0\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class _ClientGone(Exception):
    """The client has closed its side."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection that stalls forever must not hold up the end of the run
    request_queue_size = BACKLOG

    def __init__(self, address: tuple[str, int], plan: Plan, log: Callable[[str], None] | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.routes = Routes(plan)
        self.log = log
        self.requests: list[Request] = []
        self.open: set[socket.socket] = set()
        self.closed = threading.Event()
        self._limits = plan.limits
        self._leaving: threading.Timer | None = None
        super().__init__(address, _Connection)

    def serve_until_closed(self) -> None:
        """Serve, with a gap while the server is gone."""
        self.serve_forever(SHUTDOWN_POLL)
        if self.closed.is_set():
            return
        self.socket.close()  # from here on connections are refused
        self.end_connections()
        if self.closed.wait(self._limits.gone):
            return
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()  # server_address has the port by now, also where any was asked for
        self.server_activate()
        self.serve_forever(SHUTDOWN_POLL)

    def note_request(self, request: Request) -> None:
        """Record a request; the first one starts the time until the server is gone."""
        self.requests.append(request)
        del self.requests[:-RECORDED]
        limits = self._limits
        if limits.gone and limits.gone_status is None and self._leaving is None:
            self._leaving = threading.Timer(limits.gone_after, self.shutdown)
            self._leaving.daemon = True
            self._leaving.start()

    def end_connections(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Binds without looking up the host's name, which http.server does and which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; a bug is one line."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            return
        with contextlib.suppress(OSError):
            print(f"oastream-mock: internal: {error!r}", file=sys.stderr, flush=True)


class _Connection(BaseHTTPRequestHandler):
    """One connection. Its requests are answered in turn, until one side closes or a fault ends it."""

    protocol_version = "HTTP/1.1"
    server_version = f"oastream-mock/{__version__}"
    sys_version = ""
    disable_nagle_algorithm = True  # or an event would wait for the acknowledgement of the one before it
    server: _Http
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        with contextlib.suppress(_ClientGone, ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        if self.server.log:
            self.server.log(format % args)

    def do_POST(self) -> None:
        request = self._read_request()
        self._send_reply(self.server.routes.reply(request))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # which method a path allows is for `routes` to say

    def _read_request(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        body = b""
        if length.isdigit():
            body = self.rfile.read(int(length))
        if headers.get("content-type", "").startswith("multipart/"):
            request = Request(self.command, self.path, headers, raw=body)
        else:
            request = Request(self.command, self.path, headers, _parse_body(body))
        self.server.note_request(request)
        return request

    def _send_reply(self, reply: Reply) -> None:
        self._pause(reply.delay)
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            self._end_connection(reply.cut)
            return
        self._send_head(reply)
        if reply.has_body:
            self._send_body(reply)

    def _send_head(self, reply: Reply) -> None:
        self.send_response(reply.status, _reason_phrase(reply.status))
        # A script may send a wrong Content-Length: what it says wins over what is true.
        for name, value in merge_headers(reply.framing_headers(), reply.headers).items():
            self.send_header(name, value)
        if reply.framing is Framing.CLOSE:
            self.close_connection = True
        self.end_headers()

    def _send_body(self, reply: Reply) -> None:
        is_chunked = reply.framing is Framing.CHUNKED
        write = self._write_chunk if is_chunked else self.wfile.write
        for item in reply.wire:
            if isinstance(item, Pause):
                self._pause(item.seconds)
            elif isinstance(item, Cut):
                self._send_cut(item, is_chunked)
                return
            else:
                write(item)
        if is_chunked:
            self.wfile.write(LAST_CHUNK)

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _send_cut(self, cut: Cut, is_chunked: bool) -> None:
        if not is_chunked:  # without chunks the ways to end differ only in FIN and RST
            self.wfile.write(cut.part)
        elif cut.kind is CutKind.CHUNK:
            self.wfile.write(b"%x\r\n%b" % (cut.promised, cut.part))
        elif cut.part:  # a chunk of no bytes would be the last chunk
            self._write_chunk(cut.part)
        if is_chunked and cut.kind is CutKind.FIN:
            self.wfile.write(LAST_CHUNK)
        self._end_connection(cut.kind)

    def _end_connection(self, kind: CutKind) -> None:
        self.close_connection = True
        if kind is CutKind.RST:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # Before socketserver shuts it down in good order; rfile holds the socket open too.
            self.rfile.close()
            self.connection.close()

    def _pause(self, seconds: float) -> None:
        """Waits, and ends the connection as soon as the client closes its side.

        A plain sleep would hold the thread and the socket of a client that is gone, forever for an endless stall.
        """
        if seconds <= 0:
            return
        timeout = None if math.isinf(seconds) else seconds
        self.connection.settimeout(timeout)
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise _ClientGone
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)
        threading.Event().wait(timeout)  # the next request is already here, so nothing can be heard of the client


def _reason_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # a script may have a number that has no name
        return ""


def _parse_body(body: bytes) -> Any:
    """The JSON value of a body, or its text where it is none; None for no body."""
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
        host, port = str(http.server_address[0]), http.server_address[1]
        if ":" in host:
            host = f"[{host}]"
        self.url = f"http://{host}:{port}/v1"
        self.requests = http.requests

    def close(self) -> None:
        """Stops listening and closes every connection."""
        self._http.closed.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.end_connections()


def serve(plan: Plan, host: str = "127.0.0.1", port: int = 0, log: Callable[[str], None] | None = None) -> Server:
    """Starts a server in a daemon thread; port 0 means any. `log` gets a line for each request.

    Raises OSError where it cannot listen.
    """
    http = _Http((host, port), plan, log)
    threading.Thread(target=http.serve_until_closed, name="oastream-mock", daemon=True).start()
    return Server(http)
