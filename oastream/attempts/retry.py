"""Whether another request follows an attempt, which one, and when.

In: a `Situation`: the last attempt's verdict, what was written, what the server still has, the counts, the clock.
Out: a `Decision`. `next_step` is the whole policy: it reads from top to bottom, and the first line that applies decides
(after curl's retrycheck). It is pure; nothing here knows of requests, events or sockets, nor how a step is carried out.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from oastream.exits import Verdict

LONGEST_BACKOFF = 30.0
"""Seconds; a server that wants a longer pause says so itself."""
_DOUBLINGS = 40
"""More of them than this and the longest backoff holds anyway; 2 ** 1024 is no float."""


class Step(enum.Enum):
    """What the next attempt does."""

    END = "end"
    ASK = "ask"
    """Send the question (again)."""
    RESUME = "resume"
    """Open the stream of the server's response from where it broke off."""
    POLL = "poll"
    """Fetch the server's response until it is complete."""

    @property
    def resumes(self) -> bool:
        """Whether it goes on with a response that the server has."""
        return self in (Step.RESUME, Step.POLL)


class Remains(enum.Enum):
    """What the server still has of the answer."""

    NOTHING = "nothing"
    RESPONSE = "response"
    """A response without a stream that could be opened again."""
    STREAM = "stream"


class Situation(NamedTuple):
    """What is known after an attempt. Times are in seconds, moments those of one monotonic clock."""

    verdict: Verdict
    failures: int = 1
    """In a row, this one included."""
    retries: int = 2
    times_asked: int = 1
    """How often the question was sent."""
    remains: Remains = Remains.NOTHING
    is_written: bool = False
    """A part of the answer was printed and cannot be taken back."""
    has_question: bool = True
    """This run can ask: --resume has only the id."""
    can_reopen: bool = True
    """There is a source to open: a recording ends."""
    is_queued: bool = False
    """The server answered with the response itself instead of its stream."""
    was_in_vain: bool = False
    """A resumed stream was refused or brought nothing new."""
    is_garbled: bool = False
    """An event made no sense, so that what goes on from it cannot be trusted."""
    now: float = 0.0
    retry_deadline: float = 120.0
    retry_delay: float = 0.5
    luck: float = 0.5
    """A random number from 0 to 1."""


class Decision(NamedTuple):
    """The next step. `delay` is None where no failure is counted and nothing is waited for.

    `reason` says why it is the end, `hint` what of that the user should know.
    """

    step: Step
    delay: float | None = None
    reason: str = ""
    hint: str = ""


def next_step(situation: Situation) -> Decision:
    """What follows an attempt. Each line is a rule of its own; the first that applies decides."""
    if situation.verdict.signal is not None:
        return _end("a signal arrived")
    if situation.verdict.has_answer:
        return _end("the answer is complete")
    if not situation.can_reopen:
        return _end("the recording ends here")
    if situation.is_garbled and situation.is_written:
        return _end("an event is malformed, and part of the answer has been printed")
    if situation.is_queued and situation.remains is not Remains.NOTHING:
        return Decision(Step.POLL)  # no failure: the question was taken, whatever --retry says
    if situation.was_in_vain and situation.remains is not Remains.NOTHING:
        return Decision(Step.POLL)  # once for a response: from now on it has no stream
    if not situation.verdict.retryable:
        return _end("trying again would not help")
    if situation.failures > situation.retries:
        return _end("one failure" if situation.failures == 1 else f"{situation.failures} failures in a row")
    if situation.remains is Remains.STREAM:
        return _after_delay(Step.RESUME, situation)
    if situation.remains is Remains.RESPONSE:
        return _after_delay(Step.POLL, situation)
    if not situation.has_question:
        return _end("only the id of the response is known")
    if situation.is_written:
        return _end("part of the answer has been printed, and nothing is printed twice")
    if situation.times_asked > situation.retries:
        return _end(f"asked {situation.times_asked} times")  # each question costs, however well its response began
    return _after_delay(Step.ASK, situation)


def _end(reason: str, hint: str = "") -> Decision:
    return Decision(Step.END, None, reason, hint)


def _after_delay(step: Step, situation: Situation) -> Decision:
    """The step, if the wait before it ends in time. A server that names a time knows better than a formula."""
    delay = situation.verdict.retry_after
    if delay is None:
        delay = backoff(situation.retry_delay, situation.failures, situation.luck)
    left = situation.retry_deadline - situation.now
    if delay < left:
        return Decision(step, delay)
    waits = f"the wait of {round(delay, 1):g} s is longer than the {round(max(left, 0), 1):g} s"
    reason = f"{waits} that --retry-max-time and --max-time leave"
    return _end(reason, f"not retried: {reason}")


def backoff(base: float, failures: int, luck: float) -> float:
    """Seconds of a full-jitter exponential backoff: anything from 0 on, so that many runs spread."""
    return luck * min(base * 2.0 ** min(failures - 1, _DOUBLINGS), LONGEST_BACKOFF)
