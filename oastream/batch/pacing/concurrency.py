"""How many requests may be in flight to one server: a fixed number, or what the server makes good use of.

In: starts, first events and ends of answers, with their moments and tokens. Out: a number. Knows nothing of limits by
the minute (`pace`), of failures (`outage`), and has no clock of its own.

`auto` finds out how many answers the server works on at once. Up to there more requests in flight bring more tokens a
second, and the first event comes as soon as before; beyond, they wait in its queue, and only that grows. So the number
grows by one with each answer, which doubles it in the time of an answer, until first events are late. How many it
works on is known then: all in flight but those that are late.
"""

from __future__ import annotations

import enum
import math
from collections import deque

from oastream.batch.pacing.tokens import Mean

FIRST = 8
MOST = 1024

_LATE = 3.0
"""Times the usual first event, after which a request that still waits for it is late."""
_USUAL = 0.9
"""The quantile of the first events that is called usual: where they spread more, suspicion comes later."""
_TOLERATED = 0.03
_TOLERATED_IN_DOUBT = 0.15
"""Of those in flight: so many may be late without a queue; and before there is a whole sample."""
_SLOW = 1.5
"""Times the median of first events, at which all of them wait in a queue, if only for a while."""
_DOUBT = 1.5
"""Times more, until there is a whole sample: the first to come are the quickest of those that were sent together."""
_LEAPS_TO = 16
"""In flight: so many may be there before it is known what the tokens a second say of that."""
_FEW = 16
"""In flight: how many of so few have had their first event at one moment says little of how many are worked on."""
_DRAIN = 32
"""One in so many of those served is left out, for the queue to empty; of few, none."""
_SAMPLE = 64
_WEIGHT = 0.2
_LONGER = 1.03
"""First events are learnt from in samples of `_SAMPLE`. What is usual grows by 0.6 % with each at most: a queue does
not become usual soon, and a server that has become slower does in the end."""
_FEWEST = 4
"""First events that tell something at the very beginning."""
_RECENT = 16
"""The last first events, whose median is compared; and the answers for which a step is tried at least."""
_GROWTH = 1.1
"""Times the tokens a second of the round before, that twice as many in flight must bring at least."""
_PATIENCE = 2.0
_PATIENCE_OF_FEW = 6.0
_LONGEST_PATIENCE = 512.0
"""Rounds until more are tried again; times 4 where that brought nothing. A round is as many answers as the limit. With
few in flight each trial makes several of the next ones wait, and 10 of 1,000 answers make the p99."""


class _Phase(enum.Enum):
    GROW = "grow"
    """A step more in each round, and twice the step in the next, as long as that brings something."""
    HOLD = "hold"
    """As many as brought the most, until it is time to try again."""


