"""While requests are sent: items and servers → lines in the answers and in the errors, until all is done.

In: `BatchOptions`, a `Setup`, a `Backlog`. Out: what was `Sent`. The parts that work meanwhile are made and joined
here, on one asyncio loop: source → runner → recorder → lines; beside them signals, the clock of --max-time, the syncs
of the journal and the progress on stderr. What is sent next is the runner's to decide, how a line looks the recorder's.
"""

from __future__ import annotations

import asyncio
import math
import resource
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

from oastream.batch.backlog import Backlog
from oastream.batch.journal import Journal
from oastream.batch.lines import ErrorsFile, JournalLines, OrderedStdout, Stdout
from oastream.batch.options import BatchOptions
from oastream.batch.pacing.gate import Gate
from oastream.batch.pacing.tokens import TokenBudget
from oastream.batch.progress import Progress
from oastream.batch.recorder import BatchRecorder, Figures, Folder, Lines
from oastream.batch.runner import Runner, Settings
from oastream.batch.servers import open_server
from oastream.batch.setup import Setup, empty_failure
from oastream.batch.source import PipeSource
from oastream.batch.summary import Sent
from oastream.exits import Failure, Outcome, Verdict, internal_error
from oastream.output.stderr import Reporter, Stderr, Trace
from oastream.watch import ENDING_SIGNALS, die_of_signal

if TYPE_CHECKING:
    from oastream.batch.report.report import Report

DRAIN = 20.0
"""Seconds that what is in flight may take after SIGTERM, SIGHUP or a run that is broken off."""
STDOUT = 1
_SPARE_DESCRIPTORS = 32


def send_all(
    options: BatchOptions,
    setup: Setup,
    backlog: Backlog,
    stderr: Stderr,
    reporter: Reporter,
    report: Report | None,
) -> Sent:
    """Ask everything that the backlog has.

    Not `asyncio.run`: that ends by waiting for threads, and one may be in a write or a look-up that never ends. The
    process ends instead, and its sockets with it.
    """
    # Not uvloop: a stream takes 350 µs of CPU on either (0.23), and its connections know no happy eyeballs.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_Sending(options, setup, backlog, stderr, reporter, report).run())
    finally:
        for number in ENDING_SIGNALS:
            if loop.remove_signal_handler(number):
                signal.signal(number, signal.SIG_DFL)


