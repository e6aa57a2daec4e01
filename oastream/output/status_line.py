"""The line that a person at a terminal sees while nothing comes: how long, and what for. Gone when the answer begins.

In: phases of the run, ticks of its waits. Out: one line that overwrites itself, by way of `Stderr`.
Refuses to know what is waited for. Shown only where somebody watches, and only once nobody types any more:
others (sudo, ssh, the user's own typing) use the terminal too while stdin is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from oastream.output.stderr import STDERR, Stderr

SHOWN_AFTER = 1.0
"""Seconds of silence before the line appears."""
TICK = 0.25


def is_wanted(environ: Mapping[str, str], quiet: bool, verbose: int) -> bool:
    """Whether somebody watches stderr, on a terminal that can erase a line, and has not asked for something else."""
    if quiet or verbose or environ.get("TERM", "") in ("", "dumb"):
        return False
    with contextlib.suppress(OSError):
        return os.isatty(STDERR)
    return False


class StatusLine:
    """Elapsed time and phase; times in seconds of `now`. Off until `start`, and after `stop`."""

    def __init__(self, now: Callable[[], float], stderr: Stderr) -> None:
        self.is_on = False
        self._now = now
        self._stderr = stderr
        self._since = now()
        self._phase = "waiting"
        self._until: float | None = None

    def start(self) -> None:
        """Begin to count the seconds; the line appears with a tick."""
        self.is_on = True
        self._since = self._now()

    def stop(self) -> None:
        """Take the line away for good: whoever watches has something better to look at."""
        if self.is_on:
            self.is_on = False
            self._stderr.erase_status()

    def show_phase(self, phase: str, until: float | None = None) -> None:
        """Say what the wait is for; with `until`, the moment at which it ends, counted down to."""
        self._phase = phase
        self._until = until

    def tick(self) -> None:
        """Draw the line anew. A countdown shows at once: its message has just said what it is for."""
        if not self.is_on:
            return
        elapsed = self._now() - self._since
        if self._until is not None:
            left = max(0.0, self._until - self._now())
            self._stderr.draw_status(f"{self._phase} {left:.0f} s")
        elif elapsed >= SHOWN_AFTER:
            self._stderr.draw_status(f"{self._phase} {elapsed:.0f} s")
