"""Counts that grow while a run lasts → curves over time, in constant memory however long it is.

In: totals and levels with their moments, in seconds since the start. Out: buckets of equal width. Knows nothing of the
run that is sampled and of how curves are drawn, and has no clock of its own.

There are at most `MOST_BUCKETS`: when one more is needed, each two become one of twice the width.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MOST_BUCKETS = 240
"""On a screen one is two or three pixels wide then."""
FIRST_WIDTH = 0.1
"""Seconds. 240 of them are 24 s; a run of a day has buckets of 7 minutes."""
_FEWEST_BUCKETS = 24
_ENDS_PER_BUCKET = 5
"""A curve of fewer items a bucket would show when they happened to end, not how fast."""


class Histogram:
    """How often values came, in bins that are 2 % wide: a quantile is off by 1 % at most.

    Values from 1 to 1e7 (milliseconds: to 3 hours) fill 814 bins; what is smaller or larger counts as one of those.
    """

    _GROWTH = math.log(1.02)
    _LAST = int(math.log(1e7) / _GROWTH)

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0

    def add(self, value: float) -> None:
        number = int(math.log(max(value, 1.0)) / self._GROWTH)
        self._bins[min(number, self._LAST)] += 1
        self.count += 1

    def merge(self, other: Histogram) -> None:
        self._bins.update(other._bins)
        self.count += other.count

    def quantile(self, share: float) -> float | None:
        """The value that this share of all is not above; None where there is none."""
        rank = min(self.count - 1, int(share * self.count))
        for number in sorted(self._bins):
            rank -= self._bins[number]
            if rank < 0:
                return math.exp((number + 0.5) * self._GROWTH)
        return None


class LimitKey(NamedTuple):
    """A limit of the server of this number, in words: `tokens per minute`."""

    server: int
    label: str


class Totals(NamedTuple):
    """What has been counted since the start."""

    answers: int
    failures: int
    tokens: float
    rate_limited: int


NOTHING_YET = Totals(0, 0, 0.0, 0)


class Bucket:
    """What happened within some time. Counts need not be whole: a sample may fall into several buckets.

    `fills` is the least that was left of each limit, from 0 to 1.
    """

    __slots__ = ("answers", "failures", "fills", "first_events", "in_flight", "rate_limited", "tokens")

    def __init__(self) -> None:
        self.answers = 0.0
        self.failures = 0.0
        self.tokens = 0.0
        self.rate_limited = 0.0
        self.in_flight: int | None = None
        """The most that were in flight at a moment when that was looked at; None if it was not."""
        self.fills: dict[LimitKey, float] = {}
        self.first_events = Histogram()

    def add(self, other: Bucket) -> None:
        """Take in what happened in another time."""
        self.answers += other.answers
        self.failures += other.failures
        self.tokens += other.tokens
        self.rate_limited += other.rate_limited
        self.first_events.merge(other.first_events)
        if other.in_flight is not None:
            self.see_level(other.in_flight, other.fills)

    def see_level(self, in_flight: int, fills: Mapping[LimitKey, float]) -> None:
        self.in_flight = max(in_flight, self.in_flight or 0)
        for key, fill in fills.items():
            self.fills[key] = min(fill, self.fills.get(key, 1.0))


class Curves(NamedTuple):
    """Buckets and the moments between them: of `edges` the first is 0, and the last that of the last sample."""

    buckets: Sequence[Bucket]
    edges: Sequence[float]

    @property
    def seconds(self) -> float:
        return self.edges[-1]

    def rates(self, counts: Iterable[float]) -> list[float]:
        """What was counted in each bucket, per second."""
        return [
            count / (end - start) for count, (start, end) in zip(counts, itertools.pairwise(self.edges), strict=True)
        ]

    def join(self, most: int) -> Curves:
        """The same in so many buckets at most."""
        size = -(-len(self.buckets) // most)
        if size <= 1:
            return self
        return Curves(_join(self.buckets, size), [*self.edges[:-1:size], self.edges[-1]])


class Sampler:
    """Told how things stand every `width` seconds or so."""

    def __init__(self) -> None:
        self.width = FIRST_WIDTH
        self._buckets: list[Bucket] = []
        self._totals = NOTHING_YET
        self._at = 0.0

    def sample(
        self,
        at: float,
        totals: Totals,
        in_flight: int,
        fills: Mapping[LimitKey, float],
        first_events_ms: Iterable[float],
    ) -> None:
        """Take in how things stand at a moment, and the times to the first events since the last one.

        What was counted since then is spread over that time: a sample that comes late leaves no gap.
        """
        earlier, self._totals = self._totals, totals
        spans = self._spans(self._at, at)
        for bucket, share in spans:
            bucket.answers += share * (totals.answers - earlier.answers)
            bucket.failures += share * (totals.failures - earlier.failures)
            bucket.tokens += share * (totals.tokens - earlier.tokens)
            bucket.rate_limited += share * (totals.rate_limited - earlier.rate_limited)
            bucket.see_level(in_flight, fills)
        last = spans[-1][0]
        for milliseconds in first_events_ms:
            last.first_events.add(milliseconds)
        self._at = max(self._at, at)

    def curves(self) -> Curves:
        """What was sampled, in buckets with enough in them to make a curve."""
        ends = sum(bucket.answers + bucket.failures for bucket in self._buckets)
        wanted = max(_FEWEST_BUCKETS, ends / _ENDS_PER_BUCKET)
        size = max(1, math.ceil(len(self._buckets) / wanted))
        buckets, width = _join(self._buckets, size), size * self.width
        if len(buckets) > 1 and self._at - (len(buckets) - 1) * width < width / 2:  # too short for a rate
            last = buckets.pop()
            buckets[-1].add(last)
        return Curves(buckets, [*(number * width for number in range(len(buckets))), self._at])

    def _spans(self, start: float, end: float) -> list[tuple[Bucket, float]]:
        """The buckets between two moments, with the share of that time that falls into each."""
        while end > MOST_BUCKETS * self.width:
            self._buckets = _join(self._buckets, 2)
            self.width *= 2
        first = int(start / self.width)
        while len(self._buckets) * self.width < end or len(self._buckets) <= first:
            self._buckets.append(Bucket())
        if end <= start:
            return [(self._buckets[first], 1.0)]
        spans = []
        for number in range(first, len(self._buckets)):
            inside = min(end, (number + 1) * self.width) - max(start, number * self.width)
            if inside > 0:
                spans.append((self._buckets[number], inside / (end - start)))
        return spans


def _join(buckets: Sequence[Bucket], size: int) -> list[Bucket]:
    """Each `size` of them as one."""
    joined = []
    for start in range(0, len(buckets), size):
        bucket = Bucket()
        for part in buckets[start : start + size]:
            bucket.add(part)
        joined.append(bucket)
    return joined
