"""The answers file of a batch: what it holds after any death, and what it refuses."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from oastream.batch.input import InputForm, Item
from oastream.batch.journal import Answers, BrokenLine, Journal
from oastream.batch.keys import request_hash
from oastream.batch.plan import Plan, Standing
from oastream.batch.records import LAYOUTS, Answered, Layout, Result
from oastream.batch.shard import Shard
from oastream.exits import Failure, Outcome, Verdict

FORM = InputForm("json")
BATCH = LAYOUTS["batch"](FORM, "answer")


def answer(custom_id: str, outcome: Outcome = Outcome.STOP, layout: Layout = BATCH) -> bytes:
    """The line of an answer to a request that is the id itself."""
    result = Result(
        Verdict(outcome),
        0,
        request_hash(custom_id.encode()),
        1,
        5,
        9,
        200,
        "req_1",
        b'{"object":"response"}',
        "hi\nyou",
    )
    return layout.answer(Item(custom_id, 3, row={"id": custom_id, "prompt": "é"}), result)


def loaded(path: Path, layout: Layout = BATCH) -> Journal:
    journal = Journal(str(path))
    journal.load(layout)
    return journal


def refusal(path: Path, layout: Layout = BATCH) -> Verdict:
    """What is said of a file that cannot be gone on with, which must not change it."""
    before = path.read_bytes()
    journal = Journal(str(path))
    try:
        with pytest.raises(Failure) as caught:
            journal.load(layout)
    finally:
        journal.close()
    assert path.read_bytes() == before
    assert caught.value.verdict.outcome is Outcome.JOURNAL
    return caught.value.verdict


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_appended_is_answered_in_the_next_run(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name](FORM, "answer")
    path = tmp_path / "out.jsonl"
    journal = loaded(path, layout)
    journal.append(answer("a", layout=layout))
    journal.append(answer("b", Outcome.LENGTH, layout))
    journal.close()
    again = loaded(path, layout)
    assert again.answers.outcome("a", request_hash(b"a")) is Outcome.STOP
    assert again.answers.outcome("a", request_hash(b"other")) is None
    assert again.answers.outcome("b", request_hash(b"b")) is Outcome.LENGTH
    assert "c" not in again.answers
    again.close()


def test_a_new_file_is_private(tmp_path: Path) -> None:
    journal = loaded(tmp_path / "out.jsonl")
    journal.close()
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_every_death_within_a_line_leaves_the_lines_before_it(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first, second = answer("a"), answer("b")
    for size in range(len(second)):
        path.write_bytes(first + second[:size])
        journal = loaded(path)
        is_whole = size == len(second) - 1  # only the newline was missing
        assert len(journal.answers) == 1 + is_whole, size
        journal.append(answer("c"))
        journal.close()
        assert path.read_bytes() == first + (second if is_whole else b"") + answer("c")


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 5000, answer("b")[:40] + b"\0" * 100])
def test_blocks_that_were_never_written_are_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer("a") + tail)
    loaded(path).close()
    assert path.read_bytes() == answer("a")


REFUSED = {
    "a broken line in the middle": (answer("a") + b"{oops\n" + answer("b"), "the line at byte "),
    "words": (b"some notes", "the line at byte 0"),
    "words on a line": (b"some notes\n", "the line at byte 0"),
    "another format": (answer("a", layout=LAYOUTS["text"](FORM, "answer")), "it is no answer in --format batch"),
    "two answers to an id": (answer("a") + answer("a"), "a second answer to 'a'"),
    "a broken line, then an unfinished one": (b"x\n{", "the line at byte 0"),
    "nothing of ours": (b'{"custom_id":"a","response":{}}\n', "it does not say which request it answers"),
    "blank lines": (answer("a") + b"\n" + answer("b"), "the line at byte "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_gone_on_with_is_left_alone(tmp_path: Path, case: str) -> None:
    content, why = REFUSED[case]
    path = tmp_path / "out.jsonl"
    path.write_bytes(content)
    assert why in refusal(path).message


def test_repair_takes_out_broken_lines_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer("a") + b"{oops\n" + answer("b") + b"\xff\n" + answer("c")[:20])
    journal = Journal(str(path))
    broken: list[BrokenLine] = []
    journal.load(BATCH, broken.extend)
    assert [(each.line, each.offset) for each in broken] == [
        (b"{oops\n", len(answer("a"))),
        (b"\xff\n", 2 * len(answer("a")) + 6),
    ]
    assert path.read_bytes() == answer("a") + answer("b")
    journal.append(answer("c"))
    journal.close()
    assert len(loaded(path).answers) == 3


def test_repair_does_not_take_a_file_of_another_kind_apart(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer("a", layout=LAYOUTS["text"](FORM, "answer")))
    journal = Journal(str(path))
    with pytest.raises(Failure):
        journal.load(BATCH, lambda broken: None)
    journal.close()
    assert path.read_bytes() == answer("a", layout=LAYOUTS["text"](FORM, "answer"))


def test_a_file_is_one_runs_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    journal = loaded(path)
    with pytest.raises(Failure) as caught:
        Journal(str(path))
    assert caught.value.verdict.outcome is Outcome.JOURNAL
    assert "in use" in caught.value.verdict.message
    journal.close()
    Journal(str(path)).close()


def test_a_file_that_was_replaced_is_still_one_runs_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer("a") + answer("b"))
    journal = loaded(path)
    assert journal.drop(BATCH, lambda answered: answered.custom_id == "a") == 1
    with pytest.raises(Failure):
        Journal(str(path))
    journal.append(answer("c"))
    journal.close()
    assert path.read_bytes() == answer("b") + answer("c")


def test_dropped_answers_are_not_answered_any_more(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer("a", Outcome.LENGTH) + answer("b"))
    journal = loaded(path)
    assert journal.drop(BATCH, lambda answered: answered.outcome is Outcome.LENGTH) == 1
    assert "a" not in journal.answers
    assert "b" in journal.answers
    journal.close()


def test_answers_are_put_into_order(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(answer("c") + answer("x") + answer("a") + answer("b"))
    journal = loaded(path)
    places = {"a": 0, "b": 1, "c": 2}
    journal.reorder(BATCH, places.get)
    journal.close()
    assert path.read_bytes() == answer("a") + answer("b") + answer("c") + answer("x")


@pytest.mark.parametrize("where", ["/dev/null", "."])
def test_what_is_no_file_cannot_be_a_journal(where: str) -> None:
    with pytest.raises(Failure) as caught:
        Journal(where)
    assert caught.value.verdict.outcome in (Outcome.USAGE, Outcome.OUTPUT)


def test_what_a_full_disk_cut_off_is_taken_back(tmp_path: Path) -> None:
    """In a process of its own: a limit on the size of files is what stands for the disk."""
    path = tmp_path / "out.jsonl"
    line = answer("a")
    code = f"""
