"""A command of the user's, run by the shell and waited for like a file: a signal, the deadline, stdout's reader end it.

In: the command, a deadline. Out: how it ended, and what it printed. Knows nothing of what that is good for.

The command has a process group of its own, so that all of it can be ended with the run. A group that is not the
terminal's foreground is stopped when it asks there for a passphrase (SIGTTIN): then it gets the terminal, as `fg` of a
shell would give it, and the run takes it back in the end. Until it asks, the terminal stays with the pipeline that
oastream is a part of: `less` at its end needs it too.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import time
from typing import NamedTuple

from oastream.reading import deadline_failure, read_all
from oastream.threads import call_in_thread
from oastream.watch import READ_SIZE, Watch, signal_failure

GRACE = 0.5
"""Seconds that a command has between SIGTERM and SIGKILL: it may have switched off the terminal's echo."""
_SHELL = "/bin/sh"
_NAME = "the command"


class CommandResult(NamedTuple):
    """A command that has ended. A negative status is the signal that killed it."""

    status: int
    output: bytes


def run_command(command: str, watch: Watch, deadline: float = math.inf, limit: float = math.inf) -> CommandResult:
    """Run a command to its end. Its stdin is empty, its stderr is ours.

    Raises `OSError` when there is no shell, `ValueError` for a null byte, `TooLarge` when it prints more than `limit`
    bytes, and `Failure`: timeout, or what ended the wait, also for the SIGINT that only the command got. Whatever is
    raised, the command is ended.
    """
    with _Running(command) as running:
        result = running.wait(watch, deadline, limit)
    # Ctrl-C goes to whoever has the terminal, and means the run. A shell that caught it reports 128 + 2.
    if result.status in (-signal.SIGINT, 128 + signal.SIGINT):
        raise signal_failure(signal.SIGINT)
    return result


class _Running:
    """A command from its start to its end."""

    def __init__(self, command: str) -> None:
        self._output, write_end = os.pipe()
        try:
            self._group = _start_shell(command, write_end)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(write_end)  # while we hold it the output could not end
        self._terminal = _Terminal(self._group)
        self._has_ended = False

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._has_ended:
            _terminate(self._group, self._output)
        os.close(self._output)
        self._terminal.take_back()

    def wait(self, watch: Watch, deadline: float, limit: float) -> CommandResult:
        pieces: list[bytes] = []

        def read() -> None:
            pieces.append(read_all(self._output, _NAME, watch, deadline, limit))

        try:
            status = call_in_thread(self._wait_for_shell, watch, deadline, meanwhile=read)
        except TimeoutError as error:
            raise deadline_failure(_NAME) from error
        self._has_ended = True
        return CommandResult(status, pieces[0])

    def _wait_for_shell(self) -> int:
        """In a thread: the status the shell ends with. It gets the terminal if it stops for that."""
        while True:
            _, status = os.waitpid(self._group, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            self._terminal.serve(os.WSTOPSIG(status))


def _start_shell(command: str, output: int) -> int:
    """The shell's process, which leads a process group of its own. `subprocess` would take 10 ms to load."""
    # Python ignores SIGPIPE, and a command that inherited that would write on to a pipe that nobody reads.
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, output, 1)]
    return os.posix_spawn(
        _SHELL, ["sh", "-c", command], os.environ, file_actions=actions, setpgroup=0, setsigdef=[signal.SIGPIPE]
    )


class _Terminal:
    """The controlling terminal, if there is one, and whether the command has it."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._is_lent = False

    def serve(self, stopped_by: int) -> None:
        """The command was stopped: because it wants the terminal, which it gets, or by Ctrl-Z, which stops us too.

        Any other signal was meant for the command alone, and whoever sent it will continue it.
        """
        if stopped_by not in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP):
            return
        self.take_back()
        if stopped_by == signal.SIGTSTP or not self._lend():
            os.killpg(0, stopped_by)  # and the shell's `fg` continues us, with a terminal to lend
            self._lend()
        if self._is_lent:
            os.killpg(self._group, signal.SIGCONT)

    def take_back(self) -> None:
        if self._is_lent:
            self._is_lent = False
            _give_terminal(self._group, os.getpgrp())

    def _lend(self) -> bool:
        self._is_lent = _give_terminal(os.getpgrp(), self._group)
        return self._is_lent


def _give_terminal(owner: int, group: int) -> bool:
    """Whether the terminal's foreground is this group now, which the owner's was."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    # Whoever gives the terminal away from the background is stopped by SIGTTOU, and we do so to take it back.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        if os.tcgetpgrp(terminal) != owner:
            return False
        os.tcsetpgrp(terminal, group)
    except OSError:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(terminal)
    return True


def _terminate(group: int, output: int) -> None:
    """End all processes of the command: those that do not go by themselves are killed."""
    _signal_group(group, signal.SIGTERM)
    _signal_group(group, signal.SIGCONT)  # one that is stopped would not notice
    if not _closes_in_time(output):
        _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _closes_in_time(output: int) -> bool:
    """Whether all that may write to the pipe are gone within the grace.

    It waits by itself: what ended the run ends no further wait of it.
    """
    poll = select.poll()
    poll.register(output, select.POLLIN)
    deadline = time.monotonic() + GRACE
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        if not os.read(output, READ_SIZE):
            return True
        if time.monotonic() > deadline:  # it writes without a pause
            break
    return False
