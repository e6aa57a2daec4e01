"""What runs cost when it was last recorded, and what has grown since.

In: what was found. Out: the words that name what grew. Recorded is one minor version of Python; what the modules of the
standard library cost is that version's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.budgets.measure import VERSION, Bytecodes

RECORD = Path(__file__).with_name("record.json")
REMEDY = "if it is worth that: python -m tests.budgets --write"


def recorded() -> Any:
    return json.loads(RECORD.read_text())


def is_of_this_version() -> bool:
    return bool(recorded()["python"] == VERSION)


def own(counts: Bytecodes) -> dict[str, float]:
    """The modules of the project: what others cost depends on where they are installed."""
    return {module: count for module, count in counts.items() if module.partition(".")[0] == "oastream"}


def name_what_grew(name: str, found: Bytecodes) -> str:
    """The modules that execute more than when it was recorded, those first that grew most."""
    before: Bytecodes = recorded()["bytecodes"][name]
    more = {module: count - before.get(module, 0) for module, count in found.items()}
    grown = sorted((module for module in more if more[module] > 0), key=lambda module: -more[module])
    if not grown:
        return "no module executes more than was recorded"
    changes = (f"{module} {before.get(module, 0):,} → {found[module]:,}" for module in grown[:8])
    return f"bytecodes: {', '.join(changes)}"


def new_modules(name: str, found: Collection[str]) -> list[str]:
    """The modules that were not loaded when it was recorded. Which ones the standard library loads is its version's."""
    more = set(found) - set(recorded()["modules"][name])
    if not is_of_this_version():
        more = {module for module in more if module.partition(".")[0] not in sys.stdlib_module_names}
    return sorted(more)
