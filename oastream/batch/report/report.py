"""What --report does, and when: the run is looked at while it goes on, and its page written.

In: a run, its clock. Out: FILE, replaced as a whole every ten seconds and at the end. What is on the page is `page`'s.
It only looks: nothing that is sent or recorded depends on it.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import Counter
from collections.abc import Iterable

from oastream import __version__
from oastream.batch.backlog import Backlog
from oastream.batch.cli import PROGRAM
from oastream.batch.options import BatchOptions
from oastream.batch.pacing.gate import Settings
from oastream.batch.plan import Plan
from oastream.batch.recorder import BatchRecorder, Figures
from oastream.batch.report.failures import Failures
from oastream.batch.report.gate import WatchedGate
from oastream.batch.report.page import REFRESH, render
from oastream.batch.report.page_file import PageFile
from oastream.batch.report.sampling import LimitKey, Sampler, Totals
from oastream.batch.report.snapshot import ServerFigures, Snapshot
from oastream.batch.runner import Runner
from oastream.batch.setup import Setup
from oastream.batch.summary import Sent, stats_fields, tally
from oastream.display import one_line
from oastream.exits import Failure, Outcome, Verdict
from oastream.redaction import KnownSecrets, mask_url

_FIRST_PAGE = 1.0
"""Seconds until there is a page to look at."""
_LONGEST_STEP = 1.0
"""Seconds between two samples at most: levels within a wide bucket are still seen."""
_MOST_UNPLAIN = 200
"""Answers that are cut, refused and the like, by name. They are among the answers; failures matter more."""
_THINNED = 20_000
"""Times that are sorted for the page of a run that goes on: 5 ms on the loop, where a million would stop it for 500."""
_LONGEST_NAME = 120
_LONGEST_FACT = 300
"""Characters."""
_PERIODS = ("second", "minute", "hour", "day", "month")


class Report:
    """The page of one run. `began` is the run's first moment on the monotonic clock.

    Raises `Failure` with outcome output where FILE cannot be written.
    """

    def __init__(self, options: BatchOptions, setup: Setup, began: float, secrets: KnownSecrets) -> None:
        assert options.report is not None
        self._options = options
        self._setup = setup
        self._secrets = secrets
        self._file = PageFile(options.report)
        self._began = began
        self._began_wall = time.time() - (time.monotonic() - began)
        self._sampler = Sampler()
        self._gates: list[WatchedGate] = []
        self._failures = Failures()
        self._unplain = Failures(_MOST_UNPLAIN)
        self._figures = Figures()
        self._runner: Runner | None = None
        self._sending_since = began

    def new_gate(self, settings: Settings) -> WatchedGate:
        """The gate of the next server, which will be looked at."""
        gate = WatchedGate(settings)
        self._gates.append(gate)
        return gate

    async def watch(self, backlog: Backlog, recorder: BatchRecorder, runner: Runner) -> None:
        """Look at the run again and again, until cancelled."""
        self._figures, self._runner = recorder.figures, runner
        self._sending_since = time.monotonic()
        recorder.on_unplain = self._take_unplain
        next_page = self._sending_since + _FIRST_PAGE
        while True:
            await asyncio.sleep(min(self._sampler.width, _LONGEST_STEP))
            self._sample()
            if time.monotonic() >= next_page:
                seconds = time.monotonic() - self._began
                page = render(self._snapshot(backlog, _thin(self._figures), seconds, runner.held, None))
                await asyncio.to_thread(self._file.put_interim, page)
                next_page = time.monotonic() + REFRESH

    def finish(self, backlog: Backlog, sent: Sent, seconds: float, verdict: Verdict) -> Verdict:
        """Write the page for the last time. The verdict is that of the run, or that FILE cannot be written."""
        if verdict.outcome is Outcome.INPUT and not sent.figures.done and not self._file.is_there:
            return verdict  # nothing was sent, as with any bad input
        if self._runner is not None:
            self._sample()
        try:
            self._file.put(render(self._snapshot(backlog, sent.figures, seconds, sent.held, verdict)))
        except Failure as failed:
            return verdict if verdict.outcome is Outcome.OUTPUT else failed.verdict
        return verdict

    def _take_unplain(self, custom_id: str, verdict: Verdict) -> None:
        if verdict.has_answer:
            self._unplain.add(custom_id, verdict)
        else:
            self._failures.add(custom_id, verdict)

    def _sample(self) -> None:
        assert self._runner is not None
        figures = self._figures
        refused = sum(gate.pace.counts.refused for gate in self._gates)
        totals = Totals(figures.outcomes.total(), figures.errors.total(), figures.tokens, refused)
        first_events = [time for gate in self._gates for time in gate.take_first_events()]
        at = time.monotonic() - self._sending_since
        self._sampler.sample(at, totals, self._runner.in_flight, self._fills(), first_events)

    def _fills(self) -> dict[LimitKey, float]:
        """What is left of each limit; of two that have the same words the emptier one."""
        fills: dict[LimitKey, float] = {}
        for number, gate in enumerate(self._gates):
            for name, fill in gate.pace.fills().items():
                key = LimitKey(number, describe_limit(name))
                fills[key] = min(fill, fills.get(key, 1.0))
        return fills

    def _snapshot(
        self, backlog: Backlog, figures: Figures, seconds: float, held: float, verdict: Verdict | None
    ) -> Snapshot:
        """`seconds` is how long the run has lasted, `held` how long limits held it back."""
        plan = backlog.plan
        return Snapshot(
            name=self._secrets.mask(one_line(self._setup.input.name, _LONGEST_NAME)),
            verdict=verdict,
            accepted=self._options.request.ok,
            began=self._began_wall,
            written=self._began_wall + seconds,
            stats=stats_fields(plan, figures, seconds, held),
            tally=tally(plan, figures, len(backlog.bad_lines)),
            before=_before(plan),
            curves=self._sampler.curves(),
            servers=self._servers(),
            failures=self._failures,
            unplain=self._unplain,
            facts=_facts(self._options),
            errors_path=self._options.errors_path,
            program=f"{PROGRAM} {__version__}",
            mask=self._secrets.mask,
        )

    def _servers(self) -> list[ServerFigures]:
        servers = []
        for origin, gate in zip(self._setup.origins, self._gates, strict=False):  # no gates where nothing is sent
            counts = gate.pace.counts
            servers.append(
                ServerFigures(
                    one_line(mask_url(origin.base_url), _LONGEST_NAME),
                    counts.starts,
                    counts.refused,
                    counts.held_seconds,
                )
            )
        return servers


def describe_limit(name: str) -> str:
    """The name of a limit, the words of its headers, as people say it: `tokens per minute`."""
    words = name.split()[1:] or ["requests"]  # the first is the family of headers
    periods = [word for word in words if word in _PERIODS]
    things = [word for word in words if word not in _PERIODS]
    return " per ".join([" ".join(things) or "requests", *periods])


def _before(plan: Plan) -> Counter[Outcome]:
    """How items ended in earlier runs."""
    return plan.outcomes + plan.failed


def _thin(figures: Figures) -> Figures:
    """The same figures with some of the times, evenly chosen, where there are very many."""
    thinned = copy.copy(figures)
    step = max(1, len(figures.elapsed_ms) // _THINNED)
    thinned.first_event_ms = figures.first_event_ms[::step]
    thinned.elapsed_ms = figures.elapsed_ms[::step]
    return thinned


def _facts(options: BatchOptions) -> list[tuple[str, str]]:
    """What the user asked for, as far as it explains what is seen."""
    shard = options.shard
    limits = [
        f"{value:,g} {what} per minute" for value, what in ((options.rpm, "requests"), (options.tpm, "tokens")) if value
    ]
    facts = [
        ("Answers", options.output or "stdout"),
        ("Errors", options.errors_path or "stdout"),
        ("Model", options.request.model or ""),
        ("Servers", _list(mask_url(url) for url in options.base_urls)),
        ("Most in flight, per server", str(options.concurrency or "auto")),
        ("Limits given, per server", _list(limits)),
        ("Shard", "" if shard is None else f"{shard.number} of {shard.total}, counted from 0"),
    ]
    return [(name, one_line(value, _LONGEST_FACT)) for name, value in facts]


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)