import resource, signal
from oastream.batch.journal import Journal
from oastream.exits import Failure
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal({str(path)!r})
journal.append({line!r})
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(line) + 10}, resource.RLIM_INFINITY))
try:
    journal.append({answer("b")!r})
except Failure as failed:
    print(failed.verdict.outcome.value)
journal.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("output\n", "")
    assert path.read_bytes() == line


def test_a_line_is_one_write(tmp_path: Path) -> None:
    """A reader that looks between two writes would see a part of a line: `tail -f | jq`."""
    read_end, write_end = os.pipe()
    journal = loaded(tmp_path / "out.jsonl")
    os.dup2(write_end, journal._fd)
    line = answer("a") * 4
    journal.append(line)
    assert os.read(read_end, 1 << 16) == line
    os.close(read_end)
    os.close(write_end)


# The plan ---------------------------------------------------------------------------------------------------------


def plan_over(answers: Answers, **options: object) -> Plan:
    return Plan(answers, lambda item: request_hash(item.custom_id.encode()), **options)  # type: ignore[arg-type]


def test_what_is_answered_is_not_asked() -> None:
    answers = Answers()
    answers.add(Answered("a", request_hash(b"a"), Outcome.REFUSAL))
    plan = plan_over(answers)
    assert [plan.sort(Item(name, 1)) for name in "ab"] == [Standing.ANSWERED, Standing.TO_ASK]
    assert plan.outcomes == {Outcome.REFUSAL: 1}


