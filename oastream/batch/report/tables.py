"""The tables of the page: outcomes, failures with their ids, servers, and the curves in numbers.

In: a `Snapshot`. Out: markup, within the bytes that a page may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from oastream.batch.report import units
from oastream.batch.report.chart import Chart
from oastream.batch.report.failures import Failures, Reason
from oastream.batch.report.markup import Markup, tag
from oastream.batch.report.panels import make_charts
from oastream.batch.report.snapshot import Snapshot
from oastream.exits import TABLE, Verdict, exit_status

_ROOM_FOR_FAILURES = 70_000
"""Bytes. Of a page of 200 kB, of which all else needs 127 kB at most."""
_MOST_SERVERS = 20
_MOST_ROWS = 24
"""Rows of the tables of servers and of curves."""


class _Row(NamedTuple):
    """What became of so many items; `before` is how many of them did in earlier runs."""

    name: str
    meaning: str
    status: str
    items: int
    before: int = 0


def outcomes_table(snapshot: Snapshot) -> Markup:
    """How items ended, in this run and before."""
    counts, before = snapshot.tally, snapshot.before
    names = [("Outcome", None), ("Meaning", "meaning"), ("Status", "n")]
    if before:
        names += [("Before", "n"), ("This run", "n")]
    names += [("Items", "n"), ("Share", "n share")]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in names))
    rows = [tag("tr", *_cells(row, snapshot)) for row in _outcome_rows(snapshot)]
    total = tag("tr", *_cells(_Row("all", "", "", counts.total, before.total()), snapshot))
    return tag("table", tag("thead", head), tag("tbody", *rows), tag("tfoot", total), class_="outcomes")


def _outcome_rows(snapshot: Snapshot) -> Iterator[_Row]:
    counts = snapshot.tally
    for outcome, count in (counts.answers + counts.errors).most_common():
        status = str(exit_status(Verdict(outcome), snapshot.accepted))
        yield _Row(outcome.value, TABLE[outcome][1], status, count, snapshot.before[outcome])
    if counts.bad_lines:
        meaning = "lines of the input that are no items (--skip-bad), or of the journal (--repair)"
        yield _Row("bad lines", meaning, "", counts.bad_lines)
    if counts.not_asked:
        yield _Row("not asked", "no answer yet; the same command goes on with them", "", counts.not_asked)


def _cells(row: _Row, snapshot: Snapshot) -> list[Markup]:
    cells = [
        tag("th", row.name, scope="row"),
        tag("td", row.meaning, class_="meaning"),
        tag("td", row.status, class_="n"),
    ]
    if snapshot.before:
        cells += [tag("td", f"{row.before:,}", class_="n"), tag("td", f"{row.items - row.before:,}", class_="n")]
    share = units.percent(row.items / max(1, snapshot.tally.total))
    return [*cells, tag("td", f"{row.items:,}", class_="n"), tag("td", share, class_="n share")]


def failures_section(snapshot: Snapshot) -> Iterator[Markup]:
    room = _ROOM_FOR_FAILURES
    for heading, failures, place in (
        ("Failed in this run", snapshot.failures, snapshot.errors_path),
        ("Answers that are not plain", snapshot.unplain, None),
    ):
        if not failures.count:
            continue
        table, listed = _failures(failures, snapshot.mask, room)
        room = max(0, room - units.bytes_of(table))
        yield tag("h2", heading)
        yield tag("p", snapshot.mask(_describe_listing(failures.count, listed, place)), class_="soft")
        yield tag("div", table, class_="card")


def _describe_listing(count: int, listed: int, place: str | None) -> str:
    """How many there are, how many of them are below, and where all are."""
    words = units.plural(count, "item")
    if listed < count:
        words += f", of which {listed:,} are listed"
    if place is not None:
        words += f"; all errors are in {place}"
    elif listed < count:
        words += "; all of them are among the answers, by their outcome"
    return words + "."


def _failures(failures: Failures, mask: Callable[[str], str], room: int) -> tuple[Markup, int]:
    """A table of the reasons with their ids, and how many ids are in it. It ends where the room does."""
    columns = [tag("th", name, scope="col") for name in ("Outcome", "HTTP", "Message")]
    head = tag("thead", tag("tr", *columns, tag("th", "Listed", scope="col", class_="n")))
    groups: list[Markup] = []
    listed = 0
    for reason, custom_ids in sorted(failures.groups.items(), key=lambda group: -len(group[1])):
        group, count, size = _failure_group(reason, custom_ids, mask, room)
        if not count:
            break
        groups.append(group)
        room -= size
        listed += count
    return tag("table", head, *groups, class_="failures"), listed


def _failure_group(
    reason: Reason, custom_ids: Sequence[str], mask: Callable[[str], str], room: int
) -> tuple[Markup, int, int]:
    """One reason with as many of its ids as there is room for: the markup, their number, its bytes."""
    status = str(reason.status or units.NONE)
    cells = [tag("td", reason.outcome.value), tag("td", status), tag("td", mask(reason.message), class_="message")]
    items: list[Markup] = []
    size = 200 + units.bytes_of(cells[2])
    for custom_id in custom_ids:
        item = tag("li", mask(custom_id))
        size += units.bytes_of(item)
        if size > room:
            break
        items.append(item)
    first = tag("tr", *cells, tag("td", f"{len(items):,}", class_="n"))
    second = tag("tr", tag("td", tag("ul", *items), colspan=4), class_="ids")
    return tag("tbody", first, second), len(items), size


def servers_table(snapshot: Snapshot) -> Markup:
    head = tag(
        "tr",
        tag("th", "Server", scope="col"),
        *(tag("th", name, scope="col", class_="n") for name in ("Requests", "429s", "Held back")),
    )
    rows = [
        tag(
            "tr",
            tag("th", snapshot.mask(server.base_url), scope="row", class_="message"),
            tag("td", f"{server.requests:,}", class_="n"),
            tag("td", f"{server.rate_limited:,}", class_="n"),
            tag("td", units.seconds(server.held), class_="n"),
        )
        for server in snapshot.servers[:_MOST_SERVERS]
    ]
    if len(snapshot.servers) > len(rows):
        rest = f"and {units.plural(len(snapshot.servers) - len(rows), 'more server')}"
        rows.append(tag("tr", tag("td", rest, colspan=4)))
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="servers")


def curves_table(snapshot: Snapshot) -> Markup:
    """The curves as a table, for those who do not see them, in as many rows as one reads."""
    curves = snapshot.curves.join(_MOST_ROWS)
    charts = [chart for chart in make_charts(curves, snapshot.server_names) if not chart.is_few]
    columns = [(chart, series) for chart in charts for series in chart.series]
    heads = [tag("th", _column_name(chart, series.name), scope="col", class_="n") for chart, series in columns]
    rows = []
    for number, start in enumerate(curves.edges[:-1]):
        cells = [tag("td", _cell(series.values[number], chart.unit), class_="n") for chart, series in columns]
        rows.append(tag("tr", tag("th", units.seconds(start), scope="row", class_="n"), *cells))
    caption = tag("caption", f"Each row is a span of {units.seconds(curves.edges[1])}, from the time named on.")
    head = tag("thead", tag("tr", tag("th", "From", scope="col", class_="n"), *heads))
    table = tag("table", caption, head, tag("tbody", *rows), class_="curves")
    return tag("details", tag("summary", "The curves as a table"), tag("div", table, class_="card"))


def _column_name(chart: Chart, name: str) -> str:
    return f"{chart.title}: {name}" if len(chart.series) > 1 else chart.title


def _cell(value: float | None, unit: str) -> str:
    if unit == "ms":
        return units.milliseconds(value)
    return units.with_unit(value, "%") if unit == "%" else units.number(value)
