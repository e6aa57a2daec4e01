"""What is measured, a function for each trial: who takes turns, at what, and the rows that come of it.

In: the peers, the server's address, how many events of each kind. Out: rows. `goals` says which figures they must
reach, `report` and `plot` show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.bench.measure import Command, Place, Run, run_delays, run_discarded, run_weighed
from tests.bench.peers import APIS, CURL, LLM, PYTHON, SDK, US, Peers, options_of, ours
from tests.bench.rows import Counted, Figure, Row, Trial, rows_of


@dataclass(frozen=True, slots=True)
class Plan:
    """How many events of each kind of stream. Rates are in events a second."""

    few: int
    burst: int
    counted: tuple[int, int]
    """Two lengths; instructions of an event are their difference. Both are past what long streams load once."""
    counted_alone: tuple[int, int, int]
    """Two lengths and a rate at which no two events come in one read, however slow a counted process is."""
    paced: tuple[int, int]
    delayed: tuple[int, int]
    prompts: tuple[int, int]
    """How many through xargs, and how many at a time."""
    memory: tuple[int, ...]
    sdk_memory: int
    """The longest stream whose memory the SDK is asked to show: it takes minutes for a million events."""
    large: int
    """Characters of one event."""
    calls: int
    body: int
    page: int

    def prepared(self) -> list[str]:
        """Paths of the replies that must not be rendered while somebody's time is taken."""
        streams = [f"burst/{count}" for count in (self.few, self.burst, *self.counted)]
        streams += [self.called(count) for count in (self.burst, *self.counted)]
        return [f"/{stream}/v1/{end}" for stream in streams for end in ("responses", "chat/completions")]

    def called(self, events: int) -> str:
        """The path of tool calls with so many pieces of arguments."""
        each = min(100, events)
        return f"calls/{events // each}/{each}"


FULL = Plan(
    few=20,
    burst=100_000,
    counted=(1_000, 3_000),
    counted_alone=(50, 150, 100),
    paced=(10_000, 5_000),
    delayed=(2_000, 500),
    prompts=(24, 8),
    memory=(1_000, 100_000, 1_000_000),
    sdk_memory=100_000,
    large=15_000_000,
    calls=20_000,
    body=16_000_000,
    page=1 << 20,
)
QUICK = replace(
    FULL,
    burst=10_000,
    counted=(500, 1_500),
    paced=(2_000, 5_000),
    delayed=(500, 500),
    prompts=(4, 4),
    memory=(1_000, 10_000),
    sdk_memory=1_000,
)
"""To see whether all of it runs. What it says of long streams is mostly their start."""


