"""The host and port of a URL, as messages, sockets, headers and certificates want them.

In: a URL, or its host. Out: text and numbers. Looks nothing up.
"""

from __future__ import annotations

from urllib.parse import SplitResult

DEFAULT_PORTS = {"http": 80, "https": 443}


def port_of(url: SplitResult) -> int:
    """The port to connect to."""
    if url.port is not None:
        return url.port
    return DEFAULT_PORTS.get(url.scheme, 80)


def host_label(url: SplitResult) -> str:
    """Host and port as messages name them; the port only when it is not the scheme's own."""
    host = bracket_host(url.hostname or "")
    if url.port in (None, DEFAULT_PORTS.get(url.scheme)):
        return host
    return f"{host}:{url.port}"


def bracket_host(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets."""
    if ":" in host:
        return f"[{host}]"
    return host


def ascii_host(host: str) -> str:
    """The host in ASCII. Raises `UnicodeError` for what cannot be a host name."""
    if "\0" in host:
        raise UnicodeError("the system's resolver would end the name there")
    if host.isascii():  # Python's IDNA codec takes 4 ms to import
        return host
    return host.encode("idna").decode("ascii")


def public_host(host: str) -> str:
    """The host as others know it, a proxy or a certificate: in ASCII, without the zone of a link-local address."""
    if ":" in host:
        host = host.partition("%")[0]
    return ascii_host(host)


def is_loopback(host: str) -> bool:
    """Whether the text of a URL's host names this machine: 127.0.0.0/8, ::1 or localhost."""
    host = host.lower()
    if host == "localhost" or host.partition("%")[0] == "::1":
        return True
    # No regular expression: to compile it takes a million instructions of each start.
    first, *others = host.split(".")
    return first == "127" and len(others) == 3 and all(part.isdecimal() and len(part) <= 3 for part in others)
