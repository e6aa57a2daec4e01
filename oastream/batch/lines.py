"""Where lines go besides the journal: stdout, a file of errors, and what holds lines back for the order of the input.

In: lines. Out: the same lines, each whole, in the order in which they were given or in that of the input. Raises
`Failure` with outcome output where they cannot be written. Knows nothing of what is in them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections import deque
from collections.abc import Callable

from oastream.batch.journal import Journal
from oastream.exits import Failure, Outcome, Verdict, failure_of
from oastream.files import Replacement
from oastream.system_errors import describe_error

_MOST_WAITING = 1 << 20
"""Bytes that may wait for a reader of stdout before nothing more is asked."""


class Stdout:
    """Lines for stdout, written by a thread: a reader that is slow must not keep us from hearing the servers."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self.failure: Failure | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when room was made, or nothing more can be written."""

    @property
    def is_full(self) -> bool:
        return self._size > _MOST_WAITING

    def append(self, line: bytes, position: int = 0) -> None:
        if self.failure is not None:
            raise self.failure
        self._waiting.append(line)
        self._size += len(line)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def flush(self) -> None:
        """Until all is written. Raises what kept it from being."""
        if self._task is not None:
            await self._task
        if self.failure is not None:
            raise self.failure

    async def _write_all(self) -> None:
        while self._waiting and self.failure is None:
            data = b"".join(self._waiting)
            self._waiting.clear()
            try:
                await asyncio.to_thread(_write_whole, self._fd, data)
            except OSError as error:
                self.failure = _stdout_failure(error)
            self._size -= len(data)
            self.on_change()


def _write_whole(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _stdout_failure(error: OSError) -> Failure:
    if error.errno == errno.EPIPE:
        return Failure(Verdict(Outcome.SIGNAL, signal=signal.SIGPIPE))
    return failure_of(Outcome.OUTPUT, "stdout cannot be written", describe_error(error))


class OrderedStdout:
    """Lines for stdout in the order of the input. `most` is how many bytes may be held back for one that is missing."""

    def __init__(self, stdout: Stdout, most: int, on_full: Callable[[], None]) -> None:
        self._stdout = stdout
        self._most = most
        self._on_full = on_full
        self._held: dict[int, bytes] = {}
        self._held_size = 0
        self._next = 1

    @property
    def is_full(self) -> bool:
        if self._held_size > self._most:
            self._on_full()
            return True
        return self._stdout.is_full

    def append(self, line: bytes, position: int = 0) -> None:
        self._held[position] = line
        self._held_size += len(line)
        while self._next in self._held:
            ready = self._held.pop(self._next)
            self._held_size -= len(ready)
            self._next += 1
            self._stdout.append(ready)

    def release(self) -> None:
        """No more will come: what is held back goes out, whatever is missing before it."""
        for position in sorted(self._held):
            self._stdout.append(self._held.pop(position))
        self._held_size = 0


class JournalLines:
    """Lines for the journal, safe on the disk when they are given where `is_synced` says so."""

    is_full = False

    def __init__(self, journal: Journal, is_synced: bool) -> None:
        self._journal = journal
        self._is_synced = is_synced

    def append(self, line: bytes, position: int = 0) -> None:
        self._journal.append(line)
        if self._is_synced:
            self._journal.sync()


class ErrorsFile:
    """The errors of a run. `carried` are the lines of an older one that still hold; the file is replaced by them.

    It is there only while it has lines.
    """

    is_full = False

    def __init__(self, path: str, carried: list[bytes]) -> None:
        self._path = path
        self._fd: int | None = None
        try:
            if carried:
                _replace(path, carried)
            elif os.path.exists(path):
                os.unlink(path)
        except OSError as error:
            raise self._failure(error) from error

    def append(self, line: bytes, position: int = 0) -> None:
        try:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _write_whole(self._fd, line)
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        if self._fd is None:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS):
                raise self._failure(error) from error
        finally:
            os.close(self._fd)
            self._fd = None

    def _failure(self, error: OSError) -> Failure:
        return failure_of(Outcome.OUTPUT, f"{self._path} cannot be written", describe_error(error))


def _replace(path: str, lines: list[bytes]) -> None:
    replacement = Replacement(path, 0o600)
    try:
        for line in lines:
            replacement.write(line)
        replacement.seal()
        replacement.put()
    finally:
        replacement.discard()
