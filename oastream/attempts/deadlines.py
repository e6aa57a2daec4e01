"""How long each wait of a run may take. Moments and seconds are those of `time.monotonic`; infinity is no limit."""

from __future__ import annotations

import math
from collections.abc import Callable

from oastream.options import Options

LINGER = 2.0
"""Seconds to wait, once the answer is complete, for the usage and `[DONE]` that may follow."""
ERROR_BODY_TIME = 5.0


class Deadlines:
    """The moments at which waits end, from the options' limits. None is later than the end of --max-time."""

    def __init__(self, options: Options, now: Callable[[], float], started: float) -> None:
        self._options = options
        self.now = now
        self.run = started + options.max_time if options.max_time else math.inf
        """The end of --max-time."""

    def after(self, seconds: float) -> float:
        """The moment `seconds` from now; 0 is no limit of its own."""
        end = self.now() + seconds if seconds else self.run
        return end if end < self.run else self.run

    def connect(self) -> float:
        return self.after(self._options.connect_timeout)

    def first_event(self) -> float:
        return self.after(self._options.first_event_timeout)

    def idle(self) -> float:
        return self.after(self._options.idle_timeout)

    def retries(self) -> float:
        return self.after(self._options.retry_max_time)

    @property
    def run_passed(self) -> bool:
        return self.now() >= self.run
