"""A batch that is killed: at any moment nothing is lost, nothing doubled, and little is sent again.

In: runs on small inputs, each killed by SIGKILL and run again with the same command until one ends by itself. Out:
counts. The moment is random, by time or by the number of lines in the journal; OASTREAM_KILLS=500 kills more often.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.batches import BATCH_COMMAND, batch, by_id, numbered, read_records, text_of
from tests.support.origin import Origin, run_origin, say
from tests.support.program import start
from tests.support.waiting import SOON, wait_until

KILLS = int(os.environ.get("OASTREAM_KILLS", "30"))
ITEMS = 40
IN_FLIGHT = 6
LONG = "x" * 3000


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A server that repeats each prompt in an answer of 3 kB."""
    with run_origin(lambda asked: say(asked.prompt + LONG, asked)) as running:
        yield running


@dataclass
class Deaths:
    """What the kills of a test have come to."""

    kills: int = 0
    sent_again: int = 0
    in_flight: int = 0
    torn: int = 0
    lines: list[int] = field(default_factory=list)


def kill_once(origin: Origin, words: list[str], out: Path, chance: random.Random, deaths: Deaths) -> bool:
    """Run, and kill at a line that is chosen by chance, or soon after it. False when it had ended before."""
    before = len(origin.asked)
    at = count_lines(out) + chance.randrange(0, 12)
    with start(*words, program=BATCH_COMMAND) as process:
        assert wait_until(
            lambda: process.poll() is not None or (bool(origin.asked[before:]) and count_lines(out) >= at)
        )
        try:
            process.wait(chance.choice([0.0, 0.001, 0.005, 0.02]))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        killed = process.wait(SOON) == -signal.SIGKILL
    if killed:
        deaths.kills += 1
        deaths.lines.append(at)
        deaths.torn += out.exists() and not out.read_bytes().endswith(b"\n") and out.stat().st_size > 0
    return killed


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_run_that_is_killed_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, origin: Origin, order: str
) -> None:
    chance = random.Random(KILLS)
    total = Deaths()
    for number in range(KILLS):  # each round has one kill or more
        if total.kills >= KILLS // 2:
            break
        deaths = Deaths()
        origin.asked.clear()
        out = tmp_path / f"out{number}.jsonl"
        source = numbered(tmp_path / "in.jsonl", ITEMS)
        words = [str(source), "-o", str(out), "-j", str(IN_FLIGHT), "--order", order, "--base-url", origin.url]
        while kill_once(origin, words, out, chance, deaths):
            pass
        result = batch(*words)  # where the last one was killed after its last line
        assert result.status == 0, result
        check_all_answered(out, ITEMS)
        asked = origin.prompts
        assert set(asked) == {f"q{item}" for item in range(ITEMS)}
        sent_again = sum(asked.values()) - ITEMS
        assert sent_again <= IN_FLIGHT * deaths.kills
        total.kills += deaths.kills
        total.sent_again += sent_again
        total.torn += deaths.torn
    print(f"{total.kills} kills, {total.sent_again} sent again, {total.torn} torn lines")
    assert total.kills >= KILLS // 2


def check_all_answered(out: Path, count: int) -> None:
    """One line an id, with its own answer."""
    answers = by_id(read_records(out))
    assert {custom_id: text_of(record) for custom_id, record in answers.items()} == {
        f"q{number}": f"q{number}{LONG}" for number in range(count)
    }


def test_what_a_power_failure_leaves_of_the_last_line_is_asked_again(tmp_path: Path, origin: Origin) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    words = (source, "-o", out, "--base-url", origin.url)
    assert batch(*words).status == 0
    whole = out.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for size, tail in [
        (last + 1, b""),
        (last + 500, b""),
        (len(whole) - 1, b""),
        (last + 9, b"\0" * 50),
        (last, b"\0"),
    ]:
        out.write_bytes(whole[:size] + tail)
        assert batch(*words).status == 0
        check_all_answered(out, 4)


def test_a_killed_run_leaves_no_lock_and_no_files(tmp_path: Path, origin: Origin) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    source = numbered(folder / "in.jsonl", ITEMS)
    words = [str(source), "-o", str(folder / "out.jsonl"), "--base-url", origin.url]
    assert kill_once(origin, words, folder / "out.jsonl", random.Random(1), Deaths())
    assert batch(*words, "--order", "input").status == 0
    assert sorted(os.listdir(folder)) == ["in.jsonl", "out.jsonl"]
