"""A background answer comes out exactly once, wherever its stream breaks, and outlives the run or not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from oastream.mock import server as mock_server
from oastream.mock.script import plan_from_url
from oastream.mock.server import Server
from tests.support import forked
from tests.support.program import Result, finish, oastream, run_python, start
from tests.support.streams import Event, message, responses_events, sse
from tests.support.waiting import SOON
from tests.support.wire import Reply, Request, chunk, http_response, send, serve, sleep, sse_response, stall
from tests.support.wire import wait as wait_for

TEXT = "one two three four"
CALLS = '{"text":"Hm.","tool_calls":[{"name":"f","arguments":{"city":"北京"}},{"name":"g","arguments":{}}]}'
FORMATS = ("text", "ndjson", "tools", "json", "sse")
TERMINAL = "response.completed"
FOR_EVER = "endless,pace=0.05"


@contextlib.contextmanager
def mock(*faults: str, reply: str = TEXT) -> Iterator[Server]:
    pairs = [("reply", reply), *(("fault", fault) for fault in faults)]
    running = mock_server.serve(plan_from_url("mock:?" + "&".join(f"{name}={quote(value)}" for name, value in pairs)))
    try:
        yield running
    finally:
        running.close()


def run(server: Server, *args: str, prompt: tuple[str, ...] = ("hi",), retry: int = 2) -> Result:
    quick = ("--base-url", server.url, "--retry-delay", "0", "--retry", str(retry))
    return forked.oastream(*quick, *args, *prompt)


def asked(server: Server) -> list[str]:
    """What was asked, without ids."""
    return [f"{r.method} {re.sub(r'resp_[0-9a-z]+', 'ID', r.path).removeprefix('/v1')}" for r in server.requests]


def payloads(out: bytes, format: str) -> list[dict[str, Any]]:
    """The server's events, from either format that has them all."""
    lines = out.decode().splitlines()
    texts = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")] if format == "sse" else lines
    return [event for event in map(json.loads, texts) if not event["type"].startswith("oastream:")]


def is_whole(result: Result, format: str, reply: str = TEXT) -> None:
    """The whole answer, exactly once."""
    assert (result.status, result.err) == (17 if format == "tools" else 0, result.err), result
    if format == "text":
        assert result.out == f"{reply}\n".encode()
    elif format == "tools":
        assert result.out == b""
    elif format == "json":
        response = json.loads(result.out)
        assert [part["text"] for item in response["output"] for part in item["content"]] == [reply]
    else:
        events = payloads(result.out, format)
        assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == reply
        numbers = [event["sequence_number"] for event in events]
        assert numbers == list(range(len(numbers))), "each number once, in order"
        assert events[-1]["type"] == TERMINAL
    if format == "ndjson":
        assert result.end["exit"] == 0


def number_of_events() -> int:
    with mock() as server:
        return len(payloads(run(server, "--background", "--format", "ndjson").out, "ndjson"))


EVENTS = number_of_events()


