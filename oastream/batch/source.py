"""The input, a file or a pipe → work for the runner, one item at a time.

In: the path of the input or a file descriptor, its form, the plan. Out: items to ask with their requests; a `Failure`
with outcome input for a line that is none, before anything is sent where the input is a file. A file is read twice: all
of it is checked first, and what somebody changes in it from then on is noticed, and not sent. A pipe is read by a
thread, one item ahead of what is sent.
"""

from __future__ import annotations

import array
import os
import queue
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from oastream.batch.input import BadLine, InputForm, Item, guess_form, read_items
from oastream.batch.plan import DuplicateId, Plan, Standing
from oastream.batch.prepare import Prepared, Preparer, Unsuitable
from oastream.batch.runner import Work
from oastream.exits import Failure, Outcome, Verdict, failure_of, internal_error
from oastream.lenient_json import dumps
from oastream.system_errors import describe_error

_CHUNK = 1 << 20
_GUESSED_FORMS = ("batch", "body")


class Input:
    """Where the lines are. `name` is how messages call it. Raises `Failure` with outcome input where it cannot be read.

    `is_file` says whether it can be read twice.
    """

    def __init__(self, path: str | None) -> None:
        self.name = "stdin" if path is None else path
        try:
            self._fd = 0 if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            mode = os.fstat(self._fd).st_mode
            self._start = os.lseek(self._fd, 0, os.SEEK_CUR) if stat.S_ISREG(mode) else 0
        except (OSError, ValueError) as error:
            raise failure_of(Outcome.INPUT, f"{self.name} cannot be read", describe_error(error)) from error
        if stat.S_ISDIR(mode):
            raise failure_of(Outcome.INPUT, f"{self.name} cannot be read", "it is a folder")
        self.is_file = stat.S_ISREG(mode)
        self._end: int | None = None
        self._at = self._start

    def end_here(self) -> None:
        """Lines that are added to the file from now on are no part of it: they were not checked."""
        if self.is_file:
            self._end = self._at

    def spool(self, chunks: Iterable[bytes]) -> None:
        """Keep what a pipe brings in a file without a name: from here on it can be read twice."""
        with tempfile.TemporaryFile() as file:
            try:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
            except OSError as error:
                raise failure_of(Outcome.OUTPUT, "the input cannot be kept", describe_error(error)) from error
            self._fd = os.dup(file.fileno())
        self._start, self.is_file = 0, True

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a file's from the beginning each time."""
        at = self._start
        while True:
            try:
                chunk = self._read_file(at) if self.is_file else os.read(self._fd, _CHUNK)
            except OSError as error:
                raise failure_of(Outcome.INPUT, f"{self.name} cannot be read", describe_error(error)) from error
            if not chunk:
                return
            at += len(chunk)
            self._at = at
            yield chunk

    def _read_file(self, at: int) -> bytes:
        size = _CHUNK if self._end is None else min(_CHUNK, self._end - at)
        return os.pread(self._fd, size, at)


def choose_form(form: InputForm, chunks: Iterator[bytes]) -> tuple[InputForm, Iterable[bytes]]:
    """The form, guessed by the first line that is not blank where it has no name, and all chunks once more."""
    if form.name:
        return form, chunks
    opening: list[bytes] = []
    for chunk in chunks:
        opening.append(chunk)
        lines = b"".join(opening).lstrip().split(b"\n", 1)
        if len(lines) > 1:
            break
    first = b"".join(opening).removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0]
    return form._replace(name=guess_form(first), is_guessed=True), chain(opening, chunks)


class FileSource:
    """Items of a file. `check` is the first pass over it; then `next` gives what is to be asked."""

    has_told_all = True
    """Whether the plan has counted every item: after the first pass."""

    def __init__(
        self, input: Input, form: InputForm, plan: Plan, preparer: Preparer, on_bad_line: Callable[[BadLine], None]
    ) -> None:
        self._input = input
        self._form = form
        self._plan = plan
        self._preparer = preparer
        self._on_bad_line = on_bad_line
        self._works: Iterator[Work] = iter(())
        self._bad: set[int] = set()
        self._checked = array.array("q")
        """What the first pass has seen of each item that is to be asked, in 8 bytes."""
        self.is_over = False
        self.has_lines = False
        self.failure: Failure | None = None

    def check(self) -> None:
        """Look at every line. Raises `Failure`: input, journal."""
        self._form, chunks = choose_form(self._form, self._input.chunks())
        is_body_given = self._form.name in _GUESSED_FORMS
        for item in read_items(chunks, self._form):
            self.has_lines = True
            if isinstance(item, BadLine):
                self._on_bad_line(item)
                continue
            try:
                standing = self._plan.sort(item)
            except (DuplicateId, BadBody) as bad:
                self._pass_over(item, bad.why)
                continue
            if standing is Standing.TO_ASK and (not is_body_given or self._is_body_good(item)):
                self._checked.append(_fingerprint(item))
        self._plan.forget_ids()
        self._input.end_here()
        self._works = self.works()

    def _is_body_good(self, item: Item) -> bool:
        """Whether a request can be made of it; where it cannot, the line is as bad as one that is not JSON."""
        try:
            request_of(self._preparer, item)
        except BadBody as bad:
            self._plan.take_back(item)
            self._pass_over(item, bad.why)
            return False
        return True

    def _pass_over(self, item: Item, why: str) -> None:
        self._bad.add(item.line)
        self._on_bad_line(BadLine(item.line, why))

    def next(self) -> Work | None:
        try:
            work = next(self._works, None)
        except Failure as failed:  # what is in flight ends by itself, and is recorded
            self.failure, work = failed, None
        self.is_over = work is None
        return work

    def works(self) -> Iterator[Work]:
        """All that is to be asked, from the beginning: a pass of its own, beside any other."""
        _, chunks = choose_form(self._form, self._input.chunks())
        position = 0
        for item in read_items(chunks, self._form):
            if not isinstance(item, Item) or item.line in self._bad:
                continue
            if self._plan.standing(item) is Standing.TO_ASK:
                self._check_unchanged(item, position)
                position += 1
                yield Work(item, prepare(self._preparer, item), position)
        if position < len(self._checked):
            raise self._changed_failure("lines are gone")

    def _check_unchanged(self, item: Item, position: int) -> None:
        """Whether it is what the first pass has checked: it might have an id by now that another item has, too."""
        if position == len(self._checked) or self._checked[position] != _fingerprint(item):
            raise self._changed_failure(f"line {item.line} is another one now")

    def _changed_failure(self, what: str) -> Failure:
        return failure_of(Outcome.INPUT, f"{self._input.name} was changed during the run", what)


