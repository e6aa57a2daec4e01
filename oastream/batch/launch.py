"""--shards: hand each part of the input to an engine, stay until all have ended, merge their answers.

In: `BatchOptions` with the engine. Out: the answers file as a run on one machine would have left it, and a `Verdict` as
of such a run; raises `Failure` for what keeps it from beginning. Someone who reads only this knows what a launch does.
Neither chooses nodes, nor looks after them, nor sends a request: `engines` and the shards do.

    parts       what earlier launches left   → the answers file    → a part for each shard
    engines     the shards                   → processes on nodes, which go on with their parts
    parts       the parts                    → the answers file, what is missing
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter

from oastream.batch import engines
from oastream.batch.engines import Engine, Job
from oastream.batch.engines.shard import read_status
from oastream.batch.journal import hold_lock
from oastream.batch.lines import is_stream
from oastream.batch.options import BatchOptions
from oastream.batch.parts import check_errors_file, find_parts, find_unfinished, gather, part_path, split
from oastream.batch.setup import check_paths
from oastream.batch.shard import PLACEHOLDER, log_beside, status_beside
from oastream.batch.summary import GO_ON_HINT, Tally, judge
from oastream.exits import TABLE, Failure, Outcome, Verdict, failure_of
from oastream.input.body import ReadText
from oastream.output.stderr import Reporter
from oastream.system_errors import describe_error
from oastream.watch import Watch

_LOOK = 0.2
"""Seconds between two looks at the engine."""
_MERGED = frozenset({Outcome.STOP, Outcome.SOME_FAILED, Outcome.ABORTED})
"""How a shard ends whose answers and errors say all."""


def launch(options: BatchOptions, read_text: ReadText, watch: Watch, reporter: Reporter) -> Verdict:
    """Run `options.shards` shards. A signal ends them as it would end a run, and what they have answered is merged."""
    assert options.output is not None
    assert options.shards is not None
    assert options.on is not None
    _check(options, read_text)
    engine = engines.find_engine(options.on)
    watch.catch_signals()
    _gather_earlier(options, read_text, reporter)
    try:
        with hold_lock(options.output):
            split(options, options.shards, read_text)
            signal = _run(options, engine, watch)
            _await_parts(options, watch)
    except Failure:
        _gather_earlier(options, read_text, reporter)
        raise
    statuses = [read_status(part) for part in _parts_of(options, options.shards)]
    counts = _gather_these(options, read_text, reporter)
    if signal is not None:
        return Verdict(Outcome.SIGNAL, signal=signal)
    return _judge(counts, statuses, options)


def _check(options: BatchOptions, read_text: ReadText) -> None:
    """Raise for what each shard would refuse, or what would be replaced by mistake."""
    assert options.output is not None
    if options.request.misconfigured is not None:
        raise Failure(options.request.misconfigured)
    check_paths(options)
    _check_input(options.input or "")
    if os.path.exists(options.output) and not os.path.isfile(options.output):
        raise failure_of(Outcome.USAGE, f"-o {options.output} is not a regular file", "it could not be continued")
    if options.errors_path is not None and is_stream(options.errors_path):
        raise failure_of(Outcome.USAGE, "bad usage", "--errors needs a regular file with --shards")
    check_errors_file(options, read_text)


def _check_input(path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise failure_of(Outcome.INPUT, f"{path} cannot be read", describe_error(error)) from error


def _gather_earlier(options: BatchOptions, read_text: ReadText, reporter: Reporter) -> None:
    """Whatever number of shards an earlier launch had: all its answers, in the answers file."""
    assert options.output is not None
    parts = find_parts(options.output)
    if os.path.lexists(options.output):
        parts.insert(0, options.output)
    gather(options._replace(input=None), parts, read_text, reporter)


def _gather_these(options: BatchOptions, read_text: ReadText, reporter: Reporter) -> Tally:
    """The answers of this launch, in the answers file, also where the input turns out to be wrong."""
    assert options.output is not None
    parts = find_parts(options.output)
    try:
        return gather(options, parts, read_text, reporter)
    except Failure as failed:
        if failed.verdict.outcome is Outcome.INPUT:
            gather(options._replace(input=None), parts, read_text, reporter)
        raise


def _parts_of(options: BatchOptions, total: int) -> list[str]:
    assert options.output is not None
    part = part_path(options.output, total)
    return [part.replace(PLACEHOLDER, str(number)) for number in range(total)]


# The engine at work -----------------------------------------------------------------------------------------------


def _run(options: BatchOptions, engine: Engine, watch: Watch) -> int | None:
    """Stay until the engine is done; the number of the signal that has ended it before."""
    assert options.output is not None
    assert options.shards is not None
    parts = _parts_of(options, options.shards)
    for part in parts:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(status_beside(part))
    job = Job(options.shards, part_path(options.output, options.shards), options.words, os.getcwd(), options.on_args)
    try:
        process = engine.start(job)
    except OSError as error:
        raise failure_of(Outcome.CONFIG, f"{options.on} cannot be started", describe_error(error)) from error
    stopped_by = None
    logs, ends = Logs(parts), Ends(parts)
    while process.poll() is None or (not ends.are_known() and engine.has_shards_left()):
        logs.pass_on()
        number = _pause(watch)
        if number is not None and stopped_by is None:
            stopped_by = number
            engine.stop(process)
        if ends.are_old(watch.now()):
            process.terminate()
            process.wait()
    logs.pass_on()
    return stopped_by


class Ends:
    """Whether all shards have said how they ended: `sbatch --wait` notices up to half a minute later."""

    def __init__(self, parts: list[str]) -> None:
        self._left = [*parts]
        self._since: float | None = None

    def are_known(self) -> bool:
        while self._left and read_status(self._left[-1]) is not None:
            self._left.pop()
        return not self._left

    def are_old(self, now: float) -> bool:
        """Whether they have for a second, in which an engine ends by itself."""
        if not self.are_known():
            return False
        if self._since is None:
            self._since = now
        return now - self._since > 1


def _pause(watch: Watch) -> int | None:
    """Wait for a moment; the signal that has cut it short."""
    try:
        watch.sleep(watch.now() + _LOOK)
    except Failure as failed:
        watch.acknowledge_signal()
        return failed.verdict.signal
    return None


class Logs:
    """What shards say where the engine keeps it in files: passed on to stderr, line by line."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts
        self._read: Counter[str] = Counter()

    def pass_on(self) -> None:
        """What is new."""
        for number, part in enumerate(self._parts):
            path = log_beside(part)
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                file.seek(self._read[path])
                for line in file:
                    if line.endswith(b"\n"):
                        self._read[path] += len(line)
                        sys.stderr.buffer.write(b"shard %d: %s" % (number, line))
        sys.stderr.buffer.flush()


