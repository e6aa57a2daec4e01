"""A URL → a connected socket: DNS, TCP, proxy, TLS.

In: a URL, the environment's proxies and certificates, a deadline. Out: a socket that does not block.
The whole phase runs in a thread of its own, since DNS cannot be polled: the run stays open to signals, deadlines and
a reader that goes away. Their exceptions become ours in one table. Knows nothing of requests.
"""

from __future__ import annotations

import errno
import importlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from oastream.exits import Failure, Outcome, failure
from oastream.threads import call_in_thread
from oastream.watch import LONGEST_WAIT, Watch

DEFAULT_PORTS = {"http": 80, "https": 443}


class Line(NamedTuple):
    """A connected socket. `through_proxy` holds the headers that a plain-http proxy wants, else None.

    `keep` is what must live as long as the socket.
    """

    socket: Any
    through_proxy: tuple[tuple[str, str], ...] | None = None
    keep: object = None


def port_of(url: SplitResult) -> int:
    return url.port or DEFAULT_PORTS.get(url.scheme, 80)


def origin(url: SplitResult) -> str:
    """Host and port as messages name them; the port only when it is not the scheme's own."""
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if url.port in (None, DEFAULT_PORTS.get(url.scheme)) else f"{host}:{url.port}"


def connect(url: SplitResult, environ: Mapping[str, str], watch: Watch, deadline: float) -> Line:
    """A line to the URL's host. Raises `Failure`: unreachable, timeout, tls, config, or the signal that came."""
    where = origin(url)

    def load_tls() -> None:
        if url.scheme == "https":
            importlib.import_module("truststore")  # and ssl with it, while the thread waits for name and connection

    try:
        line = call_in_thread(
            lambda: _open(url, environ, deadline),
            watch,
            deadline,
            meanwhile=load_tls,
            release=lambda line: line.socket.close(),
        )
    except Failure:
        raise
    except Exception as error:
        raise translated(error, where) from error
    line.socket.setblocking(False)
    return line


def _open(url: SplitResult, environ: Mapping[str, str], deadline: float) -> Line:
    proxy = proxy_for(url, environ)
    if proxy is None:
        plain: Any = _tcp(url, deadline)
        return Line(_secured(plain, url, deadline) if url.scheme == "https" else plain)
    if url.scheme == "http":
        return Line(_to_proxy(proxy, deadline), through_proxy=_proxy_headers(proxy))
    tunnel, keep = _tunnel(proxy, url, deadline)
    return Line(_secured(tunnel, url, deadline), keep=keep)


def _tcp(url: SplitResult, deadline: float) -> socket.socket:
    """Connect to the first address that answers; each gets its share of the time that is left."""
    host = url.hostname or ""
    # As bytes, or Python imports its IDNA codec: 4 ms.
    name = host.encode("ascii") if host.isascii() else host.encode("idna")
    addresses = socket.getaddrinfo(name, port_of(url), type=socket.SOCK_STREAM)
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        line = socket.socket(family, kind, protocol)
        try:
            line.settimeout(_left(deadline, left))
            line.connect(address)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return line
        except OSError:
            line.close()
            if left == 1:
                raise
    raise OSError(errno.EADDRNOTAVAIL, "the name has no address")


def _left(deadline: float, shares: int = 1) -> float:
    """Seconds for a step that has its share of the time that is left."""
    return min(max(0.001, (deadline - time.monotonic()) / shares), LONGEST_WAIT)


def _secured(line: Any, url: SplitResult, deadline: float) -> Any:
    """TLS over a connected socket."""
    context = _tls_context()
    context.set_alpn_protocols(["http/1.1"])
    line.settimeout(_left(deadline))
    return context.wrap_socket(line, server_hostname=url.hostname)


_CERTIFICATES = {"SSL_CERT_FILE": "cafile", "SSL_CERT_DIR": "capath"}


def _tls_context() -> Any:
    """Trusts the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, as OpenSSL would; else the system's."""
    import ssl  # 27 million instructions with truststore, an eighth of a run: not for plain http

    import truststore

    if not any(map(os.environ.get, _CERTIFICATES)):
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # truststore would read a named file a second time: 40 ms
    _load_certificates(context, ssl.get_default_verify_paths())
    return context


def _load_certificates(context: Any, usual: Any) -> None:
    """What the variables name must be there: OpenSSL would pass over it in silence."""
    for variable, argument in _CERTIFICATES.items():
        path = os.environ.get(variable) or getattr(usual, argument)
        if not path:
            continue
        try:
            os.stat(path)
            context.load_verify_locations(**{argument: path})
        except OSError as error:  # an ssl.SSLError is one
            if not os.environ.get(variable):
                continue
            why = "it holds no certificate" if type(error).__module__ == "ssl" else (error.strerror or "").lower()
            raise failure(Outcome.CONFIG, f"cannot use {variable}", f"{path}: {why}") from error


# Proxies ---------------------------------------------------------------------------------------------------------


