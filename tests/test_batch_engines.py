"""--shards: engines that people have run the shards; what comes back is what one run would have left."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.batches import BATCH_COMMAND, batch, by_id, item, numbered, read_records, text_of, write_lines
from tests.support.engines import (
    RayCluster,
    Slurm,
    descendants,
    kill_node,
    run_hosts,
    run_ray,
    run_slurm,
    why_no_hosts,
    why_no_slurm,
)
from tests.support.origin import Asked, Origin, echo, error, run_origin
from tests.support.program import NOTHING, Environment, start
from tests.support.waiting import wait_until

needs_parallel = pytest.mark.skipif(shutil.which("parallel") is None, reason="without GNU parallel")
HERE = ("--on", "parallel")
WAY_THERE = 60.0
"""Seconds until a killed shard is at work again, on a machine that does much else."""


class Gate:
    """An answer to each prompt, the first `count` at once, others when they are let through."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)
        self._lock = threading.Lock()
        self.waiting = 0

    def __call__(self, asked: Asked) -> bytes:
        with self._lock:
            self.waiting += 1
        self._free.acquire()
        with self._lock:
            self.waiting -= 1
        return echo(asked)

    def let_one_through(self, origin: Origin) -> None:
        """One of those that wait, if there are any; it has gone, or has been followed by another."""
        asked, waiting = len(origin.asked), self.waiting
        if waiting:
            self._free.release()
            assert wait_until(lambda: self.waiting != waiting or len(origin.asked) > asked)

    def forget(self) -> None:
        """Those that wait have nobody any more who would read the answer."""
        with self._lock:
            self.waiting = 0

    def open(self) -> None:
        """Everybody, from now on."""
        self._free.release(1 << 20)


def check_answered(out: Path, count: int) -> None:
    """Each item has its answer, once, and nothing else is left."""
    records = by_id(read_records(out))
    assert {each: text_of(record) for each, record in records.items()} == {f"q{n}": f"q{n}" for n in range(count)}
    assert [path.name for path in out.parent.glob(f"{out.stem}.*")] == [out.name]


def kill_at_work(
    origin: Origin, gate: Gate, words: list[str], kill: Callable[[], None], env: Environment = NOTHING
) -> tuple[int, str]:
    """Kill something when all that may be answered is, and more is in flight; how the run ended."""
    with start(*words, program=BATCH_COMMAND, env=env) as process:
        assert wait_until(lambda: gate.waiting == 8, WAY_THERE)
        kill()
        gate.open()
        _, stderr = process.communicate(timeout=2 * WAY_THERE)
    return process.returncode, stderr.decode()


def check_drained(
    origin: Origin, gate: Gate, words: list[str], number: signal.Signals, env: Environment = NOTHING
) -> None:
    """A signal to a launch at work: all that was sent is answered, not all is sent, and it dies of that signal."""
    with start(*words, program=BATCH_COMMAND, env=env) as process:
        assert wait_until(lambda: gate.waiting == 8, WAY_THERE)
        process.send_signal(number)
        while process.poll() is None:  # a shard that has not heard of it yet asks for more
            gate.let_one_through(origin)
            wait_until(lambda: gate.waiting > 0 or process.poll() is not None)
        _, stderr = process.communicate()
    assert process.returncode == -number, stderr
    answered = {record["custom_id"] for record in read_records(Path(words[2]))}
    assert answered == {*origin.prompts}
    assert set(origin.prompts.values()) == {1}
    assert len(answered) < 1000


def kill_shards(launcher: int) -> None:
    """Kill the runs that ask, and not the engine, nor what it has started for each."""
    for pid in descendants(launcher):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"oastream.batch" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)


# GNU parallel


@needs_parallel
def test_shards_leave_what_one_run_leaves_and_the_same_command_asks_nothing(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 24), tmp_path / "out.jsonl"
    with run_origin() as origin:
        words: list[str | Path] = [source, "-o", out, "--base-url", origin.url, "--order", "input"]
        result = batch(*words, "--shards", "3", *HERE)
        assert (result.status, result.out, result.err) == (0, b"", "")
        assert [record["custom_id"] for record in read_records(out)] == [f"q{number}" for number in range(24)]
        again = batch(*words, "--shards", "2", *HERE)
        assert (again.status, again.err) == (0, "")
        alone = batch(*words)
        assert (alone.status, alone.err) == (0, "")
        assert set(origin.prompts.values()) == {1}
    check_answered(out, 24)


