"""What the README shows, run as a user would: a tool loop in sh, and a Makefile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oastream.mock.script import plan_from_url
from oastream.mock.server import Server, serve
from tests.support.program import COMMAND, environment

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
    return subprocess.run(["date", "+%Z"], env={"TZ": zone}, capture_output=True, text=True, check=True).stdout


Run = Callable[..., subprocess.CompletedProcess[str]]

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    servers: list[Server] = []

    def started(script: str) -> Server:
        (tmp_path / "script.toml").write_text(script)
        servers.append(serve(plan_from_url(f"mock:?script={tmp_path}/script.toml")))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in a folder of its own, with `oastream` on the PATH."""
    command = tmp_path / "bin" / "oastream"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {" ".join(COMMAND[1:])} "$@"\n')
    command.chmod(0o755)

    def go(*words: str, url: str, api: str = "responses") -> subprocess.CompletedProcess[str]:
        if shutil.which(words[0]) is None or shutil.which("jq") is None:
            pytest.skip(f"{words[0]} or jq is not installed")
        env = environment({"OPENAI_BASE_URL": url, "OASTREAM_API": api, "OASTREAM_RETRY": "0"})
        env["PATH"] = f"{command.parent}{os.pathsep}{env['PATH']}"
        return subprocess.run(
            words,
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    return go


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
    mock: Callable[[str], Server], run: Run, tmp_path: Path, api: str
) -> None:
    (tmp_path / "clock.json").write_text(TOOLS)
    (tmp_path / "ask").write_text(LOOP)
    server = mock(TWO_CALLS)
    done = run("sh", "ask", "What time", "is it?", url=server.url, api=api)
    assert (done.returncode, done.stdout) == (0, "One more.\nIt is late.\n")
    kept = [json.loads(line) for line in (tmp_path / "chat.jsonl").read_text().splitlines()]
    assert kept[0]["content"] == "What time is it?"
    zones = [zone_name(zone) for zone in ("UTC", "Asia/Tokyo")]
    assert [item["output"] for item in kept if item["type"] == "function_call_output"] == zones
    assert kept[-1]["content"] == "It is late."
    assert len(server.requests) == 3


def test_the_tool_loop_ends_with_the_status_of_what_went_wrong(
    mock: Callable[[str], Server], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "clock.json").write_text(TOOLS)
    (tmp_path / "ask").write_text(LOOP)
    server = mock(TWO_CALLS.replace('reply = "It is late."', 'end = "auth"'))
    assert run("sh", "ask", "What time is it?", url=server.url).returncode == 21


@both_apis
def test_make_builds_each_file_once(mock: Callable[[str], Server], run: Run, tmp_path: Path, api: str) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "notes.txt").write_text("The Rite of Spring, 1913\n")
    server = mock("")
    assert run("make", url=server.url, api=api).returncode == 0
    assert set(json.loads((tmp_path / "facts.json").read_text())) == {"title", "year"}
    assert "1913" in (tmp_path / "summary.txt").read_text()
    assert len((tmp_path / "talk.jsonl").read_text().splitlines()) == 4
    assert run("make", url=server.url, api=api).returncode == 0
    assert len(server.requests) == 4


def test_make_fails_and_keeps_the_old_file_when_the_answer_does_not_fit(
    mock: Callable[[str], Server], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "facts.json").write_text("old")
    os.utime(tmp_path / "facts.json", (1, 1))
    (tmp_path / "notes.txt").write_text("The Rite of Spring, 1913\n")
    done = run("make", "facts.json", url=mock('end = "schema"').url)
    assert done.returncode == 2
    assert "Error 14" in done.stderr
    assert (tmp_path / "facts.json").read_text() == "old"
    assert (tmp_path / "facts.json").stat().st_mtime == 1
