"""What a run costs is a promise: counted in modules, bytecodes and instructions, which no load of the machine changes.

A budget that is exceeded names what grew since `python -m tests.budgets --write`.
"""

from __future__ import annotations

import functools

import pytest

from tests.budgets.measure import (
    ANSWER,
    BYTECODES,
    FORMATS,
    HELP,
    INSTRUCTIONS,
    MODULES,
    has_valgrind,
    instructions_of_event,
    instructions_of_pass,
)
from tests.budgets.record import REMEDY, is_of_this_version, name_what_grew, new_modules, own, recorded

SLACK = 1.03
"""What may differ without a cause: how the bytes of an answer arrive, the versions of libraries."""
TIMES_PASS = {HELP: 4.5, ANSWER: 4.6}
"""The most instructions of a start-up, as a multiple of `python -c pass`."""
PER_EVENT = {"responses, text": 28_000, "responses, ndjson": 32_000, "chat, text": 40_000, "chat, ndjson": 48_000}
"""The most instructions of an event, where `python -c pass` takes `PASS` of them; elsewhere in proportion."""
PASS = 38_500_000

needs_valgrind = pytest.mark.skipif(not has_valgrind(), reason="valgrind is not installed")
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
    budget = sum(own(recorded()["bytecodes"][name]).values()) * SLACK
    total = sum(found.values())
    assert total <= budget, (
        f"{name}: {total:,.0f} bytecodes, over {budget:,.0f}; {name_what_grew(name, found)}; {REMEDY}"
    )


@needs_valgrind
@pytest.mark.parametrize("name", TIMES_PASS)
def test_a_start_up_takes_no_more_instructions_than_its_budget(name: str) -> None:
    times = INSTRUCTIONS[name]() / unit()
    assert times <= TIMES_PASS[name], f"{name}: {times:.2f} × python -c pass; {name_what_grew(name, BYTECODES[name]())}"


@needs_valgrind
@pytest.mark.parametrize("name", FORMATS)
def test_an_event_takes_no_more_instructions_than_its_budget(name: str) -> None:
    budget = PER_EVENT[name] * unit() / PASS
    count = instructions_of_event(name)
    assert count <= budget, f"{name}: {count:,.0f}, over {budget:,.0f}; {name_what_grew(name, BYTECODES[name]())}"
