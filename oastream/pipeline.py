"""The whole way of one run: options → prompt → request → attempts → output.

In: options, and what main found of the process. Out: the verdict on the run. Someone who reads only `Run.run` and
`Run._answer` knows the program. Refuses to know how any of the parts does its work.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from oastream.apis import api_named
from oastream.apis.api import Body
from oastream.apis.body_fields import choices_asked_for, offered_tools
from oastream.attempts.answer_settings import AnswerSettings
from oastream.attempts.attempt import AttemptContext
from oastream.attempts.attempts import Attempts, BackgroundSettings, RetrySettings
from oastream.attempts.deadlines import Deadlines
from oastream.attempts.delivery import Delivery, RunStats
from oastream.ending import Ending, LastWords
from oastream.exits import Failure, Outcome, Verdict, failure_of, internal_error
from oastream.http.client import Client, Sources, sources_for
from oastream.http.request import Request
from oastream.input.body import encode_body
from oastream.input.prompt import StdinKind
from oastream.input.question import Question
from oastream.lenient_json import dumps
from oastream.options import Options
from oastream.output.destination import Output, is_special, open_output, open_stdout
from oastream.output.formats import FORMATS, EagerToolsFormat, Format, ResponseIdFormat, SseEventsFormat
from oastream.output.status_line import TICK, StatusLine, is_wanted
from oastream.output.stderr import STDERR, Reasoning, Reporter, Stderr, Trace
from oastream.own_server import is_own_server, server_for
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.input.item_schema import ItemSchema


class Run:
    """One run of the program. `stdin` and `stdout_open` are what main found when it started."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        stdin: StdinKind,
        stdout_open: bool,
        watch: Watch,
        stderr: Stderr,
    ) -> None:
        self._options = options
        self._environ = environ
        self._stdin = stdin
        self._stdout_open = stdout_open
        self._watch = watch
        self._stats = RunStats(watch.now())
        self._deadlines = Deadlines(options, watch.now, self._stats.started)
        self._stderr = stderr
        self._reporter = Reporter(stderr, options.verbose)
        self._reasoning = Reasoning(stderr)
        self._status_line = StatusLine(watch.now, stderr)
        self._trace = Trace(stderr, options.verbose)
        self._question = Question(options, watch, self._reporter)
        self._client = Client(options, environ, watch, stderr.secrets, self._deadlines.run)
        last_words = LastWords(watch, stderr, self._reasoning, self._status_line, self._deadlines.run)
        self._ending = Ending(options, self._question, self._stats, watch, stderr, self._reporter, last_words)
        api_named(options.api).load_dialect()

    def run(self) -> Verdict:
        """Everything, from the prompt to the last byte of the answer."""
        self._watch.catch_signals()
        self._stderr.deadline = self._deadlines.run
        try:
            verdict = self._answer()
        except Failure as failed:
            verdict = failed.verdict
        except TimeoutError:
            verdict = self._ending.late_verdict()
        except Exception as error:
            verdict = internal_error(error).verdict
        return self._ending.finish(verdict)

    def _answer(self) -> Verdict:
        """What the options ask for, as far as it is written while it comes."""
        options, watch, secrets = self._options, self._watch, self._stderr.secrets
        check_files(options)
        output = self._open_output()
        if options.misconfigured is not None:
            raise Failure(options.misconfigured)
        body = self._question.body(self._stdin, self._deadlines.run)
        choices = choices_asked_for(body)
        with (
            server_for(options.base_url, self._environ, watch, self._deadlines.run) as base_url,
            sources_for(options, self._client, choices, watch, secrets, self._deadlines.run) as sources,
        ):
            request = self._client.make_request(base_url, encode_body(body))
            if options.dry_run:
                return self._show_request(request, body, output)
            self._show_waits()
            return _get_answer(self._new_attempts(request, body, sources, output))

    def _open_output(self) -> Output:
        options = self._options
        if options.dry_run:
            output: Output = open_stdout(self._stdout_open, self._watch)
        else:
            is_held = options.hold or options.extract is not None  # half a script is none
            output = open_output(
                options.output, is_held, options.keep_partial, self._stdout_open, self._watch, self._deadlines.run
            )
        self._ending.output = output
        self._ending.format = new_format(options, output.is_terminal)
        self._stderr.answer = output.sharing(STDERR)
        return output

    def _show_request(self, request: Request, body: Body, output: Output) -> Verdict:
        """--dry-run: print the request as one JSON object, secrets masked."""
        output.write(dumps(request.describe(body)) + b"\n", self._deadlines.run)
        return Verdict(Outcome.STOP)

    def _show_waits(self) -> None:
        """From here on the terminal is ours: until now stdin and the command that tells the key may have used it."""
        options = self._options
        if is_wanted(self._environ, options.quiet, options.verbose):
            self._status_line.start()
            self._watch.on_tick, self._watch.tick_interval = self._status_line.tick, TICK

    # The attempts' parts -----------------------------------------------------------------------------------------

    def _new_attempts(self, request: Request, body: Body, sources: Sources, output: Output) -> Attempts:
        options = self._options
        context = self._new_context(sources)
        answer = self._new_answer_settings(body, sources.choices)
        retry = RetrySettings(options.retry, options.retry_delay, options.replay is not None, sources.can_reopen)
        background = BackgroundSettings(options.background or options.detach, options.detach, options.resume)
        delivery = self._ending.delivery = self._new_delivery(output, answer)

        def format_anew() -> Format:
            return new_format(options, output.is_terminal, self._question.item_schema)

        if not options.list_models:
            return Attempts(request, context, answer, retry, background, delivery, format_anew)
        from oastream.list_models import FetchModels, cache_file

        cache = None if is_own_server(options.base_url) else cache_file(self._environ)
        return FetchModels(request, context, answer, retry, delivery, format_anew, cache)

    def _new_context(self, sources: Sources) -> AttemptContext:
        return AttemptContext(
            sources.open,
            self._deadlines,
            self._watch,
            self._reporter,
            self._trace,
            self._stderr.secrets,
            self._options.max_event_bytes,
            tools_wanted=self._options.format == "tools",
        )

    def _new_answer_settings(self, body: Body, choices: int) -> AnswerSettings:
        options = self._options
        return AnswerSettings(
            api_named(options.api),
            options.max_event_bytes,
            choices,
            options.max_output_tokens,
            keep_text=self._question.needs_text or options.extract is not None,
            request_fields=_request_fields(options, body),
            tool_names=offered_tools(body) if body else None,  # nothing is known of what a recording was asked for
        )

    def _new_delivery(self, output: Output, settings: AnswerSettings) -> Delivery:
        output_format = new_format(self._options, output.is_terminal, self._question.item_schema)
        return Delivery(
            output,
            self._reasoning,
            self._status_line,
            self._trace,
            self._stats,
            self._deadlines,
            self._options.reasoning,
            output_format,
            settings.new_reply(output_format),
        )


