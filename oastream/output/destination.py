"""Where the answer's bytes go: stdout, a file that appears whole or not at all, or nowhere yet.

In: bytes that are ready, and at the end whether the run delivers them. Out: the same bytes, each exactly once.
Refuses to know what the bytes mean, and which outcomes deliver. A write that fails is a `Failure` with outcome output;
a reader that has gone, one with SIGPIPE.

| -o                                   | without --hold | with --hold | with --keep-partial                     |
|--------------------------------------|----------------|-------------|-----------------------------------------|
| none, `-`                            | `Direct`       | `Held`      | as without                              |
| `/dev/stdout`, `/dev/fd/3`           | `Direct`       | `Held`      | as without                              |
| a FIFO, a device, a socket           | `Direct`       | `Held`      | as without                              |
| a file, or a name that is free       | `File`         | `File`      | `File`, with a `.part` if not delivered |
| a file in a folder that refuses more | `InPlace`      | `InPlace`   | a failure: no room for the `.part`      |

Every kind is opened before anything is sent. Then `write` any number of times, with `take_back` in between where
`can_take_back`; then either `deliver` or `withhold`, once. `discard` may follow anything, and nothing follows it.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from oastream.exits import Failure, Outcome, failure_of
from oastream.reading import open_file
from oastream.watch import Watch, signal_failure
from oastream.writer import Writer

if TYPE_CHECKING:
    from oastream.files import Replacement

STDOUT = 1
_MOST_LINKS = 40
"""Links that Linux follows in one path."""
_FOLDER_REFUSES = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What open(2) says of a new file in a folder whose files may well be written."""


class Direct:
    """Bytes go out at once: stdout, a FIFO, a device."""

    can_take_back: ClassVar[bool] = False

    def __init__(self, fd: int, name: str, watch: Watch) -> None:
        self._fd = fd
        self._name = name
        self._writer = Writer(fd, watch, expects_room=True)
        self.is_terminal = os.isatty(fd)
        self.is_mid_line = False
        """Whether what was written may have ended within a line."""
        watch.watch_reader(fd)

    def sharing(self, fd: int) -> Direct | None:
        """What writes between what is written to `fd`, to the same file or terminal."""
        is_shared = os.path.sameopenfile(self._fd, fd) or (self.is_terminal and os.isatty(fd))
        return self if is_shared else None

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        """Hand `data` to the system, all of it; what a signal interrupts goes out first with the next write.

        Raises `TimeoutError` when the deadline passes first.
        """
        self.is_mid_line = True  # until it is known how much was written: an extra newline is better than none
        try:
            self._writer.write(data, deadline)
        except BrokenPipeError as error:
            raise signal_failure(signal.SIGPIPE) from error
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # the deadline's; the system's has a number
                raise
            raise output_failure(self._name, error) from error
        self.is_mid_line = not data.endswith(b"\n")

    def take_back(self) -> None:
        """Nothing: what was written has been read, and a run that has written does not try again."""

    def deliver(self, deadline: float = math.inf) -> None:
        """Make sure that what was written has arrived: NFS and FUSE may report that only on close."""
        del deadline
        self._writer.close()
        try:
            os.close(self._fd)
        except OSError as error:
            raise output_failure(self._name, error) from error

    def withhold(self, deadline: float = math.inf) -> None:
        """There is nothing left to withhold, but what was written has to arrive all the same."""
        self.deliver(deadline)

    def discard(self) -> None:
        """Nothing: what was written is written."""


class Held:
    """--hold: bytes wait in memory until it is known whether the run delivers them; then they go to `inner`."""

    can_take_back: ClassVar[bool] = True

    def __init__(self, inner: Direct) -> None:
        self._inner = inner
        self._data = bytearray()
        self.is_terminal = inner.is_terminal

    def sharing(self, fd: int) -> Direct | None:
        return self._inner.sharing(fd)

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        self._data += data

    def take_back(self) -> None:
        self._data.clear()

    def deliver(self, deadline: float = math.inf) -> None:
        if self._data:
            self._inner.write(bytes(self._data), deadline)
        self._inner.deliver()

    def withhold(self, deadline: float = math.inf) -> None:
        """Write what is left: the answer was taken back before, but the end record is printed in every outcome."""
        self.deliver(deadline)

    def discard(self) -> None:
        self._data.clear()