def _await_parts(options: BatchOptions, watch: Watch) -> None:
    """Wait for shards whose engine has given them up, and which are still at work behind a dead link, or ending."""
    assert options.output is not None
    while find_unfinished(find_parts(options.output)):
        _pause(watch)


# The end ----------------------------------------------------------------------------------------------------------


def _judge(counts: Tally, statuses: list[int | None], options: BatchOptions) -> Verdict:
    """As of a run on one machine: a failure of any shard, then one that was broken off, then what was merged."""
    merged = judge(counts, options.request.ok, options.errors_path)
    numbers = {number: outcome for outcome, (number, _) in TABLE.items()}
    outcomes = [None if status is None else numbers.get(status, Outcome.INTERNAL) for status in statuses]
    for number, outcome in enumerate(outcomes):
        if outcome is not None and outcome not in _MERGED:
            why = f"status {statuses[number]}; its message is above"
            return Verdict(outcome, f"shard {number} has failed", why, GO_ON_HINT, more_lines=(merged.message,))
    if not counts.not_asked:
        return merged
    merged = merged.with_hint(GO_ON_HINT)
    lost = [str(number) for number, outcome in enumerate(outcomes) if outcome is None]
    if lost:
        what = f"{options.on} has given up on shard {', '.join(lost)} of {options.shards}"
        merged = merged._replace(more_lines=(*merged.more_lines, what))
    if Outcome.ABORTED in outcomes:
        return merged._replace(outcome=Outcome.ABORTED)
    return merged