class FixedConcurrency:
    """`-j N`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._is_capped = False

    @property
    def limit(self) -> int:
        """The most that may be in flight."""
        return self._limit

    def start(self, number: int, now: float) -> None:
        """Request `number` was sent."""

    def first_event(self, number: int, now: float) -> None:
        """The first event of its answer arrived."""

    def end(self, number: int, now: float, tokens: float, in_flight: int) -> None:
        """It has ended, with so many tokens, when `in_flight` were in flight with it."""

    def review(self, now: float, in_flight: int) -> None:
        """Look at what is late by now."""

    def lower_cap(self, most: int) -> bool:
        """No more than `most` can be in flight: file descriptors are used up. True the first time."""
        self._limit = max(1, min(self._limit, most))
        is_first = not self._is_capped
        self._is_capped = True
        return is_first


class AutoConcurrency:
    """`-j auto`."""

    def __init__(self, first: int = FIRST, most: int = MOST) -> None:
        self._limit = float(first)
        self._most = most
        self._is_capped = False
        self._phase = _Phase.GROW
        self._step = float(first)
        self._threshold = math.inf
        self._patience = _PATIENCE
        self._held: float | None = None
        self._rounds = 0
        self._round: _Round | None = None
        self._compared: tuple[float, float] | None = None
        self._waiting: dict[int, float] = {}
        self._streaming: dict[int, float] = {}
        self._judged_at = -math.inf
        self._first_events = _FirstEvents()
        self._duration = Mean(_SAMPLE)

    @property
    def limit(self) -> int:
        """The most that may be in flight."""
        return max(1, min(int(self._limit), self._most))

    def start(self, number: int, now: float) -> None:
        """Request `number` was sent."""
        self._waiting[number] = now
        if self._round is None:
            self._round = self._new_round(now)

    def first_event(self, number: int, now: float) -> None:
        """The first event of its answer arrived."""
        started = self._waiting.pop(number, None)
        if started is not None:
            self._streaming[number] = started
            if started >= self._judged_at:  # others waited in the queue that was too long then
                self._first_events.add(now - started)
            self._leap()

    def end(self, number: int, now: float, tokens: float, in_flight: int) -> None:
        """It has ended, with so many tokens, when `in_flight` were in flight with it."""
        self.review(now, in_flight)
        self._waiting.pop(number, None)
        started = self._streaming.pop(number, None)
        if tokens <= 0 or started is None or self._round is None:
            return  # a failure says nothing of what the server can do
        self._duration.add(now - started)
        self._round.add(tokens)
        if in_flight < self.limit:
            self._round = self._new_round(now)  # it is not the limit that holds requests back
            self._compared = None
            return
        if self._phase is _Phase.GROW:
            self._limit = min(self._limit + self._step / self._round.size, self._threshold, self._most)
        if self._round.is_over():
            self._end_round(self._round, now)

    def review(self, now: float, in_flight: int) -> None:
        """Look at what is late by now."""
        if in_flight > self._limit:
            return  # there are fewer from now on, but not yet
        late = self._count_late(now)
        tolerated = _TOLERATED if self._first_events.are_known or in_flight <= _FEW else _TOLERATED_IN_DOUBT
        if late >= max(1.0, tolerated * in_flight) or self._first_events.are_slow():
            self._shrink(self._estimate_served(in_flight, late), now)

    def lower_cap(self, most: int) -> bool:
        """No more than `most` can be in flight: file descriptors are used up. True the first time."""
        self._most = max(1, min(self._most, most))
        is_first = not self._is_capped
        self._is_capped = True
        return is_first

    def _leap(self) -> None:
        """Twice as many, before the first answer is complete: as long as none waits and there are few."""
        if self._held is None and self._limit < _LEAPS_TO and len(self._streaming) >= self._limit:
            self._limit = self._step = 2 * self._limit

    def _new_round(self, now: float) -> _Round:
        """The limit doubles in as many answers as it is; a smaller step is judged by enough of them."""
        is_doubling = self._phase is _Phase.GROW and self._step >= self._limit
        return _Round(now, self._limit if is_doubling else max(self._limit, _RECENT))

    def _end_round(self, ended: _Round, now: float) -> None:
        if self._phase is _Phase.HOLD:
            self._rounds += 1
            if self._rounds >= self._patience:
                self._grow_from(1.0)
        elif self._limit >= self._threshold:
            self._hold()
        elif self._compared is not None and self._limit < 2 * self._compared[0]:
            self._step = min(2 * self._step, self._limit)
        else:
            self._compare(ended.rate(now))
        self._round = self._new_round(now)

    def _compare(self, rate: float) -> None:
        """Twice as many are in flight as at the last comparison: go back where they brought nothing."""
        before = self._compared
        self._compared = (self._limit, rate)
        self._step = min(2 * self._step, self._limit)
        if before is not None and rate < _GROWTH * before[1]:
            self._limit = before[0]
            self._lose_patience()
            self._hold()

    def _shrink(self, served: float, now: float) -> None:
        """So many of those in flight are served; the others wait in the server's queue."""
        if self._phase is _Phase.GROW and self._held is not None:
            self._lose_patience()
            # The queue is of those that were tried in addition; the number that was held before made none.
            served = self._held if self._limit <= _FEW else max(served, self._held)
        served -= served // _DRAIN
        self._threshold = max(served, self._limit / 2)
        self._limit = max(1.0, served)
        self._judged_at = now
        self._first_events.forget_recent()
        if self._limit < self._threshold:
            self._grow_from(self._limit)
        else:
            self._hold()
        self._round = self._new_round(now)

    def _grow_from(self, step: float) -> None:
        """Grow by `step` in the first round, by twice as much in each that follows."""
        self._phase = _Phase.GROW
        self._step = step
        self._compared = None

    def _hold(self) -> None:
        if self._held is None and self._limit <= _FEW:
            self._patience = _PATIENCE_OF_FEW
        self._phase = _Phase.HOLD
        self._held = self._limit
        self._threshold = math.inf
        self._rounds = 0

    def _lose_patience(self) -> None:
        """More brought nothing: wait longer before it is tried again."""
        self._patience = min(self._patience * 4, _LONGEST_PATIENCE)

    def _estimate_served(self, in_flight: int, late: int) -> float:
        """How many the server works on: those whose answer streams, and those that are about to."""
        if in_flight <= _FEW:
            return self.limit - max(1, late)  # how many of few stream at this moment says little
        if not self._streaming or self._duration.count == 0:
            return in_flight - max(late, int(in_flight * self._first_events.delay_share()))
        until_first = min(self._first_events.median / self._duration.value, 0.5)
        return min(math.ceil(len(self._streaming) / (1 - until_first)), in_flight - 1)

    def _count_late(self, now: float) -> int:
        """Those that have waited longer for their first event than is usual; they are in the order of their starts."""
        latest_start = now - _LATE * self._first_events.usual
        late = 0
        for started in self._waiting.values():
            if started > latest_start:
                break
            late += started >= self._judged_at
        return late


