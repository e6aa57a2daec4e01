"""A batch whose files somebody else touches while it runs: nothing wrong is sent, and no answer is lost.

In: real runs, files that are changed by the server's answers, that is, at a known moment; small file systems. Out:
statuses, messages, what was asked under which id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.batches import batch, by_id, ids, item, read_records, write_lines
from tests.support.origin import Asked, Origin, run_origin, say

COUNT = 40
LONG = "x" * 100_000
"""So long that the second pass has not read all of the file when the first request is answered."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with run_origin(lambda asked: say(asked.prompt[:20], asked)) as running:
        yield running


def long_items(path: Path) -> Path:
    return write_lines(path, (item(f"q{number}", f"q{number} {LONG}") for number in range(COUNT)))


def on_first_answer(origin: Origin, change: Callable[[], object]) -> None:
    """Let this happen when the first request arrives, before it is answered."""

    def answer(asked: Asked) -> bytes:
        if asked.number == 1:
            change()
        return say(asked.prompt[:20], asked)

    origin.answer = answer


def append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line)


def edit(path: Path, old: str, new: str) -> None:
    """Change one place of a file, in place and without changing its length."""
    assert len(old) == len(new)
    content = path.read_bytes()
    at = content.index(old.encode())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new.encode())


CHANGES: dict[str, Callable[[Path], object]] = {
    "an id that came before": lambda path: edit(path, '"custom_id": "q30"', '"custom_id": "q2" '),
    "another prompt": lambda path: edit(path, '"q30 xxx', '"q30 yyy'),
    "a broken line": lambda path: edit(path, '{"custom_id": "q30"', '["custom_id": "q30"'),
    "a truncated file": lambda path: os.truncate(path, path.stat().st_size * 2 // 3),
    "an emptied file": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_input_that_changes_during_the_run_is_not_sent_and_ends_it(
    tmp_path: Path, origin: Origin, change: str
) -> None:
    source, out = long_items(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    on_first_answer(origin, lambda: CHANGES[change](source))
    result = batch(source, "-o", out, "-j", "3", "--base-url", origin.url)
    assert result.status == 8, result
    message, hint = result.err.splitlines()
    assert "in.jsonl was changed during the run: " in message
    assert hint == "oastream-batch: hint: the same command goes on with what is missing"
    answered = by_id(read_records(out))
    assert len(answered) == len(origin.asked) > 0  # what was in flight has been recorded
    assert all(asked.prompt.split()[1] == LONG for asked in origin.asked)
    assert sorted(asked.prompt.split()[0] for asked in origin.asked) == sorted(answered)


def test_what_the_run_did_before_its_input_changed_is_gone_on_with(tmp_path: Path, origin: Origin) -> None:
    source, out = long_items(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    words = (source, "-o", out, "-j", "3", "--base-url", origin.url)
    on_first_answer(origin, lambda: edit(source, '"q35 xxx', '"q35 yyy'))
    assert batch(*words).status == 8
    assert batch(*words).status == 0
    assert sorted(ids(read_records(out))) == sorted(f"q{number}" for number in range(COUNT))
    assert len(origin.asked) == COUNT


HARMLESS: dict[str, Callable[[Path], object]] = {
    "another file under its name": lambda path: os.replace(write_lines(path.with_suffix(".new"), [item("new")]), path),
    "removed": lambda path: path.unlink(),
    "lines added": lambda path: append(path, json.dumps(item("new")) + "\n"),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_does_not_change_the_lines_that_were_checked_does_not_disturb(
    tmp_path: Path, origin: Origin, change: str
) -> None:
    source, out = long_items(tmp_path / "in.jsonl"), tmp_path / "out.jsonl"
    on_first_answer(origin, lambda: HARMLESS[change](source))
    assert batch(source, "-o", out, "-j", "3", "--base-url", origin.url).status == 0
    assert sorted(ids(read_records(out))) == sorted(f"q{number}" for number in range(COUNT))


def test_redo_changed_needs_a_file(tmp_path: Path, origin: Origin) -> None:
    """The answers of a pipe's items could not be dropped before the others are asked; they stayed as they were."""
    out = tmp_path / "out.jsonl"
    line = json.dumps(item("a")).encode() + b"\n"
    assert batch("-", "-o", out, "--base-url", origin.url, stdin=line).status == 0
    before = out.read_bytes()
    result = batch("-", "-o", out, "--redo", "changed", "--base-url", origin.url, stdin=line)
    assert result.status == 2
    assert "--redo changed needs an input that is a file" in result.err
    assert out.read_bytes() == before
