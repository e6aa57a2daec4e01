"""Curves of a run → the charts of the page: which ones, in which order, with which words.

In: what was sampled. Out: charts, not drawn yet.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from oastream.batch.report import units
from oastream.batch.report.chart import Chart, Series
from oastream.batch.report.sampling import Curves, LimitKey
from oastream.batch.report.scale import percent_axis, value_axis

_MOST_LIMITS = 12
"""Curves of limits, of all servers together: each takes up to 4 kB."""
_COLORS = ("c1", "c3", "c4", "c5", "c6", "c2")


def make_charts(curves: Curves, servers: Sequence[str]) -> list[Chart]:
    """All charts of a run. `servers` are the base URLs, in the order of the limits sampled."""
    if not curves.buckets:
        return []
    return [
        _answers(curves),
        _tokens(curves),
        _in_flight(curves),
        _first_events(curves),
        *_limits(curves, servers),
        _rate_limited(curves),
    ]


def _answers(curves: Curves) -> Chart:
    answers = curves.rates(bucket.answers for bucket in curves.buckets)
    failures = curves.rates(bucket.failures for bucket in curves.buckets)
    series = [Series("answers", answers, "c1", is_filled=True)]
    if any(failures):
        series.append(Series("failures", failures, "c2"))
    words = f"at most {units.number(max(answers))}"
    return Chart("Answers per second", words, "/s", series, value_axis(max(*answers, *failures)))


def _tokens(curves: Curves) -> Chart:
    tokens = curves.rates(bucket.tokens for bucket in curves.buckets)
    title = "Tokens per second"
    if not any(tokens):
        return _few(title, "The servers did not say how many tokens were used.")
    words = f"at most {units.number(max(tokens))}; counted when an answer ends"
    return Chart(title, words, "/s", [Series("tokens", tokens, "c4", is_filled=True)], value_axis(max(tokens)))


def _in_flight(curves: Curves) -> Chart:
    levels = [bucket.in_flight for bucket in curves.buckets]
    most = max(level or 0 for level in levels)
    words = f"at most {units.number(most)}"
    return Chart(
        "Requests in flight",
        words,
        "",
        [Series("in flight", levels, "c5", is_filled=True)],
        value_axis(most, least_step=1),
    )


def _first_events(curves: Curves) -> Chart:
    title = "Time to the first event"
    median = [bucket.first_events.quantile(0.5) for bucket in curves.buckets]
    slowest = [bucket.first_events.quantile(0.99) for bucket in curves.buckets]
    medians = [value for value in median if value is not None]
    if not medians:
        return _few(title, "No answer has begun.")
    most = max(value or 0.0 for value in slowest)
    usual = f"{units.milliseconds(min(medians))} to {units.milliseconds(max(medians))}"
    words = f"p50 {usual}, p99 at most {units.milliseconds(most)}; shown when it arrives"
    return Chart(
        title, words, "ms", [Series("p50", median, "c1"), Series("p99", slowest, "c3")], value_axis(most, "ms")
    )


def _rate_limited(curves: Curves) -> Chart:
    total = round(sum(bucket.rate_limited for bucket in curves.buckets))
    title = "429s per second"
    if not total:
        return _few(title, "No request was refused with 429.")
    rates = curves.rates(bucket.rate_limited for bucket in curves.buckets)
    words = f"{units.plural(total, 'request')} refused with 429"
    return Chart(title, words, "/s", [Series("429s", rates, "c2", is_filled=True)], value_axis(max(rates)))


def _limits(curves: Curves, servers: Sequence[str]) -> list[Chart]:
    """One chart for each server that shows limits."""
    keys = sorted({key for bucket in curves.buckets for key in bucket.fills})
    title = "Left of the server's limits"
    if not keys:
        return [_few(title, "No server has shown its limits in its headers.")]
    titles = [f"Left of the limits of {server}" for server in servers]
    if len(servers) == 1:
        titles = [title]
    charts, undrawn = [], 0
    room = _MOST_LIMITS
    for number in sorted({key.server for key in keys}):
        own = [key for key in keys if key.server == number]
        if len(own) > room:
            undrawn += 1
            continue
        room -= len(own)
        charts.append(_limits_of_one(titles[number], own, curves))
    if undrawn:
        words = f"Those of {units.plural(undrawn, 'more server')} are not drawn."
        charts.append(_few(title, words))
    return charts


def _limits_of_one(name: str, keys: Sequence[LimitKey], curves: Curves) -> Chart:
    series = [
        Series(key.label, [_percent(bucket.fills.get(key)) for bucket in curves.buckets], color)
        for key, color in zip(keys, itertools.cycle(_COLORS), strict=False)
    ]
    return Chart(name, _lowest_words(series), "%", series, percent_axis())


def _lowest_words(series: Sequence[Series]) -> str:
    lows = []
    for each in series:
        lowest = min(value for value in each.values if value is not None)
        lows.append(f"{each.name} {units.percent(lowest / 100)}")
    return f"lowest: {', '.join(lows)}"


def _percent(fill: float | None) -> float | None:
    if fill is None:
        return None
    return 100 * min(max(fill, 0.0), 1.0)  # servers may show more than the limit


def _few(title: str, words: str) -> Chart:
    return Chart(title, words, "", (), value_axis(1), is_few=True)
