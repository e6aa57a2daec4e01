"""The parts of an answers file, one for each shard: gathered into it, and made of it again.

In: the answers file, the parts beside it from launches with any number of shards. Out: files. An answer is at every
moment in the answers file or in a part, and in both only as the same line: whatever ends the launch, the next one
gathers it. Asks no server, and knows no engine. Raises `Failure`: journal, output.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence

from oastream.batch.backlog import read_failures
from oastream.batch.keys import shard_number
from oastream.batch.merge import merge_parts, open_part
from oastream.batch.options import BatchOptions, errors_beside
from oastream.batch.records import LAYOUTS, Answered, Layout, read_error_line
from oastream.batch.setup import read_form
from oastream.batch.shard import PLACEHOLDER, log_beside, status_beside
from oastream.batch.summary import Tally
from oastream.exits import Failure, Outcome, failure_of
from oastream.files import Replacement
from oastream.input.body import ReadText
from oastream.lenient_json import parse_json
from oastream.output.stderr import Reporter
from oastream.system_errors import describe_error

_MARK = "oastream-"
"""In the name of a part: it is removed in the end, and nobody calls a file of their own so."""


def part_path(out: str, total: int) -> str:
    """The part of a shard, with {shard} for its number: beside the file that `out` is or links to."""
    stem, suffix = os.path.splitext(os.path.realpath(out))
    return f"{stem}.{_MARK}{PLACEHOLDER}-of-{total}{suffix}"


def find_parts(out: str, total: int | None = None) -> list[str]:
    """The parts that there are, of any number of shards or of this one."""
    folder, name = os.path.split(os.path.realpath(out))
    stem, suffix = os.path.splitext(name)
    pattern = re.compile(rf"{re.escape(stem)}\.{_MARK}(\d+)-of-(\d+){re.escape(suffix)}")
    found = []
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise failure_of(Outcome.OUTPUT, f"{out} cannot be written", describe_error(error)) from error
    for each in names:
        match = pattern.fullmatch(each)
        if match and total in (None, int(match[2])):
            found.append((int(match[2]), int(match[1]), os.path.join(folder, each)))
    return [path for _, _, path in sorted(found)]


def gather(options: BatchOptions, parts: Sequence[str], read_text: ReadText, reporter: Reporter) -> Tally:
    """Merge these into the answers file, and remove them but for that file itself; what became of all items."""
    with contextlib.ExitStack() as held:
        for part in parts:  # nobody answers into a file that is about to go; OUT is the merge's to lock
            if part != options.output:
                held.enter_context(open_part(part))
        counts = merge_parts(options._replace(parts=tuple(parts), names_format=True), read_text, reporter)
        for part in parts:
            if part != options.output:
                _remove_part(part)
    return counts


def _remove_part(part: str) -> None:
    for path in (errors_beside(part), status_beside(part), log_beside(part), part):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def split(options: BatchOptions, total: int, read_text: ReadText) -> None:
    """Give each shard the answers and the lasting errors of its items, and leave none in the answers file.

    What --redo and --retry-failed name goes to nobody: it is asked again, once, however often a shard is run.
    """
    assert options.output is not None
    layout = LAYOUTS[options.format](read_form(options, read_text), options.answer_key)
    part = part_path(options.output, total)
    try:
        _deal(part, total, _read_answers(options.output, layout, options))
        _deal(errors_beside(part), total, _read_errors(options, layout))
        os.truncate(options.output, 0)
    except OSError as error:
        raise failure_of(Outcome.OUTPUT, f"{options.output} cannot be divided", describe_error(error)) from error


def _read_answers(out: str, layout: Layout, options: BatchOptions) -> Iterator[tuple[str, bytes]]:
    """The id and the line of each answer that stays."""
    with open(out, "rb") as file:
        for line in file:
            answer: Answered = layout.read(parse_json(line))  # merged a moment ago
            if answer.outcome not in options.redo:
                yield answer.custom_id, line


def _read_errors(options: BatchOptions, layout: Layout) -> Iterator[tuple[str, bytes]]:
    for failed in read_failures(options, layout).values():
        found = read_error_line(failed.line, layout)
        assert found is not None
        yield found.custom_id, failed.line


def _deal(path: str, total: int, lines: Iterator[tuple[str, bytes]]) -> None:
    """Write each line to the file of the shard that has its id; none where it has no lines."""
    files: dict[int, Replacement] = {}
    try:
        for custom_id, line in lines:
            number = shard_number(custom_id) % total
            if number not in files:
                files[number] = Replacement(path.replace(PLACEHOLDER, str(number)), 0o600)
            files[number].write(line)
        for file in files.values():
            file.seal()
            file.put()
    finally:
        for file in files.values():
            file.discard()


def check_errors_file(options: BatchOptions, read_text: ReadText) -> None:
    """Raise for a file of errors that is something else, before it is replaced."""
    read_failures(options, LAYOUTS[options.format](read_form(options, read_text), options.answer_key))


def find_unfinished(parts: Sequence[str]) -> list[str]:
    """Those that somebody still writes to."""
    unfinished = []
    for part in parts:
        try:
            with open_part(part):
                pass
        except Failure:
            unfinished.append(part)
    return unfinished
