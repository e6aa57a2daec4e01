"""Connections of a batch: kept and used again, closed under it, over TLS and through proxies of each kind."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from oastream.batch.pool import IDLE_TIME, Connection, Pool
from oastream.http.route import route_to
from tests.support import streams
from tests.support.batches import batch, by_id, numbered, read_records, text_of
from tests.support.name_service import use_names
from tests.support.origin import Asked, Origin, echo, error, run_origin, say, streamed, whole
from tests.support.program import NOTHING, Environment, Result
from tests.support.proxies import Conversation, Proxy, run_proxy, speak_connect, speak_socks5
from tests.support.wire import Reply, drop, fin, rst, send, sse_response, stall

HOST = "api.example.invalid"


def ask(tmp_path: Path, origin: Origin, count: int, *options: str, env: Environment = NOTHING) -> Result:
    """A run with one attempt an item, all of whose answers must be right."""
    words = ("--retry", "0", "-o", str(tmp_path / "out"), "--base-url", origin.url, *options)
    result = batch(numbered(tmp_path / "in", count), *words, env=env)
    assert result.status == 0, result
    answers = by_id(read_records(tmp_path / "out"))
    assert {custom_id: text_of(record) for custom_id, record in answers.items()} == {
        f"q{number}": f"q{number}" for number in range(count)
    }
    return result


# Kept connections -------------------------------------------------------------------------------------------------


def test_a_connection_carries_one_request_after_another(tmp_path: Path) -> None:
    with run_origin() as origin:
        ask(tmp_path, origin, 20, "-j", "2")
        assert origin.connections <= 2


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes forward when it is told to."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def test_a_connection_that_nobody_uses_is_closed_after_a_while() -> None:
    pool = Pool(route_to(urlsplit("http://127.0.0.1:1/"), {}), 0)
    first, second = Connection(pool), Connection(pool)
    loop = JumpingLoop()

    async def seconds_pass(seconds: float) -> None:
        loop.ahead += seconds
        for _ in range(3):  # for what is due to be found, then called
            await asyncio.sleep(0)

    async def run() -> None:
        pool.put_back(first)
        await seconds_pass(IDLE_TIME / 2)
        pool.put_back(second)
        assert not first.is_closed
        await seconds_pass(IDLE_TIME / 2)
        assert first.is_closed
        assert not second.is_closed
        assert pool.take_idle() is second
        pool.put_back(second)
        await seconds_pass(IDLE_TIME / 2)
        assert not second.is_closed, "it was used in the meantime"
        await seconds_pass(IDLE_TIME / 2)
        assert second.is_closed
        assert pool.take_idle() is None

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


def test_a_body_that_ends_after_its_answer_gives_the_connection_back(tmp_path: Path) -> None:
    """`response.completed` is the end of the answer; the last chunk of the body comes with the next packet."""

    def answer(asked: Asked) -> Reply:
        body = echo(asked)
        return [send(body[:-5]), send(body[-5:])]

    with run_origin(answer) as origin:
        ask(tmp_path, origin, 10, "-j", "1")
        assert origin.connections <= 5


@pytest.mark.parametrize("ending", [drop, rst])
def test_a_kept_connection_that_swallows_a_request_is_no_failure_of_the_item(tmp_path: Path, ending: object) -> None:
    def answer(asked: Asked) -> Reply:
        return [ending] if asked.nth == 3 else echo(asked)  # type: ignore[list-item]

    with run_origin(answer) as origin:
        ask(tmp_path, origin, 20, "-j", "1")
        assert 20 < len(origin.asked) <= 30
    assert {record["oastream"]["attempts"] for record in read_records(tmp_path / "out")} == {1}


def test_a_new_connection_that_swallows_a_request_is_a_failure(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return [drop] if asked.prompt == "q2" and asked.nth == 0 else [send(echo(asked)), fin]

    with run_origin(answer) as origin:
        words = ("--retry", "0", "-j", "1", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 4), *words)
    assert result.status == 50, result
    assert [record["error"]["kind"] for record in read_records(tmp_path / "out.errors")] == ["unreachable"]


def test_a_server_that_closes_after_each_reply_is_served(tmp_path: Path) -> None:
    with run_origin(lambda asked: [send(echo(asked)), fin, drop]) as origin:
        ask(tmp_path, origin, 10, "-j", "3")
        assert origin.connections >= 10


def test_what_a_server_says_unasked_is_no_reply_to_the_next_request(tmp_path: Path) -> None:
    timed_out = error("408 Request Timeout", headers={"Connection": "close"})
    with run_origin(lambda asked: [send(echo(asked) + timed_out)]) as origin:
        ask(tmp_path, origin, 6, "-j", "1")
        assert origin.connections == 6


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_each_framing_and_coding_is_read(tmp_path: Path, framing: str, coding: str) -> None:
    def answer(asked: Asked) -> Reply:
        body = streams.responses_body(streams.message(asked.prompt))
        if coding == "gzip":
            body = gzip.compress(body)
        headers = {"Content-Encoding": coding}
        return [*sse_response(body, framing, pieces=50, headers=headers), drop]  # type: ignore[arg-type]

    with run_origin(answer) as origin:
        ask(tmp_path, origin, 6, "-j", "2")


def test_an_answer_in_one_piece_is_read_where_a_stream_was_asked_for(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return whole(streams.response_object(output=[streams.message(asked.prompt)], usage=streams.USAGE))

    with run_origin(answer) as origin:
        ask(tmp_path, origin, 6, "-j", "1")
        assert origin.connections == 1


def test_a_refusal_keeps_its_connection(tmp_path: Path) -> None:
    with run_origin(lambda asked: error("400 Bad Request")) as origin:
        result = batch(numbered(tmp_path / "in", 10), "-j", "1", "--base-url", origin.url)
        assert (result.status, origin.connections) == (51, 1)


def test_an_answer_that_breaks_off_is_asked_again(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.prompt == "q1" and origin.prompts["q1"] == 1:
            return sse_response(streams.responses_start("x"), ending=[rst])
        return echo(asked)

    with run_origin(answer) as origin:
        words = ("--retry-delay", "0.01", "-o", tmp_path / "out", "--base-url", origin.url)
        assert batch(numbered(tmp_path / "in", 4), *words).status == 0
        assert origin.prompts == {"q0": 1, "q1": 2, "q2": 1, "q3": 1}
    assert by_id(read_records(tmp_path / "out"))["q1"]["oastream"]["attempts"] == 2


def test_a_silent_answer_ends_by_its_timeout_and_its_connection_with_it(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.prompt == "q1" and origin.prompts["q1"] == 1:
            body = streamed(streams.responses_start("x"))
            return [send(body[:-5]), stall]
        return echo(asked)

    with run_origin(answer) as origin:
        words = ("--idle-timeout", "0.3", "--retry-delay", "0.01", "-o", tmp_path / "out", "--base-url", origin.url)
        assert batch(numbered(tmp_path / "in", 4), *words).status == 0
        assert origin.prompts["q1"] == 2


def test_two_servers_share_the_work(tmp_path: Path) -> None:
    with run_origin() as one, run_origin() as other:
        ask(tmp_path, one, 40, "--base-url", other.url)
        assert len(one.asked) + len(other.asked) == 40
        assert min(len(one.asked), len(other.asked)) >= 5


def test_a_large_request_is_sent_whole(tmp_path: Path) -> None:
    with run_origin(lambda asked: say(str(len(asked.prompt)), asked)) as origin:
        source = tmp_path / "in"
        source.write_text("x" * 3_000_000)
        result = batch("-l", source, "--format", "text", "--base-url", origin.url)
    assert [record["text"] for record in result.records] == ["3000000"]


# TLS and proxies --------------------------------------------------------------------------------------------------


def context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(made)
    return made


def test_tls_connections_are_kept_too(tmp_path: Path, authority: trustme.CA, bundle: str) -> None:
    with run_origin(tls=context(authority, "127.0.0.1")) as origin:
        ask(tmp_path, origin, 20, "-j", "2", env={"SSL_CERT_FILE": bundle})
        assert origin.connections <= 2


def test_a_certificate_that_nobody_trusts_breaks_the_run_off(tmp_path: Path) -> None:
    with run_origin(tls=context(trustme.CA(), "127.0.0.1")) as origin:
        words = ("-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 5), *words)
        assert (result.status, "certificate" in result.err) == (51, True)
        assert not origin.asked


@dataclass(frozen=True)
class Way:
    """A kind of proxy, by its URL's scheme."""

    scheme: str
    conversation: Conversation
    has_tls: bool = False