def new_format(options: Options, on_terminal: bool, item_schema: ItemSchema | None = None) -> Format:
    """The format that the options ask for, at the beginning of an answer. `item_schema` is that of --schema-multi."""
    sanitized = options.sanitize == "always" or (options.sanitize == "auto" and on_terminal)
    if options.list_models:
        from oastream.list_models import ModelList

        return ModelList(sanitized, options.format)
    if options.dry_run:
        return Format(sanitized)
    if options.detach:
        return ResponseIdFormat(sanitized)
    if options.extract is not None:
        from oastream.output.code_block import CodeBlockFormat

        return CodeBlockFormat(sanitized, options.extract.lower())
    if options.schema_multi is not None and options.format == "text":
        if item_schema is None:  # nothing has been asked yet, and nothing but records can be printed
            return Format(sanitized)
        from oastream.output.item_lines import ItemsFormat

        return ItemsFormat(sanitized, item_schema.find_error)
    if options.format == "tools" and options.eager:
        return EagerToolsFormat(sanitized)
    if options.format == "sse" and (options.background or options.resume):
        return SseEventsFormat(sanitized)
    return FORMATS[options.format](sanitized)


def _get_answer(attempts: Attempts) -> Verdict:
    """Attempt until there is an answer, or no reason to try again."""
    verdict = attempts.attempt_first()
    if verdict.has_answer:
        return verdict  # as most runs end; what decides on another attempt takes 2 % of one, and is not loaded
    from oastream.attempts.retry_loop import RetryLoop

    return RetryLoop(attempts).run(verdict)


def _request_fields(options: Options, body: Body) -> dict[str, Any] | None:
    """What a response repeats of the request, where somebody reads it and the API does not say it itself."""
    if options.format not in ("ndjson", "json"):
        return None
    return api_named(options.api).repeat_request(body)


def check_files(options: Options) -> None:
    """A file has one use. Raises `Failure` with outcome usage, before any of them is touched."""
    given = (("-o", options.output), ("--history", options.history), ("--record", options.record))
    named = [(option, path) for option, path in given if path is not None]
    for (one, first), (other, second) in itertools.combinations(named, 2):
        from oastream.files import is_same_file  # one file is not the same as another

        if is_same_file(first, second) and not is_special(first):
            raise failure_of(Outcome.USAGE, "bad usage", f"{one} and {other} name the same file, {first}")
    for written, path in named:
        _reject_overwriting(options, written, path)


def _reject_overwriting(options: Options, written: str, path: str) -> None:
    """An answer over its own text is an edit in place; over a recording, a picture or a key it is a loss."""
    if not os.path.isfile(path):
        return
    from oastream.files import is_same_file

    read: tuple[tuple[str, Iterable[str | None]], ...] = (
        ("--replay", (options.replay,)),
        ("--attach", options.attach),
        ("--api-key-file", (options.api_key_file,)),
        ("--tools", (options.tools,)),
        ("--body", (options.body,)),
        ("--schema", (options.schema, options.schema_multi)),
    )
    for option, paths in read:
        if any(other and is_same_file(path, other.removeprefix("@")) for other in paths):
            raise failure_of(Outcome.USAGE, "bad usage", f"{written} would overwrite {path}, which {option} reads")
