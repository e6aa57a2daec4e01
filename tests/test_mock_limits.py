"""Limits that the mock enforces, and a mock that is gone for a while."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from oastream.batch.pacing.limits import Resource, read_limits, read_named_limit
from oastream.mock.exchange import Reply, Request
from oastream.mock.limits import go_duration
from oastream.mock.routes import Routes
from oastream.mock.script import plan_from_options, plan_from_url
from oastream.mock.server import Server, serve
from tests.support.program import MOCK_COMMAND, run
from tests.support.waiting import wait_until

PATIENCE = 20.0


class Clock:
    """A time that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Mock:
    """The server without its sockets, at any time."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self._routes = Routes(plan_from_options(**options), self.clock)

    def ask(self, size: int = 400, **fields: Any) -> Reply:
        body = {"model": "m", "input": "hi", **fields}
        return self._routes.reply(Request("POST", "/v1/responses", {"content-length": str(size)}, body))

    def count_accepted(self, requests: int) -> int:
        return sum(self.ask().status == 200 for _ in range(requests))


def error_of(reply: Reply) -> Any:
    return json.loads(b"".join(item for item in reply.wire if isinstance(item, bytes)))["error"]


def test_what_is_more_than_the_limit_gets_429() -> None:
    mock = Mock(rpm="60")
    assert mock.count_accepted(100) == 60
    mock.clock.now += 1.001
    assert mock.count_accepted(100) == 1


def test_a_counter_starts_anew_at_the_end_of_its_window() -> None:
    mock = Mock(rpm="60", limit_refill="at-once")
    assert mock.count_accepted(100) == 60
    mock.clock.now += 59.0
    assert mock.count_accepted(100) == 0
    mock.clock.now += 1.0
    assert mock.count_accepted(100) == 60


def test_a_bucket_by_the_second_holds_no_more_than_a_second() -> None:
    mock = Mock(rpm="600", limit_window="second")
    assert mock.count_accepted(100) == 10
    mock.clock.now += 30.0
    assert mock.count_accepted(100) == 10


def test_tokens_are_bytes_and_the_output_limit() -> None:
    mock = Mock(tpm="1000")
    assert mock.ask(size=400, max_output_tokens=800).status == 200
    assert mock.ask(size=400, max_output_tokens=1).status == 429
    mock = Mock(tpm="1000")
    assert [mock.ask(size=0).status for _ in range(2)] == [200, 429]  # 512 without a limit


def test_one_request_of_more_than_the_whole_limit_passes_when_the_bucket_is_full() -> None:
    mock = Mock(tpm="1000")
    assert mock.ask(max_output_tokens=5000).status == 200
    assert mock.ask(max_output_tokens=5000).status == 429


def test_headers_tell_what_is_left_and_how_long_it_takes() -> None:
    mock = Mock(rpm="60", tpm="6000")
    mock.ask(size=400, max_output_tokens=900)
    reply = mock.ask(size=400, max_output_tokens=900)
    shown = {limit.resource: limit for limit in read_limits(reply.headers, 0.0)}
    assert shown[Resource.REQUESTS][2:5] == (60, 58, 2)
    assert shown[Resource.TOKENS][2:5] == (6000, 4000, 20)


def test_a_429_says_what_openai_says() -> None:
    mock = Mock(rpm="2")
    mock.count_accepted(2)
    reply = mock.ask()
    error = error_of(reply)
    assert (reply.status, error["code"], error["type"]) == (429, "rate_limit_exceeded", "requests")
    assert reply.headers["Retry-After"] == "30"
    assert error["message"].endswith("Please try again in 30s.")
    limit = read_named_limit(error["message"])
    assert limit is not None
    assert limit.limit == 2


def test_it_may_say_less() -> None:
    mock = Mock(rpm="1", limit_headers="retry-after")
    first, second = mock.ask(), mock.ask()
    assert not any("ratelimit" in name for name in (*first.headers, *second.headers))
    assert second.headers["Retry-After"] == "60"
    assert error_of(second)["message"] == "Too many requests."
    silent = Mock(rpm="1", limit_headers="none")
    silent.ask()
    assert not any("etry" in name or "ratelimit" in name for name in silent.ask().headers)


def test_polls_and_lists_are_free() -> None:
    routes = Routes(plan_from_options(rpm="1"))
    assert {routes.reply(Request("GET", "/v1/models", {})).status for _ in range(5)} == {200}


def test_it_answers_with_an_error_while_it_is_gone() -> None:
    mock = Mock(gone="5", gone_after="10", gone_status="503")
    statuses = []
    for _ in range(4):
        statuses.append(mock.ask().status)
        mock.clock.now += 5.0
    assert statuses == [200, 200, 503, 200]


def status_of(server: Server) -> int:
    """The status of a request over a connection of its own. Raises OSError where there is none."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE)
    try:
        connection.request("GET", "/v1/models")
        return connection.getresponse().status
    finally:
        connection.close()


def refuses(server: Server) -> bool:
    try:
        status_of(server)
    except (ConnectionError, http.client.HTTPException):
        return True
    return False


def test_it_refuses_connections_while_it_is_gone_and_is_back_at_its_address() -> None:
    server = serve(plan_from_options(gone="0.5", gone_after="0.2"))
    try:
        begun = time.monotonic()
        assert status_of(server) == 200
        wait_until(lambda: refuses(server))
        wait_until(lambda: not refuses(server))
        assert time.monotonic() - begun >= 0.5
        assert status_of(server) == 200
    finally:
        server.close()


def test_it_can_be_closed_while_it_is_gone() -> None:
    server = serve(plan_from_options(gone="60", gone_after="0.2"))
    assert status_of(server) == 200
    wait_until(lambda: refuses(server))
    server.close()
    assert refuses(server)


def test_a_mock_url_and_a_script_know_the_limits(tmp_path: Any) -> None:
    script = tmp_path / "script.toml"
    script.write_text('rpm = 60\nlimit_headers = "none"\n')
    by_url = plan_from_url("mock:?rpm=60&limit_headers=none").limits
    assert (
        by_url
        == plan_from_options(script=str(script)).limits
        == plan_from_options(rpm="60", limit_headers="none").limits
    )
    assert plan_from_options(script=str(script), rpm="5").limits.rpm == 5


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--rpm", "0"], "--rpm: '0' is not a whole number, 1 or more"),
        (["--limit-window", "hour"], "--limit-window: 'hour' is not one of minute, second"),
        (["--gone", "0"], "--gone: '0' is not more than 0 seconds"),
        (["--limit-refill", "at-once"], "--limit-refill needs --rpm or --tpm"),
        (["--gone-after", "3"], "--gone-after needs --gone"),
        (["--gone-status", "99"], "--gone-status: '99' is not an HTTP status, 200 to 599"),
    ],
)
def test_a_limit_that_is_none_is_a_usage_error(arguments: list[str], line: str) -> None:
    result = run([*MOCK_COMMAND, *arguments])
    assert (result.status, result.err) == (2, f"oastream-mock: {line}\n")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.02, "20ms"), (7.5, "7.5s"), (62.5, "1m2.5s"), (360, "6m0s"), (60, "1m0s")]
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