WAYS = [
    Way("http", speak_connect),
    Way("https", speak_connect, has_tls=True),
    Way("socks5", speak_socks5),
    Way("socks5h", speak_socks5),
]


@pytest.fixture
def secure_origin(authority: trustme.CA) -> Iterator[Origin]:
    with run_origin(tls=context(authority, HOST, "127.0.0.1")) as origin:
        yield origin


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.scheme)
@pytest.mark.parametrize("login", [None, (b"user", b"pass")], ids=["open", "login"])
def test_a_tunnel_is_kept_and_carries_every_request(
    tmp_path: Path,
    secure_origin: Origin,
    authority: trustme.CA,
    bundle: str,
    way: Way,
    login: tuple[bytes, bytes] | None,
) -> None:
    names = use_names(tmp_path, {HOST: ["127.0.0.9"]})
    host = "127.0.0.9" if way.scheme == "socks5" else HOST  # socks5 looks the name up here
    tls = context(authority, "127.0.0.1") if way.has_tls else None
    with run_proxy(way.conversation, Proxy(secure_origin.port, login, drips=True), tls=tls) as proxy:
        env = {"https_proxy": proxy.url(way.scheme, "user:pass" if login else ""), "SSL_CERT_FILE": bundle}
        words = ("-j", "2", "-o", tmp_path / "out", "--base-url", f"https://{HOST}/v1")
        result = batch(numbered(tmp_path / "in", 12), *words, env={**env, **names})
        assert result.status == 0, result
        assert set(proxy.targets) == {f"{host}:443"}
        assert proxy.connections <= 2
        assert "pass" not in result.err
    assert len(by_id(read_records(tmp_path / "out"))) == 12


