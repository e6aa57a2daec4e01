"""A trial is a set of commands that take turns; a row is a figure of each of them.

In: a trial. Out: its rows. What is tried is declared in `trials`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from tests.bench.measure import Command, Place, Run, count_instructions, run

ENOUGH = 30.0
"""Seconds. What took so long in all has no further turn: the long runs vary least."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a run, and the row that shows it."""

    key: str
    what: str
    unit: str
    digits: int
    of: Callable[[Run], float]
    floor: str = ""
    """The peer that does the least that can be done: the others are shown as multiples of it too."""
    is_short: bool = False
    """Whether the README shows it."""


class Counted(NamedTuple):
    """Instructions of an event: of the long run less those of the short one; of a whole run without one."""

    command: list[str]
    shorter: list[str] | None = None
    events: int = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """Commands that take turns, A B C A B C …, and what is read off their runs."""

    commands: Mapping[str, Command]
    figures: tuple[Figure, ...]
    runs: int
    place: Place
    take: Callable[[Command, Place], Run] = run
    warm_up: Mapping[str, Command] = field(default_factory=dict)
    counted: Mapping[str, Counted] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of each peer, run by run, oastream's first; of some the instructions too."""

    figure: Figure
    figures: Mapping[str, list[float]]
    instructions: Mapping[str, float] = field(default_factory=dict)

    def medians(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.figures.items()}


def rows_of(trial: Trial, counts: bool) -> Iterator[Row]:
    """Run a trial's commands in turn. `counts` says whether instructions can be counted."""
    for command in trial.warm_up.values():
        trial.take(command, trial.place)
    runs = _take_turns(trial)
    instructions = _count(trial) if counts else {}
    for at, figure in enumerate(trial.figures):
        figures = {name: [figure.of(one) for one in found] for name, found in runs.items()}
        shown = {name: values for name, values in figures.items() if any(values)}
        yield Row(figure, shown, instructions if at == 0 else {})


def _take_turns(trial: Trial) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in trial.commands}
    for _ in range(trial.runs):
        for name, command in trial.commands.items():
            if sum(one.wall for one in runs[name]) < ENOUGH:
                runs[name].append(trial.take(command, trial.place))
    return runs


def _count(trial: Trial) -> dict[str, float]:
    """Counting is not disturbed by what else runs: all cores take part."""
    commands = {tuple(words) for each in trial.counted.values() for words in (each.command, each.shorter) if words}
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        counts = threads.map(lambda words: count_instructions(list(words), trial.place), commands)
        found = dict(zip(commands, counts, strict=True))
    return {
        name: (found[tuple(each.command)] - (found[tuple(each.shorter)] if each.shorter else 0)) / each.events
        for name, each in trial.counted.items()
    }
