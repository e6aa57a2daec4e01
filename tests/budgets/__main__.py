"""Prints what runs cost; with --write, records the bytecodes of each module, and the modules of each run."""

from __future__ import annotations

import argparse
import json

from tests.bench.measure import why_uncounted
from tests.budgets.measure import (
    BYTECODES,
    INSTRUCTIONS,
    MODULES,
    VERSION,
    instructions_of_pass,
)
from tests.budgets.record import RECORD


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.budgets", description="Count what runs cost.")
    parser.add_argument("--write", action="store_true", help=f"put it into {RECORD.name}")
    given = parser.parse_args()
    if why_uncounted() is None:
        print_instructions()
    bytecodes = {name: count() for name, count in BYTECODES.items()}
    modules = {name: sorted(count()) for name, count in MODULES.items()}
    for name, counts in bytecodes.items():
        print(f"{name}: {sum(counts.values()):,.0f} bytecodes")
    for name, names in modules.items():
        print(f"{name}: {len(names)} modules")
    if given.write:
        record = {"python": VERSION, "bytecodes": bytecodes, "modules": modules}
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def print_instructions() -> None:
    unit = instructions_of_pass()
    print(f"python -c pass: {unit:,} instructions")
    for name, count in INSTRUCTIONS.items():
        instructions = count()
        print(f"{name}: {instructions:,.0f} instructions, {instructions / unit:.4f} × python -c pass")


if __name__ == "__main__":
    main()