def test_plain_http_goes_through_a_proxy_by_its_whole_url(tmp_path: Path) -> None:
    with run_origin() as proxy:
        env = {"http_proxy": f"http://127.0.0.1:{proxy.port}"}
        words = ("--insecure-http", "-o", tmp_path / "out", "--base-url", f"http://{HOST}/v1")
        assert batch(numbered(tmp_path / "in", 3), *words, env=env).status == 0
        assert {asked.path for asked in proxy.asked} == {f"http://{HOST}/v1/responses"}


@pytest.mark.parametrize("way", WAYS[:2] + WAYS[3:], ids=lambda way: way.scheme)
def test_a_proxy_that_refuses_the_login_breaks_the_run_off(
    tmp_path: Path, secure_origin: Origin, authority: trustme.CA, bundle: str, way: Way
) -> None:
    tls = context(authority, "127.0.0.1") if way.has_tls else None
    with run_proxy(way.conversation, Proxy(secure_origin.port, (b"user", b"pass")), tls=tls) as proxy:
        env = {"https_proxy": proxy.url(way.scheme, "user:wrongpassword"), "SSL_CERT_FILE": bundle}
        words = ("-o", tmp_path / "out", "--base-url", f"https://{HOST}/v1")
        result = batch(numbered(tmp_path / "in", 5), *words, env=env)
    assert result.status == 51, result
    assert "wrongpassword" not in result.err
    assert not (tmp_path / "out.errors").exists()
