"""Https with certificates that are trusted, and that are not."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from oastream.http.tls import TlsEngine, certificate_name
from tests.support.name_service import use_names
from tests.support.program import Result, imported_modules, oastream
from tests.support.streams import message, responses_body, responses_start
from tests.support.wire import (
    Reply,
    Server,
    drop,
    head,
    http_response,
    read_request,
    serve,
    serve_connections,
    sse_response,
)

HELLO = sse_response(responses_body(message("Hello")))
AUTHORITY = trustme.CA()
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
AUTHORITY.configure_trust(TRUSTING)
CERTIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("api.example.test").configure_cert(CERTIFIED)
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


def context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    with serve(HELLO, tls=context(authority.issue_cert("127.0.0.1", "localhost"))) as running:
        yield running


def run(server: Server, bundle: Path | str | None, *args: str) -> Result:
    env = {"SSL_CERT_FILE": str(bundle)} if bundle else {}
    return oastream("--base-url", server.url, "--retry-delay", "0.01", *args, "hi", env=env)


def test_a_trusted_certificate_is_fine(server: Server, bundle: str) -> None:
    result = run(server, bundle)
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


@pytest.mark.parametrize("status", [413, 200])
def test_a_reply_may_come_while_the_body_goes_up(status: int, authority: trustme.CA, bundle: str) -> None:
    """Reading and writing take turns on one TLS connection: each may find that it must wait."""
    certificate, done = context(authority.issue_cert("127.0.0.1")), threading.Event()

    def play(raw: socket.socket) -> None:
        with certificate.wrap_socket(raw, server_side=True) as connection:
            time.sleep(0.5)  # by now the buffers are full, and the client can send no more
            if status == 413:
                connection.sendall(http_response("{}", "413 Content Too Large"))
                done.wait(20)
                return
            connection.sendall(head("close") + b": wait\n\n")
            read_request(connection)
            connection.sendall(responses_body(message("Hello")))

    with serve_connections(play) as url:
        env = {"SSL_CERT_FILE": bundle}
        where = ("--base-url", url.replace("http:", "https:"), "--first-event-timeout", "15", "--retry", "0")
        result = oastream(*where, stdin=b"x" * (12 << 20), env=env)
        done.set()
    assert (result.status, result.out) == ((20, b"") if status == 413 else (0, b"Hello\n"))
    assert result.seconds < 10


def test_a_name_in_ascii_loads_no_codec_for_others(server: Server, bundle: str) -> None:
    modules = imported_modules("--base-url", server.url, "hi", env={"SSL_CERT_FILE": bundle})
    assert "oastream.http.tls" in modules
    assert "encodings.idna" not in modules


def test_a_final_dot_is_no_part_of_the_certified_name(authority: trustme.CA, bundle: str, tmp_path: Path) -> None:
    names = use_names(tmp_path, {"api.example.test.": ["127.0.0.1"]})
    with serve(HELLO, tls=context(authority.issue_cert("api.example.test"))) as server:
        url = f"https://api.example.test.:{server.port}/v1"
        result = oastream("--base-url", url, "hi", env={"SSL_CERT_FILE": bundle, **names})
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


def test_an_untrusted_certificate_exits_27_and_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    result = run(server, tmp_path / "other.pem")
    assert (result.status, result.out) == (27, b"")
    assert "certificate" in result.err
    assert (server.connections, server.requests) == (1, [])


def test_a_certificate_that_the_system_does_not_trust_exits_27(server: Server) -> None:
    result = run(server, None)
    assert (result.status, result.out, server.requests) == (27, b"", [])
    assert "is not trusted" in result.err


def test_a_certificate_of_another_host_exits_27(authority: trustme.CA, bundle: str) -> None:
    with serve(HELLO, tls=context(authority.issue_cert("example.org"))) as server:
        result = run(server, bundle)
    assert result.status == 27
    assert result.message


def test_an_expired_certificate_exits_27(authority: trustme.CA, bundle: str) -> None:
    with serve(HELLO, tls=context(authority.issue_cert("127.0.0.1", not_after=YESTERDAY))) as server:
        result = run(server, bundle)
    assert result.status == 27
    assert "expired" in result.err


def test_a_plain_port_exits_27() -> None:
    with serve(HELLO) as server:
        result = oastream("--base-url", server.url.replace("http:", "https:"), "--retry", "0", "hi")
    assert result.status == 27
    assert result.message


@pytest.mark.parametrize("content", [None, "", "no certificate\n"], ids=["missing", "empty", "garbage"])
def test_a_bundle_that_cannot_be_read_exits_6(server: Server, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    result = run(server, file)
    assert result.status == 6
    assert str(file) in result.err
    assert server.requests == []


def test_a_bundle_is_not_read_for_plain_http() -> None:
    with serve(HELLO) as server:
        assert run(server, "/nonexistent/ca.pem").status == 0


def unclean(reply: bytes) -> Reply:
    return sse_response(reply, "close", ending=[drop])


def test_an_unclean_end_after_the_terminal_event_is_complete(authority: trustme.CA, bundle: str) -> None:
    tls = context(authority.issue_cert("127.0.0.1"))
    with serve(unclean(responses_body(message("Hello"))), tls=tls) as server:
        result = run(server, bundle)
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


def test_an_unclean_end_before_the_terminal_event_exits_40(authority: trustme.CA, bundle: str) -> None:
    tls = context(authority.issue_cert("127.0.0.1"))
    with serve(unclean(responses_start("Hello")), tls=tls) as server:
        result = run(server, bundle)
    assert (result.status, result.out) == (40, b"Hello")


# The engine, without a socket


class Peer:
    """A server's end of TLS in memory: it says in upper case what it reads."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def answer(self, data: bytes) -> bytes:
        self._incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            while said := self._tls.read(1 << 16):
                self._tls.write(said.upper())
        return self._outgoing.read()


