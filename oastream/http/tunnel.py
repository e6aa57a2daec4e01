"""What is said to a proxy for a tunnel to a server: CONNECT (RFC 9110, 9.3.6), SOCKS5 (RFC 1928, 1929).

In: a proxy, a host and a port, the bytes that the proxy sends. Out: the bytes to send to it, and whether it has opened
the way. Does no I/O: whoever has a connection feeds a handshake what arrives. Knows nothing of what will go through.
"""

from __future__ import annotations

import enum
import socket

from oastream import __version__
from oastream.display import one_line
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.authority import bracket_host
from oastream.http.http1 import HeadReader, HeadTooLarge, NotHttp, serialize_request
from oastream.http.proxy import Proxy

MAX_HEAD_BYTES = 64 * 1024
"""Largest answer to CONNECT."""


class Handshake:
    """What both kinds share. Send what `take` gives, feed what arrives, until `is_done`."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._target = f"{bracket_host(host)}:{port}"
        self._outgoing = b""

    @property
    def is_done(self) -> bool:
        """Whether the way is open."""
        raise NotImplementedError

    @property
    def max_read(self) -> int:
        """How many bytes may be read next, so that none is taken from whoever speaks on the connection afterwards."""
        raise NotImplementedError

    def take(self) -> bytes:
        """The bytes to send now, once."""
        data, self._outgoing = self._outgoing, b""
        return data

    def feed(self, data: bytes) -> bytes:
        """Take in what the proxy sent; what follows its last word is left over. Raises `Failure`."""
        while data and not self.is_done:
            size = self.max_read
            self._feed(data[:size])
            data = data[size:]
        return data

    def close(self) -> None:
        """The connection has ended. Raises `Failure`."""
        raise self._refusal("it closed the connection")

    def _feed(self, data: bytes) -> None:
        """At most `max_read` bytes."""
        raise NotImplementedError

    def _refusal(self, why: str, outcome: Outcome = Outcome.UNREACHABLE) -> Failure:
        """The proxy does not open the way."""
        return failure_of(outcome, f"cannot reach {self._target} through {self._proxy.name}", why)

    def _credentials_failure(self, why: str) -> Failure:
        """The proxy wants to know who asks, and was not told, or not what it wants to hear."""
        proxy = self._proxy
        if proxy.user is None:
            hint = f"put them in its URL: {proxy.scheme}://USER:PASSWORD@HOST:PORT"
            return failure_of(Outcome.CONFIG, f"{proxy.name} requires credentials", why, hint)
        return failure_of(Outcome.CONFIG, f"{proxy.name} does not accept the credentials in its URL", why)


# HTTP ------------------------------------------------------------------------------------------------------------


class Connect(Handshake):
    """An HTTP proxy is asked for a tunnel.

    Raises `Failure`: config for a proxy that requires credentials or does not speak HTTP, forbidden where its rules do
    not allow the tunnel, unreachable where it cannot open it.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        super().__init__(proxy, host, port)
        headers = (("Host", self._target), ("User-Agent", f"oastream/{__version__}"), *proxy.headers())
        self._outgoing = serialize_request("CONNECT", self._target, headers, b"")
        self._answer = _Answer(MAX_HEAD_BYTES)

    @property
    def is_done(self) -> bool:
        return self._answer.is_complete and self._answer.status // 100 == 2

    @property
    def max_read(self) -> int:
        # Nothing is left for others: a server says nothing before it is spoken to, over TLS as over HTTP.
        return MAX_HEAD_BYTES

    def _feed(self, data: bytes) -> None:
        answer = self._answer
        try:
            answer.feed(data)
        except HeadTooLarge as error:
            raise self._refusal("its reply is too long") from error
        except NotHttp as error:
            raise self._not_http() from error
        if not answer.is_complete:
            return
        if answer.status in (401, 407):  # tinyproxy says 401 to credentials that are wrong
            raise self._wants_credentials()
        if answer.status == 403:  # what its rules forbid they will forbid again
            raise self._refusal(f"it answered {answer.status_line}", Outcome.FORBIDDEN)
        if not self.is_done:
            raise self._refusal(f"it answered {answer.status_line}")
        if answer.has_body:
            raise self._refusal("it sent more than its answer")

    def _not_http(self) -> Failure:
        hint = ""
        if self._answer.opening[:1] in (b"\0", b"\5"):
            hint = "is it a socks5:// proxy?"
        elif self._answer.opening[:1] == b"\x15":  # a TLS alert
            hint = "is it an https:// proxy?"
        return failure_of(Outcome.CONFIG, "bad proxy", f"{self._proxy.name} does not speak HTTP", hint)

    def _wants_credentials(self) -> Failure:
        status = self._answer.status
        schemes = self._answer.challenges
        if schemes and not any(scheme.lower() == "basic" for scheme in schemes):
            asked = one_line(", ".join(dict.fromkeys(schemes)), 60)
            why = f"{status}, by {asked}; oastream supports only Basic"
            return failure_of(Outcome.CONFIG, f"{self._proxy.name} requires credentials", why)
        return self._credentials_failure(str(status))


