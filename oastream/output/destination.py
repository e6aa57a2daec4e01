"""Where the answer's bytes go: stdout, a file that appears whole or not at all, or nowhere yet.

In: bytes that are ready, and at the end whether the run delivers them. Out: the same bytes, each exactly once.
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
from typing import TYPE_CHECKING

from oastream.exits import Failure, Outcome, failure_of
from oastream.reading import open_file
from oastream.watch import Watch, signal_failure
from oastream.writer import Writer

if TYPE_CHECKING:
    from oastream.files import Replacement

STDOUT = 1


class Direct:
    """Bytes go out at once: stdout, a FIFO, a device."""

    held = False

    def __init__(self, fd: int, name: str, watch: Watch) -> None:
        self._fd = fd
        self._name = name
        self._writer = Writer(fd, watch)
        self.is_terminal = os.isatty(fd)
        self.in_line = False
        """Whether what was written may have ended within a line."""
        watch.watch_reader(fd)

    def shares(self, fd: int) -> bool:
        """Whether what is written to `fd` stands between what is written here."""
        return os.path.sameopenfile(self._fd, fd) or (self.is_terminal and os.isatty(fd))

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        """Hand `data` to the system, all of it; what a signal interrupts goes out first with the next write.

        Raises `TimeoutError` when the deadline passes first.
        """
        self.in_line = True
        try:
            self._writer.write(data, deadline)
        except BrokenPipeError as error:
            raise signal_failure(signal.SIGPIPE) from error
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # the deadline's, not the system's
                raise
            raise output_failure(self._name, error) from error
        self.in_line = not data.endswith(b"\n")

    def reset(self) -> None:
        """Forget what was written: nothing to forget here, a run that has written does not try again."""

    def finish(self, delivers: bool, deadline: float = math.inf) -> None:
        """Make sure that what was written has arrived: some file systems report that only on close."""
        del delivers, deadline
        self._writer.close()
        try:
            os.close(self._fd)
        except OSError as error:
            raise output_failure(self._name, error) from error

    def discard(self) -> None:
        """Leave nothing half-done behind: what was written is written."""


class Held:
    """Bytes wait in memory until the run has succeeded; then they go to `inner`."""

    held = True

    def __init__(self, inner: Direct) -> None:
        self._inner = inner
        self._data = bytearray()
        self.is_terminal = inner.is_terminal

    @property
    def in_line(self) -> bool:
        return self._inner.in_line

    @in_line.setter
    def in_line(self, within: bool) -> None:
        self._inner.in_line = within

    def shares(self, fd: int) -> bool:
        return self._inner.shares(fd)

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        self._data += data

    def reset(self) -> None:
        self._data.clear()

    def finish(self, delivers: bool, deadline: float = math.inf) -> None:
        """Write what is there; a run that failed has reset it first, but for what it still wants to say."""
        if self._data:
            self._inner.write(bytes(self._data), deadline)
        self._inner.finish(delivers)

    def discard(self) -> None:
        self._data.clear()


class ToFile:
    """What the two ways to a regular file have in common: nothing of it is there before the end."""

    held = True
    is_terminal = False
    in_line = False

    def __init__(self, name: str) -> None:
        self._name = name

    def shares(self, fd: int) -> bool:
        return False

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise output_failure(self._name, error) from error

    def discard(self) -> None:
        """Leave nothing behind."""


class File(ToFile):
    """Bytes go beside the target, and over it in one step when the run has succeeded."""

    def __init__(self, name: str, part: str | None, replacement: Replacement) -> None:
        super().__init__(name)
        self._part = part
        self._replacement = replacement

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        with self._as_output_error():
            self._replacement.write(data)

    def reset(self) -> None:
        with self._as_output_error():
            self._replacement.reset()

    def finish(self, delivers: bool, deadline: float = math.inf) -> None:
        """Put the new content in place when the run delivers it; else leave the target as it was."""
        if not delivers and self._part is None:
            self.discard()
            return
        with self._as_output_error():
            self._replacement.seal()
            if delivers:
                self._replacement.put()
            elif self._part is not None:
                self._replacement.put_as(self._part)

    def discard(self) -> None:
        self._replacement.discard()


class InPlace(ToFile):
    """Bytes wait in memory, and are written over the target's own: nothing can be put beside it.

    As curl does, but not before the run has succeeded. A crash in that moment may leave a part of it.
    """

    def __init__(self, name: str, target: str) -> None:
        super().__init__(name)
        self._target = target
        self._data = bytearray()

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        self._data += data

    def reset(self) -> None:
        self._data.clear()

    def finish(self, delivers: bool, deadline: float = math.inf) -> None:
        if delivers:
            with self._as_output_error():
                _overwrite(self._target, bytes(self._data))


Output = Direct | Held | File | InPlace


def open_output(
    path: str | None, hold: bool, keep_partial: bool, stdout_open: bool, watch: Watch, deadline: float = math.inf
) -> Output:
    """The output that the options ask for, opened before anything is sent.

    Raises `Failure`: output; timeout, or what else ended the wait for the reader of a FIFO.
    """
    if path is None or path == "-":
        return _open_stdout(hold, stdout_open, watch)
    number = descriptor(path)
    if number is None and not is_special(path):
        return _open_file(path, keep_partial)
    if number is None:
        fd = _open_special(path, watch, deadline)
    else:
        fd = _inherit(path, number)
    return _hold_if(hold, Direct(fd, path, watch))


def _open_stdout(hold: bool, stdout_open: bool, watch: Watch) -> Output:
    if not stdout_open:
        raise failure_of(Outcome.OUTPUT, "cannot write to stdout", "it is closed")
    return _hold_if(hold, Direct(STDOUT, "stdout", watch))


def _hold_if(hold: bool, direct: Direct) -> Output:
    """What --hold asks for. A regular file needs no `Held`: it appears whole or not at all."""
    if hold:
        return Held(direct)
    return direct


def _open_file(path: str, keep_partial: bool) -> Output:
    from oastream.files import Replacement  # not for stdout

    target = _real_path(path, path)
    part = f"{target}.part" if keep_partial else None
    try:
        _check_target(path, target)
        if part is not None:
            _check_part(part)
        return File(path, part, Replacement(target))
    except OSError as error:
        can_stay = error.errno in _FOLDER_REFUSES and os.path.isfile(target) and os.access(target, os.W_OK)
        if can_stay and part is None:
            return InPlace(path, target)
        raise output_failure(f"{path}.part" if can_stay else path, error) from error


_FOLDER_REFUSES = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def output_failure(name: str, error: OSError | ValueError) -> Failure:
    from oastream.system_errors import describe_error  # only to say what went wrong

    return failure_of(Outcome.OUTPUT, f"cannot write to {name}", describe_error(error))


def is_special(path: str) -> bool:
    """Whether the path is a FIFO, device or socket, which nothing can be renamed over."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _open_special(path: str, watch: Watch, deadline: float) -> int:
    try:
        return open_file(path, os.O_WRONLY, watch, deadline)
    except OSError as error:
        raise output_failure(path, error) from error