@pytest.mark.parametrize("cut", ["fin", "drop", "rst", "chunk"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_cut_at_any_event_loses_and_repeats_nothing(format: str, cut: str) -> None:
    for number in range(1, EVENTS):
        with mock(f"cut_events={number},cut={cut}", "ok") as server:
            is_whole(run(server, "--background", "--format", format), format)
            assert asked(server) == ["POST /responses", f"GET /responses/ID?stream=true&starting_after={number - 1}"]


def test_a_cut_before_the_first_event_asks_anew() -> None:
    with mock("cut_events=0,cut=drop", "ok") as server:
        is_whole(run(server, "--background"), "text")
        assert asked(server) == ["POST /responses"] * 2


@pytest.mark.parametrize("format", FORMATS)
def test_a_cut_after_every_event_still_ends(format: str) -> None:
    """Each attempt brings one event, so that no failure is the second in a row."""
    with mock("cut_events=1,cut=drop") as server:
        is_whole(run(server, "--background", "--format", format, retry=1), format)
        assert len(server.requests) == EVENTS


def test_failures_in_a_row_are_counted_and_an_event_starts_the_count_anew() -> None:
    broken = ("cut_events=5,cut=drop", "status=500", "cut_events=1,cut=drop", "status=500", "ok")
    with mock(*broken) as server:
        is_whole(run(server, "--background"), "text")
    with mock("cut_events=half,cut=drop", "status=500", "status=500", "ok") as server:
        result = run(server, "--background")
        assert (result.status, result.out, len(server.requests)) == (40, b"one two", 3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_stream_that_cannot_be_replayed_is_polled(format: str) -> None:
    for number in range(1, EVENTS):
        with mock(f"replay=false,cut_events={number},cut=drop") as server:
            result = run(server, "--background", "--format", format)
            assert asked(server)[-1] == "GET /responses/ID"
        assert result.status == (17 if format == "tools" else 0), result
        if format in ("text", "tools", "json"):
            is_whole(result, format)
        else:
            events = payloads(result.out, format)
            numbers = [event["sequence_number"] for event in events if "sequence_number" in event]
            assert numbers == list(range(number)), "the events that came, and the end that was polled"
            assert events[-1]["type"] == TERMINAL


@pytest.mark.parametrize("cut", ["drop", "rst"])
@pytest.mark.parametrize("options", ["", "replay=false,"], ids=["replay", "poll"])
def test_calls_come_out_once(options: str, cut: str, tmp_path: Any) -> None:
    reply = tmp_path / "reply.json"
    reply.write_text(CALLS)
    with mock(reply=f"@{reply}") as server:
        whole = run(server, "--background", "--format", "tools")
        count = len(payloads(run(server, "--background", "--format", "ndjson").out, "ndjson"))
    assert [call["name"] for call in whole.records] == ["f", "g"]
    for number in range(1, count):
        for eager in ((), ("--eager",)):
            with mock(f"{options}cut_events={number},cut={cut}", "ok", reply=f"@{reply}") as server:
                result = run(server, "--background", "--format", "tools", *eager)
            assert [call["name"] for call in result.records] == ["f", "g"], (number, eager)
            assert result.status == 0


@pytest.mark.parametrize("args", [("--hold",), ("-o", "{file}")], ids=["hold", "file"])
def test_held_output_is_whole_too(args: tuple[str, ...], tmp_path: Any) -> None:
    file = tmp_path / "answer"
    for number in range(1, EVENTS):
        with mock(f"cut_events={number},cut=rst", "ok") as server:
            result = run(server, "--background", *(arg.replace("{file}", str(file)) for arg in args))
        assert result.status == 0
        assert (file.read_bytes() if "-o" in args else result.out) == f"{TEXT}\n".encode()


# Sequence numbers


@pytest.mark.parametrize("format", ["text", "ndjson"])
def test_the_first_event_sent_twice_is_no_numbering_without_meaning(format: str) -> None:
    with mock("duplicate=0", "ok") as server:
        is_whole(run(server, "--background", "--format", format), format)
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["skip", "duplicate", "reorder"])
@pytest.mark.parametrize("format", ["text", "ndjson"])
def test_a_wrong_order_in_the_first_stream_is_put_right(format: str, fault: str) -> None:
    for number in range(1, EVENTS - 1):
        with mock(f"{fault}={number}", "ok") as server:
            result = run(server, "--background", "--format", format)
        is_whole(result, format)


@pytest.mark.parametrize("kind", ["constant", "none"])
@pytest.mark.parametrize("format", ["text", "json"])
def test_numbers_that_do_not_count_are_not_looked_at(format: str, kind: str) -> None:
    with mock(f"sequence={kind}") as server:
        is_whole(run(server, "--background", "--format", format), format)
        assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["constant", "none"])
def test_without_numbers_the_rest_is_polled(kind: str) -> None:
    for number in range(3, EVENTS):
        with mock(f"sequence={kind},cut_events={number},cut=drop", "ok") as server:
            is_whole(run(server, "--background"), "text")
            assert asked(server)[-1] == "GET /responses/ID"


# The job outlives the run


def test_detach_prints_the_id_and_resume_takes_it_up() -> None:
    with mock("pace=0.02") as server:
        detached = run(server, "--detach")
        assert (detached.status, detached.err) == (0, "")
        ident = detached.text.strip()
        assert re.fullmatch(r"resp_\w+", ident)
        for format in FORMATS:
            is_whole(run(server, "--resume", ident, "--format", format, prompt=()), format)


def test_an_unknown_id_exits_23() -> None:
    with mock() as server:
        result = run(server, "--resume", "resp_nothing", prompt=())
        assert (result.status, result.out) == (23, b"")


def test_a_resume_survives_cuts_too() -> None:
    with mock("ok", "cut_events=5,cut=rst", "cut_events=3,cut=drop", "ok") as server:
        ident = run(server, "--detach").text.strip()
        is_whole(run(server, "--resume", ident, prompt=()), "text")


@pytest.mark.parametrize("poll", [False, True], ids=["stream", "poll"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_sigint_cancels_the_job_and_the_others_leave_it(number: signal.Signals, poll: bool) -> None:
    fault = f"{FOR_EVER},replay=false,cut_events=12,cut=drop" if poll else FOR_EVER
    with mock(fault) as server, start("--base-url", server.url, "--retry-delay", "0", "--background", "hi") as process:
        assert process.stdout is not None
        process.stdout.read(3)
        while poll and len(server.requests) < 3:
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(number)
        result = finish(process, SOON)
        took = time.monotonic() - began
        cancels = [request for request in asked(server) if request == "POST /responses/ID/cancel"]
    assert result.status == -number
    if number == signal.SIGINT:
        assert len(cancels) == 1, result
        assert took < 2 + 2
        assert "still running" not in result.err
    else:
        assert not cancels
        assert re.search(r"response (resp_\w+) is still running; resume it with: oastream --resume \1", result.err)


def interrupted(cancel: str) -> Result:
    """A run that is interrupted in mid-answer, with a server that treats the cancel like this."""
    with (
        mock(FOR_EVER, f"on=cancel,{cancel}") as server,
        start("--base-url", server.url, "--background", "hi") as process,
    ):
        assert process.stdout is not None
        process.stdout.read(3)
        process.send_signal(signal.SIGINT)
        return finish(process, SOON)


def test_a_server_that_does_not_answer_the_cancel_is_waited_for_two_seconds() -> None:
    result = interrupted("delay=inf")
    assert result.status == -signal.SIGINT
    assert 1.5 < result.seconds < 6
    assert "could not be cancelled: no answer" in result.err


def test_a_cancel_that_is_refused_is_said() -> None:
    result = interrupted("status=403")
    assert result.status == -signal.SIGINT
    assert re.search(r"response resp_\w+ could not be cancelled: HTTP 403", result.err)


def test_a_reader_that_goes_away_cancels_the_job() -> None:
    with mock(FOR_EVER) as server, start("--base-url", server.url, "--background", "hi") as process:
        assert process.stdout is not None
        process.stdout.read(3)
        process.stdout.close()
        process.wait(SOON)
        assert process.returncode == -signal.SIGPIPE
        assert asked(server)[-1] == "POST /responses/ID/cancel"


# The rest does not come


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("<html><title>Sign in</title></html>", 43, "the server sent a web page: Sign in"),
        ("busy", 43, "the response is not JSON: busy"),
        ("[]", 43, "the response is not a JSON object: []"),
    ],
)
def test_a_poll_that_brings_no_response_says_what_came(body: str, status: int, message: str) -> None:
    with mock("cut_events=1,cut=drop", "status=404", f"on=poll,status=200,body={body}") as server:
        result = run(server, "--background", retry=1)
    assert (result.status, result.out) == (status, b"")
    assert message in result.err


@pytest.mark.parametrize(
    "fault", ["status=401", "status=404", "status=429,headers=Retry-After: 0", "status=500", "raw="]
)
def test_an_answer_that_has_begun_and_cannot_be_resumed_exits_40(fault: str) -> None:
    with mock("cut_events=half,cut=drop", fault, f"on=poll,{fault}") as server:
        result = run(server, "--background")
    assert (result.status, result.out) == (40, b"one two")
    assert ("resume it with: oastream --resume" in result.err) == (fault != "status=404")
    assert result.err.splitlines()[-2].startswith("oastream: the answer broke off: ")


def test_a_gap_that_nothing_fills_exits_43() -> None:
    with mock("skip=6", "skip=0", "status=404", "on=poll,status=404") as server:
        result = run(server, "--background", retry=1)
    assert result.status == 43
    assert TEXT.startswith(result.out.decode())


def test_a_gap_behind_a_break_that_nothing_fills_exits_43() -> None:
    events = responses_events(message(TEXT), piece=4)
    for event in events:
        if "response" in event:
            event["response"]["background"] = True
    cut, rest = sse_response(sse(events[:6])), sse_response(sse(events[8:]))
    with serve(cut, rest, http_response("{}", "404 Not Found")) as server:
        result = forked.oastream("--base-url", server.url, "--retry-delay", "0", "--background", "hi")
    assert (result.status, TEXT.startswith(result.out.decode())) == (43, True)


def test_a_wait_beyond_the_budget_still_names_the_job() -> None:
    with mock("cut_events=half,cut=drop", "status=429,headers=Retry-After: 3600") as server:
        result = run(server, "--background")
    assert (result.status, result.out) == (40, b"one two")
    assert "3600" in result.err
    assert "oastream --resume resp_" in result.err


def test_a_resume_that_waits_in_vain_names_its_deadline() -> None:
    with mock("cut_events=half,cut=drop", "delay=inf") as server:
        result = run(server, "--background", "--first-event-timeout", "0.3", retry=1)
    assert (result.status, result.out) == (41, b"one two")
    assert "--first-event-timeout 0.3 s" in result.err


def test_max_time_ends_a_poll() -> None:
    with mock("replay=false,endless,pace=0.05,cut_events=12,cut=drop") as server:
        result = run(server, "--background", "--max-time", "1.5")
    assert result.status == 44
    assert "--max-time 1.5 s" in result.err
    assert result.seconds < 6


# --detach leaves


def begun(*kinds: str, ident: str = "resp_1", **response: Any) -> list[Event]:
    """The first events of a background response."""
    body = {"id": ident, "object": "response", "status": "queued", "background": True, "output": [], **response}
    return [{"type": f"response.{kind}", "sequence_number": at, "response": body} for at, kind in enumerate(kinds)]


def stream_of(*kinds: str, ident: str = "resp_1", **response: Any) -> Reply:
    """A stream that stays open after its first events."""
    return sse_response(sse(begun(*kinds, ident=ident, **response)), ending=[stall])


def wired(*replies: Reply, args: tuple[str, ...] = ("--background",), retry: int = 2) -> tuple[Result, list[Request]]:
    with serve(*replies) as server:
        words = () if "--resume" in args else ("hi",)
        quick = ("--base-url", server.url, "--retry-delay", "0.01", "--retry", str(retry))
        return forked.oastream(*quick, *args, *words), server.requests


def lines(requests: list[Request]) -> list[str]:
    return [f"{request.method} {request.path.removeprefix('/v1/responses')}".strip() for request in requests]


def json_of(status: str, **fields: Any) -> bytes:
    return http_response(json.dumps({"id": "resp_1", "object": "response", "status": status, "output": [], **fields}))


def answered(text: str = TEXT) -> bytes:
    return json_of("completed", background=True, output=[{"id": "m", **message(text)}])


def test_detach_leaves_as_soon_as_the_job_runs() -> None:
    with mock("pace=0.1,endless") as server:
        result = run(server, "--detach")
        assert (result.status, result.err) == (0, "")
        assert result.seconds < 8, "before the ten seconds after which it leaves all the same"
        assert asked(server) == ["POST /responses"]


def test_detach_waits_for_the_job_to_leave_the_queue() -> None:
    """OpenAI can leave a response queued whose stream was closed at its first event."""
    runs = threading.Event()
    events = begun("created", "queued", "in_progress")
    then = send(chunk(sse(events[2:])))
    script = sse_response(sse(events[:2]), ending=[wait_for(runs), then, stall])
    with serve(script) as server, start("--base-url", server.url, "--detach", "hi") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"resp_1\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        runs.set()
        assert finish(process, SOON).status == 0


def test_detach_leaves_a_queued_job_after_ten_seconds_and_says_so() -> None:
    result, requests = wired(stream_of("created", "queued"), args=("--detach",))
    assert (result.status, result.out) == (0, b"resp_1\n")
    assert result.err == "oastream: response resp_1 is still queued\n"
    assert 9 < result.seconds < 40
    assert lines(requests) == ["POST"]


def test_detach_of_a_response_that_came_as_queued_json_polls_until_it_runs() -> None:
    result, requests = wired(json_of("queued"), json_of("queued"), json_of("in_progress"), args=("--detach",), retry=0)
    assert (result.status, result.out, result.err) == (0, b"resp_1\n", "")
    assert lines(requests) == ["POST", "GET /resp_1", "GET /resp_1"]


def test_detach_of_a_stream_that_breaks_off_in_the_queue_still_leaves_with_the_id() -> None:
    cut = sse_response(sse(begun("created", "queued")), ending=[])
    result, requests = wired(cut, http_response("{}", "500 Oops"), args=("--detach",), retry=1)
    assert (result.status, result.out) == (0, b"resp_1\n")
    assert "response resp_1 may still be queued" in result.err
    assert lines(requests) == ["POST", "GET /resp_1?stream=true&starting_after=1"]


def test_detach_whose_id_cannot_be_written_is_9_and_names_the_id() -> None:
    with serve(stream_of("created", "queued")) as server:
        result = oastream("--base-url", server.url, "--detach", "hi", shell='exec "$@" >/dev/full')
    assert (result.status, result.out) == (9, b"")
    assert "cannot write to stdout: no space left on device" in result.err
    assert "resume it with: oastream --resume resp_1" in result.err


def test_detach_whose_id_nobody_reads_in_time_is_33_and_names_the_id() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, bytes(select.PIPE_BUF)):
            pass
    os.set_blocking(writer, True)
    with serve(stream_of("created", "queued")) as server, open(reader, "rb"), open(writer, "wb") as full:
        result = oastream("--base-url", server.url, "--detach", "--max-time", "1", "hi", stdout=full)
    assert result.status == 33
    assert "--max-time 1 s passed" in result.err
    assert "resume it with: oastream --resume resp_1" in result.err


