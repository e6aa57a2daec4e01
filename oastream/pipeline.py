"""The whole way of one run: options → prompt → request → attempts → output.

Someone who reads only `run` knows the program. Failures of any part end here as a `Verdict`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from oastream.attempts.attempt import OpenSource, RunStats, Session, Source
from oastream.attempts.attempts import Attempts
from oastream.attempts.deadlines import Deadlines
from oastream.exits import Failure, Outcome, Verdict, exit_status, failure_of, internal_error
from oastream.http.credentials import find_key, key_from_options
from oastream.http.request import Request, build_request
from oastream.input.body import Body, encoded, offered_tools
from oastream.input.prompt import StdinKind
from oastream.input.question import Question
from oastream.lenient_json import dumps
from oastream.options import Options
from oastream.output.destination import Held, Output, is_special, open_output, open_stdout
from oastream.output.formats import FORMATS, EagerToolsFormat, Format, ResponseIdFormat, SseEventsFormat, end_record
from oastream.output.status_line import TICK, StatusLine, is_wanted
from oastream.output.stderr import STDERR, Reasoning, Reporter, Stderr, Trace
from oastream.redaction import REDACTED, mask_body
from oastream.watch import Watch, signal_failure

if TYPE_CHECKING:
    from oastream.http.cloud import Cloud

FINAL_WRITE_TIMEOUT = 1.0
"""Seconds that the end record, or the message, may take when a signal or --max-time ends the run and nobody reads."""
SHORTEST_RATE = 0.05
"""Seconds below which an answer came in one piece: tokens per second would be a figure of the clock."""


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
        self._stderr = stderr
        self._reporter = Reporter(stderr, options.verbose)
        self._reasoning = Reasoning(stderr)
        self._status_line = StatusLine(watch.now, stderr)
        self._watch = watch
        self._stats = RunStats(watch.now())
        self._deadline = self._stats.started + options.max_time if options.max_time else math.inf
        self._last_words_end = math.inf
        self._output: Output | None = None
        self._attempts: Attempts | None = None
        self._cloud: Cloud | None = None
        self._choices = 1
        """How many answers the request asks for, or the recorded one did."""
        self._question = Question(options, watch, self._reporter)

    def run(self) -> Verdict:
        """Everything, from the prompt to the last byte of the answer."""
        self._watch.catch_signals()
        self._stderr.deadline = self._deadline
        try:
            verdict = self._answer()
        except Failure as failed:
            verdict = failed.verdict
        except TimeoutError:
            verdict = self._late()
        except Exception as error:
            verdict = internal_error(error).verdict
        return self._finish(verdict)

    def _answer(self) -> Verdict:
        """What the options ask for, as far as it is written while it comes."""
        check_files(self._options)
        self._output = self._open_output()
        self._stderr.answer = self._output.sharing(STDERR)
        if self._options.misconfigured is not None:
            raise Failure(self._options.misconfigured)
        body = self._body()
        self._choices = _choices(body)
        with server_for(self._options) as base_url, self._opener() as (open_source, can_reopen):
            request = self._request(base_url, encoded(body))
            if self._options.dry_run:
                return self._show(request, body)
            self._show_waits()
            self._attempts = self._new_attempts(request, body, open_source, can_reopen)
            return self._attempts.run()

    def _show_waits(self) -> None:
        """From here on the terminal is ours: until now stdin and the command that tells the key may have used it."""
        options = self._options
        if is_wanted(self._environ, options.quiet, options.verbose):
            self._status_line.start()
            self._watch.on_tick, self._watch.tick_interval = self._status_line.tick, TICK

    # The parts ---------------------------------------------------------------------------------------------------

    def _open_output(self) -> Output:
        options = self._options
        if options.dry_run:
            return open_stdout(self._stdout_open, self._watch)
        return open_output(
            options.output, options.hold, options.keep_partial, self._stdout_open, self._watch, self._deadline
        )

    def _body(self) -> Body:
        return self._question.body(self._stdin, self._deadline)

    @contextlib.contextmanager
    def _opener(self) -> Iterator[tuple[OpenSource, Callable[[], bool]]]:
        """What opens a source of bytes (a server, recorded or not, or a recording), and whether it can do so again."""
        options = self._options
        if options.replay is None and (options.record is None or options.dry_run):
            yield self._live, lambda: True
            return
        from oastream.http.recording import Recorder, Replay

        if options.replay is not None:
            player = Replay(options.replay, options.realtime, self._watch, self._deadline)
            self._choices = player.choices
            yield player.open, player.can_reopen
            return
        assert options.record is not None
        recorder = Recorder(
            options.record, self._live, lambda: self._stderr.secrets.texts, self._watch, self._deadline, self._choices
        )
        with recorder:
            yield recorder.open, lambda: True

    def _request(self, base_url: str, body: bytes) -> Request:
        options = self._options
        if options.provider is not None:
            from oastream.http.cloud import Cloud

            key = self._cloud_key()
            cloud = self._cloud = Cloud(options, self._environ, base_url, self._watch, self._stderr.secrets, key)
            request = cloud.request(body)
            return cloud.signed(request, math.inf) if options.dry_run else request
        request = build_request(options, self._environ, base_url, body, self._key(base_url))
        self._stderr.secrets.texts = request.secrets
        return request

    def _key(self, base_url: str) -> str | None:
        """None where none goes: to the embedded server, or with a recording."""
        options = self._options
        if base_url != options.base_url or options.replay is not None:
            return None
        return find_key(options, self._environ, self._watch, self._deadline)

    def _cloud_key(self) -> str | None:
        """Never OPENAI_API_KEY: it is not for another cloud. A dry run asks no command."""
        options = self._options
        if options.dry_run:
            return REDACTED if options.api_key_file or options.api_key_cmd else None
        return key_from_options(options, self._watch, self._deadline)

    def _live(self, request: Request, connect_deadline: float, deadline: float) -> Source:
        if self._cloud is not None:
            return self._cloud.open(request, connect_deadline, deadline)
        from oastream.http.transport import open_response  # not for a replay

        return open_response(request, self._environ, self._watch, connect_deadline, deadline)

    def _new_attempts(
        self, request: Request, body: Body, open_source: OpenSource, can_reopen: Callable[[], bool]
    ) -> Attempts:
        assert self._output is not None
        options = self._options
        deadlines = Deadlines(options, self._watch.now, self._stats.started)
        session = Session(
            options,
            self._output,
            self._reporter,
            Trace(self._stderr, options.verbose),
            self._reasoning,
            self._status_line,
            self._stderr.secrets,
            self._stats,
            deadlines,
            open_source,
            self._watch,
            can_reopen,
            self._choices,
            keep_text=options.history is not None or options.schema is not None,
            asked=self._asked(body),
            offered=offered_tools(body) if body else None,  # nothing is known of what a recording was asked for
        )
        if options.list_models:
            from oastream.list_models import Listing

            return Listing(session, request, self._new_format, environ=self._environ)
        in_background = options.background or options.detach
        return Attempts(session, request, self._new_format, in_background, options.resume)

    def _asked(self, body: Body) -> dict[str, Any] | None:
        """What a response repeats of the request, where somebody reads it and the API does not say it itself."""
        if self._options.api != "chat" or self._options.format not in ("ndjson", "json"):
            return None
        from oastream.input.response_fields import response_fields

        return response_fields(body)

    def _show(self, request: Request, body: Body) -> Verdict:

        assert self._output is not None
        shown = {"method": request.method, "url": request.masked_url, "headers": request.masked_headers()}
        self._output.write(dumps({**shown, "body": mask_body(body) or None}) + b"\n", self._deadline)
        return Verdict(Outcome.STOP)

    def _new_format(self) -> Format:
        options = self._options
        on_terminal = self._output is not None and self._output.is_terminal
        sanitized = options.sanitize == "always" or (options.sanitize == "auto" and on_terminal)
        if options.list_models:
            from oastream.list_models import ModelList

            return ModelList(sanitized, options.format)
        if options.dry_run:
            return Format(sanitized)
        if options.detach:
            return ResponseIdFormat(sanitized)
        if options.format == "tools" and options.eager:
            return EagerToolsFormat(sanitized)
        if options.format == "sse" and (options.background or options.resume):
            return SseEventsFormat(sanitized)
        return FORMATS[options.format](sanitized)

    # The end -----------------------------------------------------------------------------------------------------

    def _finish(self, verdict: Verdict) -> Verdict:
        """Complete the output, or take it back; write the end record; say on stderr how it ended."""
        verdict = self._interrupted(verdict)
        deadline = self._begin_last_words(verdict)
        self._reasoning.end()
        self._status_line.stop()
        try:
            verdict = self._completed(verdict)
            self._write_end(verdict, deadline)
            self._question.commit()
        except Failure as failed:
            verdict = failed.verdict
        except TimeoutError:
            verdict = self._late() if verdict.has_answer else verdict
        if self._output is not None:
            self._output.discard()
        self._question.close()
        verdict = self._interrupted(verdict)
        self._begin_last_words(verdict)
        self._say(verdict)
        return verdict

    def _interrupted(self, verdict: Verdict) -> Verdict:
        """The end by a signal also where it came after the last wait, or where what was waited for was stderr."""
        if verdict.signal is not None or verdict.outcome is Outcome.OUTPUT:
            return verdict
        if self._watch.caught:
            return signal_failure(self._watch.caught).verdict
        return self._stderr.interrupted or verdict

    def _late(self) -> Verdict:
        """--max-time has passed, in a wait that has no limit of its own: somebody does not read."""
        began = self._attempts is not None and self._attempts.reply.output_began
        why = f"--max-time {self._options.max_time:g} s passed"
        if began:
            return Verdict(Outcome.DEADLINE, "the answer broke off", why)
        return Verdict(Outcome.TIMEOUT, "no answer in time", why)

    def _begin_last_words(self, verdict: Verdict) -> float:
        """From here on what is left to say may be said, on stdout and stderr together; until when that is.

        While stdout may still be written, it matters whether anybody reads it.
        """
        if verdict.signal is not None or verdict.outcome in (Outcome.OUTPUT, Outcome.USAGE):
            self._watch.acknowledge_signal()
        soon = self._watch.now() + FINAL_WRITE_TIMEOUT
        until = soon if verdict.signal is not None else max(soon, self._deadline)
        self._last_words_end = self._stderr.deadline = min(until, self._last_words_end)
        return self._last_words_end

    def _publishes_output(self, verdict: Verdict) -> bool:
        """Whether -o renames and --hold lets out, and nothing is said of how it ended."""
        return exit_status(verdict, self._options.ok) == 0

    def _say(self, verdict: Verdict) -> None:
        self._reasoning.end()
        if self._options.verbose or not self._publishes_output(verdict):
            self._reporter.verdict(verdict)
        self._show_stats(verdict)

    def _completed(self, verdict: Verdict) -> Verdict:
        """What the format prints once the answer is complete; that may show that it is not, or that it is wrong."""
        if self._attempts is None or not verdict.has_answer:
            return verdict
        reply = self._attempts.reply
        try:
            self._attempts.format.complete(reply)
            verdict = self._question.checked(verdict, reply)
            self._question.keep(reply)
        except Failure as failed:
            return failed.verdict
        return verdict

    def _write_end(self, verdict: Verdict, deadline: float) -> None:
        output = self._output
        if output is None or verdict.outcome in (Outcome.OUTPUT, Outcome.USAGE) or verdict.signal == 13:
            return
        output_format = self._attempts.format if self._attempts is not None else self._new_format()
        delivers = self._publishes_output(verdict)
        if isinstance(output, Held) and not delivers:
            output.take_back()
            output_format.take()
        output_format.add_record(end_record(verdict, exit_status(verdict, self._options.ok), self._stats_fields()))
        if data := output_format.take():
            output.write(data, deadline)
        if delivers:
            output.deliver(deadline)
        else:
            output.withhold(deadline)

    def _stats_fields(self) -> dict[str, Any]:
        reply = self._attempts.reply if self._attempts is not None else None
        stats = self._stats
        return {
            "response_id": reply and reply.response_id,
            "model": reply and reply.model,
            "usage": reply and reply.usage,
            "attempts": stats.attempts,
            "resumes": stats.resumes,
            "first_event_ms": self._milliseconds(stats.first_event),
            "first_text_ms": self._milliseconds(stats.first_text),
            "elapsed_ms": self._milliseconds(self._watch.now()),
        }

    def _milliseconds(self, moment: float | None) -> int | None:
        return None if moment is None else round((moment - self._stats.started) * 1000)

    def _show_stats(self, verdict: Verdict) -> None:
        if self._options.stats is None or self._attempts is None:
            return
        figures = self._stats_fields() | {"request_id": verdict.request_id}
        if self._options.stats == "json":
            self._stderr.write_line(dumps(figures).decode())
        else:
            self._reporter.line(stats_line(figures))


def stats_line(figures: dict[str, Any]) -> str:
    """The figures of a run, for people."""
    tokens = (figures["usage"] or {}).get("output_tokens")
    first, total = figures["first_text_ms"], figures["elapsed_ms"]
    parts = [f"first token {first / 1000:.2f} s" if first is not None else "no text", f"total {total / 1000:.2f} s"]
    if isinstance(tokens, int):
        parts.append(counted(tokens, "token"))
        taken = (total - (first or 0)) / 1000
        if tokens > 1 and taken >= SHORTEST_RATE:
            parts.append(f"{tokens / taken:.1f} tokens/s")
    parts.append(counted(figures["attempts"], "attempt"))
    if figures["request_id"]:
        parts.append(figures["request_id"])
    return ", ".join(parts)


def counted(number: int, what: str) -> str:
    """1 token, 2 tokens."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def check_files(options: Options) -> None:
    """A file has one use. Raises `Failure` with outcome usage, before any of them is touched."""
    given = (("-o", options.output), ("--history", options.history), ("--record", options.record))
    named = [(option, path) for option, path in given if path is not None]
    for (one, first), (other, second) in itertools.combinations(named, 2):
        from oastream.files import is_same  # one file is not the same as another

        if is_same(first, second) and not is_special(first):
            raise failure_of(Outcome.USAGE, "bad usage", f"{one} and {other} name the same file, {first}")


@contextlib.contextmanager
def server_for(options: Options) -> Iterator[str]:
    """The base URL to use: `mock:` starts the embedded server for as long as the run lasts."""
    base_url = options.base_url
    if not base_url.startswith("mock:"):
        yield base_url
        return
    from oastream.mock.script import plan_from_url
    from oastream.mock.server import serve

    try:
        server = serve(plan_from_url(base_url))
    except (ValueError, OSError) as error:
        raise failure_of(Outcome.USAGE, f"bad --base-url {base_url!r}", error) from error
    try:
        yield server.url
    finally:
        server.close()


def _choices(body: Body) -> int:
    count = body.get("n")
    return count if isinstance(count, int) and count > 0 else 1
