"""Limits that the server enforces on all requests together: so many a minute, so many tokens, none while it is gone.

In: what a user asked for, the cost of each request with its moment. Out: whether it is let through, and what servers
tell about that: rate-limit headers, Retry-After, OpenAI's words. Knows nothing of requests, replies and sockets, and
has no clock of its own. May be used from several threads.
"""

from __future__ import annotations

import enum
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from oastream.mock.keys import parse_named
from oastream.mock.values import member_of, parse_interval, parse_rate, parse_seconds, parse_status

BYTES_PER_TOKEN = 4
USUAL_OUTPUT = 512
"""Tokens that a request without an output limit is charged for its answer."""


class Window(enum.Enum):
    """What the bucket holds: a minute's worth, or a second's of a limit that is still told by the minute."""

    MINUTE = "minute"
    SECOND = "second"


class Refill(enum.Enum):
    CONTINUOUS = "continuous"
    AT_ONCE = "at-once"
    """At the end of each window: a counter that starts anew."""


class Shown(enum.Enum):
    """What a client is told."""

    ALL = "all"
    RETRY_AFTER = "retry-after"
    """With a 429 how long to wait, and nothing else."""
    NONE = "none"


class Limits(NamedTuple):
    """What all requests together may do; None or 0 is no limit. Times are in seconds."""

    rpm: int | None = None
    tpm: int | None = None
    window: Window = Window.MINUTE
    refill: Refill = Refill.CONTINUOUS
    shown: Shown = Shown.ALL
    gone: float = 0.0
    gone_after: float = 0.0
    gone_status: int | None = None
    """Status of the replies while it is gone; None: connections are refused."""


class Setting(NamedTuple):
    """A key of what concerns all requests together: the field that it sets, and how its value is read."""

    field: str
    parse: Callable[[object], object]


SETTINGS = {
    "rpm": Setting("rpm", parse_rate),
    "tpm": Setting("tpm", parse_rate),
    "limit_window": Setting("window", member_of(Window)),
    "limit_refill": Setting("refill", member_of(Refill)),
    "limit_headers": Setting("shown", member_of(Shown)),
    "gone": Setting("gone", parse_interval),
    "gone_after": Setting("gone_after", parse_seconds),
    "gone_status": Setting("gone_status", parse_status),
}
"""Names in a script and a `mock:` URL, and with hyphens as options → the field of `Limits`."""


def read_settings(table: Mapping[str, Setting], values: Mapping[str, object], where: str) -> dict[str, Any]:
    """The fields that are given, of those in the table; a ValueError begins with `where` and the name."""
    fields = {}
    for name, setting in table.items():
        value = values.get(name)
        if value is not None:
            shown_name = name.replace("_", "-") if where == "--" else name
            fields[setting.field] = parse_named(setting.parse, value, f"{where}{shown_name}")
    return fields


class _Bucket:
    """So many units a window."""

    def __init__(self, name: str, per_minute: int, limits: Limits, now: float) -> None:
        self.name = name
        self.per_minute = per_minute
        self.window = 60.0 if limits.window is Window.MINUTE else 1.0
        self.size = per_minute / 60 * self.window
        self._fills_at_once = limits.refill is Refill.AT_ONCE
        self._level = self.size
        self._began = now
        self._at = now

    def fill(self, now: float) -> None:
        """Put in what has been added until now."""
        if not self._fills_at_once:
            self._level = min(self.size, self._level + self.per_minute / 60 * (now - self._at))
        elif now - self._began >= self.window:
            self._began += (now - self._began) // self.window * self.window
            self._level = self.size
        self._at = now

    def has(self, units: float) -> bool:
        """Whether so much is left; what is more than the bucket can hold passes when it is full."""
        return self._level >= min(units, self.size)

    def take(self, units: float) -> None:
        self._level -= units

    def wait_for(self, units: float) -> float:
        """Seconds until there is so much."""
        if self.has(units):
            return 0.0
        if self._fills_at_once:
            return self._resets_in()
        return (min(units, self.size) - self._level) / (self.per_minute / 60)

    def headers(self) -> dict[str, str]:
        """OpenAI's three. A bucket by the second is told as what it holds, since that is what is enforced."""
        return {
            f"x-ratelimit-limit-{self.name}": f"{self.size:.0f}",
            f"x-ratelimit-remaining-{self.name}": f"{max(0, math.floor(self._level))}",
            f"x-ratelimit-reset-{self.name}": go_duration(self._resets_in()),
        }

    def refusal(self, units: float) -> str:
        """OpenAI's sentence."""
        kind = {"requests": "RPM", "tokens": "TPM"}[self.name]
        used = self.per_minute - max(0, math.floor(self._level))
        return (
            f"Rate limit reached on {self.name} per min ({kind}): Limit {self.per_minute}, Used {used}, "
            f"Requested {units:.0f}. Please try again in {go_duration(self.wait_for(units))}."
        )

    def _resets_in(self) -> float:
        if self._fills_at_once:
            return self._began + self.window - self._at
        return (self.size - self._level) / (self.per_minute / 60)


class Refused(NamedTuple):
    """A request that is not let through: what it says, of which resource, and the headers that tell more."""

    message: str
    resource: str
    headers: dict[str, str]


class Limiter:
    """Lets requests through as long as there is something left of every limit."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._shown = limits.shown
        self._lock = threading.Lock()
        given = (("requests", limits.rpm), ("tokens", limits.tpm))
        self._buckets = [_Bucket(name, per_minute, limits, now) for name, per_minute in given if per_minute]

    def take(self, size: int, output_limit: int | None, now: float) -> tuple[Refused | None, dict[str, str]]:
        """Charge a request of `size` bytes, or refuse it; and the headers that its reply has in either case."""
        output = USUAL_OUTPUT if output_limit is None else output_limit
        costs = {"requests": 1.0, "tokens": size / BYTES_PER_TOKEN + output}
        with self._lock:
            for bucket in self._buckets:
                bucket.fill(now)
            refused = self._refuse(costs)
            if refused is None:
                for bucket in self._buckets:
                    bucket.take(costs[bucket.name])
            return refused, self._headers()

    def _refuse(self, costs: Mapping[str, float]) -> Refused | None:
        empty = next((bucket for bucket in self._buckets if not bucket.has(costs[bucket.name])), None)
        if empty is None:
            return None
        wait = max(bucket.wait_for(costs[bucket.name]) for bucket in self._buckets)
        headers = {} if self._shown is Shown.NONE else {"Retry-After": str(math.ceil(wait))}
        message = "Too many requests."
        if self._shown is Shown.ALL:
            message = empty.refusal(costs[empty.name])
        return Refused(message, empty.name, headers)

    def _headers(self) -> dict[str, str]:
        if self._shown is not Shown.ALL:
            return {}
        return {name: value for bucket in self._buckets for name, value in bucket.headers().items()}


def go_duration(seconds: float) -> str:
    """A time as OpenAI's headers have it: 20ms, 7.5s, 1m2.5s."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
