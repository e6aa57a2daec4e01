"""Through proxies of each kind, over real sockets: what arrives, what the proxy learns, how it ends when it cannot."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from oastream.http.tls import StackedTls
from tests.support.name_service import use_names
from tests.support.program import CANARY, Result, finish, imported_modules, oastream, start
from tests.support.proxies import Conversation, Line, Proxy, after, run_proxy, speak_connect, speak_socks5
from tests.support.streams import message, prompt_in, responses_body, responses_start
from tests.support.waiting import SOON
from tests.support.wire import (
    Reply,
    Server,
    drop,
    fin,
    free_port,
    http_response,
    mark,
    rst,
    send,
    serve,
    serve_connections,
    sse_response,
    stall,
)

HOST = "api.example.invalid"
HELLO = sse_response(responses_body(message("Hello")))
HEAVY = {"openai", "httpx2", "httpcore2", "asyncio", "anyio", "http.client", "email", "encodings.idna"}


def context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(made)
    return made


@dataclass
class Place:
    """Where the tests run: who signs the certificates, and the server behind the proxy."""

    authority: trustme.CA
    bundle: str
    server: Server

    @property
    def url(self) -> str:
        return f"{'https' if self.server.tls else 'http'}://{HOST}/v1"


@pytest.fixture
def place(authority: trustme.CA, bundle: str) -> Iterator[Place]:
    with serve(HELLO, tls=context(authority, HOST)) as server:
        yield Place(authority, bundle, server)


@contextlib.contextmanager
def place_of(authority: trustme.CA, bundle: str, scheme: str, reply: Reply = HELLO) -> Iterator[Place]:
    with serve(reply, tls=context(authority, HOST) if scheme == "https" else None) as server:
        yield Place(authority, bundle, server)


@contextlib.contextmanager
def proxy_of(kind: str, place: Place, login: tuple[bytes, bytes] | None = None, drips: bool = False) -> Iterator[Proxy]:
    """A proxy of this kind whose tunnels lead to the server."""
    speak: Conversation = speak_socks5 if kind.startswith("socks") else speak_connect
    tls = context(place.authority, "127.0.0.1") if kind == "https" else None
    with run_proxy(speak, Proxy(place.server.port, login, drips), tls) as proxy:
        yield proxy


def run(place: Place, proxy: str, *args: str, stdin: bytes | None = None, **env: str) -> Result:
    options = ("--base-url", place.url, "--insecure-http", "--retry", "0", *args)
    words = () if stdin is not None else ("hi",)
    return oastream(*options, *words, stdin=stdin, env={"SSL_CERT_FILE": place.bundle, "ALL_PROXY": proxy, **env})


# What arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drips", [False, True], ids=["at-once", "byte-by-byte"])
@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_https_goes_through_a_tunnel(place: Place, kind: str, drips: bool) -> None:
    with proxy_of(kind, place, drips=drips) as proxy:
        result = run(place, proxy.url(kind))
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
    assert proxy.targets == [f"{HOST}:443"]
    assert place.server.request.headers["host"] == HOST
    assert place.server.request.headers["authorization"] == f"Bearer {CANARY}"


def test_plain_http_goes_through_socks_as_it_is(authority: trustme.CA, bundle: str) -> None:
    with place_of(authority, bundle, "http") as place, proxy_of("socks5h", place) as proxy:
        result = run(place, proxy.url("socks5h"))
        assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
        assert proxy.targets == [f"{HOST}:80"]
        assert place.server.request.path == "/v1/responses"


@pytest.mark.parametrize("kind", ["http", "https"])
def test_an_http_proxy_is_asked_for_a_plain_url_itself(authority: trustme.CA, bundle: str, kind: str) -> None:
    with serve(HELLO, tls=context(authority, "127.0.0.1") if kind == "https" else None) as proxy:
        place = Place(authority, bundle, proxy)
        options = ("--base-url", f"http://{HOST}/v1", "--insecure-http", "--retry", "0", "hi")
        env = {"SSL_CERT_FILE": place.bundle, "http_proxy": f"{kind}://user:CANARY@127.0.0.1:{proxy.port}"}
        result = oastream(*options, env=env)
        assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
        assert proxy.request.path == f"http://{HOST}/v1/responses"
        assert proxy.request.headers["host"] == HOST
        assert proxy.request.headers["proxy-authorization"] == "Basic dXNlcjpDQU5BUlk="


def test_socks5_looks_the_name_up_here_and_socks5h_there(place: Place, tmp_path: Path) -> None:
    names = use_names(tmp_path, {HOST: ["127.0.0.9"]})
    for kind, target in (("socks5", "127.0.0.9:443"), ("socks5h", f"{HOST}:443")):
        with proxy_of(kind, place) as proxy:
            result = run(place, proxy.url(kind), stdin=None, **names)
        assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
        assert proxy.targets == [target]


def test_a_name_that_socks5_cannot_look_up_is_the_hosts_fault(place: Place) -> None:
    with proxy_of("socks5", place) as proxy:
        result = run(place, proxy.url("socks5"))
    assert result.status == 32
    assert result.message.startswith(f"oastream: cannot reach {HOST}: DNS: ")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="there is no ::1 here")
@pytest.mark.parametrize("kind", ["http", "socks5h"])
def test_a_proxy_may_have_an_ipv6_address(place: Place, kind: str) -> None:
    speak: Conversation = speak_socks5 if kind == "socks5h" else speak_connect
    with run_proxy(speak, Proxy(place.server.port), host="::1") as proxy:
        result = run(place, f"{kind}://{proxy.address}")
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_long_prompts_and_long_answers_pass_whole(authority: trustme.CA, bundle: str, kind: str) -> None:
    text = "".join(f"{number} and so on\n" for number in range(100_000))
    prompt = "".join(f"{number} of many\n" for number in range(300_000))
    reply = sse_response(responses_body(message(text)), pieces=100_000)
    with place_of(authority, bundle, "https", reply) as place, proxy_of(kind, place) as proxy:
        result = run(place, proxy.url(kind), stdin=prompt.encode())
        assert (result.status, result.out, result.err) == (0, text.encode(), "")
        assert prompt_in(place.server.request.json) == prompt


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_a_stream_through_a_tunnel_arrives_as_it_comes(authority: trustme.CA, bundle: str, kind: str) -> None:
    go_on = threading.Event()
    body = responses_body(message("Hello"), piece=3)
    cut = body.index(b"\n\n", body.index(b'"Hel"')) + 2
    reply = [*sse_response(body[:cut], "close", ending=[lambda _: go_on.wait(SOON)]), send(body[cut:]), fin]
    with place_of(authority, bundle, "https", reply) as place, proxy_of(kind, place) as proxy:
        env = {"SSL_CERT_FILE": bundle, "ALL_PROXY": proxy.url(kind)}
        with start("--base-url", place.url, "--retry", "0", "hi", env=env) as process:
            assert process.stdout is not None
            first = process.stdout.read(3)
            go_on.set()
            result = finish(process)
    assert (first, result.status, result.out, result.err) == (b"Hel", 0, b"lo\n", "")


def test_a_line_that_takes_little_at_a_time_gets_every_byte_once(authority: trustme.CA) -> None:
    data = os.urandom(1_000_000)

    def answer_with_digest(connection: socket.socket) -> None:
        with context(authority, HOST).wrap_socket(connection, server_side=True) as inner:
            received = hashlib.sha256()
            left = len(data)
            while left:
                piece = inner.recv(left)
                received.update(piece)
                left -= len(piece)
            inner.sendall(received.digest())

    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with serve_connections(answer_with_digest) as url:
        upstream = Proxy(int(url.rpartition(":")[2].removesuffix("/v1")))
        with run_proxy(Line.tunnel, upstream, context(authority, "127.0.0.1")) as proxy:
            host, port = proxy.address.split(":")
            below = socket.create_connection((host, int(port)), timeout=SOON)
            below.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # less than a record of TLS
            below = trust.wrap_socket(below, server_hostname=host)
            line = StackedTls(below, trust, HOST, time.monotonic() + SOON)
            line.setblocking(False)
            refusals = send_all(line, data)
            assert (refusals > 0, receive(line, 32)) == (True, hashlib.sha256(data).digest())
            line.close()


def send_all(line: StackedTls, data: bytes) -> int:
    """Send it as a loop over poll does; how often the line would have blocked."""
    left, refusals = memoryview(data), 0
    while left:
        select.select([], [line], [], SOON)
        try:
            left = left[line.send(left) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            refusals += 1
    return refusals


def receive(line: StackedTls, size: int) -> bytes:
    buffer = memoryview(bytearray(size))
    got = 0
    while got < size:
        if not line.pending():
            select.select([line], [], [], SOON)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            got += line.recv_into(buffer[got:])
    return bytes(buffer)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_within_tls_goes_in_each_version(authority: trustme.CA, bundle: str, version: ssl.TLSVersion) -> None:
    inner, outer = context(authority, HOST), context(authority, "127.0.0.1")
    for tls in (inner, outer):
        tls.minimum_version = tls.maximum_version = version
    text = "".join(f"{number} and so on\n" for number in range(50_000))
    with serve(sse_response(responses_body(message(text))), tls=inner) as server:
        place = Place(authority, bundle, server)
        with run_proxy(speak_connect, Proxy(server.port), outer) as proxy:
            result = run(place, proxy.url("https"), stdin=text.encode())
    assert (result.status, result.out, result.err) == (0, text.encode(), "")


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
@pytest.mark.parametrize(
    ("body", "status"), [(responses_body(message("Hello")), 0), (responses_start("Hello"), 40)], ids=["whole", "cut"]
)
def test_an_end_that_nobody_announced_is_judged_by_the_answer(
    authority: trustme.CA, bundle: str, kind: str, body: bytes, status: int
) -> None:
    reply = sse_response(body, "close", ending=[drop])  # without TLS's close_notify
    with place_of(authority, bundle, "https", reply) as place, proxy_of(kind, place) as proxy:
        result = run(place, proxy.url(kind))
    assert (result.status, result.text.strip()) == (status, "Hello")


# Credentials and keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_the_credentials_of_the_url_open_the_proxy_and_are_not_shown(place: Place, kind: str) -> None:
    with proxy_of(kind, place, (b"user", b"CANARY/\xc3\xbc")) as proxy:
        result = run(place, proxy.url(kind, "user:CANARY%2F%C3%BC"), "-v")
    assert (result.status, result.out) == (0, b"Hello\n")
    assert proxy.logins == [(b"user", b"CANARY/\xc3\xbc")]
    assert "user" not in result.err
    assert "proxy-authorization" not in place.server.request.headers


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
@pytest.mark.parametrize("user", ["", "user:CANARY"])
def test_a_proxy_that_wants_other_credentials_exits_6_at_once(place: Place, kind: str, user: str) -> None:
    with proxy_of(kind, place, (b"user", b"other")) as proxy:
        result = run(place, proxy.url(kind, user), "--retry", "2")
    assert (result.status, proxy.connections, place.server.connections) == (6, 1, 0)
    said = "does not accept the credentials in its URL" if user else "requires credentials"
    assert result.message.startswith(f"oastream: the proxy {proxy.address} {said}: ")


def test_a_proxy_for_plain_http_that_wants_credentials_exits_6(authority: trustme.CA, bundle: str) -> None:
    with serve(http_response(status="407 Proxy Authentication Required")) as proxy:
        place = Place(authority, bundle, proxy)
        result = run(place, f"http://127.0.0.1:{proxy.port}", "--retry", "2")
        assert proxy.connections == 1
    assert result.status == 6
    assert "the proxy requires credentials" in result.message
    assert "http://USER:PASSWORD@HOST:PORT" in result.err


PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_never_goes_through_a_proxy(host: str) -> None:
    with serve(HELLO) as other, contextlib.ExitStack() as stack:
        env = dict.fromkeys(PROXIES, f"http://127.0.0.1:{other.port}")
        server = stack.enter_context(serve(HELLO))
        port = server.port
        if host == "127.0.0.2":
            port = stack.enter_context(forwarding(host, server.port))
        result = oastream("--base-url", f"http://{host}:{port}/v1", "--retry", "0", "hi", env=env)
        assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
        assert (server.connections, other.connections) == (1, 0)


@contextlib.contextmanager
def forwarding(host: str, port: int) -> Iterator[int]:
    """Another address of the same server."""
    with run_proxy(Line.tunnel, Proxy(port), host=host) as way:
        yield int(way.address.rpartition(":")[2])


@pytest.mark.parametrize("value", ["http://127.0.0.1:{port}", "socks5h://127.0.0.1:{port}", "gopher://"])
def test_the_mock_never_goes_through_a_proxy(value: str) -> None:
    with serve(HELLO) as other:
        env = dict.fromkeys(PROXIES, value.format(port=other.port))
        result = oastream("--base-url", "mock:", "--retry", "0", "hi", env=env)
        assert (result.status, result.out, result.err) == (0, b"hi\n", "")
        assert other.connections == 0


@pytest.mark.parametrize("kind", ["http", "https", "socks5", "socks5h"])
def test_a_key_never_goes_in_clear_to_another_host_whatever_the_proxy(place: Place, kind: str) -> None:
    with proxy_of(kind, place) as proxy:
        env = {"SSL_CERT_FILE": place.bundle, "ALL_PROXY": proxy.url(kind)}
        result = oastream("--base-url", f"http://{HOST}/v1", "hi", env=env)
    assert (result.status, proxy.connections) == (6, 0)
    assert "refusing to send the API key over plain http" in result.message


# How it ends when it cannot --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_a_proxy_that_refuses_the_connection_exits_32(place: Place, kind: str) -> None:
    port = free_port()
    result = run(place, f"{kind}://user:CANARY@127.0.0.1:{port}")
    assert result.status == 32
    assert result.message == f"oastream: cannot reach the proxy 127.0.0.1:{port}: connection refused"


def talks_nonsense_in_the_tunnel(line: Line) -> None:
    line.read_head()
    line.say(b"HTTP/1.1 200 OK\r\n\r\n")
    line.read(5)
    line.say(b"no\r\n" * 9)


OPENED = send(b"HTTP/1.1 200 OK\r\n\r\n")

BEHAVIOURS: dict[str, tuple[str, Conversation, int, str]] = {
    "http-forbids": ("http", after(0, send(b"HTTP/1.1 403 Forbidden\r\n\r\n"), stall), 22, "it answered 403 Forbidden"),
    "http-fails": ("http", after(0, send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), fin), 32, "it answered 502 Bad Gateway"),
    "http-closes": ("http", after(0, fin), 32, "it closed the connection"),
    "http-closes-within": ("http", after(0, send(b"HTTP/1.1 200 OK\r\n"), fin), 32, "it closed the connection"),
    "http-resets": ("http", after(0, rst), 32, "connection reset"),
    "http-hangs": ("http", after(0, stall), 33, "no connection within --connect-timeout"),
    "http-hangs-within": ("http", after(0, send(b"HTTP/1.1 200 OK\r\n"), stall), 33, "--connect-timeout"),
    "http-talks-nonsense": ("http", after(0, send(b"hello\r\n"), stall), 6, "does not speak HTTP"),
    "http-says-too-much": ("http", after(0, send(b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0\r\n"), stall), 32, "more than its"),
    "http-closes-the-tunnel": ("http", after(0, OPENED, fin), 27, f"no TLS with {HOST}"),
    "http-is-silent-in-the-tunnel": (
        "http",
        after(0, OPENED, stall),
        33,
        f"cannot reach {HOST}:",
    ),
    "https-is-silent-in-the-tunnel": (
        "https",
        after(0, OPENED, stall),
        33,
        f"cannot reach {HOST}:",
    ),
    "https-closes-the-tunnel": ("https", after(0, OPENED, fin), 27, f"no TLS with {HOST}"),
    "https-talks-nonsense-in-the-tunnel": ("https", talks_nonsense_in_the_tunnel, 27, f"no TLS with {HOST}: "),
    "https-closes": ("https", after(0, fin), 32, "it closed the connection"),
    "https-hangs": ("https", after(0, stall), 33, "no connection within --connect-timeout"),
    "socks-refuses": ("socks5h", after(3, send(b"\5\0\5\5\0\1\0\0\0\0\0\0"), stall), 32, "connection refused"),
    "socks-closes": ("socks5h", after(3, fin), 32, "it closed the connection"),
    "socks-closes-within": ("socks5h", after(3, send(b"\5\0\5"), fin), 32, "it closed the connection"),
    "socks-resets": ("socks5h", after(3, rst), 32, "connection reset"),
    "socks-hangs": ("socks5h", after(3, stall), 33, "no connection within --connect-timeout"),
    "socks-hangs-within": ("socks5h", after(3, send(b"\5\0\5\0"), stall), 33, "--connect-timeout"),
    "socks-talks-http": ("socks5h", after(3, send(b"HTTP/1.1 400 Bad\r\n\r\n"), stall), 6, "does not speak SOCKS5"),
    "socks-is-malformed": ("socks5h", after(3, send(b"\5\0\5\0\0\7"), stall), 32, "its answer is malformed"),
}


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_proxy_that_does_not_do_its_work_has_a_status(place: Place, name: str) -> None:
    kind, conversation, status, why = BEHAVIOURS[name]
    tls = context(place.authority, "127.0.0.1") if kind == "https" else None
    with run_proxy(conversation, Proxy(place.server.port), tls) as proxy:
        result = run(place, proxy.url(kind), "--connect-timeout", "1" if status == 33 else "10")
    assert result.status == status, result
    assert why in result.message
    assert result.seconds < SOON
    assert place.server.connections == 0


def test_an_https_proxy_of_another_name_exits_27_and_is_named(place: Place) -> None:
    with run_proxy(speak_connect, Proxy(place.server.port), context(place.authority, "elsewhere.example")) as proxy:
        result = run(place, proxy.url("https"))
    assert (result.status, proxy.targets) == (27, [])
    assert f"the certificate of the proxy {proxy.address} is not trusted" in result.message


def test_a_server_of_another_name_behind_an_https_proxy_exits_27(place: Place) -> None:
    with serve(HELLO, tls=context(place.authority, "elsewhere.example")) as server:
        other = Place(place.authority, place.bundle, server)
        with proxy_of("https", other) as proxy:
            result = run(other, proxy.url("https"))
        assert server.requests == []
    assert result.status == 27
    assert f"the certificate of {HOST} is not trusted" in result.message


def test_an_http_proxy_that_is_taken_for_an_https_one_exits_27(place: Place) -> None:
    with run_proxy(after(0, send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), fin), Proxy(place.server.port)) as proxy:
        result = run(place, proxy.url("https"))
    assert result.status == 27
    assert result.message.startswith(f"oastream: no TLS with the proxy {proxy.address}: ")


def test_a_proxy_that_cannot_be_reached_is_tried_again(place: Place) -> None:
    with run_proxy(after(0, fin), Proxy(place.server.port)) as proxy:
        result = run(place, proxy.url("http"), "--retry", "2", "--retry-delay", "0.01")
    assert (result.status, proxy.connections) == (32, 3)


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_proxy(place: Place, kind: str, number: signal.Signals) -> None:
    with waiting_at(place, kind) as process:
        process.send_signal(number)
        assert finish(process, SOON).status == -number


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_a_reader_that_goes_ends_the_wait_for_a_proxy(place: Place, kind: str) -> None:
    with waiting_at(place, kind) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(SOON) == -signal.SIGPIPE


@contextlib.contextmanager
def waiting_at(place: Place, kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run that waits for the first word of a proxy."""
    asked = threading.Event()
    tls = context(place.authority, "127.0.0.1") if kind == "https" else None
    with run_proxy(after(0, mark(asked), stall), Proxy(place.server.port), tls) as proxy:
        env = {"SSL_CERT_FILE": place.bundle, "HTTPS_PROXY": proxy.url(kind)}
        with start("--base-url", place.url, "hi", env=env) as process:
            assert asked.wait(SOON)
            yield process