def descriptor(path: str) -> int | None:
    """The number of the open file that a path stands for: /dev/stdout, /dev/fd/3, /proc/self/fd/3, or a link to one."""
    own = {os.path.realpath(folder) for folder in ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")}
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        if name.isdecimal() and _real_path(folder, path) in own:
            return int(name)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _real_path(path: str, name: str) -> str:
    """The path without links, from the root. Raises `Failure` where the folder that the run began in is gone."""
    try:
        return os.path.realpath(path)
    except OSError as error:
        raise output_failure(name, error) from error


_MOST_LINKS = 40
"""Links that Linux follows in one path."""


def _inherit(path: str, number: int) -> int:
    """A copy of a file that whoever started this process has opened for it, with its place and its flags.

    To open the path anew would begin at the first byte, and cut a log that the shell opened to append to.
    """
    import fcntl

    try:
        only_read = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if only_read or not os.get_inheritable(number):  # the second are our own
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return os.dup(number)
    except OSError as error:
        raise output_failure(path, error) from error


def _check_target(path: str, target: str) -> None:
    """Raises `OSError` for what no answer could be renamed over."""
    if path.endswith("/") or os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "it names a directory")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_part(part: str) -> None:
    """Raises `OSError` for a name that --keep-partial could not rename to."""
    from oastream.files import max_name_bytes

    if len(os.fsencode(os.path.basename(part))) > max_name_bytes(os.path.dirname(part)):
        raise OSError(errno.ENAMETOOLONG, f"{os.strerror(errno.ENAMETOOLONG)} for --keep-partial")
    if os.path.isdir(part):
        raise IsADirectoryError(errno.EISDIR, "its .part, for --keep-partial, is a directory")


def _overwrite(target: str, data: bytes) -> None:
    from oastream.files import overwrite

    fd = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        overwrite(fd, data)
    finally:
        os.close(fd)