def wants_more(step: Callable[[], object]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return True
    return False


def shake_hands(engine: TlsEngine, peer: Peer, sizes: Iterator[int]) -> None:
    unread = b""
    while wants_more(engine.shake_hands):
        unread += peer.answer(engine.take())
        size = next(sizes)
        engine.feed(unread[:size])
        unread = unread[size:]


def engine_for(host: str) -> TlsEngine:
    return TlsEngine(TRUSTING, certificate_name(host))


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_tls_in_memory_takes_its_bytes_however_they_are_cut(sizes: list[int]) -> None:
    pieces = itertools.cycle(sizes)
    engine, peer = engine_for("api.example.test"), Peer(CERTIFIED)
    shake_hands(engine, peer, pieces)
    said = b"how are you? " * 2000  # more than a record
    unwritten, unread, heard, buffer = memoryview(said), b"", b"", memoryview(bytearray(1000))
    while len(heard) < len(said):
        if unwritten:
            unwritten = unwritten[engine.write(unwritten) :]
        unread += peer.answer(engine.take())
        size = next(pieces)
        engine.feed(unread[:size])
        unread = unread[size:]
        with contextlib.suppress(ssl.SSLWantReadError):
            while True:
                heard += buffer[: engine.read_into(buffer)]
    assert (heard, engine.pending) == (said.upper(), 0)


def test_tls_in_memory_ends_with_its_connection() -> None:
    engine = engine_for("api.example.test")
    shake_hands(engine, Peer(CERTIFIED), itertools.repeat(100))
    assert wants_more(lambda: engine.read_into(memoryview(bytearray(10))))
    engine.feed_eof()
    assert engine.read_into(memoryview(bytearray(10))) == 0


def test_tls_in_memory_has_an_alert_to_send_where_the_certificate_is_another_hosts() -> None:
    engine, peer = engine_for("other.example.test"), Peer(CERTIFIED)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(engine, peer, itertools.repeat(100))
    with pytest.raises(ssl.SSLError, match="alert"):
        peer.answer(engine.take())
