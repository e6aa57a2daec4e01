"""How a batch went → the verdict on it, and the line of --stats.

In: the counts of the plan, the figures of the run. Out: a `Verdict` with the words for stderr; fields for people and
for programs. Judges no single item, and prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple

from oastream.batch.plan import Plan, Standing
from oastream.batch.recorder import Figures
from oastream.exits import Failure, Outcome, Verdict, exit_status

GO_ON_HINT = "the same command goes on with what is missing"
LOST_HINT = "with -o FILE the same command would go on with what is missing"
UNREAD = "the input was not read to its end: there may be more items"


class Sent(NamedTuple):
    """What sending came to. `held` are the seconds in which limits kept requests back.

    `aborted` is why the run was broken off, `signal` the first that came, `failure` what else ended it.
    """

    figures: Figures
    held: float = 0.0
    aborted: Verdict | None = None
    signal: int | None = None
    failure: Failure | None = None


class Tally(NamedTuple):
    """All items of the input, by what became of them in this run and before."""

    answers: Counter[Outcome]
    errors: Counter[Outcome]
    bad_lines: int
    not_asked: int
    """Items that were not sent, or whose request was given up: they have not failed."""

    @property
    def total(self) -> int:
        return self.answers.total() + self.errors.total() + self.bad_lines + self.not_asked

    def plain(self, accepted: Collection[Outcome]) -> int:
        """How many have an answer with outcome 0, or one named with --ok."""
        return sum(count for outcome, count in self.answers.items() if exit_status(Verdict(outcome), accepted) == 0)

    def describe(self) -> str:
        """Counts by outcome, the most frequent first."""
        counts = [f"{count} {outcome.value}" for outcome, count in (self.answers + self.errors).most_common()]
        if self.bad_lines:
            counts.append(f"{self.bad_lines} bad {'line' if self.bad_lines == 1 else 'lines'}")
        if self.not_asked:
            counts.append(f"{self.not_asked} not asked")
        return ", ".join(counts)


def tally(plan: Plan, figures: Figures, bad_lines: int) -> Tally:
    """What became of all items that the input has brought."""
    not_asked = plan.counts[Standing.TO_ASK] - figures.done
    return Tally(plan.outcomes + figures.outcomes, plan.failed + figures.errors, bad_lines, max(0, not_asked))


def judge(counts: Tally, accepted: Collection[Outcome], errors_path: str | None) -> Verdict:
    """0 where every item has a plain answer, 51 where none has any, else 50."""
    plain = counts.plain(accepted)
    if plain == counts.total:
        return Verdict(Outcome.STOP)
    outcome = Outcome.SOME_FAILED if counts.answers.total() else Outcome.ABORTED
    return Verdict(outcome, _share(plain, counts), counts.describe(), _place(counts, errors_path))


def judge_aborted(why: Verdict, counts: Tally, accepted: Collection[Outcome], errors_path: str | None) -> Verdict:
    """51: why the run was broken off, and how far it had come."""
    so_far = f"{_share(counts.plain(accepted), counts)}: {counts.describe()}"
    place = _place(counts, errors_path)
    lines = (so_far, place) if place else (so_far,)
    return why._replace(outcome=Outcome.ABORTED, more_lines=(*why.more_lines, *lines))


def _share(plain: int, counts: Tally) -> str:
    items = "item has" if counts.total == 1 else "items have"
    return f"{plain} of {counts.total} {items} a plain answer"


def _place(counts: Tally, errors_path: str | None) -> str:
    if errors_path in (None, "-") or not counts.errors.total() + counts.bad_lines:
        return ""
    return f"the errors are in {errors_path}"


def stats_fields(plan: Plan, figures: Figures, seconds: float, held: float) -> dict[str, Any]:
    """What --stats=json tells of this run."""
    return {
        "items": plan.counts[Standing.TO_ASK],
        "answers": {outcome.value: count for outcome, count in figures.outcomes.most_common()},
        "attempts": figures.attempts,
        "rate_limited": figures.rate_limited,
        "tokens": round(figures.tokens),
        "tokens_per_s": round(figures.tokens / max(seconds, 1e-3), 1),
        "first_event_ms": _quantiles(figures.first_event_ms),
        "elapsed_ms": _quantiles(figures.elapsed_ms),
        "held_s": round(held, 3),
    }


def stats_line(fields: dict[str, Any]) -> str:
    """The same for people."""
    answers = ", ".join(f"{count} {outcome}" for outcome, count in fields["answers"].items()) or "no answers"
    return (
        f"{fields['items']} items: {answers}; {fields['attempts']} attempts, {fields['rate_limited']} times 429, "
        f"{fields['tokens']} tokens, {fields['tokens_per_s']:g} tokens/s; "
        f"first event {_describe_quantiles(fields['first_event_ms'])}, "
        f"total {_describe_quantiles(fields['elapsed_ms'])}; held back by limits {fields['held_s']:.1f} s"
    )


def _quantiles(times: Any) -> dict[str, int | None]:
    p50, p99 = Figures.quantile(times, 0.5), Figures.quantile(times, 0.99)
    return {"p50": None if p50 is None else round(p50), "p99": None if p99 is None else round(p99)}


def _describe_quantiles(quantiles: dict[str, int | None]) -> str:
    if quantiles["p50"] is None:
        return "-"
    return f"p50 {quantiles['p50']} ms, p99 {quantiles['p99']} ms"
