"""Where the answer's bytes go: stdout, a file that appears whole or not at all, or nowhere yet.

In: bytes that are ready, and at the end whether the answer is complete. Out: the same bytes, each exactly once.
Knows nothing of formats. A write that fails is a `Failure` with outcome output; a reader that has gone, SIGPIPE.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import stat
from collections.abc import Iterator

from oastream.exits import Failure, Outcome, failure
from oastream.watch import WRITE, Watch, signalled

STDOUT = 1


class Direct:
    """Bytes go out at once: stdout, a FIFO, a device."""

    held = False

    def __init__(self, fd: int, name: str, watch: Watch) -> None:
        self._fd = fd
        self._name = name
        self._watch = watch
        self._left = b""
        watch.watch_reader(fd)

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        """Hand `data` to the system, all of it, in as few writes as it takes.

        What a signal kept from being written goes out first with the next write, so that no line is torn.
        Raises `TimeoutError` when the deadline passes first.
        """
        data = self._left + data if self._left else data
        written = 0
        try:
            while written < len(data):
                written += self._write_some(memoryview(data)[written:] if written else data, deadline)
        finally:
            self._left = data[written:]

    def _write_some(self, data: bytes | memoryview, deadline: float) -> int:
        # Ready means room for at least a page: a signal ends the write, never leaves it blocked with nothing done.
        if not self._watch.ready(self._fd, WRITE, deadline):
            raise TimeoutError
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise signalled(signal.SIGPIPE) from error
        except OSError as error:
            raise unwritable(self._name, error) from error

    def reset(self) -> None:
        """Forget what was written: nothing to forget here, a run that has written does not try again."""

    def finish(self, complete: bool, deadline: float = math.inf) -> None:
        """Make sure that what was written has arrived: some file systems report that only on close."""
        del complete, deadline
        try:
            os.close(self._fd)
        except OSError as error:
            raise unwritable(self._name, error) from error


class Held:
    """Bytes wait in memory until the answer is complete; then they go to `inner`."""

    held = True

    def __init__(self, inner: Direct) -> None:
        self._inner = inner
        self._data = bytearray()

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        self._data += data

    def reset(self) -> None:
        self._data.clear()

    def finish(self, complete: bool, deadline: float = math.inf) -> None:
        """Write what is there; a run that failed has reset it first, but for what it still wants to say."""
        self._inner.write(bytes(self._data), deadline)
        self._inner.finish(complete)


class File:
    """Bytes go beside the target, and over it in one step when the answer is complete."""

    held = True

    def __init__(self, path: str, keep_partial: bool) -> None:
        self._target = os.path.realpath(path)
        self._name = path
        self._keep_partial = keep_partial
        folder, base = os.path.split(self._target)
        self._beside = os.path.join(folder, f".{base}.oastream-{os.urandom(4).hex()}")
        try:
            self._mode = _writable_mode(self._target)
            self._fd = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise unwritable(path, error) from error

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        left = memoryview(data)
        with self._as_output_error():
            while left:
                left = left[os.write(self._fd, left) :]

    def reset(self) -> None:
        with self._as_output_error():
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)

    def finish(self, complete: bool, deadline: float = math.inf) -> None:
        """Rename into place when complete; else leave the target as it was."""
        if not complete and not self._keep_partial:
            self.discard()
            return
        with self._as_output_error():
            if self._mode is not None:
                os.fchmod(self._fd, self._mode)
            os.fsync(self._fd)
            os.close(self._fd)
            os.replace(self._beside, self._target if complete else f"{self._target}.part")
            sync_folder(os.path.dirname(self._target))

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            os.unlink(self._beside)

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise unwritable(self._name, error) from error


Output = Direct | Held | File


def open_output(path: str | None, hold: bool, keep_partial: bool, stdout_open: bool, watch: Watch) -> Output:
    """The output that the options ask for, opened before anything is sent. Raises `Failure` with outcome output."""
    if path is not None and path != "-":
        if _is_special(path):
            return Direct(_opened(path), path, watch)
        return File(path, keep_partial)
    if not stdout_open:
        raise failure(Outcome.OUTPUT, "cannot write to stdout", "it is closed")
    direct = Direct(STDOUT, "stdout", watch)
    return Held(direct) if hold else direct


def unwritable(name: str, error: OSError) -> Failure:
    why = (error.strerror or str(error)).lower()
    return failure(Outcome.OUTPUT, f"cannot write to {name}", why)


def _is_special(path: str) -> bool:
    """Whether the path is a FIFO, device or socket, which nothing can be renamed over."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise unwritable(path, error) from error


def _writable_mode(target: str) -> int | None:
    """The permissions of the file that will be replaced, None when there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return stat.S_IMODE(status.st_mode)


def sync_folder(folder: str) -> None:
    """Make the rename survive a power loss, where the file system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
