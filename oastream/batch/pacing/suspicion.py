"""Whether a server refuses requests for their number or for their tokens, where it does not say.

In: the tokens of what is sent, and which of it was refused. Out: a resource. Knows nothing of limits, headers and
waits, and has no clock of its own.

Where tokens are counted by the second, what was sent in the second before a refusal was larger than usual: while
requests are sent evenly, their tokens are not. Where requests are counted, it was smaller, if anything: while tokens
are sent evenly, requests are not. Of limits by the minute neither shows, and either will do.
"""

from __future__ import annotations

import math
from collections import deque

from oastream.batch.pacing.limits import Resource

_SPAN = 1.0
"""Seconds before a refusal that are looked at."""
_SURE = 2.0
"""Standard deviations."""
_CLEAR = 3.0
"""What a single refusal can say at most."""
_MEMORY = 1000
_FEWEST = 20
"""Requests of which the usual size is known."""
_FORGETS = 0.9
"""Of what earlier refusals have said, what still counts."""


class Suspicion:
    """Requests are suspected first."""

    def __init__(self) -> None:
        self.suspect = Resource.REQUESTS
        self._recent: deque[tuple[float, float]] = deque()
        self._count = 0
        self._mean = 0.0
        self._variance = 0.0
        self._evidence = 0.0
        self._weight = 0.0

    def send(self, tokens: float, now: float) -> None:
        """A request of so many tokens was sent."""
        self._count += 1
        share = 1 / min(self._count, _MEMORY)
        deviation = tokens - self._mean
        self._mean += share * deviation
        self._variance += share * ((1 - share) * deviation**2 - self._variance)
        self._recent.append((now, tokens))
        while self._recent[0][0] < now - 2 * _SPAN:
            self._recent.popleft()

    def refuse(self, sent_at: float) -> None:
        """A request that was sent at this moment is the first to be refused."""
        before = [tokens for moment, tokens in self._recent if sent_at - _SPAN < moment <= sent_at]
        if not before or self._count < _FEWEST or self._variance <= 0:
            return
        excess = (sum(before) / len(before) - self._mean) / math.sqrt(self._variance / len(before))
        self._evidence = _FORGETS * self._evidence + max(-_CLEAR, min(excess, _CLEAR))
        self._weight = _FORGETS**2 * self._weight + 1
        sureness = self._evidence / math.sqrt(self._weight)
        if sureness > _SURE:
            self.suspect = Resource.TOKENS
        elif sureness < -_SURE:
            self.suspect = Resource.REQUESTS
