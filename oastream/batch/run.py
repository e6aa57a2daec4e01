"""The way of one batch, on one page: options → input, journal, servers → the runner → how it ended.

In: `BatchOptions`, the environment, what stdin is. Out: a `Verdict`. Someone who reads only `run` knows the program.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from oastream.batch.gate import Gate
from oastream.batch.gate import Settings as GateSettings
from oastream.batch.input import BadLine, InputForm, Item, read_items
from oastream.batch.journal import Answers, BrokenLine, Journal
from oastream.batch.keys import id_key
from oastream.batch.lines import ErrorsFile, JournalLines, OrderedStdout, Stdout
from oastream.batch.options import BatchOptions
from oastream.batch.plan import Plan, Standing
from oastream.batch.pool import Pool
from oastream.batch.prepare import Prepared, Preparer
from oastream.batch.progress import Progress
from oastream.batch.reading import Reader
from oastream.batch.recorder import BatchRecorder, Figures, Folder, Lines
from oastream.batch.records import LAYOUTS, Layout, bad_line_record, broken_line_record, read_error_line
from oastream.batch.runner import Runner, Server
from oastream.batch.runner import Settings as RunnerSettings
from oastream.batch.source import FileSource, Input, PipeSource, choose_form, prepare
from oastream.batch.template import Template
from oastream.batch.tokens import TokenBudget
from oastream.events.answer import Limits
from oastream.exits import Failure, Outcome, Verdict, exit_status, failure_of
from oastream.http.credentials import find_key
from oastream.http.http1 import serialize_request
from oastream.http.request import Request, build_request, join_url
from oastream.http.route import Route, route_to
from oastream.input.body import base_body, read_body_settings, text_or_file
from oastream.input.prompt import InputReader
from oastream.input.schema import Schema, read_schema
from oastream.lenient_json import dumps, parse_json
from oastream.output.stderr import Reporter, Stderr
from oastream.redaction import mask_body
from oastream.system_errors import describe_error
from oastream.watch import Watch, die_of_signal

DRAIN = 20.0
"""Seconds that what is in flight may take after SIGTERM, SIGHUP or a run that is broken off."""
STDOUT = 1


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
        self._signal: int | None = None

    def run(self) -> Verdict:
        """From the first line of the input to the last of the answers."""
        self._watch.catch_signals()
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
        self._input = Input(self._input_path())
        self._form, chunks = choose_form(self._read_form(), self._input.chunks())
        self._layout = self._choose_layout()
        self._schema = self._read_schema()
        reader = Reader(_limits(options), options.request.max_event_bytes)
        base = base_body(options.request, self._reader.file)
        settings = read_body_settings(options.request, self._reader.file, self._schema)
        self._preparer = Preparer(settings, base, options.request.api, reader)
        self._servers = self._make_requests()
        if options.request.dry_run:
            return self._show_first(chunks)
        self._open_journal()
        self._plan = self._make_plan()
        if not self._input.is_file:
            source = PipeSource(chunks, self._form, self._plan, self._preparer, self._take_bad_line)
            return asyncio.run(self._ask_all(source))
        checked = self._check_file()
        if not self._to_ask() and not self._bad_lines:
            return self._finish(Figures())
        return asyncio.run(self._ask_all(checked))

    # Before anything is sent -------------------------------------------------------------------------------------

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
        return InputForm(name, options.id_key, options.prompt_key, template, options.ends_in_nul)

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
            shown = {"method": request.method, "url": request.masked_url, "headers": request.masked_headers()}
            os.write(STDOUT, dumps({**shown, "body": mask_body(parse_json(prepared.body))}) + b"\n")
            return Verdict(Outcome.STOP)
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
        return plan

    def _request_of(self, item: Item) -> str:
        return prepare(self._preparer, item).request

    def _failed_for_good(self) -> set[int]:
        """The ids whose errors an earlier run has written and that trying again would not mend."""
        if self._errors_path is None or self._options.output is None or self._options.retry_failed:
            return set()
        failed: dict[int, bytes] = {}
        for line in _read_lines(self._errors_path):
            found = read_error_line(line, self._layout)
            if found is not None and not found.retryable:
                failed[id_key(found.custom_id)] = line
        self._carried = failed
        return set(failed)

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
        return source

    def _take_bad_line(self, bad: BadLine) -> None:
        if not self._options.skip_bad:
            raise _bad_line_failure(bad)
        self._bad_lines.append(bad_line_record(bad.line, bad.why))

    def _to_ask(self) -> int:
        return self._plan.counts[Standing.TO_ASK]

    # While requests are sent -------------------------------------------------------------------------------------

    async def _ask_all(self, source: FileSource | PipeSource) -> Verdict:
        options = self._options
        stdout = Stdout(STDOUT)
        answers, errors = self._open_lines(stdout)
        recorder = BatchRecorder(
            self._layout,
            answers,
            errors,
            None if options.output_dir is None else Folder(options.output_dir),
            self._schema,
            options.request.ok,
            options.request.keep_partial,
            needs_body=options.format == "batch",
            needs_calls=options.format == "tools",
        )
        loop = asyncio.get_running_loop()
        servers = [self._connect(origin) for origin in self._servers]
        settings = RunnerSettings(options.request.retry, options.request.retry_delay, options.format == "tools")
        runner = Runner(source, servers, recorder, settings, TokenBudget(options.max_tokens_total))

        stdout.on_change = runner.wake
        recorder.on_failure = lambda: runner.stop(loop.time())
        if isinstance(source, PipeSource):
            source.start(partial(loop.call_soon_threadsafe, runner.wake))
        self._listen_for_signals(loop, runner)
        if options.request.max_time:
            loop.call_later(options.request.max_time, self._run_out_of_time, runner)
        progress = Progress(options, self._plan, recorder.figures, runner, servers, self._reporter)
        upkeep = [loop.create_task(progress.run()), loop.create_task(self._sync_journal())]
        try:
            await runner.run()
            self._write_bad_lines(errors)
            if isinstance(answers, OrderedStdout):
                answers.release()
            await stdout.flush()
        except Failure as failed:
            recorder.failure = recorder.failure or failed
        finally:
            for task in upkeep:
                task.cancel()
            progress.close()
        if isinstance(errors, ErrorsFile):
            errors.close()
        failure = recorder.failure or stdout.failure or source.failure or runner.bug
        if failure is None and self._signal is None and not source.has_lines:
            failure = failure_of(Outcome.INPUT, f"{self._input.name} is empty")
        return self._finish(recorder.figures, runner, failure)

    def _open_lines(self, stdout: Stdout) -> tuple[Lines, Lines]:
        """Where answers and errors go."""
        options = self._options
        answers: Lines = stdout
        if self._journal is not None:
            answers = JournalLines(self._journal, is_synced=options.sync == 0)
        elif options.order == "input":
            answers = OrderedStdout(stdout, options.order_buffer, self._tell_order_is_full)
        if self._errors_path is None:
            return answers, answers
        return answers, ErrorsFile(self._errors_path, list(self._carried.values()))

    def _tell_order_is_full(self) -> None:
        size = self._options.order_buffer
        self._reporter.line_once(f"{size} bytes wait for an earlier answer (--order-buffer); nothing more is asked")

    def _connect(self, origin: _Origin) -> Server:
        options = self._options
        settings = GateSettings(
            options.rpm,
            options.tpm,
            1 if options.shard is None else options.shard.total,
            options.concurrency,
            options.outage_max,
        )
        return Server(Gate(settings), Pool(origin.route, options.request.connect_timeout), origin.serialize)

    def _listen_for_signals(self, loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
        """The first signal lets what is in flight end, a second one of its kind kills."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._take_signal, number, loop, runner)

    def _take_signal(self, number: int, loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
        if self._signal == number:
            die_of_signal(number)
        if self._signal is None:
            self._signal = number
        drain = self._options.drain
        if drain is None:
            drain = math.inf if number == signal.SIGINT else DRAIN
        runner.stop(loop.time() + drain)

    def _run_out_of_time(self, runner: Runner) -> None:
        seconds = self._options.request.max_time
        runner.abort(Verdict(Outcome.ABORTED, "the run was broken off", f"--max-time {seconds:g} s passed"))

    async def _sync_journal(self) -> None:
        """Let a power failure take no more than the answers of the last seconds."""
        seconds = self._options.sync
        if self._journal is None or not seconds:
            return
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self._journal.sync)

    def _write_bad_lines(self, errors: Lines) -> None:
        for line in self._bad_lines:
            errors.append(line, 0)

    # How it ended ------------------------------------------------------------------------------------------------

    def _finish(self, figures: Figures, runner: Runner | None = None, failure: Failure | None = None) -> Verdict:
        """The verdict on the run, with what keeps it from being another."""
        if failure is not None:
            return failure.verdict
        if self._signal is not None:
            return Verdict(Outcome.SIGNAL, signal=self._signal)
        if self._journal is not None and self._options.order == "input" and self._is_complete(figures):
            self._put_into_order()
        if runner is not None and runner.aborted is not None:
            hint = _joined(runner.aborted.hint, "the same command goes on with what is missing")
            return runner.aborted._replace(outcome=Outcome.ABORTED, hint=hint)
        return self._sum_up(figures)

    def _is_complete(self, figures: Figures) -> bool:
        asked = self._plan.counts[Standing.TO_ASK]
        return figures.outcomes.total() == asked and not self._plan.counts[Standing.FAILED_FOR_GOOD]

    def _put_into_order(self) -> None:
        """--order input: the answers of a file in the order of its items."""
        assert self._journal is not None
        positions: dict[int, int] = {}
        for item in read_items(choose_form(self._form, self._input.chunks())[1], self._form):
            if isinstance(item, Item):
                positions[id_key(item.custom_id)] = len(positions)
        self._journal.reorder(self._layout, lambda custom_id: positions.get(id_key(custom_id)))

    def _sum_up(self, figures: Figures) -> Verdict:
        """0 where every item has a plain answer, 51 where none has any, else 50."""
        answers = self._plan.outcomes + figures.outcomes
        errors = Counter(figures.errors)
        if carried := self._plan.counts[Standing.FAILED_FOR_GOOD]:
            errors[Outcome.REJECTED] += carried
        bad = len(self._bad_lines)
        plain = sum(
            count for outcome, count in answers.items() if exit_status(Verdict(outcome), self._options.request.ok) == 0
        )
        total = answers.total() + errors.total() + bad
        if plain == total:
            return Verdict(Outcome.STOP)
        counts = ", ".join(f"{count} {outcome.value}" for outcome, count in (answers + errors).most_common())
        if bad:
            counts = _joined(counts, f"{bad} bad lines")
        outcome = Outcome.SOME_FAILED if answers.total() else Outcome.ABORTED
        where = ""
        if self._errors_path is not None and errors.total() + bad:
            where = f"the errors are in {self._errors_path}"
        return Verdict(outcome, f"{plain} of {total} items have a plain answer", counts, where)


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
    return failure_of(Outcome.INPUT, f"line {bad.line}", bad.why, "--skip-bad passes over such lines")


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