class ToFile:
    """What the two ways to a regular file have in common: nothing of the answer is there before the end."""

    can_take_back: ClassVar[bool] = True
    is_terminal: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self._name = name

    def sharing(self, fd: int) -> Direct | None:
        """None, even if `fd` is the same file: the new content takes the place of whatever is written there now."""
        return None

    @contextlib.contextmanager
    def _as_output_failure(self) -> Iterator[None]:
        """Nothing is put in place after an error, not even by a later call: what is there may not be whole."""
        try:
            yield
        except OSError as error:
            self.discard()
            raise output_failure(self._name, error) from error

    def discard(self) -> None:
        """Leave nothing behind."""


class File(ToFile):
    """Bytes go beside the target, and over it in one step when the run delivers; else to `part`, if there is one."""

    def __init__(self, name: str, part: str | None, replacement: Replacement) -> None:
        super().__init__(name)
        self._part = part
        self._replacement = replacement

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        with self._as_output_failure():
            self._replacement.write(data)

    def take_back(self) -> None:
        with self._as_output_failure():
            self._replacement.reset()

    def deliver(self, deadline: float = math.inf) -> None:
        with self._as_output_failure():
            self._replacement.seal()
            self._replacement.put()

    def withhold(self, deadline: float = math.inf) -> None:
        """Leave the target as it was."""
        if self._part is None:
            self.discard()
            return
        with self._as_output_failure():
            self._replacement.seal()
            self._replacement.put_as(self._part)

    def discard(self) -> None:
        self._replacement.discard()


class InPlace(ToFile):
    """Bytes wait in memory, and are written over the target's own: its folder lets nothing be put beside it.

    As curl does, but not before the run has succeeded. A crash in that moment may leave a part of it.
    """

    def __init__(self, name: str, target: str) -> None:
        super().__init__(name)
        self._target = target
        self._data = bytearray()

    def write(self, data: bytes, deadline: float = math.inf) -> None:
        self._data += data

    def take_back(self) -> None:
        self._data.clear()

    def deliver(self, deadline: float = math.inf) -> None:
        with self._as_output_failure():
            _overwrite(self._target, bytes(self._data))

    def withhold(self, deadline: float = math.inf) -> None:
        """Nothing: the target is as it was."""


Output = Direct | Held | File | InPlace


# Which of them it is ---------------------------------------------------------------------------------------------


def open_output(
    path: str | None, hold: bool, keep_partial: bool, stdout_open: bool, watch: Watch, deadline: float = math.inf
) -> Output:
    """The output that the options ask for, by the table at the top.

    Raises `Failure`: output; timeout, or what else ended the wait for the reader of a FIFO.
    """
    if path is None or path == "-":
        direct = open_stdout(stdout_open, watch)
    elif (number := find_descriptor(path)) is not None:
        direct = Direct(_copy_descriptor(path, number), path, watch)
    elif is_special(path):
        direct = Direct(_open_special(path, watch, deadline), path, watch)
    else:
        return _open_regular(path, keep_partial)
    if hold:
        return Held(direct)
    return direct


def open_stdout(is_open: bool, watch: Watch) -> Direct:
    """Stdout; `is_open` is what main found before anything else could take the number."""
    if not is_open:
        raise failure_of(Outcome.OUTPUT, "cannot write to stdout", "it is closed")
    return Direct(STDOUT, "stdout", watch)


