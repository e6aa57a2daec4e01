"""Writing to a file whose reader may be slow: no write blocks the process beyond its deadlines and signals.

In: bytes, a deadline. Out: the same bytes, all of them and in order, as few system calls as that allows. What a signal
or a deadline kept from being written goes out first with the next write, so that no line is torn.
Knows nothing of what the bytes mean, but that a newline ends a line.

write(2) of more than fits blocks until the rest fits too, whatever poll(2) has said. O_NONBLOCK on the descriptor that
the shell gave us would be a way out, but it belongs to the open file, not to us: every process that shares it would
meet EAGAIN, and after kill -9 forever. So a pipe or terminal is opened once more, through /proc, and the flag set on
that. Where there is no /proc, or the pipe is another user's, a write is no longer than what poll promises room for.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import stat
from collections.abc import Callable

from oastream.watch import WRITE, Watch

PIPE_BUF = select.PIPE_BUF
"""So many bytes go into a pipe in one piece (POSIX), and into one that poll calls writable at once (Linux: a page)."""
LONGEST = 1 << 20
"""Bytes of a line that are offered in one write: to look for its end again after each must not take long."""
PAUSE = 0.01
"""Seconds until the next try where poll sees room and write finds none: another process was quicker."""

_PTMX = os.makedev(5, 2)
"""The device of a terminal's other end (Linux). To open it makes another terminal, that nobody looks at."""


class Writer:
    """Writes to one file. `fd` stays open, and stays as it is.

    `expects_room` says that a write is tried before it is asked whether there is room, where it would not block: of an
    event that comes by itself the question took a tenth of the time. A reader that has gone is told by either.
    """

    def __init__(self, fd: int, watch: Watch, expects_room: bool = False) -> None:
        self._fd = fd
        self._watch = watch
        self._unwritten = b""
        self._target = fd  # where a pipe or terminal is written: `fd` itself, or the same opened again
        self._blocks = False
        self._write_some: Callable[[bytes, int], int] = self._write_all
        mode = os.fstat(fd).st_mode
        never_blocks = stat.S_ISREG(mode)
        if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and os.isatty(fd)):
            self._target = _reopen(fd)
            self._blocks = os.get_blocking(self._target)
            self._write_some = self._write_lines
            never_blocks = not self._blocks
        elif stat.S_ISSOCK(mode):
            self._write_some = _socket_writer(fd)
            never_blocks = True
        self._tries_first = expects_room and never_blocks

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        """Write all of `data`.

        Raises `TimeoutError` when the deadline passes first, `Failure` for a signal or for a reader of stdout that has
        gone, `OSError` for what the system says.
        """
        if self._unwritten:
            data = self._unwritten + data
        self._unwritten = data  # while it waits nothing is offered in between
        written = 0
        try:
            if self._tries_first and self._watch.pending_signal is None:
                written = self._write_some(data, 0)
            while written < len(data):
                if not self._watch.wait_for(self._fd, WRITE, deadline):
                    raise TimeoutError
                size = self._write_some(data, written)
                written += size
                if size == 0:  # or the loop would spin: poll says again that there is room
                    self._watch.sleep(self._watch.now() + PAUSE)
        finally:
            self._unwritten = data[written:]

    def offer(self, data: bytes) -> None:
        """Write `data` if there is room for it now and nothing waits before it; else it is dropped."""
        if self._unwritten or not self._watch.wait_for(self._fd, WRITE, 0.0):
            return
        with contextlib.suppress(BlockingIOError):
            os.write(self._target, data)

    def close(self) -> None:
        """Give up what was opened beside `fd`."""
        if self._target != self._fd:
            os.close(self._target)
            self._target = self._fd

    def _write_all(self, data: bytes, at: int) -> int:
        """Into a file that takes everything, or into a device that nobody knows."""
        if at:
            data = data[at:]
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def _write_lines(self, data: bytes, at: int) -> int:
        """Into a pipe or terminal: as much as fits, whole lines in one write where a pipe takes them in one piece."""
        began = at
        try:
            while at < len(data):
                end = len(data)
                if end - at > PIPE_BUF:
                    end = self._piece_end(data, at)
                piece: bytes | memoryview = data
                if end - at < len(data):
                    piece = memoryview(data)[at:end]
                at += os.write(self._target, piece)
                if self._blocks:  # poll has promised room for one piece only
                    break
        except BlockingIOError:
            pass  # not by `suppress`, which takes 2,000 instructions: this is done for every event
        return at - began

    def _piece_end(self, data: bytes, at: int) -> int:
        """Where the next write ends: after the last line that fits, or after a line that is longer."""
        if line_end := data.rfind(b"\n", at, at + PIPE_BUF) + 1:
            return line_end
        if self._blocks:
            return at + PIPE_BUF
        if line_end := data.find(b"\n", at, at + LONGEST) + 1:
            return line_end
        return min(at + LONGEST, len(data))


def _reopen(fd: int) -> int:
    """The same pipe or terminal as an open file of our own that never blocks; where that cannot be had, `fd`."""
    # One that does not block already is left so: whoever made it so shares it with us.
    if os.get_blocking(fd) and os.fstat(fd).st_rdev != _PTMX:
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return fd


def _socket_writer(fd: int) -> Callable[[bytes, int], int]:
    """A socket cannot be opened twice; a send can be asked not to wait."""
    import socket  # stdout is hardly ever one, and --help has no other use for it

    connected = socket.socket(fileno=os.dup(fd))

    def write_some(data: bytes, at: int) -> int:
        try:
            return connected.send(memoryview(data)[at:], socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    return write_some
