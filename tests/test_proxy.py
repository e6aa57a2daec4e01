"""Contract 7: proxies, as the environment names them; their password is never shown."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.program import Result, oastream
from tests.streams import message, responses_body
from tests.wire import Server, free_port, http_response, rst, serve, sse_response, stall, tunnel

HELLO = sse_response(responses_body(message("Hello")))
ORIGIN = "https://api.example.invalid/v1"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def origin(authority: trustme.CA) -> Iterator[Server]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "api.example.invalid").configure_cert(tls)
    with serve(HELLO, tls=tls) as running:
        yield running


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def run(url: str, *args: str, **env: str) -> Result:
    return oastream("--base-url", url, "--retry", "0", *args, "hi", env=env)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_is_asked_to_connect(origin: Server, bundle: str, name: str) -> None:
    with serve([tunnel(origin.port)]) as proxy:
        result = run(ORIGIN, SSL_CERT_FILE=bundle, **{name: f"http://127.0.0.1:{proxy.port}"})
        assert (proxy.request.method, proxy.request.path) == ("CONNECT", "api.example.invalid:443")
        assert "authorization" not in proxy.request.headers
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
    assert origin.request.headers["host"] == "api.example.invalid"


def test_the_proxy_gets_the_credentials_of_its_url(origin: Server, bundle: str) -> None:
    with serve([tunnel(origin.port)]) as proxy:
        result = run(ORIGIN, "-v", SSL_CERT_FILE=bundle, HTTPS_PROXY=f"http://user:CANARY%21@127.0.0.1:{proxy.port}")
        given = proxy.request.headers["proxy-authorization"]
    assert (result.status, result.out) == (0, b"Hello\n")
    assert given == f"Basic {base64.b64encode(b'user:CANARY!').decode()}"


def test_a_proxy_that_wants_credentials_exits_6() -> None:
    with serve(http_response(status="407 Proxy Authentication Required")) as proxy:
        result = run(ORIGIN, "--retry", "2", HTTPS_PROXY=f"http://user:CANARY@127.0.0.1:{proxy.port}")
        assert len(proxy.requests) == 1
    assert result.status == 6
    assert "proxy" in result.message.lower()


def test_a_proxy_for_plain_http_that_wants_credentials_exits_6() -> None:
    with serve(http_response(status="407 Proxy Authentication Required")) as proxy:
        result = run("http://127.0.0.1:9/v1", http_proxy=f"http://127.0.0.1:{proxy.port}")
    assert result.status == 6


def test_a_proxy_that_refuses_exits_32() -> None:
    result = run(ORIGIN, HTTPS_PROXY=f"http://user:CANARY@127.0.0.1:{free_port()}")
    assert result.status == 32
    assert "proxy" in result.message.lower()


def test_a_proxy_that_is_silent_exits_33() -> None:
    with serve([stall]) as proxy:
        result = run(ORIGIN, "--connect-timeout", "0.4", HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
    assert result.status == 33
    assert "connect-timeout" in result.err


@pytest.mark.parametrize("value", ["gopher://127.0.0.1:1", "http://[oops", "socks5://127.0.0.1:1080", "http://h:port"])
def test_a_bad_proxy_value_exits_6(value: str) -> None:
    result = run(ORIGIN, HTTPS_PROXY=value.replace("//", "//user:CANARY@"))
    assert result.status == 6
    assert "proxy" in result.message.lower()


@pytest.mark.parametrize("value", ["127.0.0.1", "*", "example.com,127.0.0.1", "127.0.0.0/8"])
def test_no_proxy_is_honoured(origin: Server, bundle: str, value: str) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    result = run(origin.url, SSL_CERT_FILE=bundle, HTTPS_PROXY=proxy, NO_PROXY=value)
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


def test_plain_http_goes_through_its_proxy_when_it_is_allowed() -> None:
    with serve(HELLO) as proxy:
        result = run("http://api.example.invalid/v1", "--insecure-http", http_proxy=f"http://127.0.0.1:{proxy.port}")
        assert proxy.request.path == "http://api.example.invalid/v1/responses"
        assert proxy.request.headers["host"] == "api.example.invalid"
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


def test_an_unknown_host_exits_32_and_is_named() -> None:
    result = run(ORIGIN)
    assert result.status == 32
    assert "api.example.invalid" in result.message


def test_a_refused_connection_exits_32_and_says_so() -> None:
    result = run(f"http://127.0.0.1:{free_port()}/v1")
    assert result.status == 32
    assert "refused" in result.message


def test_a_reset_before_the_head_exits_32() -> None:
    with serve([rst]) as server:
        assert run(server.url).status == 32
