"""How a run ends: the output is completed or taken back, the end record is written, stderr gets the last words.

In: the verdict on the answer, and the run's parts as far as it got. Out: the verdict on the run, which what happens
here may change: an answer does not fit its schema, the disk is full, a signal comes. Refuses to know how the answer
came, and how a verdict becomes an exit status of the process.
"""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING, Any

from oastream.events.answer import run_over_verdict
from oastream.exits import Failure, Outcome, Verdict, exit_status
from oastream.lenient_json import dumps
from oastream.options import Options
from oastream.output.destination import Held, Output
from oastream.output.formats import Format, end_record
from oastream.output.status_line import StatusLine
from oastream.output.stderr import Reasoning, Reporter, Stderr
from oastream.watch import Watch, signal_failure

if TYPE_CHECKING:
    from oastream.attempts.delivery import Delivery, RunStats
    from oastream.input.question import Question

FINAL_WRITE_TIMEOUT = 1.0
"""Seconds that the end record, or the message, may take when a signal or --max-time ends the run and nobody reads."""
SHORTEST_RATE = 0.05
"""Seconds below which an answer came in one piece: tokens per second would be a figure of the clock."""


class LastWords:
    """Until when what is left to say may still be said, on stdout and stderr together. `deadline` is the run's."""

    def __init__(
        self, watch: Watch, stderr: Stderr, reasoning: Reasoning, status_line: StatusLine, deadline: float
    ) -> None:
        self._watch = watch
        self._stderr = stderr
        self._reasoning = reasoning
        self._status_line = status_line
        self._deadline = deadline
        self._end = math.inf

    def begin(self, verdict: Verdict) -> float:
        """From here on only the end is waited for; the moment at which that must be over.

        While stdout may still be written, it matters whether anybody reads it.
        """
        if verdict.signal is not None or verdict.outcome in (Outcome.OUTPUT, Outcome.USAGE):
            self._watch.acknowledge_signal()
        end = self._watch.now() + FINAL_WRITE_TIMEOUT
        if verdict.signal is None:
            end = max(end, self._deadline)
        self._end = self._stderr.deadline = min(end, self._end)
        self._reasoning.end()
        self._status_line.stop()
        return self._end

    def as_interrupted(self, verdict: Verdict) -> Verdict:
        """The end by a signal also where it came after the last wait, or where what was waited for was stderr."""
        if verdict.signal is not None or verdict.outcome is Outcome.OUTPUT:
            return verdict
        if self._watch.pending_signal:
            return signal_failure(self._watch.pending_signal).verdict
        return self._stderr.interrupted or verdict


