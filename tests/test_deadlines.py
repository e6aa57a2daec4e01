"""Every wait has a deadline, the message names it; and a whole answer waits for nothing."""

from __future__ import annotations

import math
import socket
import time

import pytest

from oastream.attempts.deadlines import Deadlines
from oastream.cli.parse import parse
from tests.support.program import Result, oastream
from tests.support.streams import (
    chat_body,
    chat_chunks,
    chat_start,
    message,
    responses_body,
    responses_events,
    responses_start,
    sse,
)
from tests.support.wire import (
    Reply,
    Step,
    chunk,
    forever,
    head,
    send,
    serve,
    sleep,
    sse_response,
    stall,
    stall_after,
)

COMMENTS = forever(chunk(b": still here\n\n"), pause=0.05)
CREATED = sse(responses_events()[:1])


def run(reply: Reply, *args: str) -> Result:
    with serve(reply) as server:
        result = oastream("--base-url", server.url, "--retry", "0", *args, "hi")
        assert server.request.closed.wait(10), "the connection was left open"
    return result


def timed_out(result: Result, status: int, option: str, out: bytes = b"") -> None:
    assert (result.status, result.out) == (status, out)
    assert option.removeprefix("--") in result.err, "the message names the deadline"
    assert result.seconds < 8


@pytest.mark.parametrize(
    "reply",
    [[stall], stall_after(b""), [send(head("chunked")), COMMENTS], stall_after(b"data: {")],
    ids=["no-head", "no-event", "comments", "half-an-event"],
)
@pytest.mark.parametrize("option", ["--first-event-timeout", "--max-time"])
def test_no_first_event_exits_33(reply: list[Step], option: str) -> None:
    timed_out(run(reply, option, "0.5"), 33, option)


def test_silence_after_the_first_event_exits_41() -> None:
    timed_out(run(stall_after(responses_start("Hello")), "--idle-timeout", "0.3"), 41, "--idle-timeout", b"Hello")


def test_silence_before_any_text_exits_41_too() -> None:
    timed_out(run(stall_after(CREATED), "--idle-timeout", "0.3"), 41, "--idle-timeout")


def test_a_half_sent_event_is_no_sign_of_life() -> None:
    drip = forever(chunk(b"x"), pause=0.05)
    reply = sse_response(responses_start("Hello") + b'data: {"x":"', ending=[drip])
    timed_out(run(reply, "--idle-timeout", "0.5"), 41, "--idle-timeout", b"Hello")


def test_a_comment_is_a_sign_of_life() -> None:
    start, rest = (
        responses_start("Hello"),
        responses_body(message("Hello"), piece=1000)[len(responses_start("Hello")) :],
    )
    comments = [step for _ in range(12) for step in (send(chunk(b": x\n\n")), sleep(0.1))]
    result = run(sse_response(start, ending=[*comments, send(chunk(rest) + b"0\r\n\r\n")]), "--idle-timeout", "0.8")
    assert (result.status, result.out) == (0, b"Hello\n")


def test_max_time_after_output_exits_44() -> None:
    reply = sse_response(responses_start("Hello"), ending=[COMMENTS])
    timed_out(run(reply, "--max-time", "1.5"), 44, "--max-time", b"Hello")


def test_max_time_after_the_first_event_and_before_output_exits_33() -> None:
    timed_out(run(stall_after(CREATED), "--max-time", "1"), 33, "--max-time")


@pytest.mark.parametrize("format", ["json", "tools"])
def test_output_that_is_held_has_begun_all_the_same(format: str) -> None:
    timed_out(run(stall_after(responses_start("Hello")), "--max-time", "1.5", "--format", format), 44, "--max-time")


def test_connecting_has_a_deadline_that_covers_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and says nothing
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        result = oastream("--base-url", url, "--retry", "0", "--connect-timeout", "0.4", "hi")
    timed_out(result, 33, "--connect-timeout")