class Bench(NamedTuple):
    """What all trials share: whom they measure, where the server is, how often."""

    peers: Peers
    host: str
    """Host and port; http and https are both there."""
    plan: Plan
    place: Place
    trusts: Mapping[str, Mapping[str, str]]
    """Variables for https, by the words for what is trusted."""
    runs: int
    counts: bool
    """Whether instructions can be counted."""

    @property
    def few_runs(self) -> int:
        """For commands that take seconds."""
        return max(1, self.runs // 2)

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://{self.host}/{path}"


def all_rows(bench: Bench) -> Iterator[Row]:
    """Measure everything, one trial after the other."""
    measured: dict[str, Row] = {}
    for trial in all_trials(bench):
        for row in rows_of(_possible(trial, bench), bench.counts):
            measured[row.figure.key] = row
            yield row
        if "steady" in measured and "steady-events" not in measured:
            measured["steady-events"] = without_start(measured["steady"], measured["start-cpu"], bench.plan)
            yield measured["steady-events"]


def without_start(steady: Row, start: Row, plan: Plan) -> Row:
    """CPU of an event alone: the start of the SDK is a third of what its whole process takes."""
    what = f"CPU per event at {plan.paced[1]:,} events/s, start-up taken off"
    figure = Figure("steady-events", what, "µs", 0, cpu, CURL, is_short=True)
    starts = {name: value * 1e3 / plan.paced[0] for name, value in start.medians().items()}
    return Row(figure, {name: [value - starts[name] for value in values] for name, values in steady.figures.items()})


def all_trials(bench: Bench) -> Iterable[Trial]:
    plan = bench.plan
    return [
        start(bench),
        *(start_https(bench, trusted, number) for number, trusted in enumerate(bench.trusts)),
        burst(bench),
        called(bench),
        piped(bench),
        steady(bench),
        delay(bench),
        at_once(bench),
        *(memory(bench, count) for count in plan.memory),
        large(bench),
        calls(bench),
        body(bench),
        page(bench),
        help_page(bench),
        tab(bench),
    ]


def start(bench: Bench) -> Trial:
    peers, few = bench.peers, bench.plan.few
    url = bench.url(f"burst/{few}")
    ours, curl, python = peers.oastream(url), peers.curl(url), peers.python()
    commands = {US: ours, SDK: peers.sdk(url), LLM: peers.llm(), CURL: curl, PYTHON: python}
    figures = (
        Figure("start", f"a {few}-event answer, whole process", "ms", 1, wall_ms, PYTHON, is_short=True),
        Figure("first", "its first byte", "ms", 1, lambda run: run.first_byte * 1e3, is_short=True),
        Figure("start-cpu", f"a {few}-event answer, CPU", "ms", 1, lambda run: run.cpu * 1e3, PYTHON),
    )
    counted = {US: Counted(ours), CURL: Counted(curl), PYTHON: Counted(python)}
    return Trial(commands, figures, bench.runs, bench.place, warm_up=commands, counted=counted)


def start_https(bench: Bench, trusted: str, number: int) -> Trial:
    peers, few = bench.peers, bench.plan.few
    url = bench.url(f"burst/{few}", "https")
    variables = bench.trusts[trusted]
    # As curl's own defaults are: both. Of the variables older ones take the folder alone.
    trusting = ["--cacert", variables["SSL_CERT_FILE"], "--capath", variables["SSL_CERT_DIR"]]
    ours, curl, python = peers.oastream(url), [*peers.curl(url), *trusting], peers.python()
    commands = {US: ours, SDK: peers.sdk(url), CURL: curl, PYTHON: python}
    what = f"the same over https, {trusted}"
    figures = (
        Figure(f"https-{number}", what, "ms", 1, wall_ms, PYTHON, is_short=number == 0),
        Figure(f"https-{number}-cpu", f"{what}, CPU", "ms", 1, lambda run: run.cpu * 1e3, PYTHON),
    )
    counted = {US: Counted(ours), CURL: Counted(curl), PYTHON: Counted(python)}
    place = bench.place.having(variables)
    return Trial(commands, figures, bench.runs, place, warm_up=commands, counted=counted)


def burst(bench: Bench) -> Trial:
    def commands(url: str) -> dict[str, Command]:
        peers = bench.peers
        return {**peers.formats(url), **peers.sdks(url), **peers.curls(url), **peers.pipelines(url)}

    count = bench.plan.burst
    figures = (
        Figure("burst", f"{count:,} events at once", "s", 2, wall, CURL, is_short=True),
        Figure("burst-cpu", f"{count:,} events at once, CPU", "s", 2, cpu, CURL),
    )
    all_commands, short = commands(bench.url(f"burst/{count}")), commands(bench.url(f"burst/{bench.plan.few}"))
    counted = _counted(lambda count: commands(bench.url(f"burst/{count}")), *bench.plan.counted)
    return Trial(all_commands, figures, bench.few_runs, bench.place, run_discarded, short, counted)


def called(bench: Bench) -> Trial:
    """What `tools` is for."""

    def commands(events: int) -> dict[str, Command]:
        url = bench.url(bench.plan.called(events))
        tools = {ours(api, "tools"): bench.peers.formats(url)[ours(api, "tools")] for api in APIS}
        return {**tools, **bench.peers.curls(url)}

    count = bench.plan.burst
    figure = Figure("called", f"{count:,} events of tool calls", "s", 2, wall, CURL)
    counted = _counted(commands, *bench.plan.counted)
    return Trial(commands(count), (figure,), bench.few_runs, bench.place, run_discarded, counted=counted)


def piped(bench: Bench) -> Trial:
    count = bench.plan.burst
    figure = Figure("piped", f"{count:,} events into a pipe", "s", 2, wall)
    return Trial(bench.peers.piped(bench.url(f"burst/{count}")), (figure,), bench.few_runs, bench.place, run_discarded)


def steady(bench: Bench) -> Trial:
    count, rate = bench.plan.paced
    what = f"CPU per event at {rate:,} events/s, whole process"
    figure = Figure("steady", what, "µs", 0, lambda run: run.cpu * 1e6 / count, CURL)
    short, long, slow = bench.plan.counted_alone
    counted = _counted(lambda count: _readers(bench, f"pace/{count}/{slow}"), short, long)
    commands = _readers(bench, f"pace/{count}/{rate}")
    return Trial(commands, (figure,), bench.few_runs, bench.place, counted=counted)


def delay(bench: Bench) -> Trial:
    count, rate = bench.plan.delayed
    what = "event on the socket to bytes on stdout"
    figures = (
        Figure("p50", f"{what}, p50", "ms", 2, lambda run: run.delay(0.5) * 1e3, CURL),
        Figure("p99", f"{what}, p99", "ms", 2, lambda run: run.delay(0.99) * 1e3, CURL, is_short=True),
    )
    return Trial(_readers(bench, f"pace/{count}/{rate}"), figures, bench.few_runs, bench.place, run_delays)


def at_once(bench: Bench) -> Trial:
    prompts, together = bench.plan.prompts
    commands = bench.peers.at_once(bench.url(f"burst/{bench.plan.few}"), prompts, together)
    what = f"an answer, {prompts} prompts through `xargs -P {together}`"
    figure = Figure("xargs", what, "ms", 0, lambda run: run.wall * 1e3 / prompts, CURL, is_short=True)
    return Trial(commands, (figure,), bench.few_runs, bench.place, run_discarded)


def memory(bench: Bench, count: int) -> Trial:
    shown = (US, f"{US} --format ndjson", f"{US} --format sse", f"{US} --api chat", f"{US} --api chat --format ndjson")
    url = bench.url(f"burst/{count}")
    commands: dict[str, Command] = {
        name: command for name, command in bench.peers.formats(url).items() if name in shown
    }
    if count <= bench.plan.sdk_memory:
        commands[SDK] = bench.peers.sdk(url)
    is_short = count == bench.plan.sdk_memory
    figure = Figure(f"memory-{count}", f"peak memory, {count:,} events", "MB", 0, megabytes, is_short=is_short)
    return Trial(commands, (figure,), 1, bench.place, run_weighed)


def large(bench: Bench) -> Trial:
    url = bench.url(f"large/{bench.plan.large}")
    what = f"peak memory, one event of {bench.plan.large // 10**6} MB"
    figure = Figure("large", what, "MB", 0, megabytes, is_short=True)
    formats = bench.peers.formats(url)
    return Trial({**formats, SDK: bench.peers.sdk(url)}, (figure,), 1, bench.place, run_weighed)


def calls(bench: Bench) -> Trial:
    """As with `body` and `page`: what grows with the square of its size where a client is careless."""
    count, peers = bench.plan.calls, bench.peers
    url = bench.url(f"calls/{count}/3")
    commands: dict[str, Command] = {
        ours(api, format): peers.oastream(url, *options_of(api, format), "--ok", "tool_calls")
        for api in APIS
        for format in ("tools", "ndjson")
    }
    return Trial(
        commands, (Figure("calls", f"CPU of {count:,} tool calls", "s", 2, cpu),), 1, bench.place, run_discarded
    )


def body(bench: Bench) -> Trial:
    size, peers = bench.plan.body, bench.peers
    url = bench.url(f"object/{size}")
    commands: dict[str, Command] = {ours(api, "text"): peers.oastream(url, *options_of(api, "text")) for api in APIS}
    figure = Figure("body", f"CPU of a JSON body of {size // 10**6} MB", "s", 2, cpu)
    return Trial(commands, (figure,), 1, bench.place, run_discarded)


def page(bench: Bench) -> Trial:
    size = bench.plan.page
    commands = {US: bench.peers.oastream(bench.url(f"page/{size}"), "--ok", "bad_request")}
    figure = Figure("page", f"CPU of an error page of {size >> 20} MiB", "s", 2, cpu)
    return Trial(commands, (figure,), 1, bench.place, run_discarded)


def help_page(bench: Bench) -> Trial:
    figure = Figure("help", "`--help`", "ms", 0, wall_ms, is_short=True)
    commands = bench.peers.help()
    return Trial(commands, (figure,), bench.runs, bench.place, warm_up=commands)


def tab(bench: Bench) -> Trial:
    figure = Figure("tab", "Tab in bash", "ms", 1, wall_ms, is_short=True)
    commands = bench.peers.tab()
    return Trial(commands, (figure,), bench.runs, bench.place, warm_up=commands)


def _possible(trial: Trial, bench: Bench) -> Trial:
    """Without the peers that are absent; one run of each needs no warming up."""
    present = bench.peers.present
    return replace(
        trial,
        commands=present(trial.commands),
        warm_up=present(trial.warm_up) if bench.runs > 1 else {},
        counted=present(trial.counted),
    )


def _readers(bench: Bench, path: str) -> dict[str, Command]:
    url = bench.url(path)
    return {US: bench.peers.oastream(url), SDK: bench.peers.sdk(url), CURL: bench.peers.curl(url)}


def _counted(commands_of: Callable[[int], Mapping[str, Command]], short: int, long: int) -> dict[str, Counted]:
    """Of oastream and curl: the SDK would take minutes, and of a pipeline only the shell would be counted."""
    few, many = commands_of(short), commands_of(long)
    found: dict[str, Counted] = {}
    for name, command in many.items():
        shorter = few[name]
        if isinstance(command, list) and isinstance(shorter, list) and not name.startswith(SDK):
            found[name] = Counted(command, shorter, long - short)
    return found


def wall(run: Run) -> float:
    return run.wall


def wall_ms(run: Run) -> float:
    return run.wall * 1e3


def cpu(run: Run) -> float:
    return run.cpu


def megabytes(run: Run) -> float:
    return run.memory / 1e6
