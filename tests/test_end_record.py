"""The last line of NDJSON says how the run ended, in every outcome that still has a stdout."""

from __future__ import annotations

import pytest

from oastream.ending import stats_line
from tests.support.program import NOTHING, Environment, Result, oastream
from tests.support.streams import (
    USAGE,
    call,
    chat_body,
    message,
    refusal,
    responses_body,
    responses_start,
)
from tests.support.wire import Reply, free_port, http_response, serve, sse_response, stall_after

FIELDS = {
    "type",
    "exit",
    "outcome",
    "response_id",
    "model",
    "usage",
    "attempts",
    "resumes",
    "first_event_ms",
    "first_text_ms",
    "elapsed_ms",
    "error",
}
ERROR_FIELDS = {"kind", "message", "status", "code", "request_id", "retryable", "retry_after"}


def run(reply: Reply, *args: str, env: Environment = NOTHING) -> Result:
    with serve(reply) as server:
        return oastream("--base-url", server.url, "--format", "ndjson", "--retry", "0", *args, env=env)


def error_reply(status: str, code: str) -> bytes:
    return http_response(
        f'{{"error":{{"message":"no luck","type":"some_error","code":"{code}"}}}}',
        status,
        headers={"x-request-id": "req_7"},
    )


CALL = sse_response(responses_body(call("now", "{}")))
ENDINGS: dict[str, tuple[Reply, list[str], int, str]] = {
    "stop": (sse_response(responses_body(message("Hello"))), [], 0, "stop"),
    "stop-chat": (sse_response(chat_body("Hello")), ["--api", "chat"], 0, "stop"),
    "length": (sse_response(chat_body("Hello", finish="length")), ["--api", "chat"], 10, "length"),
    "refusal": (sse_response(responses_body(refusal("No"))), [], 12, "refusal"),
    "tool_calls": (CALL, [], 13, "tool_calls"),
    "empty": (sse_response(responses_body()), [], 16, "empty"),
    "bad_request": (error_reply("400 Bad Request", "bad"), [], 20, "bad_request"),
    "auth": (error_reply("401 Unauthorized", "bad"), [], 21, "auth"),
    "quota": (error_reply("429 Too Many Requests", "insufficient_quota"), [], 24, "quota"),
    "rate_limited": (error_reply("429 Too Many Requests", "x"), [], 30, "rate_limited"),
    "server_error": (error_reply("500 Oops", "x"), [], 31, "server_error"),
    "unreachable": (b"", [], 32, "unreachable"),
    "timeout": (stall_after(b""), ["--first-event-timeout", "0.3"], 33, "timeout"),
    "interrupted": (sse_response(responses_start("Hello")), [], 40, "interrupted"),
    "idle": (stall_after(responses_start("Hello")), ["--idle-timeout", "0.3"], 41, "idle"),
    "malformed": (sse_response(responses_start("Hello") + b"data: {\n\n"), [], 43, "malformed"),
    "deadline": (stall_after(responses_start("Hello")), ["--max-time", "1.5"], 44, "deadline"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_end_record_says_how_it_ended(name: str) -> None:
    reply, args, status, outcome = ENDINGS[name]
    result = run(reply, *args, "hi")
    assert result.status == status
    end = result.end
    assert set(end) == FIELDS
    assert (end["exit"], end["outcome"], end["attempts"], end["resumes"]) == (status, outcome, 1, 0)
    assert (end["error"] is None) == (status == 0 or 10 <= status < 20)
    if end["error"]:
        assert set(end["error"]) == ERROR_FIELDS
        assert end["error"]["message"]
        assert end["error"]["retryable"] is (status >= 30) or status >= 40


def test_the_fields_of_an_answer() -> None:
    end = run(ENDINGS["stop"][0], "hi").end
    assert (end["response_id"], end["model"], end["usage"]) == ("resp_1", "test-model", USAGE)
    assert 0 <= end["first_event_ms"] <= end["first_text_ms"] <= end["elapsed_ms"]


def test_the_fields_of_an_answer_of_chat() -> None:
    end = run(ENDINGS["stop-chat"][0], "--api", "chat", "hi").end
    assert (end["response_id"], end["model"]) == ("chatcmpl-1", "test-model")
    assert end["usage"]["total_tokens"] == 12
    assert 0 <= end["first_event_ms"] <= end["first_text_ms"] <= end["elapsed_ms"]


def test_the_fields_of_a_refused_request() -> None:
    end = run(ENDINGS["auth"][0], "hi").end
    assert (end["response_id"], end["usage"], end["first_event_ms"], end["first_text_ms"]) == (None, None, None, None)
    error = end["error"]
    assert (error["status"], error["code"], error["request_id"]) == (401, "bad", "req_7")
    assert "no luck" in error["message"]
    assert error["retry_after"] is None


def test_there_is_an_end_record_for_a_run_that_sent_nothing() -> None:
    result = run(b"")
    assert (result.status, result.end["exit"], result.end["outcome"]) == (8, 8, "input")


def test_there_is_an_end_record_for_a_run_without_a_key() -> None:
    args = ["--base-url", "https://example.invalid/v1", "--format", "ndjson", "hi"]
    result = oastream(*args, env={"OPENAI_API_KEY": None})
    assert (result.status, result.end["exit"], result.end["outcome"]) == (6, 6, "config")


def test_there_is_an_end_record_when_nobody_listens() -> None:
    args = ["--base-url", f"http://127.0.0.1:{free_port()}/v1", "--retry", "0", "--format", "ndjson", "hi"]
    result = oastream(*args)
    assert (result.status, result.end["outcome"]) == (32, "unreachable")
    assert "refused" in result.message


def test_usage_errors_print_no_record() -> None:
    result = run(b"", "--frobnicate", "hi")
    assert (result.status, result.out) == (2, b"")


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        ("length", "length"),
        ("length", "10"),
        ("auth", "auth"),
        ("interrupted", "12,interrupted"),
        ("rate_limited", "30"),
    ],
)
def test_ok_changes_the_exit_and_takes_the_message_away(name: str, ok: str) -> None:
    reply, args, status, outcome = ENDINGS[name]
    result = run(reply, *args, "--ok", ok, "hi")
    plain = run(reply, *args, "hi")
    assert (result.status, plain.status) == (0, status)
    assert (result.end["exit"], result.end["outcome"]) == (0, outcome)
    assert result.end["error"] == plain.end["error"]
    assert (result.err, plain.err != "") == ("", True)
    assert [record["type"] for record in result.records] == [record["type"] for record in plain.records]
    assert plain.err in run(reply, *args, "--ok", ok, "-v", "hi").err


