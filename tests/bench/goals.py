"""What the figures must reach, and what they are to reach next: ratios of one run, read off its rows.

In: the rows. Out: a line for each goal, with what was measured and whether it holds. What was not measured says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from tests.bench.peers import APIS, CURL, FORMATS, JQ_R, LLM, PYTHON, SDK, SED_JQ, US, ours, with_api
from tests.bench.rows import Row
from tests.bench.trials import Plan

Measured = Mapping[str, Row]
"""Rows by the keys of their figures."""


class Goal(NamedTuple):
    """`must` holds in every version; `aim` is where to go. Both are limits of the same figure."""

    key: str
    """Of the row whose title it has."""
    what: str
    of: Callable[[Measured], float]
    must: float | None = None
    aim: float | None = None
    unit: str = "×"
    more_is_better: bool = False

    def holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.more_is_better else value <= limit


def all_goals(plan: Plan) -> list[Goal]:
    """Memory is compared at the longest stream that the SDK reads; it is flat if longer streams take no more."""
    memory = f"memory-{plan.sdk_memory}"
    longest, shorter = (f"memory-{count}" for count in sorted(plan.memory, reverse=True)[:2])
    return [
        faster("start", SDK, 10),
        faster("start", LLM, 10),
        slower("start", PYTHON, aim=4.0),
        more_instructions("start", PYTHON, aim=4.7),
        faster("https-0", SDK, 10),
        slower("https-0", PYTHON, aim=5.0),
        more_instructions("https-0", PYTHON, aim=6.4),
        faster("https-1", SDK, 10),
        faster("first", SDK, 5, 12),
        faster("help", LLM, 5, 12),
        faster("tab", LLM, 5, 12),
        faster("steady", SDK, 2, 6),
        faster("steady-events", SDK, 2, 6),
        faster("burst", SDK, 10),
        faster("burst", SED_JQ, 10),
        faster("burst", JQ_R, 1),
        *(slower("burst", with_api(CURL, api), ours(api, form), 4.5) for api in APIS for form in FORMATS),
        *(instructions_of_event("burst", api, form) for api in APIS for form in FORMATS),
        *(slower("called", with_api(CURL, api), ours(api, "tools"), 4.5) for api in APIS),
        *(instructions_of_event("called", api, "tools") for api in APIS),
        slower(memory, SDK, must=0.4),
        *(flat(ours(APIS[0], form), longest, shorter) for form in ("text", "ndjson", "sse")),
        *(at_most("large", ours(api, form), 50, "MB", is_aim=True) for api in APIS for form in FORMATS),
        at_most("p99", US, 0.5, "ms"),
        Goal(
            "p99",
            f"longer than `{CURL}`",
            lambda rows: rows["p99"].medians()[US] - rows["p99"].medians()[CURL],
            aim=0.1,
            unit="ms",
        ),
        *(at_most("calls", ours(api, form), 2, "s") for api in APIS for form in ("tools", "ndjson")),
        *(at_most("body", ours(api, "text"), 2, "s") for api in APIS),
        at_most("page", US, 2, "s"),
    ]


def goal_lines(goals: Iterable[Goal], rows: Iterable[Row]) -> Iterator[str]:
    """A table in Markdown."""
    measured = {row.figure.key: row for row in rows}
    yield "| what | measured | must hold | next |"
    yield "|---|---|---|---|"
    for goal in goals:
        if goal.key in measured:
            title = measured[goal.key].figure.what
            yield f"| {title}: {goal.what} | {' | '.join(_cells(goal, measured))} |"


def missed(goals: Iterable[Goal], rows: Iterable[Row]) -> list[Goal]:
    """Those that must hold and do not."""
    measured = {row.figure.key: row for row in rows}
    return [goal for goal in goals if goal.must is not None and "✗" in _cells(goal, measured)[1]]


def _cells(goal: Goal, measured: Measured) -> tuple[str, str, str]:
    try:
        value = goal.of(measured)
    except KeyError:
        return "not measured", "", ""
    return f"{value:.3g} {goal.unit}", _limit(goal, value, goal.must), _limit(goal, value, goal.aim)


def _limit(goal: Goal, value: float, limit: float | None) -> str:
    if limit is None:
        return ""
    sign = "≥" if goal.more_is_better else "≤"
    return f"{sign} {limit:g} {'✓' if goal.holds(value, limit) else '✗'}"


# Kinds of goals --------------------------------------------------------------------------------------------------


def faster(key: str, peer: str, must: float | None = None, aim: float | None = None) -> Goal:
    """How many times oastream's the peer's figure is."""
    what = f"`{peer}` ÷ `{US}`"
    return Goal(key, what, lambda rows: ratio(rows[key].medians(), peer, US), must, aim, more_is_better=True)


def slower(key: str, peer: str, name: str = US, aim: float | None = None, must: float | None = None) -> Goal:
    """How many times the peer's figure oastream's is."""
    what = f"`{name}` ÷ `{peer}`"
    return Goal(key, what, lambda rows: ratio(rows[key].medians(), name, peer), must, aim)


def more_instructions(key: str, peer: str, aim: float) -> Goal:
    what = f"instructions, `{US}` ÷ `{peer}`"
    return Goal(key, what, lambda rows: ratio(rows[key].instructions, US, peer), aim=aim)


def instructions_of_event(key: str, api: str, form: str) -> Goal:
    aims = {ours("responses", "text"): 21.0}
    name = ours(api, form)
    aim = aims.get(name, 39.0 if api == "chat" else 28.0)
    what = f"instructions an event, `{name}`"
    return Goal(key, what, lambda rows: rows[key].instructions[name] / 1e3, aim=aim, unit="k")


def flat(name: str, longest: str, shorter: str) -> Goal:
    what = f"`{name}` ÷ the same of a shorter stream"
    return Goal(longest, what, lambda rows: rows[longest].medians()[name] / rows[shorter].medians()[name], 1.05)


def at_most(key: str, name: str, limit: float, unit: str, is_aim: bool = False) -> Goal:
    must, aim = (None, limit) if is_aim else (limit, None)
    return Goal(key, f"`{name}`", lambda rows: rows[key].medians()[name], must, aim, unit)


def ratio(figures: Mapping[str, float], above: str, below: str) -> float:
    return figures[above] / figures[below]
