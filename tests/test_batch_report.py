"""--report: the page of a run, as the real program writes it and as a browser reads it."""

from __future__ import annotations

import http.server
import itertools
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from oastream.batch.journal import Answers
from oastream.batch.plan import Plan
from oastream.batch.recorder import Figures
from oastream.batch.report.assets import STYLE
from oastream.batch.report.failures import Failures
from oastream.batch.report.page import render
from oastream.batch.report.sampling import MOST_BUCKETS, Histogram, LimitKey, Sampler, Totals
from oastream.batch.report.scale import time_axis, value_axis
from oastream.batch.report.snapshot import ServerFigures, Snapshot
from oastream.batch.report.units import milliseconds, number, percent, seconds
from oastream.batch.summary import stats_fields, tally
from oastream.exits import TABLE, Outcome, Verdict
from tests.support import streams
from tests.support.batches import BATCH_COMMAND, batch, item, numbered, read_records, write_lines
from tests.support.origin import Asked, echo, error, run_origin, say, streamed
from tests.support.pages import Page, read_page
from tests.support.program import CANARY, finish, run, start
from tests.support.waiting import wait_until
from tests.support.wire import Reply, wait

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)' x=\"",
    "a\u202egpj.exe\u2066\u200b",
    "esc\x1b[31m\x07nul\x7f",
    "]]>--><!--<style>*{display:none}</style>",
    "&lt;b&gt;&amp;",
]
_SHOWN = {
    "\u202e": "\\u202e",
    "\u2066": "\\u2066",
    "\u200b": "\\u200b",
    "\x1b": "\\x1b",
    "\x07": "\\x07",
    "\x7f": "\\x7f",
}


def shown(text: str) -> str:
    """How a page shows it."""
    return "".join(_SHOWN.get(character, character) for character in text)


