"""The tables of the page: outcomes, failures with their ids, servers, and the curves in numbers.

In: a `Snapshot`. Out: markup, within the bytes that a page may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from oastream.batch.report import units
from oastream.batch.report.chart import Chart
from oastream.batch.report.failures import Failures, Reason
from oastream.batch.report.markup import Markup, tag
from oastream.batch.report.panels import make_charts
from oastream.batch.report.snapshot import Snapshot
from oastream.exits import TABLE, Outcome, Verdict, exit_status

_ROOM_FOR_FAILURES = 70_000
"""Bytes. Of a page of 200 kB, of which all else needs 127 kB at most."""
_MOST_SERVERS = 20
_MOST_ROWS = 24
"""Rows of the tables of servers and of curves."""


def outcomes_table(snapshot: Snapshot) -> Markup:
    """How items ended, in this run and before."""
    counts, before = snapshot.tally, snapshot.before
    everything = counts.answers + counts.errors
    rows = [_outcome_row(outcome, count, snapshot) for outcome, count in everything.most_common()]
    rows += [
        _count_row(name, meaning, count, snapshot)
        for name, meaning, count in (
            (
                "bad lines",
                "lines of the input that are no items (--skip-bad), or of the journal (--repair)",
                counts.bad_lines,
            ),
            ("not asked", "no answer yet; the same command goes on with them", counts.not_asked),
        )
        if count
    ]
    columns = [tag("th", "Outcome", scope="col"), tag("th", "Meaning", scope="col", class_="meaning")]
    columns.append(tag("th", "Status", scope="col", class_="n"))
    if before:
        columns += [tag("th", "Before", scope="col", class_="n"), tag("th", "This run", scope="col", class_="n")]
    columns += [tag("th", "Items", scope="col", class_="n"), tag("th", "Share", scope="col", class_="n share")]
    total = _count_cells("all", "", "", counts.total, before.total(), snapshot)
    return tag(
        "table",
        tag("thead", tag("tr", *columns)),
        tag("tbody", *rows),
        tag("tfoot", tag("tr", *total)),
        class_="outcomes",
    )


def _outcome_row(outcome: Outcome, count: int, snapshot: Snapshot) -> Markup:
    status = str(exit_status(Verdict(outcome), snapshot.accepted))
    cells = _count_cells(outcome.value, TABLE[outcome][1], status, count, snapshot.before[outcome], snapshot)
    return tag("tr", *cells)


def _count_row(name: str, meaning: str, count: int, snapshot: Snapshot) -> Markup:
    return tag("tr", *_count_cells(name, meaning, "", count, 0, snapshot))


def _count_cells(name: str, meaning: str, status: str, count: int, before: int, snapshot: Snapshot) -> list[Markup]:
    cells = [tag("th", name, scope="row"), tag("td", meaning, class_="meaning"), tag("td", status, class_="n")]
    if snapshot.before:
        cells += [tag("td", f"{before:,}", class_="n"), tag("td", f"{count - before:,}", class_="n")]
    share = units.percent(count / max(1, snapshot.tally.total))
    return [*cells, tag("td", f"{count:,}", class_="n"), tag("td", share, class_="n share")]


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
        words += f", of which the first {listed:,} are listed"
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
    status = units.NONE if reason.status is None else str(reason.status)
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
    curves = snapshot.curves.joined(_MOST_ROWS)
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
