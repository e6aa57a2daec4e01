"""Answers that go on after their connection is gone.

In: an answer's tape and the time. Out: the events that exist by now, or the response's state for a poll.
Nothing runs meanwhile: an event exists once its time has come, so a job needs no thread.
Knows nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from oastream.mock import responses
from oastream.mock.answer import Turn
from oastream.mock.frames import Item, Json, Tape, Wait

GLANCE = 0.05
"""Seconds after which a waiting reader looks whether the job was cancelled."""
QUEUED_EVENTS = 2
"""Events that come before the job is in progress."""


@dataclass(slots=True)
class Job:
    """One response that is made in the background, an event every `pace` seconds from `started` on.

    `final` is its response once all events exist, `replayable` whether its stream can be taken up again.
    """

    turn: Turn
    tape: Tape
    final: Json
    pace: float
    replayable: bool
    started: float
    clock: Callable[[], float]
    cancelled_at: int | None = None

    def made(self) -> int:
        """How many events exist."""
        if self.cancelled_at is not None:
            return self.cancelled_at
        passed = self.clock() - self.started
        return 1 + int(passed / self.pace) if self.pace else len(self.tape.frames)

    def follow(self, after: int) -> Iterator[Item]:
        """The events beyond number `after`, each when it exists; ends with the last, or where the job was cancelled."""
        number = after + 1
        while frame := self.tape.at(number):
            while number >= self.made():
                if self.cancelled_at is not None:
                    return
                yield Wait(self._until(number))
            yield frame
            number += 1

    def _until(self, number: int) -> float:
        due = self.started + number * self.pace - self.clock()
        return min(max(due, 0.001), GLANCE)

    def response(self) -> Json:
        """The response as a poll sees it."""
        if self.cancelled_at is not None:
            return responses.shell(self.turn, "cancelled")
        if self._finished():
            return self.final
        return responses.shell(self.turn, "queued" if self.made() <= QUEUED_EVENTS else "in_progress")

    def cancel(self) -> None:
        """Ends the job where it is, unless it has ended."""
        if self.cancelled_at is None and not self._finished():
            self.cancelled_at = self.made()

    def _finished(self) -> bool:
        return not self.tape.endless and self.made() >= len(self.tape.frames)
