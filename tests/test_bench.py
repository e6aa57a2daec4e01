"""The benchmarks measure what they say: a run with few events, of the peers that the tests' environment has."""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.bench import batch, pace, scale
from tests.bench.__main__ import PLOT, ROOT
from tests.bench.answered import measured_answered
from tests.bench.measure import Run, measured, server
from tests.bench.peers import CURL, JQ_R, LLM, PYTHON, SDK, SED_JQ, US, Command, Peers, Plan
from tests.bench.plot import bars
from tests.bench.report import MARKS, long_table, short_table, with_figures
from tests.support.batch_simulator import AtOnce, ServerSettings

SMALL = Plan(20, 200, (50, 1_000), (50, 500), (20, 200), 0)
VERSIONS = {SDK: "3", LLM: "0"}
ABSENT = {LLM, SDK, f"{SDK}, chat"} | (set() if shutil.which("curl") and shutil.which("jq") else {CURL, JQ_R, SED_JQ})


class Present(Peers):
    """The peers without those that are not there, and without the SDK, which takes seconds."""

    def start(self, url: str) -> dict[str, Command]:
        return present(super().start(url))

    def burst(self, url: str) -> dict[str, Command]:
        return present(super().burst(url))

    def steady(self, url: str) -> dict[str, Command]:
        return present(super().steady(url))

    def memory(self, url: str) -> dict[str, Command]:
        return present(super().memory(url))

    def help(self) -> dict[str, Command]:
        return present(super().help())

    def tab(self) -> dict[str, Command]:
        return present(super().tab())


def present(commands: dict[str, Command]) -> dict[str, Command]:
    return {name: command for name, command in commands.items() if name not in ABSENT}


@pytest.mark.slow
def test_every_row_is_measured_and_shown(tmp_path: Path) -> None:
    peers = Present(Path(sys.executable).parent, tmp_path / "llm", ROOT / "completions")
    with server(SMALL) as url:
        rows = measured(peers, url, SMALL, 1)
    assert [row.what for row in rows] == [
        "a 20-event answer, whole process",
        "its first byte",
        "200 events at once",
        "CPU per event at 1,000 events/s",
        "event on the socket to bytes on stdout, p50",
        "event on the socket to bytes on stdout, p99",
        "peak memory, 20 events",
        "peak memory, 200 events",
        "--help",
        "Tab in bash",
    ]
    figures = {row.what: row.medians() for row in rows}
    assert all(value > 0 for row in figures.values() for value in row.values())
    assert PYTHON in figures["a 20-event answer, whole process"]
    assert PYTHON not in figures["its first byte"]
    drawn = ET.fromstring(bars(rows, "here"))
    shown = "".join(drawn.itertext())
    long, short = long_table(rows), short_table(rows, VERSIONS)
    for row in rows:
        assert row.what in long
        assert f"| {row.what} | {row.medians()[US]:.{row.digits}f} {row.unit} |" in short
        assert (row.what in shown) == row.is_time


def test_a_delay_is_from_the_stamp_to_the_arrival_however_it_is_cut() -> None:
    output = [(11_000_000_500, b"1100000"), (11_000_001_000, b'0000\n{"delta": "11000000900\\n"}')]
    assert Run(1, 1, 1, output).delays() == pytest.approx([1e-7, 1e-6])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("xargs") is None or shutil.which("curl") is None, reason="no xargs or no curl")
def test_many_requests_are_measured_beside_xargs() -> None:
    found = batch.measured(Path(sys.executable).parent, 4, {batch.BATCH: 20, batch.XARGS_CURL: 20}, 1)
    assert found.keys() == {batch.BATCH, batch.XARGS_CURL}
    assert all(figure.cpu > 0 and figure.speed > 0 for figure in found.values())
    text = batch.table({4: found})
    assert "| `vllm run-batch` | not measured: " in text
    assert f"| `{batch.BATCH}` | {found[batch.BATCH].cpu:,.0f} µs |" in text
    readme = (ROOT / "README.md").read_text()
    assert text in batch.with_figures(readme, "there", text)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
def test_the_memory_of_open_streams_is_measured_on_each_api_with_and_without_tls() -> None:
    found = batch.measured_memory(Path(sys.executable).parent, 4)
    assert found.keys() == {"responses, http", "chat, http", "responses, https", "chat, https"}
    assert all(10 < size < 100 for size in found.values())
    assert "with 4 streams open" in batch.memory_line(found, 4)


def test_the_readme_shows_the_figures_of_one_run() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.split(MARKS[0])[1].split(MARKS[1])[0]
    assert "| a 20-event answer, whole process |" in table
    place = table.split(";")[0].strip()
    assert place in PLOT.read_text()
    assert with_figures(readme, "there", "| table |").count("| table |") == 1
    with pytest.raises(ValueError, match="once"):
        with_figures("no marks", "there", "")


def test_shards_use_up_the_limits_of_their_key() -> None:
    shared = scale.share_key(4, rpm=600, tpm=6e6)
    assert shared.shards == 4
    assert shared.used >= 0.95
    assert shared.refused < 0.01


def test_a_shard_with_a_server_of_its_own_is_compared_with_the_best() -> None:
    alone, best = scale.answer_alone(2000)
    assert 0.5 * best < alone < 1.02 * best


def test_the_largest_of_few_parts_of_few_items_is_far_from_the_mean() -> None:
    assert 1.0 <= scale.largest_part(100_000, 10) < 1.05 < scale.largest_part(100, 10)


def test_a_batch_that_is_all_answered_is_measured_by_what_it_takes() -> None:
    """Its journal must fit its requests: else the run is refused, and `run` raises."""
    found = measured_answered(Path(sys.executable).parent / batch.BATCH, 20, 500, 1)
    assert found.wall > 0
    assert "20 items" in batch.answered_line(found, 20)


def test_each_kind_of_server_is_a_case_and_whole_requests_are_the_measure() -> None:
    cases = pace.all_cases([60, 500])
    assert len(cases) == len(set(cases)) == 24 + 48
    found = pace.find(pace.Case("headers", 60.0, True, False, 1, 60))
    assert found.used >= 95
    assert found.refused < 1
    by_second = ServerSettings("nothing", AtOnce, 1.0, rpm=500, tpm=1e9)
    assert pace.fill_windows(by_second) == pytest.approx(0.96, abs=0.01)  # 8 of 8.33
