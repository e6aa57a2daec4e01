"""A batch whose files somebody else touches while it runs: nothing wrong is sent, and no answer is lost.

In: real runs, files that are changed by the server's answers, that is, at a known moment; small file systems. Out:
statuses, messages, what was asked under which id.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.batches import BATCH_COMMAND, batch, by_id, ids, item, read_records, write_lines
from tests.support.mounts import mount
from tests.support.origin import Asked, Origin, error, run_origin, say
from tests.support.program import run, start
from tests.support.waiting import SOON
from tests.support.wire import Reply, mark, wait

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
        if asked.number == 0:
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


# Runs that are killed, and what they were told to do ----------------------------------------------------------------


def kill_at(origin: Origin, number: int, words: list[str]) -> None:
    """Run, and kill at the moment at which the server has this request. Those before it are answered."""
    first = len(origin.asked)
    with start(*words, program=BATCH_COMMAND) as process:

        def answer(asked: Asked) -> bytes:
            if asked.number == first + number - 1:
                process.send_signal(signal.SIGKILL)
                process.wait(SOON)
            return say(asked.prompt[:20], asked)

        origin.answer = answer
        assert process.wait(SOON) == -signal.SIGKILL
    origin.answer = lambda asked: say(asked.prompt[:20], asked)


def test_without_syncs_a_killed_run_has_every_answer_that_it_wrote(tmp_path: Path, origin: Origin) -> None:
    source, out = write_lines(tmp_path / "in", (item(f"q{number}") for number in range(6))), tmp_path / "out"
    words = [str(source), "-o", str(out), "-j", "1", "--sync", "off", "--base-url", origin.url]
    kill_at(origin, 4, words)
    assert ids(read_records(out)) == ["q0", "q1", "q2"]
    assert batch(*words).status == 0
    assert sorted(by_id(read_records(out))) == [f"q{number}" for number in range(6)]
    assert origin.prompts == {**{f"q{number}": 1 for number in range(6)}, "q3": 2}


def test_what_a_killed_repair_took_out_of_the_journal_is_in_the_errors(tmp_path: Path, origin: Origin) -> None:
    source, out = write_lines(tmp_path / "in", [item("a"), item("b")]), tmp_path / "out"
    words = [str(source), "-o", str(out), "--base-url", origin.url, "--repair"]
    assert batch(*words).status == 0
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"garbage\n" + lines[1])
    kill_at(origin, 1, words)
    assert [record["line"] for record in read_records(tmp_path / "out.errors")] == ["garbage\n"]
    batch(*words)
    assert [record["line"] for record in read_records(tmp_path / "out.errors")] == ["garbage\n"]
    assert sorted(by_id(read_records(out))) == ["a", "b"]


def test_redo_drops_no_answer_before_the_input_is_known_to_be_good(tmp_path: Path, origin: Origin) -> None:
    source, out = write_lines(tmp_path / "in", [item("a"), item("b")]), tmp_path / "out"
    words = [str(source), "-o", str(out), "--base-url", origin.url]
    assert batch(*words).status == 0
    before = out.read_bytes()
    append(source, "{oops\n")
    assert batch(*words, "--redo", "stop").status == 8
    assert out.read_bytes() == before
    assert len(origin.asked) == 2


def test_what_is_redone_repaired_and_retried_at_once_survives_a_kill(tmp_path: Path, origin: Origin) -> None:
    source, out = write_lines(tmp_path / "in", map(item, "abcd")), tmp_path / "out"
    words = [str(source), "-o", str(out), "-j", "1", "--base-url", origin.url]
    origin.answer = lambda asked: error("400 Bad Request") if asked.prompt == "d" else say(asked.prompt, asked)
    assert batch(*words).status == 50
    a, b, _ = out.read_bytes().splitlines(keepends=True)
    cut_short = b.replace(b'"outcome":"stop"', b'"outcome":"length"')
    out.write_bytes(a + b"garbage\n" + cut_short)
    mending = ["--redo", "length", "--repair", "--retry-failed"]
    kill_at(origin, 2, [*words, *mending])
    assert sorted(by_id(read_records(out))) == ["a", "b"]
    batch(*words, *mending)
    assert sorted(by_id(read_records(out))) == ["a", "b", "c", "d"]
    assert [record["line"] for record in read_records(tmp_path / "out.errors")] == ["garbage\n"]
    assert origin.prompts == {"a": 1, "b": 2, "c": 3, "d": 2}
    assert batch(*words).status == 0
    assert sum(origin.prompts.values()) == 8


# Disks that are full -------------------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    """Leave no room on the file system that this new file is on."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_errors_that_find_no_room_end_the_run_and_answers_stay_good(tmp_path: Path, origin: Origin) -> None:
    source, out, small = write_lines(tmp_path / "in", map(item, "abcd")), tmp_path / "out", tmp_path / "small"
    small.mkdir()
    others, failed = threading.Barrier(3), threading.Event()

    def answer(asked: Asked) -> Reply:
        """The error goes out when the others are in flight, and they are answered after it."""
        if failed.is_set():
            return say(asked.prompt, asked)
        if asked.prompt == "a":
            return [
                lambda connection: others.wait(SOON),
                lambda connection: connection.sendall(error("400 Bad Request")),
                mark(failed),
            ]
        return [
            lambda connection: others.wait(SOON),
            wait(failed),
            lambda connection: connection.sendall(say(asked.prompt, asked)),
        ]

    with mount("-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)):
        fill(small / "filler")
        origin.answer = answer
        words = (source, "-o", out, "--errors", small / "errors", "-j", "3", "--base-url", origin.url)
        result = batch(*words)
        assert result.status == 9
        assert result.err.count("\n") == 1
        assert "small/errors cannot be written: " in result.err
        assert sorted(by_id(read_records(out))) == ["b", "c"]  # they were in flight
        assert read_records(small / "errors") == []
        (small / "filler").unlink()
        assert batch(*words).status == 0
    assert sorted(by_id(read_records(out))) == ["a", "b", "c", "d"]
    assert origin.prompts == {"a": 2, "b": 1, "c": 1, "d": 1}


def test_a_journal_that_finds_no_room_keeps_whole_lines_and_is_gone_on_with(tmp_path: Path, origin: Origin) -> None:
    source, small = write_lines(tmp_path / "in", (item(f"q{number}") for number in range(20))), tmp_path / "small"
    small.mkdir()
    origin.answer = lambda asked: say(asked.prompt + "x" * 3000, asked)
    with mount("-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)):
        words = (source, "-o", small / "out", "--base-url", origin.url)
        result = batch(*words)
        assert (result.status, "small/out cannot be written: " in result.err) == (9, True)
        answered = len(by_id(read_records(small / "out")))
        assert 3 <= answered < 20
        again = batch(*words)
        assert again.status == 9
        assert len(by_id(read_records(small / "out"))) == answered
        assert run(["mount", "-o", "remount,size=1m", str(small)]).status == 0
        assert batch(*words).status == 0
        assert len(by_id(read_records(small / "out"))) == 20
