"""A call that blocks, made in a thread: the run that waits for it still heeds signals, deadlines and its reader.

In: something to call, a deadline. Out: what it returned or raised. DNS, flock(2), opening a FIFO and a sign-in cannot
be polled; the end of the thread that does them can: it closes a pipe. Knows nothing of what is called.
"""

from __future__ import annotations

import _thread  # what `threading` starts its threads with; its Thread would have main wait for one that never ends
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from oastream.watch import READ, Watch

T = TypeVar("T")


def call_in_thread(
    work: Callable[[], T],
    watch: Watch,
    deadline: float,
    *,
    meanwhile: Callable[[], object] | None = None,
    release: Callable[[T], object] | None = None,
) -> T:
    """Return what `work` returns, or raise what it raises.

    `meanwhile` is called in this thread once the other has started. `release` gets a result that arrives when nobody
    waits for it any more, such as a file to close.
    Raises `TimeoutError` when the deadline (a moment of `watch.now`, in seconds) passes first, `Failure` for a signal
    or for a reader of stdout that has gone; the thread is then left to itself.
    """
    call = _Call(work, release)
    _thread.start_new_thread(call.run, ())
    try:
        if meanwhile is not None:
            meanwhile()
        if not watch.wait_for(call.ended, READ, deadline):
            raise TimeoutError
        return call.result()
    finally:
        call.abandon()


class _Call(Generic[T]):
    """One call in a thread; `ended` becomes readable when it has returned or raised.

    A value that it returns goes to exactly one taker: to `result`, or to `release` once the call is abandoned. The lock
    is for those two: the thread may return at the moment in which the other gives up.
    """

    def __init__(self, work: Callable[[], T], release: Callable[[T], object] | None) -> None:
        self._work = work
        self._release = release
        self._lock = threading.Lock()
        self._returned: list[T] = []  # one value, until it is taken
        self._raised: BaseException | None = None
        self._is_abandoned = False
        self.ended, self._write_end = os.pipe()

    def run(self) -> None:
        """In the thread."""
        try:
            value = self._work()
            with self._lock:
                self._returned.append(value)
                self._release_if_abandoned()
        except BaseException as error:  # whatever it is, it belongs to the thread that waits
            self._raised = error
        finally:
            os.close(self._write_end)  # what makes `ended` readable

    def result(self) -> T:
        """What it returned or raised; asked for once, when it has ended."""
        if self._raised is not None:
            raise self._raised
        return self._returned.pop()

    def abandon(self) -> None:
        """Stop waiting: a value that was not taken is released, now or when it arrives."""
        with self._lock:
            self._is_abandoned = True
            self._release_if_abandoned()
        os.close(self.ended)

    def _release_if_abandoned(self) -> None:
        while self._is_abandoned and self._returned:
            value = self._returned.pop()
            if self._release is not None:
                self._release(value)
