"""Rows → tables in Markdown: all that was measured, and what the README shows of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from tests.bench.measure import Row
from tests.bench.peers import CURL, LLM, SDK, SED_JQ, US

COLUMNS = (US, SDK, LLM, CURL, SED_JQ)
MARKS = ("<!-- figures: made by `python -m tests.bench --write` -->", "<!-- end of figures -->")


def long_table(rows: Iterable[Row]) -> str:
    """Median, minimum, maximum, and the ratio of each peer to oastream."""
    lines = ["| what | who | median (min–max) | times oastream |", "|---|---|---|---|"]
    for row in rows:
        ours = median(next(iter(row.figures.values())))
        for name, values in row.figures.items():
            figures = [f"{value:.{row.digits}f}" for value in (median(values), min(values), max(values))]
            ratio = f"{median(values) / ours:.1f}" if ours else ""
            lines.append(f"| {row.what} | {name} | {figures[0]} ({figures[1]}–{figures[2]}) {row.unit} | {ratio} |")
    return "\n".join([*lines, ""])


def short_table(rows: Sequence[Row], versions: Mapping[str, str]) -> str:
    """A line a figure, a column a peer: medians, and how many times oastream's they are.

    oastream's other formats have a line where they show another figure.
    """
    names = [f"`{name}` {versions[name]}" if name in versions else f"`{name}`" for name in COLUMNS]
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for row in rows:
        medians = row.medians()
        lines.append(f"| {row.what} | {' | '.join(_cell(row, medians, name) for name in COLUMNS)} |")
        lines += [
            f"| {row.what}, `{name.removeprefix(US).strip()}` | {_figure(row, value)} |{' |' * (len(COLUMNS) - 1)}"
            for name, value in medians.items()
            if name.startswith(f"{US} ") and _figure(row, value) != _figure(row, medians[US])
        ]
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


def _cell(row: Row, medians: Mapping[str, float], name: str) -> str:
    if name not in medians:
        return ""
    if name == US or not medians[US]:
        return _figure(row, medians[name])
    ratio = medians[name] / medians[US]
    return f"{_figure(row, medians[name])} ({ratio:.{0 if ratio >= 10 else 1}f}×)"


def _figure(row: Row, value: float) -> str:
    return f"{value:.{row.digits}f} {row.unit}"
