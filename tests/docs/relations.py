"""What an option needs beside it, and what it excludes: the programs' own tables, read from both sides.

In: the tables that the command lines are checked by. Out: for each option the words that a page lists after "only with"
and "not with". Knows no sentence; a pair that no table holds is named here, and a test tries each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import click

from oastream.batch import cli as batch_cli
from oastream.cli import clashes
from oastream.mock import script as mock_script
from oastream.output.formats import FORMATS


class Relations(NamedTuple):
    """Words as they are typed. `only_beside` are all the options that one may stand beside, where they are few."""

    only_with: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()
    only_beside: tuple[str, ...] = ()


NO_RELATIONS = Relations()

Names = dict[str, list[str]]

CONFIGURATION_PAIR = ("profile", "no_config")
"""Checked where the file is read, before there are values to look up in a table."""


def relations_of_oastream() -> Mapping[str, Relations]:
    """By the name of the option's parameter."""
    needs = {name: [_typed(other, value)] for name, (other, value) in clashes.NEEDS.items()}
    excluded: Names = defaultdict(list)
    for mode, names in clashes.LEAVES_OUT.items():
        for name in names:
            _exclude(excluded, mode, name)
    for first, second in (*clashes.EXCLUSIVE, CONFIGURATION_PAIR):
        _exclude(excluded, first, second)
    excluded["list_models"] += [f"--format {name}" for name in FORMATS if name not in clashes.LISTED_AS]
    return _as_relations(needs, excluded)


def relations_of_batch() -> Mapping[str, Relations]:
    """By the name of the option's parameter."""
    declared = {option.name: option for group in batch_cli.option_groups().values() for option in group}
    needs = {name: [needed.partition(":")[0]] for name, (needed, _, _) in batch_cli.NEEDS.items()}
    needs |= {"merge_input": ["--merge"], "on": ["--shards"], "on_args": ["--shards"], "shards": ["--on", "--output"]}
    excluded: Names = defaultdict(list)
    for name in batch_cli.IDLE_WITH_VIA:
        _exclude(excluded, "via", name, declared)
    _exclude(excluded, "via", "provider", declared)
    for name in batch_cli.NOT_IN_LAUNCH:
        _exclude(excluded, "shards", name, declared)
    for name, option in declared.items():
        if option.expose_value and name not in batch_cli.BESIDE_MERGE:
            excluded[name].append("--merge")
    _exclude(excluded, *CONFIGURATION_PAIR, declared)
    beside = [option.opts[-1] for name, option in declared.items() if name in batch_cli.BESIDE_MERGE - {"merge"}]
    return {**_as_relations(needs, excluded), "merge": Relations(only_beside=tuple(beside))}


def relations_of_mock() -> Mapping[str, Relations]:
    """By the name of the option's parameter. A script may hold what an option needs."""
    return {
        name: Relations((" or ".join(clashes.in_cli_form(other) for other in others),))
        for name, others in mock_script.NEEDS.items()
    }


RELATIONS: dict[str, Callable[[], Mapping[str, Relations]]] = {
    "oastream": relations_of_oastream,
    "oastream-batch": relations_of_batch,
    "oastream-mock": relations_of_mock,
}


def _exclude(excluded: Names, first: str, second: str, declared: Mapping[str, click.Option] | None = None) -> None:
    excluded[first].append(_typed(second, declared=declared))
    excluded[second].append(_typed(first, declared=declared))


def _typed(name: str, value: str | None = None, declared: Mapping[str, click.Option] | None = None) -> str:
    if name == "prompt":
        return "PROMPT"
    long = clashes.in_cli_form(name)
    if declared is not None:
        long = declared[name].opts[-1]
    return f"{long} {value}" if value else long


def _as_relations(needs: Mapping[str, Iterable[str]], excluded: Mapping[str, Iterable[str]]) -> dict[str, Relations]:
    names = {*needs, *excluded}
    return {name: Relations(tuple(needs.get(name, ())), tuple(dict.fromkeys(excluded.get(name, ())))) for name in names}
