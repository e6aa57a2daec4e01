"""Whether to send to a server at all, and whose fault a failure was: the item's or the server's.

In: what became of requests, with its moment. Out: when the next may start, whether a failure counts against its item,
and when to give the server up. Knows nothing of limits and items, and has no clock of its own.

With the server down a batch without this rule burns its items: 8,000 had failed after 31 s. So where nothing succeeds
any more, sending stops, and one request at a time tries whether it does again. What failed meanwhile failed with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

from oastream.exits import Outcome, Verdict

LONGEST_PAUSE = 30.0
_FIRST_PAUSE = 0.5
"""Seconds between the starts of two probes: each pause is twice the one before."""
RAMP = 2.0
"""Seconds in which the number in flight grows again after an outage: not all is sent at once to a server just back."""
_ENOUGH = 3
"""Failures in a row that make an outage: of so many items, or so many of the server's own making."""
_ENOUGH_FATAL = 3

_REMEMBERED = 1000
"""Outages; failures before the oldest of them were judged long ago."""

PASSING = frozenset({Outcome.UNREACHABLE, Outcome.SERVER_ERROR, Outcome.TIMEOUT})
"""What may be the server's failure, and over by itself."""
FATAL = frozenset({Outcome.AUTH, Outcome.QUOTA, Outcome.NOT_FOUND, Outcome.TLS, Outcome.NOT_API, Outcome.CONFIG})
"""What the next request would meet with as well."""
_SERVERS_OWN = frozenset({502, 503, 504, 529})
"""Statuses that are hardly about an item, as a 500 may be."""


class _Span(NamedTuple):
    """From the last request that found the server alive before an outage, to the first after it."""

    begins: float
    ends: float


class Outage:
    """The health of one server. `longest` is the time without any success after which it is given up.

    A reply tells how the server was when its request started: streams that go on say nothing of what is refused now.
    """

    def __init__(self, longest: float = 600.0) -> None:
        self._longest = longest
        self._alive_at = -math.inf
        self._has_answered = False
        self._fatal_failures = 0
        self._row: list[_Failure] = []
        self._spans: deque[_Span] = deque(maxlen=_REMEMBERED)
        self._pause = _FIRST_PAUSE
        self._rests_since = math.inf
        self._next_probe = math.inf
        self._probe_started: float | None = None
        self.returned_at = -math.inf
        """When the last outage was over."""
        self.fatal: Verdict | None = None
        """The failure for which the server is given up at once."""

    @property
    def is_resting(self) -> bool:
        """Whether sending has stopped."""
        return self._rests_since < math.inf

    def next_start(self, now: float) -> float:
        """The moment from which a request may start."""
        return max(now, self._next_probe) if self.is_resting else now

    def start(self, now: float) -> None:
        """A request was sent; while the server rests it is a probe, and the only one."""
        if self.is_resting:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._probe_started = now
            self._next_probe = now + LONGEST_PAUSE  # sooner if it fails; one that hangs does not keep out the next

    def succeed(self, started: float, now: float) -> None:
        """The first event arrived of a request that started at `started`."""
        self._has_answered = True
        self._fatal_failures = 0
        self.hear(started, now)

    def hear(self, started: float, now: float) -> None:
        """Any reply came that is not the server's failure: a refusal, or a 429. It was alive then."""
        if self.is_resting and started >= self._rests_since:
            self._spans.append(_Span(self._alive_at, now))
            self._rests_since = math.inf
            self._pause = _FIRST_PAUSE
            self.returned_at = now
        self._alive_at = max(self._alive_at, started)
        if not self.is_resting:
            self._row = [failure for failure in self._row if failure.moment > started]

    def fail(self, item: Hashable, verdict: Verdict, started: float, now: float) -> None:
        """A request that started at `started` failed."""
        if verdict.outcome in FATAL:
            self._count_fatal(verdict)
        elif verdict.outcome in PASSING:
            self._row.append(_Failure(now, item, _is_servers_own(verdict)))
            self._rest_or_probe_later(started, now)

    def excuses(self, failed_at: float) -> bool:
        """Whether a failure at this moment is the server's, and does not count as an attempt of its item."""
        if self.is_resting and failed_at >= self._alive_at:
            return True
        return any(span.begins <= failed_at <= span.ends for span in self._spans)

    def is_over(self, now: float) -> bool:
        """Whether the server is given up: for a fatal failure, or since nothing succeeded for too long."""
        return self.fatal is not None or (self.is_resting and now - self._row[0].moment >= self._longest)

    def share_of_full(self, now: float) -> float:
        """How much of what could be in flight may be, from 0 to 1."""
        return min(1.0, (now - self.returned_at) / RAMP)

    def _count_fatal(self, verdict: Verdict) -> None:
        self._fatal_failures += 1
        if not self._has_answered or self._fatal_failures >= _ENOUGH_FATAL:
            self.fatal = verdict

    def _rest_or_probe_later(self, started: float, now: float) -> None:
        if not self.is_resting and self._is_outage():
            self._rests_since = now
            self._next_probe = now + self._pause
        elif started == self._probe_started:
            self._next_probe = max(now, started + self._pause)

    def _is_outage(self) -> bool:
        """Whether the failures in a row are of more than single items."""
        servers_own = sum(failure.is_servers_own for failure in self._row)
        needed = _ENOUGH if self._alive_at > -math.inf else 1  # a server that never was there is not there
        return len({failure.item for failure in self._row}) >= _ENOUGH or servers_own >= needed


class _Failure(NamedTuple):
    """One of those in a row."""

    moment: float
    item: Hashable
    is_servers_own: bool


def _is_servers_own(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.UNREACHABLE or verdict.http_status in _SERVERS_OWN
