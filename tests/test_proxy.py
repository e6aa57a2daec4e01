"""Which proxy the environment names, and what is said to it: no sockets here. `test_tunnel` goes through real ones."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.exits import Failure, Outcome
from oastream.http.proxy import Proxy, is_exempt, parse_proxy, proxy_for
from oastream.http.tunnel import Connect, Handshake, Socks5

HTTPS = "https://api.example.test/v1"
HTTP = "http://api.example.test/v1"


def chosen(url: str, **environ: str) -> str | None:
    proxy = proxy_for(urlsplit(url), environ)
    return proxy and f"{proxy.scheme}://{proxy.host}:{proxy.port}"


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_https_has_its_own_proxy_or_that_of_all(name: str) -> None:
    assert chosen(HTTPS, **{name: "http://p:3128"}) == "http://p:3128"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_http_has_its_own_proxy_or_that_of_all(name: str) -> None:
    assert chosen(HTTP, **{name: "http://p:3128"}) == "http://p:3128"


def test_the_proxy_of_another_scheme_is_not_used() -> None:
    assert chosen(HTTPS, http_proxy="http://p:1", HTTP_PROXY="http://p:1") is None
    assert chosen(HTTP, https_proxy="http://p:1", HTTPS_PROXY="http://p:1") is None


def test_the_nearest_variable_counts_and_an_empty_one_does_not() -> None:
    every = {"https_proxy": "a", "HTTPS_PROXY": "b", "all_proxy": "c", "ALL_PROXY": "d"}
    for left, expected in enumerate(["a", "b", "c", "d"]):
        environ = {name: "" if number < left else value for number, (name, value) in enumerate(every.items())}
        assert chosen(HTTPS, **environ) == f"http://{expected}:80"


def test_a_cgi_script_does_not_take_its_proxy_from_a_header() -> None:
    assert chosen(HTTP, HTTP_PROXY="http://evil:1", REQUEST_METHOD="GET") is None
    assert chosen(HTTP, http_proxy="http://p:1", HTTP_PROXY="http://evil:1", REQUEST_METHOD="GET") == "http://p:1"
    assert chosen(HTTPS, HTTPS_PROXY="http://p:1", REQUEST_METHOD="GET") == "http://p:1"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("p", Proxy("http", "p", 80)),
        ("p:3128", Proxy("http", "p", 3128)),
        ("HTTP://P:3128/", Proxy("http", "p", 3128)),
        ("https://p", Proxy("https", "p", 443)),
        ("socks5://p", Proxy("socks5", "p", 1080)),
        ("socks5h://p", Proxy("socks5h", "p", 1080)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("[fd00::2]:3128", Proxy("http", "fd00::2", 3128)),
        ("u:p%40ss@p:1", Proxy("http", "p", 1, b"u", b"p@ss")),
        ("socks5h://%C3%BC:%FF@p", Proxy("socks5h", "p", 1080, b"\xc3\xbc", b"\xff")),
        ("http://u@p", Proxy("http", "p", 80, b"u", b"")),
        ("http://:secret@p", Proxy("http", "p", 80, b"", b"secret")),
    ],
)
def test_a_proxy_is_read_from_its_url(value: str, expected: Proxy) -> None:
    assert parse_proxy(value, "HTTPS_PROXY") == expected


@pytest.mark.parametrize(
    "value",
    [
        "gopher://u:CANARY@p:1",
        "socks4://u:CANARY@p:1",
        "socks://u:CANARY@p:1",
        "://u:CANARY@p",
        "http://u:CANARY@",
        "http://u:CANARY@p:port",
        "http://u:CANARY@p:99999",
        "http://u:CANARY@[oops",
        "http://u:CANARY",
        "http://u:CANARY#more@p:1",
        "http://u:CANARY@a b:1",
        f"socks5://u:{'CANARY' * 50}@p",
        f"socks5://{'CANARY' * 50}@p",
    ],
)
def test_a_bad_proxy_is_named_by_its_variable_and_never_shown(value: str) -> None:
    with pytest.raises(Failure) as caught:
        proxy_for(urlsplit(HTTPS), {"HTTPS_PROXY": value})
    verdict = caught.value.verdict
    assert verdict.outcome is Outcome.CONFIG
    assert verdict.message.startswith("bad proxy: HTTPS_PROXY ")
    assert "CANARY" not in verdict.message + verdict.hint
    assert "\n" not in verdict.message


def test_a_bad_proxy_is_not_looked_at_where_none_is_used() -> None:
    assert chosen(HTTPS, HTTPS_PROXY="gopher://p", NO_PROXY="example.test") is None
    assert chosen(HTTPS, HTTPS_PROXY="http://p", ALL_PROXY="gopher://p") == "http://p:80"


@given(st.text(max_size=40), st.sampled_from(["", "http://", "socks5://u:p@", "https://["]))
def test_any_value_is_a_proxy_or_bad(value: str, before: str) -> None:
    with contextlib.suppress(Failure):
        parse_proxy(before + value, "HTTPS_PROXY")


# NO_PROXY --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "host", "expected"),
    [
        ("example.com", "example.com", True),
        ("example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "api.example.com", True),
        ("EXAMPLE.com", "api.Example.COM", True),
        ("example.com.", "api.example.com", True),
        ("example.com", "api.example.com.", True),
        ("example.com", "notexample.com", False),
        ("api.example.com", "example.com", False),
        ("com", "example.com", True),
        ("*", "example.com", True),
        ("*", "10.0.0.1", True),
        ("a.test, example.com", "example.com", True),
        ("a.test example.com", "example.com", True),
        ("", "example.com", False),
        (",, ,", "example.com", False),
        (".", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.99/24", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("2.3", "10.1.2.3", False),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("10.0.0.0/8", "api.example.com", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::/8", "fe80::1", False),
        ("fd00:0:0:0:0:0:0:1", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("fd00::/8", "10.1.2.3", False),
    ],
)
def test_a_host_is_excepted_by_name_suffix_network_or_star(entry: str, host: str, expected: bool) -> None:
    assert is_exempt(host, 443, entry) is expected


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("example.com:8443", "api.example.com"),
        ("10.0.0.0/8:8443", "10.1.2.3"),
        ("[fd00::1]:8443", "fd00::1"),
        ("*:8443", "x"),
    ],
)
def test_a_port_in_no_proxy_is_for_that_port_alone(entry: str, host: str) -> None:
    assert is_exempt(host, 8443, entry)
    assert not is_exempt(host, 443, entry)


@given(st.text(max_size=40), st.sampled_from(["a.example.com", "10.1.2.3", "fd00::1", "fe80::1%25eth0"]))
def test_any_no_proxy_is_read(exceptions: str, host: str) -> None:
    assert is_exempt(host, 443, exceptions) in (True, False)


def test_the_lower_case_no_proxy_counts() -> None:
    assert chosen(HTTPS, https_proxy="p", no_proxy="example.test", NO_PROXY="other.test") is None
    assert chosen(HTTPS, https_proxy="p", no_proxy="other.test", NO_PROXY="example.test") == "http://p:80"
    assert chosen(HTTPS, https_proxy="p", NO_PROXY="example.test") is None


def test_the_port_of_the_scheme_is_meant_where_the_url_has_none() -> None:
    assert chosen(HTTPS, https_proxy="p", NO_PROXY="example.test:443") is None
    assert chosen(HTTP, http_proxy="p", NO_PROXY="example.test:443") == "http://p:80"
    assert chosen("https://api.example.test:8443/v1", https_proxy="p", NO_PROXY="example.test:443") == "http://p:80"


# Handshakes ------------------------------------------------------------------------------------------------------

OPEN = Proxy("http", "p", 3128)
KNOWN = Proxy("http", "p", 3128, b"user", b"pass")
SOCKS = Proxy("socks5h", "p", 1080)
SOCKS_KNOWN = Proxy("socks5h", "p", 1080, b"user", b"pass")


def connect(proxy: Proxy = OPEN, host: str = "api.example.test") -> Connect:
    return Connect(proxy, host, 443)


def socks(proxy: Proxy = SOCKS, host: str = "api.example.test") -> Socks5:
    return Socks5(proxy, host, 443)


def spoken(handshake: Handshake, said: bytes, cuts: list[int]) -> bytes:
    """What our side says when the proxy says this, in pieces. None of it may be left over."""
    ours = handshake.take()
    edges = [0, *sorted({cut for cut in cuts if cut < len(said)}), len(said)]
    for start, end in itertools.pairwise(edges):
        assert handshake.feed(said[start:end]) == b"", "it has said more than its answer"
        ours += handshake.take()
    return ours


def refused(handshake: Handshake, said: bytes, cuts: list[int] | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        spoken(handshake, said, cuts or [])
    return caught.value


CONNECT_ANSWERS = [
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 \r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: x\r\n\r\n",
    b"HTTP/1.1 200 OK\nVia: x\n\n",
]
SOCKS_ANSWERS = [
    b"\5\0\5\0\0\1\x7f\0\0\1\x12\x34",
    b"\5\0\5\0\0\4" + bytes(18),
    b"\5\0\5\0\0\3\x09localhost\x12\x34",
    b"\5\0\5\0\0\3\0\x12\x34",
]
cuts = st.lists(st.integers(1, 80), max_size=8)


@pytest.mark.parametrize("said", CONNECT_ANSWERS)
@given(cuts=cuts)
def test_connect_reads_its_answer_however_it_is_cut(said: bytes, cuts: list[int]) -> None:
    handshake = connect()
    spoken(handshake, said, cuts)
    assert handshake.is_done


@pytest.mark.parametrize("said", SOCKS_ANSWERS)
@given(cuts=cuts)
def test_socks_reads_its_answer_however_it_is_cut_and_no_byte_more(said: bytes, cuts: list[int]) -> None:
    handshake = socks()
    spoken(handshake, said, cuts)
    assert (handshake.is_done, handshake.max_read) == (True, 0)
    assert handshake.feed(b"the server's own") == b"the server's own"


@pytest.mark.parametrize("said", SOCKS_ANSWERS)
@given(cut=st.integers(0, 40), size=st.integers(0, 9))
def test_what_follows_the_answer_of_socks_is_the_servers_own(said: bytes, cut: int, size: int) -> None:
    """It is left over however much arrives at once: what is to be read at most is only for whoever can choose."""
    handshake, everything = socks(), said + bytes(size)
    left = handshake.feed(everything[:cut]) + handshake.feed(everything[cut:])
    assert (handshake.is_done, left) == (True, bytes(size))


@pytest.mark.parametrize("said", SOCKS_ANSWERS)
def test_whoever_reads_no_more_than_the_most_leaves_all_that_follows_unread(said: bytes) -> None:
    handshake, unread = socks(), said + b"the server's own"
    while not handshake.is_done:
        size = handshake.max_read
        assert handshake.feed(unread[:size]) == b""
        unread = unread[size:]
    assert unread == b"the server's own"


@pytest.mark.parametrize(
    ("make", "said"),
    [*((connect, said) for said in CONNECT_ANSWERS), *((socks, said) for said in SOCKS_ANSWERS)],
)
def test_an_answer_that_is_cut_short_is_no_tunnel(make: Callable[[], Handshake], said: bytes) -> None:
    for length in range(len(said)):
        handshake = make()
        spoken(handshake, said[:length], [])
        assert not handshake.is_done
        with pytest.raises(Failure, match="closed the connection") as caught:
            handshake.close()
        assert caught.value.verdict.outcome is Outcome.UNREACHABLE


@given(st.binary(max_size=300), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 ", b"\5", b"\5\0", b"\5\0\5\0\0"]))
def test_whatever_a_proxy_says_is_read_or_a_failure(said: bytes, before: bytes) -> None:
    makers: list[Callable[[], Handshake]] = [connect, socks, lambda: socks(SOCKS_KNOWN)]
    for make in makers:
        with contextlib.suppress(Failure):
            make().feed(before + said)


def test_connect_names_host_and_port_twice() -> None:
    lines = connect().take().decode().split("\r\n")
    assert lines[:2] == ["CONNECT api.example.test:443 HTTP/1.1", "Host: api.example.test:443"]
    assert lines[-2:] == ["", ""]
    assert not any(line.startswith("Proxy-Authorization") for line in lines)
    assert connect(host="fd00::1").take().startswith(b"CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\n")


def test_credentials_go_to_an_http_proxy_as_basic() -> None:
    assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in connect(KNOWN).take()


def test_a_proxy_that_wants_credentials_is_bad_configuration_that_says_what_is_missing() -> None:
    asked = b'HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n'
    without, rejected = refused(connect(), asked).verdict, refused(connect(KNOWN), asked).verdict
    assert (without.outcome, without.message) == (Outcome.CONFIG, "the proxy p:3128 requires credentials: 407")
    assert "http://USER:PASSWORD@HOST:PORT" in without.hint
    assert rejected.message == "the proxy p:3128 does not accept the credentials in its URL: 407"
    tinyproxy = refused(connect(KNOWN), b"HTTP/1.0 401 Unauthorized\r\nContent-Type: text/html\r\n\r\n").verdict
    assert tinyproxy.message == "the proxy p:3128 does not accept the credentials in its URL: 401"
    other = refused(connect(KNOWN), asked.replace(b"Basic", b"NTLM")).verdict
    assert (other.outcome, other.message) == (
        Outcome.CONFIG,
        "the proxy p:3128 requires credentials: 407, by Negotiate, NTLM; oastream supports only Basic",
    )


def test_a_proxy_that_opens_no_tunnel_says_why() -> None:
    verdict = refused(connect(), b"HTTP/1.1 503 Not now\r\nContent-Length: 2\r\n\r\nno").verdict
    assert verdict.outcome is Outcome.UNREACHABLE
    assert verdict.message == "cannot reach api.example.test:443 through the proxy p:3128: it answered 503 Not now"


@pytest.mark.parametrize(
    ("make", "said"), [(connect, b"HTTP/1.1 403 Not for you\r\n\r\n"), (socks, b"\5\0\5\2\0\1")], ids=["http", "socks"]
)
def test_what_the_rules_of_a_proxy_forbid_is_not_worth_another_try(make: Callable[[], Handshake], said: bytes) -> None:
    verdict = refused(make(), said).verdict
    assert (verdict.outcome, verdict.retryable) == (Outcome.FORBIDDEN, False)
    assert "through the proxy" in verdict.message


@pytest.mark.parametrize(
    ("make", "said", "hint"),
    [
        (connect, b"SSH-2.0-OpenSSH\r\n", ""),
        (connect, b"\5\xff", "is it a socks5:// proxy?"),
        (connect, b"\x15\3\1\0\2\2\x16", "is it an https:// proxy?"),
        (connect, b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ""),
        (socks, b"HTTP/1.1 400 Bad\r\n\r\n", "is it an http:// proxy?"),
        (socks, b"\4\0", ""),
    ],
)
def test_a_proxy_of_another_kind_is_bad_configuration(make: Callable[[], Handshake], said: bytes, hint: str) -> None:
    verdict = refused(make(), said).verdict
    assert (verdict.outcome, verdict.summary, verdict.hint) == (Outcome.CONFIG, "bad proxy", hint)
    assert "does not speak" in verdict.message


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000, "its reply is too long"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "it sent more than its answer"),
    ],
)
def test_an_answer_that_does_not_end_where_it_should_is_no_tunnel(said: bytes, why: str) -> None:
    verdict = refused(connect(), said).verdict
    assert (verdict.outcome, verdict.detail) == (Outcome.UNREACHABLE, why)


def test_socks_asks_for_the_name() -> None:
    assert spoken(socks(), SOCKS_ANSWERS[0], []) == b"\5\1\0\5\1\0\3\x10api.example.test\1\xbb"


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1", b"\1\x0a\0\0\1"), ("fd00::1", b"\4\xfd" + bytes(14) + b"\1")],
)
def test_socks_asks_for_an_address_as_one(host: str, address: bytes) -> None:
    assert spoken(socks(host=host), SOCKS_ANSWERS[0], []) == b"\5\1\0\5\1\0" + address + b"\1\xbb"


def test_socks_tells_the_password_only_where_it_is_asked_for() -> None:
    request = b"\5\1\0\3\x10api.example.test\1\xbb"
    asked = spoken(socks(SOCKS_KNOWN), b"\5\2\1\0" + SOCKS_ANSWERS[0][2:], [])
    unasked = spoken(socks(SOCKS_KNOWN), SOCKS_ANSWERS[0], [])
    assert asked == b"\5\2\0\2\1\4user\4pass" + request
    assert unasked == b"\5\2\0\2" + request


def test_socks_that_wants_credentials_is_bad_configuration() -> None:
    without = refused(socks(), b"\5\xff").verdict
    assert (without.outcome, without.summary) == (Outcome.CONFIG, "the proxy p:1080 requires credentials")
    assert "socks5h://USER:PASSWORD@HOST:PORT" in without.hint
    for said in (b"\5\xff", b"\5\2\1\1"):
        rejected = refused(socks(SOCKS_KNOWN), said).verdict
        assert (rejected.outcome, rejected.summary) == (
            Outcome.CONFIG,
            "the proxy p:1080 does not accept the credentials in its URL",
        )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\5\0\5\5\0\1", "connection refused"),
        (b"\5\0\5\x63\0\1", "error 99"),
        (b"\5\0\4\0\0\1", "its answer is malformed"),
        (b"\5\0\5\0\0\2", "its answer is malformed"),
        (b"\5\1", "it chose method 1 to sign in, which was not offered"),
    ],
)
def test_socks_that_does_not_connect_says_why(said: bytes, why: str) -> None:
    verdict = refused(socks(), said).verdict
    assert (verdict.outcome, verdict.detail) == (Outcome.UNREACHABLE, why)
    assert verdict.summary == "cannot reach api.example.test:443 through the proxy p:1080"


def test_a_name_too_long_for_socks_is_no_host_name() -> None:
    with pytest.raises(UnicodeError):
        socks(host="a" * 256)
