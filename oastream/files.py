"""A file replaced whole, and whether two names are of one file.

In: a path, bytes. Out: the old file or the whole new one under that name, whatever happens in between; no left-overs of
runs that were killed. Knows nothing of what is in the file, nor of how a run ends: it raises `OSError`.

The new content is written beside the old one and renamed over it. Each such file is locked for as long as its run
lives, so that the next run on the same name can tell one that is being written from one that was left behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator

MARK = ".oastream-"
"""What the name of a file that is being written has after the name it will get."""
_SUFFIX_BYTES = len(MARK) + 8
_NAME_MAX = 255
_WITHOUT_FSYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EROFS})
"""What fsync(2) says where it does not exist: some FUSE and network file systems, which are no worse for it."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Replacement:
    """The next content of the file `path`, beside it until `put`. Opened at once, so that what can fail fails early.

    It has the mode and the owner of the file that it will replace, or `keeps_owner` is false; a new one has `new_mode`
    less the umask. Raises `OSError`, here and in every method but `discard`; nothing is put in place after a write,
    fsync or close that failed.
    """

    def __init__(self, path: str, new_mode: int = 0o666) -> None:
        self._path = path
        self._folder, base = os.path.split(path)
        prefix = _prefix_beside(self._folder, base)
        _remove_leftovers(self._folder, prefix)
        if os.path.exists(path):
            new_mode = 0o600  # until it has the mode of the old one
        self._name, self._fd = _create_beside(self._folder, prefix, new_mode)
        self._is_sealed = False
        self.keeps_owner = True
        try:
            self._copy_owner_and_mode(path)
        except OSError:
            self.discard()
            raise

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._fd, left) :]

    def reset(self) -> None:
        """Begin anew: what was written so far is dropped."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def seal(self) -> None:
        """Nothing more will be written: let it be safe on the disk before it gets the name."""
        _sync(self._fd)
        # Some file systems report on close alone that what was written is lost. The lock lives on in the copy.
        written, self._fd = self._fd, os.dup(self._fd)
        os.close(written)
        self._is_sealed = True

    def put(self) -> None:
        """Give the file what was sealed: in one step, unless that would take it from its owner, or is not possible.

        In place nothing is lost but by a crash in that moment; a beginning that both have in common stays even then.
        """
        if self.keeps_owner:
            try:
                self.put_as(self._path)
                return
            except OSError as error:
                # Of a mount point, which a file that a container was given is, only the content can be replaced.
                if error.errno != errno.EBUSY:
                    raise
        self._check_sealed()
        fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            overwrite(fd, self._content())
        finally:
            os.close(fd)
        self.discard()

    def put_as(self, path: str) -> None:
        """Rename what was sealed to this name in the same folder."""
        self._check_sealed()
        os.replace(self._name, path)
        self._name = ""
        self._close()
        _sync_folder(self._folder)

    def _check_sealed(self) -> None:
        if not self._is_sealed:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def _content(self) -> bytes:
        with open(self._name, "rb") as file:
            return file.read()

    def discard(self) -> None:
        """Leave nothing behind, unless it was put in place."""
        with contextlib.suppress(OSError):
            if self._name:
                os.unlink(self._name)
        self._name, self._is_sealed = "", False
        self._close()

    def _copy_owner_and_mode(self, path: str) -> None:
        """Those of the file that is there: before the first byte, or others could read a private file."""
        try:
            old = os.stat(path)
        except FileNotFoundError:
            return
        mode, own = stat.S_IMODE(old.st_mode), os.fstat(self._fd)
        if (old.st_uid, old.st_gid) != (own.st_uid, own.st_gid):
            self.keeps_owner = self._give_to(old.st_uid, old.st_gid)
        if not self.keeps_owner:  # the group is another one, and gets no more than anyone
            mode = mode & 0o707 | (mode & 0o007) << 3
        os.fchmod(self._fd, mode)

    def _give_to(self, user: int, group: int) -> bool:
        """Whether the file has this owner now. Only root may give files away, to a group of one's own anyone."""
        try:
            os.fchown(self._fd, user, group)
        except PermissionError:
            return False
        return True

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            if fd >= 0:
                os.close(fd)


