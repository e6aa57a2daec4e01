"""Oastream dies of its signals, as a shell expects, and keeps what it has printed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import pytest

from tests.support.program import finish, run, start
from tests.support.streams import message, responses_body, responses_events, responses_start, sse
from tests.support.waiting import SOON
from tests.support.wire import forever, http_response, mark, send, serve, sse_response, stall, stall_after, wait

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

each_signal = pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)


def read(process: subprocess.Popen[bytes], size: int) -> bytes:
    """Exactly so many bytes of stdout."""
    assert process.stdout is not None
    data = b""
    while len(data) < size:
        piece = os.read(process.stdout.fileno(), size - len(data))
        assert piece, f"stdout ended after {data!r}"
        data += piece
    return data


@each_signal
def test_a_signal_kills_and_partial_text_stays(number: signal.Signals) -> None:
    with serve(stall_after(responses_start("Hello"))) as server, start("--base-url", server.url, "hi") as process:
        assert read(process, 5) == b"Hello"
        process.send_signal(number)
        result = finish(process, SOON)
        assert server.request.closed.wait(SOON)
    assert result.status == -number
    assert result.out == b""


@each_signal
def test_a_signal_kills_before_the_first_byte(number: signal.Signals) -> None:
    asked = threading.Event()
    with serve([mark(asked), stall]) as server, start("--base-url", server.url, "hi") as process:
        assert asked.wait(SOON)
        process.send_signal(number)
        result = finish(process, SOON)
        assert server.request.closed.wait(SOON)
    assert (result.status, result.out) == (-number, b"")


@each_signal
def test_a_signal_kills_while_stdin_is_read(number: signal.Signals) -> None:
    with start("--base-url", "http://127.0.0.1:1/v1", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stderr.readline()  # it says that it waits for stdin
        process.send_signal(number)
        process.wait(SOON)
        assert process.returncode == -number


def test_a_signal_kills_between_two_tries() -> None:
    asked = threading.Event()
    limited = http_response(b"{}", "429 Too Many Requests", headers={"Retry-After": "20"})
    with serve([send(limited), mark(asked), stall]) as server, start("--base-url", server.url, "hi") as process:
        assert asked.wait(SOON)
        process.send_signal(signal.SIGINT)
        assert finish(process, SOON).status == -signal.SIGINT
        assert len(server.requests) == 1


def test_a_signal_kills_while_stdout_is_full() -> None:
    text = sse(event for event in responses_events(message("x" * 60_000)) if "delta" in event)
    flood = sse_response(responses_start("Hello"), framing="close", ending=[forever(text)])
    with serve(flood) as server, start("--base-url", server.url, "hi") as process:
        read(process, 5)
        process.send_signal(signal.SIGTERM)
        process.wait(SOON)
        assert process.returncode == -signal.SIGTERM


@each_signal
def test_the_end_record_names_the_signal(number: signal.Signals) -> None:
    with (
        serve(stall_after(responses_start("Hello"))) as server,
        start("--base-url", server.url, "--format", "ndjson", "hi") as process,
    ):
        assert process.stdout is not None
        assert any(b"Hello" in line for line in iter(process.stdout.readline, b""))
        process.send_signal(number)
        result = finish(process, SOON)
    assert result.status == -number
    assert (result.end["exit"], result.end["outcome"]) == (128 + number, "signal")


@each_signal
def test_a_signal_that_was_ignored_stays_ignored(number: signal.Signals) -> None:
    go_on = threading.Event()
    body = responses_body(message("Hello"), piece=1000)
    cut = len(responses_start("Hello"))
    reply = sse_response(body[:cut], framing="close", ending=[wait(go_on), send(body[cut:])])
    shell = f'trap "" {number.name.removeprefix("SIG")}; exec "$@"'
    with serve(reply) as server, start("--base-url", server.url, "hi", shell=shell) as process:
        assert read(process, 5) == b"Hello"
        process.send_signal(number)
        go_on.set()
        result = finish(process, SOON)
    assert (result.status, result.out, result.err) == (0, b"\n", "")


def test_the_shell_shows_128_and_the_signal() -> None:
    shell = '"$@"; echo "status $?" >&2'
    with (
        serve(stall_after(responses_start("Hello"))) as server,
        start("--base-url", server.url, "hi", shell=shell, new_session=True) as process,
    ):
        assert read(process, 5) == b"Hello"
        child = int(run(["ps", "-o", "pid=", "--ppid", str(process.pid)]).text.split()[0])
        os.kill(child, signal.SIGTERM)
        result = finish(process, SOON)
    assert "status 143" in result.err
