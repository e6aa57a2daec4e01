"""The man pages: made from the code, well formed, readable at 80 columns, and their examples work."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from oastream.apis.api import Api
from oastream.batch import cli as batch_cli
from oastream.cli.clashes import NEEDS, in_cli_form
from oastream.cli.option import Option as CliOption
from oastream.cli.options_table import OPTIONS
from oastream.cli.parse import parse
from oastream.exits import TABLE, Failure, Outcome
from oastream.mock.script import plan_from_options
from oastream.mock.server import serve
from tests.docs import COMMAND
from tests.docs.declared import PROGRAMS, Option, Takes
from tests.docs.generated import ROOT, generated
from tests.docs.manpage import examples, option_examples
from tests.support import forked
from tests.support.example_files import write_example_files
from tests.support.program import Environment, Result, environment, oastream, program_path, run

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


def written_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "bin" not in path.parts}


def is_changed(folder: Path, before: dict[Path, bytes]) -> bool:
    """Whether a file has become another, or a new one holds something."""
    return any(content and before.get(path) != content for path, content in written_files(folder).items())


def skip_without_tools(script: str) -> None:
    tools = {tool for tool in ("jq", "xargs", "parallel") if re.search(rf"\b{tool}\b", script)}
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"{missing[0]} is not installed")


@pytest.mark.parametrize(("name", "script"), [(name, text) for name in PAGES for text in examples(template(name))])
def test_an_example_runs(name: str, script: str, server: str, tmp_path: Path) -> None:
    skip_without_tools(script)
    write_example_files(tmp_path)
    before = written_files(tmp_path)
    env = {"PATH": program_path(tmp_path), "HOME": str(tmp_path), "XDG_CONFIG_HOME": None, "OPENAI_BASE_URL": server}
    result = run(["sh", "-eu", "-c", script], cwd=tmp_path, env=env, timeout=60)
    assert result.status == 0, result.err
    assert result.text or is_changed(tmp_path, before), "the example says nothing"


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


@pytest.mark.skipif(shutil.which("tail") is None, reason="tail is not installed")
def test_the_log_is_watched_line_by_line(tmp_path: Path) -> None:
    loop = re.search(r"^tail -n 1 -F app.log .*?^    done\n", template("oastream"), re.MULTILINE | re.DOTALL)
    assert loop
    log = tmp_path / "app.log"
    log.write_text("ERROR one\n")
    env = {"PATH": program_path(tmp_path), "HOME": str(tmp_path), "OPENAI_BASE_URL": "mock:"}
    with subprocess.Popen(
        ["sh", "-c", loop[0]],
        cwd=tmp_path,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as watching:
        assert watching.stdout
        try:
            assert watching.stdout.readline() == b"What does this mean? ERROR one\n"
            with log.open("a") as file:
                file.write("all is well\nERROR two\n")
            assert watching.stdout.readline() == b"What does this mean? ERROR two\n"
        finally:
            os.killpg(watching.pid, signal.SIGTERM)


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
    assert result.text or result.err or is_changed(tmp_path, before), "the example says nothing"


VALUES = {"--header": "X-A: b", "--set": "a=1", "--redo": "length", "--ok": "length", "--shard": "0/2", "--on": "ray"}
GIVEN_TWICE = {
    "attach_type": ("image/png", "image/gif"),
    "base_url": ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"),
    "header": ("X-A: 1", "X-B: 2"),
    "input_encoding": ("latin-1", "utf-8"),
    "ok": ("length", "refusal"),
    "set": ("a=1", "a=2"),
    "tool_output": ("a=1", "b=2"),
}
"""Values of the options of which not every text is one."""


@pytest.mark.parametrize(
    "option", [option for group in OPTIONS.values() for option in group], ids=lambda option: option.name
)
def test_an_option_given_twice_is_what_its_page_says(option: CliOption) -> None:
    if not option.expose_value or option.name in ("profile", "no_config", "show_config"):
        return  # they end the parsing, or choose what is read
    name = option.opts[-1]
    if option.is_flag or option.count:
        once, twice = value_of(option, name), value_of(option, name, name)
        assert (once, twice) == ((1, 2) if option.count else (True, True))
        if option.opposite is not None:
            assert not value_of(option, name, option.opposite)
        return
    values = GIVEN_TWICE.get(option.name, ("3", "4"))
    if isinstance(option.type, click.Choice):
        values = tuple(option.type.choices)[:2]
    first, second = (f"{name}={value}" for value in values)
    if option.multiple:
        assert value_of(option, first, second) == value_of(option, first) + value_of(option, second)
    else:
        assert value_of(option, first, second) == value_of(option, second) != value_of(option, first)


def value_of(option: CliOption, *words: str) -> Any:
    """What a command line makes of an option, with what it needs beside it."""
    needed, value = NEEDS.get(option.name, ("", None))
    beside = 2 * [f"{in_cli_form(needed)}={value or 'x'}"] if needed else []  # an attachment for each of two types
    prompt = [] if {option.name, needed} & {"list_models", "resume", "replay"} else ["hi"]
    return getattr(parse([*beside, *words, *prompt]), option.name)


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
