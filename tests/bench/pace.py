"""How much of its limits each kind of server is used, in virtual time: `python -m tests.bench.pace [RPM …]`.

A line for each server and number of clients on its key (with limit/N each), a column for each limit: what was used of
what whole requests can use, and how many were refused, in percent after the first minute. `**` marks less than 95 or
more than 1. With "scarce" tokens they end before the requests do. Four limits take five minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
from typing import NamedTuple

from oastream.batch.pacing.gate import Settings
from tests.support.batch_simulator import AtOnce, Continuous, Items, ServerSettings, simulate

USUAL = (20, 60, 500, 3000)
COST = 583.0
"""Tokens that a server charges for a request of `Items` in the mean."""
IN_FLIGHT = 100_000
SEED = 7


class Case(NamedTuple):
    """A server and its clients. `window` is in seconds."""

    says: str
    window: float
    refills_at_once: bool
    is_scarce: bool
    clients: int
    rpm: int


class Found(NamedTuple):
    """Percent."""

    used: float
    refused: float


def all_cases(limits: list[int]) -> list[Case]:
    """All kinds of servers; a second of a limit of 60 a minute would hold one request."""
    ways = itertools.product(
        ("headers", "retry-after", "nothing"), (60.0, 1.0), (False, True), (False, True), (1, 8), limits
    )
    cases = [Case(*way) for way in ways]
    return [case for case in cases if case.window == 60 or case.rpm >= 500]


def find(case: Case) -> Found:
    """Simulate one."""
    tokens = case.rpm * COST * (0.6 if case.is_scarce else 3.0)
    refill = AtOnce if case.refills_at_once else Continuous
    server = ServerSettings(case.says, refill, case.window, rpm=case.rpm, tpm=tokens)
    settings = Settings(shards=case.clients, concurrency=IN_FLIGHT)
    end = 240 if case.rpm > 100 else 600
    share = simulate(server, settings, SEED, clients=case.clients, seconds=end).share(60, end)
    return Found(share.used / fill_windows(server), share.refused)


def fill_windows(server: ServerSettings, count: int = 5000) -> float:
    """How much of a counter whole requests fill, one after the other: the last one does not fit."""
    if server.refill is Continuous:
        return 1.0
    items = Items(random.Random(1))
    requests, tokens = server.rpm / 60 * server.window, server.tpm / 60 * server.window
    windows, used = 0, 0.0
    full = 1.0
    requests_left, tokens_left = requests, tokens
    for sent in range(count):
        item = items.next()
        assert item is not None
        cost = item.size / 4 + (item.output_limit or 0)
        if requests_left < 1 or tokens_left < cost:
            windows += 1
            full = max(sent / requests, used / tokens) / windows
            requests_left, tokens_left = requests, tokens
        requests_left -= 1
        tokens_left -= cost
        used += cost
    return full if windows >= 10 else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pace", description="Use of limits, simulated.")
    parser.add_argument("rpm", type=int, nargs="*", default=list(USUAL))
    limits = parser.parse_args().rpm
    cases = all_cases(limits)
    with multiprocessing.Pool() as pool:
        found = dict(zip(cases, pool.map(find, cases, chunksize=1), strict=True))
    print(f"{'rpm':44}", "".join(f"{limit:<16,}" for limit in limits))
    for first in dict.fromkeys(case._replace(rpm=0) for case in cases):
        refill = "at once" if first.refills_at_once else "continuous"
        name = f"{first.says}, {first.window:.0f} s, {refill}{', scarce' if first.is_scarce else ''}, {first.clients}"
        cells = [_cell(found.get(first._replace(rpm=limit))) for limit in limits]
        print(f"{name:44}", "".join(f"{cell:16}" for cell in cells))


def _cell(found: Found | None) -> str:
    if found is None:
        return ""
    mark = "" if found.used >= 95 and found.refused < 1 else "**"
    return f"{mark}{found.used:.1f}/{found.refused:.2f}"


if __name__ == "__main__":
    main()
