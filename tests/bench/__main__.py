"""`python -m tests.bench [--venv DIR] [--runs N] [--svg FILE]`: see the package's docstring."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

from tests.bench.plot import bars

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BURST = 100_000
PACED, RATE = 10_000, 5_000
DELAYED, DELAY_RATE = 2_000, 500
MEMORY = (1_000, 100_000, 1_000_000)


@dataclass(slots=True)
class Run:
    """One run of a command: seconds, seconds of CPU of all its processes, delays in ms."""

    wall: float
    cpu: float
    first_byte: float
    delays: list[float] = field(default_factory=list)


# A child's peak is at least its parent's size at the fork: measured from a process that is smaller than any peer.
_LAUNCH = """
import os, sys
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
print(os.wait4(child, 0)[2].ru_maxrss, file=sys.stderr)
"""


def peak(command: list[str]) -> float:
    """Peak memory of a command, MiB; its output is thrown away."""
    launch = [sys.executable, "-S", "-E", "-c", _LAUNCH, *command]
    done = subprocess.run(
        launch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(done.stderr.split()[-1]) / 1024


def run(command: list[str] | str, stamped: bool = False) -> Run:
    """Run a command, a list or a line for sh, to its end; its stdout is read here, as a pipe's next program would."""
    began = time.monotonic()
    words = command if isinstance(command, list) else ["/bin/sh", "-c", command]
    before = os.times()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    first, delays, rest = 0.0, list[float](), b""
    while piece := os.read(process.stdout.fileno(), 1 << 20):
        first = first or time.monotonic() - began
        if stamped:
            arrived = time.monotonic_ns()
            *lines, rest = (rest + piece).split(b"\n")
            delays += [(arrived - int(line)) / 1e6 for line in lines if line.isdigit()]
    process.wait()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(time.monotonic() - began, cpu, first, delays)


@contextmanager
def server() -> Iterator[str]:
    """The benchmark's server; its URL up to the path that chooses a stream."""
    counts = ["20", str(BURST), *map(str, MEMORY)]
    command = [sys.executable, str(HERE / "server.py"), *counts]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


