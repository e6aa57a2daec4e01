"""One limit that a server shows in its headers, followed over time: how fast, for the bucket to stay half full.

In: what each reply shows of the limit, when its request started, and how much had been sent by then. Out: a speed in
units a second (a unit is what the limit counts), and the moment until which nothing may start. Knows nothing of
headers and 429s, and has no clock of its own.

The bucket on the server is all that programs with the same key have in common, so its level is what they steer by:

    speed = limit x (0.4 + 1.2 x fill)

is the limit itself at half full. Below, each goes slower and the bucket fills again; what the others take shows in the
level, and is theirs. A bucket that is filled in one go at the end of its window would be left with 7 % in it by that
rule: where the reset is known, what remains is spread over the time until then instead, if that is faster.
"""

from __future__ import annotations

import math

from oastream.batch.pacing.limits import Limit
from oastream.batch.pacing.tokens import Mean

SLOWEST = 0.4
GAIN = 1.2
"""Of the limit: the speed with an empty bucket, and what a full one adds to it."""
FASTEST = SLOWEST + GAIN
DEFAULT_WINDOW = 60.0
LONGEST_PACED = 600.0
"""Seconds. A limit by the hour or day is used up as fast as the others allow; spread out it would hold up a run that
needs a tenth of it."""
SHORTEST_SEEN = 5.0
"""Seconds. What the headers show of a bucket by the second is over by the time they arrive."""
_BELOW_LIMIT = 0.97
"""Of the limit: the speed there. A window of a second that starts late in ours may not hold one request too many."""

_SPAN = 3.0
"""Seconds between two headers that are compared: resets may be whole seconds."""
_COUNTS_DOWN = 0.35
"""Seconds by which the moment of the reset moves on in each second, at most, where the bucket is filled in one go."""
_RESERVE = 0.02
"""Of a bucket that is filled in one go: what is left in it."""
_FEW_REQUESTS = 50.0
"""In a window: of so few each client sends the same at each moment, since what remains is less than one for each."""
_STALE = 10.0
"""Seconds after which a level is no longer known: some servers show it with their 429s only."""
_FULL = 0.97
_SHARE_MEMORY = 8.0
"""Seconds over which the share is averaged."""
_ENOUGH_REQUESTS = 8.0
"""Of ours between two headers, for the share to be learnt from them: single ones are all or nothing."""
_SHARE_GROWTH = 1.25
_SMALLEST_SHARE = 1 / 64
_LARGEST_SHARE = 16.0


class _Seen:
    """What one reply showed: what remained when its request started, and how much had been sent by then."""

    __slots__ = ("remaining", "resets_at", "sent", "started")

    def __init__(self, started: float, sent: float, remaining: float, resets_at: float | None) -> None:
        self.started = started
        self.sent = sent
        self.remaining = remaining
        self.resets_at = resets_at


