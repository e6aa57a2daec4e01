"""The man pages: made from the code, well formed, readable at 80 columns, and their examples work."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from oastream.apis.api import Api
from oastream.exits import TABLE
from oastream.mock.script import plan_from_options
from oastream.mock.server import serve
from tests.docs import COMMAND
from tests.docs.declared import PROGRAMS
from tests.docs.generated import ROOT, generated
from tests.docs.manpage import examples
from tests.support.program import oastream, program_path, run

PAGES = ["oastream", "oastream-batch", "oastream-mock"]
SECTIONS = {"STDIN", "OUTPUT FORMATS", "EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "SECURITY", "EXAMPLES", "BUGS"}
COLUMNS = 80


def template(name: str) -> str:
    return (ROOT / f"tests/docs/{name}.1.in").read_text()


def rendered(name: str) -> str:
    """The page as man-db shows it at 80 columns, of which it leaves two."""
    command = ["groff", "-t", "-man", "-ww", "-Tutf8", f"-rLL={COLUMNS - 2}n", "-P-cbou", f"man/{name}.1"]
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    result = run(command, cwd=ROOT, timeout=60)
    assert (result.status, result.err) == (0, ""), f"groff warns: {result.err}"
    return result.text


@pytest.mark.parametrize(("path", "text"), generated().items())
def test_a_made_file_is_what_the_code_says(path: str, text: str) -> None:
    assert (ROOT / path).read_text() == text, f"run: {COMMAND}"


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_no_fault(name: str) -> None:
    command = ["mandoc", "-T", "lint", "-W", "warning", f"man/{name}.1"]
    result = run(command, cwd=ROOT, timeout=60)
    assert (result.text, result.status) == ("", 0)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_80_columns_and_breaks_no_word(name: str) -> None:
    lines = rendered(name).splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == []
    assert [line for line in lines if line.endswith("\u2010")] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_sections_that_readers_look_for(name: str) -> None:
    headings = {line for line in rendered(name).splitlines() if re.fullmatch(r"[A-Z][A-Z ]+", line)}
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"} | SECTIONS <= headings


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The base URL of a server that outlives a run: one example goes on from the response of another."""
    running = serve(plan_from_options())
    yield running.url
    running.close()


@pytest.mark.parametrize(("name", "script"), [(name, text) for name in PAGES for text in examples(template(name))])
def test_an_example_runs(name: str, script: str, server: str, tmp_path: Path) -> None:
    tools = {tool for tool in ("jq", "xargs", "parallel") if re.search(rf"\b{tool}\b", script)}
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    (tmp_path / "diagram.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    env = {"PATH": program_path(tmp_path), "HOME": str(tmp_path), "OPENAI_BASE_URL": server}
    result = run(["sh", "-eu", "-c", script], cwd=tmp_path, env=env, timeout=60)
    assert result.status == 0, result.err
    written = "".join(file.read_text() for file in tmp_path.glob("*.txt"))
    assert result.text + written, "the example says nothing"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_makefile_makes_a_summary(tmp_path: Path) -> None:
    rule = re.search(r"^%\.summary.*\n", template("oastream"), re.MULTILINE)
    assert rule
    assert "\t" not in rule[0], "a terminal shows a tab as spaces: what is pasted from there must work"
    (tmp_path / "Makefile").write_text(rule[0])
    (tmp_path / "a.txt").write_text("a text\n")
    env = {"PATH": program_path(tmp_path), "OPENAI_BASE_URL": "mock:"}
    assert run(["make", "a.summary"], cwd=tmp_path, env=env, timeout=60).status == 0
    assert (tmp_path / "a.summary").read_text() == "Summarise this text\n\na text\n"


def test_the_systemd_unit_restarts_after_what_may_pass() -> None:
    line = re.search(r"^RestartForceExitStatus=(.*)$", template("oastream"), re.MULTILINE)
    assert line
    assert line[1].split() == [str(status) for status, _ in TABLE.values() if 30 <= status < 50]


def _occurs(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


SHOWN = [
    *("--attach", "--background", "--body", "--history", "--list-models", "--no-wait", "--previous-response-id"),
    *("--reasoning", "--record", "--replay", "--resume", "--schema", "--set", "--stats", "--tool-output"),
]


@pytest.mark.parametrize("name", SHOWN)
def test_an_option_that_is_best_shown_has_an_example(name: str) -> None:
    names = next(option.names for option in PROGRAMS["oastream"]().options if name in option.names)
    assert any(_occurs(each, text) for each in names for text in examples(template("oastream")))


def test_the_ndjson_example_shows_the_events_of_a_run() -> None:
    shown = re.findall(r'^\{"type":"([a-z_.:]+)"', template("oastream"), re.MULTILINE)
    run = [record["type"] for record in oastream("-n", "--base-url", "mock:", "--format", "ndjson", "Hi").records]
    assert shown[: len(run)] == run


def test_the_page_names_the_default_model() -> None:
    assert f"it is `{Api.default_model}`" in template("oastream")
