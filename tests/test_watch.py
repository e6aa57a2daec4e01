"""A wait reports what is ready, or that its deadline has passed, and never one for the other."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from oastream.exits import Failure
from oastream.watch import READ, WRITE, Watch, release_signals


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.fixture
def watch() -> Iterator[Watch]:
    """One that catches signals, and SIGUSR1, which ends no run."""
    watch = Watch()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    own = signal.signal(signal.SIGUSR1, lambda *_: None)
    wakeup = signal.set_wakeup_fd(-1)
    watch.catch_signals()
    yield watch
    release_signals()
    signal.set_wakeup_fd(wakeup)
    signal.signal(signal.SIGUSR1, own)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_is_ready_is_reported(watch: Watch, pipe: tuple[int, int]) -> None:
    read, write = pipe
    assert watch.wait_for(write, WRITE, 0.0)
    assert not watch.wait_for(read, READ, 0.0)
    os.write(write, b"x")
    assert watch.wait_for(read, READ, 0.0)


def test_a_signal_that_ends_nothing_is_no_deadline(watch: Watch, pipe: tuple[int, int]) -> None:
    """Python writes to the wake-up pipe for every signal that has a handler."""
    read, write = pipe
    until = watch.now() + 0.6
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    assert not watch.wait_for(read, READ, until)
    assert watch.now() >= until
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    threading.Timer(0.4, os.write, (write, b"x")).start()
    assert watch.wait_for(read, READ, watch.now() + 10)


def test_a_stdout_that_was_closed_is_no_deadline(watch: Watch, pipe: tuple[int, int]) -> None:
    read, _ = pipe
    other, stdout = os.pipe()
    watch.watch_reader(stdout)
    os.close(stdout)
    until = watch.now() + 0.3
    assert not watch.wait_for(read, READ, until)
    assert watch.now() >= until
    os.close(other)


def test_a_wait_for_nothing_is_as_long_as_it_says_whatever_wakes_it(watch: Watch) -> None:
    until = watch.now() + 0.4
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    watch.sleep(until)
    assert watch.now() >= until


@pytest.mark.parametrize("sleeps", [True, False])
def test_a_signal_ends_every_wait(watch: Watch, pipe: tuple[int, int], sleeps: bool) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    wait = watch.sleep if sleeps else functools.partial(watch.wait_for, pipe[0], READ)
    with pytest.raises(Failure) as raised:
        wait(watch.now() + 20)
    assert raised.value.verdict.signal == signal.SIGTERM
    assert time.monotonic() - began < 10


def test_the_end_of_the_reader_ends_every_wait(watch: Watch, pipe: tuple[int, int]) -> None:
    reader, stdout = os.pipe()
    watch.watch_reader(stdout)
    os.close(reader)
    with pytest.raises(Failure) as raised:
        watch.wait_for(pipe[0], READ, watch.now() + 20)
    assert raised.value.verdict.signal == signal.SIGPIPE
    os.close(stdout)


def test_ticks_come_while_nothing_else_does(watch: Watch, pipe: tuple[int, int]) -> None:
    ticks: list[float] = []
    watch.on_tick, watch.tick_interval = lambda: ticks.append(watch.now()), 0.05
    assert not watch.wait_for(pipe[0], READ, watch.now() + 0.4)
    assert len(ticks) >= 3