def test_max_time_ends_the_wait_for_a_proxy_and_is_named(place: Place) -> None:
    with run_proxy(after(0, stall), Proxy(place.server.port)) as proxy:
        result = run(place, proxy.url("http"), "--max-time", "0.6")
    assert result.status == 33
    assert "--max-time" in result.message
    assert result.seconds < SOON


# The environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["gopher://p:1", "http://[oops", "socks4://p:1", "http://h:port", "http://"])
def test_a_bad_proxy_value_exits_6_in_one_line(place: Place, value: str) -> None:
    result = run(place, value.replace("//", "//user:CANARY@"), "--retry", "2")
    assert result.status == 6
    assert result.message.startswith("oastream: bad proxy: ALL_PROXY ")
    assert len(result.err.splitlines()) == (2 if "h:port" in value else 1)  # and a hint


@pytest.mark.parametrize("entry", ["example.test", "*", "other.test, .example.test", "api.example.test:{port}"])
def test_a_host_in_no_proxy_is_reached_without_one(
    authority: trustme.CA, bundle: str, tmp_path: Path, entry: str
) -> None:
    names = use_names(tmp_path, {"api.example.test": ["127.0.0.1"]})
    with serve(HELLO, tls=context(authority, "api.example.test")) as server, serve(HELLO) as proxy:
        url = f"https://api.example.test:{server.port}/v1"
        env = {"SSL_CERT_FILE": bundle, "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}", **names}
        result = oastream("--base-url", url, "hi", env={**env, "NO_PROXY": entry.format(port=server.port)})
        assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
        assert proxy.connections == 0


