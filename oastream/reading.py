"""A file opened, and read to its end, in a way that a signal, the deadline and the end of stdout's reader can end.

In: a path or an open file, a deadline. Out: a descriptor, or the bytes. It raises `OSError` for what the system says
and `ValueError` for a path that is none; whether that is the input's fault, the configuration's or the output's is for
whoever asked to say. Knows nothing of what is in the file.

open(2) of a FIFO blocks until somebody opens its other end, and that of some devices until a line is up: it is made in
a thread whose end can be polled. O_NONBLOCK would spare the thread, but then a FIFO that has no writer yet looks like
one that is at its end (macOS), and one without a reader is an error.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator

from oastream.exits import Failure, Outcome, failure_of
from oastream.threads import call_in_thread
from oastream.watch import READ, READ_SIZE, Watch


class TooLarge(Exception):
    """There is more than was asked for; `limit` is in bytes."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"over {limit:.0f} bytes")


def open_file(path: str, flags: int, watch: Watch, deadline: float = math.inf, mode: int = 0o666) -> int:
    """A descriptor of the file, as from open(2).

    Raises `OSError`, `ValueError` for a path with a null byte, and `Failure`: timeout, or what ended the wait.
    """
    flags |= os.O_CLOEXEC | os.O_NOCTTY
    if not _may_block(path):
        return os.open(path, flags, mode)
    try:
        return call_in_thread(lambda: os.open(path, flags, mode), watch, deadline, release=os.close)
    except TimeoutError as error:
        if error.errno is not None:  # ETIMEDOUT, of a network file system: the system's own words say more
            raise
        raise deadline_failure(path) from error


def read_file(path: str, watch: Watch, deadline: float = math.inf, limit: float = math.inf) -> bytes:
    """All bytes of a file. Raises what `open_file` does, and `TooLarge`."""
    fd = open_file(path, os.O_RDONLY, watch, deadline)
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)  # another reader may be quicker than ours
        return read_all(fd, path, watch, deadline, limit)
    finally:
        os.close(fd)


def read_all(fd: int, name: str, watch: Watch, deadline: float = math.inf, limit: float = math.inf) -> bytes:
    """All bytes of an open file, called `name` in the message of a deadline that passes."""
    data = bytearray()
    for piece in _pieces(fd, name, watch, deadline):
        data += piece
        if len(data) > limit:
            raise TooLarge(limit)
    return bytes(data)


def deadline_failure(name: str) -> Failure:
    """The end of a run whose --max-time has passed while it waited for this file."""
    return failure_of(Outcome.TIMEOUT, "no answer in time", f"--max-time passed while waiting for {name}")


def _may_block(path: str) -> bool:
    """Whether open(2) may wait for somebody: a thread for each plain file would be one for nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False  # open(2) will say what is wrong
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _pieces(fd: int, name: str, watch: Watch, deadline: float) -> Iterator[bytes]:
    while True:
        if not watch.wait_for(fd, READ, deadline):
            raise deadline_failure(name)
        try:
            piece = os.read(fd, READ_SIZE)
        except BlockingIOError:  # another reader of the FIFO was quicker
            continue
        if not piece:
            return
        yield piece
