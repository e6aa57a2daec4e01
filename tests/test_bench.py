"""The benchmarks measure what they say: a run with few events, of the peers that the tests' environment has."""

from __future__ import annotations

import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import batch, pace, scale
from tests.bench.__main__ import FIGURES, PLOT, ROOT, prepared
from tests.bench.answered import measured_answered
from tests.bench.goals import all_goals, goal_lines, missed
from tests.bench.measure import Place, Run, count_instructions, why_uncounted
from tests.bench.peers import APIS, CURL, JQ_R, LLM, PYTHON, SDK, SED_JQ, US, Peers, ours
from tests.bench.plot import bars
from tests.bench.report import MARKS, full_report, short_table, show_figure, spread, with_figures
from tests.bench.rows import Figure, Row
from tests.bench.trials import FULL, all_rows
from tests.support.batch_simulator import AtOnce, ServerSettings

SMALL = replace(
    FULL,
    burst=200,
    counted=(20, 30),
    counted_alone=(20, 30, 100),
    paced=(50, 1_000),
    delayed=(50, 500),
    prompts=(2, 2),
    memory=(20, 200),
    sdk_memory=200,
    large=1_000_000,
    calls=20,
    body=1_000_000,
)
VERSIONS = {SDK: "3", LLM: "0"}
TOOLS = ("bash", "curl", "jq", "openssl", "seq", "xargs")
LEFT_OUT = {ours(api, form) for api in APIS for form in ("json", "sse")}
"""For their time: these formats differ from the others in one word of the command."""
ABSENT = frozenset({LLM, SDK, f"{SDK}, chat"} | LEFT_OUT)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """A run with few events, without the SDK and llm, which take seconds."""
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    peers = Peers(Path(sys.executable).parent, ROOT / "completions", ABSENT)
    with prepared(peers, SMALL, 1) as bench:
        return list(all_rows(bench._replace(counts=False)))


@pytest.mark.slow
def test_every_row_is_measured(rows: list[Row]) -> None:
    assert [row.figure.what for row in rows] == [
        "a 20-event answer, whole process",
        "its first byte",
        "a 20-event answer, CPU",
        "the same over https, the system's certificates in folder and file",
        "the same over https, the system's certificates in folder and file, CPU",
        "the same over https, the system's certificates in a file alone",
        "the same over https, the system's certificates in a file alone, CPU",
        "200 events at once",
        "200 events at once, CPU",
        "200 events of tool calls",
        "200 events into a pipe",
        "CPU per event at 1,000 events/s, whole process",
        "CPU per event at 1,000 events/s, start-up taken off",
        "event on the socket to bytes on stdout, p50",
        "event on the socket to bytes on stdout, p99",
        "an answer, 2 prompts through `xargs -P 2`",
        "peak memory, 20 events",
        "peak memory, 200 events",
        "peak memory, one event of 1 MB",
        "CPU of 20 tool calls",
        "CPU of a JSON body of 1 MB",
        "CPU of an error page of 1 MiB",
        "`--help`",
        "Tab in bash",
    ]
    figures = {row.figure.key: row.medians() for row in rows}
    taken = [value for key, row in figures.items() if key != "steady-events" for value in row.values()]
    assert all(value > 0 for value in taken)
    assert {US, CURL, PYTHON} <= figures["start"].keys()
    assert {US, CURL, JQ_R, SED_JQ, ours("chat", "tools")} <= figures["burst"].keys()
    assert PYTHON not in figures["first"]


@pytest.mark.slow
def test_every_row_is_shown(rows: list[Row]) -> None:
    short, whole = short_table(rows, VERSIONS), full_report("here", "no valgrind", all_goals(SMALL), rows)
    drawn = "".join(ET.fromstring(bars(rows, "here")).itertext())
    assert "Instructions are missing: no valgrind." in whole
    for row in rows:
        assert f"| {row.figure.what} | `" in whole
        assert (row.figure.what in drawn) == row.figure.is_short
        assert (f"| {row.figure.what} | {show_figure(row, row.medians().get(US, 0))} |" in short) == row.figure.is_short


@pytest.mark.slow
def test_every_goal_is_of_a_row(rows: list[Row]) -> None:
    goals = all_goals(SMALL)
    assert {goal.key for goal in goals} <= {row.figure.key for row in rows}
    lines = list(goal_lines(goals, rows))
    assert len(lines) == 2 + len(goals)
    measured = [line for line in lines if "not measured" not in line]
    assert any("`oastream` ÷ `python -c pass`" in line for line in measured)
    assert any("`oastream --api chat` ÷ `curl -N, chat`" in line for line in measured)


def test_runs_that_differ_are_told() -> None:
    def spread_of(walls: list[float]) -> str:
        return spread([Row(Figure("start", "start", "ms", 0, lambda run: run.wall), {US: walls})])

    assert "20 % at start" in spread_of([10, 9, 11])
    assert "unknown" in spread_of([10])


def test_a_goal_that_is_missed_is_named() -> None:
    def of(ours: float, theirs: float) -> list[str]:
        row = Row(Figure("start", "start", "ms", 0, lambda run: run.wall), {US: [ours], SDK: [theirs]})
        return [goal.what for goal in missed(all_goals(SMALL), [row])]

    assert of(10, 100) == []
    assert of(10, 99) == ["`openai SDK` ÷ `oastream`"]


@pytest.mark.skipif(why_uncounted() is not None, reason=str(why_uncounted()))
def test_the_instructions_of_a_command_are_the_same_each_time(tmp_path: Path) -> None:
    place = Place(folder=tmp_path)
    first, second, other = (count_instructions([name], place) for name in ("true", "true", "ls"))
    assert first == pytest.approx(second, rel=0.01)
    assert other > 1.1 * first


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
    assert place in FIGURES.read_text()
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