def test_detach_of_a_response_that_fails_at_once_is_a_failure() -> None:
    failed = [*begun("created"), *begun("failed", status="failed", error={"code": "invalid_prompt", "message": "no"})]
    failed[1]["sequence_number"] = 1
    result, requests = wired(sse_response(sse(failed)), args=("--detach",))
    assert (result.status, len(requests)) == (20, 1)


def test_detach_of_a_response_whose_stream_reports_an_error_is_that_error() -> None:
    error = {"type": "error", "code": "insufficient_quota", "message": "no credit"}
    result, requests = wired(sse_response(sse([*begun("created"), error])), args=("--detach",))
    assert (result.status, result.out, len(requests)) == (24, b"resp_1\n", 1)


def test_sigint_cancels_a_job_that_was_to_be_detached() -> None:
    with serve(stream_of("created", "queued"), json_of("cancelled")) as server:
        with start("--base-url", server.url, "--detach", "hi") as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert finish(process, SOON).status == -signal.SIGINT
        assert lines(server.requests) == ["POST", "POST /resp_1/cancel"]


# Counting


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "no luck"},
        {"type": "error", "sequence_number": 0, "error": {"code": "server_error", "message": "no luck"}},
        {"type": "ping"},
        {"type": "keepalive", "sequence_number": 0},
    ],
    ids=["error", "numbered-error", "ping", "numbered-ping"],
)
def test_events_without_a_response_do_not_start_the_count_anew(event: Event) -> None:
    _, requests = wired(sse_response(sse([event])))
    assert lines(requests) == ["POST"] * 3