class PipeSource:
    """Items of a pipe, as they come."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        form: InputForm,
        plan: Plan,
        preparer: Preparer,
        on_bad_line: Callable[[BadLine], None],
    ) -> None:
        self._chunks = chunks
        self._form = form
        self._plan = plan
        self._preparer = preparer
        self._on_bad_line = on_bad_line
        self._on_change: Callable[[], object] = lambda: None
        self._queue: queue.Queue[Item | BadLine | Failure | None] = queue.Queue(maxsize=1)
        self._position = 0
        self.is_over = False
        self.has_lines = False
        self.failure: Failure | None = None

    @property
    def has_told_all(self) -> bool:
        """Whether the plan has counted every item."""
        return self.is_over

    def start(self, on_change: Callable[[], object]) -> None:
        """Begin to read, in a thread that calls `on_change`. It may wait forever, and dies with the process."""
        self._on_change = on_change
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Work | None:
        while not self.is_over:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return None
            try:
                work = self._take(item)
            except Failure as failed:
                self.failure, self.is_over = failed, True
                return None
            if work is not None:
                return work
        return None

    def _take(self, item: Item | BadLine | Failure | None) -> Work | None:
        if item is None:
            self.is_over = True
            return None
        if isinstance(item, Failure):
            raise item
        self.has_lines = True
        if isinstance(item, BadLine):
            self._on_bad_line(item)
            return None
        try:
            if self._plan.sort(item) is not Standing.TO_ASK:
                return None
        except (DuplicateId, BadBody) as bad:
            self._on_bad_line(BadLine(item.line, bad.why))
            return None
        try:
            prepared = prepare(self._preparer, item)
        except BadBody as bad:
            self._plan.take_back(item)
            self._on_bad_line(BadLine(item.line, bad.why))
            return None
        self._position += 1
        return Work(item, prepared, self._position)

    def _read(self) -> None:
        try:
            for item in read_items(self._chunks, self._form):
                self._put(item)
            self._put(None)
        except Failure as failed:
            self._put(failed)
        except Exception as error:  # else the run would wait forever for a thread that is no more
            self._put(internal_error(error))

    def _put(self, item: Item | BadLine | Failure | None) -> None:
        self._queue.put(item)
        self._on_change()


def _fingerprint(item: Item) -> int:
    """64 bits of all that an item is."""
    return hash(dumps([*item]))  # a list, which is written at any depth


def bad_line_failure(bad: BadLine) -> Failure:
    """What ends a run at such a line."""
    failure = failure_of(Outcome.INPUT, f"line {bad.line}", bad.why, bad.hint)
    if bad.is_fatal:
        return failure
    return Failure(failure.verdict.with_hint("--skip-bad skips such lines"))


class BadBody(Failure):
    """No request can be made of a line. `why` is the end of a message that names it."""

    def __init__(self, line: int, verdict: Verdict) -> None:
        super().__init__(verdict._replace(outcome=Outcome.INPUT, summary=f"line {line}: {verdict.summary}"))
        self.why = verdict.message


def prepare(preparer: Preparer, item: Item) -> Prepared:
    """The item's request. Raises `BadBody`; `Failure` with outcome usage for one that the options exclude."""
    try:
        return preparer.prepare(item)
    except Failure as failed:
        raise _name_line(item.line, failed) from failed


def request_of(preparer: Preparer, item: Item) -> str:
    """HASH of the item's request. Raises as `prepare` does."""
    try:
        return preparer.request_of(item)
    except Failure as failed:
        raise _name_line(item.line, failed) from failed


def _name_line(line: int, failed: Failure) -> Failure:
    verdict = failed.verdict
    if isinstance(failed, Unsuitable):
        return Failure(verdict._replace(summary=f"line {line}: {verdict.summary}"))
    return BadBody(line, verdict)