class Mixed:
    """Answers some, and refuses others by what they ask for."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def __call__(self, asked: Asked) -> Reply:
        kind, _, _ = asked.prompt.partition(" ")
        if kind == "busy" and asked.prompt not in self.refused:
            self.refused.add(asked.prompt)
            return error("429 Too Many Requests", "slow down", headers={"retry-after-ms": "20"})
        if kind == "bad":
            return error("400 Bad Request", f"<b>bad</b> {asked.prompt} {asked.headers['authorization']}")
        limits = {"x-ratelimit-limit-requests": "1000", "x-ratelimit-remaining-requests": "750"}
        return streamed(streams.responses_body(streams.message("yes")), limits)


def test_the_page_says_what_stats_say(tmp_path: Path) -> None:
    kinds = ["busy"] * 3 + ["bad"] * 2 + ["good"] * 15
    source = write_lines(tmp_path / "in.jsonl", (item(f"q{n}", f"{kind} {n}") for n, kind in enumerate(kinds)))
    with run_origin(Mixed()) as origin:
        words = ("--base-url", origin.url, "-o", tmp_path / "out.jsonl", "--report", tmp_path / "r.html", source)
        result = batch("--stats=json", "-j", "4", *words)
    assert result.status == 50
    stats = json.loads(result.err.splitlines()[0])
    page = read_page(tmp_path / "r.html")
    assert page.data["stats"] == stats
    assert page.figures() == {
        "answers": "18",
        "attempts": str(stats["attempts"]),
        "rate_limited": "3",
        "tokens": str(stats["tokens"]),
        "tokens_per_s": str(stats["tokens_per_s"]),
        "first_event_ms.p50": str(stats["first_event_ms"]["p50"]),
        "first_event_ms.p99": str(stats["first_event_ms"]["p99"]),
        "elapsed_ms.p50": str(stats["elapsed_ms"]["p50"]),
        "elapsed_ms.p99": str(stats["elapsed_ms"]["p99"]),
        "held_s": str(stats["held_s"]),
    }
    outcomes = {row[0]: row[-2] for row in page.rows("outcomes")}
    assert outcomes == {"stop": "18", "bad_request": "2"}
    assert "out.errors.jsonl" in page.html
    assert stat.S_IMODE((tmp_path / "r.html").stat().st_mode) == 0o600
    assert_curves_add_up(page, answers=18, failures=2, rate_limited=3)


def assert_curves_add_up(page: Page, **wanted: int) -> None:
    """What the curves show, summed over time, is what was counted."""
    edges = page.data["edges"]
    widths = [end - begin for begin, end in itertools.pairwise(edges)]
    titles = [element.text for element in page.all("title") if "svg" in element.inside]
    curves = dict(zip((title.partition(":")[0] for title in titles), page.data["charts"], strict=True))
    answers, failures = curves["Answers per second"]
    for values, name in ((answers, "answers"), (failures, "failures"), (curves["429s per second"][0], "rate_limited")):
        total = sum(value * width for value, width in zip(values, widths, strict=True))
        assert total == pytest.approx(wanted[name], rel=0.02), name
    assert min(value for value in curves["Left of the server's limits"][0] if value is not None) == 75


def test_text_from_outside_stays_text_and_shows_what_it_hides(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "<in>&.jsonl", (item(text, "bad") for text in HOSTILE))
    with run_origin(Mixed()) as origin:
        words = ("--base-url", f"{origin.url}/?x=<u>", "--report", "r.html", "-o", "<i>.jsonl", source)
        assert batch(*words, cwd=tmp_path).status == 51
    page = read_page(tmp_path / "r.html")
    ids = [element.text for element in page.all("li") if "ids" in element.inside]
    assert sorted(ids) == sorted(shown(text) for text in HOSTILE)
    assert not {"img", "b ", "i ", "u"} & {element.name for element in page.elements}
    assert len(page.all("script")) == 2
    assert len(page.all("style")) == 1
    assert not [element for element in page.elements if any(name.startswith("on") for name in element.attributes)]
    assert "<b>bad</b> bad" in page.rows("failures")[0][2]
    assert CANARY not in page.html
    assert not re.search(r"[\u202e\u2066\u200b\x1b\x07\x7f]", page.html)


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    with run_origin() as origin:
        words = ("--base-url", origin.url, "--report", tmp_path / "r.html", numbered(tmp_path / "in", 3))
        assert batch(*words).status == 0
    page = read_page(tmp_path / "r.html")
    policy = page.meta("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    for element in page.elements:
        for name in ("src", "href", "action", "xlink:href", "data"):
            assert element.attributes.get(name) in (None, "data:,"), element
    assert "url(" not in page.html
    assert "@import" not in page.html


def test_each_chart_has_words_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    with run_origin() as origin:
        words = ("--base-url", origin.url, "--report", tmp_path / "r.html", numbered(tmp_path / "in", 3))
        assert batch(*words).status == 0
    page = read_page(tmp_path / "r.html")
    drawings = page.all("svg")
    assert drawings
    for drawing in drawings:
        for attribute in ("aria-labelledby", "aria-describedby"):
            assert page.by_id(drawing.attributes[attribute] or "").text
    columns = [element.text for element in page.all("th") if "details" in element.inside]
    assert {"Answers per second", "Requests in flight", "Time to the first event: p99"} <= set(columns)


def test_a_page_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with run_origin() as origin:
        for name in ("missing/r.html", "folder"):
            words = ("--base-url", origin.url, "--report", name, numbered(tmp_path / "in", 3))
            result = batch(*words, cwd=tmp_path)
            assert (result.status, result.out) == (9, b"")
            assert result.err.startswith(f"oastream-batch: {name} cannot be written: ")
        assert not origin.asked


def test_a_page_that_fails_at_the_end_costs_no_answer(tmp_path: Path) -> None:
    with run_origin() as origin:
        words = (
            "--base-url",
            origin.url,
            "--report",
            "/dev/full",
            "-o",
            tmp_path / "out",
            numbered(tmp_path / "in", 3),
        )
        result = batch(*words)
    assert result.status == 9
    assert "/dev/full cannot be written: no space left on device" in result.err.lower()
    assert len(read_records(tmp_path / "out")) == 3


def test_no_file_of_the_run_is_the_page(tmp_path: Path) -> None:
    numbered(tmp_path / "in", 2)
    for words in (("in",), ("-o", "in"), ("--errors", "in", "-o", "x")):
        result = batch(*words, "--report", "in", "in" if words != ("in",) else "-l", cwd=tmp_path)
        assert result.status == 2
        assert "the same file" in result.err


def test_a_fifo_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with run_origin() as origin:
        source = numbered(tmp_path / "in", 2)
        result = batch("--report", "fifo", "--base-url", origin.url, source, cwd=tmp_path)
        assert (result.status, "it is a FIFO" in result.err, len(origin.asked)) == (9, True, 0)


def test_a_page_may_go_to_a_device_or_through_a_link_and_not_to_a_dash(tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to("linked.html")
    with run_origin() as origin:
        words = ("--base-url", origin.url, numbered(tmp_path / "in", 2))
        assert batch("--report", "link.html", *words, cwd=tmp_path).status == 0
        result = batch("--report", "/dev/stdout", "-o", tmp_path / "out", *words)
        assert batch("--report", "-", *words).status == 2
    assert (tmp_path / "link.html").is_symlink()
    assert "2 of 2 items answered" in read_page(tmp_path / "linked.html").html
    assert (result.status, result.err) == (0, "")
    assert "2 of 2 items answered" in Page(result.text).html


def test_bad_input_leaves_the_page_of_the_last_run(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("the last run's")
    (tmp_path / "in").write_text("no JSON\n")
    for words in ((tmp_path / "in",), ("--no-such-option",)):
        assert batch("--report", tmp_path / "r.html", *words).status in (2, 8)
    assert batch("--report", tmp_path / "r.html", "-", stdin=b"").status == 8
    assert (tmp_path / "r.html").read_text() == "the last run's"


def test_a_resumed_run_tells_what_was_done_before(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in", [item("a"), item("b"), item("c", "bad")])
    with run_origin(Mixed()) as origin:
        words = ("--base-url", origin.url, "-o", tmp_path / "out", "--report", tmp_path / "r.html", source)
        assert batch(*words).status == 50
        write_lines(source, [item("a"), item("b"), item("c", "bad"), item("d")])
        assert batch(*words).status == 50
        page = read_page(tmp_path / "r.html")
        assert "3 of 4 items answered, 2 of them before this run, 1 failed" in page.html
        assert [row[3:6] for row in page.rows("outcomes")] == [["2", "1", "3"], ["1", "0", "1"]]
        assert batch(*words).status == 50  # nothing is left to ask
        assert "3 of 4 items answered, 3 of them before this run, 1 failed" in read_page(tmp_path / "r.html").html


def test_an_answer_that_is_not_plain_is_listed(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in", [item("cut-1"), item("cut-2")])
    with run_origin(lambda asked: say("x", asked)) as origin:
        words = ("--base-url", origin.url, "--schema", '{"type":"object"}', "--report", tmp_path / "r.html", source)
        assert batch(*words).status == 50
    page = read_page(tmp_path / "r.html")
    assert {element.text for element in page.all("li") if "ids" in element.inside} == {"cut-1", "cut-2"}
    assert page.rows("failures")[0][0] == "schema"


def test_a_run_can_be_watched_and_says_when_a_signal_ended_it(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return echo(asked) if asked.prompt == "q0" else [wait(threading.Event())]

    path = tmp_path / "r.html"
    with run_origin(answer) as origin:
        source = numbered(tmp_path / "in", 9)
        words = (str(source), "-o", str(tmp_path / "out"), "-j", "4", "--base-url", origin.url, "--report", str(path))
        with start(*words, "--drain", "0.1", program=BATCH_COMMAND) as process:
            assert wait_until(path.exists)
            page = read_page(path)
            assert page.meta("refresh") == "10"
            assert "1 of 9 items answered, 8 to go" in page.html
            assert page.all("title")[0].text.startswith("Running")
            process.send_signal(signal.SIGTERM)
            assert finish(process).status == -signal.SIGTERM
    page = read_page(path)
    assert page.meta("refresh") is None
    assert page.all("title")[0].text.startswith("Stopped by SIGTERM")
    assert "1 of 9 items answered, 8 not asked" in page.html
    assert os.listdir(tmp_path).count("r.html") == 1
    assert not [name for name in os.listdir(tmp_path) if "oastream-" in name]


def test_a_run_without_a_report_loads_none_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", *BATCH_COMMAND[1:]]
    with run_origin() as origin:
        words = ["--base-url", origin.url, str(numbered(tmp_path / "in", 2))]
        without = run([*command, *words])
        with_report = run([*command, "--report", str(tmp_path / "r.html"), *words])
    assert (without.status, with_report.status) == (0, 0)
    assert "oastream.batch.report" not in without.err
    assert "oastream.batch.report.page" in with_report.err


def worst_snapshot() -> Snapshot:
    """A week on forty servers with four limits each, with nothing twice the same, and all text as long as it gets."""
    chance, sampler, failures, unplain = random.Random(5), Sampler(), Failures(), Failures(200)
    for hour in range(1, 7 * 24):
        fills = {LimitKey(server, f"limit {n}"): chance.random() for server in range(40) for n in range(4)}
        totals = Totals(
            10**7 * hour + chance.randrange(10**6), 10**6 * hour, 10.0**9 * (hour + chance.random()), 999 * hour
        )
        sampler.sample(3600.0 * hour, totals, chance.randrange(1000), fills, [chance.random() * 1e6 for _ in range(9)])
    for count in range(5000):
        verdict = Verdict(Outcome.BAD_REQUEST, f"{count} " + "<&\"'" * 100, http_status=400)
        failures.add(f"{count}" + "\u202e<" * 300, verdict)
        unplain.add(f"{count}" + "\u202e<" * 300, verdict._replace(outcome=Outcome.OTHER))
    figures = Figures()
    for outcome in TABLE:
        figures.outcomes[outcome] = 10**9
    plan = Plan(Answers(), lambda item: "", {})
    return Snapshot(
        name="<" * 120,
        verdict=Verdict(Outcome.ABORTED, "<" * 500),
        accepted=(),
        began=0.0,
        written=7 * 86400.0,
        stats=stats_fields(plan, figures, 7 * 86400.0, 1.0),
        tally=tally(plan, figures, 10**6),
        before=Counter(figures.outcomes),
        curves=sampler.curves(),
        servers=[ServerFigures("<" * 120, 10**9, 10**9, 1e6)] * 4000,
        failures=failures,
        unplain=unplain,
        facts=[("Servers", "<" * 300)] * 7,
        errors_path="<" * 100,
        program="oastream-batch",
        mask=str,
    )


def test_no_run_makes_a_page_that_is_large() -> None:
    page = render(worst_snapshot())
    assert len(page) < 200_000
    described = Page(page.decode()).html
    assert re.search(r"5,000 items, of which \d+ are listed; all errors are in", described)


# The parts --------------------------------------------------------------------------------------------------------


def test_a_sampler_forgets_nothing_and_grows_no_further() -> None:
    chance = random.Random(7)
    sampler, answers, at = Sampler(), 0, 0.0
    while at < 20_000:
        at += chance.choice((0.1, 3.0, 40.0))
        answers += chance.randrange(5)
        fills = {LimitKey(0, "requests"): chance.random()}
        sampler.sample(
            at, Totals(answers, answers // 7, 10.0 * answers, 0), chance.randrange(9), fills, [chance.random()]
        )
        curves = sampler.curves()
        assert len(curves.buckets) <= MOST_BUCKETS
        assert sum(bucket.answers for bucket in curves.buckets) == pytest.approx(answers)
    assert curves.edges[-1] == at
    assert sorted(curves.edges) == list(curves.edges)
    assert sum(bucket.failures for bucket in curves.buckets) == pytest.approx(answers // 7)
    assert max(bucket.in_flight or 0 for bucket in curves.buckets) == 8


def test_a_sample_that_comes_late_leaves_no_gap() -> None:
    sampler = Sampler()
    for at, answers in ((0.1, 10), (0.2, 20), (1.2, 120), (1.3, 130)):
        sampler.sample(at, Totals(answers, 0, 0.0, 0), 4, {}, [])
    curves = sampler.curves()
    assert curves.rates(bucket.answers for bucket in curves.buckets) == pytest.approx([100.0] * 13)
    assert {bucket.in_flight for bucket in curves.buckets} == {4}


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_a_quantile_of_a_histogram_is_within_one_percent(share: float) -> None:
    chance = random.Random(3)
    values = sorted(chance.lognormvariate(6, 1.5) + 1 for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert histogram.quantile(share) == pytest.approx(values[int(share * len(values))], rel=0.01)


def test_a_histogram_takes_any_time() -> None:
    histogram = Histogram()
    for value in (0.0, 1e-9, 1e12):
        histogram.add(value)
    assert histogram.count == 3
    assert histogram.quantile(0.0) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("largest", [0.003, 0.9, 1, 7, 8, 99, 100, 12_345, 8e7])
def test_an_axis_has_few_round_ticks_and_room_for_its_largest_value(largest: float) -> None:
    axis = value_axis(largest)
    assert axis.end > largest
    assert 2 <= len(axis.ticks) <= 6
    steps = {f"{(tick.value - before.value):.3g}" for before, tick in itertools.pairwise(axis.ticks)}
    assert len(steps) == 1
    assert f"{float(steps.pop()):e}"[0] in "125"


@pytest.mark.parametrize(
    ("largest", "labels"),
    [
        (203, ["0", "100 ms", "200 ms", "300 ms"]),
        (1834, ["0", "0.5 s", "1 s", "1.5 s", "2 s"]),
        (900_000, ["0", "5 min", "10 min", "15 min", "20 min"]),
    ],
)
def test_an_axis_of_times_has_one_unit(largest: float, labels: list[str]) -> None:
    assert [tick.label for tick in value_axis(largest, "ms").ticks] == labels


@pytest.mark.parametrize(
    ("length", "labels"),
    [
        (0.4, ["0", "0.1 s", "0.2 s", "0.3 s", "0.4 s"]),
        (125, ["0", "30 s", "60 s", "90 s", "120 s"]),
        (600, ["0", "2 min", "4 min", "6 min", "8 min", "10 min"]),
        (5400, ["0", "20 min", "40 min", "1:00 h", "1:20 h"]),
        (90_000, ["0", "6 h", "12 h", "18 h", "24 h"]),
        (700_000, ["0", "2 d", "4 d", "6 d", "8 d"]),
    ],
)
def test_the_axis_of_time_counts_as_people_do(length: float, labels: list[str]) -> None:
    assert [tick.label for tick in time_axis(length).ticks] == labels


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (number(None), "–"),
        (number(1234567), "1,234,567"),
        (number(12.345), "12.3"),
        (number(0.004), "0.004"),
        (milliseconds(412.4), "412 ms"),
        (milliseconds(1834), "1.83 s"),
        (seconds(125), "2 min 5 s"),
        (seconds(59.999), "59.9 s"),
        (seconds(93_600), "1 d 2 h"),
        (percent(0.00001), "< 0.1 %"),
        (percent(0.99999), "> 99.9 %"),
        (percent(1.0), "100 %"),
    ],
)
def test_numbers_are_rounded_as_people_read_them(shown: str, wanted: str) -> None:
    assert shown.replace("\u00a0", " ") == wanted


# What can be read --------------------------------------------------------------------------------------------------


def contrast(one: str, other: str) -> float:
    """How far two colours are apart, from 1 to 21 (WCAG 2.2)."""

    def luminance(color: str) -> float:
        digits = color.lstrip("#")
        if len(digits) == 3:
            digits = "".join(2 * digit for digit in digits)
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_stand_out_from_what_is_behind_them(scheme: str) -> None:
    light, _, dark = STYLE.partition("prefers-color-scheme:dark")
    colors = dict(re.findall(r"--(\w+):(#\w+)", light))
    if scheme == "dark":
        colors |= dict(re.findall(r"--(\w+):(#\w+)", dark[: dark.index("}}")]))
    for behind in ("page", "card"):
        for text in ("ink", "soft", "good", "bad"):
            assert contrast(colors[text], colors[behind]) >= 4.5, (text, behind)
    for curve in ("c1", "c2", "c3", "c4", "c5", "c6"):
        assert contrast(colors[curve], colors["card"]) >= 3, curve


# A real browser ---------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def open_in_browser(url: str, folder: Path) -> tuple[str, str]:
    """The page as a browser has it in the end, and what it logs meanwhile."""
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--disable-background-networking",
    ]
    command = [CHROMIUM, *options, "--enable-logging=stderr", "--dump-dom", url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return result.stdout, result.stderr


def serve_folder(folder: Path, paths: list[str]) -> http.server.ThreadingHTTPServer:
    """A web server that notes what is asked of it."""

    class Server(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_request(self, code: object = "-", size: object = "-") -> None:
            paths.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_asks_for_nothing_more_and_complains_of_nothing(tmp_path: Path) -> None:
    paths: list[str] = []
    server = serve_folder(tmp_path, paths)
    here = f"http://127.0.0.1:{server.server_port}"
    hostile = [*HOSTILE, f'<img src="{here}/leak">', f'"><script src="{here}/leak"></script>']
    source = write_lines(tmp_path / "in", (item(text, "bad") for text in hostile))
    with run_origin(Mixed()) as origin:
        assert batch("--base-url", origin.url, "--report", tmp_path / "r.html", source).status == 51
    page, log = open_in_browser(f"{here}/r.html", tmp_path / "profile")
    server.shutdown()
    server.server_close()
    assert paths == ["/r.html"]
    assert "CONSOLE" not in log
    assert 'class="when note"' in page, "the script of the page did not run"
