"""Rows → tables in Markdown: all that was measured, and what the README shows of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from tests.bench.goals import Goal, goal_lines
from tests.bench.peers import CHAT, CURL, LLM, PYTHON, SDK, SED_JQ, US
from tests.bench.rows import Row

COLUMNS = (US, SDK, LLM, CURL, PYTHON, SED_JQ)
MARKS = ("<!-- figures: made by `python -m tests.bench --write` -->", "<!-- end of figures -->")


def full_report(place: str, why_uncounted: str | None, goals: Iterable[Goal], rows: Sequence[Row]) -> str:
    """Goals, then every figure, then how quiet the machine was."""
    uncounted = [f"Instructions are missing: {why_uncounted}.", ""] if why_uncounted else []
    parts = [
        "# All figures",
        "",
        "Made by `python -m tests.bench --write`; do not edit.",
        "",
        f"{place}. {spread(rows)}",
        "",
        *uncounted,
        "## Goals",
        "",
        *goal_lines(goals, rows),
        "",
        "## Figures",
        "",
        "Times are of whole processes; stdout is /dev/null where many events are read, a pipe elsewhere. Instructions",
        "are those of one process; where there are many events, of one event: two lengths and their difference. Those",
        "at a pace are of an event that comes alone, at a slower pace than the row's.",
        "",
        *_long_table(rows),
        "",
    ]
    return "\n".join(parts)


def spread(rows: Iterable[Row]) -> str:
    """How far apart the runs of oastream are: what a quiet machine keeps small."""
    spreads = {row.figure.key: _spread(row.figures[US]) for row in rows if len(row.figures.get(US, [])) > 1}
    if not spreads:
        return "Spread unknown: one run of each."
    middle, start = 100 * median(spreads.values()), 100 * spreads["start"]
    figures = f"{middle:.0f} % in the median row, {start:.0f} % at start"
    return f"Spread of {US}'s runs, (maximum − minimum) ÷ median: {figures}."


def short_table(rows: Iterable[Row], versions: Mapping[str, str]) -> str:
    """A line a figure, a column a peer: medians, and how many times oastream's they are."""
    names = [f"`{name}` {versions[name]}" if name in versions else f"`{name}`" for name in COLUMNS]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for row in rows:
        if row.figure.is_short:
            lines.append(f"| {row.figure.what} | {' | '.join(_cell(row, name) for name in COLUMNS)} |")
    return "\n".join([*lines, ""])


def with_figures(readme: str, place: str, table: str) -> str:
    """The README with the table between its marks. Raises `ValueError` when it has none."""
    begin, end = MARKS
    text, count = re.subn(
        f"{re.escape(begin)}.*{re.escape(end)}",
        lambda _: f"{begin}\n{place}; medians:\n\n{table}\n{end}",
        readme,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"README.md needs {begin} and {end} once")
    return text


def show_figure(row: Row, value: float) -> str:
    return f"{value:,.{row.figure.digits}f} {row.figure.unit}"


def _long_table(rows: Iterable[Row]) -> Iterator[str]:
    yield f"| what | who | median | minimum–maximum | ÷ `{US}` | ÷ the least | instructions |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        medians = row.medians()
        ours = next(iter(medians.values()))
        for name, value in medians.items():
            values = row.figures[name]
            cells = (
                row.figure.what,
                f"`{name}`",
                show_figure(row, value),
                f"{min(values):,.{row.figure.digits}f}–{max(values):,.{row.figure.digits}f}" if len(values) > 1 else "",
                f"{value / ours:.2f}",
                _times_floor(row, name, medians),
                _show_instructions(row.instructions.get(name)),
            )
            yield f"| {' | '.join(cells)} |"


def _times_floor(row: Row, name: str, medians: Mapping[str, float]) -> str:
    floor = row.figure.floor
    if "chat" in name and f"{floor}{CHAT}" in medians:
        floor = f"{floor}{CHAT}"
    if floor not in medians or name == floor:
        return ""
    return f"{medians[name] / medians[floor]:.2f} × `{floor}`"


def _show_instructions(count: float | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.1f} k"


def _spread(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / median(values)


def _cell(row: Row, name: str) -> str:
    medians = row.medians()
    if name not in medians:
        return ""
    if name == US:
        return show_figure(row, medians[name])
    times = medians[name] / medians[US]
    return f"{show_figure(row, medians[name])} ({times:.{0 if times >= 10 else 1}f}×)"
