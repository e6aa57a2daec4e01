"""The way of one batch, on one page: options → input, journal, servers → the runner → how it ended.

In: `BatchOptions`, the environment, what stdin is. Out: a `Verdict`. Someone who reads only `_run` (until anything is
sent) and `_ask_all` (while requests are sent) knows the program.
"""

from __future__ import annotations

import array
import asyncio
import itertools
import math
import os
import resource
import signal
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from oastream.batch.input import BadLine, InputForm, Item, read_items
from oastream.batch.journal import Answers, BrokenLine, Journal
from oastream.batch.keys import id_key
from oastream.batch.lines import ErrorsFile, JournalLines, OrderedStdout, Stdout, write_stdout
from oastream.batch.options import BatchOptions
from oastream.batch.pacing.gate import Gate
from oastream.batch.pacing.gate import Settings as GateSettings
from oastream.batch.pacing.tokens import TokenBudget
from oastream.batch.plan import Plan, Standing
from oastream.batch.pool import Pool
from oastream.batch.prepare import Prepared, Preparer
from oastream.batch.progress import Progress
from oastream.batch.reading import Reader
from oastream.batch.recorder import BatchRecorder, Figures, Folder, Lines
from oastream.batch.records import LAYOUTS, Layout, bad_line_record, broken_line_record, is_error_line, read_error_line
from oastream.batch.runner import Runner, Server
from oastream.batch.runner import Settings as RunnerSettings
from oastream.batch.source import FileSource, Input, PipeSource, choose_form, prepare
from oastream.batch.summary import GO_ON_HINT, judge, judge_aborted, stats_fields, stats_line, tally
from oastream.batch.template import Template
from oastream.events.answer import Limits
from oastream.exits import Failure, Outcome, Verdict, failure_of, internal_error
from oastream.files import is_same_file
from oastream.http.credentials import find_key
from oastream.http.http1 import serialize_request
from oastream.http.request import Request, build_request, join_url
from oastream.http.route import Route, route_to
from oastream.input.body import base_body, read_body_settings, text_or_file
from oastream.input.prompt import InputReader
from oastream.input.schema import Schema, read_schema
from oastream.lenient_json import dumps, parse_json
from oastream.output.stderr import Reporter, Stderr, Trace
from oastream.system_errors import describe_error
from oastream.watch import Watch, die_of_signal

DRAIN = 20.0
"""Seconds that what is in flight may take after SIGTERM, SIGHUP or a run that is broken off."""
STDOUT = 1
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SPARE_DESCRIPTORS = 32


