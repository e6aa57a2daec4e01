"""`oastream-batch` against a server that enforces limits, in real time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oastream.mock.script import plan_from_options
from oastream.mock.server import Server, serve
from tests.support.batches import batch, numbered, read_records

PER_SECOND = 40
LIMIT = {"rpm": str(60 * PER_SECOND), "limit_window": "second"}


@contextmanager
def mock(**options: str) -> Iterator[Server]:
    server = serve(plan_from_options(**options))
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("shown", ["all", "retry-after"])
def test_a_limit_is_used_and_little_more_is_asked(tmp_path: Path, shown: str) -> None:
    count = 8 * PER_SECOND
    source, answers = numbered(tmp_path / "in.jsonl", count), tmp_path / "out.jsonl"
    with mock(limit_headers=shown, **LIMIT) as server:
        begun = time.monotonic()
        result = batch("--base-url", server.url, "-o", answers, source)
        seconds = time.monotonic() - begun
        asked = len(server.requests)
    assert (result.status, result.err) == (0, "")
    assert len(read_records(answers)) == count
    assert asked <= 1.15 * count  # most of them at the very beginning, before anything is known of the server
    assert seconds <= 2.5 * count / PER_SECOND


@pytest.mark.parametrize("how", [{}, {"gone_status": "503"}], ids=["refusing", "503"])
def test_a_server_that_is_gone_for_a_while_costs_no_item(tmp_path: Path, how: dict[str, str]) -> None:
    source, answers = numbered(tmp_path / "in.jsonl", 200), tmp_path / "out.jsonl"
    with mock(gone="2", gone_after="0.3", delay="0.05", **how) as server:
        result = batch("--base-url", server.url, "--retry", "0", "-j", "8", "-o", answers, source)
    assert (result.status, result.err) == (0, "")
    assert len(read_records(answers)) == 200


def test_one_of_two_servers_that_is_gone_does_not_hold_up_the_other(tmp_path: Path) -> None:
    source, answers = numbered(tmp_path / "in.jsonl", 120), tmp_path / "out.jsonl"
    with mock(delay="0.05") as stays, mock(gone="30", gone_after="0.2", delay="0.05") as goes:
        words = ("--base-url", stays.url, "--base-url", goes.url, "--retry", "0", "-j", "4", "-o", answers)
        result = batch(*words, source, timeout=25)  # less than it is gone for
        asked = len(stays.requests)
    assert (result.status, result.err) == (0, "")
    assert len(read_records(answers)) == 120
    assert asked >= 80
