"""A URL and the environment → the way to its server: whom to connect to, and which layers lie on that connection.

In: a URL, the environment's proxies. Out: a `Route`, whose layers are added in order by whoever owns the connection.
Does no I/O, and knows nothing of sockets, certificates or what a request says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlunsplit

from oastream.http.authority import host_label, is_loopback, port_of, public_host

if TYPE_CHECKING:
    from oastream.http.proxy import Proxy
    from oastream.http.tunnel import Handshake

_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")

# Plain classes: the code that a NamedTuple generates for itself takes 0.4 million instructions of each start.


class TlsLayer:
    """TLS with whoever is at the other end by now; `host` is the name that its certificate must bear."""

    def __init__(self, host: str, label: str) -> None:
        self.host = host
        self.label = label


class TunnelLayer:
    """A handshake with the proxy that is connected to by now; then the server is at the other end."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.proxy = proxy
        self.host = host
        self.port = port
        self.label = proxy.name

    @property
    def needs_address(self) -> bool:
        """Whether the host's name must be looked up here: `socks5` leaves that to us, the other kinds do it."""
        return not self.proxy.resolves_names

    def handshake(self, address: str | None = None) -> Handshake:
        """What is said to the proxy. `address` is the host's, where one is needed."""
        from oastream.http.tunnel import Connect, Socks5

        host = address or public_host(self.host)  # RFC 6874 3: a zone means nothing to the proxy
        if self.proxy.is_socks:
            return Socks5(self.proxy, host, self.port)
        return Connect(self.proxy, host, self.port)


Layer = TlsLayer | TunnelLayer


class Route:
    """The way to a server. `label` is how messages name whom the connection itself goes to.

    Each layer has a label of its own: whom a message names when the layer cannot be added.
    """

    def __init__(self, url: SplitResult, proxy: Proxy | None = None) -> None:
        self._url = url
        self._proxy = proxy
        self.server = host_label(url)
        """How messages name the server at the end of the way."""
        self.layers: list[Layer] = []
        if proxy is None:
            self.host, self.port, self.label = url.hostname or "", port_of(url), self.server
        else:
            self.host, self.port, self.label = proxy.host, proxy.port, proxy.name
            self._add_proxy(proxy)
        if url.scheme == "https":
            self.layers.append(TlsLayer(url.hostname or "", self.server))

    def to(self, url: SplitResult) -> Route:
        """The way to another URL of the same server."""
        return Route(url, self._proxy)

    @property
    def has_tls(self) -> bool:
        return any(isinstance(layer, TlsLayer) for layer in self.layers)

    @property
    def request_target(self) -> str:
        """What stands in the first line of a request (RFC 9112 3.2): a proxy that forwards it gets the whole URL."""
        url = self._url
        if self._is_forwarded:
            return urlunsplit(url)
        return urlunsplit(("", "", url.path or "/", url.query, ""))

    @property
    def proxy_headers(self) -> tuple[tuple[str, str], ...]:
        """What a request says to a proxy that forwards it; on any other way nobody but the server reads it."""
        if self._proxy is not None and self._is_forwarded:
            return self._proxy.headers()
        return ()

    @property
    def _is_forwarded(self) -> bool:
        """Whether an HTTP proxy reads the request itself: only plain http, and through no tunnel."""
        return self._proxy is not None and self._url.scheme == "http" and not self._proxy.is_socks

    def _add_proxy(self, proxy: Proxy) -> None:
        if proxy.scheme == "https":  # what is said to the proxy itself, the credentials among it, is encrypted
            self.layers.append(TlsLayer(proxy.host, proxy.name))
        # SOCKS tunnels plain http as well; an HTTP proxy is asked for it as for a page, as every client does.
        if not self._is_forwarded:
            self.layers.append(TunnelLayer(proxy, self._url.hostname or "", port_of(self._url)))


def route_to(url: SplitResult, environ: Mapping[str, str]) -> Route:
    """The way to the URL's server. Raises `Failure` with outcome config for a bad proxy.

    Loopback never goes through a proxy: a key for this machine would leave it in clear.
    """
    if is_loopback(url.hostname or "") or not any(map(environ.get, _PROXY_VARIABLES)):
        return Route(url)
    from oastream.http.proxy import proxy_for  # most environments name none

    return Route(url, proxy_for(url, environ))
