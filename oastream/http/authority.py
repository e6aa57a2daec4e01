"""The host and port of a URL, as messages, sockets, headers and certificates want them.

In: a URL, or its host. Out: text and numbers. Looks nothing up.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult

DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = r"127(\.\d{1,3}){3}|::1(%.*)?|localhost"


def port_of(url: SplitResult) -> int:
    """The port to connect to."""
    return DEFAULT_PORTS.get(url.scheme, 80) if url.port is None else url.port


def host_label(url: SplitResult) -> str:
    """Host and port as messages name them; the port only when it is not the scheme's own."""
    host = bracketed(url.hostname or "")
    return host if url.port in (None, DEFAULT_PORTS.get(url.scheme)) else f"{host}:{url.port}"


def bracketed(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def ascii_host(host: str) -> str:
    """The host in ASCII. Raises `UnicodeError` for what cannot be a host name."""
    if "\0" in host:
        raise UnicodeError("the system's resolver would end the name there")
    # Only where it is needed: Python's IDNA codec takes 4 ms to import.
    return host if host.isascii() else host.encode("idna").decode("ascii")


def public_host(host: str) -> str:
    """The host as others know it, a proxy or a certificate: in ASCII, without the zone of a link-local address."""
    return ascii_host(host.partition("%")[0] if ":" in host else host)


def is_loopback(host: str) -> bool:
    """Whether the text of a URL's host names this machine: 127.0.0.0/8, ::1 or localhost."""
    return re.fullmatch(_LOOPBACK, host, re.IGNORECASE) is not None
