"""One resource of one server, requests or tokens: the strictest of its limits, as moments.

In: what is sent, with its moment; the limits given, shown and searched out. Out: when the next unit may be sent. Knows
nothing of headers and waits, and has no clock of its own.

It is a bucket of our own that fills at the speed allowed. A request may start while it is not empty and takes its cost
even if that is more than there is: a costly one is paid off after its start, and needs no bucket of its size.
"""

from __future__ import annotations

import math

from oastream.batch.pacing.quota import Quota
from oastream.batch.pacing.search import Search
from oastream.batch.pacing.tokens import Mean

BURST = 0.5
"""Seconds of the speed that may start at once after a while in which nothing did."""

_MEMORY = 1000
"""Requests over which the mean of what one takes is made."""


class Meter:
    """`given` is the user's limit in units a second, `search` what looks for one where nothing is known."""

    def __init__(self, given: float, search: Search) -> None:
        self.sent = 0.0
        """Units charged for what was not refused."""
        self.search = search
        self._given = given
        self._quotas: dict[str, Quota] = {}
        self._credit = 0.0
        self._unit = Mean(_MEMORY)
        self._used = Mean(_MEMORY)
        self._speed = math.inf
        self._strictest: Quota | None = None
        self._is_by_usage = False
        self._started_at = -math.inf
        self._at: float | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit; if not, it is not worth asking."""
        return bool(self._quotas) or self._given < math.inf or self.search.speed() < math.inf

    def quota(self, name: str, shards: int, shard: int) -> Quota:
        """The limit of this name that the server shows."""
        if name not in self._quotas:
            self._quotas[name] = Quota(shards, shard, self._unit)
        return self._quotas[name]

    @property
    def seconds_per_request(self) -> float:
        """The time from one start to the next."""
        return self._unit.value / self._speed

    def limit_to(self, speed: float) -> None:
        """Go no faster than this."""
        self._given = min(self._given, speed)

    def next_moment(self, now: float) -> float:
        """When the next request may start; `now` if it may at once."""
        self._earn(now)
        moment = now
        for quota in self._quotas.values():
            moment = max(moment, quota.blocked_until(now, self.sent))
        if self._credit >= 0:
            return moment
        return max(moment, min(now - self._credit / self._speed, self._full_at()))

    def charge(self, units: float, now: float) -> None:
        """So much of it was sent."""
        self._earn(now)
        if self._full_at() <= now:
            self._credit = max(self._credit, 0.0)
        self._started_at = now
        self.sent += units
        self._unit.add(units)
        self._credit -= units
        self.search.send(units, now)

    def take_back(self, units: float) -> None:
        """So much was refused."""
        self.sent -= units
        self._credit += units

    def settle(self, units: float, used: float) -> None:
        """What was charged as so many units has used so many.

        It counts where the user has given the limit. What is searched out is a speed of charges; and what a server
        shows is lost for what is sent, by its own way of counting: their ratio is the quota's share, of a limit by the
        second the mean. Answers that give back what was charged long ago would only blur it.
        """
        self._used.add(used)
        if self._is_by_usage:
            self._credit -= used - units

    def drop_credit(self) -> None:
        """Begin again without a burst."""
        self._credit = min(self._credit, 0.0)

    def explains_refusal(self, now: float) -> bool:
        """Whether the headers have shown that there is nothing left of it."""
        return any(quota.explains_refusal(now, self.sent) for quota in self._quotas.values())

    def lowest_fill(self) -> float:
        """How full the emptiest bucket is that the last headers show; 1 where they show none."""
        return min((quota.fill for quota in self._quotas.values()), default=1.0)

    def fills(self) -> dict[str, float]:
        """How full each bucket is that the last headers show, by the name of the limit."""
        return {name: quota.fill for name, quota in self._quotas.items()}

    def _full_at(self) -> float:
        """When the bucket that is strictest is full: one request may start then, however slow the speed seems to be.

        What its headers say after that tells whether it fills by the minute or by the second.
        """
        return math.inf if self._strictest is None else self._strictest.is_full_at(self._started_at)

    def _earn(self, now: float) -> None:
        """Credit for the time that has passed. Where there was none to begin with, the speed held requests back."""
        seconds = 0.0 if self._at is None else now - self._at
        if seconds <= 0 and self._at is not None:
            return
        self._at = now
        self._speed = self._lowest_speed(now)
        if self._credit < 0:
            self.search.advance(min(seconds, -self._credit / self._speed))
        if self._speed < math.inf:
            self._credit = min(self._credit + self._speed * seconds, BURST * self._speed)
        else:
            self._credit = 0.0

    def _lowest_speed(self, now: float) -> float:
        """That of the strictest limit, in units a second."""
        searched = self.search.speed()
        lowest = min(self._given, searched)
        self._strictest = None
        self._is_by_usage = self._given < searched
        for quota in self._quotas.values():
            quota.is_binding = False
            speed = quota.speed(now, self.sent)
            if quota.is_short:
                speed *= self._charged_for_used()
            if speed < lowest:
                lowest, self._strictest, self._is_by_usage = speed, quota, False
        if self._strictest is not None:
            self._strictest.is_binding = True
        return lowest

    def _charged_for_used(self) -> float:
        """Units charged for each that is used."""
        return self._unit.value / self._used.value if self._used.value > 0 else 1.0
