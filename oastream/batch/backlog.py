"""Before anything is sent, second: what earlier runs have done, and what is left to ask.

In: `BatchOptions`, a `Setup`, the journal, the errors file of an earlier run. Out: a `Backlog`. The whole of an input
that is a file is looked at here. Raises `Failure`: journal, input, output. What is rewritten is the journal alone, for
--repair and --redo; nothing is sent.

The order is: the journal, so that no other run has it from here on; then the errors that still hold; then the input,
each line against both.
"""

from __future__ import annotations

import array
import contextlib
import os.path
from collections.abc import Collection, Iterator
from functools import partial
from typing import NamedTuple

from oastream.batch.input import BadLine
from oastream.batch.journal import Answers, BrokenLine, Journal
from oastream.batch.keys import id_key
from oastream.batch.lines import ErrorsFile, is_stream, replace_errors
from oastream.batch.options import BatchOptions
from oastream.batch.plan import Plan, Standing
from oastream.batch.records import (
    Layout,
    bad_line_record,
    broken_line_record,
    is_broken_line_record,
    is_error_line,
    read_error_line,
)
from oastream.batch.setup import Setup, empty_failure
from oastream.batch.source import FileSource, PipeSource, bad_line_failure, request_of
from oastream.exits import Outcome, failure_of
from oastream.system_errors import describe_error


class Backlog(NamedTuple):
    """What is left to do, and what is known of the rest.

    `old_errors` are the lines of an earlier errors file that still hold. `bad_lines` are the error records of lines
    that are no items; those of a pipe join them while requests are sent.
    """

    journal: Journal | None
    plan: Plan
    source: FileSource | PipeSource
    old_errors: list[bytes]
    bad_lines: list[bytes]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send and nothing to tell. Nobody knows what a pipe will bring."""
        return isinstance(self.source, FileSource) and not self.plan.counts[Standing.TO_ASK] and not self.bad_lines

    def open_errors(self, path: str | None) -> ErrorsFile | None:
        """The file of errors: those of earlier runs that still hold, and the bad lines that are known."""
        return None if path is None else ErrorsFile(path, self.old_errors, self.bad_lines)


class OpenJournal(NamedTuple):
    """The journal, read and ours alone, and the error records of lines that --repair takes out of it.

    What --redo names is forgotten by the journal, and still in its file.
    """

    journal: Journal | None
    bad_lines: list[bytes]


def refuse_running_batches(options: BatchOptions) -> None:
    """Without --via, what is on its way would be asked and paid a second time."""
    path = options.via_path
    if options.via is None and path is not None and os.path.exists(path):
        why = f"{path} records batches that are running"
        hint = "--via batch-api fetches them, with --cancel it cancels them"
        raise failure_of(Outcome.JOURNAL, f"{options.output} cannot be continued", why, hint)


@contextlib.contextmanager
def open_journal(options: BatchOptions, layout: Layout) -> Iterator[OpenJournal]:
    """Lock the journal and read it. It is synced at the end."""
    if options.output is None:
        yield OpenJournal(None, [])
        return
    bad_lines: list[bytes] = []
    path = None if options.errors_path is None or is_stream(options.errors_path) else options.errors_path

    def keep_broken(broken: list[BrokenLine]) -> None:
        """Before they are taken out of the journal: a kill may follow."""
        records = [broken_line_record(each.line, each.offset) for each in broken]
        bad_lines.extend(records)
        if path is not None:
            replace_errors(path, [*read_whole_errors(path), *records])

    journal = Journal(options.output)
    try:
        if options.repair and path is not None:
            bad_lines.extend(line for line in read_whole_errors(path) if is_broken_line_record(line))
        journal.load(layout, keep_broken if options.repair else None)
        journal.answers.forget(options.redo)
        yield OpenJournal(journal, bad_lines)
    finally:
        journal.close()


def find_backlog(options: BatchOptions, setup: Setup, opened: OpenJournal) -> Backlog:
    """What is to be asked. `opened` is the journal of this run."""
    journal, bad_lines = opened

    def take_bad_line(bad: BadLine) -> None:
        if not options.skip_bad or bad.is_fatal:
            raise bad_line_failure(bad)
        bad_lines.append(bad_line_record(bad.line, bad.why))

    failures = read_failures(options, setup.layout)
    plan = _make_plan(options, setup, journal, failures)
    if not setup.input.is_file:
        if options.redo_changed:
            why = "--redo changed needs an input that is a file, since the answers are dropped before anything is sent"
            raise failure_of(Outcome.USAGE, "bad usage", why)
        if journal is not None and options.redo:
            _drop_answers(journal, plan, setup.layout, options.redo)
        pipe = PipeSource(setup.chunks, setup.form, plan, setup.preparer, take_bad_line)
        return Backlog(journal, plan, pipe, [each.line for each in failures.values()], bad_lines)
    source = FileSource(setup.input, setup.form, plan, setup.preparer, take_bad_line)
    source.check()
    if not source.has_lines:
        raise empty_failure(setup.input)
    if journal is not None and (plan.changed or options.redo):
        _drop_answers(journal, plan, setup.layout, options.redo)
    old_errors = [failure.line for key, failure in failures.items() if key in plan.failed_keys]
    return Backlog(journal, plan, source, old_errors, bad_lines)


class FailedBefore(NamedTuple):
    """An error of an earlier run that trying again would not mend, and its line."""

    outcome: Outcome
    line: bytes


def read_failures(options: BatchOptions, layout: Layout) -> dict[int, FailedBefore]:
    """The failures that still hold, by the keys of their ids."""
    failures: dict[int, FailedBefore] = {}
    path = options.errors_path
    if path is None or options.output is None or is_stream(path):
        return failures
    for line in _read_errors(path):
        found = read_error_line(line, layout)
        if found is not None and not found.retryable and not options.retry_failed:
            failures[id_key(found.custom_id)] = FailedBefore(found.outcome, line)
    return failures


def _read_errors(path: str) -> Iterator[bytes]:
    """The lines of an errors file, the last of which may be cut off. Raises `Failure` for a file of another kind."""
    for number, line in enumerate(_read_lines(path), 1):
        if not is_error_line(line):
            why = f"line {number} is not an error record, and would be overwritten"
            raise failure_of(Outcome.JOURNAL, f"{path} is not a file of errors", why)
        yield line


def read_whole_errors(path: str) -> list[bytes]:
    """The same without a last line that was cut off."""
    return [line for line in _read_errors(path) if line.endswith(b"\n")]


def _read_lines(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except OSError as error:
        raise failure_of(Outcome.OUTPUT, f"{path} cannot be read", describe_error(error)) from error


def _make_plan(options: BatchOptions, setup: Setup, journal: Journal | None, failures: dict[int, FailedBefore]) -> Plan:
    answers = Answers() if journal is None else journal.answers
    outcomes = {key: failure.outcome for key, failure in failures.items()}
    plan = Plan(answers, partial(request_of, setup.preparer), outcomes, options.shard)
    plan.may_change = options.redo_changed
    if options.order == "input" and journal is not None:
        plan.order = array.array("q")
    return plan


def _drop_answers(journal: Journal, plan: Plan, layout: Layout, redo: Collection[Outcome]) -> None:
    """--redo: take what is to be asked again out of the journal, now that nothing is wrong with the input."""
    changed = set(plan.changed)
    journal.drop(layout, lambda answered: answered.outcome in redo or answered.custom_id in changed)
    plan.use_answers(journal.answers)
