"""Stdout and stderr, whole, slow, full, closed, or with nobody reading."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oastream.output.formats import FORMATS
from tests.support.program import ROOT, Environment, Result, finish, oastream, start
from tests.support.streams import (
    Event,
    call,
    dumps,
    is_ending,
    message,
    reasoning,
    response_object,
    responses_body,
    responses_events,
    responses_start,
    sse,
)
from tests.support.streams import chunk as stream_chunk
from tests.support.terminal import Terminal
from tests.support.waiting import SOON
from tests.support.wire import (
    Server,
    Step,
    chunk,
    forever,
    head,
    http_response,
    mark,
    send,
    serve,
    sse_response,
    stall,
    stall_after,
    wait,
)

HELLO = sse_response(responses_body(message("Hello")))
UNAUTHORIZED = http_response('{"error":{"message":"bad key"}}', "401 Unauthorized")


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(HELLO) as running:
        yield running


def run(server: Server, *args: str, shell: str) -> Result:
    return oastream("--base-url", server.url, *args, "hi", shell=shell)


# The reader has gone


def in_time(process: subprocess.Popen[bytes], limit: float = 2.0) -> float:
    """How long the program lives on after this."""
    began = time.monotonic()
    process.wait(SOON)
    seconds = time.monotonic() - began
    assert seconds < limit, f"still there after {seconds:.1f} s"
    return seconds


def died_silently(process: subprocess.Popen[bytes]) -> None:
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


SIGPIPE_DISPOSITIONS = pytest.mark.parametrize(
    "shell", ['exec "$@"', 'trap "" PIPE; exec "$@"'], ids=["default", "ignored"]
)


@SIGPIPE_DISPOSITIONS
def test_a_closed_pipe_ends_the_request_while_no_token_flows(shell: str) -> None:
    with (
        serve(stall_after(responses_start("Hello"))) as server,
        start("--base-url", server.url, "hi", shell=shell) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(5) == b"Hello"
        began = time.monotonic()
        process.stdout.close()
        in_time(process)
        assert server.request.closed.wait(SOON)
        assert server.request.closed_at is not None
        assert server.request.closed_at - began < 2
        died_silently(process)


@SIGPIPE_DISPOSITIONS
def test_a_closed_pipe_ends_the_request_while_tokens_flow(shell: str) -> None:
    delta = sse(event for event in responses_events(message("more ")) if "delta" in event)
    endless = sse_response(responses_start("Hello"), framing="close", ending=[forever(delta, pause=0.01)])
    with serve(endless) as server, start("--base-url", server.url, "hi", shell=shell) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"Hello"
        process.stdout.close()
        in_time(process)
        assert server.request.closed.wait(SOON)
        died_silently(process)


def waits() -> dict[str, list[Step]]:
    """Servers that keep the client waiting; the event they set is put in front of the wait by the test."""
    limited = http_response(b"{}", "429 Too Many Requests", headers={"Retry-After": "20"})
    return {
        "for-headers": [],
        "for-the-first-event": [send(head("chunked"))],
        "for-a-retry": [send(limited)],
        "for-the-error-body": [send(b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\nx")],
    }


@pytest.mark.parametrize("name", list(waits()))
def test_a_closed_pipe_ends_the_request_in_every_wait(name: str) -> None:
    asked = threading.Event()
    with (
        serve([*waits()[name], mark(asked), stall]) as server,
        start("--base-url", server.url, "hi") as process,
    ):
        assert process.stdout is not None
        assert asked.wait(SOON)
        process.stdout.close()
        in_time(process)
        assert server.request.closed.wait(SOON)
        died_silently(process)
        assert len(server.requests) == 1


@pytest.mark.parametrize("args", [["--format", "json"], ["--format", "tools"], ["--hold"]], ids=" ".join)
def test_a_closed_pipe_ends_the_request_also_when_output_is_held(args: list[str]) -> None:
    asked = threading.Event()
    reply = sse_response(responses_start("Hello"), ending=[mark(asked), stall])
    with serve(reply) as server, start("--base-url", server.url, *args, "hi") as process:
        assert process.stdout is not None
        assert asked.wait(SOON)
        process.stdout.close()
        in_time(process)
        assert server.request.closed.wait(SOON)
        died_silently(process)


def test_a_pipe_without_reader_from_the_start_is_a_silent_death(server: Server) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        result = oastream("--base-url", server.url, "hi", stdout=write_end)
    finally:
        os.close(write_end)
    assert (result.status, result.err) == (-signal.SIGPIPE, "")


def test_head_takes_what_it_wants(server: Server) -> None:
    result = run(server, shell='"$@" | head -c 3')
    assert (result.status, result.out, result.err) == (0, b"Hel", "")


# Full and closed


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_exits_9(format: str) -> None:
    body = responses_body(message("Hello"), call("now", "{}"))
    with serve(sse_response(body)) as server:
        result = run(server, "--format", format, shell='exec "$@" >/dev/full')
    assert result.status == 9
    assert result.message


def test_a_full_disk_ends_the_request_at_once() -> None:
    with serve(stall_after(responses_start("Hello"))) as server:
        result = run(server, shell='exec "$@" >/dev/full')
        assert server.request.closed.wait(SOON)
    assert result.status == 9
    assert result.message


def test_a_stdout_that_is_open_for_reading_only_exits_9(server: Server) -> None:
    result = run(server, shell='exec "$@" 1</dev/null')
    assert result.status == 9
    assert result.message


@pytest.mark.parametrize("redirection", [">&-", "<&- >&-"])
def test_a_closed_stdout_exits_9_and_nothing_is_sent(server: Server, redirection: str) -> None:
    result = run(server, shell=f'exec "$@" {redirection}')
    assert result.status == 9
    assert result.message
    assert server.connections == 0


def test_nothing_open_at_all_exits_9(server: Server) -> None:
    assert run(server, shell='exec "$@" <&- >&- 2>&-').status == 9
    assert server.connections == 0


def test_a_full_disk_outranks_other_statuses() -> None:
    with serve(UNAUTHORIZED) as server:
        assert run(server, "--format", "ndjson", shell='exec "$@" >/dev/full').status == 9


def test_an_error_with_nothing_to_write_keeps_its_status() -> None:
    with serve(UNAUTHORIZED) as server:
        assert run(server, shell='exec "$@" >/dev/full').status == 21


@pytest.mark.parametrize("option", ["--help", "--version", "--dry-run"])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_words_that_cannot_be_printed_exit_9(option: str, redirection: str) -> None:
    result = oastream(option, "hi", shell=f'exec "$@" {redirection}')
    assert result.status == 9
    assert result.message


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_words_on_stdout(option: str) -> None:
    result = oastream(option, env={"OPENAI_API_KEY": None})
    assert (result.status, result.err) == (0, "")
    assert result.text.endswith("\n")
    assert "oastream" in result.text.splitlines()[0]


def test_help_into_a_closed_pipe_is_a_silent_death() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        result = oastream("--help", stdout=write_end)
    finally:
        os.close(write_end)
    assert (result.status, result.err) == (-signal.SIGPIPE, "")


# stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2</dev/null"])
def test_a_stderr_that_cannot_be_written_changes_nothing(server: Server, redirection: str) -> None:
    result = run(server, "--stats", shell=f'exec "$@" {redirection}')
    assert (result.status, result.out) == (0, b"Hello\n")
    with serve(UNAUTHORIZED) as refusing:
        result = run(refusing, shell=f'exec "$@" {redirection}')
    assert (result.status, result.out) == (21, b""), "a message may not go to stdout"


def test_a_stderr_without_reader_changes_nothing() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        with serve(UNAUTHORIZED) as server:
            result = oastream("--base-url", server.url, "hi", stderr=write_end)
    finally:
        os.close(write_end)
    assert (result.status, result.out) == (21, b"")


# Nobody reads


HUGE = 300_000
"""More than a pipe or a socket holds."""
KINDS = ["pipe", "terminal", "socket", "other-users-pipe"]


@contextlib.contextmanager
def unread(kind: str) -> Iterator[tuple[int, int, Environment]]:
    """Two ends of something that nobody reads, and the environment that a run needs to meet it so."""
    env: Environment = {}
    if kind == "terminal":
        ours, theirs = os.openpty()
    elif kind == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        ours, theirs = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        if kind == "other-users-pipe":  # which cannot be opened a second time
            path = f"{ROOT / 'tests' / 'failing'}:{ROOT}"
            env = {"PYTHONPATH": path, "FAIL": "open:1:always:EACCES", "FAIL_LOG": f"{folder}/log"}
        try:
            yield ours, theirs, env
        finally:
            os.close(ours)
            os.close(theirs)


def huge() -> Any:
    return serve(sse_response(responses_body(message("x" * HUGE), piece=HUGE)))


def huge_reasoning() -> Any:
    body = responses_body(reasoning("x" * HUGE), message("Hello"), piece=HUGE)
    return serve(sse_response(body))


FORMS = {"text": [], "ndjson": ["--format", "ndjson"], "json": ["--format", "json"], "held": ["--hold"]}
blocked_forms = pytest.mark.parametrize(
    ("kind", "args"),
    [*((kind, FORMS["text"]) for kind in KINDS), *(("pipe", args) for args in list(FORMS.values())[1:])],
)


@blocked_forms
def test_max_time_holds_while_stdout_blocks(kind: str, args: list[str]) -> None:
    with huge() as server, unread(kind) as (_ours, theirs, env):
        result = oastream("--base-url", server.url, "--max-time", "1", *args, "hi", stdout=theirs, env=env)
    assert (result.status, result.err) == (44, "oastream: the answer broke off: --max-time 1 s passed\n")
    assert result.seconds < 5


def until_full(fd: int) -> None:
    """Wait until something was written here that nobody reads."""
    assert select.select([fd], [], [], SOON)[0]
    time.sleep(0.05)


@blocked_forms
def test_a_signal_ends_a_run_whose_stdout_blocks(kind: str, args: list[str]) -> None:
    with (
        huge() as server,
        unread(kind) as (ours, theirs, env),
        start("--base-url", server.url, *args, "hi", stdout=theirs, env=env) as process,
    ):
        until_full(ours)
        process.send_signal(signal.SIGTERM)
        in_time(process, 5)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("kind", ["pipe", "socket", "other-users-pipe"])
def test_a_line_that_a_signal_interrupts_is_written_to_its_end(kind: str) -> None:
    """Who begins to read in the moment that is left for last words gets whole lines, and the end record last."""
    with (
        huge() as server,
        unread(kind) as (ours, theirs, env),
        start("--base-url", server.url, "--format", "ndjson", "hi", stdout=theirs, env=env) as process,
    ):
        until_full(ours)
        process.send_signal(signal.SIGTERM)
        written = b""
        while b'"oastream:end"' not in written or not written.endswith(b"\n"):
            assert select.select([ours], [], [], SOON)[0], f"no end record after {written[-200:]!r}"
            written += os.read(ours, 1 << 16)
        in_time(process, 5)
    records = [json.loads(line) for line in written.splitlines()]
    assert process.returncode == -signal.SIGTERM
    assert max(len(record.get("delta", "")) for record in records) == HUGE
    assert (records[-1]["type"], records[-1]["exit"]) == ("oastream:end", 143)


@pytest.mark.parametrize("kind", KINDS)
def test_max_time_holds_while_stderr_blocks(kind: str) -> None:
    with huge_reasoning() as server, unread(kind) as (_ours, theirs, env):
        args = ("--base-url", server.url, "--reasoning", "--max-time", "1")
        result = oastream(*args, "hi", stderr=theirs, env=env)
    assert result.status in (33, 44)
    assert result.seconds < 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_ends_a_run_whose_stderr_blocks(kind: str) -> None:
    with (
        huge_reasoning() as server,
        unread(kind) as (ours, theirs, env),
        start("--base-url", server.url, "--reasoning", "hi", stderr=theirs, env=env) as process,
    ):
        until_full(ours)
        process.send_signal(signal.SIGINT)
        in_time(process, 5)
    assert process.returncode == -signal.SIGINT


def reasoning_at_the_end() -> Any:
    """Nothing is read from the server after it, so that no wait for the server follows the one for stderr."""
    chunks = [stream_chunk({"reasoning_content": "x" * HUGE}), stream_chunk({}, "stop")]
    return serve(sse_response(sse(chunks, done=True)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reply", [huge_reasoning, reasoning_at_the_end])
def test_a_reader_that_goes_ends_a_run_whose_stderr_blocks(kind: str, reply: Callable[[], Any]) -> None:
    api = "chat" if reply is reasoning_at_the_end else "responses"
    with (
        reply() as server,
        unread(kind) as (ours, theirs, env),
        start("--base-url", server.url, "--api", api, "--reasoning", "hi", stderr=theirs, env=env) as process,
    ):
        until_full(ours)
        assert process.stdout is not None
        process.stdout.close()
        in_time(process, 5)
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_first_signal_is_what_a_run_dies_of_whose_last_words_nobody_reads(number: signal.Signals) -> None:
    """Both streams block: what is left to say has a second, and no more."""
    body = responses_body(message("x" * HUGE), reasoning("y" * HUGE), piece=HUGE)
    with (
        serve(sse_response(body)) as server,
        unread("pipe") as (ours, theirs, _env),
        start("--base-url", server.url, "--format", "ndjson", "--stats", "-v", "hi", stdout=theirs) as process,
    ):
        until_full(ours)
        process.send_signal(number)
        in_time(process, 5)
    assert process.returncode == -number


def test_a_second_signal_ends_the_last_words_at_once() -> None:
    """Another one than the first: a second of the same kind kills as if nothing caught it."""
    with (
        huge() as server,
        unread("pipe") as (ours, theirs, _env),
        start("--base-url", server.url, "--format", "ndjson", "hi", stdout=theirs) as process,
    ):
        until_full(ours)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGHUP)
        in_time(process, 5)
    assert process.returncode in (-signal.SIGTERM, -signal.SIGHUP)


def test_max_time_holds_while_a_fifo_blocks(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with huge() as server:
            result = oastream("--base-url", server.url, "--max-time", "1", "-o", str(fifo), "hi")
    finally:
        os.close(reader)
    assert (result.status, result.out) == (44, b"")
    assert result.seconds < 5


def test_a_pipe_that_others_fill_too_does_not_block_the_run() -> None:
    """Where several write, room that poll has seen may be gone: each must still heed its deadline."""
    with huge() as server, unread("pipe") as (_ours, theirs, _env), contextlib.ExitStack() as stack:
        args = ("--base-url", server.url, "--max-time", "1.5", "hi")
        runs = [stack.enter_context(start(*args, stdout=theirs)) for _ in range(4)]
        assert [run.wait(SOON) for run in runs] == [44] * 4


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
def test_what_the_shell_opened_keeps_its_flags(kind: str) -> None:
    """They belong to every process that has it: with O_NONBLOCK the next one would meet EAGAIN."""
    with (
        huge() as server,
        unread(kind) as (ours, theirs, _env),
        start("--base-url", server.url, "hi", stdout=theirs, stderr=theirs) as process,
    ):
        before = fcntl.fcntl(theirs, fcntl.F_GETFL)
        until_full(ours)
        assert fcntl.fcntl(theirs, fcntl.F_GETFL) == before
        process.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_reader_gets_a_huge_delta_whole(kind: str) -> None:
    with (
        huge() as server,
        unread(kind) as (ours, theirs, env),
        start("--base-url", server.url, "hi", stdout=theirs, env=env) as process,
    ):
        until_full(ours)
        out = b""
        while out.count(b"x") < HUGE:
            assert select.select([ours], [], [], SOON)[0], f"no more after {len(out)} bytes"
            out += os.read(ours, 1000 + len(out) // 50)
        assert finish(process).status == 0
        if select.select([ours], [], [], 0)[0]:  # else the newline came with the rest
            out += os.read(ours, 1000)
    assert out.replace(b"\r\n", b"\n") == b"x" * HUGE + b"\n"


def test_the_other_end_of_a_terminal_gets_every_byte(server: Server, terminal: Terminal) -> None:
    """To open that a second time would make another terminal."""
    tty.setraw(terminal.theirs)
    result = oastream("--base-url", server.url, "hi", stdout=terminal.ours)
    assert result.status == 0
    assert select.select([terminal.theirs], [], [], SOON)[0]
    assert os.read(terminal.theirs, 100) == b"Hello\n"


def short_events() -> list[Event]:
    """A long answer of which no event is long."""
    events = [event for event in responses_events(message("Hello, world. " * 200), piece=3) if not is_ending(event)]
    return [*events, {"type": "response.completed", "response": response_object(output=[])}]


@pytest.mark.parametrize("kind", ["pipe", "other-users-pipe"])
def test_lines_of_several_runs_into_one_pipe_are_whole(kind: str) -> None:
    """A line that fits into PIPE_BUF is one write, and so one piece, however many come at once."""
    events = short_events()
    with (
        serve(sse_response(sse(events))) as server,
        unread(kind) as (ours, theirs, env),
        contextlib.ExitStack() as stack,
    ):
        args = ("--base-url", server.url, "--format", "ndjson", "hi")
        runs = [stack.enter_context(start(*args, stdout=theirs, env=env)) for _ in range(3)]
        out = bytearray()
        while select.select([ours], [], [], 0.05)[0] or any(run.poll() is None for run in runs):
            if select.select([ours], [], [], 0)[0]:
                out += os.read(ours, 2000)
    lines = bytes(out).splitlines()
    assert len(lines) == 3 * (len(events) + 1)
    assert [json.loads(line)["type"] for line in lines].count("oastream:end") == 3


# The line that shows what is waited for


def test_a_wait_is_shown_on_a_terminal_and_gone_when_text_comes(terminal: Terminal) -> None:
    go_on = threading.Event()
    with (
        serve([wait(go_on), *HELLO]) as server,
        start("--base-url", server.url, "hi", stderr=terminal.theirs, env={"TERM": "xterm"}) as process,
    ):
        terminal.read_until(b" 1 s")
        go_on.set()
        result = finish(process)
    screen = terminal.read_rest()
    assert (result.status, result.out) == (0, b"Hello\n")
    assert screen.startswith(b"\r\x1b[Kwaiting")
    assert screen.endswith(b"\r\x1b[K"), "nothing of it stays"
    assert b"\n" not in screen


def test_a_wait_is_not_shown_in_place_of_reasoning_that_goes_on(terminal: Terminal) -> None:
    events = responses_events(reasoning("Hm, let me"), piece=20)
    begun = sse([event for event in events if not event["type"].endswith(("done", "completed"))])
    with serve(stall_after(begun)) as server:
        args = ("--base-url", server.url, "--reasoning", "--idle-timeout", "1.6", "--retry", "0", "hi")
        with start(*args, stderr=terminal.theirs, env={"TERM": "xterm"}) as process:
            assert finish(process).status == 41
    assert b"\x1b[K" not in terminal.read_rest().partition(b"Hm, let me")[2]


# stdout and stderr are one file


BOTH = pytest.mark.parametrize("redirection", ["2>&1 | cat", ">both 2>&1; cat both", ">>both 2>>both; cat both"])


@BOTH
def test_a_message_does_not_run_on_in_a_line_of_the_answer(tmp_path: Path, redirection: str) -> None:
    with serve(sse_response(responses_start("Hello"))) as server:
        args = ("--base-url", server.url, "--retry", "0", "hi")
        result = oastream(*args, shell=f'"$@" {redirection}', cwd=tmp_path)
    assert result.text == "Hello\noastream: the answer broke off: it ended without a terminal event\n"


@BOTH
def test_reasoning_does_not_run_on_in_a_line_of_the_answer(tmp_path: Path, redirection: str) -> None:
    body = responses_body(message("Hello"), reasoning("hm"), message(" again"))
    with serve(sse_response(body)) as server:
        result = oastream("--base-url", server.url, "--reasoning", "hi", shell=f'"$@" {redirection}', cwd=tmp_path)
    assert result.text == "Hello\nhm\n again\n"


def test_a_whole_line_is_not_followed_by_an_empty_one(server: Server) -> None:
    lines = run(server, "--stats", shell='"$@" 2>&1').text.splitlines()
    assert (lines[0], len(lines)) == ("Hello", 2)


def test_a_message_in_a_file_of_its_own_has_no_empty_line_before_it() -> None:
    with serve(sse_response(responses_start("Hello"))) as server:
        assert run(server, "--retry", "0", shell='exec "$@"').err.startswith("oastream: ")


# Slow, exact, at once

LONG = "".join(f"{number} … \U0001f600\n" for number in range(60_000))


@contextlib.contextmanager
def long_answer() -> Iterator[tuple[Server, bytes]]:
    with serve(sse_response(responses_body(message(LONG), piece=500), pieces=70_000)) as server:
        yield server, LONG.encode()


def test_a_slow_reader_gets_every_byte_and_no_idle_timeout() -> None:
    with long_answer() as (server, expected), start("--base-url", server.url, "--idle-timeout", "0.5", "hi") as process:
        assert process.stdout is not None
        first = process.stdout.read(1000)
        time.sleep(1.2)  # longer than the idle timeout: stdout is full, and the clock stands still
        result = finish(process)
    assert (result.status, result.err) == (0, "")
    assert first + result.out == expected


def test_a_non_blocking_stdout_gets_every_byte() -> None:
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETFL, fcntl.fcntl(write_end, fcntl.F_GETFL) | os.O_NONBLOCK)
    with long_answer() as (server, expected), start("--base-url", server.url, "hi", stdout=write_end) as process:
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            first = pipe.read(1)
            time.sleep(0.2)  # until the pipe is full
            out = first + pipe.read()
        result = finish(process)
    assert (result.status, result.err) == (0, "")
    assert out == expected


def delta_events() -> list[Event]:
    return responses_events(message("abcdefgh"), piece=2)


@pytest.mark.parametrize("format", ["text", "ndjson", "sse"])
def test_each_event_is_on_stdout_before_the_next_is_sent(format: str) -> None:
    events = delta_events()
    seen = [threading.Event() for _ in events]
    steps: list[Step] = [send(head("chunked"))]
    for event, gate in zip(events, seen, strict=True):
        steps += [send(chunk(sse([event])))] + ([wait(gate)] if "delta" in event else [])
    with (
        serve([*steps, send(b"0\r\n\r\n")]) as server,
        start("--base-url", server.url, "--format", format, "hi") as process,
    ):
        assert process.stdout is not None
        out = b""
        for event, gate in zip(events, seen, strict=True):
            marker = shown(event, format)
            while "delta" in event and marker not in out:
                piece = os.read(process.stdout.fileno(), 65536)
                assert piece, f"stdout ended after {out!r}"
                out += piece
            gate.set()
        assert finish(process).status == 0


def shown(event: Event, format: str) -> bytes:
    return str(event.get("delta", "")).encode() if format == "text" else f'"delta":"{event.get("delta")}"'.encode()


def test_a_line_of_ndjson_is_one_write() -> None:
    """A socket that keeps the borders of what is written shows them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, serve(sse_response(responses_body(message("Hello " * 2000), piece=300))) as server:
        ours.settimeout(SOON)
        with start("--base-url", server.url, "--format", "ndjson", "hi", stdout=theirs.fileno()) as process:
            theirs.close()
            writes = []
            while packet := ours.recv(1 << 20):
                writes.append(packet)
            assert finish(process).status == 0
    assert all(packet.endswith(b"\n") for packet in writes), "a write ends in the middle of a line"


def test_stats_are_one_line_on_stderr(server: Server) -> None:
    result = run(server, "--stats", shell='exec "$@"')
    assert (result.status, result.out) == (0, b"Hello\n")
    assert len(result.err.splitlines()) == 1
    assert "7" in result.err, "the tokens"


def test_stats_may_be_json(server: Server) -> None:
    result = run(server, "--stats=json", shell='exec "$@"')
    assert (result.status, result.out) == (0, b"Hello\n")
    stats: Any = json.loads(result.err)
    assert isinstance(stats, dict)
    assert dumps(stats)
