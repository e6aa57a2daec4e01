"""How a batch stands, or how it went → one HTML page that needs nothing else.

In: figures, curves, counts and failures. Out: the page as bytes. Does no I/O and has no clock of its own. What comes
from outside is masked here and escaped by `markup`; the page's own policy forbids a browser to fetch anything.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from oastream.batch.report import units
from oastream.batch.report.assets import SCRIPT, STYLE
from oastream.batch.report.chart import Chart, draw
from oastream.batch.report.failures import Failures, Reason
from oastream.batch.report.markup import Markup, join, tag
from oastream.batch.report.panels import make_charts
from oastream.batch.report.sampling import Curves
from oastream.batch.report.scale import time_axis
from oastream.batch.summary import GO_ON_HINT, Tally
from oastream.exits import TABLE, Outcome, Verdict, exit_status
from oastream.lenient_json import dumps

REFRESH = 10
"""Seconds after which the page of a run that goes on is written anew, and loads itself again."""
_ROOM_FOR_FAILURES = 90_000
"""Bytes. Of a page of 200 kB, of which charts and tables need 60 kB at most."""


class ServerFigures(NamedTuple):
    """What is shown of one server; `held` in seconds."""

    base_url: str
    requests: int
    rate_limited: int
    held: float


class Standing(NamedTuple):
    """All that the page shows. `verdict` is None while the run goes on; `stats` are the fields of --stats=json."""

    name: str
    verdict: Verdict | None
    accepted: Collection[Outcome]
    began: float
    """Wall time, as is `written`."""
    written: float
    stats: dict[str, Any]
    tally: Tally
    before: Counter[Outcome]
    """Answers and failures of earlier runs; `tally` counts them too."""
    curves: Curves
    servers: Sequence[ServerFigures]
    failures: Failures
    unplain: Failures
    """Answers that are whole, but cut, refused and the like."""
    facts: Sequence[tuple[str, str]]
    """More about the run: names and values."""
    errors_path: str | None
    program: str
    mask: Callable[[str], str]


def render(standing: Standing) -> bytes:
    """The page."""
    charts = make_charts(standing.curves, [server.base_url for server in standing.servers])
    body = tag(
        "body",
        _header(standing),
        tag("main", *_sections(standing, charts)),
        _footer(standing),
        _data(standing, charts),
        tag("script", Markup(SCRIPT)),
    )
    page = f"<!DOCTYPE html>\n{tag('html', _head(standing), body, lang='en')}\n"
    return page.encode("utf-8", "replace")


def _head(standing: Standing) -> Markup:
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    metas = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
    ]
    if standing.verdict is None:
        metas.append(tag("meta", http_equiv="refresh", content=REFRESH))
    icon = Markup('<link rel="icon" href="data:,"/>')  # or a browser asks for one
    title = tag("title", f"{_state(standing).word}: {standing.name}")
    return tag("head", *metas, icon, title, tag("style", Markup(STYLE)))


# The top of the page -----------------------------------------------------------------------------------------------


class _State(NamedTuple):
    """How the run stands, in a word; `mood` is a class of the style sheet."""

    word: str
    mood: str


def _state(standing: Standing) -> _State:
    verdict = standing.verdict
    if verdict is None:
        return _State("Running", "")
    if verdict.signal is not None:
        return _State(f"Stopped by {_signal_name(verdict.signal)}", "bad")
    words = {Outcome.STOP: "Complete", Outcome.SOME_FAILED: "Incomplete", Outcome.ABORTED: "Aborted"}
    return _State(words.get(verdict.outcome, "Failed"), "good" if exit_status(verdict) == 0 else "bad")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _header(standing: Standing) -> Markup:
    state = _state(standing)
    words = tag("p", tag("span", state.word, class_=f"state {state.mood}".rstrip()), *_verdict_words(standing))
    return tag("header", tag("h1", standing.mask(standing.name)), words, _bar(standing), _tiles(standing))


def _verdict_words(standing: Standing) -> Iterator[str]:
    """What the last lines on stderr say as well."""
    verdict, counts = standing.verdict, standing.tally
    if verdict is None:
        yield f"as of {_clock(standing.written)}{_time_left(standing)}"
        return
    if exit_status(verdict) == 0:
        yield "every item has a plain answer"
        return
    lines = [verdict.message, *verdict.more_lines, verdict.hint]
    if verdict.signal is not None:
        lines = [counts.describe(), GO_ON_HINT if counts.not_asked else ""]
    if verdict.signal is None:
        yield f"exit status {exit_status(verdict)}: "
    yield standing.mask("; ".join(line for line in lines if line))


def _time_left(standing: Standing) -> str:
    """By how fast it has been so far."""
    seconds = standing.written - standing.began
    done = standing.stats["items"] - standing.tally.not_asked
    if done <= 0 or seconds <= 0:
        return ""
    return f", about {units.seconds(round(seconds / done * standing.tally.not_asked))} left"


def _bar(standing: Standing) -> Markup:
    """All items: answered in this run and before, failed, and what has no end yet."""
    counts = standing.tally
    total = max(1, counts.total)
    answered = counts.answers.total()
    before = sum(count for outcome, count in standing.before.items() if Verdict(outcome).has_answer)
    failed = counts.errors.total() + counts.bad_lines
    parts = [("before", before), ("now", answered - before), ("failed", failed)]
    spans = [tag("span", class_=kind, style=f"width:{100 * count / total:.4g}%") for kind, count in parts if count]
    words = [f"{answered:,} of {units.plural(counts.total, 'item')} answered"]
    if before:
        words.append(f"{before:,} of them before this run")
    if failed:
        words.append(f"{failed:,} failed")
    if counts.not_asked:
        words.append(f"{counts.not_asked:,} not asked" if standing.verdict else f"{counts.not_asked:,} to go")
    sentence = ", ".join(words)
    return join([tag("div", *spans, class_="bar", role="img", aria_label=sentence), tag("p", sentence, class_="soft")])


def _tiles(standing: Standing) -> Markup:
    stats = standing.stats
    elapsed = standing.written - standing.began
    first, whole = stats["first_event_ms"], stats["elapsed_ms"]
    answers = sum(stats["answers"].values())
    speed = units.with_unit(answers / max(elapsed, 1e-3), "answers/s")
    tiles = [
        _tile("Answers in this run", _figure("answers", answers), speed),
        _tile("Time", tag("span", units.seconds(elapsed)), f"since {_clock(standing.began)}"),
        _tile("Tokens", _figure("tokens", stats["tokens"]), _rate("tokens_per_s", stats["tokens_per_s"], "tokens/s")),
        _tile("First event, p50", _time("first_event_ms.p50", first["p50"]), _p99("first_event_ms.p99", first)),
        _tile("Whole answer, p50", _time("elapsed_ms.p50", whole["p50"]), _p99("elapsed_ms.p99", whole)),
        _tile("Requests", _figure("attempts", stats["attempts"]), _limits(stats)),
    ]
    return tag("dl", *tiles, class_="tiles")


def _tile(name: str, value: str, more: str) -> Markup:
    return tag("div", tag("dt", name), tag("dd", value), tag("dd", more))


def _figure(name: str, value: float) -> Markup:
    """A figure of --stats, under its name there."""
    return tag("data", units.number(value), value=value, id=f"stats.{name}")


def _rate(name: str, value: float, unit: str) -> Markup:
    return tag("data", units.with_unit(value, unit), value=value, id=f"stats.{name}")


def _time(name: str, value: int | None) -> Markup:
    return tag("data", units.milliseconds(value), value="" if value is None else value, id=f"stats.{name}")


def _p99(name: str, quantiles: dict[str, int | None]) -> Markup:
    return join(["p99 ", _time(name, quantiles["p99"])])


def _limits(stats: dict[str, Any]) -> Markup:
    refused = tag("data", units.number(stats["rate_limited"]), value=stats["rate_limited"], id="stats.rate_limited")
    held = tag("data", units.seconds(stats["held_s"]), value=stats["held_s"], id="stats.held_s")
    return join([refused, " × 429, held back for ", held])


# Below --------------------------------------------------------------------------------------------------------------


def _sections(standing: Standing, charts: Sequence[Chart]) -> Iterator[Markup]:
    if standing.curves.buckets:
        time = time_axis(standing.curves.seconds)
        figures = [draw(chart, standing.curves.edges, time, number) for number, chart in enumerate(charts, 1)]
        yield tag("h2", "Over time")
        yield tag("div", *figures, class_="charts")
        yield _table_of_curves(standing.curves, charts)
    yield tag("h2", "Outcomes")
    yield tag("div", _outcomes(standing), class_="card")
    yield from _failures_section(standing)
    yield tag("h2", "Run")
    yield tag("div", _facts(standing), class_="card")
    if len(standing.servers) > 1:
        yield tag("div", _servers(standing), class_="card", style="margin-top:.9rem")


def _outcomes(standing: Standing) -> Markup:
    """How items ended, in this run and before."""
    counts, before = standing.tally, standing.before
    everything = counts.answers + counts.errors
    rows = [_outcome_row(outcome, count, standing) for outcome, count in everything.most_common()]
    rows += [
        _count_row(name, meaning, count, standing)
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
    total = _count_cells("all", "", "", counts.total, before.total(), standing)
    return tag(
        "table",
        tag("thead", tag("tr", *columns)),
        tag("tbody", *rows),
        tag("tfoot", tag("tr", *total)),
        class_="outcomes",
    )


def _outcome_row(outcome: Outcome, count: int, standing: Standing) -> Markup:
    status = str(exit_status(Verdict(outcome), standing.accepted))
    cells = _count_cells(outcome.value, TABLE[outcome][1], status, count, standing.before[outcome], standing)
    return tag("tr", *cells)


def _count_row(name: str, meaning: str, count: int, standing: Standing) -> Markup:
    return tag("tr", *_count_cells(name, meaning, "", count, 0, standing))


def _count_cells(name: str, meaning: str, status: str, count: int, before: int, standing: Standing) -> list[Markup]:
    cells = [tag("th", name, scope="row"), tag("td", meaning, class_="meaning"), tag("td", status, class_="n")]
    if standing.before:
        cells += [tag("td", f"{before:,}", class_="n"), tag("td", f"{count - before:,}", class_="n")]
    share = units.percent(count / max(1, standing.tally.total))
    return [*cells, tag("td", f"{count:,}", class_="n"), tag("td", share, class_="n share")]


def _failures_section(standing: Standing) -> Iterator[Markup]:
    room = _ROOM_FOR_FAILURES
    for heading, failures, place in (
        ("Failed in this run", standing.failures, standing.errors_path),
        ("Answers that are not plain", standing.unplain, None),
    ):
        if not failures.count:
            continue
        table, listed = _failures(failures, standing.mask, room)
        room = max(0, room - units.bytes_of(table))
        yield tag("h2", heading)
        yield tag("p", standing.mask(_describe_listing(failures.count, listed, place)), class_="soft")
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
    head = tag("thead", tag("tr", *columns, tag("th", "Ids", scope="col", class_="n")))
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


def _facts(standing: Standing) -> Markup:
    entries = [
        ("Began", _clock(standing.began, with_date=True)),
        ("Written", _clock(standing.written, with_date=True)),
        *standing.facts,
    ]
    pairs = [join([tag("dt", name), tag("dd", standing.mask(value))]) for name, value in entries if value]
    return tag("dl", *pairs, class_="run")


def _servers(standing: Standing) -> Markup:
    head = tag(
        "tr",
        tag("th", "Server", scope="col"),
        *(tag("th", name, scope="col", class_="n") for name in ("Requests", "429s", "Held back")),
    )
    rows = [
        tag(
            "tr",
            tag("th", standing.mask(server.base_url), scope="row", class_="message"),
            tag("td", f"{server.requests:,}", class_="n"),
            tag("td", f"{server.rate_limited:,}", class_="n"),
            tag("td", units.seconds(server.held), class_="n"),
        )
        for server in standing.servers
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="servers")


def _footer(standing: Standing) -> Markup:
    return tag("footer", tag("p", f"{standing.program}. Rates are those of the time in which answers ended."))


# The same in numbers ------------------------------------------------------------------------------------------------

_MOST_ROWS = 24


def _table_of_curves(curves: Curves, charts: Sequence[Chart]) -> Markup:
    """The curves as a table, for those who do not see them; every so many rows of them where there are more."""
    shown = [chart for chart in charts if not chart.is_few]
    step = -(-len(curves.buckets) // _MOST_ROWS)
    heads = [
        tag("th", _column_name(chart, name), scope="col", class_="n")
        for chart in shown
        for name in (series.name for series in chart.series)
    ]
    rows = []
    for number in range(0, len(curves.buckets), step):
        cells = [
            tag("td", _cell(series.values[number], chart.unit), class_="n")
            for chart in shown
            for series in chart.series
        ]
        rows.append(tag("tr", tag("th", units.seconds(curves.edges[number]), scope="row", class_="n"), *cells))
    every = "" if step == 1 else f"; one span of {step} is shown"
    caption = tag("caption", f"Each row is a span of {units.seconds(curves.edges[1])}, from the time named on{every}.")
    table = tag(
        "table",
        caption,
        tag("thead", tag("tr", tag("th", "From", scope="col", class_="n"), *heads)),
        tag("tbody", *rows),
    )
    return tag("details", tag("summary", "The curves as a table"), tag("div", table, class_="card"))


def _column_name(chart: Chart, name: str) -> str:
    return f"{chart.title}: {name}" if len(chart.series) > 1 else chart.title


def _cell(value: float | None, unit: str) -> str:
    if unit == "ms":
        return units.milliseconds(value)
    return units.with_unit(value, "%") if unit == "%" else units.number(value)


def _data(standing: Standing, charts: Sequence[Chart]) -> Markup:
    """For the script, and for programs: `stats` is what --stats=json prints."""
    curves = [
        [[_short(value) for value in series.values] for series in chart.series] for chart in charts if not chart.is_few
    ]
    data = {"stats": standing.stats, "edges": [_short(edge) for edge in standing.curves.edges], "charts": curves}
    text = dumps(data).decode().replace("<", "\\u003c")  # nothing in it may end the element
    return tag("script", Markup(text), type="application/json", id="data")


def _short(value: float | None) -> float | None:
    """A number with as many digits as anyone reads."""
    return None if value is None else float(f"{value:.4g}")


def _clock(moment: float, with_date: bool = False) -> str:
    """A moment on this machine's clock, with its offset from UTC where the date is told too."""
    local = datetime.datetime.fromtimestamp(moment).astimezone()
    return local.isoformat(" ", "seconds") if with_date else local.strftime("%H:%M:%S")
