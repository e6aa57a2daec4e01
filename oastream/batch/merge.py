"""--merge: the answers files of several shards → one, and their errors beside it.

In: `BatchOptions` with the parts; perhaps the input, for its order and for what is missing. Out: OUT, replaced in one
step, and a `Verdict` as on a run over the whole input. Asks no server, and changes no part but one that is OUT. Raises
`Failure`: journal for a part that a run is writing, that is damaged, or that has another answer to an id than an
earlier one; usage, input, output, or a signal.

Memory holds 170 bytes an id: where its answer is, not the answer.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import signal
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, NoReturn

from oastream.batch.backlog import read_whole_errors
from oastream.batch.input import BadLine, read_items
from oastream.batch.journal import hold_lock, may_be_cut_off
from oastream.batch.keys import id_key
from oastream.batch.lines import is_stream, replace_lines
from oastream.batch.options import BatchOptions, errors_beside
from oastream.batch.plan import DuplicateId
from oastream.batch.records import LAYOUTS, Answered, Layout, read_error_line
from oastream.batch.setup import read_form
from oastream.batch.source import Input, bad_line_failure, choose_form
from oastream.batch.summary import Tally, judge
from oastream.exits import Outcome, Verdict, failure_of
from oastream.files import is_same_file
from oastream.input.body import ReadText
from oastream.lenient_json import parse_json
from oastream.output.destination import is_special
from oastream.output.stderr import Reporter
from oastream.system_errors import describe_error
from oastream.watch import ENDING_SIGNALS, signal_failure

_READ_SIZE = 1 << 20
_LINE_SIZE = 1 << 13
_PLACE_BITS = 48
"""Of a packed place: a file may be as long as 281 TB."""


def merge(options: BatchOptions, read_text: ReadText, reporter: Reporter) -> Verdict:
    """Merge `options.parts` into `options.output`. A signal leaves OUT as it was."""
    return judge(merge_parts(options, read_text, reporter), options.request.ok, options.errors_path)


def merge_parts(options: BatchOptions, read_text: ReadText, reporter: Reporter) -> Tally:
    """The same; what became of all items."""
    out = options.output
    assert out is not None
    with contextlib.ExitStack() as stack:
        stack.enter_context(_signals_raised())
        _check_files(options)
        stack.enter_context(_lock_out(out))
        named = _without_errors(options.parts)
        parts = [stack.enter_context(open_part(path, is_same_file(path, out))) for path in named]
        layout = _choose_layout(options, parts, read_text)
        answers = MergedAnswers(parts, layout)
        _check_nothing_is_lost(out, layout, answers)
        for path in answers.torn:
            reporter.line(f"{path}: the last line is not whole, and is left out")
        errors = _read_errors([_errors_of(options, path) for path in named], layout, answers)
        order = _read_order(options, read_text)
        with _as_output_failure(out):
            replace_lines(os.path.realpath(out), answers.lines(order))
        _write_errors(options.errors_path, errors)
        return _count(answers, errors, order)


# The parts --------------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """One answers file, open, and not to be written by anybody until it is closed."""

    path: str
    file: BinaryIO


@contextlib.contextmanager
def open_part(path: str, is_ours: bool = False) -> Iterator[Part]:
    """An answers file to read, which no run may write to meanwhile; `is_ours` says that it is locked already.

    Raises `Failure`: input where it cannot be read, journal where a run has it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise failure_of(Outcome.INPUT, f"{path} cannot be read", describe_error(error)) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise failure_of(Outcome.INPUT, f"{path} cannot be read", "it is no regular file, and a part is read twice")
    with open(fd, "rb", buffering=_READ_SIZE) as file:
        if not is_ours:
            _share(fd, path)
        yield Part(path, file)


