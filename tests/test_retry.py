"""What is tried again, when, and that no text is ever printed twice."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from oastream.attempts.retry import LONGEST_BACKOFF, Remains, Situation, Step, backoff, next_step
from oastream.attempts.retry_after import read_duration, read_retry_after, read_wait_in_body
from oastream.exits import ANSWERED, Outcome, Verdict
from tests.support.program import Result, oastream
from tests.support.streams import call, message, responses_body, responses_events, responses_start, sse
from tests.support.wire import NO_HEADERS, Reply, Request, http_response, rst, send, serve, sse_response, stall

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


# The decision


def verdict(outcome: Outcome, **fields: Any) -> Verdict:
    return Verdict(outcome, **fields)


BROKE = verdict(Outcome.INTERRUPTED)
LIMIT = verdict(Outcome.RATE_LIMITED, http_status=429)
NO_CREDIT = verdict(Outcome.QUOTA, http_status=429, should_retry=True)
STOPPED = verdict(Outcome.SIGNAL, signal=15)
REFUSED = verdict(Outcome.NOT_FOUND, http_status=404)
PASSED = verdict(Outcome.DEADLINE, should_retry=False)
STREAM, RESPONSE = Remains.STREAM, Remains.RESPONSE

DECISIONS: dict[str, tuple[Situation, Step]] = {
    "whole": (Situation(verdict(Outcome.STOP)), Step.END),
    "whole-in-background": (Situation(verdict(Outcome.STOP), remains=STREAM), Step.END),
    "cut-at-the-limit": (Situation(verdict(Outcome.LENGTH)), Step.END),
    "signal": (Situation(STOPPED), Step.END),
    "signal-while-queued": (Situation(STOPPED, remains=RESPONSE, is_queued=True), Step.END),
    "limited": (Situation(LIMIT), Step.ASK),
    "limited-after-output": (Situation(LIMIT, is_written=True), Step.END),
    "broke-off": (Situation(BROKE), Step.ASK),
    "broke-off-after-output": (Situation(BROKE, is_written=True), Step.END),
    "last-try": (Situation(LIMIT, failures=2), Step.ASK),
    "one-too-many": (Situation(LIMIT, failures=3), Step.END),
    "no-retries": (Situation(LIMIT, retries=0), Step.END),
    "asked-too-often": (Situation(LIMIT, failures=1, times_asked=3), Step.END),
    "asked-too-often-but-resumable": (Situation(BROKE, times_asked=3, remains=STREAM), Step.RESUME),
    "refused": (Situation(REFUSED), Step.END),
    "no-credit": (Situation(NO_CREDIT), Step.END),
    "no-credit-in-background": (Situation(NO_CREDIT, remains=STREAM), Step.END),
    "deadline": (Situation(PASSED), Step.END),
    "deadline-in-background": (Situation(PASSED, remains=STREAM), Step.END),
    "resumable": (Situation(BROKE, remains=STREAM), Step.RESUME),
    "resumable-after-output": (Situation(BROKE, remains=STREAM, is_written=True), Step.RESUME),
    "resumable-one-too-many": (Situation(BROKE, remains=STREAM, failures=3), Step.END),
    "only-polled": (Situation(BROKE, remains=RESPONSE, is_written=True), Step.POLL),
    "queued": (Situation(BROKE, remains=RESPONSE, is_queued=True), Step.POLL),
    "queued-without-retries": (Situation(BROKE, remains=RESPONSE, is_queued=True, retries=0), Step.POLL),
    "queued-in-the-foreground": (Situation(BROKE, is_queued=True, retries=0), Step.END),
    "resumed-in-vain": (Situation(REFUSED, remains=RESPONSE, was_in_vain=True), Step.POLL),
    "in-vain-without-retries": (Situation(BROKE, remains=RESPONSE, was_in_vain=True, retries=0), Step.POLL),
    "garbled": (Situation(verdict(Outcome.MALFORMED), remains=RESPONSE, is_garbled=True), Step.POLL),
    "garbled-after-output": (
        Situation(verdict(Outcome.MALFORMED), remains=RESPONSE, is_garbled=True, was_in_vain=True, is_written=True),
        Step.END,
    ),
    "failed": (Situation(verdict(Outcome.SERVER_ERROR)), Step.ASK),
    "failed-after-output": (Situation(verdict(Outcome.FAILED), is_written=True), Step.END),
    "failed-of-a-resume": (Situation(verdict(Outcome.SERVER_ERROR), has_question=False), Step.END),
    "broke-off-of-a-resume": (Situation(BROKE, has_question=False, remains=STREAM), Step.RESUME),
    "end-of-a-recording": (Situation(BROKE, can_reopen=False), Step.END),
    "queued-at-the-end-of-a-recording": (
        Situation(BROKE, remains=RESPONSE, is_queued=True, can_reopen=False),
        Step.END,
    ),
    "forbidden-by-the-server": (Situation(LIMIT._replace(should_retry=False)), Step.END),
    "allowed-by-the-server": (
        Situation(verdict(Outcome.NOT_API, http_status=501, should_retry=True)),
        Step.ASK,
    ),
    "a-wait-within-the-budget": (Situation(LIMIT._replace(retry_after=119.0)), Step.ASK),
    "a-wait-beyond-the-budget": (Situation(LIMIT._replace(retry_after=120.0)), Step.END),
    "a-wait-beyond-what-is-left": (Situation(LIMIT._replace(retry_after=30.0), now=100.0), Step.END),
    "the-budget-is-spent": (Situation(LIMIT, now=121.0, retry_delay=0.0), Step.END),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_the_next_step_is(name: str) -> None:
    situation, step = DECISIONS[name]
    decision = next_step(situation)
    assert decision.step is step
    assert bool(decision.reason) == (step is Step.END), "an end has a reason"


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome in ANSWERED])
def test_nothing_follows_a_complete_answer(outcome: Outcome) -> None:
    for remains in Remains:
        situation = Situation(verdict(outcome, should_retry=True, http_status=500), remains=remains, was_in_vain=True)
        assert next_step(situation).step is Step.END


@pytest.mark.parametrize("failures", [1, 2, 5, 50, 1025, 10**6])
def test_the_backoff_grows_to_a_limit_and_has_full_jitter(failures: int) -> None:
    longest = min(0.5 * 2 ** min(failures - 1, 20), LONGEST_BACKOFF)
    assert backoff(0.5, failures, luck=0.0) == 0.0
    assert backoff(0.5, failures, luck=0.5) == longest / 2
    assert backoff(0.5, failures, luck=1.0) == longest
    assert backoff(0.0, failures, luck=1.0) == 0.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"retry-after": "Fri, 99 Foo 2030 99:99:99 +999999"}, None),
    ],
    ids=str,
)
def test_retry_after_is_read_in_each_form(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, time.time()) == seconds


def test_a_date_to_retry_after_counts_from_the_given_time() -> None:
    headers = {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}
    assert read_retry_after(headers, wall_time=946684799.0 - 90) == 90


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (
            "Rate limit reached for m on tokens per min (TPM): Limit 9, Used 9. Please try again in 1m2.5s. Visit x",
            62.5,
        ),
        ("Please try again in 608ms.", 0.608),
        ("Please try again in 7h12m0s.", 25920),
        ('[{"error":{"details":[{"@type":"x.RetryInfo","retryDelay": "2s"}]}}]', 2),
        ('{"retryDelay":"34.074824224s"}', 34.074824224),
        ('{"retryDelay":"2"}', None),
        ("try again in a moment", None),
        ("try again in 1.2.3s", None),
        ("limited for 20s", None),
        ("", None),
    ],
)
def test_a_wait_is_read_from_the_body_where_providers_put_it(body: str, seconds: float | None) -> None:
    assert read_wait_in_body(body) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6ms", 0.006), ("0s", 0), ("1m2.5s", 62.5), ("6m0s", 360), ("1d", 86400), ("12", None), ("s", None), ("", None)],
)
def test_a_duration_has_units(text: str, seconds: float | None) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("value", ["1e300", "9" * 300, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_of_ages_ends_the_run_and_is_no_bug(value: str) -> None:
    result, requests = run(status("429 Too Many Requests", headers={"Retry-After": value}), OK)
    assert (result.status, len(requests)) == (30, 1)
    assert "not retried" in result.err


@pytest.mark.parametrize("year", ["10000", "99999", "9" * 30])
def test_a_date_that_no_calendar_has_is_overlooked(year: str) -> None:
    date = f"Fri, 31 Dec {year} 23:59:59 GMT"
    result, requests = run(status("429 Too Many Requests", headers={"Retry-After": date}), OK)
    assert (result.status, len(requests)) == (0, 2)


def test_a_wait_of_ages_without_a_budget_can_still_be_interrupted_by_max_time() -> None:
    ages = status("429 Too Many Requests", headers={"Retry-After": "1e308"})
    result, _ = run(ages, OK, args=["--retry-max-time", "0", "--format", "ndjson", "--max-time", "2"])
    assert (result.status, result.end["error"]["kind"]) == (30, "rate_limited")


def test_more_retries_than_a_float_can_double_are_no_bug() -> None:
    result, requests = run(LIMITED, args=["--retry-delay", "0", "--retry", "1100"])
    assert (result.status, len(requests)) == (30, 1101)


@pytest.mark.parametrize(("code", "tries"), [("insufficient_quota", 1), ("invalid_prompt", 1), ("server_error", 3)])
def test_an_error_within_held_output_is_tried_again_only_if_that_may_help(code: str, tries: int) -> None:
    error = {"type": "error", "code": code, "message": "no luck"}
    broken = sse_response(responses_start("Hello") + sse([error]))
    result, requests = run(broken, args=[*QUICK, "--hold"])
    assert (result.status, result.out, len(requests)) == (42, b"", tries)


def test_the_reason_for_no_retry_is_told_with_v() -> None:
    result, _ = run(CUT, args=[*QUICK, "-v"])
    assert "nothing is printed twice" in result.err


def test_a_replay_waits_for_nobody(tmp_path: Path) -> None:
    lines = [
        {"ms": 0, "status": 429, "headers": {"retry-after": "600"}},
        {"ms": 1, "data": '{"error":{"message":"later"}}'},
        {"ms": 2, "end": ""},
        {"ms": 600000, "status": 200},
        {"ms": 600001, "data": responses_body(message("Hello")).decode()},
        {"ms": 600002, "end": ""},
    ]
    recording = tmp_path / "recording"
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = oastream("--replay", str(recording), "--retry-delay", "600")
    assert (result.status, result.out) == (0, b"Hello\n")
