"""Little proxies on loopback that really pass bytes on: HTTP's CONNECT, the same over TLS, SOCKS5.

In: the port to which every tunnel leads, whatever name it was asked for, and how to behave. Out: a running proxy, and
what it was asked. Written from RFC 9110, 1928 and 1929 alone; knows nothing of oastream.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.wire import PATIENCE, Step

Conversation = Callable[["Line"], None]


class Line:
    """One connection to the proxy."""

    def __init__(self, connection: socket.socket, proxy: Proxy) -> None:
        self.connection = connection
        self.proxy = proxy

    def read(self, size: int) -> bytes:
        """Exactly this many bytes."""
        data = b""
        while len(data) < size:
            received = self.connection.recv(size - len(data))
            if not received:
                raise ConnectionResetError
            data += received
        return data

    def read_head(self) -> list[str]:
        """The lines before an empty one."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.read(1)
        return data[:-4].decode("latin-1").split("\r\n")

    def say(self, data: bytes) -> None:
        if not self.proxy.drips:
            self.connection.sendall(data)
            return
        for number in range(len(data)):
            self.connection.sendall(data[number : number + 1])
            time.sleep(0.002)  # so that each byte is read alone; nothing tells when it was

    def tunnel(self) -> None:
        """Pass everything on, both ways, until both sides have ended."""
        with socket.create_connection(("127.0.0.1", self.proxy.upstream), timeout=PATIENCE) as onward:
            relay(self.connection, onward)


def relay(one: socket.socket, other: socket.socket) -> None:
    """In one thread, since an SSL socket is not for two."""
    partner = {one: other, other: one}
    readable = {one, other}
    while readable:
        waiting = {sock for sock in readable if isinstance(sock, ssl.SSLSocket) and sock.pending()}
        ready = waiting or select.select(list(readable), [], [], PATIENCE)[0]
        if not ready:
            return
        for source in ready:
            data = source.recv(65536)
            if data:
                partner[source].sendall(data)
                continue
            readable.discard(source)
            if isinstance(partner[source], ssl.SSLSocket):
                return
            with contextlib.suppress(OSError):
                partner[source].shutdown(socket.SHUT_WR)


@dataclass
class Proxy:
    """A running proxy. `targets` are what it was asked to connect to, `logins` the users and passwords it was told."""

    upstream: int
    login: tuple[bytes, bytes] | None = None
    drips: bool = False
    connections: int = 0
    targets: list[str] = field(default_factory=list)
    logins: list[tuple[bytes, bytes] | None] = field(default_factory=list)
    heads: list[list[str]] = field(default_factory=list)
    address: str = ""

    def url(self, scheme: str, user: str = "") -> str:
        return f"{scheme}://{user and user + '@'}{self.address}"


@contextlib.contextmanager
def run_proxy(
    conversation: Conversation, proxy: Proxy, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[Proxy]:
    """Hold the conversation with everyone who connects."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=16)
    literal = f"[{host}]" if ":" in host else host
    proxy.address = f"{literal}:{listener.getsockname()[1]}"
    accepted: list[socket.socket] = []

    def converse(raw: socket.socket) -> None:
        raw.settimeout(PATIENCE)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = raw
        with contextlib.suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(raw, server_side=True)
            conversation(Line(connection, proxy))
        connection.close()
        raw.close()

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            accepted.append(raw)
            proxy.connections += 1
            threading.Thread(target=converse, args=(raw,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # Linux: close alone leaves accept() waiting
        listener.close()
        for raw in accepted:
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)


def speak_connect(line: Line) -> None:
    """HTTP's CONNECT, with the credentials if the proxy wants any."""
    head = line.read_head()
    line.proxy.heads.append(head)
    method, target, _ = head[0].split(" ")
    assert method == "CONNECT"
    line.proxy.targets.append(target)
    headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in head[1:])}
    login = _basic(headers.get("proxy-authorization"))
    line.proxy.logins.append(login)
    if line.proxy.login not in (None, login):
        line.say(b'HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm="p"\r\nContent-Length: 2\r\n\r\nno')
        return
    line.say(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 tests\r\n\r\n")
    line.tunnel()


def _basic(header: str | None) -> tuple[bytes, bytes] | None:
    if header is None:
        return None
    user, _, password = base64.b64decode(header.removeprefix("Basic ")).partition(b":")
    return user, password


def speak_socks5(line: Line) -> None:
    """SOCKS5, with a password if the proxy wants one."""
    version, count = line.read(2)
    assert version == 5
    methods = line.read(count)
    method = 0 if line.proxy.login is None else 2
    if method not in methods:
        line.say(b"\x05\xff")
        return
    line.say(bytes([5, method]))
    if method == 2 and not _sign_in(line):
        return
    version, command, _, kind = line.read(4)
    assert (version, command) == (5, 1)
    line.proxy.targets.append(_socks_target(line, kind))
    line.say(b"\x05\0\0\x03\x09localhost\x12\x34")  # the longest form: a name, that nobody reads
    line.tunnel()


def _sign_in(line: Line) -> bool:
    assert line.read(1) == b"\x01"
    user = line.read(line.read(1)[0])
    password = line.read(line.read(1)[0])
    line.proxy.logins.append((user, password))
    accepted = line.proxy.login == (user, password)
    line.say(b"\x01\0" if accepted else b"\x01\x01")
    return accepted


def _socks_target(line: Line, kind: int) -> str:
    if kind == 3:
        host = line.read(line.read(1)[0]).decode()
    else:
        family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
        host = socket.inet_ntop(family, line.read(size))
    return f"{host}:{int.from_bytes(line.read(2), 'big')}"


def after(size: int, *steps: Step) -> Conversation:
    """Read this many bytes, or for 0 whatever comes first, then play the steps: what answers there may be no proxy."""

    def converse(line: Line) -> None:
        if size:
            line.read(size)
        else:
            line.connection.recv(65536)
        for step in steps:
            step(line.connection)

    return converse