class BatchRun:
    """One run of `oastream-batch`."""

    def __init__(
        self,
        options: BatchOptions,
        environ: Mapping[str, str],
        stdin_is_terminal: bool,
        watch: Watch,
        stderr: Stderr,
        reporter: Reporter,
    ) -> None:
        self._options = options
        self._environ = environ
        self._stdin_is_terminal = stdin_is_terminal
        self._watch = watch
        self._stderr = stderr
        self._reporter = reporter
        self._reader = InputReader(watch, "utf-8", lambda: None)
        self._journal: Journal | None = None
        self._errors_path = _errors_path(options)
        self._carried: dict[int, bytes] = {}
        """The lines of errors that still hold, by the keys of their ids."""
        self._bad_lines: list[bytes] = []
        self._has_told_few_descriptors = False
        self._signals: list[int] = []
        """Those that came, in their order."""
        self._began = time.monotonic()

    def run(self) -> Verdict:
        """From the first line of the input to the last of the answers.

        Before the first request and after the last a signal kills at once: the journal is good at any moment.
        """
        try:
            return self._run()
        except Failure as failed:
            return failed.verdict
        finally:
            if self._journal is not None:
                self._journal.close()

    def _run(self) -> Verdict:
        options = self._options
        if options.request.misconfigured is not None:
            raise Failure(options.request.misconfigured)
        self._check_paths()
        self._input = Input(self._input_path())
        self._form, chunks = choose_form(self._read_form(), self._input.chunks())
        self._layout = self._choose_layout()
        self._schema = self._read_schema()
        reader = Reader(_limits(options), options.request.max_event_bytes)
        base = base_body(options.request, self._reader.file)
        settings = read_body_settings(options.request, self._reader.file, self._schema)
        needs_text = None if options.format == "batch" else options.format
        self._preparer = Preparer(settings, base, options.request.api, reader, needs_text)
        self._servers = self._make_requests()
        if options.request.dry_run:
            return self._show_first(chunks)
        self._open_journal()
        self._plan = self._make_plan()
        if not self._input.is_file:
            source = PipeSource(chunks, self._form, self._plan, self._preparer, self._take_bad_line)
            return self._run_loop(self._ask_all(source))
        checked = self._check_file()
        if not self._plan.counts[Standing.TO_ASK] and not self._bad_lines:
            self._open_errors()
            return self._finish(Figures())
        return self._run_loop(self._ask_all(checked))

    def _run_loop(self, asking: Coroutine[Any, Any, Verdict]) -> Verdict:
        """Not `asyncio.run`: that ends by waiting for threads, and one may be in a write or a look-up that never ends.

        The process ends instead, and its sockets with it.
        """
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(asking)
        finally:
            for number in _ENDING_SIGNALS:
                if loop.remove_signal_handler(number):
                    signal.signal(number, signal.SIG_DFL)

    # Before anything is sent -------------------------------------------------------------------------------------

    def _check_paths(self) -> None:
        """No file of this run may be another one of it: it would be replaced, or read as what it is not."""
        paths = {"INPUT": self._options.input, "-o": self._options.output, "--errors": self._errors_path}
        named = [(name, path) for name, path in paths.items() if path not in (None, "-")]
        for (name, path), (other_name, other) in itertools.combinations(named, 2):
            if path is not None and other is not None and is_same_file(path, other):
                raise failure_of(Outcome.USAGE, "bad usage", f"{name} and {other_name} are the same file")

    def _input_path(self) -> str | None:
        path = self._options.input
        if path in (None, "-"):
            if path is None and self._stdin_is_terminal:
                raise failure_of(Outcome.USAGE, "bad usage", "no input", "name a file, or pipe lines in")
            return None
        return path

    def _read_form(self) -> InputForm:
        options = self._options
        template = None
        if options.template is not None:
            text = text_or_file("--template", options.template, self._reader.file)
            try:
                template = Template(text)
            except ValueError as error:
                raise failure_of(Outcome.USAGE, "bad --template", error) from error
        name = options.input_format or ""
        added = (options.answer_key, "oastream") if options.format == "row" else ()
        return InputForm(name, options.id_key, options.prompt_key, template, options.ends_in_nul, added)

    def _choose_layout(self) -> Layout:
        options = self._options
        if options.format == "row" and self._form.name in ("batch", "body"):
            why = f"--format row needs rows, and the input has the form {self._form.name}"
            raise failure_of(Outcome.USAGE, "bad usage", why)
        return LAYOUTS[options.format](self._form, options.answer_key)

    def _read_schema(self) -> Schema | None:
        schema = self._options.request.schema
        return None if schema is None else read_schema(schema, self._reader.file)

    def _make_requests(self) -> list[_Origin]:
        """What each server is asked with, but for the body. Raises `Failure` with outcome config for a missing key."""
        options = self._options.request
        key = find_key(options.api_key_file, options.api_key_cmd, self._environ, self._watch, math.inf)
        origins = []
        for base_url in self._options.base_urls or (options.base_url,):
            request = build_request(options, self._environ, base_url, b"", key)
            self._stderr.secrets.texts = (*self._stderr.secrets.texts, *request.secrets)
            origins.append(_Origin(base_url, request, route_to(request.url, self._environ)))
        return origins

    def _show_first(self, chunks: Iterable[bytes]) -> Verdict:
        """--dry-run: the request of the first item, secrets masked."""
        for item in read_items(chunks, self._form):
            if isinstance(item, BadLine):
                raise _bad_line_failure(item)
            prepared = prepare(self._preparer, item)
            _, request = self._servers[0].serialize(prepared)
            return write_stdout(dumps(request.describe(parse_json(prepared.body))) + b"\n")
        raise failure_of(Outcome.INPUT, f"{self._input.name} is empty")

    def _open_journal(self) -> None:
        """Lock the journal and read it; take out of it what is to be asked again."""
        options = self._options
        if options.output is None:
            return
        journal = self._journal = Journal(options.output)
        broken: list[BrokenLine] = []
        journal.load(self._layout, broken.append if options.repair else None)
        self._bad_lines += [broken_line_record(each.line, each.offset) for each in broken]
        if options.redo:
            journal.drop(self._layout, lambda answered: answered.outcome in options.redo)

    def _make_plan(self) -> Plan:
        answers = Answers() if self._journal is None else self._journal.answers
        plan = Plan(answers, self._request_of, self._failed_for_good(), self._options.shard)
        plan.may_change = self._options.redo_changed
        if self._options.order == "input" and self._journal is not None:
            plan.order = array.array("q")
        return plan

    def _request_of(self, item: Item) -> str:
        return prepare(self._preparer, item).request

    def _failed_for_good(self) -> dict[int, Outcome]:
        """The ids whose errors an earlier run has written and that trying again would not mend."""
        failed: dict[int, Outcome] = {}
        if self._errors_path is None or self._options.output is None:
            return failed
        for number, line in enumerate(_read_lines(self._errors_path), 1):
            if not is_error_line(line):
                why = f"line {number} is not an error record, and would be overwritten"
                raise failure_of(Outcome.JOURNAL, f"{self._errors_path} is not a file of errors", why)
            found = read_error_line(line, self._layout)
            if found is not None and not found.retryable and not self._options.retry_failed:
                self._carried[id_key(found.custom_id)] = line
                failed[id_key(found.custom_id)] = found.outcome
        return failed

    def _check_file(self) -> FileSource:
        """The first pass over the input."""
        source = FileSource(self._input, self._form, self._plan, self._preparer, self._take_bad_line)
        source.check()
        if not source.has_lines:
            raise failure_of(Outcome.INPUT, f"{self._input.name} is empty")
        if self._plan.changed and self._journal is not None:
            changed = set(self._plan.changed)
            self._journal.drop(self._layout, lambda answered: answered.custom_id in changed)
            self._plan.ask_changed(self._journal.answers)
        self._carried = {key: line for key, line in self._carried.items() if key in self._plan.failed_keys}
        return source

    def _take_bad_line(self, bad: BadLine) -> None:
        if not self._options.skip_bad:
            raise _bad_line_failure(bad)
        self._bad_lines.append(bad_line_record(bad.line, bad.why))

    # While requests are sent -------------------------------------------------------------------------------------

    async def _ask_all(self, source: FileSource | PipeSource) -> Verdict:
        options, loop = self._options, asyncio.get_running_loop()
        stdout = Stdout(STDOUT)
        if self._journal is None:
            stdout.check()
        answers, errors = self._open_lines(stdout)
        recorder = self._make_recorder(answers, errors)
        runner = self._make_runner(source, recorder)
        stdout.on_change = partial(_take_stdout_change, stdout, runner)
        if self._journal is None:
            stdout.watch_reader()
        if isinstance(source, PipeSource):
            source.start(partial(loop.call_soon_threadsafe, runner.wake))
        self._listen_for_signals(loop, runner)
        if options.request.max_time:
            loop.call_later(options.request.max_time, self._run_out_of_time, runner)
        progress = Progress(options, self._plan, recorder.figures, runner, self._stderr, self._reporter)
        upkeep = [loop.create_task(progress.run()), loop.create_task(self._sync_journal(recorder))]
        try:
            await runner.run()
            self._write_bad_lines(errors)
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
        failure = failure or source.failure or runner.bug
        if failure is None and not self._signals and not source.has_lines:
            failure = failure_of(Outcome.INPUT, f"{self._input.name} is empty")
        return self._finish(recorder.figures, runner, failure)

    def _make_recorder(self, answers: Lines, errors: Lines) -> BatchRecorder:
        options = self._options
        return BatchRecorder(
            self._layout,
            answers,
            errors,
            None if options.output_dir is None else Folder(options.output_dir),
            self._schema,
            options.request.ok,
            options.request.keep_partial,
            needs_body=options.format == "batch",
            needs_calls=options.format == "tools",
            mask=self._stderr.secrets.mask,
        )

    def _make_runner(self, source: FileSource | PipeSource, recorder: BatchRecorder) -> Runner:
        """The runner of the loop that runs: what fails where nobody waits for it, or cannot be recorded, stops it."""
        options, loop = self._options, asyncio.get_running_loop()
        servers = [self._connect(origin) for origin in self._servers]
        settings = RunnerSettings(
            options.request.retry,
            options.request.retry_delay,
            options.format == "tools",
            DRAIN if options.drain is None else options.drain,
            _most_in_flight(),
        )
        trace = Trace(self._stderr, options.request.verbose)
        runner = Runner(source, servers, recorder, settings, TokenBudget(options.max_tokens_total), trace)
        runner.on_few_descriptors = self._tell_few_descriptors
        loop.set_exception_handler(partial(_take_stray_error, runner))
        recorder.on_failure = lambda: runner.stop(loop.time())
        return runner

    def _open_lines(self, stdout: Stdout) -> tuple[Lines, Lines]:
        """Where answers and errors go."""
        options = self._options
        answers: Lines = stdout
        if self._journal is not None:
            answers = JournalLines(self._journal, is_synced=options.sync == 0)
        elif options.order == "input":
            answers = OrderedStdout(stdout, options.order_buffer, self._tell_order_is_full)
        errors = self._open_errors()
        if errors is not None and isinstance(answers, OrderedStdout):
            errors.on_line = answers.skip
        return answers, errors or answers

    def _open_errors(self) -> ErrorsFile | None:
        """The file of errors, with those of earlier runs that still hold and nothing else."""
        return None if self._errors_path is None else ErrorsFile(self._errors_path, list(self._carried.values()))

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

    def _connect(self, origin: _Origin) -> Server:
        options = self._options
        settings = GateSettings(
            options.rpm,
            options.tpm,
            1 if options.shard is None else options.shard.total,
            options.concurrency,
            options.outage_max,
            0 if options.shard is None else options.shard.number,
        )
        return Server(Gate(settings), Pool(origin.route, options.request.connect_timeout), origin.serialize)

    def _listen_for_signals(self, loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
        """The first signal lets what is in flight end, a second one of its kind kills."""
        for number in _ENDING_SIGNALS:
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

    async def _sync_journal(self, recorder: BatchRecorder) -> None:
        """Let a power failure take no more than the answers of the last seconds."""
        seconds = self._options.sync
        if self._journal is None or not seconds:
            return
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(self._journal.sync)
            except Failure as failed:
                recorder.fail(failed)
                return

    def _write_bad_lines(self, errors: Lines) -> None:
        for line in self._bad_lines:
            errors.append(line, 0)

    # How it ended ------------------------------------------------------------------------------------------------

    def _finish(self, figures: Figures, runner: Runner | None = None, failure: Failure | None = None) -> Verdict:
        """The verdict on the run, with what keeps it from being another."""
        if failure is not None and failure.verdict.outcome is Outcome.OUTPUT:
            return failure.verdict
        if self._signals:
            return Verdict(Outcome.SIGNAL, signal=self._signals[0])
        if failure is not None:
            return failure.verdict
        if self._plan.order is not None and self._is_complete(figures):
            self._put_into_order(self._plan.order)
        if self._options.request.stats is not None:
            self._show_stats(figures, 0.0 if runner is None else runner.held)
        accepted = self._options.request.ok
        counts = tally(self._plan, figures, len(self._bad_lines))
        if runner is None or runner.aborted is None:
            return judge(counts, accepted, self._errors_path)
        verdict = judge_aborted(runner.aborted, counts, accepted, self._errors_path)
        return verdict if self._journal is None else verdict.with_hint(GO_ON_HINT)

    def _is_complete(self, figures: Figures) -> bool:
        asked = self._plan.counts[Standing.TO_ASK]
        return figures.outcomes.total() == asked and not self._plan.counts[Standing.FAILED_FOR_GOOD]

    def _put_into_order(self, order: array.array[int]) -> None:
        """--order input: the answers of a file in the order of its items."""
        assert self._journal is not None
        positions = {key: position for position, key in enumerate(order)}
        self._journal.reorder(self._layout, lambda custom_id: positions.get(id_key(custom_id)))

    def _show_stats(self, figures: Figures, held: float) -> None:
        fields = stats_fields(self._plan, figures, time.monotonic() - self._began, held)
        if self._options.request.stats == "json":
            self._stderr.write_line(dumps(fields).decode())
        else:
            self._reporter.line(stats_line(fields))


class _Origin(NamedTuple):
    """One server: its base URL, a request to it without a body, the way to it."""

    base_url: str
    request: Request
    route: Route

    def serialize(self, prepared: Prepared) -> tuple[bytes, Request]:
        """The bytes of an item's request, and the request itself."""
        request = self.request._replace(url=join_url(self.base_url, prepared.path), body=prepared.body)
        route = self.route.to(request.url)
        headers = (*request.headers, *route.proxy_headers)
        return serialize_request("POST", route.request_target, headers, prepared.body), request


def _limits(options: BatchOptions) -> Limits:
    return Limits(options.request.first_event_timeout, options.request.idle_timeout)


def _errors_path(options: BatchOptions) -> str | None:
    """FILE with `.errors` before its suffix, where --errors names no other."""
    if options.errors is not None or options.output is None:
        return options.errors
    stem, suffix = os.path.splitext(options.output)
    return f"{stem}.errors{suffix}"


def _read_lines(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        raise failure_of(Outcome.OUTPUT, f"{path} cannot be read", describe_error(error)) from error


def _bad_line_failure(bad: BadLine) -> Failure:
    return failure_of(Outcome.INPUT, f"line {bad.line}", bad.why, "--skip-bad skips such lines")


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