def test_pings_of_a_resumed_stream_do_not_start_the_count_anew() -> None:
    cut = sse_response(sse(begun("created", "in_progress")))
    result, requests = wired(cut, sse_response(sse([{"type": "ping"}])))
    assert result.status == 43, "the poll brings no JSON"
    assert len(requests) <= 5


def test_an_error_event_that_comes_again_and_again_ends_the_run_as_that_error() -> None:
    error = {"type": "error", "code": "server_is_overloaded", "message": "too much"}
    cut = sse_response(sse([*begun("created"), error]))
    again = sse_response(sse([error]))
    result, requests = wired(cut, again, http_response("{}", "404 Not Found"))
    assert (result.status, result.out) == (31, b"")
    assert "too much" in result.err
    assert len(requests) <= 5


def test_numbered_error_events_do_not_start_the_count_anew() -> None:
    errors = [{"type": "error", "sequence_number": at, "error": {"code": "server_error"}} for at in range(1, 20)]
    cut = sse_response(sse(begun("created")))
    result, requests = wired(cut, *(sse_response(sse([error])) for error in errors))
    assert (result.status, len(requests)) == (31, 3)


def test_an_error_event_does_not_end_a_job_that_goes_on() -> None:
    events = [{**event, "sequence_number": at} for at, event in enumerate(responses_events(message(TEXT)))]
    events[0]["response"] = {**events[0]["response"], "background": True}
    error = {"type": "error", "code": "server_error", "message": "the stream was lost"}
    result, requests = wired(sse_response(sse([*events[:5], error])), sse_response(sse(events[5:])))
    is_whole(result, "text")
    assert lines(requests) == ["POST", "GET /resp_1?stream=true&starting_after=4"]