def test_connecting_has_a_deadline_that_covers_tcp() -> None:
    """A full backlog drops what knocks."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        knocking = [socket.socket() for _ in range(4)]
        try:
            for knock in knocking:
                knock.setblocking(False)
                knock.connect_ex(("127.0.0.1", port))
            url = f"http://127.0.0.1:{port}/v1"
            result = oastream("--base-url", url, "--retry", "0", "--connect-timeout", "0.4", "hi")
        finally:
            for knock in knocking:
                knock.close()
    timed_out(result, 33, "--connect-timeout")


def test_max_time_that_ends_connecting_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and says nothing
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        result = oastream("--base-url", url, "--retry", "0", "--max-time", "0.5", "hi")
    timed_out(result, 33, "--max-time")
    assert "connect-timeout" not in result.err


@pytest.mark.parametrize(
    ("option", "reply", "status"),
    [
        ("--first-event-timeout", stall_after(b""), 33),
        ("--idle-timeout", stall_after(responses_start("Hello")), 41),
        ("--max-time", stall_after(responses_start("Hello")), 44),
    ],
)
def test_each_message_names_its_deadline_and_no_other(option: str, reply: Reply, status: int) -> None:
    names = {"--connect-timeout": "9.5", "--first-event-timeout": "8.5", "--idle-timeout": "7.5", "--max-time": "6.5"}
    names[option] = "1.5"
    result = run(reply, *(word for pair in names.items() for word in pair))
    assert result.status == status
    assert f"{option} 1.5 s" in result.err
    assert [name for name in names if name in result.err] == [option]


# The moments themselves, by a clock that is handed in


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def deadlines(clock: Clock, *words: str) -> Deadlines:
    return Deadlines(parse([*words, "hi"]), clock, clock.now)


def test_each_deadline_counts_from_now_and_none_is_later_than_max_time() -> None:
    clock = Clock()
    limits = ("--connect-timeout", "1", "--first-event-timeout", "20", "--idle-timeout", "3", "--max-time", "60")
    made = deadlines(clock, *limits)
    for passed in (0, 7, 50, 58.5, 59.5, 61):
        clock.now = 1000.0 + passed
        expected = [min(clock.now + seconds, 1060.0) for seconds in (1, 20, 3)]
        assert [made.connect(), made.first_event(), made.after(made.limits.idle)] == expected
        assert made.run_passed == (passed > 60)


def test_a_limit_of_0_is_none() -> None:
    limits = ("--connect-timeout", "0", "--first-event-timeout", "0", "--idle-timeout", "0", "--retry-max-time", "0")
    made = deadlines(Clock(), *limits)
    assert {made.connect(), made.first_event(), made.after(made.limits.idle), made.retries(), made.run} == {math.inf}
    assert not made.run_passed


@pytest.mark.parametrize("seconds", ["1e10", "1e308"])
def test_a_limit_beyond_what_the_system_counts_is_a_limit(seconds: str) -> None:
    names = ("connect-timeout", "first-event-timeout", "idle-timeout", "max-time", "retry-max-time", "retry-delay")
    limits = [word for name in names for word in (f"--{name}", seconds)]
    with serve(sse_response(responses_body(message("Hello")))) as server:
        result = oastream("--base-url", server.url, *limits, "hi")
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


def test_the_defaults_are_the_contracts() -> None:
    made = deadlines(Clock())
    moments = (made.connect(), made.first_event(), made.after(made.limits.idle), made.retries(), made.run)
    assert moments == (1010.0, 1600.0, 1120.0, 1120.0, math.inf)


# A whole answer waits for nothing


def ends_at_once(reply: Reply, *args: str) -> Result:
    """Less than the 2 s that usage may take, the start of the process included."""
    result = run(reply, *args)
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
    assert result.seconds < 1.9
    return result


def test_the_terminal_event_ends_the_run_although_the_socket_stays_open() -> None:
    ends_at_once(stall_after(responses_body(message("Hello"))))


def test_done_ends_the_run_although_the_socket_stays_open() -> None:
    ends_at_once(stall_after(chat_body("Hello")), "--api", "chat")


def test_a_finish_reason_waits_for_usage_for_two_seconds_at_most() -> None:
    reply = stall_after(sse(chat_chunks("Hello", usage=None)))
    began = time.monotonic()
    result = run(reply, "--api", "chat")
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
    assert time.monotonic() - began < 6


def test_usage_that_comes_late_is_still_taken() -> None:
    chunks = chat_chunks("Hello")
    first, last = sse(chunks[:-1]), sse(chunks[-1:], done=True)
    reply = sse_response(first, ending=[sleep(0.5), send(chunk(last)), stall])
    result = run(reply, "--api", "chat", "--format", "ndjson")
    assert result.status == 0
    assert result.end["usage"]["total_tokens"] == 12


def test_comments_after_a_finish_reason_do_not_keep_the_run_alive() -> None:
    reply = sse_response(sse(chat_chunks("Hello", usage=None)), ending=[COMMENTS])
    result = run(reply, "--api", "chat")
    assert (result.status, result.out) == (0, b"Hello\n")
    assert result.seconds < 6


def test_an_error_body_without_end_is_not_read_to_its_end() -> None:
    result = run([send(b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\n\r\n"), forever(b"x" * 65536)])
    assert result.status == 21
    assert result.seconds < 8
    assert len(result.err) < 10_000


def test_an_error_body_that_stalls_is_read_for_five_seconds() -> None:
    result = run([send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 99\r\n\r\nwrong key"), stall])
    assert result.status == 21
    assert result.seconds < 10


def test_an_idle_chat_exits_41() -> None:
    timed_out(
        run(stall_after(chat_start("Hello")), "--api", "chat", "--idle-timeout", "0.3"),
        41,
        "--idle-timeout",
        b"Hello",
    )
