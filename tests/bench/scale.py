"""What many requests on many machines take: `python -m tests.bench.scale [--requests N] [--shards N]` (2 minutes).

Limits and servers are simulated (`tests/support/batch_simulator`), with the pace of the program itself: a few minutes
in virtual time, from which the whole run is worked out. What a shard does on its machine, reading the input and
remembering its part of it, is run. A request is 1,000 bytes and 150 tokens of answer in the mean, which takes 2.4 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from oastream.batch.keys import shard_number
from oastream.batch.pacing.gate import Settings
from tests.support.batch_simulator import Items, ServerSettings, simulate

RPM = 30_000.0
TPM = 150_000_000.0
SLOTS = 256
RECORD = 2600
"""Bytes of a record."""
TOKENS = 400
IN_FLIGHT = 4000
SIMULATED = 180
"""Seconds."""
UNLIMITED = 6e9
LINES = 200_000


class Shared(NamedTuple):
    """What clients on one key make of it after the first minute."""

    shards: int
    used: float
    refused: float


class Cost(NamedTuple):
    """What a shard's machine does before the first request: seconds of CPU a line, bytes of memory an item."""

    per_line: float
    per_item: float


def share_key(shards: int, rpm: float = RPM, tpm: float = TPM) -> Shared:
    """So many shards on a key with the limits, in virtual time."""
    settings = Settings(shards=shards, concurrency=IN_FLIGHT)
    run = simulate(ServerSettings("headers", rpm=rpm, tpm=tpm), settings, shards, clients=shards, seconds=SIMULATED)
    share = run.share(60, SIMULATED)
    return Shared(shards, share.used / 100, share.refused / 100)


def answer_alone(count: int) -> tuple[float, float]:
    """Answers a second of a shard with a server of its own and `-j auto`, the way up included; and at best."""
    server = ServerSettings("nothing", rpm=UNLIMITED, tpm=UNLIMITED, slots=SLOTS)
    speeds = []
    for concurrency in (None, SLOTS):
        run = simulate(server, Settings(concurrency=concurrency), 1, items=lambda luck: Items(luck, count=count))
        speeds.append(count / run.server.done[-1][0])
    return speeds[0], speeds[1]


def largest_part(requests: int, shards: int) -> float:
    """How many times the mean the largest shard has."""
    sizes = Counter(shard_number(f"request-{number}") % shards for number in range(requests))
    return max(sizes.values()) * shards / requests


def prepare_shard(place: Path) -> Cost:
    """Runs of the program whose server is not there: all that is left is to read the input."""
    source = place / "in.jsonl"
    padding = "x" * 900
    with source.open("w") as file:
        for number in range(LINES):
            line = {"custom_id": f"request-{number}", "body": {"model": "m", "input": f"{padding} {number}"}}
            file.write(f"{json.dumps(line)}\n")
    few, most = (_run_shard(source, place / "out.jsonl", shard) for shard in ("0/100", "0/1"))
    return Cost(few[0] / LINES, (most[1] - few[1]) / (0.99 * LINES))


def _run_shard(source: Path, answers: Path, shard: str) -> tuple[float, float]:
    """Seconds of CPU, and bytes of memory."""
    server = ("--base-url", "http://127.0.0.1:9", "--outage-max", "0.1")
    command = [sys.executable, "-m", "oastream.batch", *server, "--shard", shard, "-o", str(answers), str(source)]
    launch = "import os, sys; c = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ); u = os.wait4(c, 0)[2]"
    launch += "; print(u.ru_utime + u.ru_stime, u.ru_maxrss * 1024)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", launch, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    seconds, size = done.stdout.split()
    return float(seconds), float(size)


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description="What a large batch takes.")
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=100)
    given = parser.parse_args()
    requests, shards = given.requests, given.shards
    print(f"{requests:,} requests: {requests * TOKENS / 1e9:.1f} G tokens, {requests * RECORD / 1e9:.0f} GB of answers")
    largest = largest_part(requests, shards)
    print(f"the largest of {shards} shards has {100 * (largest - 1):.1f} % more than the mean")
    ideal = requests / RPM * 60
    print(f"one key, {RPM:,.0f} requests and {TPM:,.0f} tokens a minute: {hours(ideal)} at best")
    for count in (1, 2, 4, shards):
        shared = share_key(count)
        part = largest if count == shards else 1.0
        wall = ideal / min(shared.used, 1.0) * part
        print(
            f"  {count} shards: {100 * shared.used:.1f} % used, {100 * shared.refused:.2f} % refused: "
            f"{hours(wall)}, {wall / ideal:.3f} times the best"
        )
    count = min(requests // shards, 30_000)
    alone, best = answer_alone(count)
    wall = count / alone + (requests / shards * largest - count) / best
    print(f"own servers of {SLOTS} slots: {alone:.0f} answers/s in the first {count:,}, {best:.0f} at best")
    print(f"  {shards} of them: {hours(wall)}, {wall / (requests / shards / best):.3f} times the best")
    with tempfile.TemporaryDirectory() as place:
        cost = prepare_shard(Path(place))
    print(
        f"reading the input: {1e6 * cost.per_line:.1f} µs of CPU a line, {requests * cost.per_line:.0f} s in each shard"
    )
    print(f"memory: {cost.per_item:.0f} bytes an item, {requests / shards * cost.per_item / 1e6:.0f} MB in a shard")
    print(f"descriptors here: {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}; cores: {os.cpu_count()}")


if __name__ == "__main__":
    main()
