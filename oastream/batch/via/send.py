"""The run of --via on one page: what is left of an earlier one, pieces there, looks, answers back.

In: `BatchOptions`, a `Setup`, a `Backlog`. Out: what was `Sent`, as of a run that asks each item by itself. A signal
and --max-time end every wait; the batches go on, and FILE.via has their ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from oastream.batch.backlog import Backlog
from oastream.batch.lines import JournalLines
from oastream.batch.options import BatchOptions
from oastream.batch.plan import Standing
from oastream.batch.recorder import BatchRecorder, Folder
from oastream.batch.servers import Origin
from oastream.batch.setup import Setup
from oastream.batch.source import FileSource
from oastream.batch.summary import Sent
from oastream.batch.via.delivery import Delivery, sync_lines
from oastream.batch.via.ledger import Ledger, Stage
from oastream.batch.via.pieces import CutPiece, cut_pieces
from oastream.batch.via.service import Service
from oastream.exits import Failure, Outcome, Verdict
from oastream.output.stderr import STDERR, Reporter, Stderr, Trace
from oastream.watch import Watch

FIRST_LOOK = 2.0
LONGEST_LOOK = 60.0
_FAILURES = frozenset({Outcome.OUTPUT, Outcome.INPUT, Outcome.USAGE, Outcome.CONFIG, Outcome.JOURNAL, Outcome.INTERNAL})
"""Outcomes that are the run's own; others are why it was broken off."""


def send_via(
    options: BatchOptions,
    setup: Setup,
    backlog: Backlog,
    environ: Mapping[str, str],
    watch: Watch,
    stderr: Stderr,
    reporter: Reporter,
) -> Sent:
    """Ask everything that the backlog has, and fetch what earlier runs have asked."""
    assert isinstance(backlog.source, FileSource), "a pipe was kept in a file"
    return _Sending(options, setup, backlog, environ, watch, stderr, reporter).run(backlog.source)