def replace_file(path: str, data: bytes, new_mode: int = 0o666) -> None:
    """Give a file this content, or leave it as it was and raise `OSError`."""
    replace_by_pieces(path, (data,), new_mode)


def replace_by_pieces(path: str, pieces: Iterable[bytes], new_mode: int = 0o666) -> None:
    """The same for content that memory need not hold. What `pieces` raises leaves the file as it was, too."""
    replacement = Replacement(path, new_mode)
    try:
        for piece in pieces:
            replacement.write(piece)
        replacement.seal()
        replacement.put()
    finally:
        replacement.discard()  # nothing of what was put in place


def overwrite(fd: int, data: bytes) -> None:
    """Give an open file this content, in place: not in one step, but all of it or an `OSError`.

    Room for it is found before the old content is touched.
    """
    _reserve(fd, len(data))
    at = 0
    while at < len(data):
        at += os.pwrite(fd, memoryview(data)[at:], at)
    os.ftruncate(fd, len(data))
    _sync(fd)


def _reserve(fd: int, size: int) -> None:
    """Find room for a file of this size, or leave it as it was and raise `OSError`."""
    old = os.fstat(fd).st_size
    if size <= old or not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _FULL:  # else the file system cannot reserve
            os.ftruncate(fd, old)
            raise


def is_same_file(one: str, other: str) -> bool:
    """Whether two paths name the same file, there already or not."""
    with contextlib.suppress(OSError):  # also of realpath, where the folder that the run began in is gone
        return os.path.realpath(one) == os.path.realpath(other) or os.path.samefile(one, other)
    return False


def max_name_bytes(folder: str) -> int:
    """How many bytes a name in the folder may have."""
    try:
        return os.pathconf(folder or ".", "PC_NAME_MAX")
    except (OSError, ValueError):
        return _NAME_MAX


def _prefix_beside(folder: str, base: str) -> str:
    """What the names beside the file begin with: a dot, and as much of its own name as leaves room for the rest."""
    room = max_name_bytes(folder) - _SUFFIX_BYTES - 1
    while len(os.fsencode(base)) > room:  # by characters: half of one is no name on some file systems
        base = base[:-1]
    return f".{base}{MARK}"


def _create_beside(folder: str, prefix: str, mode: int) -> tuple[str, int]:
    """A new file that is locked, and its path."""
    while True:
        name = os.path.join(folder, f"{prefix}{os.urandom(4).hex()}")
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        # Before it was locked another run may have taken it for a left-over and removed it: then the next one is tried.
        if _try_lock(fd) is not False and os.path.exists(name):
            return name, fd
        os.close(fd)


def _remove_leftovers(folder: str, prefix: str) -> None:
    """Remove the files of runs that are no more: nobody holds their lock. What cannot be removed stays."""
    for name in _leftovers(folder, prefix):
        with contextlib.suppress(OSError):
            # Whatever another user has put there under such a name: no link is followed, no FIFO waited for.
            fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode) and _try_lock(fd) is True:
                    os.unlink(name)
            finally:
                os.close(fd)


def _leftovers(folder: str, prefix: str) -> Iterator[str]:
    with contextlib.suppress(OSError):  # a folder may be searched and written, and yet not be read
        for name in os.listdir(folder or "."):
            if name.startswith(prefix):
                yield os.path.join(folder, name)


def _try_lock(fd: int) -> bool | None:
    """Whether the lock of the file is ours now; None on a file system that has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _sync(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _WITHOUT_FSYNC:
            raise


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power loss, where the file system can."""
    with contextlib.suppress(OSError):
        fd = os.open(folder or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
