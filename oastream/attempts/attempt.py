"""One attempt: a request is sent, its reply is read to the end, and what it brings is delivered.

In: a request, or a job to poll. Out: the verdict; what came of the answer is in the reply and has gone to the output.
Whether another attempt follows is not decided here, nor how a stream went: that is `Answer`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from oastream.attempts.deadlines import Deadlines
from oastream.attempts.delivery import Delivery
from oastream.attempts.exchange import Exchange
from oastream.events.answer import LINGER, Answer, Delivered
from oastream.exits import Failure, Outcome, Verdict
from oastream.http.http1 import TruncatedBody
from oastream.output.stderr import Reporter, Trace
from oastream.redaction import KnownSecrets
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.attempts.background import Job
    from oastream.http.request import Request
    from oastream.http.source import OpenSource, Source

DETACH_TIME = 10.0
"""Seconds after its id that --detach waits for a response to leave the queue."""


class AttemptContext:
    """What the attempts of a run share on their way to an answer.

    `max_bytes` is --max-event-bytes, as the limit of a document; `tools_wanted` is --format tools.
    """

    def __init__(
        self,
        open_source: OpenSource,
        deadlines: Deadlines,
        watch: Watch,
        reporter: Reporter,
        trace: Trace,
        secrets: KnownSecrets,
        max_bytes: int,
        tools_wanted: bool,
    ) -> None:
        self.open_source = open_source
        self.deadlines = deadlines
        self.watch = watch
        self.reporter = reporter
        self.trace = trace
        self.secrets = secrets
        self.max_bytes = max_bytes
        self.tools_wanted = tools_wanted


class Attempt:
    """What all kinds of attempts share: however one ends, it ends with a verdict that holds no secret."""

    def __init__(self, context: AttemptContext, job: Job | None = None) -> None:
        self._context = context
        self._deadlines = context.deadlines
        self._exchange = Exchange(context.open_source, context.deadlines, context.trace)
        self._job = job

    def run(self) -> Verdict:
        try:
            verdict = self._go()
        except Failure as failed:
            verdict = failed.verdict
            if verdict.outcome is Outcome.TIMEOUT and self._deadlines.run_passed:
                verdict = self._late()  # connecting names its own deadline, but --max-time came first
        except TimeoutError:
            verdict = self._timeout_verdict()
        return self._without_secrets(verdict)

    def _go(self) -> Verdict:
        raise NotImplementedError

    def _late(self) -> Verdict:
        """Which deadline has passed."""
        raise NotImplementedError

    @property
    def _leave_by(self) -> float:
        """The moment at which --detach leaves the job."""
        return math.inf if self._job is None else self._job.leave_by

    def _timeout_verdict(self) -> Verdict:
        if self._job is None or self._deadlines.now() < self._leave_by:
            return self._late()
        self._context.reporter.line(f"response {self._job.shown_id} is still queued")
        return Verdict(Outcome.STOP)

    def _without_secrets(self, verdict: Verdict) -> Verdict:
        """Servers repeat the key that they reject."""
        mask, request_id = self._context.secrets.mask, self._exchange.request_id
        return verdict._replace(
            detail=mask(verdict.detail),
            code=verdict.code and mask(verdict.code),
            request_id=request_id and mask(request_id),
        )


class StreamAttempt(Attempt):
    """Reads one stream of an answer, the first or one that goes on with it."""

    def __init__(
        self, context: AttemptContext, request: Request, answer: Answer, delivery: Delivery, job: Job | None = None
    ) -> None:
        super().__init__(context, job)
        self._request = request
        self._answer = answer
        self._delivery = delivery

    def _go(self) -> Verdict:
        answer = self._answer
        with self._exchange.open(self._request, answer.deadline, self._leave_by) as source:
            self.read_stream(source)
            # --format sse prints the body as it came: `[DONE]` may follow an event that ended the reading.
            if self._delivery.format.wants_rest_of_body and not answer.has_body_ended:
                self._drain_body(source)
        return answer.verdict(self._context.tools_wanted)

    def _late(self) -> Verdict:
        return self._answer.late(self._deadlines.now())

    def read_stream(self, source: Source) -> None:
        """Read until the answer has ended or the body has."""
        answer, delivery, now = self._answer, self._delivery, self._deadlines.now
        while not answer.is_done:
            delivery.deliver(self._next_events(source))
            if self._job is not None:
                self._let_go_of_job(self._job)
            answer.heard(now())  # only now: a stdout that blocked is no silence of the server

    def _next_events(self, source: Source) -> Iterator[Delivered]:
        """What the next bytes of the body bring, or its end."""
        answer = self._answer
        try:
            chunk = source.read(answer.deadline)
        except TruncatedBody as cut:
            return answer.end(str(cut))
        except TimeoutError:
            if not answer.is_whole:
                raise
            chunk = None  # usage that never came is no reason to fail an answer that is there
        except Failure as failed:
            # Corrupt compression, say. A signal, and a reader that has gone, end the run all the same.
            if not answer.is_whole or failed.verdict.outcome is Outcome.SIGNAL:
                raise
            chunk = None
        if chunk is None:
            return answer.end()
        self._delivery.format.add_chunk(chunk)  # before its events: of one that makes no sense sse prints the bytes
        return answer.feed(chunk)

    def _let_go_of_job(self, job: Job) -> None:
        """--detach may leave its job once the id is written: without it nobody could take the response up again."""
        if job.detaches and self._delivery.has_written and not job.is_id_written:
            job.leave_by = self._deadlines.after(DETACH_TIME)

    def _drain_body(self, source: Source) -> None:
        """The body's bytes after the terminal event, as far as they come at once."""
        deadline = self._deadlines.after(LINGER)
        try:
            while (chunk := source.read(deadline)) is not None:
                self._delivery.format.add_chunk(chunk)
                self._delivery.write()
        except (TruncatedBody, TimeoutError):
            return  # the answer is complete, whatever happens on the wire after it
