"""A speed where nothing is known of a limit but that a server refuses what is above it.

In: what was sent, which of it was refused, and how long the run had to wait for that. Out: a speed in units a second; a
unit is a request or a token, this module cannot tell. Knows nothing of headers, waits and servers.

Two things can be known after a refusal. What was let through between two of them is the limit, if the server has a
bucket that is empty at both; the speed that was refused is the limit, if it has none to speak of. The speed refused is
tried first. Where it is soon refused again there is a bucket.

Around a limit that has been found the speed goes by a cubic (RFC 9438, CUBIC for TCP): quickly from just below back to
it, slowly across it, and ever faster beyond, since a limit that is not where it was may be anywhere.
"""

from __future__ import annotations

import enum
import math

FIRST_SPEED = 100.0
"""Units a second with which a server of which nothing is known is begun; doubled each second."""
_DEPTH = 0.02
"""How far below the limit the cubic begins: it is at 99 % on the way up on average."""
_SHORTEST_PLATEAU = 30.0
_LONGEST_PLATEAU = 120.0
"""Seconds until the cubic crosses the limit. It doubles while refusals come where they are expected."""
_EXPECTED = 0.06
"""How far from the limit, of it, a refusal is where it is expected."""
_STEP = 0.005
"""Of the limit: what each refused unit takes from it."""
_DEEPEST_STEP = 0.03
_APPROACH = 0.06
_MIDDLE_APPROACH = 0.03
_SLOW_APPROACH = 0.01
"""Growth per second from the rate that was let through towards the speed that was refused."""
_SOON = 10.0
"""Seconds of sending after which a refusal is one of a bucket that never was more than empty."""
_LONG_WAIT = 5.0
"""Seconds of waiting that tell of a bucket: one by the second would have been full again."""
_AGREES = 0.08
_APART = 1.15
_TRIES = 2
_ENOUGH = 10.0


class _Phase(enum.Enum):
    RAMP = "ramp"
    """Nothing was refused yet: the speed doubles."""
    APPROACH = "approach"
    """The limit is somewhere between the rate let through and the speed refused."""
    FOUND = "found"
    """The limit is about where it is thought to be: a cubic across it."""


class _Kind(enum.Enum):
    UNKNOWN = "unknown"
    BUCKET = "bucket"
    SPEED = "speed"


class Search:
    """Looks for the greatest speed that is not refused."""

    def __init__(self, first_speed: float = FIRST_SPEED) -> None:
        self._phase = _Phase.RAMP
        self._limit = first_speed
        self._growth = _APPROACH
        self._plateau = _SHORTEST_PLATEAU
        self._clock = 0.0
        self._let_through = 0.0
        self._measured_from: float | None = None
        self._before: tuple[float, float] | None = None
        self._soon = 0
        self._kind = _Kind.UNKNOWN
        self._noticed_at: float | None = None
        self._refused = 0.0
        self._refused_speed = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether what is in flight since a refusal is still the same one."""
        return self._noticed_at is not None

    def speed(self) -> float:
        """Units a second."""
        if self._phase is _Phase.RAMP:
            return self._limit * math.exp2(min(self._clock, 40.0))
        if self._phase is _Phase.APPROACH:
            return self._limit * math.exp(self._growth * min(self._clock, 100.0))
        along = min(self._clock / self._plateau, 10.0) - 1
        return self._limit * (1 + _DEPTH * along**3)

    def advance(self, seconds: float) -> None:
        """So long this speed is what held requests back."""
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
        if self.is_waiting:
            return False
        self._noticed_at = now
        self._refused_speed = self.speed()
        return True

    def resume(self, now: float) -> None:
        """The wait is over, and what is sent is let through again."""
        if self._noticed_at is None or self._measured_from is None:
            return
        rate = max(self._let_through, 1.0) / max(now - self._measured_from, 0.001)
        waited = now - self._noticed_at
        self._adjust(rate, waited)
        self._noticed_at = None
        self._measured_from = now
        self._let_through = 0.0
        self._refused = 0.0
        self._clock = 0.0

    def _adjust(self, rate: float, waited: float) -> None:
        """Settle on a limit, by the rate let through until now and the speed refused."""
        refused = self._refused_speed
        is_measured = self._let_through >= _ENOUGH
        is_soon = self._clock < _SOON and rate < (1 - _AGREES) * refused
        self._soon = self._soon + 1 if is_soon else 0
        self._kind = self._judge(rate, waited, is_soon and is_measured)
        if self._phase is _Phase.RAMP:
            self._approach(min(rate, refused / 2), _SLOW_APPROACH if self._kind is _Kind.BUCKET else _APPROACH)
        elif self._kind is _Kind.BUCKET and is_measured:
            self._settle(min(rate, refused))
        elif is_soon and self._kind is _Kind.UNKNOWN:
            middle = math.sqrt(rate * refused) if is_measured else refused / 2
            self._approach(middle, _MIDDLE_APPROACH)
        elif is_soon:
            self._settle(refused * (1 - min(_DEEPEST_STEP * 2.0 ** (self._soon - 1), 0.3)))
        else:
            self._settle(refused * (1 - min(_STEP * self._refused, _DEEPEST_STEP)))
        if is_measured:
            self._before = (rate, refused)

    def _judge(self, rate: float, waited: float, is_soon: bool) -> _Kind:
        if waited >= _LONG_WAIT:
            return _Kind.BUCKET
        if self._before is None:
            return self._kind
        rate_before, refused_before = self._before
        refused = self._refused_speed
        if (
            is_soon
            and abs(rate / rate_before - 1) < _AGREES
            and refused < refused_before / _APART
            and refused > 1.5 * rate
        ):
            return _Kind.BUCKET
        if self._kind is _Kind.UNKNOWN and abs(refused / refused_before - 1) < _AGREES:
            self._soon = 0
            return _Kind.SPEED
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