def test_responses_that_begin_well_and_fail_are_not_asked_for_without_end() -> None:
    """Each event of a response starts the count of failures anew; the questions are counted all the same."""
    failed = begun("failed", status="failed", error={"code": "server_error", "message": "no luck"})[0]
    begins = sse_response(sse(begun("created", "queued", "in_progress")))
    fails = sse_response(sse([{**failed, "sequence_number": 3}]))
    result, requests = wired(*(begins, fails) * 5)
    assert (result.status, result.out) == (31, b"")
    assert [request.method for request in requests] == ["POST", "GET"] * 3


# What the server says of the response


@pytest.mark.parametrize("body", [b'{"id":"resp_1","object":"response","status":"expired"}', b'{"ok":true}', b"[]"])
def test_a_poll_with_an_unknown_status_ends_the_run(body: bytes) -> None:
    result, requests = wired(json_of("queued"), http_response(body), retry=5)
    assert (result.status, result.out) == (43, b"")
    assert len(requests) == 2
    assert "expired" in result.err or "true" in result.err or "[]" in result.err
    assert "--resume" not in result.err


def test_a_poll_that_brings_an_error_is_that_error() -> None:
    error = http_response('{"error": {"code": "invalid_api_key", "message": "no"}}')
    result, requests = wired(json_of("queued"), error)
    assert (result.status, len(requests)) == (21, 2)


