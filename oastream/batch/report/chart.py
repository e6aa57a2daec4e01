"""Curves over time → one chart: steps in SVG, with axes and a legend around it in HTML.

In: series of values, one for each span of time. Out: markup. Knows nothing of what is measured.

The SVG has no text and is stretched to whatever width there is (lines keep theirs: `vector-effect`); labels are HTML at
percentages beside it, and so as large on a phone as anywhere else. Curves are steps, since each value is one of a span.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oastream.batch.report.markup import Markup, join, tag
from oastream.batch.report.scale import Axis

_WIDTH = 1000
_HEIGHT = 200
"""Of the drawing, in whole units: more than the pixels it gets, and a number has three digits."""


class Series(NamedTuple):
    """One curve; a value that is None leaves a gap. `color` is a class of the page's style sheet, `c1` to `c6`."""

    name: str
    values: Sequence[float | None]
    color: str
    is_filled: bool = False


class Chart(NamedTuple):
    """`summary` says in words what the curves show. `unit` is what follows a value that is pointed at."""

    title: str
    summary: str
    unit: str
    series: Sequence[Series]
    values: Axis
    is_few: bool = False
    """Whether there is so little that the chart is a line of words."""


def draw(chart: Chart, edges: Sequence[float], time: Axis, number: int) -> Markup:
    """The chart as a figure; `edges` are the moments between the values, `number` tells it from others of the page."""
    heading = tag("h3", chart.title)
    note = tag("p", chart.summary, class_="note")
    if chart.is_few:
        return tag("figure", tag("figcaption", heading, note), class_="chart few")
    caption = tag("figcaption", heading, note, _legend(chart))
    plot = tag("div", _drawing(chart, edges, time, number), _labels(chart.values, time), class_="plot")
    return tag("figure", caption, plot, class_="chart", data_unit=chart.unit)


def _legend(chart: Chart) -> Markup:
    entries = [
        tag("li", tag("span", class_=f"swatch {series.color}"), series.name, tag("b", class_="value"))
        for series in chart.series
    ]
    return tag("ul", *entries, class_="legend")


def _drawing(chart: Chart, edges: Sequence[float], time: Axis, number: int) -> Markup:
    title, words = f"chart{number}-title", f"chart{number}-words"
    names = ", ".join(series.name for series in chart.series)
    return tag(
        "svg",
        tag("title", f"{chart.title}: {names}", id=title),
        tag("desc", chart.summary, id=words),
        _grid(chart.values, time),
        *(_curve(series, edges, chart.values, time) for series in chart.series),
        role="img",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        aria_labelledby=title,
        aria_describedby=words,
    )


def _grid(values: Axis, time: Axis) -> Markup:
    across = [f"M0 {_y(tick.value, values)}H{_WIDTH}" for tick in values.ticks]
    down = [f"M{_x(tick.value, time)} 0V{_HEIGHT}" for tick in time.ticks]
    return tag("path", class_="grid", d="".join([*across, *down]))


def _curve(series: Series, edges: Sequence[float], values: Axis, time: Axis) -> Markup:
    line, area = [], []
    for start, stop in _runs(series.values):
        steps = _steps(series.values, edges, values, time, start, stop)
        line.append(steps)
        area.append(f"{steps}V{_HEIGHT}H{_x(edges[start], time)}Z")
    curve = tag("path", class_=f"line {series.color}", d="".join(line))
    if not series.is_filled:
        return curve
    return join([tag("path", class_=f"area {series.color}", d="".join(area)), curve])


def _runs(values: Sequence[float | None]) -> list[tuple[int, int]]:
    """Where values stand one beside the other: the first, and the one after the last."""
    runs, start = [], None
    for number, value in enumerate([*values, None]):
        if value is not None and start is None:
            start = number
        elif value is None and start is not None:
            runs.append((start, number))
            start = None
    return runs


def _steps(
    numbers: Sequence[float | None], edges: Sequence[float], values: Axis, time: Axis, start: int, stop: int
) -> str:
    """A path with a level for each value, from one edge to the next; levels that are the same become one."""
    height = _y(numbers[start] or 0.0, values)
    parts = [f"M{_x(edges[start], time)} {height}"]
    for number in range(start + 1, stop):
        next_height = _y(numbers[number] or 0.0, values)
        if next_height != height:
            parts.append(f"H{_x(edges[number], time)}V{next_height}")
            height = next_height
    parts.append(f"H{_x(edges[stop], time)}")
    return "".join(parts)


def _labels(values: Axis, time: Axis) -> Markup:
    """The axes. A screen reader has the words of the chart instead."""
    beside = [
        tag("span", tick.label, class_="y", style=f"top:{_share(_y(tick.value, values), _HEIGHT)}%")
        for tick in values.ticks
    ]
    below = [
        tag("span", tick.label, class_="x", style=f"left:{_share(_x(tick.value, time), _WIDTH)}%")
        for tick in time.ticks
    ]
    return tag("div", *beside, *below, class_="labels", aria_hidden="true")


def _x(moment: float, time: Axis) -> int:
    return round(_WIDTH * min(moment / time.end, 1.0))


def _y(value: float, values: Axis) -> int:
    return round(_HEIGHT * (1 - min(max(value / values.end, 0.0), 1.0)))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.4g}"
