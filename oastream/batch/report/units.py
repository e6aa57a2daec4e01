"""Numbers → words for people: rounded as far as one reads them, with units.

In: numbers. Out: text. Knows nothing of what they measure.
"""

from __future__ import annotations

import math

_NO_BREAK = "\u00a0"
"""Between a number and its unit."""
NONE = "–"


def number(value: float | None) -> str:
    """Three digits that count, at least; thousands are set apart."""
    if value is None:
        return NONE
    magnitude = abs(value)
    if magnitude >= 100 or value == int(value):
        return f"{value:,.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    if magnitude >= 0.01:
        return f"{value:.2f}"
    return f"{value:.1g}"


def with_unit(value: float | None, unit: str) -> str:
    """A number and what it counts."""
    if value is None:
        return NONE
    return f"{number(value)}{_NO_BREAK}{unit}"


def milliseconds(value: float | None) -> str:
    """A time that is given in milliseconds."""
    if value is None:
        return NONE
    if value < 1000:
        return f"{value:.0f}{_NO_BREAK}ms"
    return seconds(value / 1000)


_LARGE_UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
"""Seconds of a unit and of the one below."""


def seconds(value: float) -> str:
    """A time: `1.25 s`, `2 min 5 s`, `3 h 20 min`, `1 d 2 h`."""
    for size, unit, smaller_size, smaller in _LARGE_UNITS:
        if value >= size:
            whole, rest = divmod(int(value), size)
            words = f"{whole}{_NO_BREAK}{unit}"
            if parts := rest // smaller_size:
                words += f"{_NO_BREAK}{parts}{_NO_BREAK}{smaller}"
            return words
    steps = 10 if value >= 10 else 100
    return with_unit(math.floor(value * steps) / steps, "s")  # 59.99 s is not 60


def percent(share: float) -> str:
    """A share of 1; never 0 % of what is there, nor 100 % of what is not all."""
    if 0 < share < 0.001:
        return f"<{_NO_BREAK}0.1{_NO_BREAK}%"
    if 0.999 < share < 1:
        return f">{_NO_BREAK}99.9{_NO_BREAK}%"
    digits = 0 if share in (0, 1) else 1
    return f"{100 * share:.{digits}f}{_NO_BREAK}%"


def bytes_of(text: str) -> int:
    """How many bytes a text is in a file."""
    return len(text.encode("utf-8", "surrogatepass"))


def plural(count: int, noun: str) -> str:
    """`1 item`, `2,000 items`."""
    ending = "" if count == 1 else "s"
    return f"{count:,} {noun}{ending}"