@pytest.mark.parametrize(
    ("code", "status", "posts"), [("invalid_prompt", 20, 1), ("server_error", 31, 3), ("rate_limit_exceeded", 30, 3)]
)
def test_a_response_that_failed_before_output_is_treated_as_in_the_foreground(
    code: str, status: int, posts: int
) -> None:
    with mock(f"error=failed,after=3,code={code}") as server:
        result = run(server, "--background")
    assert (result.status, result.out) == (status, b"")
    assert asked(server) == ["POST /responses"] * posts


def test_a_response_that_failed_after_output_is_42_and_never_resumed() -> None:
    with mock("error=failed,after=half") as server:
        result = run(server, "--background")
    assert (result.status, result.out, asked(server)) == (42, b"one two", ["POST /responses"])
    assert "--resume" not in result.err


@pytest.mark.parametrize(("place", "status", "posts"), [("3", 31, 3), ("half", 42, 1)])
def test_an_error_event_before_the_failure_asks_for_nothing_more(place: str, status: int, posts: int) -> None:
    """OpenAI sends an error event, then response.failed."""
    with mock(f"error=nested,after={place}") as server:
        result = run(server, "--background")
    assert (result.status, asked(server)) == (status, ["POST /responses"] * posts)


def test_a_failure_that_does_not_follow_its_error_event_is_waited_for_two_seconds() -> None:
    error = {"type": "error", "code": "insufficient_quota", "message": "no credit"}
    script = sse_response(sse([*begun("created"), error]), ending=[stall])
    result, requests = wired(script)
    assert (result.status, lines(requests)) == (24, ["POST"])
    assert 1.5 < result.seconds < 20


def test_text_after_an_error_event_is_still_the_answer() -> None:
    events = responses_events(message(TEXT))
    events[0]["response"] = {**events[0]["response"], "background": True}
    error = {"type": "error", "code": "server_error", "message": "a moment"}
    result, requests = wired(sse_response(sse([*events[:5], error, *events[5:]])))
    is_whole(result, "text")
    assert len(requests) == 1


def test_an_answer_that_goes_on_after_an_error_event_has_all_the_time_it_needs() -> None:
    events = responses_events(message(TEXT))
    events[0]["response"] = {**events[0]["response"], "background": True}
    error = {"type": "error", "code": "server_error", "message": "a moment"}
    longer_than_the_end_is_waited_for = sleep(2.5)
    rest = [send(chunk(sse(events[5:]))), send(b"0\r\n\r\n")]
    script = sse_response(sse([*events[:4], error, events[4]]), ending=[longer_than_the_end_is_waited_for, *rest])
    result, requests = wired(script)
    is_whole(result, "text")
    assert len(requests) == 1


def test_a_stream_that_was_refused_is_not_asked_for_again() -> None:
    cut = sse_response(sse(begun("created")))
    refused, oops = http_response("{}", "404 Not Found"), http_response("{}", "500 Oops")
    result, requests = wired(cut, refused, oops, answered())
    is_whole(result, "text")
    assert lines(requests) == ["POST", "GET /resp_1?stream=true&starting_after=0", *["GET /resp_1"] * 2]


def test_a_lone_surrogate_in_an_id_is_no_bug() -> None:
    result, _ = wired(
        sse_response(sse(begun("created", "in_progress", ident="resp_X")).replace(b"_X", rb"_\ud800"), ending=[stall]),
        args=("--detach",),
    )
    assert (result.status, result.text) == (0, "resp_\ufffd\n")


def test_a_polled_response_that_failed_is_a_failure_of_its_own_code() -> None:
    failed = json_of("failed", error={"code": "invalid_prompt", "message": "no"})
    result, requests = wired(json_of("queued"), failed)
    assert (result.status, lines(requests)) == (20, ["POST", "GET /resp_1"])