class _Answer(HeadReader):
    """The head of the answer to CONNECT. It has no body, whatever its headers say (RFC 9110 9.3.6)."""

    has_body = False

    @property
    def status_line(self) -> str:
        return f"{self.status} {one_line(self.reason.decode('latin-1'), 60)}".rstrip()

    @property
    def challenges(self) -> list[str]:
        """The schemes by which the proxy would know its users."""
        return [value.partition(" ")[0] for name, value in self.headers if name == "proxy-authenticate"]

    def on_body(self, _body: bytes) -> None:
        self.has_body = True


# SOCKS5 ----------------------------------------------------------------------------------------------------------


class _Step(enum.Enum):
    """What a SOCKS5 proxy says next."""

    METHOD = enum.auto()
    PASSWORD = enum.auto()
    REPLY = enum.auto()
    NAME_LENGTH = enum.auto()
    ADDRESS = enum.auto()
    DONE = enum.auto()


_SIZES = {_Step.METHOD: 2, _Step.PASSWORD: 2, _Step.REPLY: 4, _Step.NAME_LENGTH: 1, _Step.DONE: 0}
"""Bytes of each; how long the address is depends on what comes before it."""
_VERSION = 5
_PASSWORD_VERSION = 1  # of the sub-negotiation, RFC 1929
_CONNECT_COMMAND = 1
_NO_CREDENTIALS, _PASSWORD, _NO_METHOD = 0x00, 0x02, 0xFF
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04
_ADDRESS_SIZES = {_IPV4: 4, _IPV6: 16}
_PORT_SIZE = 2
_SUCCEEDED, _NOT_ALLOWED = 0, 2
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
_MAX_NAME_BYTES = 255


class Socks5(Handshake):
    """A SOCKS5 proxy is asked to connect.

    Raises `Failure`: config for a proxy that requires credentials or does not speak SOCKS5, forbidden where its rules
    do not allow the connection, unreachable where it cannot make it. `UnicodeError` for a host whose name is too long.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        """`host` is a name, or an address as text."""
        super().__init__(proxy, host, port)
        address = _socks_address(host) + port.to_bytes(_PORT_SIZE, "big")
        self._request = bytes([_VERSION, _CONNECT_COMMAND, 0]) + address
        methods = [_NO_CREDENTIALS]
        if proxy.user is not None:
            methods.append(_PASSWORD)
        self._outgoing = bytes([_VERSION, len(methods), *methods])
        self._received = b""
        self._expect(_Step.METHOD)

    @property
    def is_done(self) -> bool:
        return self._step is _Step.DONE

    @property
    def max_read(self) -> int:
        return self._wanted - len(self._received)

    def _feed(self, data: bytes) -> None:
        self._received += data
        if not self.max_read:
            answer, self._received = self._received, b""
            _READERS[self._step](self, answer)

    def _expect(self, step: _Step) -> None:
        self._step, self._wanted = step, _SIZES[step]

    def _expect_address(self, size: int) -> None:
        self._step, self._wanted = _Step.ADDRESS, size + _PORT_SIZE

    def _read_method(self, answer: bytes) -> None:
        version, method = answer
        if version != _VERSION:
            hint = ""
            if answer == b"HT":
                hint = "is it an http:// proxy?"
            raise failure_of(Outcome.CONFIG, "bad proxy", f"{self._proxy.name} does not speak SOCKS5", hint)
        if method == _NO_CREDENTIALS:
            self._ask()
        elif method == _PASSWORD and self._proxy.user is not None:
            self._send_password(self._proxy.user, self._proxy.password)
        elif method not in (_PASSWORD, _NO_METHOD):
            raise self._refusal(f"it chose method {method} to sign in, which was not offered")
        elif self._proxy.user is None:
            raise self._credentials_failure("it requires a user and a password")
        else:
            raise self._credentials_failure("it does not ask for user and password")

    def _send_password(self, user: bytes, password: bytes) -> None:
        self._outgoing += bytes([_PASSWORD_VERSION, len(user)]) + user + bytes([len(password)]) + password
        self._expect(_Step.PASSWORD)

    def _read_password(self, answer: bytes) -> None:
        _, status = answer  # some proxies send 5 as the version: RFC 1929's 1 is not insisted on
        if status != _SUCCEEDED:
            raise self._credentials_failure(f"status {status}")
        self._ask()

    def _ask(self) -> None:
        self._outgoing += self._request
        self._expect(_Step.REPLY)

    def _read_reply(self, answer: bytes) -> None:
        version, reply, _, kind = answer
        if version != _VERSION or (reply == _SUCCEEDED and kind not in (_IPV4, _NAME, _IPV6)):
            raise self._refusal("its answer is malformed")
        if reply == _NOT_ALLOWED:  # what its rules forbid they will forbid again
            raise self._refusal(_REPLIES[reply], Outcome.FORBIDDEN)
        if reply != _SUCCEEDED:
            raise self._refusal(_REPLIES.get(reply, f"error {reply}"))
        if kind == _NAME:
            self._expect(_Step.NAME_LENGTH)
        else:
            self._expect_address(_ADDRESS_SIZES[kind])

    def _read_name_length(self, answer: bytes) -> None:
        self._expect_address(answer[0])

    def _read_address(self, _answer: bytes) -> None:
        """Where the proxy has connected from, which is of no use to us."""
        self._expect(_Step.DONE)


_READERS = {
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
    if len(name) > _MAX_NAME_BYTES:  # its length has one byte
        raise UnicodeError("the name is too long")
    return bytes([_NAME, len(name)]) + name