def output_failure(name: str, error: OSError | ValueError) -> Failure:
    """What the system says against writing, as the end of the run."""
    from oastream.system_errors import describe_error  # only to say what went wrong

    hint = ""
    if isinstance(error, FileNotFoundError):
        from oastream.path_hints import missing_folder_hint

        hint = missing_folder_hint(name)
    return failure_of(Outcome.OUTPUT, f"cannot write to {name}", describe_error(error), hint)


def is_special(path: str) -> bool:
    """Whether the path is a FIFO, device or socket, which nothing can be renamed over."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


# Files that are open, or opened like a device --------------------------------------------------------------------


def find_descriptor(path: str) -> int | None:
    """The number of the open file that a path stands for: /dev/stdout, /dev/fd/3, /proc/self/fd/3, or a link to one.

    Followed by hand, one link at a time: the last of them, /proc/self/fd/3 itself, leads to the file's own name.
    """
    own_folders = {os.path.realpath(folder) for folder in ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")}
    for _ in range(_MOST_LINKS):
        folder, base = os.path.split(path)
        if base.isdecimal() and _resolve(folder, path) in own_folders:
            return int(base)
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _copy_descriptor(path: str, number: int) -> int:
    """A copy of a file that whoever started this process has opened for it, with its place and its flags.

    To open the path anew would begin at the first byte, and cut a log that the shell opened to append to.
    """
    import fcntl

    try:
        is_read_only = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        is_our_own = not os.get_inheritable(number)  # Python opens files so (PEP 446), a shell cannot
        if is_read_only or is_our_own:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return os.dup(number)
    except OSError as error:
        raise output_failure(path, error) from error


def _open_special(path: str, watch: Watch, deadline: float) -> int:
    try:
        return open_file(path, os.O_WRONLY, watch, deadline)
    except OSError as error:
        raise output_failure(path, error) from error


# Regular files ---------------------------------------------------------------------------------------------------


def _open_regular(path: str, keep_partial: bool) -> File | InPlace:
    """Check now what would otherwise fail after the answer, when it has been paid for."""
    from oastream.files import Replacement  # not for stdout

    target = _resolve(path, path)  # a link stays, and what it points to is replaced
    part = f"{target}.part" if keep_partial else None
    try:
        _check_target(path, target)
        if part is not None:
            _check_part(part)
        return File(path, part, Replacement(target))
    except OSError as error:
        if not _can_overwrite(target, error):
            raise output_failure(path, error) from error
        if keep_partial:  # the target alone could be written, but a .part is as little welcome as any new file
            raise output_failure(f"{path}.part", error) from error
        return InPlace(path, target)


def _resolve(path: str, name: str) -> str:
    """The path without links, from the root. Raises `Failure` where the folder that the run began in is gone."""
    try:
        return os.path.realpath(path)
    except OSError as error:
        raise output_failure(name, error) from error


def _check_target(path: str, target: str) -> None:
    """Raises `OSError` for what no answer could be renamed over."""
    if path.endswith("/") or os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "it names a directory")
    # A rename would replace it all the same; but read-only means that its owner wants it to stay.
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _check_part(part: str) -> None:
    """Raises `OSError` for a name that --keep-partial could not rename to."""
    from oastream.files import max_name_bytes

    if len(os.fsencode(os.path.basename(part))) > max_name_bytes(os.path.dirname(part)):
        raise OSError(errno.ENAMETOOLONG, f"{os.strerror(errno.ENAMETOOLONG)} for --keep-partial")
    if os.path.isdir(part):
        raise IsADirectoryError(errno.EISDIR, "its .part, for --keep-partial, is a directory")


def _can_overwrite(target: str, error: OSError) -> bool:
    """Whether only the folder refuses: the target is there and may be written."""
    return error.errno in _FOLDER_REFUSES and os.path.isfile(target) and os.access(target, os.W_OK)


def _overwrite(target: str, data: bytes) -> None:
    from oastream.files import overwrite

    fd = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        overwrite(fd, data)
    finally:
        os.close(fd)