class Quota:
    """A limit, divided by `shards`: the number of clients among which it is shared out; `shard` is our number of them.

    `unit` is what a request takes.

    `share` is how much of what the bucket loses is explained by what was sent: less than 1 where other programs use the
    key or a request costs more than was thought, more than 1 where it costs less.
    """

    def __init__(self, shards: int, shard: int, unit: Mean) -> None:
        self._shards = shards
        self._shard = shard
        self._unit = unit
        self._limit = math.inf
        self._window: float | None = None
        self._inferred = _WindowGuess()
        self._latest: _Seen | None = None
        self._anchor: _Seen | None = None
        self._share_anchor: _Seen | None = None
        self._seen_at = -math.inf
        self.counts_down: bool | None = None
        """Whether the bucket is filled in one go; None until two headers were compared."""
        self.share = 1.0
        self.is_binding = False
        """Whether this limit is the one that held the last start back."""

    def observe(self, limit: Limit, started: float, sent: float, now: float) -> None:
        """Take in what a reply shows; its request started at `started`, as the last of `sent` units."""
        if self._latest is not None and started < self._latest.started:
            return  # overtaken by the reply to a later request
        self._limit = limit.limit / self._shards
        self._window = limit.window or self._inferred.window(limit, started)
        self._seen_at = now
        resets_at = None if limit.resets_in is None else started + limit.resets_in
        self._latest = _Seen(started, sent, limit.remaining / self._shards, resets_at)
        if self._anchor is None or self._share_anchor is None:
            self._anchor = self._share_anchor = self._latest
        elif started - self._anchor.started >= _SPAN:
            self._compare(self._anchor, self._latest)
            self._anchor = self._latest

    def speed(self, now: float, sent: float) -> float:
        """Units a second."""
        window = self._window or DEFAULT_WINDOW
        if window > LONGEST_PACED:
            return math.inf
        rate = self._limit / window
        if window < SHORTEST_SEEN:
            return rate * _BELOW_LIMIT
        if not self.counts_down and now - self._seen_at > _STALE:
            return rate * self.share
        if self.counts_down and self._limit < _FEW_REQUESTS * self._unit.value:
            return rate * _BELOW_LIMIT * self.share
        remaining = self._remaining(now, sent)
        level = rate * (SLOWEST + GAIN * min(1.0, remaining / self._limit))
        if self._latest is not None and self._latest.resets_at is not None:
            left = max(self._latest.resets_at - now, 0.001)
            usable = max(0.0, remaining - self._reserve())
            level = max(level, min(usable / left, FASTEST * rate))
        return level * self.share

    def blocked_until(self, now: float, sent: float) -> float:
        """The moment before which there is nothing left of it."""
        window = self._window or DEFAULT_WINDOW
        refills_at_once = self.counts_down or window > LONGEST_PACED
        if not refills_at_once or window < SHORTEST_SEEN or self._remaining(now, sent) >= self._reserve():
            return now
        if self._latest is None or self._latest.resets_at is None:
            return now
        turn = self._unit.value * window / (self._limit * self._shards)  # all wait for the same moment
        return self._latest.resets_at + self._shard * turn

    def is_full_at(self, last_start: float) -> float:
        """The moment from which it is full again; inf where that is not known, or more was sent since it was shown.

        Nor does it help where our part of a full bucket is less than a unit: all of us would take that one.
        """
        seen = self._latest
        if seen is None or seen.resets_at is None or last_start > seen.started or self._limit < 1:
            return math.inf
        return seen.resets_at

    @property
    def is_short(self) -> bool:
        """Whether it is a limit by the second."""
        return (self._window or DEFAULT_WINDOW) < SHORTEST_SEEN

    def _reserve(self) -> float:
        """What is left in a bucket that is filled in one go, lest several clients all send its last request."""
        return max(_RESERVE * self._limit, self._unit.value / self._shards)

    @property
    def fill(self) -> float:
        """How full the bucket is by the last headers."""
        return 1.0 if self._latest is None else self._latest.remaining / self._limit

    def explains_refusal(self, now: float, sent: float) -> bool:
        """Whether a request that is refused now need not have another reason than this limit."""
        window = self._window or DEFAULT_WINDOW
        return window >= SHORTEST_SEEN and self._remaining(now, sent) <= (1 - _FULL) * self._limit

    def _remaining(self, now: float, sent: float) -> float:
        """What must be left in our part of the bucket, by what the headers showed and what was sent since."""
        seen = self._latest
        if seen is None:
            return self._limit
        if self.counts_down and seen.resets_at is not None and now >= seen.resets_at:
            self._begin_window(seen, now, sent)
        return max(0.0, seen.remaining - max(0.0, sent - seen.sent) / self.share)

    def _begin_window(self, seen: _Seen, now: float, sent: float) -> None:
        """The bucket was filled, and no reply has shown it yet."""
        window = self._window or DEFAULT_WINDOW
        assert seen.resets_at is not None
        seen.resets_at += window * (1 + (now - seen.resets_at) // window)
        seen.remaining = self._limit
        seen.sent = sent
        self._anchor = self._share_anchor = None

    def _compare(self, earlier: _Seen, later: _Seen) -> None:
        """Learn from two headers some seconds apart."""
        elapsed = later.started - earlier.started
        if earlier.resets_at is None or later.resets_at is None:
            return
        moved = later.resets_at - earlier.resets_at
        if moved > elapsed + _SPAN:
            self._share_anchor = later  # another window
            return
        has_refilled = later.remaining > earlier.remaining  # one that fills all the time, and is hardly used
        self.counts_down = moved < _COUNTS_DOWN * elapsed and not has_refilled
        if self._share_anchor is not None:
            self._learn_share(self._share_anchor, later)

    def _learn_share(self, earlier: _Seen, later: _Seen) -> None:
        elapsed = later.started - earlier.started
        ours = later.sent - earlier.sent
        lost = earlier.remaining - later.remaining
        if ours < _ENOUGH_REQUESTS * self._unit.value:
            return
        self._share_anchor = later
        if not self.counts_down:
            refilled = self._limit / (self._window or DEFAULT_WINDOW) * elapsed
            if earlier.remaining + refilled - ours >= _FULL * self._limit:
                self._grow_share(later)
                return  # it may have been full in between, and refilled less
            lost += refilled
        if ours > 0 and lost > 0:
            sample = min(max(ours / lost, _SMALLEST_SHARE), _LARGEST_SHARE)
            self.share *= (sample / self.share) ** min(1.0, elapsed / _SHARE_MEMORY)

    def _grow_share(self, later: _Seen) -> None:
        """The bucket stays full although all is sent that it seems to allow: requests cost less than was thought."""
        if self.is_binding and later.remaining >= _FULL * self._limit:
            self.share = min(self.share * _SHARE_GROWTH, _LARGEST_SHARE)


class _WindowGuess:
    """What a limit is for, a minute or a second or longer, where the server does not say.

    A reset is never further away than the window is long. A bucket by the minute that is hardly used is full again
    within a second, though, and then the reset is in proportion to what was used; by the second it is not.
    """

    _SHORT = 1.1
    """Seconds: a reset that is no further away may be one of a window of a second."""
    _LASTING = 1.25
    """Seconds for which all resets must be short; a counter by the minute shows such ones in its last second only."""
    _PROPORTION = 0.3
    _MISFITS = 3

    def __init__(self) -> None:
        self._longest = 0.0
        self._short_since: float | None = None
        self._misfits = 0
        self._is_by_second = False

    def window(self, limit: Limit, started: float) -> float | None:
        """Seconds; None while nothing speaks against the default."""
        if limit.resets_in is None:
            return None
        self._longest = max(self._longest, limit.resets_in)
        if self._longest > 1.1 * DEFAULT_WINDOW:
            return 3600.0 if self._longest <= 3600.0 else 86400.0
        self._judge_second(limit, limit.resets_in, started)
        return 1.0 if self._is_by_second else None

    def _judge_second(self, limit: Limit, resets_in: float, started: float) -> None:
        if resets_in > self._SHORT:
            self._short_since = None
            self._misfits = 0
            self._is_by_second = False
            return
        if self._short_since is None:
            self._short_since = started
        by_minute = (limit.limit - limit.remaining) / limit.limit * DEFAULT_WINDOW
        self._misfits += abs(resets_in - by_minute) > self._PROPORTION * by_minute + 0.02
        if self._misfits >= self._MISFITS and started - self._short_since >= self._LASTING:
            self._is_by_second = True