class _FirstEvents:
    """How long first events take, and how long they usually take where nothing waits in a queue."""

    def __init__(self) -> None:
        self._sample: list[float] = []
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._samples = 0
        self.usual = math.inf
        """Seconds within which nearly all come."""
        self.median = math.inf

    def add(self, seconds: float) -> None:
        """Take in one."""
        self._recent.append(seconds)
        self._sample.append(seconds)
        if self._samples == 0 and len(self._sample) == _FEWEST:
            self.usual, self.median = _quantiles(self._sample)
        elif len(self._sample) == _SAMPLE:
            self._learn(*_quantiles(self._sample))

    def _learn(self, usual: float, median: float) -> None:
        """Take in a sample; what is longer than usual counts only as a little longer."""
        if self._samples == 0:
            self.usual = min(usual, _DOUBT * self.usual)
            self.median = min(median, _DOUBT * self.median)
        else:
            self.usual += _WEIGHT * (min(usual, _LONGER * self.usual) - self.usual)
            self.median += _WEIGHT * (min(median, _LONGER * self.median) - self.median)
        self._samples += 1
        self._sample.clear()

    def delay_share(self) -> float:
        """How much of the time that they take now is more than usual."""
        recent = self._recent_median()
        return max(0.0, 1 - self.median / recent) if recent > 0 else 0.0

    @property
    def are_known(self) -> bool:
        """Whether there was a whole sample of them."""
        return self._samples > 0

    def are_slow(self) -> bool:
        """Whether they wait for something, all of them."""
        doubt = 1.0 if self._samples else _DOUBT
        return len(self._recent) == _RECENT and self._recent_median() > _SLOW * doubt * self.median

    def forget_recent(self) -> None:
        """The limit has changed."""
        self._recent.clear()

    def _recent_median(self) -> float:
        return sorted(self._recent)[len(self._recent) // 2] if self._recent else 0.0


def _quantiles(sample: list[float]) -> tuple[float, float]:
    """What is usual, and the median."""
    ordered = sorted(sample)
    return ordered[int(_USUAL * (len(ordered) - 1))], ordered[len(ordered) // 2]


class _Round:
    """As many answers as may be in flight when it begins."""

    def __init__(self, began: float, size: float) -> None:
        self.size = size
        self._began = began
        self._answers = 0
        self._tokens = 0.0

    def add(self, tokens: float) -> None:
        """Count an answer."""
        self._answers += 1
        self._tokens += tokens

    def is_over(self) -> bool:
        """Whether all have ended."""
        return self._answers >= self.size

    def rate(self, now: float) -> float:
        """Tokens a second."""
        return self._tokens / max(now - self._began, 0.001)