@needs_parallel
def test_another_number_of_shards_goes_on_with_the_parts_and_the_answers_that_are_there(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 24), tmp_path / "out.jsonl"
    with run_origin() as origin:
        words = ["--base-url", origin.url]
        assert batch(numbered(tmp_path / "few.jsonl", 6), "-o", out, *words).status == 0
        for number in (0, 3):  # what a launch leaves that was killed
            part = tmp_path / f"out.oastream-{number}-of-4.jsonl"
            assert batch(source, "-o", part, "--shard", f"{number}/4", *words).status == 0
        before = origin.prompts
        known = {record["custom_id"] for record in read_records(out)}
        result = batch(source, "-o", out, *words, "--shards", "3", *HERE)
        after = origin.prompts
    assert (result.status, result.err) == (0, "")
    assert all(after[each] == before[each] for each in {*before, *known})
    check_answered(out, 24)


@needs_parallel
def test_what_fails_is_counted_and_not_run_again(tmp_path: Path) -> None:
    """parallel tries three times what ends with a status: a shard whose items failed has come to its end."""

    def refuse(asked: Asked) -> bytes:
        return error("400 Bad Request") if asked.prompt in ("q1", "q2") else echo(asked)

    source, out = numbered(tmp_path / "in.jsonl", 12), tmp_path / "out.jsonl"
    with run_origin(refuse) as origin:
        words: list[str | Path] = [source, "-o", out, "--base-url", origin.url, "--shards", "2", *HERE]
        result = batch(*words)
        assert result.status == 50
        assert "10 of 12 items have a plain answer" in result.err
        assert {record["custom_id"] for record in read_records(tmp_path / "out.errors.jsonl")} == {"q1", "q2"}
        assert batch(*words).status == 50
        assert set(origin.prompts.values()) == {1}
        origin.answer = echo
        assert batch(*words, "--retry-failed", "--errors", tmp_path / "out.errors.jsonl").status == 0
        assert set(origin.prompts.values()) == {1, 2}
    check_answered(out, 12)


@needs_parallel
def test_redo_asks_once_whatever_the_shards_live_through(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 8), tmp_path / "out.jsonl"
    with run_origin() as origin:
        words: list[str | Path] = [source, "-o", out, "--base-url", origin.url, "--shards", "2", *HERE]
        assert batch(*words).status == 0
        assert batch(*words, "--redo", "stop").status == 0
        assert set(origin.prompts.values()) == {2}
        write_lines(source, [item(f"q{number}", f"other q{number}") for number in range(8)])
        assert batch(*words).status == 52
        assert batch(*words, "--redo", "changed").status == 0
    assert {text_of(record) for record in read_records(out)} == {f"other q{number}" for number in range(8)}


@needs_parallel
def test_a_signal_lets_shards_finish_what_is_in_flight_and_merges_it(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 1000), tmp_path / "out.jsonl"
    gate = Gate(6)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", *HERE]
        check_drained(origin, gate, words, signal.SIGINT)
        gate.open()
        assert batch(*words).status == 0
        assert set(origin.prompts.values()) == {1}
    check_answered(out, 1000)


@needs_parallel
def test_a_launch_that_is_killed_leaves_its_shards_at_work_and_the_next_one_asks_nothing_again(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    gate = Gate(6)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", *HERE, "--shards"]
        with start(*words, "2", program=BATCH_COMMAND) as process:
            assert wait_until(lambda: gate.waiting == 8, WAY_THERE)
            left = descendants(process.pid)
            process.kill()
            process.wait()
        busy = batch(*words, "3")
        assert (busy.status, "is in use" in busy.err) == (52, True), busy.err
        gate.open()
        assert wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in left))
        result = batch(*words, "3")
        assert (result.status, result.err) == (0, "")
        assert set(origin.prompts.values()) == {1}
    check_answered(out, 20)


@needs_parallel
def test_a_shard_that_dies_again_and_again_is_named_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    gate = Gate(6)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "1", *HERE]
        with start(*words, program=BATCH_COMMAND) as process:
            while process.poll() is None:
                if gate.waiting:
                    kill_shards(process.pid)
                    gate.forget()
                wait_until(lambda: gate.waiting > 0 or process.poll() is not None, WAY_THERE)
            _, stderr = process.communicate()
        assert process.returncode == 50
        assert b"6 of 20 items have a plain answer: 6 stop, 14 not asked" in stderr
        assert b"parallel has given up on shard 0 of 1" in stderr
        assert len(read_records(out)) == 6
        gate.open()
        assert batch(*words).status == 0
    check_answered(out, 20)