def proxy_for(url: SplitResult, environ: Mapping[str, str]) -> SplitResult | None:
    """The proxy that the environment names for this URL: HTTPS_PROXY, http_proxy, ALL_PROXY, less NO_PROXY."""
    names = (f"{url.scheme}_proxy", "all_proxy")
    value = next((v for name in names for v in (environ.get(name), environ.get(name.upper())) if v), None)
    if value is None or _bypassed(url, environ):
        return None
    if "://" not in value:
        value = f"http://{value}"
    try:
        proxy = urlsplit(value)
        _ = proxy.port
    except ValueError as error:
        raise failure(Outcome.CONFIG, "bad proxy", f"its URL has {error}".lower()) from error
    if proxy.scheme not in ("http", "https") or not proxy.hostname:
        raise failure(Outcome.CONFIG, "bad proxy", f"{_without_user(proxy)} is not an http:// or https:// proxy")
    return proxy


def _bypassed(url: SplitResult, environ: Mapping[str, str]) -> bool:
    """NO_PROXY: host names with their subdomains, addresses, networks in CIDR form, or *."""
    host = (url.hostname or "").lower()
    for entry in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(","):
        name, _, port = entry.strip().lower().rpartition(":")
        if not (name and port.isdigit() and "]" not in port and name.count(":") in (0, 7)):
            name, port = entry.strip().lower(), ""
        name = name.strip("[]").removeprefix("*.").lstrip(".")
        if not name or (port and int(port) != port_of(url)):
            continue
        if name == "*" or host == name or host.endswith(f".{name}") or ("/" in name and _in_network(host, name)):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    import ipaddress  # only for NO_PROXY entries in CIDR form

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _without_user(proxy: SplitResult) -> str:
    return f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}"


def _proxy_headers(proxy: SplitResult) -> tuple[tuple[str, str], ...]:
    if proxy.username is None:
        return ()
    import base64

    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return (("Proxy-Authorization", f"Basic {base64.b64encode(user.encode()).decode()}"),)


def _to_proxy(proxy: SplitResult, deadline: float) -> Any:
    try:
        line: Any = _tcp(proxy, deadline)
        return _secured(line, proxy, deadline) if proxy.scheme == "https" else line
    except OSError as error:
        raise translated(error, f"the proxy {origin(proxy)}") from error


def _tunnel(proxy: SplitResult, url: SplitResult, deadline: float) -> tuple[Any, object]:
    """A CONNECT tunnel through an http proxy, opened by httpx2; also what keeps it open."""
    import httpx2  # 150 ms, paid only behind a proxy

    target = f"{url.hostname if ':' not in (url.hostname or '') else f'[{url.hostname}]'}:{port_of(url)}"
    client = httpx2.Client(trust_env=False, timeout=_left(deadline))
    request = client.build_request(
        "CONNECT",
        f"{proxy.scheme}://{proxy.hostname}:{port_of(proxy)}",
        headers=[("Host", target), *_proxy_headers(proxy)],
        extensions={"target": target.encode("ascii")},
    )
    name = f"the proxy {origin(proxy)}"
    try:
        response = client.send(request, stream=True)
    except httpx2.TimeoutException as error:
        raise failure(Outcome.TIMEOUT, f"cannot reach {name}", "no connection within --connect-timeout") from error
    except httpx2.TransportError as error:
        raise failure(Outcome.UNREACHABLE, f"cannot reach {name}", str(error).lower() or "it closed") from error
    if response.status_code == 407:
        raise proxy_wants_credentials(name)
    if response.status_code // 100 != 2:
        raise failure(Outcome.UNREACHABLE, f"cannot reach {origin(url)}", f"{name} answered {response.status_code}")
    stream = response.extensions["network_stream"]
    return stream.get_extra_info("socket"), (client, response)


def proxy_wants_credentials(name: str = "the proxy") -> Failure:
    return failure(
        Outcome.CONFIG,
        f"{name} wants credentials",
        "407",
        "put them in the proxy's URL: http://USER:PASSWORD@HOST:PORT",
    )


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
        return failure(Outcome.UNREACHABLE, what, "its name is not a host name")
    if isinstance(error, TimeoutError) and error.errno is None:  # else the kernel's ETIMEDOUT: no deadline of ours
        return failure(Outcome.TIMEOUT, what, "no connection within --connect-timeout")
    if isinstance(error, socket.gaierror):
        return failure(Outcome.UNREACHABLE, what, f"DNS: {(error.strerror or 'no such host').lower()}")
    if type(error).__module__ == "ssl":
        return _tls(error, where)
    return failure(Outcome.UNREACHABLE, what, _WORDS.get(error.errno or 0) or (error.strerror or str(error)).lower())


def _tls(error: OSError, where: str) -> Failure:
    why = getattr(error, "verify_message", None)
    if why:
        hint = "SSL_CERT_FILE names a file of certificates to trust"
        return failure(Outcome.TLS, f"the certificate of {where} is not trusted", why, hint)
    reason = getattr(error, "reason", None) or "the connection was closed"
    hint = "is it plain http?" if reason == "WRONG_VERSION_NUMBER" else ""
    return failure(Outcome.TLS, f"no TLS with {where}", str(reason).replace("_", " ").lower(), hint)
