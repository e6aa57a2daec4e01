"""How it ended: what sending came to → the journal in its last order, the figures on stderr, the verdict.

In: `BatchOptions`, the `Backlog`, what was `Sent`. Out: a `Verdict`. Its words are `summary`'s; what became of each
item is in its line already, and is not looked at again.
"""

from __future__ import annotations

import array
from bisect import bisect_left

from oastream.batch.backlog import Backlog
from oastream.batch.journal import Answers, Journal
from oastream.batch.keys import id_key
from oastream.batch.options import BatchOptions
from oastream.batch.plan import Plan, Standing
from oastream.batch.recorder import Figures
from oastream.batch.records import Layout
from oastream.batch.source import PipeSource
from oastream.batch.summary import (
    GO_ON_HINT,
    LOST_HINT,
    UNREAD,
    Sent,
    judge,
    judge_aborted,
    stats_fields,
    stats_line,
    tally,
)
from oastream.exits import Failure, Outcome, Verdict
from oastream.lenient_json import dumps
from oastream.output.stderr import Reporter, Stderr


def finish(
    options: BatchOptions,
    layout: Layout,
    backlog: Backlog,
    sent: Sent,
    seconds: float,
    stderr: Stderr,
    reporter: Reporter,
) -> Verdict:
    """The verdict on a run of so many seconds. What kept it from being another comes first:

    output that cannot be written, then a signal, then any other failure, then why it was broken off.
    """
    failure = sent.failure
    if failure is not None and (failure.verdict.outcome is Outcome.OUTPUT or sent.signal is None):
        return _with_hint(failure.verdict, backlog)
    if sent.signal is not None:
        return Verdict(Outcome.SIGNAL, signal=sent.signal)
    if backlog.journal is not None and backlog.plan.order is not None and _is_complete(backlog.plan, sent.figures):
        _forget_answers(backlog.journal, backlog.plan)
        try:
            _put_into_order(backlog.journal, layout, backlog.plan.order)
        except Failure as failed:
            return failed.verdict
    if options.request.stats is not None:
        fields = stats_fields(backlog.plan, sent.figures, seconds, sent.held)
        if options.request.stats == "json":
            stderr.write_line(dumps(fields).decode())
        else:
            reporter.line(stats_line(fields))
    return _judge(options, backlog, sent)


def _with_hint(verdict: Verdict, backlog: Backlog) -> Verdict:
    """A run that its input has ended can be gone on with, where there is a journal."""
    if verdict.outcome is not Outcome.INPUT or verdict.hint or not backlog.journal or not backlog.source.has_lines:
        return verdict
    return verdict.with_hint(GO_ON_HINT)


def _is_complete(plan: Plan, figures: Figures) -> bool:
    return figures.outcomes.total() == plan.counts[Standing.TO_ASK] and not plan.counts[Standing.FAILED_FOR_GOOD]


def _forget_answers(journal: Journal, plan: Plan) -> None:
    """Which ids are answered is not needed any more, and takes 106 bytes each."""
    journal.answers = Answers()
    plan.use_answers(journal.answers)


def _put_into_order(journal: Journal, layout: Layout, order: array.array[int]) -> None:
    """--order input: the answers of a file in the order of its items."""
    journal.reorder(layout, _Positions(order).find)


class _Positions:
    """Where each id stands in the input, in 16 bytes an id; a dict of them took 180."""

    def __init__(self, order: array.array[int]) -> None:
        by_key = sorted(range(len(order)), key=order.__getitem__)
        self._positions = array.array("q", by_key)
        self._keys = array.array("q", (order[position] for position in by_key))

    def find(self, custom_id: str) -> int | None:
        """Its place, from 0; None for an id that the input does not have."""
        key = id_key(custom_id)
        at = bisect_left(self._keys, key)
        if at == len(self._keys) or self._keys[at] != key:
            return None
        return self._positions[at]


def _judge(options: BatchOptions, backlog: Backlog, sent: Sent) -> Verdict:
    accepted, errors_path = options.request.ok, options.errors_path
    counts = tally(backlog.plan, sent.figures, len(backlog.bad_lines))
    if sent.aborted is None:
        return judge(counts, accepted, errors_path)
    verdict = judge_aborted(sent.aborted, counts, accepted, errors_path)
    if not backlog.source.is_over and isinstance(backlog.source, PipeSource):
        verdict = verdict._replace(more_lines=(*verdict.more_lines, UNREAD))
    return verdict.with_hint(LOST_HINT if backlog.journal is None else GO_ON_HINT)
