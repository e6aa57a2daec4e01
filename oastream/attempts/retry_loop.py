"""What follows an attempt that brought no whole answer, until one does or there is no reason to try again.

In: the verdict of the first attempt. Out: that of the last, with what the user should know of a response that goes on
without the run. What follows is decided in `retry`; here it is carried out, and what there is to say of it is said: on
stderr, and in the records of NDJSON. Refuses to know how an attempt is made.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from oastream.attempts.retry import Decision, Situation, Step, next_step
from oastream.exits import BROKEN_OFF, Failure, Outcome, Verdict, error_fields

if TYPE_CHECKING:
    from oastream.attempts.attempts import Attempts
    from oastream.attempts.background import Job

_BROUGHT_NOTHING = (Outcome.INTERRUPTED, Outcome.MALFORMED, Outcome.NOT_API)
_GONE = (404, 410)


class RetryLoop:
    """Attempts again, in whatever way is left."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self._context = attempts.context
        self._settings = attempts.retry_settings
        self._retry_deadline = attempts.retry_deadline
        self._delivery = attempts.delivery
        self._step = Step.ASK if attempts.has_question else Step.RESUME
        """What the last attempt did."""
        self._progress = 0
        """How far the job was before the last attempt."""
        self._failures = 0  # in a row
        self._last_break_off = Outcome.INTERRUPTED
        self._reported: Verdict | None = None
        """What an error event said, after which the server still had the response."""
        self._records: list[dict[str, Any]] = []

    def run(self, verdict: Verdict) -> Verdict:
        """Attempt until there is an answer, or no reason to try again."""
        while True:
            decision = next_step(self._describe_situation(verdict))
            if decision.step is Step.END:
                return self._give_up(verdict, decision)
            try:
                self._prepare(decision, verdict)
            except Failure as failed:
                return self._give_up(failed.verdict, decision)
            verdict = self._attempt(decision.step)

    def _attempt(self, step: Step) -> Verdict:
        attempts, job = self._attempts, self._attempts.job
        self._step = step
        self._progress = 0  # of a new question's job nothing has come
        if step is Step.ASK or job is None:
            attempts.begin_reply()  # another answer, from its first word
            return attempts.ask()
        self._progress = job.progress
        if step is Step.RESUME:
            return attempts.resume(job)
        return attempts.poll(job)

    # What is known -----------------------------------------------------------------------------------------------

    @property
    def _job_to_take_up(self) -> Job | None:
        """The background response, while the server has it."""
        job = self._attempts.job
        if job is None or not job.can_be_taken_up:
            return None
        return job

    def _describe_situation(self, verdict: Verdict) -> Situation:
        attempts, job, deadlines = self._attempts, self._attempts.job, self._context.deadlines
        has_progress = job is not None and job.progress > self._progress
        if has_progress and self._job_to_take_up is not None:
            self._begin_count_anew()
        if self._settings.is_replay:
            verdict = verdict._replace(retry_after=None)
        situation = Situation(
            verdict,
            failures=self._failures + 1,
            retries=self._settings.retries,
            times_asked=self._delivery.stats.attempts,
            is_written=self._delivery.has_written and not self._delivery.output.can_take_back,
            has_question=attempts.has_question,
            can_reopen=self._settings.can_reopen(),
            is_queued=attempts.is_queued,
            now=deadlines.now(),
            retry_deadline=self._retry_deadline,
            retry_delay=self._settings.delay,
            luck=_random(),
        )
        if job is None:
            return situation
        # The same request would be answered in the same way. What was refused for a while (429, 503) is asked again.
        was_in_vain = self._step is Step.RESUME and not has_progress and _brought_nothing(verdict)
        if was_in_vain:
            job.stop_replay()
        return situation._replace(
            remains=job.remains,
            was_in_vain=was_in_vain,
            is_garbled=job.is_garbled,
            retry_deadline=min(self._retry_deadline, job.leave_by),
        )

    def _begin_count_anew(self) -> None:
        """Failures count in a row, and an event of a response that can be taken up again ends the row."""
        self._failures = 0
        self._reported = None
        self._retry_deadline = self._context.deadlines.retries()

    # Another attempt ---------------------------------------------------------------------------------------------

    def _prepare(self, decision: Decision, verdict: Verdict) -> None:
        """Say what follows, and wait for it. Raises `Failure` with outcome signal or output."""
        self._put_right(verdict)
        if verdict.outcome in BROKEN_OFF:
            self._last_break_off = verdict.outcome
        if decision.delay is None:  # a poll that follows at once is no failure, and nothing to speak of
            return
        self._failures += 1
        self._report(decision.step, verdict, decision.delay)
        self._wait(verdict, decision.delay)

    def _put_right(self, verdict: Verdict) -> None:
        """The next stream goes on with a reply that must not have ended, nor hold what made no sense."""
        job, reply = self._attempts.job, self._delivery.reply
        if reply.has_ended and self._job_to_take_up is not None:
            self._reported = verdict
            reply.reopen()
        if job is not None and job.is_garbled:
            job.is_garbled = False
            self._attempts.begin_reply()
            self._reset_output()

    def _report(self, step: Step, verdict: Verdict, delay: float) -> None:
        summary = verdict.summary or verdict.outcome.value
        count = f"in {delay:.1f} s ({self._failures} of {self._settings.retries})"
        cause = {"delay_ms": round(delay * 1000), "error": error_fields(verdict)}
        if step.resumes:
            self._delivery.stats.resumes += 1
            self._context.reporter.line_if_watched(f"{summary}; resuming {count}")
            self._write_record({**self._resume_record(), **cause})
            return
        self._context.reporter.line_if_watched(f"{summary}; retrying {count}")
        if self._delivery.output.can_take_back:  # what is not held was not written, or there would be no retry
            self._attempts.begin_format()
            self._reset_output()
        self._write_record({"type": "oastream:retry", "attempt": self._delivery.stats.attempts, **cause})

    def _wait(self, verdict: Verdict, delay: float) -> None:
        until = self._context.deadlines.now() + delay
        self._delivery.status_line.show_phase(f"{verdict.summary}; trying again in", until)
        self._context.watch.sleep(until)
        self._delivery.status_line.show_phase("waiting")

    def _reset_output(self) -> None:
        """Take back what was held of the answer. Records of ours are no part of it: they are there again."""
        if self._delivery.output.can_take_back:
            self._delivery.output.take_back()
            for record in self._records:
                self._delivery.format.add_record(record)

    def _resume_record(self) -> dict[str, Any]:
        job = self._attempts.job
        assert job is not None
        return {
            "type": "oastream:resume",
            "resume": self._delivery.stats.resumes,
            "response_id": job.id,
            "starting_after": job.last_number if job.last_number >= 0 else None,
        }

    def _write_record(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        self._delivery.format.add_record(record)
        if data := self._delivery.format.take():
            self._delivery.output.write(data, self._context.deadlines.run)

    # The end -----------------------------------------------------------------------------------------------------

    def _give_up(self, verdict: Verdict, decision: Decision) -> Verdict:
        """The verdict on the run; a job outlives it, and is cancelled or left."""
        if verdict.has_answer:
            return verdict
        self._context.trace.note(f"the last attempt: {decision.reason or 'stopped'}")
        is_gone = self._step.resumes and verdict.http_status in _GONE
        verdict = self._as_reported(verdict).with_hint(decision.hint)
        verdict = self._as_broken_off(verdict)
        job = self._job_to_take_up
        if job is None:
            return verdict
        from oastream.attempts.abandoned_job import abandon

        may_be_queued = job.is_id_written and self._reported is None and not self._delivery.reply.has_ended
        return abandon(job, verdict, self._context, is_gone, may_be_queued)

    def _as_reported(self, verdict: Verdict) -> Verdict:
        """What an error event said is the reason, whatever kept the rest of the response away after it."""
        if self._reported is None or verdict.signal is not None:
            return verdict
        if verdict.outcome in (Outcome.DEADLINE, Outcome.OUTPUT):
            return verdict
        return self._reported

    def _as_broken_off(self, verdict: Verdict) -> Verdict:
        """Once output has begun, what keeps the rest away is the reason, not the status: 3x says there is none."""
        if not self._delivery.reply.output_began or verdict.outcome in (*BROKEN_OFF, Outcome.SIGNAL, Outcome.OUTPUT):
            return verdict
        reason = ": ".join(filter(None, (verdict.summary, verdict.detail)))
        return verdict._replace(outcome=self._last_break_off, summary="the answer broke off", detail=reason)


def _brought_nothing(verdict: Verdict) -> bool:
    """Whether a stream that was opened again is refused for good, is no stream, or still has the gap."""
    if verdict.signal is not None:
        return False
    if verdict.outcome in _BROUGHT_NOTHING:
        return True
    return 400 <= (verdict.http_status or 0) < 500 and not verdict.retryable


def _random() -> float:
    """From 0 up to 1. Importing `random` takes 5 ms."""
    return int.from_bytes(os.urandom(4), "big") / 2**32