@needs_parallel
def test_a_key_that_is_refused_ends_the_batch_as_on_one_machine(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 20), tmp_path / "out.jsonl"
    with run_origin(lambda asked: error("401 Unauthorized", "bad key")) as origin:
        words: list[str | Path] = [source, "--base-url", origin.url, "-j", "1"]
        alone = batch(*words, "-o", tmp_path / "alone.jsonl")
        result = batch(*words, "-o", out, "--shards", "2", *HERE)
        assert (result.status, alone.status) == (51, 51)
        assert "bad key" in result.err


@pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())
def test_a_signal_lets_shards_on_hosts_finish_too(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 1000), tmp_path / "out.jsonl"
    gate = Gate(6)
    (tmp_path / "ssh").mkdir()
    with run_hosts(tmp_path / "ssh", 2) as hosts, run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", *HERE]
        words += ["--on-args", f"--sshloginfile {hosts.login_file}"]
        check_drained(origin, gate, words, signal.SIGTERM)


@pytest.mark.skipif(bool(why_no_hosts()), reason=why_no_hosts())
def test_a_host_that_is_lost_at_work_costs_only_what_it_had_in_flight(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    gate = Gate(12)
    (tmp_path / "ssh").mkdir()
    with run_hosts(tmp_path / "ssh", 2) as hosts, run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", *HERE]
        words += ["--on-args", f"--sshloginfile {hosts.login_file}"]
        status, stderr = kill_at_work(origin, gate, words, lambda: kill_node(hosts.daemons[0].pid))
        assert status == 0, stderr
        assert sum(origin.prompts.values()) - 40 <= 4
    check_answered(out, 40)


# Slurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with run_slurm(tmp_path_factory.mktemp("slurm"), 2) as cluster:
        yield cluster


@pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())
def test_a_node_of_slurm_that_is_lost_at_work_costs_only_what_it_had_in_flight(tmp_path: Path, slurm: Slurm) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    gate = Gate(12)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", "--on", "slurm"]
        status, stderr = kill_at_work(origin, gate, words, lambda: slurm.lose(0), slurm.environment)
        assert status == 0, stderr
        assert sum(origin.prompts.values()) - 40 <= 4
    check_answered(out, 40)


@pytest.mark.skipif(bool(why_no_slurm()), reason=why_no_slurm())
def test_a_signal_cancels_the_array_after_what_is_in_flight(tmp_path: Path, slurm: Slurm) -> None:
    slurm.return_all()
    source, out = numbered(tmp_path / "in.jsonl", 1000), tmp_path / "out.jsonl"
    gate = Gate(6)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", "--on", "slurm"]
        check_drained(origin, gate, words, signal.SIGTERM, slurm.environment)
        assert slurm.queue() == ""


# Ray


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    with run_ray(2) as cluster:
        yield cluster


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="without ray: pip install oastream[ray]")


@needs_ray
def test_a_signal_reaches_the_tasks_of_ray_and_lets_them_finish_what_is_in_flight(
    tmp_path: Path, ray: RayCluster
) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 1000), tmp_path / "out.jsonl"
    gate = Gate(6)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", "--on", "ray"]
        check_drained(origin, gate, words, signal.SIGTERM, ray.environment)


@needs_ray
def test_a_node_of_ray_that_is_lost_at_work_costs_only_what_it_had_in_flight(tmp_path: Path, ray: RayCluster) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    gate = Gate(12)
    with run_origin(gate) as origin:
        words = [str(source), "-o", str(out), "--base-url", origin.url, "-j", "4", "--shards", "2", "--on", "ray"]
        status, stderr = kill_at_work(origin, gate, words, lambda: ray.lose(1), ray.environment)
        assert status == 0, stderr
        assert sum(origin.prompts.values()) - 40 <= 4
    check_answered(out, 40)


def test_ray_without_an_address_is_told_so(tmp_path: Path) -> None:
    source = numbered(tmp_path / "in.jsonl", 2)
    result = batch(source, "-o", tmp_path / "out.jsonl", "--shards", "2", "--on", "ray", "--base-url", "mock:")
    assert result.status == 6
    assert "RAY_ADDRESS is not set" in result.err


