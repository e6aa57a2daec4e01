"""TLS over a connected socket, and TLS within TLS.

In: a connection, the name that its certificate must bear, a deadline. Out: a socket that encrypts; for whoever has no
socket, `TlsEngine`, which does no I/O. Loaded only for https and https proxies, while the connection opens: ssl is 18
million instructions. Knows nothing of HTTP and proxies; whom to trust is `trust`'s.
"""

from __future__ import annotations

import ssl
import sys
from typing import Any

from oastream.http.authority import public_host
from oastream.http.dial import seconds_left
from oastream.http.trust import may_block, shared_trust
from oastream.watch import READ_SIZE


def prepare_tls() -> None:
    """Do what needs no connection yet. In the thread that waits for signals: what may block is left to the other."""
    if not may_block():
        shared_trust()


def start_tls(connection: Any, host: str, deadline: float) -> Any:
    """TLS over a connected socket, or over TLS, with the server of that name. Whoever owns it closes what fails.

    Raises `ssl.SSLError`, `OSError` (`TimeoutError` without errno at the deadline), `Failure` for bad SSL_CERT_FILE,
    `NotInDirectory` where another connection may find more trust.
    """
    name = certificate_name(host)
    trust = shared_trust()
    with trust.judging():
        if isinstance(connection, ssl.SSLSocket):
            return StackedTls(connection, trust.context, name, deadline)
        connection.settimeout(seconds_left(deadline))
        return trust.context.wrap_socket(connection, server_hostname=name)


def certificate_name(host: str) -> Any:
    """The name that the certificate must bear, as ssl takes it."""
    name = public_host(host).rstrip(".")  # certificates have no final dot
    if sys.platform == "darwin":  # where truststore compares the name itself, as text
        return name
    # From text ssl would make ASCII once more, and load the IDNA codec for it: 6 million instructions.
    return name.encode("ascii")


class TlsEngine:
    """One end of TLS in memory: what was received goes in by `feed`, what is to be sent comes out by `take`.

    `shake_hands`, `read_into` and `write` raise `ssl.SSLWantReadError` where they need more to be fed. Something may
    have to be sent after each call, also after one that raises: new keys, or the alert that says why.
    """

    def __init__(self, context: Any, name: Any) -> None:
        """`name` is what `certificate_name` made of the server's."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def shake_hands(self) -> None:
        """Raises `ssl.SSLError` too, where there can be no TLS with the other end."""
        self._tls.do_handshake()

    def feed(self, data: bytes) -> None:
        """Take in what was received."""
        self._incoming.write(data)

    def feed_eof(self) -> None:
        """The connection has ended."""
        self._incoming.write_eof()

    def take(self) -> bytes:
        """The bytes to send now, once."""
        return self._outgoing.read()

    @property
    def pending(self) -> int:
        """Bytes that were fed and not read yet, decrypted or not."""
        decrypted: int = self._tls.pending()
        return decrypted + self._incoming.pending

    def read_into(self, buffer: memoryview) -> int:
        """Decrypt what was fed; 0 at the end, whether it was announced or not, as an `ssl.SSLSocket` has it."""
        try:
            received: int = self._tls.read(len(buffer), buffer)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return 0
        return received

    def write(self, data: bytes | memoryview) -> int:
        """Encrypt a piece of the data; how much of it that was."""
        written: int = self._tls.write(data[:READ_SIZE])
        return written


class StackedTls:
    """TLS within the TLS of a socket: OpenSSL's own sockets lie on file descriptors only.

    It has what is used of a socket, and raises what an `ssl.SSLSocket` raises, without blocking as well as with a
    timeout. After `BlockingIOError` or `ssl.SSLWant…Error`, `send` is called with the same data again.
    """

    def __init__(self, below: ssl.SSLSocket, context: Any, name: Any, deadline: float) -> None:
        """Shake hands through `below`, which is closed with this."""
        self._below = below
        self._engine = TlsEngine(context, name)
        self._unsent = b""  # encrypted, and not taken by the connection below yet
        self._accepted = 0  # bytes of the caller's that are in `_unsent`, and not reported as sent yet
        self._shake_hands(deadline)

    def fileno(self) -> int:
        return self._below.fileno()

    def setblocking(self, flag: bool) -> None:
        self._below.setblocking(flag)

    def settimeout(self, seconds: float | None) -> None:
        self._below.settimeout(seconds)

    def close(self) -> None:
        self._below.close()

    def pending(self) -> int:
        """Bytes that the file descriptor will not announce again, at any layer."""
        return self._engine.pending + self._below.pending()

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt a piece of the data and send it; how much of the data that was."""
        if not self._accepted:
            self._accepted = self._engine.write(data)
        self._flush()
        accepted, self._accepted = self._accepted, 0
        return accepted

    def recv_into(self, buffer: memoryview) -> int:
        """Decrypt what has arrived; 0 at the end."""
        while True:
            try:
                return self._engine.read_into(buffer)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()

    def _shake_hands(self, deadline: float) -> None:
        while True:
            self._below.settimeout(seconds_left(deadline))
            try:
                self._engine.shake_hands()
                return self._flush()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                self._flush()  # the alert
                raise

    def _flush(self) -> None:
        while True:
            if not self._unsent:
                self._unsent = self._engine.take()
            if not self._unsent:
                return
            self._unsent = self._unsent[self._below.send(self._unsent) :]

    def _fill(self) -> None:
        if data := self._below.recv(READ_SIZE):
            self._engine.feed(data)
        else:
            self._engine.feed_eof()
