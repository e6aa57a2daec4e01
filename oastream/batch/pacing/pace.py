"""When the next request may start, by all that limits one server: nothing in bursts, and the strictest limit holds.

In: starts, headers, 429s and usages with their moments. Out: the moment of the next start. Knows nothing of bodies and
connections, nor of how many are in flight, and has no clock of its own.

Limits come from three places: what the user gave, what the server shows (`quota`), what it refuses (`search`). Each is
a speed, for requests or for tokens; a meter turns the lowest of a resource into moments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from oastream.batch.pacing.limits import Limit, Resource
from oastream.batch.pacing.meter import Meter
from oastream.batch.pacing.quota import LONGEST_PACED
from oastream.batch.pacing.search import FIRST_SPEED, Search
from oastream.batch.pacing.suspicion import Suspicion
from oastream.batch.pacing.tokens import Cost

FIRST_MINUTE = 60.0
"""Seconds in which limits are found out; the bar of 1 % of 429s is for what comes after."""
_FIRST_BACKOFF = 0.5
_BACKOFF_GROWTH = 1.5
_LONGEST_BACKOFF = 10.0
"""Seconds to wait for a 429 that names none: the bucket may be one by the second or by the minute."""


class Sent(NamedTuple):
    """A request that was sent: when, as which, at what cost, and how much of each resource had been sent with it."""

    number: int
    started: float
    cost: Cost
    totals: dict[Resource, float]


class Counts:
    """What the figures of the run need: of all requests, and of those after the first minute."""

    def __init__(self) -> None:
        self.starts = 0
        self.refused = 0
        self.later_starts = 0
        self.later_refused = 0
        self.held_seconds = 0.0


class Pace:
    """One server's. `rpm` and `tpm` are limits that the user gave; all limits are divided by `shards`.

    Shards that wait for the same moment start one after the other then: `shard` is the number of this one.
    """

    def __init__(self, rpm: float | None = None, tpm: float | None = None, shards: int = 1, shard: int = 0) -> None:
        self._shards = shards
        self._shard = shard
        self._meters = {resource: Meter(math.inf, Search(math.inf, shards)) for resource in Resource}
        self._meters[Resource.REQUESTS] = Meter(_per_second(rpm, shards), Search(FIRST_SPEED / shards, shards))
        self._meters[Resource.TOKENS] = Meter(_per_second(tpm, shards), Search(math.inf, shards))
        self._limited: list[Meter] = []
        self._find_limited()
        self._first_start: float | None = None
        self._held_until = -math.inf
        self._is_held = False
        self._refused_at = -math.inf
        self._held_since: float | None = None
        self._backoff = _FIRST_BACKOFF
        self._tries_one = False
        self._tried: int | None = None
        self._number = 0
        self._suspicion = Suspicion()
        self.counts = Counts()

    def next_start(self, now: float) -> float:
        """The moment of the next start, for a request that is there; inf where it depends on one in flight."""
        moment = self._next_moment(now)
        if moment <= now:
            self._count_held(now)
        elif self._held_since is None:
            self._held_since = now
        return moment

    def start(self, cost: Cost, now: float) -> Sent:
        """A request was sent."""
        if self._first_start is None:
            self._first_start = now
        self._number += 1
        if self._tries_one:
            self._tried = self._number
        else:
            self._resume(now)
        if self._is_held:
            self._is_held = False
            for meter in self._meters.values():
                meter.drop_credit()
        for resource, meter in self._meters.items():
            meter.charge(cost.of(resource), now)
        self._suspicion.send(cost.tokens, now)
        self.counts.starts += 1
        self.counts.later_starts += self._is_later(now)
        return Sent(self._number, now, cost, {resource: meter.sent for resource, meter in self._meters.items()})

    def limit_to(self, limit: Limit) -> None:
        """A refusal named a limit: from now on it is as one that the user gave."""
        if limit.window is not None and limit.window <= LONGEST_PACED:
            self._meters[limit.resource].limit_to(limit.limit / limit.window / self._shards)
            self._find_limited()

    def observe(self, sent: Sent, limits: Sequence[Limit], now: float) -> None:
        """What the headers of the reply to a request show."""
        for limit in limits:
            quota = self._meters[limit.resource].quota(limit.name, self._shards, self._shard)
            quota.observe(limit, sent.started, sent.totals[limit.resource], now)
        if limits:
            self._find_limited()

    def accept(self, sent: Sent, now: float) -> None:
        """A request was not refused."""
        self._meters[Resource.REQUESTS].search.accept(sent.cost.requests)
        if sent.number == self._tried:
            self._tries_one = False
            self._tried = None
            self._backoff = _FIRST_BACKOFF
            self._resume((self._refused_at + sent.started) / 2)  # somewhere between there is something again

    def refuse(self, sent: Sent, now: float, wait: float | None, resource: Resource | None = None) -> None:
        """A request was answered with 429, which asks for a wait and may name the resource."""
        self.counts.refused += 1
        self.counts.later_refused += self._is_later(now)
        self._refused_at = sent.started
        is_explained = any(meter.explains_refusal(now) for meter in self._limited)
        for each, meter in self._meters.items():
            meter.take_back(sent.cost.of(each))
        is_new = False
        if not is_explained:
            is_new = self._blame(resource or self._emptiest(sent), sent, now)
        if wait is not None:
            self.hold(wait, now)
        elif is_new or sent.number == self._tried:
            self._back_off(now)
        self.forget(sent)

    def hold(self, wait: float, now: float) -> None:
        """The server asks for nothing to be sent for so many seconds."""
        self._hold_until(now + wait + self._turn(wait))

    def forget(self, sent: Sent) -> None:
        """A request has ended without a word about limits; another takes its place if it was the one that is tried."""
        if sent.number == self._tried:
            self._tried = None

    def settle(self, sent: Sent, usage: Cost) -> None:
        """What an answer has cost in truth."""
        for resource, meter in self._meters.items():
            meter.settle(sent.cost.of(resource), usage.of(resource))

    def fills(self) -> dict[str, float]:
        """How full each bucket is that the server shows, by the name of the limit."""
        return {name: fill for meter in self._meters.values() for name, fill in meter.fills().items()}

    def _next_moment(self, now: float) -> float:
        if self._tried is not None:
            return math.inf
        if self._held_until > now:
            return self._held_until
        moment = now
        for meter in self._limited:
            moment = max(moment, meter.next_moment(now))
        return moment

    def _blame(self, resource: Resource, sent: Sent, now: float) -> bool:
        """There was too much of this. Whether that is news."""
        return self._meters[resource].search.refuse(sent.cost.of(resource), sent.started, now)

    def _emptiest(self, sent: Sent) -> Resource:
        """What there was too much of, where a refusal does not say: by the headers, else by what was sent before it."""
        emptiest = min(self._meters, key=lambda resource: self._meters[resource].lowest_fill())
        if self._meters[emptiest].lowest_fill() < 1:
            return emptiest
        return self._suspect(sent)

    def _suspect(self, sent: Sent) -> Resource:
        """The resource that is refused, by what was sent before. Where that changes, the other is free again."""
        if self._shards > 1:
            return Resource.REQUESTS  # what the other shards have sent is not known
        before = self._suspicion.suspect
        if not self._meters[before].search.is_waiting:
            self._suspicion.refuse(sent.started)
        if self._suspicion.suspect is not before:
            self._meters[before].search = Search(math.inf, self._shards)
        return self._suspicion.suspect

    def _find_limited(self) -> None:
        self._limited = [meter for meter in self._meters.values() if meter.is_limited]

    def _hold_until(self, moment: float) -> None:
        self._held_until = max(self._held_until, moment)
        self._is_held = True

    def _turn(self, wait: float) -> float:
        """Seconds after the shard with the number 0, when all have waited for so long."""
        slowest = max((meter.seconds_per_request for meter in self._limited), default=0.0)
        return min(slowest, wait) * self._shard / self._shards

    def _back_off(self, now: float) -> None:
        """Wait for a time that nobody has named, and then try one request."""
        self._hold_until(now + self._backoff)
        self._backoff = min(self._backoff * _BACKOFF_GROWTH, _LONGEST_BACKOFF)
        self._tries_one = True

    def _resume(self, now: float) -> None:
        """The first request after a wait goes out, or is let through."""
        for meter in self._meters.values():
            if meter.search.is_waiting:
                meter.search.resume(now)
                self._find_limited()

    def _is_later(self, now: float) -> bool:
        return self._first_start is not None and now - self._first_start >= FIRST_MINUTE

    def _count_held(self, now: float) -> None:
        if self._held_since is not None:
            self.counts.held_seconds += now - self._held_since
            self._held_since = None


def _per_second(per_minute: float | None, shards: int) -> float:
    return math.inf if per_minute is None else per_minute / 60 / shards
