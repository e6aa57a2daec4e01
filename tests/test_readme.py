"""What the README says is true: its table is the code's, and its terminal sessions print what they show."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readme import README, sessions, with_statuses

TEXT = README.read_text()
ROOT = README.parent


def test_the_table_of_statuses_is_the_codes() -> None:
    assert with_statuses(TEXT) == TEXT, "run: python -m tests.docs"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("session", list(sessions(TEXT)), ids=lambda session: session[0][0][:40])
def test_a_terminal_session_prints_what_it_shows(session: list[tuple[str, str]], tmp_path: Path) -> None:
    program = tmp_path / "bin" / "oastream"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m oastream "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    for command, shown in session:
        done = subprocess.run(
            ["sh", "-c", command],
            check=False,
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        assert _as_on_a_terminal(done.stdout.decode()) == _as_on_a_terminal(shown), command


def _as_on_a_terminal(text: str) -> list[str]:
    """Its lines. A terminal puts a message on a line of its own; a file does not, after text that has no newline."""
    return text.replace("oastream: ", "\noastream: ").replace("\n\n", "\n").strip("\n").splitlines()