@pytest.mark.parametrize("answered", [True, False])
def test_an_id_that_came_before_is_bad_input(answered: bool) -> None:
    answers = Answers()
    if answered:
        answers.add(Answered("a", request_hash(b"a"), Outcome.STOP))
    plan = plan_over(answers)
    plan.sort(Item("a", 1))
    with pytest.raises(Failure, match="line 7: duplicate id 'a'"):
        plan.sort(Item("a", 7))


@pytest.mark.parametrize("may_change", [True, False])
def test_an_answer_to_another_request_stops_the_run_unless_it_may_change(may_change: bool) -> None:
    answers = Answers()
    answers.add(Answered("a", request_hash(b"something else"), Outcome.STOP))
    plan = plan_over(answers)
    plan.may_change = may_change
    if may_change:
        assert plan.sort(Item("a", 2)) is Standing.TO_ASK
        assert plan.changed == ["a"]
        return
    with pytest.raises(Failure) as caught:
        plan.sort(Item("a", 2))
    assert caught.value.verdict.outcome is Outcome.JOURNAL


def test_shards_part_the_input_whole() -> None:
    names = [f"item {number}" for number in range(1000)]
    shares = [[name for name in names if Shard(number, 7).has(name)] for number in range(7)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    assert all(100 < len(share) < 190 for share in shares)


def test_a_sync_that_lines_overtake_leaves_them_to_the_next_one(tmp_path: Path) -> None:
    """A thread syncs while lines are added: what came after its start must be synced again, and not be forgotten."""
    journal = loaded(tmp_path / "out.jsonl")
    journal.append(answer("a"))
    with journal._syncing:
        thread = threading.Thread(target=journal.sync)
        thread.start()
        journal.append(answer("b"))
    thread.join()
    journal.append(answer("c"))
    journal.sync()
    assert not journal._needs_sync
    journal.close()


def test_a_sync_that_fails_is_told_again_at_the_end(tmp_path: Path) -> None:
    journal = loaded(tmp_path / "out.jsonl")
    journal.append(answer("a"))
    read_end, write_end = os.pipe()
    os.dup2(write_end, journal._fd)  # fdatasync(2) of a pipe is EINVAL
    for finish in (journal.sync, journal.close):
        with pytest.raises(Failure):
            finish()
    os.close(read_end)
    os.close(write_end)


def test_lines_are_put_into_order_without_reading_much_more_than_them(tmp_path: Path) -> None:
    """Each line of a shuffled file was read through a buffer of 1 MB: 25 s for 100,000 short lines."""
    path, count = tmp_path / "out.jsonl", 400
    names = [f"q{number}" for number in range(count)]
    shuffled = random.Random(1).sample(names, count)
    path.write_bytes(b"".join(map(long_answer, shuffled)))
    journal = loaded(path)
    before = bytes_read()
    journal.reorder(BATCH, {name: place for place, name in enumerate(names)}.get)
    assert bytes_read() - before < 4 * path.stat().st_size + (1 << 20)
    journal.close()
    assert path.read_bytes() == b"".join(map(long_answer, names))


def long_answer(custom_id: str) -> bytes:
    return answer(custom_id).replace(b'"response"}', b'"response","padding":"' + b"x" * 10_000 + b'"}')


def bytes_read() -> int:
    """What this process has asked the system for, by read(2) and pread(2)."""
    try:
        text = Path("/proc/self/io").read_text()
    except OSError as error:
        pytest.skip(f"no /proc/self/io: {error}")
    return int(text.split()[1])
