"""How a batch stands, or how it went → one HTML page that needs nothing else.

In: a `Snapshot`. Out: the page as bytes. Does no I/O and has no clock of its own. What comes from outside is masked
where it is put in, and escaped by `markup`; the page's own policy forbids a browser to fetch anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence

from oastream.batch.report.assets import SCRIPT, STYLE
from oastream.batch.report.chart import Chart, draw
from oastream.batch.report.markup import Markup, join, tag
from oastream.batch.report.overview import draw_overview, state_of
from oastream.batch.report.panels import make_charts
from oastream.batch.report.scale import time_axis
from oastream.batch.report.snapshot import Snapshot, clock
from oastream.batch.report.tables import curves_table, failures_section, outcomes_table, servers_table
from oastream.lenient_json import dumps

REFRESH = 10
"""Seconds after which the page of a run that goes on is written anew, and loads itself again."""


def render(snapshot: Snapshot) -> bytes:
    """The page."""
    charts = make_charts(snapshot.curves, snapshot.server_names)
    body = tag(
        "body",
        draw_overview(snapshot),
        tag("main", *_sections(snapshot, charts)),
        _footer(snapshot),
        _data(snapshot, charts),
        tag("script", Markup(SCRIPT)),
    )
    page = f"<!DOCTYPE html>\n{tag('html', _head(snapshot), body, lang='en')}\n"
    return page.encode("utf-8", "replace")


def _head(snapshot: Snapshot) -> Markup:
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
    if snapshot.verdict is None:
        metas.append(tag("meta", http_equiv="refresh", content=REFRESH))
    icon = Markup('<link rel="icon" href="data:,"/>')  # or a browser asks for one
    title = tag("title", f"{state_of(snapshot).word}: {snapshot.name}")
    return tag("head", *metas, icon, title, tag("style", Markup(STYLE)))


def _sections(snapshot: Snapshot, charts: Sequence[Chart]) -> Iterator[Markup]:
    if snapshot.curves.buckets:
        time = time_axis(snapshot.curves.seconds)
        figures = [draw(chart, snapshot.curves.edges, time, number) for number, chart in enumerate(charts, 1)]
        yield tag("h2", "Over time")
        yield tag("div", *figures, class_="charts")
        yield curves_table(snapshot)
    yield tag("h2", "Outcomes")
    yield tag("div", outcomes_table(snapshot), class_="card")
    yield from failures_section(snapshot)
    yield tag("h2", "Run")
    yield tag("div", _facts(snapshot), class_="card")
    if len(snapshot.servers) > 1:
        yield tag("div", servers_table(snapshot), class_="card", style="margin-top:.9rem")


def _facts(snapshot: Snapshot) -> Markup:
    entries = [
        ("Began", clock(snapshot.began, with_date=True)),
        ("Ended" if snapshot.verdict else "Written", clock(snapshot.written, with_date=True)),
        *snapshot.facts,
    ]
    pairs = [join([tag("dt", name), tag("dd", snapshot.mask(value))]) for name, value in entries if value]
    return tag("dl", *pairs, class_="run")


def _footer(snapshot: Snapshot) -> Markup:
    return tag("footer", tag("p", f"{snapshot.program}. Rates are those of the time in which answers ended."))


def _data(snapshot: Snapshot, charts: Sequence[Chart]) -> Markup:
    """For the script, and for programs: `stats` is what --stats=json prints."""
    curves = [
        [[_short(value) for value in series.values] for series in chart.series] for chart in charts if not chart.is_few
    ]
    running = None if snapshot.verdict else {"written": round(snapshot.written)}
    data = {
        "running": running,
        "stats": snapshot.stats,
        "edges": [round(edge, 2) for edge in snapshot.curves.edges],
        "charts": curves,
    }
    text = dumps(data).decode().replace("<", "\\u003c")  # nothing in it may end the element
    return tag("script", Markup(text), type="application/json", id="data")


def _short(value: float | None) -> float | None:
    """A number with as many digits as anyone reads."""
    return None if value is None else float(f"{value:.3g}")