# What makes no sense


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["in.jsonl", "--shards", "2", "--on", "parallel"], "--shards needs -o"),
        (["in.jsonl", "-o", "-", "--shards", "2", "--on", "parallel"], "--shards needs -o"),
        (["-o", "out.jsonl", "--shards", "2", "--on", "parallel"], "--shards needs INPUT to be a file"),
        (["-", "-o", "out.jsonl", "--shards", "2", "--on", "parallel"], "--shards needs INPUT to be a file"),
        (["in.jsonl", "-o", "out.jsonl", "--shards", "2"], "--shards needs --on"),
        (["in.jsonl", "-o", "out.jsonl", "--on", "slurm"], "need --shards"),
        (["in.jsonl", "-o", "out.jsonl", "--shards", "2", "--on", "slurm", "--shard", "0/2"], "--shard has no meaning"),
        (["in.jsonl", "-o", "out.jsonl", "--shards", "2", "--on", "slurm", "--repair"], "--repair has no meaning"),
        (["in.jsonl", "-o", "o.{shard}", "--shards", "2", "--on", "slurm"], "has {shard} in its name"),
        (["in.jsonl", "-o", "o", "--shards", "2", "--on", "slurm", "--report", "r"], "--report needs {shard}"),
        (["in.jsonl", "-o", "o", "--errors", "{shard}", "--shards", "2", "--on", "slurm"], "has {shard} in its name"),
        (["in.jsonl", "-o", "o", "--shards", "2", "--on", "slurm", "--on-args", "'"], "--on-args"),
        ([".", "-o", "o", "--shards", "2", "--on", "slurm"], "--shards needs INPUT to be a file"),
        (["in.jsonl", "-o", "in.jsonl", "--shards", "2", "--on", "slurm"], "are the same file"),
        (["in.jsonl", "-o", "/dev/null", "--shards", "2", "--on", "slurm"], "is not a regular file"),
        (["in.jsonl", "-o", "o", "--errors", "-", "--shards", "2", "--on", "slurm"], "--errors needs a regular file"),
        (["--merge", "out.jsonl", "in.jsonl", "--shards", "2"], "--shards has no meaning with --merge"),
    ],
)
def test_a_launch_that_makes_no_sense_exits_2_and_touches_nothing(words: list[str], why: str, tmp_path: Path) -> None:
    content = numbered(tmp_path / "in.jsonl", 2).read_bytes()
    result = batch(*words, cwd=tmp_path, stdin=content)
    assert (result.status, result.out) == (2, b"")
    assert why in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert (tmp_path / "in.jsonl").read_bytes() == content


def test_an_input_that_is_not_there_ends_a_launch_as_it_ends_a_run(tmp_path: Path) -> None:
    words = ["in.jsonl", "-o", "out.jsonl", "--base-url", "mock:"]
    alone = batch(*words, cwd=tmp_path)
    launched = batch(*words, "--shards", "2", "--on", "slurm", cwd=tmp_path)
    assert (launched.status, launched.err) == (alone.status, alone.err)


def test_an_engine_that_is_not_installed_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    with run_origin() as origin:
        assert batch(source, "-o", out, "--base-url", origin.url).status == 0
        words: list[str | Path] = [source, "-o", out, "--base-url", origin.url]
        env = {"PATH": str(tmp_path)}
        result = batch(*words, "--shards", "2", "--on", "slurm", env=env)
        assert result.status == 6
        assert "slurm cannot be started" in result.err
        assert batch(*words, "--shards", "2", "--on", "slurm", env=env).status == 6
        check_answered(out, 4)


def test_a_users_own_shards_are_no_parts(tmp_path: Path) -> None:
    source = numbered(tmp_path / "in.jsonl", 4)
    assert batch(source, "--shard", "0/2", "-o", "out.0-of-2.jsonl", "--base-url", "mock:", cwd=tmp_path).status == 0
    own = (tmp_path / "out.0-of-2.jsonl").read_bytes()
    words = (source, "-o", "out.jsonl", "--shards", "2", "--on", "parallel", "--base-url", "mock:")
    result = batch(*words, "--stats", cwd=tmp_path)
    assert (result.status, "--stats has no meaning with --shards" in result.err) == (2, True)
    if shutil.which("parallel") is None:
        pytest.skip("without GNU parallel")
    assert batch(*words, cwd=tmp_path).status == 0
    assert (tmp_path / "out.0-of-2.jsonl").read_bytes() == own
