"""When another byte stream is opened, and what of it is passed on: retry, resume, poll, cancel.

In: a request, a session. Out: the reply and the verdict of the last attempt. This is the one place that decides to try
again: from the verdict, from whether anything of the answer was committed, and from what the server can still replay.
Knows nothing of formats.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from oastream.attempt import Attempt, Session
from oastream.endpoint import Request
from oastream.exits import BROKEN_OFF, Failure, Outcome, Verdict
from oastream.job import Job
from oastream.reply import Reply
from oastream.sinks import Sink, error_fields

LONGEST_BACKOFF = 30.0
CANCEL_TIME = 2.0
"""Seconds that cancelling the server's job may take when a signal ends the run."""
_CANCELLING = (signal.SIGINT, signal.SIGPIPE)


class Attempts:
    """Gets one answer, in as many attempts as it takes and the options allow."""

    def __init__(
        self, session: Session, request: Request, new_sink: Callable[[], Sink], job: Job | None = None
    ) -> None:
        self._session = session
        self._options = session.options
        self._request = request
        self._new_sink = new_sink
        self._job = job
        self._committed = False
        self._failures = 0  # in a row
        self._broke = Outcome.INTERRUPTED
        self._until = session.deadlines.retries()
        self._records: list[dict[str, Any]] = []
        self.sink = new_sink()
        self.reply = self._new_reply()

    def run(self) -> Verdict:
        """Attempt until there is an answer, or no reason to try again."""
        while True:
            verdict = self._attempt()
            if not self._may_go_on(verdict):
                return self._let_go(verdict)
            delay = self._delay(verdict)
            left = self._until - self._session.deadlines.now()
            if delay >= left:
                waits = f"the wait of {round(delay, 1):g} s is longer than the {round(max(left, 0), 1):g} s"
                return self._let_go(
                    verdict._replace(hint=f"not retried: {waits} that --retry-max-time and --max-time leave")
                )
            try:
                self._announce(verdict, delay)
                until = self._session.deadlines.now() + delay
                self._session.messages.phase(f"{verdict.what}; trying again in", until)
                self._session.watch.sleep(until)
                self._session.messages.phase("waiting")
            except Failure as failed:
                return self._let_go(failed.verdict)

    # One attempt -------------------------------------------------------------------------------------------------

    @property
    def _resumes(self) -> bool:
        """Whether the server has the answer, so that the next attempt asks for the rest of it."""
        return self._job is not None and self._job.id is not None

    def _attempt(self) -> Verdict:
        job, seen = self._job, self._job.accepted if self._job else 0
        if job is None or job.id is None:
            self._session.figures.attempts += 1
            self.sink = self._new_sink()
            self.reply = self._new_reply()
            verdict = self._through(lambda attempt: attempt.stream(self._request))
        elif job.replayable:
            verdict = self._through(lambda attempt: attempt.stream(job.stream_request()))
            if _cannot_replay(verdict, job, seen):
                job.replayable = False
                verdict = self._through(lambda attempt: attempt.poll(job))
        else:
            verdict = self._through(lambda attempt: attempt.poll(job))
        self._count(job is not None and job.accepted > seen)
        return verdict

    def _through(self, go: Callable[[Attempt], Verdict]) -> Verdict:
        attempt = Attempt(self._session, self.sink, self.reply, self._job)
        try:
            return go(attempt)
        finally:
            self._committed = self._committed or attempt.committed

    def _new_reply(self) -> Reply:
        keep_text = self.sink.assembles or self._session.keep_text
        # Of several choices nobody knows which one used the tokens up.
        limit = self._options.max_output_tokens if self._session.choices == 1 else None
        return Reply(limit, self.sink.prints_deltas, keep_text, self._session.offered)

    def _count(self, progress: bool) -> None:
        """Failures count in a row: an event that arrives starts the count, and the time for it, anew."""
        if progress:
            self._failures = 0
            self._until = self._session.deadlines.retries()
        self._failures += 1

    # Another attempt ---------------------------------------------------------------------------------------------

    def _may_go_on(self, verdict: Verdict) -> bool:
        if not verdict.retryable or self._failures > self._options.retry or not self._session.more():
            return False
        return self._resumes or not self._committed or self._session.output.held

    def _delay(self, verdict: Verdict) -> float:
        """Seconds to wait: what the server asks for, else a random part of a growing time, so that many runs spread."""
        if self._options.replay is not None:
            return 0.0
        if verdict.retry_after is not None:
            return verdict.retry_after
        import random  # 5 ms that a run without retries need not pay

        return random.uniform(0, min(self._options.retry_delay * 2 ** (self._failures - 1), LONGEST_BACKOFF))

    def _announce(self, verdict: Verdict, delay: float) -> None:
        what = verdict.what or verdict.outcome.value
        self._broke = verdict.outcome if verdict.outcome in BROKEN_OFF else self._broke
        count = f"in {delay:.1f} s ({self._failures} of {self._options.retry})"
        if self._resumes:
            self._session.figures.resumes += 1
            self._session.messages.progress(f"{what}; resuming {count}")
        else:
            self._session.messages.progress(f"{what}; retrying {count}")
            if self._session.output.held:
                self._session.output.reset()
                self._committed = False
                self.sink = self._new_sink()
        self._write_record(self._record(verdict, delay))

    def _record(self, verdict: Verdict, delay: float) -> dict[str, Any]:
        timing = {"delay_ms": round(delay * 1000), "error": error_fields(verdict)}
        if self._job is not None and self._resumes:
            after = self._job.last if self._job.last >= 0 else None
            number = self._session.figures.resumes
            return {
                "type": "oastream:resume",
                "resume": number,
                "response_id": self._job.id,
                "starting_after": after,
                **timing,
            }
        return {"type": "oastream:retry", "attempt": self._session.figures.attempts, **timing}

    def _write_record(self, record: dict[str, Any]) -> None:
        """Output that was taken back gets its earlier records again."""
        self._records.append(record)
        taken_back = self._session.output.held and not self._resumes
        for each in self._records if taken_back else [record]:
            self.sink.record(each)
        if data := self.sink.take():
            self._session.output.write(data, self._session.deadlines.run)

    # The end -----------------------------------------------------------------------------------------------------

    def _let_go(self, verdict: Verdict) -> Verdict:
        """A job outlives the run: cancel it when the user gives up, else say how to get it."""
        job = self._job
        if job is None or job.id is None or self.reply.ended or self._options.detach:
            return verdict
        verdict = self._broken_off(verdict)
        if verdict.signal in _CANCELLING:
            self._cancel(job)
            return verdict
        goes_on = f"response {job.id} goes on; oastream --resume {job.id} takes it up"
        if verdict.signal is not None:
            self._session.messages.line(goes_on)
            return verdict
        return verdict._replace(hint="; ".join(filter(None, (verdict.hint, goes_on))))

    def _broken_off(self, verdict: Verdict) -> Verdict:
        """Once output has begun, what keeps the rest away is the reason, not the status: 3x says there is none."""
        if not self.reply.output_began or verdict.outcome in (*BROKEN_OFF, Outcome.SIGNAL, Outcome.OUTPUT):
            return verdict
        why = ": ".join(filter(None, (verdict.what, verdict.why)))
        return verdict._replace(outcome=self._broke, what="the answer broke off", why=why)

    def _cancel(self, job: Job) -> None:
        session = self._session
        session.watch.heed()
        deadline = session.deadlines.now() + CANCEL_TIME
        try:
            with session.open(job.cancel_request(), deadline, deadline) as source:
                why = "" if source.status // 100 == 2 else f"HTTP {source.status}"
        except (Failure, TimeoutError):
            why = "no answer"
        if why:
            session.messages.line(f"response {job.id} could not be cancelled: {why}")


def _cannot_replay(verdict: Verdict, job: Job, seen: int) -> bool:
    """Whether a stream that was opened again brought nothing: refused for good, no stream, or still with the gap."""
    if job.accepted > seen or verdict.signal is not None:
        return False
    refused = verdict.http_status is not None and 400 <= verdict.http_status < 500 and not verdict.retryable
    return refused or verdict.outcome in (Outcome.INTERRUPTED, Outcome.MALFORMED, Outcome.NOT_API)
