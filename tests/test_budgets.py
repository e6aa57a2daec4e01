"""What a run costs is a promise: counted in modules, bytecodes and instructions, which no load of the machine changes.

A budget that is exceeded names what grew since `python -m tests.budgets --write`.
"""

from __future__ import annotations

import functools

import pytest

from tests.bench.measure import why_uncounted
from tests.budgets.measure import (
    ANSWER,
    BYTECODES,
    HELP,
    HTTPS,
    INSTRUCTIONS,
    MODULES,
    instructions_of_pass,
)
from tests.budgets.record import REMEDY, is_of_this_version, name_what_grew, new_modules, own, recorded

SLACK, SLACK_PER_EVENT = 1.03, 5
"""What may differ without a cause: the versions of libraries, and where things are installed."""
INSTRUCTIONS_OF_PASS = 38_500_000
"""What `python -c pass` takes where the budgets were measured; elsewhere they are in proportion."""
MOST_INSTRUCTIONS = {
    HELP: 173_000_000,
    ANSWER: 176_000_000,
    HTTPS: 224_000_000,
    "responses, text, alone": 79_500,
    "responses, text, in a burst": 13_500,
    "responses, ndjson, alone": 80_500,
    "chat, text, alone": 95_500,
    "chat, ndjson, in a burst": 55_500,
}
needs_valgrind = pytest.mark.skipif(why_uncounted() is not None, reason=str(why_uncounted()))
needs_the_recorded_version = pytest.mark.skipif(
    not is_of_this_version(), reason=f"bytecodes were recorded with Python {recorded()['python']}"
)
unit = functools.cache(instructions_of_pass)


@pytest.mark.parametrize("name", MODULES)
def test_a_run_loads_no_module_that_was_not_recorded(name: str) -> None:
    more = new_modules(name, MODULES[name]())
    assert not more, f"{name} loads {', '.join(more)}; {REMEDY}"


@needs_the_recorded_version
@pytest.mark.parametrize("name", BYTECODES)
def test_the_modules_of_a_run_execute_no_more_than_was_recorded(name: str) -> None:
    found = own(BYTECODES[name]())
    budget = sum(own(recorded()["bytecodes"][name]).values()) * SLACK + SLACK_PER_EVENT
    total = sum(found.values())
    assert total <= budget, (
        f"{name}: {total:,.0f} bytecodes, over {budget:,.0f}; {name_what_grew(name, found)}; {REMEDY}"
    )


@needs_valgrind
@pytest.mark.parametrize("name", MOST_INSTRUCTIONS)
def test_a_run_takes_no_more_instructions_than_its_budget(name: str) -> None:
    budget = MOST_INSTRUCTIONS[name] * unit() / INSTRUCTIONS_OF_PASS
    count = INSTRUCTIONS[name]()
    assert count <= budget, f"{name}: {count:,.0f}, over {budget:,.0f}; {name_what_grew(name, BYTECODES[name]())}"