def test_another_port_in_no_proxy_excepts_nothing(place: Place) -> None:
    with proxy_of("http", place) as proxy:
        result = run(place, proxy.url("http"), NO_PROXY=f"{HOST}:8443")
    assert (result.status, proxy.targets) == (0, [f"{HOST}:443"])


def test_a_cgi_script_does_not_take_its_proxy_from_a_header(authority: trustme.CA, bundle: str, tmp_path: Path) -> None:
    names = use_names(tmp_path, {HOST: ["127.0.0.1"]})
    with serve(HELLO) as server, serve(HELLO) as evil:
        url = f"http://{HOST}:{server.port}/v1"
        env = {"HTTP_PROXY": f"http://127.0.0.1:{evil.port}", "REQUEST_METHOD": "GET", **names}
        result = oastream("--base-url", url, "--insecure-http", "hi", env=env)
        assert (result.status, server.connections, evil.connections) == (0, 1, 0)


@pytest.mark.parametrize("kind", ["http", "https", "socks5h"])
def test_no_http_library_is_loaded_for_a_proxy(place: Place, kind: str) -> None:
    with proxy_of(kind, place, (b"user", b"secret")) as proxy:
        env = {"SSL_CERT_FILE": place.bundle, "HTTPS_PROXY": proxy.url(kind, "user:secret")}
        modules = imported_modules("--base-url", place.url, "hi", env=env)
    assert "oastream.http.proxy" in modules
    assert not modules & HEAVY
