"""One answer in as many attempts as it takes: ask, resume, poll, cancel.

In: a request, a session. Out: the reply and the verdict of the last attempt. What follows an attempt is decided in
`retry`; here it is carried out, and what there is to say of it is said: on stderr, and in the records of NDJSON.
Knows nothing of formats.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oastream.attempts.answer_settings import AnswerSettings
from oastream.attempts.attempt import AttemptContext, StreamAttempt
from oastream.attempts.delivery import Delivery
from oastream.events.answer import Answer
from oastream.exits import BROKEN_OFF, Failure, Outcome, Verdict, error_fields
from oastream.http.request import Request
from oastream.output.formats import Format

if TYPE_CHECKING:
    from oastream.attempts.background import Job
    from oastream.attempts.retry import Decision, Situation, Step

CANCEL_TIME = 2.0
"""Seconds that cancelling the server's job may take when a signal ends the run."""
_CANCELLING = (signal.SIGINT, signal.SIGPIPE)
_GONE = (404, 410)
_BROUGHT_NOTHING = (Outcome.INTERRUPTED, Outcome.MALFORMED, Outcome.NOT_API)


class RetrySettings:
    """What the user allows: --retry, --retry-delay. A replay waits for nobody, whatever the recorded server asked for.

    `can_reopen` tells whether there is a source to open again: a recording ends.
    """

    def __init__(self, retries: int, delay: float, is_replay: bool, can_reopen: Callable[[], bool]) -> None:
        self.retries = retries
        self.delay = 0.0 if is_replay else delay
        self.is_replay = is_replay
        self.can_reopen = can_reopen


class BackgroundSettings:
    """--background, --detach, and the response that --resume takes up."""

    def __init__(self, is_asked_for: bool = False, detaches: bool = False, response_id: str | None = None) -> None:
        self.is_asked_for = is_asked_for
        self.detaches = detaches
        self.response_id = response_id


