"""How long each wait of a run may take. Moments and seconds are those of `time.monotonic`; infinity is no limit.

In: the options and a clock. Out: the moments at which waits end. What a deadline that has passed means is not known
here; those of a stream are counted by `Answer`, from the same limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from oastream.events.answer import Limits
from oastream.options import Options


class Deadlines:
    """The moments at which waits end, from the options' limits. None is later than the end of --max-time."""

    def __init__(self, options: Options, now: Callable[[], float], started: float) -> None:
        self._options = options
        self.now = now
        self.run = started + options.max_time if options.max_time else math.inf
        """The end of --max-time."""
        self.limits = Limits(options.first_event_timeout, options.idle_timeout, options.max_time, self.run)

    def after(self, seconds: float) -> float:
        """The moment `seconds` from now; 0 is no limit of its own."""
        return self.limits.deadline(self.now(), seconds)

    def connect(self) -> float:
        return self.after(self._options.connect_timeout)

    def first_event(self) -> float:
        return self.after(self._options.first_event_timeout)

    def retries(self) -> float:
        return self.after(self._options.retry_max_time)

    @property
    def run_passed(self) -> bool:
        return self.now() >= self.run
