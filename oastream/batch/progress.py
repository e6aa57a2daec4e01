"""How far a batch is: a bar on a terminal, a line every so often elsewhere.

In: the figures of the run, as they are. Out: what is on stderr. tqdm words the bar; it is loaded on a terminal only.
The bar is stderr's status line, which makes way for every message.
"""

from __future__ import annotations

import asyncio
import os
import time

from oastream.batch.options import BatchOptions
from oastream.batch.plan import Plan, Standing
from oastream.batch.recorder import Figures
from oastream.batch.runner import Runner
from oastream.batch.source import FileSource, PipeSource
from oastream.output.stderr import STDERR, Reporter, Stderr

_REDRAW = 0.2
_ROOM_FOR_KEYS = 3
"""Columns that a ^C may take: it would push a bar as wide as the terminal into the next line."""
_RECENT = 10.0
"""Seconds over which tokens a second are told."""


class Progress:
    """Shown while the run lasts."""

    def __init__(
        self,
        options: BatchOptions,
        plan: Plan,
        source: FileSource | PipeSource,
        figures: Figures,
        runner: Runner,
        stderr: Stderr,
        reporter: Reporter,
    ) -> None:
        self._options = options
        self._plan = plan
        self._source = source
        self._figures = figures
        self._runner = runner
        self._stderr = stderr
        self._reporter = reporter
        self._began = time.monotonic()
        self._window = (self._began, 0.0)
        self._speed = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        seconds = self._options.progress
        while seconds:
            await asyncio.sleep(seconds)
            self._reporter.line(self.line())
        if self._options.request.quiet or not os.isatty(STDERR):
            return
        while True:
            self._stderr.draw_status(self.bar())
            await asyncio.sleep(_REDRAW)

    def close(self) -> None:
        """Take the bar away."""
        self._stderr.erase_status()

    def line(self) -> str:
        """How far it is, in words."""
        figures = self._figures
        elapsed = max(1e-3, time.monotonic() - self._began)
        parts = [
            f"{self._share()} answered",
            *self._current_parts(),
            f"{figures.done / elapsed:.1f} items/s",
            f"{figures.tokens / elapsed:.0f} tokens/s",
        ]
        return ", ".join(parts)

    def bar(self) -> str:
        """How far it is, as a bar in one line of the terminal."""
        from tqdm import tqdm  # only on a terminal

        counts = self._plan.counts
        done = self._figures.done + counts[Standing.ANSWERED]
        width = max(1, _columns() - _ROOM_FOR_KEYS)
        text: str = tqdm.format_meter(
            done,
            self._total() or 0,  # 0 is a bar without an end
            time.monotonic() - self._began,
            ncols=width,
            unit="item",
            initial=counts[Standing.ANSWERED],
            postfix=", ".join([*self._current_parts(), f"{self._tokens_per_second():.0f} tok/s"]),
        )
        return text[:width]  # a bar of two lines could not be drawn over

    def _current_parts(self) -> list[str]:
        parts = [f"{self._figures.errors.total()} failed", f"{self._runner.in_flight} in flight"]
        if self._runner.waits_for_limit:
            parts.append("waits for a limit")
        return parts

    def _count_answered(self) -> int:
        return self._figures.outcomes.total() + self._plan.counts[Standing.ANSWERED]

    def _share(self) -> str:
        total = self._total()
        return str(self._count_answered()) if total is None else f"{self._count_answered()} of {total}"

    def _total(self) -> int | None:
        """How many items there are; None while a pipe may still bring more."""
        if not self._source.has_told_all:
            return None
        return self._plan.counts[Standing.TO_ASK] + self._plan.counts[Standing.ANSWERED]

    def _tokens_per_second(self) -> float:
        """Of the last seconds, not of the whole run."""
        began, tokens = self._window
        elapsed = time.monotonic() - began
        if elapsed >= _RECENT or not self._speed:
            self._speed = (self._figures.tokens - tokens) / max(elapsed, 1e-3)
        if elapsed >= _RECENT:
            self._window = (time.monotonic(), self._figures.tokens)
        return self._speed


def _columns() -> int:
    try:
        return os.get_terminal_size(STDERR).columns or 80
    except OSError:
        return 80
