"""Runs commands, and counts what each takes: time, CPU, delay, memory, instructions.

In: a command, and where it runs. Out: a `Run`, or a number of instructions. Knows no peers and no rows.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Command = list[str] | str
STAMP = re.compile(rb"(\d{10,})(?:\n|\\n)")
"""The moment that a paced delta was sent, in text or in JSON."""
_COUNTED = re.compile(rb"I\s+refs:\s+([\d,]+)")
_VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
"""Counts to the instruction what callgrind counts, in two thirds of its time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where commands run: the environment, all of it, and the folder."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    folder: Path = Path()

    def having(self, variables: Mapping[str, str]) -> Place:
        return Place({**self.environment, **variables}, self.folder)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: seconds, seconds of CPU of all its processes, and what was looked at besides."""

    wall: float = 0.0
    cpu: float = 0.0
    first_byte: float = 0.0
    output: list[tuple[int, bytes]] = field(default_factory=list)
    """What came out with the nanosecond of its arrival, as far as it was kept."""
    memory: float = 0.0
    """Peak, in bytes."""

    def delay(self, share: float) -> float:
        """Seconds from a stamp to its arrival that this share of all does not exceed."""
        delays = self.delays()
        return delays[int(len(delays) * share)]

    def delays(self) -> list[float]:
        """Seconds from each stamp to its arrival, the shortest first."""
        found, rest = list[float](), b""
        for arrived, piece in self.output:
            text = rest + piece
            stamps = list(STAMP.finditer(text))
            found += [(arrived - int(stamp[1])) / 1e9 for stamp in stamps]
            rest = text[stamps[-1].end() :] if stamps else text
        return sorted(found)


def run(command: Command, place: Place | None = None, keep: int = 0) -> Run:
    """Run a command to its end; its stdout is read here, as a pipe's next program would, and `keep` bytes are kept."""
    place = place or Place()
    began, before = time.monotonic(), _cpu_of_children()
    first, size, output = 0.0, 0, list[tuple[int, bytes]]()
    with _start(command, place, subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := os.read(process.stdout.fileno(), 1 << 20):
            arrived = time.monotonic_ns()
            first = first or arrived / 1e9 - began
            size += len(piece)
            if size <= keep:
                output.append((arrived, piece))
    _check(process, command)
    return Run(time.monotonic() - began, _cpu_of_children() - before, first, output)


def run_delays(command: Command, place: Place) -> Run:
    """A run whose output is kept, to see what came when."""
    return run(command, place, keep=1 << 26)


def run_discarded(command: Command, place: Place) -> Run:
    """Run a command whose stdout is /dev/null: no reader takes part in its time."""
    began, before = time.monotonic(), _cpu_of_children()
    with _start(command, place, subprocess.DEVNULL) as process:
        process.wait()
    _check(process, command)
    return Run(time.monotonic() - began, _cpu_of_children() - before)


# A child's peak is at least its parent's size at the fork: measured from a process that is smaller than any peer.
_LAUNCH = """
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(status != 0)
"""


def run_weighed(command: Command, place: Place) -> Run:
    """Run a command for its peak memory; its output is thrown away."""
    launch = [sys.executable, "-S", "-E", "-c", _LAUNCH, *_words(command)]
    done = subprocess.run(
        launch,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=place.environment,
        cwd=place.folder,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.decode()}")
    return Run(memory=int(done.stderr.split()[-1]) * 1024)


def peak(command: Command) -> float:
    """Peak memory of a command, MiB."""
    return run_weighed(command, Place()).memory / 2**20


def why_uncounted() -> str | None:
    """Why there are no numbers of instructions here; None where there are."""
    if shutil.which(_VALGRIND[0]) is None:
        return "valgrind is not installed"
    tried = subprocess.run([*_VALGRIND, "true"], check=False, capture_output=True)
    return None if _COUNTED.search(tried.stderr) else "valgrind does not count on this machine"


def count_instructions(command: list[str], place: Place, output: int = subprocess.DEVNULL) -> int:
    """Of one process, its children not counted. The order of sets is the same each time.

    `output` is its stdout: a pipe is read to its end.
    """
    fixed = place.having({"PYTHONHASHSEED": "0"})
    with _start([*_VALGRIND, *command], fixed, output, subprocess.PIPE) as process:
        _, report = process.communicate()
    counted = _COUNTED.search(report)
    if process.returncode != 0 or counted is None:
        raise RuntimeError(f"status {process.returncode}: {command}: {report.decode(errors='replace')}")
    return int(counted[1].replace(b",", b""))


def _start(command: Command, place: Place, output: int, errors: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _words(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=place.environment,
        cwd=place.folder,
    )


def _check(process: subprocess.Popen[bytes], command: Command) -> None:
    if process.returncode != 0:
        raise RuntimeError(f"status {process.returncode}: {command}")


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _words(command: Command) -> list[str]:
    return command if isinstance(command, list) else ["/bin/sh", "-c", command]
