"""How far a batch is: a bar on a terminal, a line every so often elsewhere.

In: the figures of the run, as they are. Out: what is on stderr. tqdm draws the bar; it is loaded on a terminal only.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from oastream.batch.options import BatchOptions
from oastream.batch.plan import Plan, Standing
from oastream.batch.recorder import Figures
from oastream.batch.runner import Runner, Server
from oastream.output.stderr import STDERR, Reporter

_REDRAW = 0.2


class Progress:
    """Shown while the run lasts."""

    def __init__(
        self,
        options: BatchOptions,
        plan: Plan,
        figures: Figures,
        runner: Runner,
        servers: list[Server],
        reporter: Reporter,
    ) -> None:
        self._options = options
        self._plan = plan
        self._figures = figures
        self._runner = runner
        self._servers = servers
        self._reporter = reporter
        self._began = time.monotonic()
        self._bar: Any = None

    async def run(self) -> None:
        """Until it is cancelled."""
        seconds = self._options.progress
        if seconds:
            while True:
                await asyncio.sleep(seconds)
                self._reporter.line(self.line())
        if os.isatty(STDERR) and not self._options.request.quiet:
            self._open_bar()
            while True:
                self._draw()
                await asyncio.sleep(_REDRAW)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def line(self) -> str:
        """How far it is, in words."""
        figures, counts = self._figures, self._plan.counts
        total = counts[Standing.TO_ASK] + counts[Standing.ANSWERED]
        done = figures.outcomes.total() + counts[Standing.ANSWERED]
        elapsed = max(1e-3, time.monotonic() - self._began)
        parts = [
            f"{done} of {total} answered",
            f"{figures.errors.total()} failed",
            f"{self._runner.in_flight} in flight",
            f"{figures.done / elapsed:.1f} items/s",
            f"{figures.tokens / elapsed:.0f} tokens/s",
        ]
        return ", ".join(parts)

    def _open_bar(self) -> None:
        from tqdm import tqdm  # only on a terminal

        counts = self._plan.counts
        self._bar = tqdm(
            total=counts[Standing.TO_ASK] + counts[Standing.ANSWERED],
            initial=counts[Standing.ANSWERED],
            leave=False,
            unit="item",
            dynamic_ncols=True,
        )

    def _draw(self) -> None:
        figures, bar = self._figures, self._bar
        bar.total = self._plan.counts[Standing.TO_ASK] + self._plan.counts[Standing.ANSWERED]
        elapsed = max(1e-3, time.monotonic() - self._began)
        failed, speed = figures.errors.total(), figures.tokens / elapsed
        bar.set_postfix_str(f"{failed} failed, {self._runner.in_flight} in flight, {speed:.0f} tok/s", refresh=False)
        bar.n = figures.done + self._plan.counts[Standing.ANSWERED]
        bar.refresh()
