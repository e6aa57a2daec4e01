"""What the README shows, run as a user would: a tool loop in sh, and a Makefile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from oastream.mock.server import Server
from tests.support.program import Result, program_path, run

TOOLS = """\
[{"name": "clock", "description": "The time in a zone like Asia/Tokyo",
  "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}}]
"""

LOOP = """\
#!/bin/sh
ask() { oastream --history chat.jsonl --tools clock.json --set parallel_tool_calls=false "$@"; }
ask -n -- "$*"; status=$?
while [ $status -eq 13 ]; do
    id=$(tail -n 1 chat.jsonl | jq -r .call_id) zone=$(tail -n 1 chat.jsonl | jq -r '.arguments | fromjson.zone')
    TZ=$zone date +%Z | ask --tool-output "$id=@-"; status=$?
done
exit $status
"""
"""The README has the same lines."""

MAKEFILE = """\
all: summary.txt facts.json talk.jsonl

summary.txt: notes.txt
	oastream -o $@ 'Sum up in a sentence:' <$<

facts.json: notes.txt
	oastream -o $@ --schema 'title, year int' 'What is it called, and when was it?' <$<

talk.jsonl: notes.txt
	rm -f $@
	oastream --history $@ -f $< 'Read this.' >/dev/null
	oastream --history $@ -n 'What do you think of it?' >/dev/null
"""


def zone_name(zone: str) -> str:
    return run(["date", "+%Z"], env={"TZ": zone}).text


RunInFolder = Callable[..., Result]

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


@pytest.fixture
def scripted(mock: Callable[[str], Server], tmp_path: Path) -> Callable[[str], Server]:
    """Starts the server that a script describes."""

    def start_scripted(script: str) -> Server:
        (tmp_path / "script.toml").write_text(script)
        return mock(f"mock:?script={tmp_path}/script.toml")

    return start_scripted


@pytest.fixture
def run_in_folder(tmp_path: Path) -> RunInFolder:
    """Runs a command in a folder of its own, with `oastream` on the PATH."""
    path = program_path(tmp_path)

    def run_command(*words: str, url: str, api: str = "responses") -> Result:
        if shutil.which(words[0]) is None or shutil.which("jq") is None:
            pytest.skip(f"{words[0]} or jq is not installed")
        env = {"PATH": path, "OPENAI_BASE_URL": url, "OASTREAM_API": api, "OASTREAM_RETRY": "0"}
        return run(words, cwd=tmp_path, env=env, timeout=60)

    return run_command


TWO_CALLS = """
[[attempt]]
reply = { tool_calls = [{ name = "clock", arguments = { zone = "UTC" } }] }
[[attempt]]
reply = { text = "One more.", tool_calls = [{ name = "clock", arguments = { zone = "Asia/Tokyo" } }] }
[[attempt]]
reply = "It is late."
"""


def test_the_readme_has_the_same_loop() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert LOOP in readme
    assert TOOLS in readme


@both_apis
def test_the_tool_loop_runs_until_the_model_is_done(
    scripted: Callable[[str], Server], run_in_folder: RunInFolder, tmp_path: Path, api: str
) -> None:
    (tmp_path / "clock.json").write_text(TOOLS)
    (tmp_path / "ask").write_text(LOOP)
    server = scripted(TWO_CALLS)
    result = run_in_folder("sh", "ask", "What time", "is it?", url=server.url, api=api)
    assert (result.status, result.text) == (0, "One more.\nIt is late.\n")
    kept = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines()]
    assert kept[0]["content"] == "What time is it?"
    zones = [zone_name(zone) for zone in ("UTC", "Asia/Tokyo")]
    assert [item["output"] for item in kept if item["type"] == "function_call_output"] == zones
    assert kept[-1]["content"] == "It is late."
    assert len(server.requests) == 3


def test_the_tool_loop_ends_with_the_status_of_what_went_wrong(
    scripted: Callable[[str], Server], run_in_folder: RunInFolder, tmp_path: Path
) -> None:
    (tmp_path / "clock.json").write_text(TOOLS)
    (tmp_path / "ask").write_text(LOOP)
    server = scripted(TWO_CALLS.replace('reply = "It is late."', 'end = "auth"'))
    assert run_in_folder("sh", "ask", "What time is it?", url=server.url).status == 21


@both_apis
def test_make_builds_each_file_once(
    scripted: Callable[[str], Server], run_in_folder: RunInFolder, tmp_path: Path, api: str
) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "notes.txt").write_text("The Rite of Spring, 1913\n")
    server = scripted("")
    assert run_in_folder("make", url=server.url, api=api).status == 0
    assert set(json.loads((tmp_path / "facts.json").read_text())) == {"title", "year"}
    assert "1913" in (tmp_path / "summary.txt").read_text()
    assert len((tmp_path / "talk.jsonl").read_text().splitlines()) == 4
    assert run_in_folder("make", url=server.url, api=api).status == 0
    assert len(server.requests) == 4


def test_make_fails_and_keeps_the_old_file_when_the_answer_does_not_fit(
    scripted: Callable[[str], Server], run_in_folder: RunInFolder, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "facts.json").write_text("old")
    os.utime(tmp_path / "facts.json", (1, 1))
    (tmp_path / "notes.txt").write_text("The Rite of Spring, 1913\n")
    result = run_in_folder("make", "facts.json", url=scripted('end = "schema"').url)
    assert result.status == 2
    assert "Error 14" in result.err
    assert (tmp_path / "facts.json").read_text() == "old"
    assert (tmp_path / "facts.json").stat().st_mtime == 1
