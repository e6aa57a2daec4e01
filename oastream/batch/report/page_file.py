"""FILE of --report: pages → one file, replaced whole each time.

In: a path, pages. Out: the file. Raises `Failure` with outcome output where it cannot be written: before
the first page as far as that can be seen, and for the last. Knows nothing of what is on a page.
"""

from __future__ import annotations

import errno
import os
import stat
import threading

from oastream.exits import Failure, Outcome, failure_of
from oastream.files import Replacement, replace_file
from oastream.output.destination import find_descriptor
from oastream.system_errors import describe_error


class PageFile:
    """FILE. What is no regular file, such as /dev/null, is only written to, and once.

    A page is put by one thread at a time, and none after the last.
    """

    def __init__(self, path: str) -> None:
        self._name = path
        self._path = path
        self._lock = threading.Lock()
        self._is_final = False
        self.is_there = False
        """Whether a page of this run is."""
        self._is_regular = os.path.isfile(path) or not os.path.exists(path)
        if self._is_regular:
            self._path = os.path.realpath(path)  # the file is replaced, and not a link to it
        try:
            self._check()
        except OSError as error:
            raise self._failure(error) from error

    def put_interim(self, page: bytes) -> None:
        """Put a page that another will follow: where that fails, the last one tells."""
        with self._lock:
            if not self._is_final and self._is_regular:
                self._try_to_replace(page)

    def put(self, page: bytes) -> None:
        """Put the last page. Raises `Failure` with outcome output."""
        with self._lock:
            self._is_final = True
            try:
                self._write(page)
            except OSError as error:
                raise self._failure(error) from error
            self.is_there = True

    def _check(self) -> None:
        """Raise `OSError` for what would keep a page from being written."""
        if os.path.isdir(self._path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_named_fifo(self._path):
            raise OSError(errno.EINVAL, "it is a FIFO")  # whose reader would be waited for
        if self._is_regular:
            Replacement(self._path, 0o600).discard()

    def _try_to_replace(self, page: bytes) -> None:
        try:
            self._write(page)
        except OSError:
            return
        self.is_there = True

    def _write(self, page: bytes) -> None:
        if not self._is_regular:
            with open(self._path, "wb", buffering=0) as file:
                file.write(page)
            return
        replace_file(self._path, page, 0o600)

    def _failure(self, error: OSError) -> Failure:
        return failure_of(Outcome.OUTPUT, f"{self._name} cannot be written", describe_error(error))


def _is_named_fifo(path: str) -> bool:
    """A FIFO that is to be opened; /dev/stdout is one that is open already."""
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode) and find_descriptor(path) is None
