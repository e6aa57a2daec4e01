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

from oastream.attempts.attempt import Attempt, Session
from oastream.events.reply import Reply
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


class Attempts:
    """Gets one answer. `in_background` asks the server to go on without us; `resume` is the id of such a response."""

    def __init__(
        self,
        session: Session,
        request: Request,
        new_format: Callable[[], Format],
        in_background: bool = False,
        resume: str | None = None,
    ) -> None:
        self._session = session
        self._options = session.options
        self._request = request
        self._new_format = new_format
        self._in_background = in_background
        self._has_question = resume is None
        self._job = None if resume is None else self._new_job(resume)
        self._committed = False
        self._failures = 0  # in a row
        self._last_break_off = Outcome.INTERRUPTED
        self._reported: Verdict | None = None
        self._retry_until = session.deadlines.retries()
        self._records: list[dict[str, Any]] = []
        self._is_queued = False
        self.format = new_format()
        self.reply = self._new_reply()

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

        job = self._job
        if step is Step.RESUME and job is not None:
            return self._resume(job)
        if step is Step.POLL and job is not None:
            return self._through(lambda attempt: attempt.poll(job))
        return self._ask()

    def _resume(self, job: Job) -> Verdict:
        return self._through(lambda attempt: attempt.stream(job.stream_request()))

    def _ask(self) -> Verdict:
        self._session.stats.attempts += 1
        self.format = self._new_format()
        self.reply = self._new_reply()
        self._job = self._new_job() if self._in_background else None
        return self._through(lambda attempt: attempt.stream(self._request))

    def _new_job(self, response_id: str | None = None) -> Job:
        from oastream.attempts.background import Job  # in the background only

        return Job(self._request, response_id)

    def _through(self, go: Callable[[Attempt], Verdict]) -> Verdict:
        attempt = Attempt(self._session, self.format, self.reply, self._job)
        try:
            return go(attempt)
        finally:
            self._committed = self._committed or attempt.committed
            self._is_queued = attempt.is_queued

    def _new_reply(self) -> Reply:
        keep_text = self.format.assembles or self._session.keep_text
        # Of several choices nobody knows which one used the tokens up.
        limit = self._options.max_output_tokens if self._session.choices == 1 else None
        return Reply(limit, self.format.prints_deltas, keep_text, self._session.offered)

    # Another attempt ---------------------------------------------------------------------------------------------

    def _begin_count_anew(self) -> None:
        """Failures count in a row, and an event of a response that can be taken up again ends the row."""
        self._failures = 0
        self._reported = None
        self._retry_until = self._session.deadlines.retries()

    @property
    def _can_be_taken_up(self) -> bool:
        return self._job is not None and self._job.can_be_taken_up

    def _situation(self, step: Step, verdict: Verdict, has_progress: bool) -> Situation:
        from oastream.attempts.retry import Remains, Situation, Step

        session = self._session
        in_vain = step is Step.RESUME and not has_progress and _brought_nothing(verdict)
        if in_vain and self._job is not None:
            self._job.stop_replay()
        replays = self._options.replay is not None
        return Situation(
            verdict._replace(retry_after=None) if replays else verdict,
            failures=self._failures + 1,
            retries=self._options.retry,
            asked=session.stats.attempts,
            remains=Remains.NOTHING if self._job is None else self._job.remains,
            is_written=self._committed and not session.output.can_take_back,
            has_question=self._has_question,
            can_open=session.can_reopen(),
            is_queued=self._is_queued,
            in_vain=in_vain,
            is_garbled=self._job is not None and self._job.is_garbled,
            now=session.deadlines.now(),
            retry_until=min(self._retry_until, self._job.leave_by if self._job is not None else self._retry_until),
            retry_delay=0.0 if replays else self._options.retry_delay,
            luck=_random(),
        )

    def _go_on(self, decision: Decision, verdict: Verdict) -> None:
        """Say what follows, and wait for it. Raises `Failure` with outcome signal or output."""
        if self.reply.has_ended and self._can_be_taken_up:
            self._reported = verdict
            self.reply.reopen()
        if self._job is not None and self._job.is_garbled:
            self._job.is_garbled = False
            self._take_back()
            self.reply = self._new_reply()
        if verdict.outcome in BROKEN_OFF:
            self._last_break_off = verdict.outcome
        if decision.delay is None:
            return
        self._failures += 1
        self._report(decision, verdict, decision.delay)
        until = self._session.deadlines.now() + decision.delay
        self._session.status_line.show_phase(f"{verdict.summary}; trying again in", until)
        self._session.watch.sleep(until)
        self._session.status_line.show_phase("waiting")

    def _report(self, decision: Decision, verdict: Verdict, delay: float) -> None:
        what = verdict.summary or verdict.outcome.value
        count = f"in {delay:.1f} s ({self._failures} of {self._options.retry})"
        if decision.step.resumes:
            self._session.stats.resumes += 1
            self._session.reporter.line_if_watched(f"{what}; resuming {count}")
            self._write_record(self._resume_record(verdict, delay))
            return
        self._session.reporter.line_if_watched(f"{what}; retrying {count}")
        if self._session.output.can_take_back:
            self._take_back()
        attempt = self._session.stats.attempts
        self._write_record({"type": "oastream:retry", "attempt": attempt, **_cause(verdict, delay)})

    def _take_back(self) -> None:
        """Forget what there was of the answer. Records of ours are no part of it."""
        self._committed = False
        self.format = self._new_format()
        if self._session.output.can_take_back:
            self._session.output.take_back()
            for record in self._records:
                self.format.add_record(record)

    def _resume_record(self, verdict: Verdict, delay: float) -> dict[str, Any]:
        job = self._job
        return {
            "type": "oastream:resume",
            "resume": self._session.stats.resumes,
            "response_id": job and job.id,
            "starting_after": job.last_number if job is not None and job.last_number >= 0 else None,
            **_cause(verdict, delay),
        }

    def _write_record(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        self.format.add_record(record)
        if data := self.format.take():
            self._session.output.write(data, self._session.deadlines.run)

    # The end -----------------------------------------------------------------------------------------------------

    def _give_up(self, step: Step, verdict: Verdict, decision: Decision) -> Verdict:
        """A job outlives the run: cancel it when the user gives up, else say how to get it."""
        if verdict.has_answer:
            return verdict
        self._session.trace.note(f"the last attempt: {decision.reason or 'stopped'}")
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
            self._session.watch.acknowledge_signal()  # or the message would not wait for a stderr that is not ready
            self._session.reporter.line(still)
            return verdict
        may_leave = job.leave_by < math.inf  # its id is written
        if may_leave and self._reported is None and not self.reply.has_ended:
            self._session.reporter.line(f"response {job.shown_id} may still be queued: {verdict.message}")
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
        if not self.reply.output_began or verdict.outcome in (*BROKEN_OFF, Outcome.SIGNAL, Outcome.OUTPUT):
            return verdict
        why = ": ".join(filter(None, (verdict.summary, verdict.detail)))
        return verdict._replace(outcome=self._last_break_off, summary="the answer broke off", detail=why)

    def _cancel(self, job: Job) -> None:
        session = self._session
        session.watch.acknowledge_signal()
        deadline = session.deadlines.now() + CANCEL_TIME
        try:
            with session.open(job.cancel_request(), deadline, deadline) as source:
                why = "" if source.status // 100 == 2 else f"HTTP {source.status}"
        except (Failure, TimeoutError):
            why = "no answer"
        if why:
            session.reporter.line(f"response {job.shown_id} could not be cancelled: {why}")


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