def test_a_cancelled_response_is_not_asked_for_again() -> None:
    result, requests = wired(json_of("queued"), json_of("cancelled"))
    assert (result.status, lines(requests)) == (42, ["POST", "GET /resp_1"])


def test_a_resumed_response_that_failed_is_never_asked_anew() -> None:
    failed = begun("failed", status="failed", error={"code": "server_error", "message": "no"})
    result, requests = wired(sse_response(sse(failed)), args=("--resume", "resp_1"))
    assert (result.status, lines(requests)) == (31, ["GET /resp_1?stream=true"])


@pytest.mark.parametrize("retry", [0, 2])
@pytest.mark.parametrize("format", ["text", "json"])
def test_a_response_that_came_as_queued_json_is_polled_and_never_asked_again(format: str, retry: int) -> None:
    with mock("background=queued,pace=0.02") as server:
        is_whole(run(server, "--background", "--format", format, retry=retry), format)
        assert asked(server)[0] == "POST /responses"
        assert set(asked(server)[1:]) == {"GET /responses/ID"}


# Ids


ODD_IDS = [
    "abc==",
    "resp/../x",
    "a b",
    "a?b#c&d",
    "a'b\"c$(d)`e`",
    "-n",
    "é北",
    "a\r\nX-Evil: 1\r\n\r\nGET /",
    "\x1b[31m",
]


@pytest.mark.parametrize("ident", ODD_IDS)
def test_any_id_that_detach_prints_can_be_resumed(ident: str) -> None:
    detached, _ = wired(stream_of("created", "in_progress", ident=ident), args=("--detach",))
    assert (detached.status, detached.text) == (0, f"{ident}\n")
    result, requests = wired(answered(), args=("--resume", ident))
    assert (result.status, result.text) == (0, f"{TEXT}\n")
    assert [request.path for request in requests] == [f"/v1/responses/{quote(ident, safe='')}?stream=true"]
    assert "x-evil" not in requests[0].headers


@pytest.mark.parametrize("ident", ODD_IDS)
def test_no_id_splits_a_request_or_forges_a_line(ident: str) -> None:
    forged = f"{ident}\noastream: all is well"
    result, requests = wired(
        stream_of("created", "in_progress", ident=forged), args=("--background", "--idle-timeout", "0.2"), retry=1
    )
    assert result.status == 41
    assert all(request.path.startswith(f"/v1/responses/{quote(forged, safe='')}") for request in requests[1:])
    assert len(requests) > 1
    assert len(result.err.splitlines()) <= 4
    assert "oastream: all is well" not in result.err.splitlines()
    assert "\x1b" not in result.err


def test_an_empty_id_is_a_usage_error() -> None:
    result = forked.oastream("--resume", "")
    assert result.status == 2


def test_a_response_that_is_not_there_is_not_recommended_again() -> None:
    result, _ = wired(
        http_response('{"error":{"message":"no such response"}}', "404 Not Found"), args=("--resume", "resp_x")
    )
    assert result.status == 23
    assert "oastream --resume" not in result.err
    assert "the server has no response resp_x" in result.err


# A server that ignores `background`


IGNORED = "oastream: the server ignores background: a stream that breaks off cannot be resumed"


def test_a_server_that_ignores_background_is_named_once() -> None:
    with mock("background=ignored") as server:
        result = run(server, "--background")
    assert (result.status, result.out, result.err) == (0, f"{TEXT}\n".encode(), f"{IGNORED}\n")


@pytest.mark.parametrize("args", [(), ("--hold",), ("--format", "json")], ids=["text", "hold", "json"])
def test_a_break_of_an_ignored_background_starts_afresh(args: tuple[str, ...]) -> None:
    place = 3 if not args else 6
    with mock(f"background=ignored,cut_events={place},cut=drop", "background=ignored") as server:
        result = run(server, "--background", *args)
    assert (result.status, asked(server)) == (0, ["POST /responses"] * 2)
    assert result.err == f"{IGNORED}\n"
    assert result.out.count(TEXT.encode()) == 1


def test_a_break_of_an_ignored_background_after_text_is_40() -> None:
    with mock("background=ignored,cut_events=half,cut=drop") as server:
        result = run(server, "--background")
    assert (result.status, result.out, len(server.requests)) == (40, b"one two", 1)
    assert "--resume" not in result.err


