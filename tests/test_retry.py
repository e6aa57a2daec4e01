"""Contract 8: what is tried again, when, and that no text is ever printed twice."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.program import Result, oastream
from tests.streams import call, message, responses_body, responses_events, responses_start, sse
from tests.wire import NO_HEADERS, Reply, Request, http_response, rst, send, serve, sse_response, stall

OK = sse_response(responses_body(message("Hello")))
CUT = sse_response(responses_start("Hello"))
QUICK = ["--retry-delay", "0.01"]


def run(*replies: Reply, args: list[str] = QUICK) -> tuple[Result, list[Request]]:
    with serve(*replies) as server:
        return oastream("--base-url", server.url, *args, "hi"), server.requests


def status(line: str, code: str = "x", headers: Mapping[str, str] = NO_HEADERS) -> bytes:
    return http_response(f'{{"error":{{"message":"no luck","code":"{code}"}}}}', line, headers=headers)


LIMITED = status("429 Too Many Requests")
BEFORE_OUTPUT: dict[str, Reply] = {
    "429": LIMITED,
    "408": status("408 Request Timeout"),
    "500": status("500 Oops"),
    "503": status("503 Overloaded"),
    "empty-reply": b"",
    "reset": [rst],
    "empty-body": sse_response(b""),
    "error-event": sse_response(b'data: {"error":{"message":"slow down","code":"rate_limit_exceeded"}}\n\n'),
    "no-output-yet": sse_response(sse(responses_events()[:2])),
    "broken-json": sse_response(b"data: {\n\n"),
    "failed": sse_response(responses_body(status="failed", error={"code": "server_error", "message": "x"})),
}


@pytest.mark.parametrize("name", BEFORE_OUTPUT)
def test_a_passing_failure_before_output_is_tried_again_silently(name: str) -> None:
    result, requests = run(BEFORE_OUTPUT[name], OK)
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
    assert len(requests) == 2
    assert requests[0].body == requests[1].body


@pytest.mark.parametrize("line", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "501 No"])
def test_what_retrying_cannot_mend_is_asked_once(line: str) -> None:
    result, requests = run(status(line), OK)
    assert 20 <= result.status < 30
    assert len(requests) == 1


def test_a_billing_error_is_asked_once() -> None:
    result, requests = run(status("429 Too Many Requests", "insufficient_quota"), OK)
    assert (result.status, len(requests)) == (24, 1)


def test_two_retries_are_the_default() -> None:
    result, requests = run(LIMITED)
    assert (result.status, len(requests)) == (30, 3)


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_retry_is_how_many_more_tries_there_are(retries: int) -> None:
    result, requests = run(status("500 Oops"), args=[*QUICK, "--retry", str(retries), "--format", "ndjson"])
    assert (result.status, len(requests)) == (31, retries + 1)
    assert result.end["attempts"] == retries + 1
    assert [record["type"] for record in result.records] == [*["oastream:retry"] * retries, "oastream:end"]


def test_a_cut_after_text_is_not_tried_again() -> None:
    result, requests = run(CUT, OK)
    assert (result.status, result.out, len(requests)) == (40, b"Hello", 1)


@pytest.mark.parametrize("args", [["--hold"], ["--format", "json"], ["--hold", "--format", "ndjson"]], ids=" ".join)
def test_a_cut_is_tried_again_while_output_is_held(args: list[str]) -> None:
    result, requests = run(CUT, OK, args=[*QUICK, *args])
    assert (result.status, result.err, len(requests)) == (0, "", 2)
    assert result.out.count(b'"response.created"') == ("ndjson" in args)
    assert b"Hello" in result.out


def test_a_cut_is_tried_again_for_a_file(tmp_path: Path) -> None:
    result, requests = run(CUT, OK, args=[*QUICK, "-o", str(tmp_path / "answer")])
    assert (result.status, result.err, len(requests)) == (0, "", 2)
    assert (tmp_path / "answer").read_text() == "Hello\n"


def test_a_cut_call_is_tried_again_for_tools() -> None:
    whole = responses_body(call("now", '{"a": 1}'))
    result, requests = run(
        sse_response(whole[: len(whole) // 2]), sse_response(whole), args=[*QUICK, "--format", "tools"]
    )
    assert (result.status, len(requests), len(result.records)) == (0, 2, 1)


def test_a_cut_is_not_tried_again_after_an_eager_call() -> None:
    events = responses_events(call("now", "{}"), message("Hello"))
    result, requests = run(sse_response(sse(events[:-2])), OK, args=[*QUICK, "--format", "tools", "--eager"])
    assert (result.status, len(requests), len(result.records)) == (40, 1, 1)


def test_a_silent_server_is_asked_again() -> None:
    result, requests = run([stall], OK, args=[*QUICK, "--first-event-timeout", "0.4"])
    assert (result.status, result.out, len(requests)) == (0, b"Hello\n", 2)


def waited(requests: list[Request]) -> float:
    return requests[1].at - requests[0].at


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1"},
        {"retry-after-ms": "700", "Retry-After": "30"},
        {"Retry-After": email.utils.formatdate(time.time() + 600, usegmt=True)},
    ],
    ids=["seconds", "milliseconds", "date"],
)
def test_the_server_says_when_to_come_back(headers: dict[str, str]) -> None:
    if "GMT" in headers["Retry-After"]:
        headers = {"Retry-After": email.utils.formatdate(time.time() + 2.5, usegmt=True)}
    result, requests = run(status("429 Too Many Requests", headers=headers), OK)
    assert (result.status, len(requests)) == (0, 2)
    assert 0.6 < waited(requests) < 8


@pytest.mark.parametrize(
    ("value", "budget"), [("3600", []), ("7", ["--retry-max-time", "3"]), ("7", ["--max-time", "5"])]
)
def test_a_wait_beyond_the_budget_ends_the_run_and_is_named(value: str, budget: list[str]) -> None:
    limited = status("429 Too Many Requests", headers={"Retry-After": value})
    result, requests = run(limited, OK, args=[*QUICK, *budget])
    assert (result.status, len(requests)) == (30, 1)
    assert value in result.err
    assert result.seconds < 3


@pytest.mark.parametrize(
    ("line", "word", "tries"),
    [
        ("500 Oops", "false", 1),
        ("429 Too Many Requests", "false", 1),
        ("409 Conflict", "true", 2),
        ("400 Bad Request", "true", 1),
        ("401 Unauthorized", "true", 1),
    ],
)
def test_the_server_says_whether_to_come_back(line: str, word: str, tries: int) -> None:
    _, requests = run(status(line, headers={"x-should-retry": word}), OK)
    assert len(requests) == tries


@pytest.mark.parametrize("line", ["429 Too Many Requests", "402 Payment Required", "503 Overloaded"])
def test_no_word_of_the_server_allows_a_retry_of_what_only_money_changes(line: str) -> None:
    result, requests = run(status(line, "insufficient_quota", {"x-should-retry": "true", "Retry-After": "0"}), OK)
    assert (result.status, len(requests)) == (24, 1)


def test_retries_are_told_with_v() -> None:
    result, _ = run(LIMITED, OK, args=[*QUICK, "-v"])
    assert (result.status, result.out) == (0, b"Hello\n")
    assert "rate limited" in result.err or "429" in result.err


def test_ndjson_tells_of_a_retry_on_stdout() -> None:
    result, _ = run(LIMITED, OK, args=[*QUICK, "--format", "ndjson"])
    assert (result.status, result.err) == (0, "")
    assert result.records[0]["type"] == "oastream:retry"
    assert (result.end["attempts"], result.end["error"]) == (2, None)


def test_max_time_holds_over_all_tries() -> None:
    began = time.monotonic()
    result, _ = run([stall], args=["--retry", "100", *QUICK, "--first-event-timeout", "0.2", "--max-time", "1.5"])
    assert result.status == 33
    assert time.monotonic() - began < 6


def test_half_an_error_body_is_still_an_error() -> None:
    torn = [send(b'HTTP/1.1 429 Too Many Requests\r\nContent-Length: 500\r\n\r\n{"error":{"mess')]
    result, requests = run(torn, OK)
    assert (result.status, len(requests)) == (0, 2)
