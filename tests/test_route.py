"""Which layers lie on the way to a server, by URL and environment, and what a request says on it: no sockets here."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from oastream.exits import Failure
from oastream.http.route import Route, TlsLayer, TunnelLayer, route_to
from oastream.http.tunnel import Connect, Socks5

HTTPS = "https://api.example.test/v1?a=b"
HTTP = "http://api.example.test:8080/v1?a=b"
SERVER_TLS = "TLS with api.example.test"
TUNNEL = "tunnel to api.example.test"


def layers(route: Route) -> list[str]:
    """Each layer in words, as they are added."""
    words = []
    for layer in route.layers:
        if isinstance(layer, TlsLayer):
            words.append(f"TLS with {layer.host}")
        else:
            words.append(f"tunnel to {layer.host}")
    return words


def tunnel(route: Route) -> TunnelLayer:
    (found,) = [layer for layer in route.layers if isinstance(layer, TunnelLayer)]
    return found


@pytest.mark.parametrize(
    ("url", "proxy", "expected"),
    [
        (HTTP, "", []),
        (HTTPS, "", [SERVER_TLS]),
        (HTTP, "http://p", []),
        (HTTPS, "http://p", [TUNNEL, SERVER_TLS]),
        (HTTP, "https://p", ["TLS with p"]),
        (HTTPS, "https://p", ["TLS with p", TUNNEL, SERVER_TLS]),
        (HTTP, "socks5://p", [TUNNEL]),
        (HTTPS, "socks5h://p", [TUNNEL, SERVER_TLS]),
    ],
)
def test_each_kind_of_proxy_has_its_layers(url: str, proxy: str, expected: list[str]) -> None:
    route = route_to(urlsplit(url), {"ALL_PROXY": proxy})
    assert layers(route) == expected
    assert route.has_tls is any("TLS" in layer for layer in expected)


def test_a_way_without_a_proxy_leads_to_the_server_itself() -> None:
    route = route_to(urlsplit(HTTP), {})
    assert (route.host, route.port, route.label) == ("api.example.test", 8080, "api.example.test:8080")
    route = route_to(urlsplit(HTTPS), {})
    assert (route.host, route.port, route.label) == ("api.example.test", 443, "api.example.test")


def test_a_way_through_a_proxy_leads_to_it_and_a_message_names_who_is_at_the_other_end() -> None:
    route = route_to(urlsplit(HTTPS), {"ALL_PROXY": "https://u:secret@p:3128"})
    assert (route.host, route.port, route.label) == ("p", 3128, "the proxy p:3128")
    assert [layer.label for layer in route.layers] == ["the proxy p:3128", "the proxy p:3128", "api.example.test"]
    assert route.server == "api.example.test"


@pytest.mark.parametrize(
    ("proxy", "kind", "needs_address"),
    [
        ("http://p", Connect, False),
        ("https://p", Connect, False),
        ("socks5://p", Socks5, True),
        ("socks5h://p", Socks5, False),
    ],
)
def test_a_tunnel_asks_the_proxy_for_the_server(proxy: str, kind: type, needs_address: bool) -> None:
    layer = tunnel(route_to(urlsplit(HTTPS), {"ALL_PROXY": proxy}))
    assert (type(layer.handshake()), layer.needs_address) == (kind, needs_address)


def test_a_tunnel_may_be_asked_for_an_address_instead_of_the_name() -> None:
    layer = tunnel(route_to(urlsplit(HTTPS), {"ALL_PROXY": "socks5://p"}))
    handshake = layer.handshake("10.0.0.1")
    handshake.take()
    handshake.feed(b"\5\0")
    assert handshake.take() == b"\5\1\0\1\x0a\0\0\1\1\xbb"


@pytest.mark.parametrize("proxy", ["http://p", "https://p"])
def test_only_a_request_that_a_proxy_forwards_names_the_whole_url_and_the_user(proxy: str) -> None:
    scheme, _, host = proxy.partition("://")
    environ = {"ALL_PROXY": f"{scheme}://user:pass@{host}"}
    forwarded, tunnelled = route_to(urlsplit(HTTP), environ), route_to(urlsplit(HTTPS), environ)
    assert forwarded.request_target == HTTP
    assert forwarded.proxy_headers == (("Proxy-Authorization", "Basic dXNlcjpwYXNz"),)
    assert (tunnelled.request_target, tunnelled.proxy_headers) == ("/v1?a=b", ())


@pytest.mark.parametrize(("url", "target"), [(HTTP, "/v1?a=b"), ("http://h", "/"), ("http://h?q=1", "/?q=1")])
def test_a_server_is_told_the_path(url: str, target: str) -> None:
    assert route_to(urlsplit(url), {}).request_target == target
    assert route_to(urlsplit(url), {"ALL_PROXY": "socks5h://p"}).request_target == target


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
def test_loopback_never_goes_through_a_proxy(host: str) -> None:
    assert layers(route_to(urlsplit(f"http://{host}:1/"), {"ALL_PROXY": "socks5h://p", "http_proxy": "bad://x"})) == []


def test_a_bad_proxy_is_bad_configuration() -> None:
    with pytest.raises(Failure, match="bad proxy: ALL_PROXY"):
        route_to(urlsplit(HTTPS), {"ALL_PROXY": "gopher://p"})
