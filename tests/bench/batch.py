"""Many requests at once, side by side: `python -m tests.bench.batch [--venv DIR] [--write]`.

oastream-batch beside a script over the openai SDK's asynchronous client (over httpx2 and over aiohttp), one over plain
aiohttp that does not stream and keeps limits by two buckets, and xargs -P with curl, which parses nothing, and with
oastream. Each answer has 200 deltas; the server sends it at once (`answers`). CPU is that of the client and its
children. The peers that take 20 ms a stream are given fewer of them. Then the memory of many streams that are open.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench.answered import Answered, measured_answered
from tests.bench.measure import Command, Run, peak, run
from tests.bench.peers import HERE, Peers

ROOT = Path(__file__).parents[2]
EVENTS = 200
BATCH = "oastream-batch"
SDK_AIOHTTP, SDK_HTTPX2 = "openai SDK, aiohttp", "openai SDK, httpx2"
XARGS_CURL, XARGS_OASTREAM = "xargs -P, curl", "xargs -P, oastream"
TWO_BUCKETS = "aiohttp, two buckets, not streamed"
NOT_MEASURED = {"vllm run-batch": "runs the model itself, and its wheels need a GPU"}
ANSWERED = 100_000
OPEN = 5_000
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
        TWO_BUCKETS: [python, str(HERE / "two_buckets.py"), base, str(requests_of(TWO_BUCKETS)), "1e6", "1e9"],
        XARGS_CURL: each(XARGS_CURL, curl),
        XARGS_OASTREAM: each(XARGS_OASTREAM, f"{folder / 'oastream'} -n --base-url {base} --"),
    }
    return {name: command for name, command in found.items() if name in streams}


def write_requests(path: Path, count: int, api: str = "responses") -> Path:
    """Lines of the Batch API, and beside them a file with a word for each."""
    with path.open("w") as lines, path.with_suffix(".words").open("w") as words:
        for number in range(count):
            text: object = f"say {number}"
            field = "input"
            if api == "chat":
                field, text = "messages", [{"role": "user", "content": text}]
            lines.write(json.dumps({"custom_id": f"id-{number}", "body": {"model": "m", field: text}}) + "\n")
            words.write(f"word{number}\n")
    return path


@contextmanager
def answers_server(certificates: Sequence[str] = ()) -> Iterator[str]:
    """The server of whole answers; its host and port."""
    command = [sys.executable, str(HERE / "answers.py"), *certificates]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def measured(folder: Path, concurrency: int, streams: Mapping[str, int], runs: int) -> dict[str, Figure]:
    """Each peer's medians, the commands run in turn."""
    found: dict[str, list[Run]] = {name: [] for name in streams}
    with tempfile.TemporaryDirectory() as place, answers_server() as host:
        asked = commands(folder, f"http://{host}/whole/{EVENTS}", Path(place), concurrency, streams)
        for _ in range(runs):
            for name, command in asked.items():
                found[name].append(run(command))
    return {
        name: Figure(
            median(one.cpu for one in done) * 1e6 / streams[name], streams[name] / median(one.wall for one in done)
        )
        for name, done in found.items()
    }


def measured_memory(folder: Path, count: int) -> dict[str, float]:
    """Peak memory in MiB while so many streams are open, each half through its answer, which goes to a journal."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        files = write_certificates(Path(place))
        for scheme, certificates in (("http", []), ("https", files)):
            for api in ("responses", "chat"):
                requests = write_requests(Path(place) / f"{api}.jsonl", count, api)
                with answers_server(certificates) as host:
                    url = f"{scheme}://{host}/open/{EVENTS}/{count}/v1"
                    answers = Path(place) / f"{scheme}-{api}.jsonl"
                    words = [str(folder / BATCH), str(requests), "-o", str(answers), "--base-url", url]
                    variables = [f"SSL_CERT_FILE={file}" for file in files[:1]]
                    command = ["env", *variables, *words, "-j", str(count)]
                    found[f"{api}, {scheme}"] = peak(command)
                assert answers.read_bytes().count(b"\n") == count
    return found


def write_certificates(place: Path) -> list[str]:
    """A certificate for this machine and its key; it signs itself."""
    certificate, key = str(place / "certificate.pem"), str(place / "key.pem")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*words, *name, "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    return [certificate, key]


def table(rows: Mapping[int, Mapping[str, Figure]]) -> str:
    """A line a peer; for each number in flight CPU and speed, as multiples of ours."""
    counts = list(rows)
    heads = [f"CPU a stream, {count} in flight | streams/s" for count in counts]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|---|' * len(counts)}"]
    for name in dict.fromkeys(name for found in rows.values() for name in found):
        cells = [cell for count in counts for cell in _cells(rows[count], name)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    for name, why in NOT_MEASURED.items():
        lines.append(f"| `{name}` | not measured: {why} |{' |' * (2 * len(counts) - 1)}")
    return "\n".join([*lines, ""])


def memory_line(found: Mapping[str, float], count: int) -> str:
    """The memory of open streams, as a sentence."""
    figures = "; ".join(f"{name} {size:.0f} MiB" for name, size in found.items())
    return f"`oastream-batch` with {count:,} streams open, each half through its answer, peak memory: {figures}.\n"


def answered_line(found: Answered, count: int) -> str:
    """What a run takes that finds all items answered."""
    return (
        f"\n{count:,} items that are all answered, 2.6 kB each: {found.wall:.1f} s, {found.cpu:.1f} s of CPU, "
        f"{found.memory:.0f} MB more than one item. Nothing is connected.\n"
    )


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
    place += f", runs of each: {given.runs}"
    few = {SDK_AIOHTTP: 300, SDK_HTTPX2: 300}
    ours = {BATCH: 10_000, TWO_BUCKETS: 2_000}
    rows = {
        100: measured(folder, 100, {**ours, **few, XARGS_CURL: 1000, XARGS_OASTREAM: 300}, given.runs),
        500: measured(folder, 500, {**ours, **dict.fromkeys(few, 600)}, given.runs),
    }
    text = f"{table(rows)}\n{memory_line(measured_memory(folder, OPEN), OPEN)}"
    text += answered_line(measured_answered(folder / BATCH, ANSWERED, 2600, given.runs), ANSWERED)
    print(f"{place}\n\n{text}")
    if given.write:
        readme = ROOT / "README.md"
        readme.write_text(with_figures(readme.read_text(), place, text))


if __name__ == "__main__":
    main()