class _Sending:
    """The parts of a run."""

    def __init__(
        self,
        options: BatchOptions,
        setup: Setup,
        backlog: Backlog,
        environ: Mapping[str, str],
        watch: Watch,
        stderr: Stderr,
        reporter: Reporter,
    ) -> None:
        self._options = options
        self._setup = setup
        self._backlog = backlog
        self._watch = watch
        self._stderr = stderr
        self._reporter = reporter
        self._told = watch.now()
        self._look_after = options.poll or FIRST_LOOK
        self._ledger = Ledger(str(options.via_path), setup.origins[0].base_url)
        self._errors = backlog.open_errors(options.errors_path)
        self._recorder = self._make_recorder()
        request, origin = options.request, setup.origins[0]
        assert isinstance(origin, Origin), "a cloud of --provider has another Batch API"
        trace = Trace(stderr, request.verbose)
        self._service = Service(origin, environ, request.connect_timeout, watch, request.max_time, trace)
        self._origin = origin

    def run(self, source: FileSource) -> Sent:
        """Until all is fetched, or nothing more can be."""
        failure: Failure | None = None
        try:
            self._ledger.load()
            delivery = self._make_delivery(source)
            delivery.check_requests(self._options.redo_changed)
            self._watch.catch_signals()
            if self._options.cancel:
                self._cancel(delivery)
            else:
                self._deliver(delivery)
        except Failure as failed:
            failure = failed
            if failed.verdict.signal is not None:
                self._watch.acknowledge_signal()
        self._stderr.erase_status()
        return self._sum_up(failure)

    def _sum_up(self, failure: Failure | None) -> Sent:
        own, aborted = None, None
        if failure is not None:
            self._tell_running()
            if failure.verdict.outcome in _FAILURES:
                own = failure
            elif failure.verdict.signal is None:
                aborted = failure.verdict
        elif self._options.cancel:
            aborted = Verdict(Outcome.ABORTED, "the batches were cancelled")
        try:
            if self._errors is not None:
                self._errors.close()
        except Failure as failed:
            own = own or failed
        signal = None if failure is None else failure.verdict.signal
        return Sent(self._recorder.figures, 0.0, aborted, signal, own)

    def _tell_running(self) -> None:
        """The ids of what goes on without us."""
        for piece in self._ledger.pieces:
            if piece.batch_id is not None:
                items = "1 item" if len(piece.entries) == 1 else f"{len(piece.entries)} items"
                self._reporter.line(f"{piece.batch_id} keeps running ({items})")

    # --- all that is to be asked

    def _deliver(self, delivery: Delivery) -> None:
        delivery.recover()
        cuts: Iterator[CutPiece] | None = cut_pieces(delivery.works())
        while True:
            if cuts is not None and self._submit(delivery, cuts):
                cuts = None
            if cuts is None and delivery.has_released:
                cuts = cut_pieces(delivery.works())
                continue
            if not self._ledger.pieces:
                return
            self._wait()
            self._look(delivery)

    def _submit(self, delivery: Delivery, cuts: Iterator[CutPiece]) -> bool:
        """Send pieces until one has to wait. True when there are no more."""
        while not any(piece.stage is Stage.WAITING for piece in self._ledger.pieces):
            cut = next(cuts, None)
            if cut is None:
                return True
            delivery.submit(cut)
            self._tell_progress()
        return False

    def _look(self, delivery: Delivery) -> None:
        """One look at each running piece, and a try for one that waits."""
        before = len(self._ledger.pieces)
        for piece in list(self._ledger.pieces):
            if piece.is_running:
                delivery.look(piece)
        delivery.try_again()
        if len(self._ledger.pieces) < before:
            self._look_after = self._options.poll or FIRST_LOOK
        self._tell_progress()

    def _wait(self) -> None:
        """Until the next look; the one after it comes later."""
        self._service.sleep(self._look_after)
        self._look_after = self._options.poll or min(2 * self._look_after, LONGEST_LOOK)

    def _cancel(self, delivery: Delivery) -> None:
        """--cancel: nothing new is sent; what was finished is fetched."""
        delivery.is_cancelling = True
        delivery.recover()
        for piece in list(self._ledger.pieces):
            if piece.is_running:
                delivery.cancel(piece)
            else:
                self._ledger.drop(piece)
        while self._ledger.pieces:
            for piece in list(self._ledger.pieces):
                if piece.is_running:
                    delivery.look(piece)
                else:  # it failed at validation, since the queue was full
                    self._ledger.drop(piece)
            if self._ledger.pieces:
                self._wait()

    # --- for people

    def _tell_progress(self) -> None:
        interval, now = self._options.progress, self._watch.now()
        if interval and now - self._told >= interval:
            self._told = now
            self._reporter.line(self._progress_line())
        elif not interval and not self._options.request.quiet and os.isatty(STDERR):
            self._stderr.draw_status(self._progress_line())

    def _progress_line(self) -> str:
        figures, total = self._recorder.figures, self._backlog.plan.counts[Standing.TO_ASK]
        running = sum(piece.is_running for piece in self._ledger.pieces)
        waiting = len(self._ledger.pieces) - running
        failed = figures.errors.total()
        return f"{figures.done} of {total} items, {failed} failed; {running} batches running, {waiting} waiting"

    # --- parts

    def _make_recorder(self) -> BatchRecorder:
        options, journal = self._options, self._backlog.journal
        assert journal is not None, "--via needs -o"
        answers = JournalLines(journal, is_synced=False)
        return BatchRecorder(
            self._setup.layout,
            answers,
            self._errors or answers,
            None if options.output_dir is None else Folder(options.output_dir),
            self._setup.schema,
            options.request.ok,
            keeps_partial=False,
            needs_body=options.format == "batch",
            needs_calls=options.format == "tools",
            mask=self._stderr.secrets.mask,
        )

    def _make_delivery(self, source: FileSource) -> Delivery:
        options, journal = self._options, self._backlog.journal
        assert journal is not None, "--via needs -o"
        return Delivery(
            self._ledger,
            self._service,
            self._recorder,
            source,
            lambda: sync_lines(journal, self._errors),
            self._origin.request,
            self._watch,
            options.request.retry,
            options.outage_max,
            options.format == "tools",
        )