class Ending:
    """Ends one run. `output` with its `format`, and `delivery`, are there once the run has got so far."""

    def __init__(
        self,
        options: Options,
        question: Question,
        stats: RunStats,
        watch: Watch,
        stderr: Stderr,
        reporter: Reporter,
        last_words: LastWords,
    ) -> None:
        self._options = options
        self._question = question
        self._stats = stats
        self._watch = watch
        self._stderr = stderr
        self._reporter = reporter
        self._last_words = last_words
        self.output: Output | None = None
        self.format: Format | None = None
        self.delivery: Delivery | None = None

    def finish(self, verdict: Verdict) -> Verdict:
        """Complete the output, or take it back; write the end record; say on stderr how it ended."""
        verdict = self._last_words.as_interrupted(verdict)
        deadline = self._last_words.begin(verdict)
        try:
            verdict = self._complete_answer(verdict)
            self._end_output(verdict, deadline)
            self._question.commit()
        except Failure as failed:
            verdict = failed.verdict
        except TimeoutError:
            if verdict.has_answer:  # else why there is none is known already
                verdict = self.late_verdict()
        if self.output is not None:
            self.output.discard()
        self._question.close()
        verdict = self._last_words.as_interrupted(verdict)
        self._last_words.begin(verdict)
        self._report(verdict)
        return verdict

    def late_verdict(self) -> Verdict:
        """--max-time has passed, in a wait that has no limit of its own: somebody does not read."""
        has_output = self.delivery is not None and self.delivery.reply.output_began
        return run_over_verdict(self._options.max_time, has_output)

    def _complete_answer(self, verdict: Verdict) -> Verdict:
        """Add what the format prints once all is there; that may show that it is not, or that it is wrong."""
        if self.delivery is None or not verdict.has_answer:
            return verdict
        reply = self.delivery.reply
        try:
            self.delivery.format.complete(reply)
            verdict = self._question.with_schema_verdict(verdict, reply)
            verdict = self._with_lack(verdict, self.delivery.format.find_lack(reply))
            self._question.stage(reply)
        except Failure as failed:
            return failed.verdict
        return verdict

    def _with_lack(self, verdict: Verdict, lack: Verdict | None) -> Verdict:
        """The verdict on an answer that lacks what is to be printed: the lowest number that --ok does not accept."""
        if lack is None:
            return verdict
        if 0 < exit_status(verdict, self._options.ok) < exit_status(lack):
            return verdict
        return lack._replace(request_id=verdict.request_id)

    # The output --------------------------------------------------------------------------------------------------

    def _end_output(self, verdict: Verdict, deadline: float) -> None:
        output, output_format = self.output, self._current_format()
        if output is None or output_format is None or _is_output_lost(verdict):
            return
        publishes = self._publishes_output(verdict)
        if isinstance(output, Held) and not publishes:
            output.take_back()
            output_format.take()
        output_format.add_record(end_record(verdict, exit_status(verdict, self._options.ok), self._stats_fields()))
        if data := output_format.take():
            output.write(data, deadline)
        if publishes:
            output.deliver(deadline)
        else:
            output.withhold(deadline)

    def _current_format(self) -> Format | None:
        """The format that may hold what was not written yet. An answer that began anew has another than the first."""
        if self.delivery is not None:
            return self.delivery.format
        return self.format

    def _publishes_output(self, verdict: Verdict) -> bool:
        """Whether -o renames and --hold lets out, and nothing is said of how it ended."""
        return exit_status(verdict, self._options.ok) == 0

    # Words and figures -------------------------------------------------------------------------------------------

    def _report(self, verdict: Verdict) -> None:
        if self._options.verbose or not self._publishes_output(verdict):
            self._reporter.verdict(verdict)
        if self._options.stats is not None and self.delivery is not None:
            self._show_stats({**self._stats_fields(), "request_id": verdict.request_id})

    def _show_stats(self, fields: dict[str, Any]) -> None:
        if self._options.stats == "json":
            self._stderr.write_line(dumps(fields).decode())
        else:
            self._reporter.line(stats_line(fields))

    def _stats_fields(self) -> dict[str, Any]:
        """What the end record and --stats=json tell of the run."""
        stats = self._stats
        fields: dict[str, Any] = {"response_id": None, "model": None, "usage": None}
        if self.delivery is not None:
            reply = self.delivery.reply
            fields = {"response_id": reply.response_id, "model": reply.model, "usage": reply.usage}
        return {
            **fields,
            "attempts": stats.attempts,
            "resumes": stats.resumes,
            "first_event_ms": self._milliseconds(stats.first_event),
            "first_text_ms": self._milliseconds(stats.first_text),
            "elapsed_ms": self._milliseconds(self._watch.now()),
        }

    def _milliseconds(self, moment: float | None) -> int | None:
        if moment is None:
            return None
        return round((moment - self._stats.started) * 1000)


def _is_output_lost(verdict: Verdict) -> bool:
    """Whether nothing can be written any more, or nothing was to be: a usage error stops the run before its output."""
    return verdict.outcome in (Outcome.OUTPUT, Outcome.USAGE) or verdict.signal == signal.SIGPIPE


def stats_line(fields: dict[str, Any]) -> str:
    """The figures of a run, for people."""
    first_text, elapsed, usage = fields["first_text_ms"], fields["elapsed_ms"], fields["usage"] or {}
    parts = ["no text"]
    if first_text is not None:
        parts = [f"first token {first_text / 1000:.2f} s"]
    parts.append(f"total {elapsed / 1000:.2f} s")
    tokens = usage.get("output_tokens")
    if isinstance(tokens, int):
        parts.append(count_of(tokens, "token"))
        seconds = (elapsed - (first_text or 0)) / 1000
        if tokens > 1 and seconds >= SHORTEST_RATE:
            parts.append(f"{tokens / seconds:.1f} tokens/s")
    parts.append(count_of(fields["attempts"], "attempt"))
    if fields["request_id"]:
        parts.append(fields["request_id"])
    return ", ".join(parts)


def count_of(number: int, noun: str) -> str:
    """1 token, 2 tokens."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
