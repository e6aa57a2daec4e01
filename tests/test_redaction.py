"""What counts as a secret, and that masking it leaves nothing of it and nothing else out."""

from __future__ import annotations

import itertools
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oastream.redaction import (
    REDACTED,
    StreamMask,
    is_secret,
    mask_body,
    mask_header,
    mask_reply_header,
    mask_text,
    mask_url,
    redact,
    secrets_in,
)

SECRET = [
    "Authorization",
    "Proxy-Authorization",
    "Helicone-Auth",
    "x-portkey-api-key",
    "Ocp-Apim-Subscription-Key",
    "X-Amz-Security-Token",
    "Cookie",
    "Set-Cookie",
    "X-Client-Secret",
    "x-password",
    "X-Credentials",
    "X-Amz-Signature",
    "sig",
    "api_key",
]


@pytest.mark.parametrize("name", [*SECRET, *map(str.upper, SECRET)])
def test_a_header_is_secret_by_a_word_in_its_name(name: str) -> None:
    assert is_secret(name)
    assert mask_header(name, "abc") == REDACTED


@pytest.mark.parametrize("name", ["Accept", "Content-Type", "X-Title", "HTTP-Referer", "OpenAI-Organization", "Host"])
def test_other_headers_are_shown(name: str) -> None:
    assert mask_header(name, "abc") == "abc"


def test_the_scheme_of_a_credential_is_shown() -> None:
    assert mask_header("Authorization", "Bearer x") == f"Bearer {REDACTED}"
    assert mask_header("Helicone-Auth", "bearer x") == f"bearer {REDACTED}"
    assert mask_header("Authorization", "two words") == REDACTED


@pytest.mark.parametrize(
    "name", ["x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-limit", "X-RateLimit-Reset-Tokens"]
)
def test_what_a_reply_says_of_rate_limits_is_shown(name: str) -> None:
    assert mask_reply_header(name, "149984") == "149984"


@pytest.mark.parametrize("name", ["set-cookie", "x-auth-token", "www-authenticate"])
def test_a_reply_has_secrets_too(name: str) -> None:
    assert mask_reply_header(name, "s=1") == REDACTED


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h.example/v1?key=abc&x=1", f"https://h.example/v1?key={REDACTED}&x=1"),
        ("https://h.example/v1?x=1&Sig=a%2Bb#f", f"https://h.example/v1?x=1&Sig={REDACTED}#f"),
        ("https://h.example/v1?access%5Ftoken=abc", f"https://h.example/v1?access%5Ftoken={REDACTED}"),
        ("http://user:p@ss@h.example:1/v1", f"http://{REDACTED}@h.example:1/v1"),
        ("https://h.example/@name?api-version=1", "https://h.example/@name?api-version=1"),
        ("see https://u:p@h.example/ and /x?token=t", f"see https://{REDACTED}@h.example/ and /x?token={REDACTED}"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert mask_url(shown) == shown


@pytest.mark.parametrize("text", ["http://user:pa/CANARY@host/v1", "//user:CANARY@host", "sk-CANARY-0123456789abcdef"])
def test_what_is_no_url_is_shown_without_what_may_be_a_secret(text: str) -> None:
    assert "CANARY" not in mask_text(text)


def test_short_secrets_are_masked_in_headers_only() -> None:
    assert secrets_in([("Authorization", "Bearer ollama"), ("api-key", "1234567")]) == ()
    assert secrets_in([("Authorization", "Bearer 12345678")]) == ("12345678", "Bearer 12345678")


def test_secrets_are_found_in_headers_queries_cookies_and_proxies() -> None:
    headers = [("Cookie", "a=session-1234; b=x"), ("Helicone-Auth", "Bearer helicone-1"), ("X-Title", "not-secret")]
    url = urlsplit("https://h.example/v1?sig=a%2Bbcdefgh&api-version=2024-10-21")
    found = secrets_in(headers, url, {"https_proxy": "http://user:p%40ssword@proxy:1", "PATH": "/a@b", "no_proxy": "x"})
    assert {"session-1234", "helicone-1", "a%2Bbcdefgh", "a+bcdefgh", "p%40ssword", "p@ssword"} <= set(found)
    assert "dXNlcjpwQHNzd29yZA==" in found
    assert not {"not-secret", "2024-10-21", "/a@b"} & set(found)


def test_the_longest_secret_is_masked_first_and_once() -> None:
    assert redact("Bearer abcdefgh!", ("abcdefgh", "Bearer abcdefgh")) == f"{REDACTED}!"
    assert redact("abcdefghi abcdefgh", ("abcdefgh", "abcdefghi")) == f"{REDACTED} {REDACTED}"


@settings(deadline=None)
@given(st.text("abr[]edct", max_size=40), st.lists(st.text("abredct", min_size=8, max_size=10), max_size=3))
def test_masking_twice_is_masking_once(text: str, secrets: list[str]) -> None:
    known = (*secrets, "redacted", "[redacte")
    once = redact(text, known)
    assert redact(once, known) == once


def test_the_beginning_of_a_secret_that_was_cut_is_masked() -> None:
    assert redact("key abcdef…", ("abcdefghij",)) == f"key {REDACTED}…"
    assert redact("key abcd…", ("abcdefghij",)) == "key abcd…"


@settings(deadline=None)
@given(
    st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=3),
    st.text("abcx", max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
)
@example(["abc", "abcabx"], "abcab", [3])
def test_any_cut_of_a_stream_is_masked_alike(secrets: list[str], text: str, offsets: list[int]) -> None:
    data = text.encode()
    expected = re.sub("|".join(sorted(secrets, key=len, reverse=True)), REDACTED, text).encode()
    edges = sorted({0, len(data), *(min(offset, len(data)) for offset in offsets)})
    mask = StreamMask(secrets)
    pieces = [mask.feed(data[a:b]) for a, b in itertools.pairwise(edges)]
    assert b"".join(pieces) + mask.close() == expected
    assert not any(secret in expected.decode().replace(REDACTED, "|") for secret in secrets)


def test_the_keys_of_tools_on_other_servers_are_not_shown() -> None:
    tool = {
        "type": "mcp",
        "server_url": "https://h/?key=K",
        "authorization": "K",
        "headers": {"X-Api-Key": "K", "X-A": "a"},
    }
    image = {"type": "input_image", "image_url": "https://h/a.png?sig=K&v=1"}
    schema = {"properties": {"authorization": {"type": "string"}, "headers": {"type": "object"}, "url": {}}}
    shown = mask_body({"tools": [tool], "input": [{"content": [image]}], "text": schema})
    assert "K" not in str(shown).replace("Key", "")
    assert shown["tools"][0]["headers"]["X-A"] == "a"
    assert shown["input"][0]["content"][0]["image_url"].endswith("&v=1")
    assert shown["text"] == schema
