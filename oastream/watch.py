"""Every wait of a run: for stdin, for the server, for stdout, for a retry.

In: a file descriptor and a deadline. Out: whether it is ready. Whatever it waits for, a wait also ends when a signal
arrives or when stdout's reader has gone, so that no state of the program is deaf to either.
Knows nothing of what is read or written.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import stat
import time
from collections.abc import Callable
from types import FrameType

from oastream.exits import Failure, Outcome, Verdict

READ = select.POLLIN
WRITE = select.POLLOUT
_GONE = select.POLLERR | select.POLLHUP

READ_SIZE = 1 << 16
"""Bytes of one read, of whatever was waited for: what a pipe of Linux holds."""
LONGEST_WAIT = 86400.0
"""Seconds of one wait, after which another begins: poll counts no more than 24 days."""
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def signal_failure(number: int) -> Failure:
    """The end of a run that dies of a signal."""
    return Failure(Verdict(Outcome.SIGNAL, "stopped", signal.Signals(number).name, signal=number))


class Watch:
    """Waits on one file at a time; times are those of `time.monotonic`, in seconds."""

    def __init__(self) -> None:
        self.now = time.monotonic
        self.on_tick: Callable[[], None] | None = None
        """Called every `tick_interval` seconds of a wait, for someone at the terminal."""
        self.tick_interval = LONGEST_WAIT
        self._signal: int | None = None
        # A poll goes on after EINTR (PEP 475), and a signal just before it would be slept through: Python's own handler
        # writes into this pipe as well, and the poll finds it readable.
        self._wakeup, self._alarm = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(self._alarm, False)
        self._reader: int | None = None
        self._polls: dict[tuple[int, int], select.poll] = {}  # each is registered once, and asked at every event

    def catch_signals(self) -> None:
        """From here on the ending signals end a wait; those that were ignored at the start stay ignored.

        A second signal of the same kind kills at once.
        """
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's work
                signal.signal(number, self._on_signal)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)

    def watch_reader(self, fd: int) -> None:
        """From here on a wait ends when nobody can read any more what is written to `fd`."""
        mode = os.fstat(fd).st_mode
        # A file and /dev/null have no reader that could go; some devices report an error that means nothing.
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd):
            self._reader = fd
            self._polls.clear()

    def wait_for(self, fd: int, events: int, deadline: float = math.inf) -> bool:
        """Wait until `fd` is ready; False when the deadline has passed first.

        Raises `Failure` with outcome signal for a signal, and for a reader of stdout that has gone.
        """
        if self._signal is not None:
            raise signal_failure(self._signal)
        while True:
            poll = self._polls.get((fd, events)) or self._new_poll(fd, events)
            found = poll.poll(self._milliseconds(deadline - self.now()))
            if len(found) == 1 and found[0][0] == fd:  # as nearly always
                return True
            is_ready = False
            for one, what in found:
                if one == fd:
                    is_ready = True
                else:
                    self._check_other(one, what)
            if is_ready:
                return True
            if self.now() >= deadline:
                return False
            if not found and self.on_tick is not None:
                self.on_tick()

    def _check_other(self, fd: int, what: int) -> None:
        """What poll finds besides the file in question may end the run, but is no deadline that has passed."""
        if fd == self._wakeup:
            self._on_wakeup()
        elif what & _GONE:
            raise signal_failure(signal.SIGPIPE)
        else:  # POLLNVAL: stdout is closed, and its reader no longer matters
            self._reader = None
            self._polls.clear()

    @property
    def pending_signal(self) -> int | None:
        """The signal that has arrived and has not been acknowledged yet."""
        return self._signal

    def acknowledge_signal(self) -> None:
        """The signal has been taken note of: what is left to say may be said, to whoever still reads."""
        self._signal = None
        self._drain()
        self._reader = None
        self._polls.clear()

    def sleep(self, deadline: float) -> None:
        """Wait for nothing but the deadline."""
        while self.now() < deadline:
            if self.wait_for(self._wakeup, READ, deadline):
                self._on_wakeup()

    def _milliseconds(self, left: float) -> float:
        """How long to wait when this many seconds are left. Without min and max, which take as long as the poll."""
        if left > self.tick_interval:
            return 1000 * self.tick_interval
        if left > 0:
            return 1000 * left
        return 0

    def _new_poll(self, fd: int, events: int) -> select.poll:
        poll = self._polls[fd, events] = select.poll()
        if self._reader is not None:
            poll.register(self._reader, 0)  # for POLLERR and POLLHUP alone, which cannot be left out
        poll.register(fd, events)
        poll.register(self._wakeup, READ)
        return poll

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, 64)

    def _on_wakeup(self) -> None:
        self._drain()
        if self._signal is not None:
            raise signal_failure(self._signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = number
        signal.signal(number, signal.SIG_DFL)  # whoever asks a second time is not to wait for what hangs


def release_signals() -> None:
    """From here on the ending signals kill at once again. One that came before has been caught, none falls between."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    for number in ENDING_SIGNALS:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_of_signal(number: int) -> None:
    """Kill this process with the signal, as if it had never been caught."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
