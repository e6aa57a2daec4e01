"""A URL → a connection to its server: DNS, TCP, proxy, TLS.

In: a URL, the environment's proxies and certificates, a deadline. Out: a socket that does not block.
The whole phase runs in a thread of its own, since DNS cannot be polled: the run stays open to signals, deadlines and
a reader that goes away. Its exceptions become ours in one table. Knows nothing of requests.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult

from oastream.exits import Failure, Outcome, failure_of
from oastream.http.authority import origin, port_of, public_host
from oastream.http.dial import addresses_of, dial, seconds_left
from oastream.http.request import is_loopback
from oastream.threads import call_in_thread
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.http.proxy import Connect, Proxy, Socks5

__all__ = ["Line", "connect", "origin", "translated"]

_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


class Line(NamedTuple):
    """A connection. `through_proxy` holds the headers that a proxy for plain http wants, else None.

    `socket` is one of the socket module, of ssl, or `tls.StackedTls`, which has what is used of those.
    """

    socket: Any
    through_proxy: tuple[tuple[str, str], ...] | None = None


def connect(url: SplitResult, environ: Mapping[str, str], watch: Watch, deadline: float) -> Line:
    """A line to the URL's host. Raises `Failure`: unreachable, timeout, tls, config, or the signal that came."""
    way = _Way(url, _proxy_for(url, environ), deadline)
    try:
        line = call_in_thread(
            way.open,
            watch,
            deadline,
            meanwhile=way.load_tls,  # while the thread waits for name and connection
            release=lambda line: line.socket.close(),
        )
    except Failure:
        raise
    except Exception as error:
        raise translated(error, way.where) from error
    line.socket.setblocking(False)
    return line


def _proxy_for(url: SplitResult, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for the URL. Loopback never goes through one: a key for this machine would leave it in clear."""
    if is_loopback(url.hostname or "") or not any(map(environ.get, _PROXY_VARIABLES)):
        return None
    from oastream.http.proxy import proxy_for

    return proxy_for(url, environ)


class _Way:
    """The way to a server, layer by layer; all but `load_tls` in a thread of its own."""

    def __init__(self, url: SplitResult, proxy: Proxy | None, deadline: float) -> None:
        self._url = url
        self._host = url.hostname or ""
        self._port = port_of(url)
        self._proxy = proxy
        self._deadline = deadline
        self._is_secure = url.scheme == "https"
        self.where = origin(url)
        """How messages name what it is on the way to at the moment."""

    def load_tls(self) -> None:
        """Load what only TLS needs, if the way needs it."""
        if self._is_secure or (self._proxy is not None and self._proxy.scheme == "https"):
            from oastream.http import tls

            if not tls.may_block():
                tls.shared_context()

    def open(self) -> Line:
        """Raises `Failure`, `OSError`, `UnicodeError`."""
        if self._proxy is None:
            return Line(self._secured(dial(self._host, self._port, self._deadline)))
        line = self._to_proxy(self._proxy)
        if self._url.scheme == "http" and not self._proxy.is_socks:
            return Line(line, through_proxy=self._proxy.headers())
        try:
            self._shake_hands(line, self._handshake(self._proxy))
        except BaseException:
            line.close()
            raise
        self.where = origin(self._url)
        return Line(self._secured(line))

    def _secured(self, line: Any) -> Any:
        if not self._is_secure:
            return line
        from oastream.http.tls import secure

        return secure(line, self._host, self._deadline)

    def _to_proxy(self, proxy: Proxy) -> Any:
        """A connection to the proxy itself."""
        self.where = proxy.name
        line = dial(proxy.host, proxy.port, self._deadline)
        if proxy.scheme != "https":
            return line
        from oastream.http.tls import secure

        return secure(line, proxy.host, self._deadline)

    def _handshake(self, proxy: Proxy) -> Connect | Socks5:
        from oastream.http.proxy import Connect, Socks5

        if not proxy.is_socks:
            return Connect(proxy, public_host(self._host), self._port)
        if proxy.resolves_names:
            return Socks5(proxy, public_host(self._host), self._port)
        return Socks5(proxy, self._address(), self._port)

    def _address(self) -> str:
        """The address of the host that the system likes best: socks5 leaves the name to us."""
        self.where, before = origin(self._url), self.where
        address: str = addresses_of(self._host, self._port)[0][4][0]
        self.where = before
        return address.partition("%")[0]

    def _shake_hands(self, line: Any, handshake: Connect | Socks5) -> None:
        """Speak with the proxy until it has opened the way."""
        while True:
            line.settimeout(seconds_left(self._deadline))
            if data := handshake.take():
                line.sendall(data)
            if handshake.is_done:
                return
            line.settimeout(seconds_left(self._deadline))
            data = line.recv(handshake.most)
            if not data:
                handshake.close()
            handshake.feed(data)


# Errors ----------------------------------------------------------------------------------------------------------

_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.EMFILE: "too many open files",
    errno.ETIMEDOUT: "connection timed out",
}


def translated(error: BaseException, where: str) -> BaseException:
    """What went wrong on the way to `where`, as a `Failure`; a bug stays what it is."""
    if isinstance(error, Failure) or not isinstance(error, (OSError, UnicodeError)):
        return error
    what = f"cannot reach {where}"
    if isinstance(error, UnicodeError):
        return failure_of(Outcome.UNREACHABLE, what, "its name is not a host name")
    if isinstance(error, TimeoutError) and error.errno is None:  # else the kernel's ETIMEDOUT: no deadline of ours
        return failure_of(Outcome.TIMEOUT, what, "no connection within --connect-timeout")
    if isinstance(error, socket.gaierror):
        return failure_of(Outcome.UNREACHABLE, what, f"DNS: {(error.strerror or 'no such host').lower()}")
    if type(error).__module__ == "ssl":
        return _tls(error, where)
    code = error.errno or 0
    why = _WORDS.get(code) or (os.strerror(code) if code else str(error)).lower()
    return failure_of(Outcome.UNREACHABLE, what, why)


def _tls(error: OSError, where: str) -> Failure:
    why = getattr(error, "verify_message", None)
    if why:
        hint = "SSL_CERT_FILE names a file of certificates to trust"
        return failure_of(Outcome.TLS, f"the certificate of {where} is not trusted", why, hint)
    reason = getattr(error, "reason", None) or "the connection was closed"
    hint = "is it plain http?" if reason == "WRONG_VERSION_NUMBER" else ""
    return failure_of(Outcome.TLS, f"no TLS with {where}", str(reason).replace("_", " ").lower(), hint)
