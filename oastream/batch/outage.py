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
    """From the last success before an outage to the first after it."""

    begins: float
    ends: float


class Outage:
    """The health of one server. `longest` is the time without any success after which it is given up."""

    def __init__(self, longest: float = 600.0) -> None:
        self._longest = longest
        self._succeeded_at: float | None = None
        self._row = _Row()
        self._fatal_failures = 0
        self._spans: deque[_Span] = deque(maxlen=_REMEMBERED)
        self._pause = _FIRST_PAUSE
        self._next_probe = math.inf
        self._probe_started: float | None = None
        self.returned_at = -math.inf
        """When the last outage was over."""
        self.is_resting = False
        """Whether sending has stopped."""
        self.fatal: Verdict | None = None
        """The failure for which the server is given up at once."""

    def next_start(self, now: float) -> float:
        """The moment from which a request may start."""
        return max(now, self._next_probe) if self.is_resting else now

    def start(self, now: float) -> None:
        """A request was sent; while the server rests it is a probe, and the only one."""
        if self.is_resting:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._probe_started = now
            self._next_probe = now + LONGEST_PAUSE  # sooner if it fails; one that hangs does not keep out the next

    def succeed(self, now: float) -> None:
        """A first event arrived."""
        self._fatal_failures = 0
        self.hear(now)
        self._succeeded_at = now

    def hear(self, now: float) -> None:
        """A reply came that is neither an answer nor the server's failure: a refusal, or a 429. It is alive."""
        if self.is_resting:
            self._spans.append(_Span(self._began(), now))
            self.returned_at = now
            self.is_resting = False
        self._row = _Row()
        self._pause = _FIRST_PAUSE

    def fail(self, item: Hashable, verdict: Verdict, started: float, now: float) -> None:
        """A request that started at `started` failed."""
        if verdict.outcome in FATAL:
            self._count_fatal(verdict)
        elif verdict.outcome in PASSING:
            self._count_passing(item, verdict, started, now)

    def excuses(self, failed_at: float) -> bool:
        """Whether a failure at this moment is the server's, and does not count as an attempt of its item."""
        if self.is_resting and failed_at >= self._began():
            return True
        return any(span.begins <= failed_at <= span.ends for span in self._spans)

    def is_over(self, now: float) -> bool:
        """Whether the server is given up: for a fatal failure, or since nothing succeeded for too long."""
        return self.fatal is not None or (self.is_resting and now - self._row.began >= self._longest)

    def share_of_full(self, now: float) -> float:
        """How much of what could be in flight may be, from 0 to 1."""
        return min(1.0, (now - self.returned_at) / RAMP)

    def _began(self) -> float:
        return -math.inf if self._succeeded_at is None else self._succeeded_at

    def _count_fatal(self, verdict: Verdict) -> None:
        self._fatal_failures += 1
        if self._succeeded_at is None or self._fatal_failures >= _ENOUGH_FATAL:
            self.fatal = verdict

    def _count_passing(self, item: Hashable, verdict: Verdict, started: float, now: float) -> None:
        self._row.add(item, verdict, now)
        if not self.is_resting and (self._succeeded_at is None or self._row.is_outage()):
            self.is_resting = True
            self._next_probe = now + self._pause
        elif started == self._probe_started:
            self._next_probe = max(now, started + self._pause)


class _Row:
    """Failures since the last success."""

    def __init__(self) -> None:
        self.began = math.inf
        self._items: set[Hashable] = set()
        self._servers_own = 0

    def add(self, item: Hashable, verdict: Verdict, now: float) -> None:
        """Take in one."""
        self.began = min(self.began, now)
        self._items.add(item)
        self._servers_own += verdict.outcome is Outcome.UNREACHABLE or verdict.http_status in _SERVERS_OWN

    def is_outage(self) -> bool:
        """Whether they are of more than single items."""
        return len(self._items) >= _ENOUGH or self._servers_own >= _ENOUGH


"""
"""
