"""Which proxy a connection goes through, and what is said to it: CONNECT (RFC 9110, 9.3.6), SOCKS5 (RFC 1928, 1929).

In: the environment, a URL, the bytes that the proxy sends. Out: a `Proxy`, the bytes to send to it, and whether it has
opened the way. Does no I/O: whoever has a connection feeds a handshake what comes. Loaded only where the environment
names a proxy.
"""

from __future__ import annotations

import binascii
import enum
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import httptools

from oastream import __version__
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.authority import bracketed, port_of
from oastream.text import one_line

DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
MAX_HEAD_BYTES = 64 * 1024
"""Largest answer to CONNECT."""


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
        return f"the proxy {bracketed(self.host)}:{self.port}"

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
    if is_excepted(url.hostname or "", port_of(url), environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
        return None
    for variable in variables(url.scheme, environ):
        if value := environ.get(variable, "").strip():
            return parse_proxy(value, variable)
    return None


def variables(scheme: str, environ: Mapping[str, str]) -> list[str]:
    """The variables that may name a proxy for URLs of this scheme, the one that counts most first."""
    names = [f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environ:
        # A CGI script's HTTP_PROXY is the header `Proxy:` of whoever asked it: httpoxy, CVE-2016-5385.
        return [name for name in names if name != "HTTP_PROXY"]
    return names


def parse_proxy(value: str, variable: str) -> Proxy:
    """The proxy of a URL; without a scheme it is an http proxy. No message shows the value: it may hold a password."""
    try:
        url = urlsplit(value if "://" in value else f"http://{value}")
        host = url.hostname or ""
    except ValueError as error:
        raise _bad(variable, "is no URL") from error
    if url.scheme not in DEFAULT_PORTS:
        raise _bad(variable, f"names a proxy of the kind {url.scheme}; http, https, socks5 and socks5h are known")
    if not host or not host.isprintable() or " " in host:
        raise _bad(variable, "names no host")
    try:
        port = DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    except ValueError as error:
        raise _bad(variable, "has no valid port", "write / # ? and @ in a password as %2F %23 %3F %40") from error
    user = None if url.username is None else unquote_to_bytes(url.username)
    proxy = Proxy(url.scheme, host, port, user, unquote_to_bytes(url.password or ""))
    if proxy.is_socks and max(len(user or b""), len(proxy.password)) > 255:
        raise _bad(variable, "has a user or a password of more than 255 bytes, which SOCKS5 cannot send")
    return proxy


def _bad(variable: str, why: str, hint: str = "") -> Failure:
    return failure_of(Outcome.CONFIG, "bad proxy", f"{variable} {why}", hint)


def is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Whether NO_PROXY names the host: a name stands for its subdomains too, `*` for all, CIDR for a network.

    Any of them may be for one port, as in `example.com:8443`.
    """
    return any(_excepts(entry.lower(), host.lower(), port) for entry in exceptions.replace(",", " ").split())


def _excepts(entry: str, host: str, port: int) -> bool:
    name, only_port = _entry_parts(entry)
    if only_port and only_port != str(port):
        return False
    if name == "*":
        return True
    if _is_address(host):
        return _in_network(host, name)
    name, host = name.removeprefix("*").strip("."), host.rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _entry_parts(entry: str) -> tuple[str, str]:
    """Host and port of an entry; the port is empty for all."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""


def _is_address(host: str) -> bool:
    return ":" in host or host.rpartition(".")[2].isdigit()


def _in_network(host: str, network: str) -> bool:
    import ipaddress  # only for a host that is an address, where there is a NO_PROXY

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


# What is said to it ----------------------------------------------------------------------------------------------


class Connect:
    """An HTTP proxy is asked for a tunnel. Send what `take` gives, feed what comes, until `is_done`.

    Raises `Failure`: config for a proxy that wants credentials or does not speak HTTP, forbidden where its rules do not
    allow the tunnel, unreachable where it cannot open it.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._target = f"{bracketed(host)}:{port}"
        headers = (("Host", self._target), ("User-Agent", f"oastream/{__version__}"), *proxy.headers())
        lines = [f"CONNECT {self._target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        self._outgoing = "\r\n".join(lines).encode("ascii")
        self._answer = _Answer()
        self._size = 0

    @property
    def is_done(self) -> bool:
        return self._answer.status // 100 == 2

    @property
    def most(self) -> int:
        """The most bytes that may be read next."""
        return MAX_HEAD_BYTES

    def take(self) -> bytes:
        """The bytes to send now, once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def feed(self, data: bytes) -> None:
        """What the proxy sent."""
        self._size += len(data)
        try:
            self._answer.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._answer.status:  # else only what follows the head is strange, and nothing of it is wanted
                raise self._not_http(data) from error
        if not self._answer.status and self._size > MAX_HEAD_BYTES:
            raise _refused(self._proxy, self._target, "its answer has no end")
        if self._answer.status in (407, 401):  # tinyproxy says 401 to credentials that are wrong
            raise self._wants_credentials()
        if self._answer.status and not self.is_done:
            outcome = Outcome.FORBIDDEN if self._answer.status == 403 else Outcome.UNREACHABLE
            raise _refused(self._proxy, self._target, f"it answered {self._answer.shown}", outcome)
        if self._answer.has_more:
            raise _refused(self._proxy, self._target, "it sent more than its answer")

    def close(self) -> None:
        """The connection has ended. Raises `Failure`."""
        raise _refused(self._proxy, self._target, "it closed the connection")

    def _not_http(self, data: bytes) -> Failure:
        hint = "is it a socks5:// proxy?" if data[:1] in (b"\0", b"\5") else ""
        if data.startswith(b"\x15"):  # a TLS alert
            hint = "is it an https:// proxy?"
        return failure_of(Outcome.CONFIG, "bad proxy", f"{self._proxy.name} does not speak HTTP", hint)

    def _wants_credentials(self) -> Failure:
        schemes = [scheme.partition(" ")[0] for scheme in self._answer.challenges]
        if schemes and not any(scheme.lower() == "basic" for scheme in schemes):
            asked = one_line(", ".join(dict.fromkeys(schemes)), 60)
            why = f"{self._answer.status}, by {asked}; oastream knows Basic alone"
            return failure_of(Outcome.CONFIG, f"{self._proxy.name} wants credentials", why)
        return wants_credentials(self._proxy, str(self._answer.status))


class _Answer:
    """What httptools calls back with: the head of the answer to CONNECT."""

    def __init__(self) -> None:
        self.parser: Any = httptools.HttpResponseParser(self)
        self.parser.set_dangerous_leniencies(lenient_headers=True, lenient_optional_cr_before_lf=True)
        self.status = 0
        self.reason = b""
        self.challenges: list[str] = []
        self.has_more = False

    @property
    def shown(self) -> str:
        return f"{self.status} {one_line(self.reason.decode('latin-1'), 60)}".rstrip()

    def on_message_begin(self) -> None:
        self.reason = b""

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"proxy-authenticate":
            self.challenges.append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if not 100 <= status < 200:  # an interim answer: the real one follows
            self.status = status

    def on_body(self, body: bytes) -> None:
        self.has_more = True


class _Step(enum.Enum):
    """What a SOCKS5 proxy says next."""

    METHOD = enum.auto()
    PASSWORD = enum.auto()
    REPLY = enum.auto()
    NAME_LENGTH = enum.auto()
    ADDRESS = enum.auto()
    DONE = enum.auto()


_SIZES = {_Step.METHOD: 2, _Step.PASSWORD: 2, _Step.REPLY: 4, _Step.NAME_LENGTH: 1}
"""Bytes of each; the address says itself how long it is."""
_NO_CREDENTIALS, _PASSWORD, _NO_METHOD = 0x00, 0x02, 0xFF
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04
_ADDRESS_SIZES = {_IPV4: 4, _IPV6: 16}
_NOT_ALLOWED = 2
_REPLIES = {
    1: "it failed",
    _NOT_ALLOWED: "its rules do not allow it",
    3: "the network is unreachable",
    4: "the host is unreachable, or its name unknown",
    5: "connection refused",
    6: "the host is too far away",
    7: "it does not know the command",
    8: "it does not know this kind of address",
}


class Socks5:
    """A SOCKS5 proxy is asked to connect. Send what `take` gives, feed what comes, until `is_done`.

    No more than `most` bytes may be read at a time: what follows the proxy's last word is the server's own.
    Raises `Failure`: config for a proxy that wants credentials or does not speak SOCKS5, forbidden where its rules do
    not allow the connection, unreachable where it cannot make it. `UnicodeError` for a host whose name is too long.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        """`host` is a name, or an address as text."""
        self._proxy = proxy
        self._target = f"{bracketed(host)}:{port}"
        self._request = b"\5\1\0" + _socks_address(host) + port.to_bytes(2, "big")
        methods = [_NO_CREDENTIALS] if proxy.user is None else [_NO_CREDENTIALS, _PASSWORD]
        self._outgoing = bytes([5, len(methods), *methods])
        self._received = b""
        self._expect(_Step.METHOD, _SIZES[_Step.METHOD])

    @property
    def is_done(self) -> bool:
        return self._step is _Step.DONE

    @property
    def most(self) -> int:
        """The most bytes that may be read next."""
        return self._wanted - len(self._received)

    def take(self) -> bytes:
        """The bytes to send now, once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def feed(self, data: bytes) -> None:
        """What the proxy sent, at most `most` bytes."""
        assert len(data) <= self.most
        self._received += data
        if not self.most:
            said, self._received = self._received, b""
            _READ[self._step](self, said)

    def close(self) -> None:
        """The connection has ended. Raises `Failure`."""
        raise _refused(self._proxy, self._target, "it closed the connection")

    def _expect(self, step: _Step, size: int) -> None:
        self._step, self._wanted = step, size

    def _read_method(self, said: bytes) -> None:
        version, method = said
        if version != 5:
            hint = "is it an http:// proxy?" if said == b"HT" else ""
            raise failure_of(Outcome.CONFIG, "bad proxy", f"{self._proxy.name} does not speak SOCKS5", hint)
        if method == _NO_CREDENTIALS:
            self._ask()
        elif method == _PASSWORD and self._proxy.user is not None:
            user, password = self._proxy.user, self._proxy.password
            self._outgoing = bytes([1, len(user)]) + user + bytes([len(password)]) + password
            self._expect(_Step.PASSWORD, _SIZES[_Step.PASSWORD])
        elif method in (_PASSWORD, _NO_METHOD):
            known = "nobody gets in without" if self._proxy.user is None else "it does not ask for user and password"
            raise wants_credentials(self._proxy, known)
        else:
            raise _refused(self._proxy, self._target, f"it chose method {method} to sign in, which was not offered")

    def _read_password(self, said: bytes) -> None:
        if said[1] != 0:
            raise wants_credentials(self._proxy, f"status {said[1]}")
        self._ask()

    def _ask(self) -> None:
        self._outgoing = self._request
        self._expect(_Step.REPLY, _SIZES[_Step.REPLY])

    def _read_reply(self, said: bytes) -> None:
        version, reply, _, kind = said
        if version != 5 or (reply == 0 and kind not in (_IPV4, _NAME, _IPV6)):
            raise _refused(self._proxy, self._target, "its answer is malformed")
        if reply:
            outcome = Outcome.FORBIDDEN if reply == _NOT_ALLOWED else Outcome.UNREACHABLE
            raise _refused(self._proxy, self._target, _REPLIES.get(reply, f"error {reply}"), outcome)
        if kind == _NAME:
            self._expect(_Step.NAME_LENGTH, _SIZES[_Step.NAME_LENGTH])
        else:
            self._expect(_Step.ADDRESS, _ADDRESS_SIZES[kind] + 2)

    def _read_name_length(self, said: bytes) -> None:
        self._expect(_Step.ADDRESS, said[0] + 2)

    def _read_address(self, said: bytes) -> None:
        """Where the proxy has connected from, which is of no use to us."""
        self._expect(_Step.DONE, 0)


_READ = {
    _Step.METHOD: Socks5._read_method,
    _Step.PASSWORD: Socks5._read_password,
    _Step.REPLY: Socks5._read_reply,
    _Step.NAME_LENGTH: Socks5._read_name_length,
    _Step.ADDRESS: Socks5._read_address,
}


def _socks_address(host: str) -> bytes:
    """Type and address as RFC 1928, section 5 has them."""
    for kind, family in ((_IPV4, socket.AF_INET), (_IPV6, socket.AF_INET6)):
        try:
            return bytes([kind]) + socket.inet_pton(family, host)
        except OSError:
            continue
    name = host.encode("ascii")
    if len(name) > 255:
        raise UnicodeError("the name is too long")
    return bytes([_NAME, len(name)]) + name


def wants_credentials(proxy: Proxy, why: str) -> Failure:
    """It wants to know who asks, and was not told, or not what it wants to hear."""
    if proxy.user is None:
        hint = f"put them in its URL: {proxy.scheme}://USER:PASSWORD@HOST:PORT"
        return failure_of(Outcome.CONFIG, f"{proxy.name} wants credentials", why, hint)
    return failure_of(Outcome.CONFIG, f"{proxy.name} does not accept the credentials in its URL", why)


def _refused(proxy: Proxy, target: str, why: str, outcome: Outcome = Outcome.UNREACHABLE) -> Failure:
    """It does not open the way; what its rules forbid they will forbid again."""
    return failure_of(outcome, f"cannot reach {target} through {proxy.name}", why)
