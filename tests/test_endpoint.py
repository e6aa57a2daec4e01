"""What goes into a request's head, what of it is shown, and what is said when a server refuses it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oastream.attempts.http_error import http_error_verdict
from oastream.attempts.retry_after import read_retry_after
from oastream.exits import Outcome
from oastream.http.request import Request
from tests.support import forked
from tests.support.program import CANARY, Environment, Result
from tests.support.streams import dumps, message, responses_body
from tests.support.wire import http_response, send, serve, sse_response

OK = sse_response(responses_body(message("Hello")))
NOTHING = "http://127.0.0.1:1/v1"


def run(*args: str, env: Environment | None = None) -> Result:
    return forked.oastream(*args, "--retry", "0", "hi", env=env or {})


def shown(*args: str, env: Environment | None = None) -> Any:
    result = run("--dry-run", *args, env=env)
    assert result.status == 0, result
    return json.loads(result.out)


# What the environment brings


@pytest.mark.parametrize("value", ["org\r\nX-Evil: 1", "org\nx", "orgé", "组织", "o\x7f", "\udcff"])
@pytest.mark.parametrize("variable", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_an_account_that_no_header_can_carry_is_a_config_error_that_names_the_variable(
    variable: str, value: str
) -> None:
    with serve(OK) as server:
        result = run("--base-url", server.url, env={variable: value})
        assert server.connections == 0
    assert result.status == 6
    assert result.err == f"oastream: bad {variable}: it has characters that a header cannot carry\n"


def test_organization_and_project_are_sent() -> None:
    with serve(OK) as server:
        run("--base-url", server.url, env={"OPENAI_ORG_ID": " org-1\n", "OPENAI_PROJECT_ID": "proj-1"})
        headers = server.request.headers
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")


def test_a_cloud_gets_no_account_that_no_header_can_carry() -> None:
    env = {"OPENAI_ORG_ID": "org\r\nX-Evil: 1", "AZURE_OPENAI_API_KEY": "abcdefghijk"}
    with serve(OK) as server:
        result = run("--provider", "azure", "--base-url", server.url, "-m", "m", env=env)
        assert server.connections == 0
    assert result.status == 6
    assert "OPENAI_ORG_ID" in result.message


def test_a_cloud_gets_no_key_that_no_header_can_carry() -> None:
    env = {"AZURE_OPENAI_API_KEY": "abcdefghijk\r\nX-Evil: 1"}
    with serve(OK) as server:
        result = run("--provider", "azure", "--base-url", server.url, "-m", "m", env=env)
        assert server.connections == 0
    assert result.status == 6
    assert "abcdefghijk" not in result.err


# --base-url

BAD_URLS = {
    "nonsense": "nonsense",
    "no-host": "http://",
    "scheme": "ftp://host.example/v1",
    "port": "http://host.example:99999/v1",
    "bracket": "http://[::1/v1",
    "space": "http://host.example/v 1",
    "control": "http://host.example/\x01",
}


@pytest.mark.parametrize("name", BAD_URLS)
def test_a_bad_base_url_is_shown_and_its_place_decides_the_status(name: str) -> None:
    url = BAD_URLS[name]
    option, variable = run("--base-url", url), run(env={"OPENAI_BASE_URL": url})
    assert (option.status, variable.status) == (2, 6)
    assert "OPENAI_BASE_URL" in variable.message
    value = url.replace("\x01", "")
    assert value in option.message
    assert value in variable.message


@pytest.mark.parametrize("url", [f"http://user:{CANARY}@h/v1", f"http://user:a/{CANARY}@h/v1", CANARY, f"//{CANARY}@h"])
def test_a_bad_base_url_is_shown_without_what_may_be_a_secret(url: str) -> None:
    assert run("--base-url", url).status == 2
    assert run(env={"OPENAI_BASE_URL": url}).status == 6


@pytest.mark.parametrize("zone", ["%25eth0", "%eth0"])
def test_a_zone_id_stays_at_home(zone: str) -> None:
    request = shown("--base-url", f"http://[fe80::1{zone}]:8080/v1", "--insecure-http")
    assert request["url"] == "http://[fe80::1%eth0]:8080/v1/responses"
    assert request["headers"]["Host"] == "[fe80::1]:8080"


# --header


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding"])
def test_a_header_that_frames_the_body_is_refused_with_a_reason(name: str) -> None:
    result = run("--base-url", NOTHING, "--header", f"{name}: 5")
    assert result.status == 2
    assert f"{name} says where the body ends" in result.message


@pytest.mark.parametrize(
    "header", [f"Authorization Bearer {CANARY}", f"Bearer {CANARY}: x", f"{CANARY}", f":{CANARY}", f"X: {CANARY}\x01"]
)
def test_a_header_that_is_none_is_not_repeated(header: str) -> None:
    """`tests.support.program` looks for the key in stderr."""
    assert run("--base-url", NOTHING, "--header", header).status == 2
    assert run("--base-url", NOTHING, env={"OASTREAM_HEADER": header}).status == 6


# Secrets in headers and in the URL

SECRET_HEADERS = ("Helicone-Auth", "x-portkey-api-key", "Ocp-Apim-Subscription-Key", "X-Session-Token", "X-Signature")


@pytest.mark.parametrize("name", SECRET_HEADERS)
@pytest.mark.parametrize("args", [("-vv",), ("--dry-run",), ("--show-config",)], ids=" ".join)
def test_a_header_that_is_secret_by_its_name_is_masked(args: tuple[str, ...], name: str, tmp_path: Path) -> None:
    echo = sse_response(responses_body(message(f"you sent {CANARY}")), headers={"x-echo": CANARY})
    header = f"{name}: Bearer {CANARY}"
    with serve(echo) as server:
        recording = ("--record", str(tmp_path / "recording"), "-o", os.devnull)
        more = recording if args == ("-vv",) else ()
        result = run("--base-url", server.url, *args, *more, "--header", header, env={"OPENAI_API_KEY": None})
    assert result.status == 0
    assert "[redacted]" in result.err + result.text


@pytest.mark.parametrize("args", [("-vv",), ("--dry-run",), ("--show-config",)], ids=" ".join)
def test_a_query_field_that_is_secret_by_its_name_is_masked(args: tuple[str, ...]) -> None:
    with serve(OK) as server:
        result = run("--base-url", f"{server.url}?key={CANARY}&api-version=2024-10-21", *args)
        assert args != ("-vv",) or CANARY in server.request.path
    assert result.status == 0
    assert "key=[redacted]&api-version=2024-10-21" in result.err + result.text


def test_a_server_that_repeats_a_secret_of_the_query_does_not_get_it_shown(tmp_path: Path) -> None:
    echo = http_response(dumps({"error": {"message": f"no such key: {CANARY}"}}), "401 Unauthorized")
    with serve(echo) as server:
        result = run("--base-url", f"{server.url}?sig={CANARY}", "-vv", "--record", str(tmp_path / "recording"))
    assert result.status == 21
    assert "no such key: [redacted]" in result.err


def test_a_key_in_the_query_does_not_travel_in_clear() -> None:
    result = run("--base-url", f"http://host.example/v1?key={CANARY}", env={"OPENAI_API_KEY": None})
    assert result.status == 6
    assert "plain http" in result.err


def test_where_a_redirect_leads_is_shown_and_recorded_without_its_secrets(tmp_path: Path) -> None:
    away = {"Location": "https://u:pass-CANARY@else.example/x?sig=CANARY&v=1"}
    with serve(http_response("", "307 Go", headers=away)) as server:
        result = run("--base-url", server.url, "-v", "--record", str(tmp_path / "recording"))
    assert result.status == 26
    assert "else.example/x?sig=[redacted]&v=1" in result.err


def test_the_tokens_that_are_left_can_be_read() -> None:
    left = {"x-ratelimit-remaining-tokens": "149984", "set-cookie": "s=CANARY"}
    with serve(sse_response(responses_body(message("Hello")), headers=left)) as server:
        result = run("--base-url", server.url, "-v")
    assert "< x-ratelimit-remaining-tokens: 149984\n" in result.err
    assert "< set-cookie: [redacted]\n" in result.err


def test_a_tool_on_another_server_keeps_its_key() -> None:
    tool = {"type": "mcp", "server_label": "x", "authorization": CANARY, "headers": {"X-Api-Key": CANARY}}
    request = shown("--set", f"tools=[{json.dumps(tool)}]")
    assert request["body"]["tools"][0]["authorization"] == "[redacted]"


@pytest.mark.parametrize("key", ["ollama", "none", "x", "r", "edacted"])
def test_a_key_that_is_a_word_leaves_texts_alone(key: str, tmp_path: Path) -> None:
    """Keys of local servers, that want none."""
    words = f"brew install ollama, none, x: {'r' * 3} redacte [redacted]"
    recording = str(tmp_path / "recording")
    with serve(sse_response(responses_body(message(words)), headers={"x-request-id": "req_x"})) as server:
        live = run("--base-url", server.url, "--record", recording, "--stats", "-v", env={"OPENAI_API_KEY": key})
    assert live.text == f"{words}\n"
    assert "Authorization: Bearer [redacted]\n" in live.err
    assert "[redacted][" not in live.err
    assert "[[" not in live.err
    assert "req_x" in live.err
    played = forked.oastream("--replay", recording)
    assert (played.status, played.text) == (0, f"{words}\n")


# What is said of a refusal


@pytest.mark.parametrize(
    "source", ["OPENAI_API_KEY", "the key file {}", "the output of api-key-cmd", "--header authorization"]
)
def test_a_key_that_is_not_accepted_comes_from_somewhere(source: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(CANARY)
    args: tuple[str, ...] = ()
    env: dict[str, str | None] = {"OPENAI_API_KEY": CANARY if source == "OPENAI_API_KEY" else None}
    if "file" in source:
        args = ("--api-key-file", str(file))
    elif "cmd" in source:
        env["OASTREAM_API_KEY_CMD"] = f"cat {file}"
    elif "header" in source:
        args = ("--header", f"authorization: Bearer {CANARY}")
    with serve(http_response("", "401 Unauthorized")) as server:
        result = run("--base-url", server.url, *args, env=env)
    assert result.status == 21
    assert f"hint: the key came from {source.format(file)}\n" in result.err


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("api.openai.com", "the key came from OPENAI_API_KEY"),
        ("api.groq.example", "the key came from OPENAI_API_KEY; is it one for api.groq.example?"),
        ("localhost", "the key came from OPENAI_API_KEY"),
    ],
)
def test_a_key_at_a_foreign_host_may_be_anothers(host: str, hint: str) -> None:
    request = Request("POST", urlsplit(f"https://{host}/v1/responses"), (), b"{}", key_source="OPENAI_API_KEY")
    verdict = http_error_verdict(401, {}, b"", request)
    assert (verdict.outcome, verdict.hint) == (Outcome.AUTH, hint)


def test_a_missing_key_is_told_from_a_wrong_one() -> None:
    with serve(http_response("", "401 Unauthorized")) as server:
        result = run("--base-url", server.url, env={"OPENAI_API_KEY": None})
    assert result.status == 21
    assert "no key was sent" in result.err


@pytest.mark.parametrize(
    "error",
    [
        {"message": "The model does not exist", "code": "model_not_found"},
        {"message": 'model "no-such" not found, try pulling it first'},
    ],
    ids=["code", "ollama"],
)
def test_an_unknown_model_is_named_and_so_is_the_list(error: dict[str, str]) -> None:
    with serve(http_response(dumps({"error": error}), "404 Not Found")) as server:
        result = run("--base-url", server.url, "-m", "no-such")
    assert result.status == 23
    assert "the model was no-such; oastream --list-models" in result.err


def test_an_unknown_response_is_no_unknown_model() -> None:
    error = {"message": "Previous response not found", "code": "previous_response_not_found"}
    with serve(http_response(dumps({"error": error}), "404 Not Found")) as server:
        result = run("--base-url", server.url, "-m", "no-such")
    assert (result.status, "--list-models" in result.err) == (23, False)


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("text/html", "<html><title>Oops</title></html>", "HTTP 502: Oops"),
        ("text/html", "<html><title>502 Bad Gateway</title></html>", ": 502 Bad Gateway"),
        ("text/plain", "upstream connect error", "HTTP 502: upstream connect error"),
    ],
)
def test_the_message_for_a_page_shows_the_http_status(kind: str, body: str, words: str) -> None:
    with serve(http_response(body, "502 Oops", kind)) as server:
        result = run("--base-url", server.url)
    assert result.status == 31
    assert words in result.message


# Headers that make no sense

ABSURD = [
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    f"Fri, 31 Dec {'9' * 5000} 23:59:59 GMT",
    "Fri, 99 Dec 2030 99:99:99 GMT",
    "Fri, 31 Dec 2030 23:59:59 +99999999",
    "9" * 5000,
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "-5",
    ",,,",
    "\xff",
    "Mon, 1 Jan -1 0:0:0 GMT",
]


@pytest.mark.parametrize("value", ABSURD, ids=range(len(ABSURD)))
@pytest.mark.parametrize("name", ["Retry-After", "retry-after-ms"])
def test_an_absurd_wait_is_no_bug(name: str, value: str) -> None:
    top = f"HTTP/1.1 429 Too Many Requests\r\n{name}: {value}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    with serve([send(top)]) as server:
        result = forked.oastream("--base-url", server.url, "--retry", "1", "--retry-delay", "0.01", "hi")
    assert result.status == 30, result


@settings(deadline=None)
@given(
    st.one_of(st.text(max_size=40), st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} [A-Z][a-z]{2} -?\d{1,9} \d+:\d+:\d+ \S+"))
)
def test_any_wait_is_seconds_or_none(value: str) -> None:
    seconds = read_retry_after({"retry-after": value, "retry-after-ms": value}, wall_time=0.0)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "Content-Encoding",
        "Content-Type",
        "Location",
        "x-should-retry",
        "x-request-id",
        "Transfer-Encoding",
        "Connection",
        "Upgrade",
    ],
)
@pytest.mark.parametrize("value", ["", "\xff\xfe", "-1", "9" * 400, "http://[", "a" * 5000, "a, b, c", "100-continue"])
@pytest.mark.parametrize("status", ["200 OK", "302 Found", "500 Oops"])
def test_an_absurd_header_is_no_bug(name: str, value: str, status: str) -> None:
    top = f"HTTP/1.1 {status}\r\n{name}: {value}\r\n\r\n".encode("latin-1")
    with serve(top + responses_body(message("Hello"))) as server:
        result = run("--base-url", server.url)
    assert result.status != 1, result
