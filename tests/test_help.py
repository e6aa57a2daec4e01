"""--help, --help-all and --version: short enough to read, complete where it must be, and true."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from oastream import __version__
from oastream.cli import options_table
from oastream.cli.help import GroupedCommand
from tests.support.program import oastream, program_path, run

EXAMPLES = [line.strip() for line in options_table.EXAMPLES.splitlines()[1:]]


def listed(page: str) -> list[str]:
    """The options that a page lists, each by its last name."""
    return [line.split("  ")[0].split(", ")[-1].split(" ")[0] for line in re.findall(r"^  (-.*)$", page, re.MULTILINE)]


def test_help_shows_the_ten_common_options() -> None:
    names = [max(option.opts, key=option.opts.index) for option in options_table.build_command().common_options()]
    assert len(names) == 10
    assert listed(oastream("--help").text) == names


def test_help_fits_a_page_of_80_columns() -> None:
    lines = oastream("-h", env={"COLUMNS": "80"}).text.splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 80


def test_help_all_fits_80_columns() -> None:
    assert max(map(len, oastream("--help-all", env={"COLUMNS": "80"}).text.splitlines())) <= 80


def test_help_all_lists_every_option_once() -> None:
    names = listed(oastream("--help-all").text)
    assert sorted(names) == sorted(option.opts[-1] for group in options_table.OPTIONS.values() for option in group)


def test_help_speaks_of_statuses_and_of_more_help() -> None:
    page = oastream("--help").text
    assert "exit status" in page
    assert "--help-all" in page


def test_version_is_the_programs_name_and_number() -> None:
    assert oastream("--version").text == f"oastream {__version__}\n"


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_of_help_runs(line: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one\n")
    env = {"PATH": program_path(tmp_path), "OPENAI_BASE_URL": "mock:", "HOME": str(tmp_path)}
    result = run(["sh", "-c", line], cwd=tmp_path, env=env)
    assert result.status == 0, result


def test_a_second_program_offers_groups_of_options_under_its_own_defaults() -> None:
    groups = {
        "Request": options_table.leave_out(options_table.REQUEST, "history", "no_wait"),
        "Time": options_table.with_defaults(options_table.TIME, retry=5),
    }
    command = GroupedCommand("other", "Do the same otherwise.", click.Argument(["prompt"]), groups)
    page = command.full_help_page(click.Context(command, info_name="other"))
    assert {"--model", "--retry-delay"} < set(listed(page))
    assert not {"--history", "--no-wait"} & set(listed(page))
    assert "[default: 5]" in page
    assert "[default: 2]" in oastream("--help-all").text