class Peers:
    """The command lines that are compared, each for a base URL."""

    def __init__(self, venv: Path) -> None:
        self._bin = venv / "bin"
        if not (self._bin / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            pip = [str(self._bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, str(ROOT), "llm"], check=True)
        self._llm_home = venv / "llm"
        self._llm_home.mkdir(exist_ok=True)

    def oastream(self, url: str, *options: str) -> list[str]:
        return [str(self._bin / "oastream"), "--base-url", f"{url}/v1", *options, "hi"]

    def sdk(self, url: str, api: str = "responses") -> list[str]:
        return [str(self._bin / "python"), str(HERE / "sdk.py"), f"{url}/v1", api]

    def llm(self, url: str) -> str:
        model = f"- model_id: bench\n  model_name: m\n  api_base: {url}/v1\n"
        (self._llm_home / "extra-openai-models.yaml").write_text(model)
        return f"LLM_USER_PATH={self._llm_home} OPENAI_API_KEY=none {self._bin}/llm -m bench --no-log hi"

    def curl(self, url: str, then: str = "") -> str:
        return f"curl -sN -X POST -H 'content-type: application/json' -d '{{}}' {url}/v1/responses{then}"

    def python(self) -> list[str]:
        return [str(self._bin / "python"), "-c", "pass"]


def in_turn(commands: dict[str, list[str] | str], runs: int, stamped: bool = False) -> dict[str, list[Run]]:
    """Each command `runs` times, A B C A B C …, after one run of each that does not count."""
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in commands.items():
            result = run(command, stamped)
            if turn:
                found[name].append(result)
    return found


def spread(values: list[float], digits: int) -> str:
    """Median with minimum and maximum."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


class Table:
    """Rows of a Markdown table, with the ratio of each peer to oastream, the first of its group."""

    def __init__(self) -> None:
        self.medians: dict[str, dict[str, float]] = {}
        print("| what | who | median (min–max) | times oastream |\n|---|---|---|---|")

    def add(self, what: str, unit: str, found: dict[str, list[float]], digits: int = 0) -> None:
        ours = median(next(iter(found.values())))
        for name, values in found.items():
            ratio = median(values) / ours if ours else 0
            print(f"| {what} | {name} | {spread(values, digits)} {unit} | {ratio:.1f} |", flush=True)
        self.medians[what] = {name: median(values) for name, values in found.items()}


def measure(peers: Peers, url: str, runs: int) -> Table:
    table = Table()
    start = in_turn(
        {
            "oastream": peers.oastream(f"{url}/burst/20"),
            "openai SDK": peers.sdk(f"{url}/burst/20"),
            "llm": peers.llm(f"{url}/burst/20"),
            "curl -N": peers.curl(f"{url}/burst/20"),
            "python -c pass": peers.python(),
        },
        runs,
    )
    table.add("a 20-event answer, whole process", "ms", {n: [r.wall * 1000 for r in rs] for n, rs in start.items()})
    talking = {name: rs for name, rs in start.items() if rs[0].first_byte}
    table.add("its first byte", "ms", {n: [r.first_byte * 1000 for r in rs] for n, rs in talking.items()})
    few = max(2, runs // 3)
    fast = in_turn(
        {
            "oastream": peers.oastream(f"{url}/burst/{BURST}"),
            "oastream --api chat": peers.oastream(f"{url}/burst/{BURST}", "--api", "chat"),
            "oastream --format ndjson": peers.oastream(f"{url}/burst/{BURST}", "--format", "ndjson"),
            "openai SDK": peers.sdk(f"{url}/burst/{BURST}"),
            "openai SDK, chat": peers.sdk(f"{url}/burst/{BURST}", "chat"),
            "curl -N": peers.curl(f"{url}/burst/{BURST}"),
            "curl -N, jq -R": peers.curl(f"{url}/burst/{BURST}", " | jq --unbuffered -R ."),
            "curl -N, sed -u, jq": peers.curl(
                f"{url}/burst/{BURST}", " | sed -un 's/^data: //p' | jq --unbuffered -rj '.delta // empty'"
            ),
        },
        few,
    )
    table.add("100,000 events at once", "s", {n: [r.wall for r in rs] for n, rs in fast.items()}, 2)
    steady = in_turn(
        {
            "oastream": peers.oastream(f"{url}/pace/{PACED}/{RATE}"),
            "openai SDK": peers.sdk(f"{url}/pace/{PACED}/{RATE}"),
        },
        few,
    )
    table.add(
        f"CPU per event at {RATE} events/s", "µs", {n: [r.cpu * 1e6 / PACED for r in rs] for n, rs in steady.items()}
    )
    late = in_turn(
        {
            "oastream": peers.oastream(f"{url}/pace/{DELAYED}/{DELAY_RATE}"),
            "openai SDK": peers.sdk(f"{url}/pace/{DELAYED}/{DELAY_RATE}"),
        },
        few,
        stamped=True,
    )
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        delays = {n: [sorted(r.delays)[int(len(r.delays) * share)] for r in rs] for n, rs in late.items()}
        table.add(f"event on the socket → bytes on stdout, {name}", "ms", delays, 2)
    for count in MEMORY:
        commands = {"oastream": peers.oastream(f"{url}/burst/{count}")}
        commands["oastream --format ndjson"] = peers.oastream(f"{url}/burst/{count}", "--format", "ndjson")
        if count <= BURST:
            commands["openai SDK"] = peers.sdk(f"{url}/burst/{count}")
        table.add(f"peak memory, {count:,} events", "MiB", {name: [peak(c)] for name, c in commands.items()}, 1)
    helps = in_turn(
        {"oastream": [*peers.oastream(url)[:1], "--help"], "llm": f"{peers.llm(url).split(' -m')[0]} --help"}, runs
    )
    table.add("--help", "ms", {n: [r.wall * 1000 for r in rs] for n, rs in helps.items()})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure oastream beside its peers.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="environment for the peers")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--svg", type=Path, help="where to draw the start-up times")
    given = parser.parse_args()
    missing = [name for name in ("curl", "jq", "sed") if shutil.which(name) is None]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    peers = Peers(given.venv)
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with server() as url:
        table = measure(peers, url, given.runs)
    if given.svg:
        given.svg.write_text(bars(table.medians))


if __name__ == "__main__":
    main()
