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
    """What is known after an attempt. Times are in seconds, moments those of one monotonic clock.

    `failures` in a row include this one; `asked` is how often the question was sent. `is_written`: a part of the answer
    was printed and cannot be taken back. `has_question`: this run can ask (`--resume` has only the id). `can_open`:
    there is a source to open (a recording ends). `is_queued`: the server answered with the response itself instead of
    its stream. `in_vain`: a resumed stream was refused or brought nothing new. `is_garbled`: an event made no sense, so
    that what goes on from it cannot be trusted. `luck` is a random number from 0 to 1.
    """

    verdict: Verdict
    failures: int = 1
    retries: int = 2
    asked: int = 1
    remains: Remains = Remains.NOTHING
    is_written: bool = False
    has_question: bool = True
    can_open: bool = True
    is_queued: bool = False
    in_vain: bool = False
    is_garbled: bool = False
    now: float = 0.0
    retry_until: float = 120.0
    retry_delay: float = 0.5
    luck: float = 0.5


class Decision(NamedTuple):
    """The next step. `delay` is None where no failure is counted and nothing is waited for.

    `reason` says why it is the end, `hint` what of that the user should know.
    """

    step: Step
    delay: float | None = None
    reason: str = ""
    hint: str = ""


def next_step(s: Situation) -> Decision:
    """What follows an attempt. Each line is a rule of its own; the first that applies decides."""
    if s.verdict.signal is not None:
        return _end("a signal came")
    if s.verdict.has_answer:
        return _end("the answer is complete")
    if not s.can_open:
        return _end("the recording ends here")
    if s.is_garbled and s.is_written:
        return _end("an event makes no sense, and a part of the answer is printed")
    if s.is_queued and s.remains is not Remains.NOTHING:
        return Decision(Step.POLL)  # no failure: the question was taken, whatever --retry says
    if s.in_vain and s.remains is not Remains.NOTHING:
        return Decision(Step.POLL)  # once for a response: from now on it has no stream
    if not s.verdict.retryable:
        return _end("trying again would not help")
    if s.failures > s.retries:
        return _end(f"{s.failures} failures in a row" if s.failures > 1 else "one failure")
    if s.remains is Remains.STREAM:
        return _after_delay(Step.RESUME, s)
    if s.remains is Remains.RESPONSE:
        return _after_delay(Step.POLL, s)
    if not s.has_question:
        return _end("there is only the id of a response")
    if s.is_written:
        return _end("a part of the answer is printed, and nothing is printed twice")
    if s.asked > s.retries:
        return _end(f"asked {s.asked} times")  # each question costs, however well its response began
    return _after_delay(Step.ASK, s)


def _end(reason: str, hint: str = "") -> Decision:
    return Decision(Step.END, None, reason, hint)


def _after_delay(step: Step, s: Situation) -> Decision:
    """The step, if the wait before it ends in time."""
    delay = backoff(s.retry_delay, s.failures, s.luck) if s.verdict.retry_after is None else s.verdict.retry_after
    left = s.retry_until - s.now
    if delay < left:
        return Decision(step, delay)
    waits = f"the wait of {round(delay, 1):g} s is longer than the {round(max(left, 0), 1):g} s"
    reason = f"{waits} that --retry-max-time and --max-time leave"
    return _end(reason, f"not retried: {reason}")


def backoff(base: float, failures: int, luck: float) -> float:
    """Seconds of a full-jitter exponential backoff: anything from 0 on, so that many runs spread."""
    return luck * min(base * 2.0 ** min(failures - 1, _DOUBLINGS), LONGEST_BACKOFF)
