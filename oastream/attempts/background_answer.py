"""One stream of a response that the server makes in the background: what of it is new, and when it may be left.

In: the same as `Answer`, and the job that the stream belongs to. Out: the same, without events that an earlier stream
has brought. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from oastream.attempts.background import Job
from oastream.events.answer import Answer, Delivered, Limits, Phase
from oastream.events.decode import DecodedEvent, Decoder
from oastream.events.reply import Reply
from oastream.exits import Failure, Outcome, Verdict, failure_of


class BackgroundAnswer(Answer):
    """`notice` takes a line for the user."""

    __slots__ = ("_job", "_notice")

    def __init__(
        self, job: Job, notice: Callable[[str], None], decoder: Decoder, reply: Reply, limits: Limits, now: float
    ) -> None:
        super().__init__(decoder, reply, limits, now, is_resumed=job.progress > 0)
        self._job = job
        self._notice = notice
        self.deadline = min(self.deadline, job.leave_by)

    def _take(self, decoded: Iterable[DecodedEvent]) -> Iterator[Delivered]:
        job, reply = self._job, self.reply
        for event, raw in decoded:
            if not self._is_new(event):
                continue
            try:
                text = reply.feed(event)
            except Failure:
                job.refuse()
                raise
            yield event, raw, text
            if self._is_over():
                return

    def _is_new(self, event: dict[str, Any]) -> bool:
        """Whether no stream has brought the event yet.

        Raises `Failure`: malformed for a gap, not_api when there is nothing that --detach could leave.
        """
        job = self._job
        promise = job.promise
        is_new = job.accept(event)
        if is_new and event["type"].startswith("response."):
            self.reply.reopen()  # the error event before it was not the end
        if job.is_ignored and job.promise is not promise:
            self._report_ignored()
        return is_new

    def _report_ignored(self) -> None:
        if self._job.detaches:
            why = "its answer would end with the connection, so it was not waited for"
            raise failure_of(Outcome.NOT_API, "the server ignores background", why, "ask without --detach")
        self._notice("the server ignores background: a stream that breaks off cannot be resumed")

    def heard(self, now: float) -> None:
        super().heard(now)
        self.deadline = min(self.deadline, self._job.leave_by)

    def _is_over(self) -> bool:
        """Whether no event is of interest any more. An error event may not be the last."""
        return self._job.may_leave or (self.reply.has_ended and not self._job.can_be_taken_up)

    def _current_phase(self) -> Phase:
        if self._is_over():
            return Phase.DONE
        if self.reply.has_ended and not self.has_body_ended:
            return Phase.LINGERING  # for the `response.failed` that OpenAI sends after an error event
        return super()._current_phase()

    def verdict(self, tools_wanted: bool = False) -> Verdict:
        if self._job.may_leave:
            return Verdict(Outcome.STOP)
        return super().verdict(tools_wanted)
