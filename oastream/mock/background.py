"""Answers that go on after their connection is gone.

In: an answer's events and the time. Out: the events that exist by now, or the response's state for a poll.
Nothing runs meanwhile: an event exists once its time has come, so a job needs no thread.
Knows nothing of HTTP.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator

from oastream.mock import responses
from oastream.mock.answer import Turn
from oastream.mock.events import EventSequence, Item, Json, Pause

CANCEL_CHECK = 0.05
"""Seconds after which a reader that waits looks whether the job was cancelled."""
SHORTEST_PAUSE = 0.001
"""Seconds: a pause of nothing would be no pause, and the reader would spin until the clock has moved."""
QUEUED_EVENTS = 2
"""Events that come before the job is in progress: `response.created` and `response.queued`."""


class JobState(enum.Enum):
    """Where a job is. Only its clock and `cancel` move it on, and the last two are final."""

    QUEUED = enum.auto()
    IN_PROGRESS = enum.auto()
    CANCELLED = enum.auto()
    FINISHED = enum.auto()


class Job:
    """One response that is made in the background, an event every `pace` seconds from now on.

    `final` is its response once all events exist, `is_replayable` whether its stream can be resumed.
    """

    def __init__(
        self,
        turn: Turn,
        sequence: EventSequence,
        final: Json,
        pace: float,
        is_replayable: bool,
        clock: Callable[[], float],
    ) -> None:
        self.turn = turn
        self.sequence = sequence
        self.is_replayable = is_replayable
        self._final = final
        self._pace = pace
        self._clock = clock
        self._started = clock()
        self._cancelled_at: int | None = None
        """How many events existed when it was cancelled; no more come."""

    @property
    def state(self) -> JobState:
        if self._cancelled_at is not None:
            return JobState.CANCELLED
        if not self.sequence.endless and self.count_events() >= len(self.sequence.events):
            return JobState.FINISHED
        if self.count_events() <= QUEUED_EVENTS:
            return JobState.QUEUED
        return JobState.IN_PROGRESS

    def count_events(self) -> int:
        """How many events exist."""
        if self._cancelled_at is not None:
            return self._cancelled_at
        if not self._pace:
            return len(self.sequence.events)
        return 1 + int((self._clock() - self._started) / self._pace)  # the first is there at once

    def follow(self, after: int) -> Iterator[Item]:
        """The events beyond number `after`, each when it exists; ends with the last, or where the job was cancelled."""
        number = after + 1
        while event := self.sequence.at(number):
            while number >= self.count_events():
                # Looked at again after every pause: another connection may have cancelled it meanwhile.
                if self.state is JobState.CANCELLED:
                    return
                yield Pause(self._seconds_until(number))
            yield event
            number += 1

    def _seconds_until(self, number: int) -> float:
        """How long to pause for an event, no longer than a cancel may go unnoticed."""
        due = self._started + number * self._pace - self._clock()
        return min(max(due, SHORTEST_PAUSE), CANCEL_CHECK)

    def response(self) -> Json:
        """The response as a poll sees it."""
        match self.state:
            case JobState.FINISHED:
                return self._final
            case JobState.CANCELLED:
                return responses.empty_response(self.turn, "cancelled")
            case JobState.IN_PROGRESS:
                return responses.empty_response(self.turn, "in_progress")
            case JobState.QUEUED:
                return responses.empty_response(self.turn, "queued")

    def cancel(self) -> None:
        """Ends the job where it is, unless it has ended."""
        if self.state in (JobState.QUEUED, JobState.IN_PROGRESS):
            self._cancelled_at = self.count_events()