def test_sequence_numbers_of_an_ignored_background_are_not_looked_at() -> None:
    with mock("background=ignored,skip=1") as server:
        assert run(server, "--background").text == f"{TEXT}\n"


def test_sequence_numbers_of_the_foreground_are_not_looked_at() -> None:
    for fault in ("skip=1", "duplicate=0", "sequence=constant"):
        with mock(fault) as server:
            assert run(server).text == f"{TEXT}\n"
            assert len(server.requests) == 1


def test_detach_from_a_server_that_ignores_background_is_26() -> None:
    with mock("background=ignored") as server:
        result = run(server, "--detach")
    assert (result.status, result.out, len(server.requests)) == (26, b"", 1)
    assert "the server ignores background" in result.err


def test_sigint_cancels_nothing_at_a_server_that_ignores_background() -> None:
    with (
        mock(f"background=ignored,{FOR_EVER}") as server,
        start("--base-url", server.url, "--background", "hi") as process,
    ):
        assert process.stdout is not None
        process.stdout.read(3)
        process.send_signal(signal.SIGINT)
        assert finish(process, SOON).status == -signal.SIGINT
        assert asked(server) == ["POST /responses"]


# Streams that go on where nobody can tell


def test_a_replayed_stream_without_numbers_prints_nothing_twice() -> None:
    events = [{**event} for event in responses_events(message(TEXT))]
    events[0]["response"] = {**events[0]["response"], "background": True}
    unnumbered = [{key: value for key, value in event.items() if key != "sequence_number"} for event in events]
    result, requests = wired(sse_response(sse(events[:6])), sse_response(sse(unnumbered)), answered())
    is_whole(result, "text")
    assert lines(requests)[-1] == "GET /resp_1"


def garbled(place: int) -> Reply:
    """A stream with a delta that is a number and belongs to no item, before the event with this number."""
    events = responses_events(message(TEXT))
    events[0]["response"] = {**events[0]["response"], "background": True}
    wrong = {"type": "response.output_text.delta", "delta": 5, "sequence_number": place}
    return sse_response(sse([*events[:place], wrong]))


@pytest.mark.parametrize("args", [(), ("--hold",), ("--format", "json")], ids=["text", "hold", "json"])
def test_an_event_that_makes_no_sense_spoils_nothing_of_what_is_polled_then(args: tuple[str, ...]) -> None:
    result, requests = wired(garbled(3 if not args else 7), answered(), args=("--background", *args))
    is_whole(result, "json" if "json" in args else "text")
    assert lines(requests) == ["POST", "GET /resp_1"]


@pytest.mark.parametrize("hold", [(), ("--hold",)], ids=["direct", "held"])
def test_records_of_a_run_are_told_once_whatever_is_taken_back(hold: tuple[str, ...]) -> None:
    replies = (http_response("{}", "500 Oops"), garbled(0), answered())
    result, _ = wired(*replies, args=("--background", "--format", "ndjson", *hold))
    told = [record for record in result.records if record["type"] == "oastream:retry"]
    assert [record["attempt"] for record in told] == [1, 2]


def test_an_event_that_makes_no_sense_after_text_is_43() -> None:
    result, requests = wired(garbled(7), answered())
    assert (result.status, len(requests)) == (43, 1)
    assert TEXT.startswith(result.text)
    assert "oastream --resume resp_1" in result.err


def test_a_new_question_begins_with_numbers_of_its_own() -> None:
    ping = sse_response(sse([{"type": "keepalive", "sequence_number": at} for at in range(30)]))
    events = responses_events(message(TEXT))
    events[0]["response"] = {**events[0]["response"], "background": True}
    result, requests = wired(ping, sse_response(sse(events)))
    is_whole(result, "text")
    assert lines(requests) == ["POST", "POST"]


NOTICED_BEFORE_A_WAIT = """
import os, signal, time
from oastream.exits import Failure
from oastream.watch import READ, Watch

watch = Watch()
watch.catch_signals()
os.kill(os.getpid(), signal.SIGTERM)
try:
    watch.wait_for(os.pipe()[0], READ)
except Failure:
    watch.acknowledge_signal()
began = time.monotonic()
watch.wait_for(os.pipe()[0], READ, began + 0.3)
assert time.monotonic() - began > 0.25, "the wait ended at once"
"""


def test_a_signal_that_was_heeded_ends_no_later_wait() -> None:
    """One that came between two waits left its byte in the pipe, and the cancel was given up before it was sent."""
    result = run_python(NOTICED_BEFORE_A_WAIT)
    assert (result.status, result.err) == (0, "")
