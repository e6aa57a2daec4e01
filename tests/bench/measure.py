"""Runs commands in turn, and counts what they take: time, CPU, delay, memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.peers import SDK, Command, Peers, Plan

STAMP = re.compile(rb"(\d{10,})(?:\n|\\n)")
"""The moment that a paced delta was sent, in text or in JSON."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: seconds, and seconds of CPU of all its processes."""

    wall: float
    cpu: float
    first_byte: float
    output: list[tuple[int, bytes]]
    """What came out with the nanosecond of its arrival, as far as it was kept."""

    def delays(self) -> list[float]:
        """Seconds from each stamp to its arrival, the shortest first."""
        found, rest = list[float](), b""
        for arrived, piece in self.output:
            text = rest + piece
            stamps = list(STAMP.finditer(text))
            found += [(arrived - int(stamp[1])) / 1e9 for stamp in stamps]
            rest = text[stamps[-1].end() :] if stamps else text
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of each peer, oastream's first, run by run. `is_time` says whether it is drawn."""

    what: str
    unit: str
    digits: int
    figures: Mapping[str, list[float]]
    is_time: bool = True

    def medians(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.figures.items()}


# A child's peak is at least its parent's size at the fork: measured from a process that is smaller than any peer.
_LAUNCH = """
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
print(os.wait4(child, 0)[2].ru_maxrss, file=sys.stderr)
"""


def peak(command: Command) -> float:
    """Peak memory of a command, MiB; its output is thrown away."""
    launch = [sys.executable, "-S", "-E", "-c", _LAUNCH, *_words(command)]
    done = subprocess.run(
        launch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(done.stderr.split()[-1]) / 1024


def run(command: Command, keep: int = 0) -> Run:
    """Run a command to its end; its stdout is read here, as a pipe's next program would, and `keep` bytes are kept."""
    began = time.monotonic()
    before = os.times()
    first, size, output = 0.0, 0, list[tuple[int, bytes]]()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(_words(command), stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as process:
        assert process.stdout is not None
        while piece := os.read(process.stdout.fileno(), 1 << 20):
            arrived = time.monotonic_ns()
            first = first or arrived / 1e9 - began
            size += len(piece)
            if size <= keep:
                output.append((arrived, piece))
    if process.returncode != 0:
        raise RuntimeError(f"status {process.returncode}: {command}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(time.monotonic() - began, cpu, first, output)


def _words(command: Command) -> list[str]:
    return command if isinstance(command, list) else ["/bin/sh", "-c", command]


@contextmanager
def server(plan: Plan) -> Iterator[str]:
    """The benchmark's server; its URL up to the path that chooses a stream."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), *map(str, plan.bursts())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def in_turn(commands: Mapping[str, Command], runs: int, keep: int = 0) -> dict[str, list[Run]]:
    """Each command `runs` times, A B C A B C …"""
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            found[name].append(run(command, keep))
    return found


def measured(peers: Peers, url: str, plan: Plan, runs: int) -> list[Row]:
    """All rows. Commands that take seconds are run a third as often."""
    few = max(2, runs // 3)
    return [
        *_start(peers.start(f"{url}/burst/{plan.few}"), plan, runs),
        *_burst(peers.burst(f"{url}/burst/{plan.burst}"), plan, few),
        *_steady(peers.steady(f"{url}/pace/{plan.paced[0]}/{plan.paced[1]}"), plan, few),
        *_delay(peers.steady(f"{url}/pace/{plan.delayed[0]}/{plan.delayed[1]}"), few),
        *(_memory(peers.memory(f"{url}/burst/{count}"), count, plan) for count in plan.memory),
        _row("--help", "ms", 0, in_turn(peers.help(), runs), lambda run: run.wall * 1e3),
        _row("Tab in bash", "ms", 0, in_turn(peers.tab(), runs), lambda run: run.wall * 1e3),
    ]


def _row(what: str, unit: str, digits: int, found: Mapping[str, list[Run]], figure: Callable[[Run], float]) -> Row:
    return Row(what, unit, digits, {name: [figure(one) for one in runs] for name, runs in found.items()})


def _start(commands: Mapping[str, Command], plan: Plan, runs: int) -> list[Row]:
    in_turn(commands, 1)  # what is on disk is in memory after this
    found = in_turn(commands, runs)
    talking = {name: done for name, done in found.items() if done[0].first_byte}
    return [
        _row(f"a {plan.few}-event answer, whole process", "ms", 0, found, lambda run: run.wall * 1e3),
        _row("its first byte", "ms", 0, talking, lambda run: run.first_byte * 1e3),
    ]


def _burst(commands: Mapping[str, Command], plan: Plan, runs: int) -> list[Row]:
    return [_row(f"{plan.burst:,} events at once", "s", 2, in_turn(commands, runs), lambda run: run.wall)]


def _steady(commands: Mapping[str, Command], plan: Plan, runs: int) -> list[Row]:
    count, rate = plan.paced
    found = in_turn(commands, runs)
    return [_row(f"CPU per event at {rate:,} events/s", "µs", 0, found, lambda run: run.cpu * 1e6 / count)]


def _delay(commands: Mapping[str, Command], runs: int) -> list[Row]:
    delays = {name: [run.delays() for run in done] for name, done in in_turn(commands, runs, keep=1 << 26).items()}
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        figures = {peer: [found[int(len(found) * share)] * 1e3 for found in done] for peer, done in delays.items()}
        rows.append(Row(f"event on the socket to bytes on stdout, {name}", "ms", 2, figures))
    return rows


def _memory(commands: Mapping[str, Command], count: int, plan: Plan) -> Row:
    asked = {name: command for name, command in commands.items() if name != SDK or count <= plan.sdk_memory}
    peaks = {name: [peak(command)] for name, command in asked.items()}
    return Row(f"peak memory, {count:,} events", "MiB", 0, peaks, is_time=False)
