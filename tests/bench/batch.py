"""Many requests at once, side by side: `python -m tests.bench.batch [--venv DIR] [--write]`.

oastream-batch beside a script over the openai SDK's asynchronous client (over httpx2 and over aiohttp), and beside
xargs -P with curl, which parses nothing, and with oastream. Each stream has 200 events; the server sends them at once.
CPU is that of the client and its children. The peers that take 20 ms a stream are given fewer of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.measure import Run, run, server
from tests.bench.peers import HERE, Command, Peers, Plan

ROOT = Path(__file__).parents[2]
EVENTS = 200
BATCH = "oastream-batch"
SDK_AIOHTTP, SDK_HTTPX2 = "openai SDK, aiohttp", "openai SDK, httpx2"
XARGS_CURL, XARGS_OASTREAM = "xargs -P, curl", "xargs -P, oastream"
MARKS = ("<!-- batch figures: made by `python -m tests.bench.batch --write` -->", "<!-- end of batch figures -->")


class Figure(NamedTuple):
    """Medians of one peer. CPU in microseconds a stream, speed in streams a second."""

    cpu: float
    speed: float


def commands(folder: Path, url: str, place: Path, concurrency: int, streams: Mapping[str, int]) -> dict[str, Command]:
    """The command of each peer; `streams` says how many requests it gets."""
    python, base = str(folder / "python"), f"{url}/v1"
    curl = f"curl -sN -X POST -H 'content-type: application/json' {base}/responses -d"

    def requests_of(name: str) -> Path:
        return write_requests(place / f"{name}.jsonl", streams.get(name, 1))

    def sdk(name: str, transport: str) -> Command:
        return [python, str(HERE / "sdk_batch.py"), base, str(requests_of(name)), str(concurrency), transport]

    def each(name: str, command: str) -> Command:
        return f"xargs -P {concurrency} -n 1 {command} < {shlex.quote(str(requests_of(name).with_suffix('.words')))}"

    found: dict[str, Command] = {
        BATCH: [str(folder / BATCH), str(requests_of(BATCH)), "--base-url", base, "-j", str(concurrency)],
        SDK_AIOHTTP: sdk(SDK_AIOHTTP, "aiohttp"),
        SDK_HTTPX2: sdk(SDK_HTTPX2, "httpx2"),
        XARGS_CURL: each(XARGS_CURL, curl),
        XARGS_OASTREAM: each(XARGS_OASTREAM, f"{folder / 'oastream'} -n --base-url {base} --"),
    }
    return {name: command for name, command in found.items() if name in streams}


def write_requests(path: Path, count: int) -> Path:
    """Lines of the Batch API, and beside them a file with a word for each."""
    lines = [{"custom_id": f"id-{n}", "body": {"model": "m", "input": f"say {n}"}} for n in range(count)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    path.with_suffix(".words").write_text("".join(f"word{n}\n" for n in range(count)))
    return path


def measured(folder: Path, concurrency: int, streams: Mapping[str, int], runs: int) -> dict[str, Figure]:
    """Each peer's medians, the commands run in turn."""
    found: dict[str, list[Run]] = {name: [] for name in streams}
    with tempfile.TemporaryDirectory() as place, server(Plan(EVENTS, EVENTS, (1, 1), (1, 1), (EVENTS,), 0)) as url:
        asked = commands(folder, f"{url}/burst/{EVENTS}", Path(place), concurrency, streams)
        for _ in range(runs):
            for name, command in asked.items():
                found[name].append(run(command))
    return {
        name: Figure(
            median(one.cpu for one in done) * 1e6 / streams[name], streams[name] / median(one.wall for one in done)
        )
        for name, done in found.items()
    }


def table(rows: Mapping[int, Mapping[str, Figure]]) -> str:
    """A line a peer; for each number in flight CPU and speed, as multiples of ours."""
    counts = list(rows)
    heads = [f"CPU a stream, {count} in flight | streams/s" for count in counts]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|---|' * len(counts)}"]
    for name in dict.fromkeys(name for found in rows.values() for name in found):
        cells = [cell for count in counts for cell in _cells(rows[count], name)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cells(found: Mapping[str, Figure], name: str) -> Sequence[str]:
    if name not in found:
        return "", ""
    ours, figure = found[BATCH], found[name]
    cpu, speed = f"{figure.cpu:,.0f} µs", f"{figure.speed:,.0f}"
    if name == BATCH:
        return cpu, speed
    return f"{cpu} ({figure.cpu / ours.cpu:.1f}×)", f"{speed} (1/{ours.speed / figure.speed:.1f})"


def with_figures(readme: str, place: str, text: str) -> str:
    """The README with the table between its marks. Raises `ValueError` where it has none."""
    begin, end = MARKS
    between = f"{begin}\n{place}; streams of {EVENTS} events, medians:\n\n{text}\n{end}"
    found, count = re.subn(
        f"{re.escape(begin)}.*{re.escape(end)}", between.replace("\\", "\\\\"), readme, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"README.md needs {begin} and {end} once")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.batch", description="Measure oastream-batch.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="environment for the peers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    Peers.installed(given.venv, ROOT)
    folder = given.venv / "bin"
    run([str(folder / "python"), "-m", "pip", "install", "--quiet", "aiohttp"])
    place = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    few = {SDK_AIOHTTP: 300, SDK_HTTPX2: 300}
    rows = {
        100: measured(folder, 100, {BATCH: 3000, **few, XARGS_CURL: 1000, XARGS_OASTREAM: 300}, given.runs),
        500: measured(folder, 500, {BATCH: 3000, **dict.fromkeys(few, 600)}, given.runs),
    }
    text = table(rows)
    print(f"{place}\n\n{text}")
    if given.write:
        readme = ROOT / "README.md"
        readme.write_text(with_figures(readme.read_text(), place, text))


if __name__ == "__main__":
    main()
