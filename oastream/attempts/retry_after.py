"""How long a server asks its client to wait, wherever and however it says so.

In: the headers of a reply, or the words of its body, and the wall clock's time for what is said as a date.
Out: seconds from now, or None where nothing is said. Decides nothing about the wait, and has no clock of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

LONGEST_WAIT = 1e9
"""Seconds. A server that asks for more means never, and so long a wait is beyond any budget."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")

# Google puts a RetryInfo among the details, OpenAI (and Groq after it) ends its sentence with the time. The word
# before the time tells them from other durations in the same message; 200 digits are no time of any server.
_GOOGLE = re.compile(r'"retryDelay"\s*:\s*"([\d.]{1,20}s)"')
_OPENAI = re.compile(r"try again in ((?:[\d.]{1,20}(?:ms|[smhd])){1,5})")


def read_retry_after(headers: Mapping[str, str], wall_time: float) -> float | None:
    """Seconds by retry-after-ms, or by Retry-After in seconds or as a date.

    From 0 to `LONGEST_WAIT`; None when they do not say, or nothing that can be understood.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except (ValueError, OverflowError):
            continue
        if not math.isnan(seconds):
            return _within_bounds(seconds)
    date = headers.get("retry-after")
    return _seconds_until(date, wall_time) if date else None


def read_wait_in_body(body: str) -> float | None:
    """Seconds by the body of an error, or by the message in it: `"retryDelay": "2s"`, `try again in 1m2.5s`."""
    found = _GOOGLE.search(body) or _OPENAI.search(body)
    seconds = read_duration(found[1]) if found else None
    return None if seconds is None else _within_bounds(seconds)


def read_duration(text: str) -> float | None:
    """Seconds of a time with units, as Go prints one: 1m2.5s, 6ms, 6m0s. None for anything else."""
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _seconds_until(date: str, wall_time: float) -> float | None:
    """Seconds until an HTTP date; None for one that no calendar has."""
    import email.utils  # 15 ms, for a date only

    try:
        return _within_bounds(email.utils.parsedate_to_datetime(date).timestamp() - wall_time)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _within_bounds(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_WAIT)
