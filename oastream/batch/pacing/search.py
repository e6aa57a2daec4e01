"""A speed where nothing is known of a limit but that a server refuses what is above it.

In: what was sent, which of it was let through or refused, and how long the run had to wait for that. Out: a speed in
units a second; a unit is a request or a token, this module cannot tell. Knows nothing of headers, waits and servers.

What a refusal tells depends on the server:

    bucket    holds much more than is in flight, and fills all the time. It lets through what it takes in, however fast
              it is sent to: the rate let through between two refusals is the limit.
    counter   counts by the second. It refuses the first request too many: the speed refused is the limit, and the rate
              let through is less by the waits.
    window    counts by the minute. What it let through in the minute before it began again is the limit.

Which it is shows at the second or third refusal; until then the speed goes between the rate and the speed. A window
shows at once: one has to wait for longer than a bucket would need for several requests.

Around a limit that has been found it goes by a cubic (RFC 9438, CUBIC for TCP): quickly from just below back to the
limit, slowly across it, and ever faster beyond, since a limit that is not where it was may be anywhere.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from typing import NamedTuple

from oastream.batch.pacing.tokens import Mean

FIRST_SPEED = 100.0
"""Units a second with which a server of which nothing is known is begun; doubled each second."""
_TRUST = 10.0
_MOST_TRUST = 2000.0
"""What each unit let through adds to that speed, and all of them at most. A server that answers at once is sent 2,000
requests in 1.3 s instead of 3.9; to one that refuses, this times its delay is what is sent too much."""
_DEPTH = 0.02
"""How far below the limit the cubic begins; on the way up it is at 99.5 % of it on average."""
_SHORTEST_PLATEAU = 30.0
_LONGEST_PLATEAU = 120.0
"""Seconds until the cubic crosses the limit. They double while refusals come where they are expected."""
_PLATEAU_REQUESTS = 150.0
"""The same in requests, where that is longer: each crossing may cost a refusal, and less than 1 % shall be refused."""
_EXPECTED = 0.06
"""How far from the limit, of it, a refusal is where it is expected."""
_SMALLEST_STEP = 0.003
_LARGEST_STEP = 0.03
"""Of the speed refused, what is taken from it: one request a second of all clients together, within these bounds."""
_DEEPEST_FALL = 0.3
"""The same where it was refused again and again, and each time twice as much is taken."""
_APPROACH = 0.06
_NEAR_APPROACH = 0.03
"""Growth per second from the rate that was let through: at first, and once its surroundings are known."""
_SOON = 10.0
"""Seconds of sending within which a refusal means that the speed was too high from the beginning."""
_LASTING = 60.0
"""Seconds of sending in which a bucket that is sent to faster than it takes in runs empty."""
_LONG_WAIT = 5.0
_LONG_WAIT_REQUESTS = 3.0
"""A wait of so many seconds, and of the time of so many requests, tells of a window: a bucket lets one pass sooner."""
_WINDOW = 60.0
_OVERSLEPT = 0.05
"""Of a wait: how much later than its end it may have been noticed."""
_AGREES = 0.08
"""How far two rates, or two speeds, may differ and be the same."""
_APART = 1.15
_BEYOND = 1.5
"""Two speeds that differ by as much, and a speed so far beyond the rate let through, do not give the same rate by
chance."""
_ENOUGH = 10.0
"""Requests let through that make a rate."""
_EXACT = 100.0
_LONGEST_MEASURE = 300.0
"""Requests that make an exact one; it is measured over several refusals where it has to be, for so many seconds."""


class _Phase(enum.Enum):
    RAMP = "ramp"
    """Nothing was refused yet: the speed doubles."""
    APPROACH = "approach"
    """The limit is between the rate let through and the speed refused: exponentially from one to the other."""
    FOUND = "found"
    """The limit is about where it is thought to be: a cubic across it."""


class _Kind(enum.Enum):
    """What is known of the server."""

    UNKNOWN = "unknown"
    BUCKET = "bucket"
    """The rate let through is its limit."""
    COUNTER = "counter"
    """The speed refused is."""
    WINDOW = "window"
    """What was let through in a minute is."""


class _Refusal(NamedTuple):
    """All that is known when sending goes on after a refusal."""

    speed: float
    """The speed refused."""
    rate: float
    """What was let through per second since the refusal before, the waits included."""
    is_measured: bool
    """Whether that was enough to make a rate."""
    lasted: float
    """Seconds of sending until it was refused."""
    waited: float

    @property
    def came_soon(self) -> bool:
        """Whether the speed was too high from the beginning, and not just became so."""
        return self.lasted < _SOON and self.rate < (1 - _AGREES) * self.speed


class Search:
    """Looks for the greatest speed that is not refused. `shards` is the number of clients that do so together."""

    def __init__(self, first_speed: float = FIRST_SPEED, shards: int = 1) -> None:
        self._shards = shards
        self._phase = _Phase.RAMP
        self._kind = _Kind.UNKNOWN
        self._limit = first_speed
        self._trust = 0.0
        self._growth = _APPROACH
        self._plateau = _SHORTEST_PLATEAU
        self._clock = 0.0
        self._history = _History()
        self._let_through = 0.0
        self._measured_from: float | None = None
        self._noticed_at: float | None = None
        self._before: _Refusal | None = None
        self._times_soon = 0

    @property
    def is_waiting(self) -> bool:
        """Whether what is refused now was sent before a refusal that is known already."""
        return self._noticed_at is not None

    def speed(self) -> float:
        """Units a second."""
        if self._phase is _Phase.RAMP:
            return self._limit * math.exp2(min(self._clock, 40.0)) + self._trust
        if self._phase is _Phase.APPROACH:
            return self._limit * math.exp(self._growth * min(self._clock, 100.0))
        along = min(self._clock / self._plateau, 10.0) - 1
        return self._limit * (1 + _DEPTH * along**3)

    def advance(self, seconds: float) -> None:
        """So long this speed is what held requests back: a speed that is not used says nothing of the next."""
        self._clock += seconds

    def send(self, units: float, now: float) -> None:
        """A request of so many was sent."""
        if self._measured_from is None:
            self._measured_from = now
        self._let_through += units
        self._history.add(units, now)

    def accept(self, units: float) -> None:
        """So many of those sent were let through."""
        self._trust = min(self._trust + _TRUST * units, _MOST_TRUST / self._shards)

    def refuse(self, units: float, sent_at: float, now: float) -> bool:
        """So many of those sent were refused. Whether this is another refusal than the one that is waited for."""
        self._let_through -= units
        self._history.take_back(units, sent_at)
        if self._noticed_at is not None:
            return False  # sent before the first of them was known to be too many
        self._noticed_at = now
        return True

    def resume(self, now: float) -> None:
        """The wait is over, and what is sent is let through again."""
        if self._noticed_at is None or self._measured_from is None:
            return
        has_passed = self._let_through >= self._history.mean_units / 2
        refusal = _Refusal(
            speed=self.speed(),
            rate=max(self._let_through, 1.0) / max(now - self._measured_from, 0.001),
            is_measured=self._let_through >= _ENOUGH * self._history.mean_units,
            lasted=self._clock,
            waited=now - self._noticed_at,
        )
        if has_passed or self._phase is not _Phase.FOUND:
            self._adjust(refusal, now)  # else it is the wait that was too short, and not the speed too high
        self._history.mark(now)
        self._noticed_at = None
        self._measured_from = now
        self._let_through = self._clock = 0.0

    def _adjust(self, refusal: _Refusal, now: float) -> None:
        """Choose the next speed. The first line that applies decides."""
        was_unknown = self._kind is _Kind.UNKNOWN
        self._kind = self._judge_kind(refusal)
        if refusal.is_measured:
            self._before = refusal
        came_soon = refusal.came_soon and not (was_unknown and self._kind is _Kind.COUNTER)
        self._times_soon = self._times_soon + 1 if came_soon else 0
        if self._kind is _Kind.WINDOW:
            begins = now - _WINDOW - _OVERSLEPT * refusal.waited
            rate = self._history.units_since(begins) / _WINDOW
            self._settle(min(max(rate, refusal.rate), refusal.speed))
        elif self._phase is _Phase.RAMP:
            self._approach(min(refusal.rate, refusal.speed / 2), _APPROACH)  # the bucket was full when we began
        elif self._kind is _Kind.BUCKET and refusal.is_measured:
            self._settle(min(self._history.exact_rate(now), refusal.speed))
        elif came_soon and self._kind is _Kind.UNKNOWN and refusal.is_measured:
            self._approach(math.sqrt(refusal.rate * refusal.speed), _NEAR_APPROACH)
        elif came_soon and self._kind is _Kind.UNKNOWN:
            self._approach(refusal.speed / 2, _NEAR_APPROACH)
        elif came_soon:
            step = self._step(refusal.speed)
            self._settle(refusal.speed * (1 - min(step * 2.0 ** (self._times_soon - 1), _DEEPEST_FALL)))
        else:
            self._settle(refusal.speed * (1 - self._step(refusal.speed)))

    def _step(self, speed: float) -> float:
        """What is taken from a speed refused, of it."""
        one_request = self._history.mean_units / (speed * self._shards)
        return max(_SMALLEST_STEP, min(one_request, _LARGEST_STEP))

    def _judge_kind(self, refusal: _Refusal) -> _Kind:
        """What the server is, by this refusal and the one before."""
        before = self._before
        if refusal.waited >= max(_LONG_WAIT, _LONG_WAIT_REQUESTS * self._history.mean_units / refusal.rate):
            return _Kind.WINDOW
        if self._kind is _Kind.WINDOW:
            return self._kind
        if refusal.lasted > _LASTING and refusal.speed > _APART * refusal.rate:
            return _Kind.COUNTER  # so long a way up from the rate to the speed would have emptied a bucket
        if before is None:
            return self._kind
        is_same_rate = abs(refusal.rate / before.rate - 1) < _AGREES
        is_far_slower = refusal.speed < before.speed / _APART
        is_far_beyond = refusal.speed > _BEYOND * refusal.rate
        if refusal.came_soon and refusal.is_measured and is_same_rate and is_far_slower and is_far_beyond:
            return _Kind.BUCKET
        if self._kind is _Kind.UNKNOWN and abs(refusal.speed / before.speed - 1) < _AGREES:
            return _Kind.COUNTER
        return self._kind

    def _approach(self, rate: float, growth: float) -> None:
        self._phase = _Phase.APPROACH
        self._limit = rate
        self._growth = growth

    def _settle(self, limit: float) -> None:
        is_expected = self._phase is _Phase.FOUND and abs(limit / self._limit - 1) < _EXPECTED
        plateau = min(2 * self._plateau, _LONGEST_PLATEAU) if is_expected else _SHORTEST_PLATEAU
        self._plateau = max(plateau, _PLATEAU_REQUESTS * self._history.mean_units / limit)
        self._phase = _Phase.FOUND
        self._limit = limit


class _History:
    """What was let through in the last minutes."""

    def __init__(self) -> None:
        self._seconds: deque[list[float]] = deque()
        """When it was sent, in whole seconds, and how much."""
        self._marks: deque[tuple[float, float]] = deque()
        """Moments at which the server had nothing left, and all that was let through by then."""
        self._total = 0.0
        self._mean = Mean(1000)

    @property
    def mean_units(self) -> float:
        """Units of a request."""
        return self._mean.value

    def add(self, units: float, now: float) -> None:
        """A request was sent."""
        self._total += units
        self._mean.add(units)
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += units
            return
        self._seconds.append([second, units])
        while self._seconds[0][0] < second - 2 * _WINDOW:
            self._seconds.popleft()

    def take_back(self, units: float, sent_at: float) -> None:
        """A request of that moment was refused."""
        self._total -= units
        for entry in reversed(self._seconds):
            if entry[0] <= sent_at:
                entry[1] -= units
                return

    def mark(self, now: float) -> None:
        """Nothing was left now."""
        self._marks.append((now, self._total))
        while self._marks[0][0] < now - _LONGEST_MEASURE:
            self._marks.popleft()

    def units_since(self, moment: float) -> float:
        """Units of the requests that were sent since then."""
        return sum(units for second, units in self._seconds if second >= moment)

    def exact_rate(self, now: float) -> float:
        """Units per second since the last mark that has enough after it, else since the first."""
        enough = self._total - _EXACT * self.mean_units
        began, total = next((mark for mark in reversed(self._marks) if mark[1] <= enough), self._marks[0])
        return max(self._total - total, 1.0) / max(now - began, 0.001)
