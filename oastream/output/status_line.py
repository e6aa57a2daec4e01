"""The line that a person at a terminal sees while nothing comes: how long, and what for. Gone when text starts.

In: ticks and phases. Out: one line that overwrites itself, for whoever writes to stderr. Exists only where somebody
watches, and only once nobody types any more: others use the terminal too while stdin is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

STDERR = 2
SHOWN_AFTER = 1.0
"""Seconds of silence before the line appears."""
TICK = 0.25
_ERASE = b"\r\x1b[K"


def wanted(environ: Mapping[str, str], quiet: bool, verbose: int) -> bool:
    """Whether somebody watches stderr, on a terminal that can erase a line, and has not asked for something else."""
    if quiet or verbose or environ.get("TERM", "") in ("", "dumb"):
        return False
    with contextlib.suppress(OSError):
        return os.isatty(STDERR)
    return False


class StatusLine:
    """Elapsed time and phase; times in seconds of `now`."""

    def __init__(self, now: Callable[[], float], show: Callable[[bytes], object]) -> None:
        self._now = now
        self._show = show
        self._since = now()
        self._phase = "waiting"
        self._until: float | None = None
        self._drawn = False

    def phase(self, words: str, until: float | None = None) -> None:
        """What the wait is for; with `until`, the moment at which it ends, counted down to."""
        self._phase = words
        self._until = until

    def tick(self) -> None:
        """Draw the line anew, once there was nothing for a moment."""
        if self._until is not None:
            self._draw(f"{self._phase} {max(0.0, self._until - self._now()):.0f} s")
        elif self._now() - self._since >= SHOWN_AFTER:
            self._draw(f"{self._phase} {self._now() - self._since:.0f} s")

    def erase(self) -> None:
        """Leave no trace."""
        if self._drawn:
            self._drawn = False
            self._show(_ERASE)

    def _draw(self, text: str) -> None:
        self._drawn = True
        self._show(_ERASE + text.encode())