class Attempts:
    """Gets one answer. `new_format` makes the format anew for an answer that begins anew."""

    def __init__(
        self,
        request: Request,
        context: AttemptContext,
        settings: AnswerSettings,
        retry: RetrySettings,
        background: BackgroundSettings,
        delivery: Delivery,
        new_format: Callable[[], Format],
    ) -> None:
        self._request = request
        self._context = context
        self._deadlines = context.deadlines
        self._reporter = context.reporter
        self._settings = settings
        self._retry = retry
        self._background = background
        self._delivery = delivery
        self._output = delivery.output
        self._stats = delivery.stats
        self._new_format = new_format
        self._has_question = background.response_id is None
        self._job = None if background.response_id is None else self._new_job(background.response_id)
        self._failures = 0  # in a row
        self._last_break_off = Outcome.INTERRUPTED
        self._reported: Verdict | None = None
        self._retry_deadline = context.deadlines.retries()
        self._records: list[dict[str, Any]] = []
        self._is_queued = False

    def run(self) -> Verdict:
        """Attempt until there is an answer, or no reason to try again."""
        verdict = self._ask() if self._job is None else self._resume(self._job)
        if verdict.has_answer:
            return verdict  # as most runs end; what decides on another attempt takes 2 % of one, and is not loaded
        from oastream.attempts.retry import Step, next_step

        step = Step.ASK if self._has_question else Step.RESUME
        progress = 0
        while True:
            has_progress = self._job is not None and self._job.progress > progress
            if has_progress and self._can_be_taken_up:
                self._begin_count_anew()
            decision = next_step(self._situation(step, verdict, has_progress))
            if decision.step is Step.END:
                return self._give_up(step, verdict, decision)
            try:
                self._go_on(decision, verdict)
            except Failure as failed:
                return self._give_up(step, failed.verdict, decision)
            step = decision.step
            progress = self._job.progress if self._job is not None and step.resumes else 0
            verdict = self._attempt(step)

    # One attempt -------------------------------------------------------------------------------------------------

    def _attempt(self, step: Step) -> Verdict:
        from oastream.attempts.retry import Step

        if self._job is not None and step is Step.RESUME:
            return self._resume(self._job)
        if self._job is not None and step is Step.POLL:
            return self._poll(self._job)
        self._begin_answer()
        return self._ask()

    def _ask(self) -> Verdict:
        self._stats.attempts += 1
        self._job = self._new_job() if self._background.is_asked_for else None
        return self._stream(self._request)

    def _resume(self, job: Job) -> Verdict:
        return self._stream(job.stream_request())

    def _stream(self, request: Request) -> Verdict:
        answer = self._new_answer()
        try:
            return StreamAttempt(self._context, request, answer, self._delivery, self._job).run()
        finally:
            self._is_queued = answer.is_unfinished

    def _poll(self, job: Job) -> Verdict:
        from oastream.attempts.poll import PollAttempt

        self._is_queued = False
        return PollAttempt(self._context, job, self._delivery, self._retry.delay).run()

    def _begin_answer(self) -> None:
        output_format = self._new_format()
        self._delivery.begin(output_format, self._settings.new_reply(output_format))

    def _new_answer(self) -> Answer:
        reply = self._delivery.reply
        decoder = self._settings.new_decoder(self._delivery.format)
        limits, now = self._deadlines.limits, self._deadlines.now()
        if self._job is None:
            return Answer(decoder, reply, limits, now)
        from oastream.attempts.background_answer import BackgroundAnswer

        return BackgroundAnswer(self._job, self._reporter.line_once, decoder, reply, limits, now)

    def _new_job(self, response_id: str | None = None) -> Job:
        from oastream.attempts.background import Job  # in the background only

        return Job(self._request, response_id, self._background.detaches)

    # Another attempt ---------------------------------------------------------------------------------------------

    def _begin_count_anew(self) -> None:
        """Failures count in a row, and an event of a response that can be taken up again ends the row."""
        self._failures = 0
        self._reported = None
        self._retry_deadline = self._deadlines.retries()

    @property
    def _can_be_taken_up(self) -> bool:
        return self._job is not None and self._job.can_be_taken_up

    @property
    def _leave_by(self) -> float:
        """The moment at which --detach leaves the job."""
        return math.inf if self._job is None else self._job.leave_by

    def _situation(self, step: Step, verdict: Verdict, has_progress: bool) -> Situation:
        from oastream.attempts.retry import Remains, Situation, Step

        in_vain = step is Step.RESUME and not has_progress and _brought_nothing(verdict)
        if in_vain and self._job is not None:
            self._job.stop_replay()
        return Situation(
            verdict._replace(retry_after=None) if self._retry.is_replay else verdict,
            failures=self._failures + 1,
            retries=self._retry.retries,
            asked=self._stats.attempts,
            remains=Remains.NOTHING if self._job is None else self._job.remains,
            is_written=self._delivery.has_written and not self._output.held,
            has_question=self._has_question,
            can_open=self._retry.can_reopen(),
            is_queued=self._is_queued,
            in_vain=in_vain,
            is_garbled=self._job is not None and self._job.is_garbled,
            now=self._deadlines.now(),
            retry_until=min(
                self._retry_deadline, self._job.leave_by if self._job is not None else self._retry_deadline
            ),
            retry_delay=self._retry.delay,
            luck=_random(),
        )

    def _go_on(self, decision: Decision, verdict: Verdict) -> None:
        """Say what follows, and wait for it. Raises `Failure` with outcome signal or output."""
        if self._delivery.reply.has_ended and self._can_be_taken_up:
            self._reported = verdict
            self._delivery.reply.reopen()
        if self._job is not None and self._job.is_garbled:
            self._job.is_garbled = False
            self._take_back()
            self._delivery.reply = self._settings.new_reply(self._delivery.format)
        if verdict.outcome in BROKEN_OFF:
            self._last_break_off = verdict.outcome
        if decision.delay is None:
            return
        self._failures += 1
        self._report(decision, verdict, decision.delay)
        until = self._deadlines.now() + decision.delay
        self._delivery.status_line.show_phase(f"{verdict.summary}; trying again in", until)
        self._context.watch.sleep(until)
        self._delivery.status_line.show_phase("waiting")

    def _report(self, decision: Decision, verdict: Verdict, delay: float) -> None:
        what = verdict.summary or verdict.outcome.value
        count = f"in {delay:.1f} s ({self._failures} of {self._retry.retries})"
        if decision.step.resumes:
            self._stats.resumes += 1
            self._reporter.line_if_watched(f"{what}; resuming {count}")
            self._write_record(self._resume_record(verdict, delay))
            return
        self._reporter.line_if_watched(f"{what}; retrying {count}")
        if self._output.held:
            self._take_back()
        attempt = self._stats.attempts
        self._write_record({"type": "oastream:retry", "attempt": attempt, **_cause(verdict, delay)})

    def _take_back(self) -> None:
        """Forget what there was of the answer. Records of ours are no part of it."""
        self._delivery.begin(self._new_format(), self._delivery.reply)
        if self._output.held:
            self._output.reset()
            for record in self._records:
                self._delivery.format.add_record(record)

    def _resume_record(self, verdict: Verdict, delay: float) -> dict[str, Any]:
        job = self._job
        return {
            "type": "oastream:resume",
            "resume": self._stats.resumes,
            "response_id": job and job.id,
            "starting_after": job.last_number if job is not None and job.last_number >= 0 else None,
            **_cause(verdict, delay),
        }

    def _write_record(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        self._delivery.format.add_record(record)
        if data := self._delivery.format.take():
            self._output.write(data, self._deadlines.run)

    # The end -----------------------------------------------------------------------------------------------------

    def _give_up(self, step: Step, verdict: Verdict, decision: Decision) -> Verdict:
        """A job outlives the run: cancel it when the user gives up, else say how to get it."""
        if verdict.has_answer:
            return verdict
        self._context.trace.note(f"the last attempt: {decision.reason or 'stopped'}")
        is_gone = step.resumes and verdict.http_status in _GONE
        verdict = self._as_reported(verdict)
        verdict = self._as_broken_off(verdict._replace(hint=_joined(verdict.hint, decision.hint)))
        job = self._job
        if job is None or not job.can_be_taken_up:
            return verdict
        if verdict.signal in _CANCELLING:
            self._cancel(job)
            return verdict
        return self._leave(job, verdict, is_gone)

    def _leave(self, job: Job, verdict: Verdict, is_gone: bool) -> Verdict:
        """The job goes on without this run, as far as anybody knows."""
        if is_gone:
            why = "it may have expired, or been made with another key or at another base URL"
            return verdict._replace(hint=f"the server has no response {job.shown_id}; {why}")
        still = f"response {job.shown_id} is still running; resume it with: {job.resume_command}"
        if verdict.signal is not None:
            self._context.watch.acknowledge_signal()  # or the message would not wait for a stderr that is not ready
            self._reporter.line(still)
            return verdict
        if job.is_id_written and self._reported is None and not self._delivery.reply.has_ended:
            self._reporter.line(f"response {job.shown_id} may still be queued: {verdict.message}")
            return Verdict(Outcome.STOP)
        return verdict._replace(hint=_joined(verdict.hint, still))

    def _as_reported(self, verdict: Verdict) -> Verdict:
        """What an error event said is the reason, whatever kept the rest of the response away after it."""
        if (
            self._reported is None
            or verdict.signal is not None
            or verdict.outcome in (Outcome.DEADLINE, Outcome.OUTPUT)
        ):
            return verdict
        return self._reported

    def _as_broken_off(self, verdict: Verdict) -> Verdict:
        """Once output has begun, what keeps the rest away is the reason, not the status: 3x says there is none."""
        if not self._delivery.reply.output_began or verdict.outcome in (*BROKEN_OFF, Outcome.SIGNAL, Outcome.OUTPUT):
            return verdict
        why = ": ".join(filter(None, (verdict.summary, verdict.detail)))
        return verdict._replace(outcome=self._last_break_off, summary="the answer broke off", detail=why)

    def _cancel(self, job: Job) -> None:
        self._context.watch.acknowledge_signal()
        deadline = self._deadlines.now() + CANCEL_TIME
        try:
            with self._context.open_source(job.cancel_request(), deadline, deadline) as source:
                why = "" if source.status // 100 == 2 else f"HTTP {source.status}"
        except (Failure, TimeoutError):
            why = "no answer"
        if why:
            self._reporter.line(f"response {job.shown_id} could not be cancelled: {why}")


def _brought_nothing(verdict: Verdict) -> bool:
    """Whether a stream that was opened again is refused for good, is no stream, or still has the gap."""
    if verdict.signal is not None:
        return False
    refused = verdict.http_status is not None and 400 <= verdict.http_status < 500 and not verdict.retryable
    return refused or verdict.outcome in _BROUGHT_NOTHING


def _cause(verdict: Verdict, delay: float) -> dict[str, Any]:
    return {"delay_ms": round(delay * 1000), "error": error_fields(verdict)}


def _joined(*hints: str) -> str:
    return "; ".join(filter(None, hints))


def _random() -> float:
    """From 0 up to 1. Importing `random` takes 5 ms."""
    return int.from_bytes(os.urandom(4), "big") / 2**32
