"""Every file that is made, by its path in the repository."""

from __future__ import annotations

from pathlib import Path

from tests.docs import bash, fish, zsh
from tests.docs.declared import PROGRAMS
from tests.docs.manpage import page
from tests.docs.plain import plain_table
from tests.readme import README, with_statuses

ROOT = Path(__file__).parents[2]


def generated() -> dict[str, str]:
    """Path → text."""
    texts = {"README.md": with_statuses(README.read_text()), "oastream/cli/plain_table.py": plain_table()}
    for name, declare in PROGRAMS.items():
        program = declare()
        texts[f"man/{name}.1"] = page((ROOT / f"tests/docs/{name}.1.in").read_text(), program)
        texts[f"completions/{name}.bash"] = bash.script(program)
        texts[f"completions/_{name}"] = zsh.script(program)
        texts[f"completions/{name}.fish"] = fish.script(program)
    return texts
