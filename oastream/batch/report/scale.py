"""The ticks of axes: round values, few enough to read.

In: the largest value. Out: the values at which an axis has ticks, and their labels. Draws nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_TIMES = (
    *(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
    *(60, 120, 300, 600, 1200, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400),
)
"""Seconds between ticks of time that people count in; beyond, whole days."""


_MINUTE = 60_000
"""Milliseconds."""
_HEADROOM = 1.04
"""A curve does not run along the upper edge, where it would be taken for the frame."""


class Tick(NamedTuple):
    value: float
    label: str


class Axis(NamedTuple):
    """From 0 to `end`."""

    end: float
    ticks: tuple[Tick, ...]


def value_axis(largest: float, unit: str = "", least_step: float = 1e-9, most_ticks: int = 4) -> Axis:
    """An axis for values of 0 up to the largest, which ends at a tick. `unit` is ms, or none."""
    size = _MINUTE if unit == "ms" and largest >= 2 * _MINUTE else 1
    step = size * _round_step(max(largest / size / most_ticks, least_step))
    count = max(1, math.ceil(largest * _HEADROOM / step))
    values = [number * step for number in range(count + 1)]
    if unit == "ms":
        labels = [_milliseconds(value, values[-1]) for value in values]
    else:
        labels = [_count(value, values[-1]) for value in values]
    return Axis(values[-1], tuple(map(Tick, values, labels)))


def percent_axis() -> Axis:
    return Axis(100.0, tuple(Tick(value, f"{value:g} %") for value in (0.0, 25.0, 50.0, 75.0, 100.0)))


def time_axis(seconds: float, most_ticks: int = 6) -> Axis:
    """An axis for the time since the start; it ends where the run does, at a tick or not."""
    wanted = max(seconds, 1e-3) / most_ticks
    step = next((time for time in _TIMES if time >= wanted), None)
    if step is None:
        step = 86400 * _round_step(wanted / 86400)
    values = [number * step for number in range(int(seconds / step + 1e-9) + 1)]
    return Axis(max(seconds, 1e-3), tuple(Tick(value, _time(value, step)) for value in values))


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _count(value: float, largest: float) -> str:
    if largest < 10_000:
        return f"{value:.10g}"
    return f"{value / 1000:,.10g}k" if value else "0"


def _milliseconds(value: float, largest: float) -> str:
    """All labels of an axis in one unit."""
    if value == 0:
        return "0"
    if largest < 1000:
        return f"{value:.10g} ms"
    if largest < 2 * _MINUTE:
        return f"{value / 1000:.10g} s"
    return f"{value / _MINUTE:.10g} min"


def _time(value: float, step: float) -> str:
    if value == 0:
        return "0"
    if step < 60:
        return f"{value:.10g} s"  # three minutes at most, or the step would be longer
    if value < 3600:
        return f"{value / 60:.0f} min"
    hours, minutes = divmod(value / 60, 60)
    if step < 3600:
        return f"{hours:.0f}:{minutes:02.0f} h"
    if value < 86400 or step % 86400:
        return f"{hours:.0f} h"
    return f"{hours / 24:.0f} d"