class _Sending:
    """The parts of a run that work while its loop runs."""

    def __init__(
        self,
        options: BatchOptions,
        setup: Setup,
        backlog: Backlog,
        stderr: Stderr,
        reporter: Reporter,
        report: Report | None,
    ) -> None:
        self._options = options
        self._setup = setup
        self._backlog = backlog
        self._stderr = stderr
        self._reporter = reporter
        self._report = report
        self._has_told_few_descriptors = False
        self._signals: list[int] = []
        """Those that came, in their order."""

    async def run(self) -> Sent:
        """Until all is done, or nothing more can be."""
        options, backlog, loop = self._options, self._backlog, asyncio.get_running_loop()
        stdout = Stdout(STDOUT)
        if backlog.journal is None:
            stdout.check()
        answers, errors = self._open_lines(stdout)
        known_bad_lines = 0 if errors is answers else len(backlog.bad_lines)
        recorder = self._make_recorder(answers, errors)
        runner = self._make_runner(recorder)
        stdout.on_change = partial(_take_stdout_change, stdout, runner)
        if backlog.journal is None:
            stdout.watch_reader()
        if isinstance(backlog.source, PipeSource):
            backlog.source.start(partial(loop.call_soon_threadsafe, runner.wake))
        self._listen_for_signals(runner)
        if options.request.max_time:
            loop.call_later(options.request.max_time, self._run_out_of_time, runner)
        progress = Progress(
            options, backlog.plan, backlog.source, recorder.figures, runner, self._stderr, self._reporter
        )
        upkeep = self._start_upkeep(progress, recorder, runner)
        try:
            await runner.run()
            for line in backlog.bad_lines[known_bad_lines:]:
                errors.append(line, 0)
            if isinstance(answers, OrderedStdout):
                answers.release()
            await stdout.flush(lambda: runner.drain_deadline)
        except Failure as failed:
            recorder.failure = recorder.failure or failed
        finally:
            for task in upkeep:
                task.cancel()
            progress.close()
        failure = recorder.failure or stdout.failure or _close_errors(errors)
        return self._sum_up(recorder.figures, runner, failure)

    def _start_upkeep(self, progress: Progress, recorder: BatchRecorder, runner: Runner) -> list[asyncio.Task[None]]:
        """What goes on beside the requests, until somebody cancels it."""
        loop, journal, seconds = asyncio.get_running_loop(), self._backlog.journal, self._options.sync
        upkeep = [loop.create_task(progress.run())]
        if journal is not None and seconds:
            upkeep.append(loop.create_task(_sync_regularly(journal, seconds, recorder)))
        if self._report is not None:
            upkeep.append(loop.create_task(self._report.watch(self._backlog, recorder, runner)))
        return upkeep

    def _sum_up(self, figures: Figures, runner: Runner, failure: Failure | None) -> Sent:
        source = self._backlog.source
        failure = failure or source.failure or runner.bug
        if failure is None and not self._signals and not source.has_lines:
            failure = empty_failure(self._setup.input)
        return Sent(figures, runner.held, runner.aborted, self._signals[0] if self._signals else None, failure)

    def _make_recorder(self, answers: Lines, errors: Lines) -> BatchRecorder:
        options = self._options
        return BatchRecorder(
            self._setup.layout,
            answers,
            errors,
            None if options.output_dir is None else Folder(options.output_dir),
            self._setup.schema,
            options.request.ok,
            options.request.keep_partial,
            needs_body=options.format == "batch",
            needs_calls=options.format == "tools",
            mask=self._stderr.secrets.mask,
        )

    def _make_runner(self, recorder: BatchRecorder) -> Runner:
        """The runner of the loop that runs: what fails where nobody waits for it, or cannot be recorded, stops it."""
        options, loop = self._options, asyncio.get_running_loop()
        new_gate = Gate if self._report is None else self._report.new_gate
        servers = [open_server(origin, options, new_gate) for origin in self._setup.origins]
        settings = Settings(
            options.request.retry,
            options.request.retry_delay,
            options.format == "tools",
            DRAIN if options.drain is None else options.drain,
            _most_in_flight(),
        )
        trace = Trace(self._stderr, options.request.verbose)
        budget = TokenBudget(options.max_tokens_total)
        runner = Runner(self._backlog.source, servers, recorder, settings, budget, trace)
        runner.on_few_descriptors = self._tell_few_descriptors
        loop.set_exception_handler(partial(_take_stray_error, runner))
        recorder.on_failure = lambda: runner.stop(loop.time() + (settings.drain if recorder.takes_answers else 0.0))
        return runner

    def _open_lines(self, stdout: Stdout) -> tuple[Lines, Lines]:
        """Where answers and errors go."""
        options = self._options
        answers: Lines = stdout
        if self._backlog.journal is not None:
            answers = JournalLines(self._backlog.journal, is_synced=options.sync == 0)
        elif options.order == "input":
            answers = OrderedStdout(stdout, options.order_buffer, self._tell_order_is_full)
        errors = self._backlog.open_errors(options.errors_path)
        if errors is not None and isinstance(answers, OrderedStdout):
            errors.on_line = answers.skip
        return answers, errors or answers

    def _tell_few_descriptors(self, most: int) -> None:
        if not self._has_told_few_descriptors:
            self._has_told_few_descriptors = True
            self._reporter.line(
                f"at most {most} requests at once: the limit on file descriptors is too low (ulimit -n)"
            )

    def _tell_order_is_full(self) -> None:
        size = self._options.order_buffer
        self._reporter.line_once(
            f"{size} bytes are waiting for an earlier answer (--order-buffer); no new requests until it arrives"
        )

    def _listen_for_signals(self, runner: Runner) -> None:
        """The first signal lets what is in flight end, a second one of its kind kills."""
        loop = asyncio.get_running_loop()
        for number in ENDING_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._take_signal, number, loop, runner)

    def _take_signal(self, number: int, loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
        if number in self._signals:
            die_of_signal(number)
        self._signals.append(number)
        drain = self._options.drain
        if drain is None:
            drain = math.inf if number == signal.SIGINT else DRAIN
        runner.stop(loop.time() + drain)

    def _run_out_of_time(self, runner: Runner) -> None:
        seconds = self._options.request.max_time
        runner.abort(Verdict(Outcome.ABORTED, "the run was broken off", f"--max-time {seconds:g} s passed"))


async def _sync_regularly(journal: Journal, seconds: float, recorder: BatchRecorder) -> None:
    """Let a power failure take no more than the answers of the last seconds."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(journal.sync)
        except Failure as failed:
            recorder.fail(failed)
            return


def _close_errors(errors: Lines) -> Failure | None:
    """What kept the file of errors from being written to its end."""
    try:
        if isinstance(errors, ErrorsFile):
            errors.close()
    except Failure as failed:
        return failed
    return None


def _take_stdout_change(stdout: Stdout, runner: Runner) -> None:
    """Room was made, or nobody reads any more: then nothing is worth asking."""
    if stdout.failure is not None:
        runner.stop(0.0)
    runner.wake()


def _take_stray_error(runner: Runner, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception that nobody awaits, such as one in a callback. Those of the system are told to connections too."""
    error = context.get("exception")
    if isinstance(error, Exception) and not isinstance(error, OSError):
        runner.bug = runner.bug or internal_error(error)
        runner.stop(loop.time())


def _most_in_flight() -> float:
    """How many connections the file descriptors of this process allow, with some left for files and look-ups."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    return max(1, limit - _SPARE_DESCRIPTORS)
