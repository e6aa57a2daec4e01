"""--shard and --merge: parts of one input that nobody counts, put together again with each id once."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oastream.batch.shard import Shard, read_shard
from oastream.exits import TABLE, Outcome
from tests.support.batches import BATCH_COMMAND, batch, item, numbered, read_records, write_lines
from tests.support.program import ROOT, start
from tests.support.waiting import SOON, wait_until

MOCK = ("--base-url", "mock:")
SLURM = zip(("ID", "MIN", "MAX", "COUNT"), "5375", strict=True)
TASK = {f"SLURM_ARRAY_TASK_{name}": value for name, value in SLURM}
FINAL = (Outcome.USAGE, Outcome.CONFIG, Outcome.INPUT, Outcome.SOME_FAILED, Outcome.JOURNAL)
"""After these the same command would come to the same end."""
TOOL = '[{"name":"f","parameters":{"type":"object"}}]'


def answer(custom_id: str, text: str = "yes", outcome: str = "stop", line: int = 1) -> dict[str, Any]:
    """A record of `--format text`."""
    about = {"request": "00" * 8, "outcome": outcome, "exit": 0, "attempts": 1, "line": line}
    return {"custom_id": custom_id, "outcome": outcome, "text": text, "oastream": about}


def failure(custom_id: str | None, kind: str = "timeout") -> dict[str, Any]:
    error = {"code": kind, "message": "late", "kind": kind, "retryable": True}
    return {"custom_id": custom_id, "outcome": kind, "text": None, "error": error, "oastream": {"line": 1}}


def has_lines(path: Path, count: int) -> bool:
    return path.exists() and path.read_bytes().count(b"\n") >= count


def is_being_replaced(path: Path) -> bool:
    """Whether its next content is being written beside it."""
    return any(each.name.startswith(f".{path.name}.") for each in path.parent.iterdir())


def ids(path: Path) -> list[str]:
    return [record["custom_id"] for record in read_records(path)]


# Which shard


def test_a_task_of_a_job_array_counts_from_its_first() -> None:
    assert read_shard("slurm", TASK) == Shard(2, 5)
    assert read_shard("k8s/8", {"JOB_COMPLETION_INDEX": "7"}) == Shard(7, 8)
    assert read_shard("0/1", TASK) == Shard(0, 1)


@pytest.mark.parametrize(
    ("word", "environ", "why"),
    [
        ("slurm", {}, "SLURM_ARRAY_TASK_ID is not set"),
        ("slurm", {**TASK, "SLURM_ARRAY_TASK_COUNT": "3"}, "the array has gaps"),
        ("slurm", {**TASK, "SLURM_ARRAY_TASK_MAX": ""}, "SLURM_ARRAY_TASK_MAX is not set"),
        ("slurm", {**TASK, "SLURM_ARRAY_TASK_ID": "8"}, "the array goes from 3 to 7"),
        ("k8s/8", {}, "JOB_COMPLETION_INDEX is not set"),
        ("k8s/8", {"JOB_COMPLETION_INDEX": "8"}, "there are only 8 shards"),
        ("k8s", {"JOB_COMPLETION_INDEX": "0"}, "the number of completions"),
        ("k8s/0", {"JOB_COMPLETION_INDEX": "0"}, "the number of completions"),
        ("3/3", {}, "I from 0 to N-1"),
        ("slurm/3", {}, "nor slurm"),
    ],
)
def test_what_names_no_shard_exits_2(word: str, environ: dict[str, str], why: str, tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 3), "--shard", word, *MOCK, env=environ)
    assert (result.status, result.out) == (2, b"")
    assert why in result.err


def test_an_array_is_not_read_without_the_option(tmp_path: Path) -> None:
    assert len(batch(numbered(tmp_path / "in", 9), *MOCK, env=TASK).records) == 9


def test_the_number_is_put_into_the_names_of_all_files(tmp_path: Path) -> None:
    names = ("-o", "a.{shard}", "--errors", "e.{shard}", "--output-dir", "d.{shard}", "--report", "r.{shard}.html")
    source = numbered(tmp_path / "in", 20)
    assert batch(source, "--shard", "slurm", *names, *MOCK, env=TASK, cwd=tmp_path).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in", "a.2", "d.2", "r.2.html"}


def test_a_number_that_nobody_gives_exits_2(tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 2), "-o", "a.{shard}", *MOCK, cwd=tmp_path)
    assert (result.status, "there is no --shard" in result.err) == (2, True)


def test_the_job_of_the_man_page_is_what_kubernetes_takes() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed: see tests/run")
    yaml = pytest.importorskip("yaml")
    found = re.search(r"^apiVersion: .*?(?=^@END)", (ROOT / "tests/docs/oastream-batch.1.in").read_text(), re.M | re.S)
    assert found
    job = yaml.safe_load(found[0])
    validate.validate(job, validate.latest_version(), strict=True)
    spec = job["spec"]
    assert f"k8s/{spec['completions']}" in spec["template"]["spec"]["containers"][0]["args"]
    statuses = spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    assert statuses == sorted(TABLE[each][0] for each in FINAL)


# What is merged


def test_all_parts_together_are_the_input_in_its_order(tmp_path: Path) -> None:
    source = numbered(tmp_path / "in.jsonl", 40)
    for number in range(3):
        result = batch(source, "--shard", f"{number}/3", "-o", "part.{shard}", *MOCK, cwd=tmp_path)
        assert result.status == 0
    parts = [f"part.{number}" for number in range(3)]
    result = batch("--merge", "out", "--input", source, *parts, cwd=tmp_path)
    assert (result.status, result.err) == (0, "")
    assert ids(tmp_path / "out") == [f"q{number}" for number in range(40)]
    first = (tmp_path / "out").read_bytes()
    assert batch("--merge", "out", "--input", source, *reversed(parts), cwd=tmp_path).status == 0
    assert (tmp_path / "out").read_bytes() == first


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in", [item("a"), item("b"), item("c")])
    write_lines(tmp_path / "p", [answer("c"), answer("a")])
    result = batch("--merge", "out", "--input", source, "p", cwd=tmp_path)
    assert (result.status, "2 of 3 items have a plain answer: 2 stop, 1 not asked" in result.err) == (50, True)
    assert ids(tmp_path / "out") == ["a", "c"]


def test_an_answer_whose_item_has_left_the_input_is_kept_at_the_end(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in", [item("a"), item("b")])
    write_lines(tmp_path / "p", [answer("gone"), answer("b"), answer("a")])
    assert batch("--merge", "out", "--input", source, "p", cwd=tmp_path).status == 0
    assert ids(tmp_path / "out") == ["a", "b", "gone"]


def test_the_same_answer_twice_is_one(tmp_path: Path) -> None:
    write_lines(tmp_path / "p", [answer("a", line=1)])
    write_lines(tmp_path / "q", [answer("a", line=7), answer("b")])
    assert batch("--merge", "out", "p", "q", cwd=tmp_path).status == 0
    assert ids(tmp_path / "out") == ["a", "b"]


def test_two_answers_to_an_id_exit_52_and_leave_out_alone(tmp_path: Path) -> None:
    write_lines(tmp_path / "p", [answer("a")])
    write_lines(tmp_path / "q", [answer("b"), answer("a", "no")])
    (tmp_path / "out").write_text("old\n")
    result = batch("--merge", "out", "p", "q", cwd=tmp_path)
    assert (result.status, "'a' has two answers: one in p, another in q" in result.err) == (52, True)
    assert (tmp_path / "out").read_text() == "old\n"


def test_a_part_may_be_the_result(tmp_path: Path) -> None:
    write_lines(tmp_path / "p", [answer("a")])
    write_lines(tmp_path / "q", [answer("b")])
    assert batch("--merge", "p", "p", "q", cwd=tmp_path).status == 0
    assert ids(tmp_path / "p") == ["a", "b"]


def test_what_only_the_old_file_has_is_not_lost(tmp_path: Path) -> None:
    old = write_lines(tmp_path / "out", [answer("old")]).read_bytes()
    write_lines(tmp_path / "p", [answer("a")])
    result = batch("--merge", "out", "p", cwd=tmp_path)
    assert (result.status, "out has an answer to 'old', and no part has any" in result.err) == (52, True)
    assert (tmp_path / "out").read_bytes() == old
    assert batch("--merge", "out", "out", "p", cwd=tmp_path).status == 0
    assert ids(tmp_path / "out") == ["old", "a"]


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--merge", "p", "p", "--errors", "p"], 2, "--errors and --merge are the same file"),
        (["--merge", "out", "p", "--errors", "p"], 2, "--errors and a part are the same file"),
        (["--merge", "out", "p", "--errors", "out"], 2, "--errors and --merge are the same file"),
        (["--merge", "in", "p", "--input", "in"], 2, "--merge and --input are the same file"),
        (["--merge", "out", "p", "--input", "in", "--errors", "in"], 2, "--errors and --input are the same file"),
        (["--merge", "out", "p", "--errors", "-"], 2, "is no file"),
        (["--merge", "out", "p", "--errors", "/dev/null"], 2, "is no file"),
        (["--merge", "-", "p"], 2, "--merge needs the name of a file"),
        (["--merge", "notes", "p"], 52, "notes is not merged into"),
        (["--merge", "out", "p", "--errors", "notes"], 52, "notes is not a file of errors"),
        (["--merge", "out", "p", "/dev/null"], 8, "/dev/null cannot be read: it is no regular file"),
        (["--merge", "out", "p", "fifo"], 8, "fifo cannot be read: it is no regular file"),
        (["--merge", "out", "p", "hello"], 52, "hello cannot be merged"),
    ],
)
def test_no_file_is_replaced_or_read_as_what_it_is_not(words: list[str], status: int, why: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "p", [answer("a")])
    write_lines(tmp_path / "in", [item("a")])
    (tmp_path / "notes").write_text("precious\n")
    (tmp_path / "hello").write_text("hello")
    os.mkfifo(tmp_path / "fifo")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    result = batch(*words, cwd=tmp_path)
    assert (result.status, why in result.err) == (status, True), result
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_pattern_may_name_the_errors_of_the_parts_too(tmp_path: Path) -> None:
    write_lines(tmp_path / "p.jsonl", [answer("a")])
    write_lines(tmp_path / "p.errors.jsonl", [failure("b")])
    assert batch("--merge", "out.jsonl", "p.errors.jsonl", "p.jsonl", cwd=tmp_path).status == 50
    assert ids(tmp_path / "out.jsonl") == ["a"]


def test_many_parts_take_one_descriptor_each(tmp_path: Path) -> None:
    parts = [write_lines(tmp_path / f"p{number}", [answer(f"q{number}")]) for number in range(200)]
    command = 'ulimit -n 230; exec "$@"'
    result = batch("--merge", "out", *parts, cwd=tmp_path, shell=command)
    assert (result.status, len(ids(tmp_path / "out"))) == (0, 200)


def test_while_a_merge_is_at_work_nobody_else_writes_there(tmp_path: Path) -> None:
    write_lines(tmp_path / "p", (answer(f"q{number}") for number in range(100_000)))
    source = numbered(tmp_path / "in", 3)
    for out in ("new", "p"):
        with start("--merge", out, "p", program=BATCH_COMMAND, cwd=tmp_path) as merging:
            assert wait_until(partial(is_being_replaced, tmp_path / out))
            merging.send_signal(signal.SIGSTOP)
            for words in (["--merge", out, "p"], [source, "-o", out, "--format", "text", *MOCK]):
                result = batch(*words, cwd=tmp_path)
                assert (result.status, f"{out} is in use" in result.err) == (52, True), result
            merging.send_signal(signal.SIGCONT)
            assert merging.wait(60) == 0
        assert len(ids(tmp_path / out)) == 100_000


def test_a_torn_tail_is_passed_over_with_a_notice(tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "p", [answer("a"), answer("b")])
    lines.write_bytes(lines.read_bytes()[:-9])
    result = batch("--merge", "out", "p", cwd=tmp_path)
    assert (result.status, ids(tmp_path / "out")) == (0, ["a"])
    assert result.err == "oastream-batch: p: the last line is not whole, and is left out\n"


@pytest.mark.parametrize("content", [b"broken\n", b'{"custom_id":"a"}\n', b"[]\n", b"\xff\n"])
def test_a_broken_line_exits_52_with_its_place(content: bytes, tmp_path: Path) -> None:
    whole = json.dumps(answer("a")).encode() + b"\n"
    (tmp_path / "p").write_bytes(whole + content)
    result = batch("--merge", "out", "p", cwd=tmp_path)
    assert (result.status, f"the line at byte {len(whole)}" in result.err) == (52, True), result
    assert not (tmp_path / "out").exists()


def test_the_errors_that_still_hold_are_merged_beside_it(tmp_path: Path) -> None:
    write_lines(tmp_path / "p.jsonl", [answer("a")])
    write_lines(tmp_path / "p.errors.jsonl", [failure("b"), failure("c"), failure(None)])
    write_lines(tmp_path / "q.jsonl", [answer("b", outcome="length")])
    write_lines(tmp_path / "q.errors.jsonl", [failure(None), failure("c", "idle")])
    result = batch("--merge", "out.jsonl", "p.jsonl", "q.jsonl", cwd=tmp_path)
    assert result.status == 50
    assert "1 of 4 items has a plain answer" in result.err or "1 of 4 items have a plain answer" in result.err
    assert "the errors are in out.errors.jsonl" in result.err
    assert [(each["custom_id"], each["outcome"]) for each in read_records(tmp_path / "out.errors.jsonl")] == [
        (None, "timeout"),
        ("c", "idle"),
    ]
    write_lines(tmp_path / "r.jsonl", [answer("c")])
    (tmp_path / "p.errors.jsonl").unlink()
    (tmp_path / "q.errors.jsonl").unlink()
    assert batch("--merge", "out.jsonl", "--ok", "length", *("p.jsonl", "q.jsonl", "r.jsonl"), cwd=tmp_path).status == 0
    assert not (tmp_path / "out.errors.jsonl").exists()


@pytest.mark.parametrize("used", ["p", "out"])
def test_a_file_that_a_run_writes_to_exits_52(used: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "p", [answer("a")])
    with (tmp_path / used).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = batch("--merge", "out", "p", cwd=tmp_path)
    assert (result.status, f"{used} is in use" in result.err) == (52, True)


@pytest.mark.parametrize("layout", ["batch", "text", "tools", "row"])
def test_the_format_is_that_of_the_parts(layout: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text('{"id":"a","prompt":"x"}\n{"id":"b","prompt":"y"}\n')
    form = ("--input-format", "json")
    tools = ("--tools", TOOL, "--tool-choice", "required") if layout == "tools" else ()
    for number in range(2):
        words = ("--format", layout, *form, *tools, "--shard", f"{number}/2", "-o", "p{shard}")
        assert batch("in", *words, *MOCK, cwd=tmp_path).status == 0
    assert batch("--merge", "out", "--input", "in", *form, "p0", "p1", cwd=tmp_path).status == 0
    assert len(read_records(tmp_path / "out")) == 2


def test_a_pipe_is_not_merged_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    (tmp_path / "part").touch()
    result = batch("--merge", tmp_path / "out", tmp_path / "part", timeout=SOON)
    assert result.status == 2
    assert "is not a regular file" in result.err
    assert (tmp_path / "out").is_fifo()


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--merge", "out"], 2, "--merge needs the parts"),
        (["--merge", "out", "none"], 8, "none cannot be read"),
        (["--merge", "out", "."], 8, ". cannot be read"),
        (["--merge", "out", "p", "-o", "x"], 2, "--output has no meaning with --merge"),
        (["--merge", "out", "p", "--rpm", "3"], 2, "--rpm has no meaning with --merge"),
        (["--merge", "out", "p", "--format", "batch"], 52, "it is no answer in --format batch"),
        (["--merge", "out", "p", "--input", "none"], 8, "none cannot be read"),
        (["--merge", "none/out", "p"], 9, "none/out cannot be written"),
        (["--merge", ".", "p"], 9, ". cannot be written"),
        (["p", "q"], 2, "a batch has one INPUT"),
        (["p", "--input", "q"], 2, "--input is for --merge"),
    ],
)
def test_what_cannot_be_merged_says_why(words: list[str], status: int, why: str, tmp_path: Path) -> None:
    write_lines(tmp_path / "p", [answer("a")])
    result = batch(*words, cwd=tmp_path)
    assert (result.status, why in result.err) == (status, True), result
    assert not (tmp_path / "out").exists()


@given(st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shards_of_any_number_and_order_part_the_ids(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 9))
    names = data.draw(st.lists(st.text(max_size=9), unique=True, max_size=40))
    random.Random(data.draw(st.integers())).shuffle(names)
    shards = [Shard(number, total) for number in range(total)]
    assert Counter(name for shard in shards for name in names if shard.has(name)) == Counter(names)


@pytest.mark.parametrize("seed", range(3))
def test_shards_that_are_killed_and_run_again_merge_into_the_input(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    total, count = chance.choice([1, 2, 3, 5]), 60
    source = tmp_path / "in"
    items = [item(f"q{number}") for number in range(count)]
    for number in range(total):
        chance.shuffle(items)
        write_lines(source, items)
        words = ["in", "--shard", f"{number}/{total}", "-o", "p{shard}", "--base-url", "mock:?pace=0.002", "-j", "4"]
        part = tmp_path / f"p{number}"
        with start(*words, program=BATCH_COMMAND, cwd=tmp_path) as process:
            wait_until(partial(has_lines, part, chance.randrange(1, 8)))
            process.send_signal(signal.SIGKILL)
        chance.shuffle(items)
        write_lines(source, items)
        assert batch(*words, cwd=tmp_path).status == 0
    result = batch("--merge", "out", "--input", "in", *(f"p{number}" for number in range(total)), cwd=tmp_path)
    assert (result.status, ids(tmp_path / "out")) == (0, [each["custom_id"] for each in items])


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_out_as_it_was(sent: signal.Signals, tmp_path: Path) -> None:
    write_lines(tmp_path / "p", (answer(f"q{number}") for number in range(300_000)))
    old = write_lines(tmp_path / "out", [answer("q0")]).read_bytes()
    with start("--merge", "out", "p", program=BATCH_COMMAND, cwd=tmp_path) as process:
        assert wait_until(partial(is_being_replaced, tmp_path / "out"))
        process.send_signal(sent)
        assert process.wait(60) == -sent
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "p"]
    assert (tmp_path / "out").read_bytes() == old
