"""README.md → its examples, and the table of statuses that is made from the code.

`python -m tests.docs` writes the table; `tests/test_readme.py` compares it and runs the examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from oastream.exits import TABLE

README = Path(__file__).parents[1] / "README.md"
_TABLE = re.compile(r"(<!-- statuses:[^>]*-->\n).*?(<!-- /statuses -->)", re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


def with_statuses(text: str) -> str:
    """The README with its table of statuses as `oastream.exits` has it."""
    rows = "\n".join(f"| {number} | {outcome.value} | {meaning} |" for outcome, (number, meaning) in TABLE.items())
    table = f"| status | name | when |\n|---|---|---|\n{rows}\n"
    return _TABLE.sub(lambda found: found[1] + table + found[2], text)


def sessions(text: str) -> Iterator[list[tuple[str, str]]]:
    """Each terminal session: its commands, each with what it prints."""
    for block in _CONSOLE.findall(text):
        commands = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        yield [(command, output) for command, _, output in (each.partition("\n") for each in commands)]