def _share(fd: int, path: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        why = "an oastream-batch writes to it"
        raise failure_of(Outcome.JOURNAL, f"{path} is in use", why, "merge when it has ended") from error
    except OSError as error:
        raise failure_of(Outcome.JOURNAL, f"{path} cannot be locked", describe_error(error)) from error


@contextlib.contextmanager
def _lock_out(out: str) -> Iterator[None]:
    """OUT, which no run may answer into, nor another merge replace. One that was not there goes if nothing comes."""
    if is_special(out):  # a FIFO would be waited for, and a device replaced
        raise failure_of(Outcome.USAGE, f"{out} is not a regular file", "it would be replaced")
    is_new = not os.path.lexists(out)
    with hold_lock(out):
        try:
            yield
        finally:
            if is_new and os.path.getsize(out) == 0:
                os.unlink(out)


def _check_files(options: BatchOptions) -> None:
    """Raise `Failure` where a file that is written is another one of this merge, but for a part that is OUT."""
    out, errors = options.output, options.errors_path
    assert out is not None
    assert errors is not None
    if is_stream(errors):
        raise failure_of(Outcome.USAGE, "bad usage", f"--errors {errors} is no file, and a merge replaces it")
    read = [(name, path) for name, path in (("--input", options.input),) if path not in (None, "-")]
    read += [("a part", path) for path in options.parts]
    for name, path in (("--merge", out), *read):
        if path is not None and is_same_file(errors, path):
            raise failure_of(Outcome.USAGE, "bad usage", f"--errors and {name} are the same file, {path}")
    if options.input not in (None, "-") and is_same_file(out, options.input or ""):
        raise failure_of(Outcome.USAGE, "bad usage", f"--merge and --input are the same file, {out}")
    read_whole_errors(errors)  # raises for a file of another kind, which would be replaced


def _choose_layout(options: BatchOptions, parts: Sequence[Part], read_text: ReadText) -> Layout:
    """The layout that --format names; without it, the one of the first line that there is."""
    form = read_form(options, read_text)
    if options.names_format:
        return LAYOUTS[options.format](form, options.answer_key)
    for part in parts:
        line = part.file.readline()
        part.file.seek(0)
        for make in LAYOUTS.values():
            layout = make(form, options.answer_key)
            with contextlib.suppress(ValueError):
                layout.read(parse_json(line))
                return layout
    return LAYOUTS[options.format](form, options.answer_key)


class MergedAnswers:
    """The answers of all parts, each once. `torn` are the paths of parts that end within a line."""

    def __init__(self, parts: Sequence[Part], layout: Layout) -> None:
        self._parts = parts
        self._layout = layout
        self._places: dict[int, int] = {}
        """Keys of ids → the number of the part and the offset in it."""
        self.torn: list[str] = []
        self.outcomes: Counter[Outcome] = Counter()
        for number in range(len(parts)):
            self._read_part(number)

    def __contains__(self, key: int) -> bool:
        return key in self._places

    def _read_part(self, number: int) -> None:
        part, offset = self._parts[number], 0
        for line in part.file:
            try:
                answer = self._layout.read(parse_json(line))
            except ValueError as error:
                if line.endswith(b"\n") or not may_be_cut_off(line):
                    why = f"the line at byte {offset}: {error}"
                    hint = "run its shard again with --repair, or name its --format"
                    raise failure_of(Outcome.JOURNAL, f"{part.path} cannot be merged", why, hint) from error
                self.torn.append(part.path)
                return
            self._add(answer, number << _PLACE_BITS | offset, line)
            offset += len(line)

    def _add(self, answer: Answered, place: int, line: bytes) -> None:
        key = id_key(answer.custom_id)
        known = self._places.setdefault(key, place)
        if known == place:
            self.outcomes[answer.outcome] += 1
        elif not _is_same_answer(self._line_at(known), line):
            paths = [self._parts[each >> _PLACE_BITS].path for each in (known, place)]
            what = f"{answer.custom_id!r} has two answers"
            raise failure_of(Outcome.JOURNAL, what, f"one in {paths[0]}, another in {paths[1]}")

    def lines(self, order: Sequence[int] | None) -> Iterator[bytes]:
        """Every answer's line: in the order of the keys, and what is not among them at the end; or part by part."""
        places: Any = self._places.values()
        if order is not None:
            first = [self._places[key] for key in order if key in self._places]
            chosen = set(first)
            places = [*first, *(place for place in self._places.values() if place not in chosen)]
        for place in places:
            line = self._line_at(place)
            yield line if line.endswith(b"\n") else line + b"\n"

    def _line_at(self, place: int) -> bytes:
        fd, offset = self._parts[place >> _PLACE_BITS].file.fileno(), place & (1 << _PLACE_BITS) - 1
        line = bytearray()
        while piece := os.pread(fd, _LINE_SIZE, offset + len(line)):
            end = piece.find(b"\n") + 1
            if end:
                return bytes(line + piece[:end])
            line += piece
        return bytes(line)


def _check_nothing_is_lost(out: str, layout: Layout, answers: MergedAnswers) -> None:
    """Raise `Failure` for an OUT that is another file, or has an answer, paid for, that no part has: it is replaced."""
    with open(out, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return  # what a run would cut off
            try:
                custom_id = layout.read(parse_json(line)).custom_id
            except ValueError as error:
                why = f"it would be replaced, and is no answers file of the parts' format: {error}"
                raise failure_of(Outcome.JOURNAL, f"{out} is not merged into", why) from error
            if id_key(custom_id) not in answers:
                what = f"{out} has an answer to {custom_id!r}, and no part has any"
                raise failure_of(Outcome.JOURNAL, what, "it would be lost", f"name {out} as a part too, or remove it")


def _is_same_answer(first: bytes, second: bytes) -> bool:
    """Whether two lines say the same, however long it took and wherever its item stood in the input."""
    if first == second:
        return True
    one, other = parse_json(first), parse_json(second)
    return {**one, "oastream": one["oastream"]["request"]} == {**other, "oastream": other["oastream"]["request"]}


# The errors -------------------------------------------------------------------------------------------------------


class MergedErrors(NamedTuple):
    """Lines of errors that still hold. `bad_lines` are of no item: each shard has read the whole input."""

    lines: dict[int, bytes]
    outcomes: dict[int, Outcome]
    bad_lines: dict[bytes, None]


def _without_errors(paths: Sequence[str]) -> list[str]:
    """The parts, without the files of their errors, which a pattern such as `part.*` names too."""
    errors = {errors_beside(path) for path in paths}
    return [path for path in paths if path not in errors]


def _errors_of(options: BatchOptions, part: str) -> str:
    """Where the errors of a part are. OUT itself, where that is a part, may have them under a name of their own."""
    if part == options.output and options.errors_path is not None:
        return options.errors_path
    return errors_beside(part)


def _read_errors(paths: Sequence[str], layout: Layout, answers: MergedAnswers) -> MergedErrors:
    """The errors of the parts, of ids that no part answers; the last that was read of an id counts."""
    errors = MergedErrors({}, {}, {})
    for path in paths:
        for line in read_whole_errors(path):
            failed = read_error_line(line, layout)
            if failed is None:
                errors.bad_lines[line] = None
                continue
            key = id_key(failed.custom_id)
            if key not in answers:
                errors.lines[key] = line
                errors.outcomes[key] = failed.outcome
    return errors


def _write_errors(path: str | None, errors: MergedErrors) -> None:
    assert path is not None
    lines = [*errors.bad_lines, *errors.lines.values()]
    with _as_output_failure(path):
        if lines:
            replace_lines(path, lines)
        elif os.path.isfile(path):
            os.unlink(os.path.realpath(path))


@contextlib.contextmanager
def _as_output_failure(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failure_of(Outcome.OUTPUT, f"{path} cannot be written", describe_error(error)) from error


# The input and the end --------------------------------------------------------------------------------------------


def _read_order(options: BatchOptions, read_text: ReadText) -> array.array[int] | None:
    """The keys of the input's ids in its order; None where no input was named, and all that is there is all."""
    if options.input is None:
        return None
    source = Input(None if options.input == "-" else options.input)
    form, chunks = choose_form(read_form(options, read_text), source.chunks())
    order, seen = array.array("q"), set()
    for item in read_items(chunks, form):
        if isinstance(item, BadLine):
            if not options.skip_bad:
                raise bad_line_failure(item)
            continue
        key = id_key(item.custom_id)
        if key in seen and options.skip_bad:
            continue
        if key in seen:
            raise DuplicateId(item)
        seen.add(key)
        order.append(key)
    return order


def _count(answers: MergedAnswers, errors: MergedErrors, order: array.array[int] | None) -> Tally:
    missing = 0
    if order is not None:
        missing = sum(key not in answers and key not in errors.lines for key in order)
    return Tally(answers.outcomes, Counter(errors.outcomes.values()), len(errors.bad_lines), missing)


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """A signal that ends the run is raised, so that nothing is left beside OUT. Those that were ignored stay so."""
    caught = {number for number in ENDING_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}
    before = {number: signal.signal(number, _raise_signal) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_signal(number: int, frame: object) -> NoReturn:
    raise signal_failure(number)
