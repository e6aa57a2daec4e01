"""The top of the page: how the run stands, in a word, a bar and six figures.

In: a `Snapshot`. Out: markup.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import NamedTuple

from oastream.batch.report import units
from oastream.batch.report.markup import Markup, join, tag
from oastream.batch.report.snapshot import Snapshot, clock
from oastream.batch.summary import GO_ON_HINT
from oastream.display import one_line
from oastream.exits import Outcome, Verdict, exit_status

_LONGEST_VERDICT = 1000
"""Characters."""
_HALF_A_DAY = 43200
"""Seconds after which the time of the beginning needs its date."""


class State(NamedTuple):
    """How the run stands, in a word; `mood` is a class of the style sheet."""

    word: str
    mood: str


def state_of(snapshot: Snapshot) -> State:
    verdict = snapshot.verdict
    if verdict is None:
        return State("Running", "")
    if verdict.signal is not None:
        return State(f"Stopped by {_signal_name(verdict.signal)}", "bad")
    words = {Outcome.STOP: "Complete", Outcome.SOME_FAILED: "Incomplete", Outcome.ABORTED: "Aborted"}
    mood = "bad" if exit_status(verdict) else "good"
    return State(words.get(verdict.outcome, "Failed"), mood)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def draw_overview(snapshot: Snapshot) -> Markup:
    state = state_of(snapshot)
    words = tag("p", tag("span", state.word, class_=f"state {state.mood}".rstrip()), *_verdict_words(snapshot))
    return tag("header", tag("h1", snapshot.name), words, _bar(snapshot), _tiles(snapshot))


def _verdict_words(snapshot: Snapshot) -> Iterator[str]:
    """What the last lines on stderr say as well."""
    verdict, counts = snapshot.verdict, snapshot.tally
    if verdict is None:
        yield f"as of {clock(snapshot.written)}{_time_left(snapshot)}"
        yield tag("b", id="stale")
        return
    if exit_status(verdict) == 0:
        yield "every item has a plain answer"
        return
    if verdict.signal is not None:
        yield counts.describe()
        if counts.not_asked:
            yield f"; {GO_ON_HINT}"
        return
    lines = [verdict.message, *verdict.more_lines, verdict.hint]
    words = one_line("; ".join(line for line in lines if line), _LONGEST_VERDICT)
    yield f"exit status {exit_status(verdict)}: {snapshot.mask(words)}"


def _time_left(snapshot: Snapshot) -> str:
    """By how fast it has been since the first request."""
    done = snapshot.stats["items"] - snapshot.tally.not_asked
    if done <= 0 or not snapshot.curves.buckets:
        return ""
    seconds = snapshot.curves.seconds / done * snapshot.tally.not_asked
    return f", about {units.seconds(round(seconds))} left"


def _bar(snapshot: Snapshot) -> Markup:
    """All items: answered in this run and before, failed, and what has no end yet."""
    counts = snapshot.tally
    total = max(1, counts.total)
    answered = counts.answers.total()
    before = sum(count for outcome, count in snapshot.before.items() if Verdict(outcome).has_answer)
    failed = counts.errors.total() + counts.bad_lines
    parts = [("before", before), ("now", answered - before), ("failed", failed)]
    spans = [tag("span", class_=kind, style=f"width:{100 * count / total:.4g}%") for kind, count in parts if count]
    words = [f"{answered:,} of {units.plural(counts.total, 'item')} answered"]
    if before:
        words.append(f"{before:,} of them before this run")
    if failed:
        words.append(f"{failed:,} failed")
    if counts.not_asked:
        state = "not asked" if snapshot.verdict else "to go"
        words.append(f"{counts.not_asked:,} {state}")
    sentence = ", ".join(words)
    return join([tag("div", *spans, class_="bar", role="img", aria_label=sentence), tag("p", sentence, class_="soft")])


def _tiles(snapshot: Snapshot) -> Markup:
    stats = snapshot.stats
    elapsed = snapshot.written - snapshot.began
    first, whole = stats["first_event_ms"], stats["elapsed_ms"]
    answers = sum(stats["answers"].values())
    speed = units.with_unit(answers / max(elapsed, 1e-3), "answers/s")
    began = clock(snapshot.began, with_date=elapsed > _HALF_A_DAY)
    tiles = [
        _tile("Answers in this run", _figure("answers", answers), speed),
        _tile("Time", units.seconds(elapsed), f"since {began}"),
        _tile("Tokens", _figure("tokens", stats["tokens"]), _rate("tokens_per_s", stats["tokens_per_s"], "tokens/s")),
        _tile("First event, p50", _time("first_event_ms.p50", first["p50"]), _p99("first_event_ms.p99", first)),
        _tile("Whole answer, p50", _time("elapsed_ms.p50", whole["p50"]), _p99("elapsed_ms.p99", whole)),
        _tile("Requests", _figure("attempts", stats["attempts"]), _limits(snapshot)),
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
    if value is None:
        return tag("span", units.NONE)
    return tag("data", units.milliseconds(value), value=value, id=f"stats.{name}")


def _p99(name: str, quantiles: dict[str, int | None]) -> Markup:
    return join(["p99 ", _time(name, quantiles["p99"])])


def _limits(snapshot: Snapshot) -> Markup:
    stats = snapshot.stats
    refused = tag("data", units.number(stats["rate_limited"]), value=stats["rate_limited"], id="stats.rate_limited")
    held = tag("data", units.seconds(stats["held_s"]), value=stats["held_s"], id="stats.held_s")
    parts = [refused, " × 429, held back for ", held]
    if len(snapshot.servers) > 1:
        parts.append(", all servers together")
    return join(parts)
