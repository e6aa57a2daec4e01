"""Every file that is made, by its path in the repository."""

from __future__ import annotations

from pathlib import Path

from tests.docs import bash, fish, zsh
from tests.docs.declared import PROGRAMS
from tests.docs.manpage import page

ROOT = Path(__file__).parents[2]


def generated() -> dict[str, str]:
    """Path → text."""
    texts = {}
    for name, declare in PROGRAMS.items():
        program = declare()
        texts[f"man/{name}.1"] = page((ROOT / f"man/{name}.1.in").read_text(), program)
        texts[f"completions/{name}.bash"] = bash.script(program)
        texts[f"completions/_{name}"] = zsh.script(program)
        texts[f"completions/{name}.fish"] = fish.script(program)
    return texts
