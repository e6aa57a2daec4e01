"""Attempts whose reply is one document: a background response that is polled until it has ended, or a list.

In: a request, or a job to ask for. Out: the verdict; what came is delivered, or handed on. Refuses to know why there is
no stream to be read instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oastream.attempts.attempt import Attempt, AttemptContext
from oastream.attempts.delivery import Delivery
from oastream.events.answer import late_verdict
from oastream.events.json_body import parse_document
from oastream.exits import Failure, Outcome, Verdict
from oastream.http.request import Request

if TYPE_CHECKING:
    from oastream.attempts.background import Job

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 5.0
"""Seconds between two polls of a background response. The first pause is --retry-delay, each is half as long again."""


class FetchAttempt(Attempt):
    """Sends a request whose reply is one document, and hands that on."""

    def __init__(self, context: AttemptContext, request: Request, take: Callable[[bytes], Verdict]) -> None:
        super().__init__(context)
        self._request = request
        self._take = take

    def _go(self) -> Verdict:
        return self._take(self._exchange.fetch(self._request, self._context.max_bytes))

    def _late(self) -> Verdict:
        return late_verdict(self._deadlines.limits, self._deadlines.now(), has_output=False)


class PollAttempt(Attempt):
    """Asks for a response again and again until it has ended; then delivers what is missing.

    `delay` is the first pause between two polls, if it is not too short.
    """

    def __init__(self, context: AttemptContext, job: Job, delivery: Delivery, delay: float) -> None:
        super().__init__(context, job)
        self._response = job
        self._delivery = delivery
        self._pause = max(delay, SHORTEST_PAUSE)

    def _go(self) -> Verdict:
        event = self._poll_until_ended()
        if event is None or self._response.may_leave:
            return Verdict(Outcome.STOP)
        self._delivery.deliver([(event, None, self._delivery.reply.feed(event))])
        return self._delivery.reply.verdict(self._context.tools_wanted)

    def _late(self) -> Verdict:
        has_output, is_resumed = self._delivery.reply.output_began, self._response.progress > 0
        return late_verdict(self._deadlines.limits, self._deadlines.now(), has_output, is_resumed=is_resumed)

    def _poll_until_ended(self) -> dict[str, Any] | None:
        """The terminal event of the response; None when --detach leaves it before."""
        while True:
            event = self._response.take_poll(self._fetch_response())
            if event is not None or self._response.may_leave:
                return event
            self._wait(min(self._pause, LONGEST_PAUSE))
            self._pause *= 1.5

    def _fetch_response(self) -> Any:
        """The response as far as it is. A page instead is a gateway's that may be gone soon: the address was right."""
        request = self._response.poll_request()
        try:
            body = self._exchange.fetch(request, self._context.max_bytes, self._leave_by)
            return parse_document(body, "the response")
        except Failure as failed:
            if failed.verdict.outcome is not Outcome.NOT_API or failed.verdict.http_status is not None:
                raise
            raise Failure(failed.verdict._replace(outcome=Outcome.MALFORMED, hint="")) from failed

    def _wait(self, seconds: float) -> None:
        """Raises `TimeoutError` when the run, or the wait for the job, ends before the pause does."""
        deadlines = self._deadlines
        self._context.watch.sleep(min(deadlines.after(seconds), self._leave_by))
        if deadlines.run_passed or deadlines.now() >= self._leave_by:
            raise TimeoutError