def test_a_dry_run_that_fails_prints_no_record() -> None:
    result = oastream("--dry-run", "--format", "ndjson", "--body", "{", "hi")
    assert (result.status, result.out) == (8, b"")


def test_ok_of_another_name_changes_nothing() -> None:
    assert run(ENDINGS["length"][0], "--api", "chat", "--ok", "refusal,auth", "hi").status == 10


def figures(tokens: int, taken: int) -> dict[str, object]:
    """What a run measured: `tokens` within `taken` milliseconds after the first."""
    times = {"first_text_ms": 100, "elapsed_ms": 100 + taken}
    return {"usage": {"output_tokens": tokens}, "attempts": 1, "request_id": None, **times}


@pytest.mark.parametrize(
    ("tokens", "taken", "counted"),
    [
        (1, 2000, "1 token, 1 attempt"),
        (5, 1, "5 tokens, 1 attempt"),  # it came in one piece: 5000 tokens/s would be a figure of the clock
        (5, 2000, "5 tokens, 2.5 tokens/s, 1 attempt"),
    ],
)
def test_figures_count_as_people_do_and_name_no_rate_that_was_not_measured(
    tokens: int, taken: int, counted: str
) -> None:
    assert stats_line(figures(tokens, taken)).endswith(f" s, {counted}")
