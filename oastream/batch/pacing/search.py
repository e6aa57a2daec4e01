"""A speed where nothing is known of a limit but that a server refuses what is above it.

In: what was sent, which of it was refused, and how long the run had to wait for that. Out: a speed in units a second; a
unit is a request or a token, this module cannot tell. Knows nothing of headers, waits and servers.

What a refusal tells depends on the server. One with a bucket that holds much more than is in flight lets through what
the bucket takes in, however fast it is sent to: the rate let through between two refusals is the limit. One that counts
by the second refuses the first request too many: the speed refused is the limit, and the rate let through is less by
the waits. Which of the two it is shows at the second or third refusal; until then the speed goes between them.

Around a limit that has been found it goes by a cubic (RFC 9438, CUBIC for TCP): quickly from just below back to the
limit, slowly across it, and ever faster beyond, since a limit that is not where it was may be anywhere.
"""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

FIRST_SPEED = 100.0
"""Units a second with which a server of which nothing is known is begun; doubled each second."""
_DEPTH = 0.02
"""How far below the limit the cubic begins; on the way up it is at 99.5 % of it on average."""
_SHORTEST_PLATEAU = 30.0
_LONGEST_PLATEAU = 120.0
"""Seconds until the cubic crosses the limit. They double while refusals come where they are expected."""
_EXPECTED = 0.06
"""How far from the limit, of it, a refusal is where it is expected."""
_STEP = 0.005
_DEEPEST_STEP = 0.03
"""Of the speed refused, what each refused unit takes from it, and all of them at most."""
_DEEPEST_FALL = 0.3
"""The same where it was refused again and again, and each time twice as much is taken."""
_APPROACH = 0.06
_NEAR_APPROACH = 0.03
_BUCKET_APPROACH = 0.01
"""Growth per second from the rate that was let through: at first, once its surroundings are known, and where each
refusal costs what is left of a minute."""
_SOON = 10.0
"""Seconds of sending within which a refusal means that the speed was too high from the beginning."""
_LASTING = 60.0
"""Seconds of sending in which a bucket that is sent to faster than it takes in runs empty."""
_LONG_WAIT = 5.0
"""Seconds of waiting that tell of a bucket by the minute: one by the second would have been full long ago."""
_AGREES = 0.08
"""How far two rates, or two speeds, may differ and be the same."""
_APART = 1.15
_BEYOND = 1.5
"""Two speeds that differ by as much, and a speed so far beyond the rate let through, do not give the same rate by
chance."""
_ENOUGH = 10.0
"""Units let through that make a rate."""


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


class _Refusal(NamedTuple):
    """All that is known when sending goes on after a refusal."""

    speed: float
    """The speed refused."""
    units: float
    """How much was refused."""
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
    """Looks for the greatest speed that is not refused."""

    def __init__(self, first_speed: float = FIRST_SPEED) -> None:
        self._phase = _Phase.RAMP
        self._kind = _Kind.UNKNOWN
        self._limit = first_speed
        self._growth = _APPROACH
        self._plateau = _SHORTEST_PLATEAU
        self._clock = 0.0
        self._let_through = 0.0
        self._refused = 0.0
        self._measured_from: float | None = None
        self._noticed_at: float | None = None
        self._before: _Refusal | None = None
        self._times_soon = 0

    def speed(self) -> float:
        """Units a second."""
        if self._phase is _Phase.RAMP:
            return self._limit * math.exp2(min(self._clock, 40.0))
        if self._phase is _Phase.APPROACH:
            return self._limit * math.exp(self._growth * min(self._clock, 100.0))
        along = min(self._clock / self._plateau, 10.0) - 1
        return self._limit * (1 + _DEPTH * along**3)

    def advance(self, seconds: float) -> None:
        """So long this speed is what held requests back: a speed that is not used says nothing of the next."""
        self._clock += seconds

    def send(self, units: float, now: float) -> None:
        """So many were sent."""
        if self._measured_from is None:
            self._measured_from = now
        self._let_through += units

    def refuse(self, units: float, now: float) -> bool:
        """So many of those sent were refused. Whether this is another refusal than the one that is waited for."""
        self._let_through -= units
        self._refused += units
        if self._noticed_at is not None:
            return False  # sent before the first of them was known to be too many
        self._noticed_at = now
        return True

    def resume(self, now: float) -> None:
        """The wait is over, and what is sent is let through again."""
        if self._noticed_at is None or self._measured_from is None:
            return
        refusal = _Refusal(
            speed=self.speed(),
            units=self._refused,
            rate=max(self._let_through, 1.0) / max(now - self._measured_from, 0.001),
            is_measured=self._let_through >= _ENOUGH,
            lasted=self._clock,
            waited=now - self._noticed_at,
        )
        self._adjust(refusal)
        self._noticed_at = None
        self._measured_from = now
        self._let_through = self._refused = self._clock = 0.0

    def _adjust(self, refusal: _Refusal) -> None:
        """Choose the next speed. The first line that applies decides."""
        was_unknown = self._kind is _Kind.UNKNOWN
        self._kind = self._judge_kind(refusal)
        if refusal.is_measured:
            self._before = refusal
        came_soon = refusal.came_soon and not (was_unknown and self._kind is _Kind.COUNTER)
        self._times_soon = self._times_soon + 1 if came_soon else 0
        if self._phase is _Phase.RAMP:
            growth = _BUCKET_APPROACH if self._kind is _Kind.BUCKET else _APPROACH
            self._approach(min(refusal.rate, refusal.speed / 2), growth)  # the bucket was full when we began
        elif self._kind is _Kind.BUCKET and refusal.is_measured:
            self._settle(min(refusal.rate, refusal.speed))
        elif came_soon and self._kind is _Kind.UNKNOWN and refusal.is_measured:
            self._approach(math.sqrt(refusal.rate * refusal.speed), _NEAR_APPROACH)
        elif came_soon and self._kind is _Kind.UNKNOWN:
            self._approach(refusal.speed / 2, _NEAR_APPROACH)
        elif came_soon:
            self._settle(refusal.speed * (1 - min(_DEEPEST_STEP * 2.0 ** (self._times_soon - 1), _DEEPEST_FALL)))
        else:
            self._settle(refusal.speed * (1 - min(_STEP * refusal.units, _DEEPEST_STEP)))

    def _judge_kind(self, refusal: _Refusal) -> _Kind:
        """What the server is, by this refusal and the one before."""
        before = self._before
        if refusal.waited >= _LONG_WAIT:
            return _Kind.BUCKET
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
        self._plateau = min(2 * self._plateau, _LONGEST_PLATEAU) if is_expected else _SHORTEST_PLATEAU
        self._phase = _Phase.FOUND
        self._limit = limit
