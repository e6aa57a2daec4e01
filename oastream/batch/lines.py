"""Where lines go besides the journal: stdout, a file of errors, and what holds lines back for the order of the input.

In: lines. Out: the same lines, each whole, in the order in which they were given or in that of the input. Raises
`Failure` with outcome output where they cannot be written. Knows nothing of what is in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from oastream.batch.journal import Journal
from oastream.exits import Failure, Outcome, Verdict, failure_of
from oastream.files import replace_by_pieces
from oastream.output.destination import STDOUT, find_descriptor, is_special
from oastream.system_errors import describe_error

_MOST_WAITING = 1 << 20
"""Bytes that may wait for a reader of stdout before nothing more is asked."""
_BLOCK = 1 << 20
_LOOK = 0.1
"""Seconds after which a writer that waits for a reader looks at its deadline again."""


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

    def check(self) -> None:
        """Raise at once what would keep any line from being written: a stdout that is closed."""
        try:
            os.write(self._fd, b"")
        except OSError as error:
            raise _stdout_failure(error) from error

    def watch_reader(self) -> None:
        """From here on it is a failure, at once and not at the next line, when nobody can read any more."""
        if not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
            return  # a file has no reader, and a socket may have something to read
        asyncio.get_running_loop().add_reader(self._fd, self._lose_reader)

    def _lose_reader(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        if self.failure is None:
            self.failure = _stdout_failure(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
        self.on_change()

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

    async def flush(self, deadline: Callable[[], float]) -> None:
        """Until all is written, or a deadline has passed that may come nearer. Raises what kept it from being."""
        loop = asyncio.get_running_loop()
        while self._task is not None and not self._task.done() and self.failure is None:
            if loop.time() >= deadline():
                return
            await asyncio.wait({self._task}, timeout=_LOOK)
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


def write_stdout(data: bytes) -> Verdict:
    """Write the only thing that this run has to say; how that ended."""
    try:
        _write_whole(1, data)
    except OSError as error:
        return _stdout_failure(error).verdict
    return Verdict(Outcome.STOP)


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
        if position < self._next:
            self._stdout.append(line)  # of no item: a line of the input that is none
            return
        self._held[position] = line
        self._held_size += len(line)
        self._pass_on()

    def skip(self, position: int) -> None:
        """The item at this position gets no line here: its error is in a file."""
        self.append(b"", position)

    def _pass_on(self) -> None:
        while self._next in self._held:
            ready = self._held.pop(self._next)
            self._held_size -= len(ready)
            self._next += 1
            if ready:
                self._stdout.append(ready)

    def release(self) -> None:
        """No more will come: what is held back goes out, whatever is missing before it."""
        for position in sorted(self._held):
            if line := self._held.pop(position):
                self._stdout.append(line)
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
    """The errors of a run. `carried` are the lines of an older one that still hold, `first` those that are new.

    The file is replaced by them, and is there only while it has lines. What cannot be replaced (`is_stream`) is only
    written to. `on_line` is told the position of each item whose error is here.
    """

    is_full = False

    def __init__(self, path: str, carried: Sequence[bytes], first: Sequence[bytes] = ()) -> None:
        self._path = path
        self._fd: int | None = None
        self._is_stream = False
        self.on_line: Callable[[int], None] = lambda position: None
        try:
            if is_stream(path):
                self._fd = _open_stream(path)
                self._is_stream = True
                for line in first:
                    _write_whole(self._fd, line)
                return
            _check_writable(path)
            if carried or first:
                replace_lines(os.path.realpath(path), [*carried, *first])
            elif os.path.exists(path):
                os.unlink(os.path.realpath(path))
        except OSError as error:
            raise self._failure(error) from error

    def append(self, line: bytes, position: int = 0) -> None:
        try:
            if self._fd is None:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(self._fd).st_size
            try:
                _write_whole(self._fd, line)
            except OSError:
                self._take_back(self._fd, size)
                raise
        except OSError as error:
            raise self._failure(error) from error
        self.on_line(position)

    def sync(self) -> None:
        """Let all that was added be safe on the disk, where the file is on one."""
        try:
            if self._fd is not None:
                os.fsync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS):
                raise self._failure(error) from error

    def close(self) -> None:
        if self._fd is None:
            return
        try:
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = None

    def _take_back(self, fd: int, size: int) -> None:
        """Leave no part of a line."""
        if not self._is_stream:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)

    def _failure(self, error: OSError) -> Failure:
        if error.errno == errno.EPIPE:
            return Failure(Verdict(Outcome.SIGNAL, signal=signal.SIGPIPE))
        return failure_of(Outcome.OUTPUT, f"{self._path} cannot be written", describe_error(error))


def replace_errors(path: str, lines: Sequence[bytes]) -> None:
    """Give an errors file these lines, in one step. Raises `Failure` with outcome output."""
    try:
        replace_lines(os.path.realpath(path), lines)
    except OSError as error:
        raise failure_of(Outcome.OUTPUT, f"{path} cannot be written", describe_error(error)) from error


def is_stream(path: str) -> bool:
    """Whether lines can only be added: `-`, a file that is open already, a FIFO or device."""
    return path == "-" or find_descriptor(path) is not None or is_special(path)


def _open_stream(path: str) -> int:
    """For what is open already a copy: opened anew, a file would be written from its first byte again."""
    number = STDOUT if path == "-" else find_descriptor(path)
    if number is not None:
        return os.dup(number)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def _check_writable(path: str) -> None:
    """Raise `OSError` now, not at the first error, for a file that cannot be written or made."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    os.stat(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def replace_lines(path: str, lines: Iterable[bytes]) -> None:
    """Give a file these lines, in one step; a new one can be read by its owner alone. Raises `OSError`."""
    replace_by_pieces(path, _in_blocks(lines), 0o600)


def _in_blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)
