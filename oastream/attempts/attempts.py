"""One answer in as many attempts as it takes: the first here, and how each kind of attempt is put together.

In: a request, and what is known of its answer. Out: the verdict of the last attempt; the answer is in `Delivery`.
What follows an attempt that failed is `RetryLoop`'s. Refuses to know of formats and of connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from oastream.attempts.answer_settings import AnswerSettings
from oastream.attempts.attempt import AttemptContext, StreamAttempt
from oastream.attempts.delivery import Delivery
from oastream.events.answer import Answer
from oastream.exits import Verdict
from oastream.http.request import Request
from oastream.output.formats import Format

if TYPE_CHECKING:
    from oastream.attempts.background import Job


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
    """Gets one answer. `new_format` makes the format again for an answer that starts over."""

    def __init__(
        self,
        request: Request,
        context: AttemptContext,
        answer_settings: AnswerSettings,
        retry_settings: RetrySettings,
        background: BackgroundSettings,
        delivery: Delivery,
        new_format: Callable[[], Format],
    ) -> None:
        self._request = request
        self.context = context
        self._answer_settings = answer_settings
        self.retry_settings = retry_settings
        self._background = background
        self._new_format = new_format
        self.retry_deadline = context.deadlines.retries()  # a first attempt that takes long leaves less time
        self.delivery = delivery
        self.job: Job | None = None
        """The background response that the answer is, as far as it is known to be one."""
        self.is_queued = False
        """Whether the last reply was such a response as one object, instead of its stream."""

    @property
    def has_question(self) -> bool:
        """Whether the question can be sent (again): of a response that is taken up only the id is known."""
        return self._background.response_id is None

    def attempt_first(self) -> Verdict:
        """The first attempt. What follows one that failed is `RetryLoop`'s."""
        if self._background.response_id is None:
            return self.ask()
        self.job = self._new_job(self._background.response_id)
        return self.resume(self.job)

    # The kinds of attempts ---------------------------------------------------------------------------------------

    def ask(self) -> Verdict:
        """Send the question, read the stream of its answer."""
        self.delivery.stats.attempts += 1
        self.job = self._new_job() if self._background.is_asked_for else None
        return self._read_stream(self._request)

    def resume(self, job: Job) -> Verdict:
        """Open the stream of a response from where it broke off."""
        return self._read_stream(job.stream_request())

    def poll(self, job: Job) -> Verdict:
        """Fetch a response until it is complete."""
        from oastream.attempts.poll import PollAttempt

        self.is_queued = False
        return PollAttempt(self.context, job, self.delivery, self.retry_settings.delay).run()

    def _read_stream(self, request: Request) -> Verdict:
        answer = self._new_answer()
        try:
            return StreamAttempt(self.context, request, answer, self.delivery, self.job).run()
        finally:
            self.is_queued = answer.is_unfinished

    def _new_answer(self) -> Answer:
        reply, deadlines = self.delivery.reply, self.context.deadlines
        # In the background each event is counted.
        shows_events = self.job is not None or self.context.trace.shows_events
        decoder = self._answer_settings.new_decoder(self.delivery.format, shows_events)
        if self.job is None:
            return Answer(decoder, reply, deadlines.limits, deadlines.now())
        from oastream.attempts.background_answer import BackgroundAnswer

        report = self.context.reporter.line_once
        return BackgroundAnswer(self.job, report, decoder, reply, deadlines.limits, deadlines.now())

    def _new_job(self, response_id: str | None = None) -> Job:
        from oastream.attempts.background import Job  # in the background only

        return Job(self._request, response_id, self._background.detaches)

    # An answer that starts over ----------------------------------------------------------------------------------

    def begin_format(self) -> None:
        """Forget what the format has of the answer, but not what it was: it is shown if the run ends before another."""
        self.delivery.begin(self._new_format(), self.delivery.reply)

    def begin_reply(self) -> None:
        """Forget the answer, what the format has of it included."""
        output_format = self._new_format()
        self.delivery.begin(output_format, self._answer_settings.new_reply(output_format))
