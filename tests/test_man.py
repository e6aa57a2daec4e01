"""The man pages: made from the code, well formed, readable at 80 columns, and their examples work."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from oastream.apis.api import Api
from oastream.batch import cli as batch_cli
from oastream.exits import TABLE, Failure, Outcome
from oastream.mock.script import plan_from_options
from oastream.mock.server import serve
from tests.docs import COMMAND
from tests.docs.declared import PROGRAMS, Option, Takes
from tests.docs.generated import ROOT, generated
from tests.docs.manpage import examples, option_examples
from tests.support import forked
from tests.support.example_files import write_example_files
from tests.support.program import Environment, Result, oastream, program_path, run

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


def skip_without_tools(script: str) -> None:
    tools = {tool for tool in ("jq", "xargs", "parallel") if re.search(rf"\b{tool}\b", script)}
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{missing[0]} is not installed")


@pytest.mark.parametrize(("name", "script"), [(name, text) for name in PAGES for text in examples(template(name))])
def test_an_example_runs(name: str, script: str, server: str, tmp_path: Path) -> None:
    skip_without_tools(script)
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


PIPED = re.compile(r"[|<>$;&?]|\n.|^export")
"""What only a shell understands; a command without it is run by the process that forks, which takes a tenth."""


def run_example(script: str, folder: Path, server: str) -> Result:
    line = script.replace("\\\n", "").rstrip("\n")
    if PIPED.search(line) is None:
        words = shlex.split(line)
        env: Environment = {"HOME": str(folder), "XDG_CONFIG_HOME": None, "OPENAI_BASE_URL": server}
        words = [re.sub(r"^~(?=/)", str(folder), word) for word in words]
        return forked.oastream(*words[1:], cwd=folder, env=env, program=words[0])
    env = {"PATH": program_path(folder), "HOME": str(folder), "OPENAI_BASE_URL": server}
    return run(["sh", "-eu", "-c", script], cwd=folder, env={**env, "XDG_CONFIG_HOME": None}, timeout=60)


def written_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "bin" not in path.parts}


@pytest.mark.parametrize(
    ("option", "url", "script"),
    [each for name in ("oastream", "oastream-batch") for each in option_examples(template(name))],
)
def test_the_example_of_an_option_runs(option: str, url: str, script: str, server: str, tmp_path: Path) -> None:
    skip_without_tools(script)
    if option == "--provider":
        pytest.importorskip("openai")
    write_example_files(tmp_path)
    before = written_files(tmp_path)
    result = run_example(script, tmp_path, url or server)
    assert result.status == 0, result
    after = written_files(tmp_path)
    written = [content for path, content in after.items() if before.get(path) != content]
    assert result.text or result.err or any(written), "the example says nothing"


VALUES = {"--header": "X-A: b", "--set": "a=1", "--redo": "length", "--ok": "length", "--shard": "0/2", "--on": "ray"}
BATCH = PROGRAMS["oastream-batch"]().options
PAIRS = {tuple(sorted((option.long[-1], word))) for option in BATCH for word in option.relations.not_with}


def typed(option: Option) -> list[str]:
    """A batch's option as a command line has it."""
    if option.takes is Takes.NOTHING or option.optional:
        return [option.long[-1]]
    values = [value.text for value in option.values]
    return [option.long[-1], VALUES.get(option.long[-1], values[0] if values else "1")]


@pytest.mark.parametrize("pair", sorted(PAIRS), ids=" ".join)
def test_a_batch_refuses_what_its_page_says_that_it_excludes(pair: tuple[str, str]) -> None:
    options = [option for option in BATCH if option.long[-1] in pair]
    words = [word for option in options for word in typed(option)]
    files = ["in.jsonl", "-o", "out.jsonl", *(["--on", "slurm"] if "--shards" in pair else [])]
    if "--merge" in pair:
        files = ["part.jsonl"]
    with pytest.raises(Failure) as failed:
        batch_cli.parse([*words, *files])
    assert failed.value.verdict.outcome is Outcome.USAGE


@pytest.mark.parametrize(("option", "url", "script"), option_examples(template("oastream-mock")))
def test_the_example_of_an_option_of_the_mock_serves(option: str, url: str, script: str, tmp_path: Path) -> None:
    """Or prints what it was asked for: either way it has something to say."""
    write_example_files(tmp_path)
    words = shlex.split(script.partition(" 2>")[0])
    line, result = forked.first_line(*words[1:], cwd=tmp_path, program=words[0])
    assert line, result
    assert result.status in (0, -signal.SIGTERM), result
    assert result.err == "", result


def test_the_ndjson_example_shows_the_events_of_a_run() -> None:
    shown = re.findall(r'^\{"type":"([a-z_.:]+)"', template("oastream"), re.MULTILINE)
    run = [record["type"] for record in oastream("-n", "--base-url", "mock:", "--format", "ndjson", "Hi").records]
    assert shown[: len(run)] == run


def test_the_page_names_the_default_model() -> None:
    assert f"it is `{Api.default_model}`" in template("oastream")
