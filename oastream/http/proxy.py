"""Which proxy a connection goes through, by the variables that curl knows.

In: the environment, a URL. Out: a `Proxy`, or none. Loaded only where the environment names one, and opens no
connection: what is said to a proxy is in `tunnel`.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from oastream.exits import Failure, Outcome, failure_of
from oastream.http.authority import bracket_host, port_of

DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_MAX_SOCKS_CREDENTIAL = 255
"""Bytes: its length has one (RFC 1929)."""


class Proxy(NamedTuple):
    """A proxy, and what it knows the user by; `user` is None where its URL names none."""

    scheme: str
    host: str
    port: int
    user: bytes | None = None
    password: bytes = b""

    @property
    def name(self) -> str:
        """How messages call it: never with the credentials."""
        return f"the proxy {bracket_host(self.host)}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme in ("socks5", "socks5h")

    @property
    def resolves_names(self) -> bool:
        """Whether the proxy looks up the host's name: all but socks5, by the usage that curl began."""
        return self.scheme != "socks5"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """What a request to an HTTP proxy says beside the rest (RFC 7617)."""
        if self.user is None:
            return ()
        credentials = binascii.b2a_base64(self.user + b":" + self.password, newline=False).decode()
        return (("Proxy-Authorization", f"Basic {credentials}"),)


# Which proxy -----------------------------------------------------------------------------------------------------


def proxy_for(url: SplitResult, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names for this URL; None for none, or where NO_PROXY names the host.

    Raises `Failure` with outcome config for a value that is no proxy's URL.
    """
    exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if is_exempt(url.hostname or "", port_of(url), exceptions):
        return None
    for variable in proxy_variables(url.scheme, environ):
        if value := environ.get(variable, "").strip():
            return parse_proxy(value, variable)
    return None


def proxy_variables(scheme: str, environ: Mapping[str, str]) -> list[str]:
    """The variables that may name a proxy for URLs of this scheme, the one that counts most first."""
    names = [f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environ:
        # A CGI script's HTTP_PROXY is the header `Proxy:` of whoever asked it: httpoxy, CVE-2016-5385.
        return [name for name in names if name != "HTTP_PROXY"]
    return names


def parse_proxy(value: str, variable: str) -> Proxy:
    """The proxy of a URL; without a scheme it is an http proxy. No message shows the value: it may hold a password."""
    if "://" not in value:
        value = f"http://{value}"
    try:
        url = urlsplit(value)
        host = url.hostname or ""
    except ValueError as error:
        raise _bad_proxy(variable, "is no URL") from error
    if url.scheme not in DEFAULT_PORTS:
        raise _bad_proxy(variable, f"has the unknown scheme {url.scheme}; use http, https, socks5 or socks5h")
    if not host or not host.isprintable() or " " in host:
        raise _bad_proxy(variable, "names no host")
    try:
        port = url.port
    except ValueError as error:  # most often the password, where a / or # ended the host before the @
        raise _bad_proxy(variable, "has no valid port", "write / # ? and @ in a password as %2F %23 %3F %40") from error
    if port is None:
        port = DEFAULT_PORTS[url.scheme]
    user = None
    if url.username is not None:
        user = unquote_to_bytes(url.username)
    proxy = Proxy(url.scheme, host, port, user, unquote_to_bytes(url.password or ""))
    if proxy.is_socks and max(len(user or b""), len(proxy.password)) > _MAX_SOCKS_CREDENTIAL:
        raise _bad_proxy(variable, "has a user or a password of more than 255 bytes, which SOCKS5 cannot send")
    return proxy


def _bad_proxy(variable: str, why: str, hint: str = "") -> Failure:
    return failure_of(Outcome.CONFIG, "bad proxy", f"{variable} {why}", hint)


def is_exempt(host: str, port: int, exceptions: str) -> bool:
    """Whether NO_PROXY names the host: a name stands for its subdomains too, `*` for all, CIDR for a network.

    Any of them may be for one port, as in `example.com:8443`.
    """
    entries = exceptions.replace(",", " ").split()
    return any(_names_host(entry.lower(), host.lower(), port) for entry in entries)


def _names_host(entry: str, host: str, port: int) -> bool:
    name, only_port = _split_entry(entry)
    if only_port and only_port != str(port):
        return False
    if name == "*":
        return True
    if _is_address(host):
        return _in_network(host, name)
    # `.example.com` and `*.example.com` mean what `example.com` does; each other program reads them in its own way.
    name, host = name.removeprefix("*").strip("."), host.rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_entry(entry: str) -> tuple[str, str]:
    """Host and port of an entry; the port is empty for all. An IPv6 address has one only in brackets."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _is_address(host: str) -> bool:
    """No top-level domain is a number."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _in_network(host: str, network: str) -> bool:
    import ipaddress  # only for a host that is an address, where there is a NO_PROXY

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
