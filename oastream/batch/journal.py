"""The answers file, which is the journal: what is answered already, one more line at a time, whatever kills the run.

In: a path, the layout of its records, lines to add. Out: which ids are answered, with which request and outcome; a file
that holds whole lines only. Knows nothing of requests, servers or the input. Raises `Failure` with outcome journal for
a file that cannot be gone on with (nothing of it is changed), with outcome output where it cannot be written.

The file is locked for the whole run, so that two runs never answer the same item. A line goes out in one write(2) to a
file opened with O_APPEND. At most one line is not whole after a death, the last: a power failure leaves that, and a
SIGKILL within the write, which Linux ends at a page (1 of 328 kills at random moments).
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import itertools
import operator
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO, NamedTuple

from oastream.batch.keys import id_key
from oastream.batch.records import Answered, Layout
from oastream.exits import Failure, Outcome, failure_of
from oastream.files import replace_by_pieces
from oastream.lenient_json import parse_json
from oastream.system_errors import describe_error

_READ_SIZE = 1 << 20
_HASH_BITS = 48
_OUTCOMES = tuple(Outcome)
_OUTCOME_BITS = 6
_SEEN = 1 << _HASH_BITS + _OUTCOME_BITS
_OUTCOME_NUMBERS = {outcome: number for number, outcome in enumerate(_OUTCOMES)}


class BrokenLine(NamedTuple):
    """A line that is no record, with the offset of its first byte in the file."""

    offset: int
    line: bytes
    why: str


class Answers:
    """Which ids are answered, in 106 bytes each.

    For each id an integer of 55 bits: one that says whether the input has brought the id, 48 of the request's hash, 6
    of the outcome's place in the table.
    """

    def __init__(self) -> None:
        self._values: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    def add(self, answer: Answered) -> bool:
        """Remember an answer. False for a second one to the same id, which is not remembered."""
        key = id_key(answer.custom_id)
        if key in self._values:
            return False
        self._values[key] = _packed_hash(answer.request) << _OUTCOME_BITS | _OUTCOME_NUMBERS[answer.outcome]
        return True

    def __contains__(self, custom_id: str) -> bool:
        return id_key(custom_id) in self._values

    def outcome(self, custom_id: str, request: str) -> Outcome | None:
        """How the answer to this request ended; None where the id has no answer, or one to another request.

        `request` is its HASH.
        """
        value = self._values.get(id_key(custom_id))
        if value is None or (value & ~_SEEN) >> _OUTCOME_BITS != _packed_hash(request):
            return None
        return _OUTCOMES[value & (1 << _OUTCOME_BITS) - 1]

    def forget(self, outcomes: Collection[Outcome]) -> None:
        """Let the answers be as if they were not there that ended like this."""
        numbers = {_OUTCOME_NUMBERS[outcome] for outcome in outcomes}
        if numbers:
            mask = (1 << _OUTCOME_BITS) - 1
            self._values = {key: value for key, value in self._values.items() if value & mask not in numbers}

    def see(self, custom_id: str) -> bool:
        """Note that the input has brought the id, which is answered. False when it had done so before."""
        key = id_key(custom_id)
        value = self._values[key]
        self._values[key] = value | _SEEN
        return not value & _SEEN


def _packed_hash(request: str) -> int:
    """The first 48 bits of the hash. What is no hash of ours is that of no request, as far as anybody will see."""
    try:
        return int(request[: _HASH_BITS // 4], 16)
    except ValueError:
        return 0


class Journal:
    """An answers file, open and locked. `answers` are those that it holds, once `load` has read them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.answers = Answers()
        self.is_new = not os.path.exists(path)
        self._fd = open_locked(path)
        self._size = os.fstat(self._fd).st_size
        self._needs_sync = False
        self._syncing = threading.Lock()

    def load(self, layout: Layout, keep_broken: Callable[[list[BrokenLine]], None] | None = None) -> None:
        """Read what is answered; cut off a last line that a power failure left unfinished.

        With `keep_broken`, broken lines go there, and are then taken out of the file; without it they are a `Failure`.
        """
        self.answers = Answers()
        broken: list[BrokenLine] = []
        last: tuple[int, bytes] | None = None
        for offset, line in self._lines():
            if not line.endswith(b"\n"):
                last = offset, line
                continue
            why = self._read_line(line, layout)
            if why and keep_broken is None:
                if not self.answers:
                    raise _no_journal_failure(self.path, BrokenLine(offset, line, why))
                raise _damage_failure(self.path, BrokenLine(offset, line, why))
            if why:
                broken.append(BrokenLine(offset, line, why))
        if broken and not self.answers:
            raise _no_journal_failure(self.path, broken[0])
        if last is not None:
            self._mend_last(*last, layout)
        if broken and keep_broken is not None:
            keep_broken(broken)
            self._leave_out({each.offset for each in broken})

    def _read_line(self, line: bytes, layout: Layout) -> str:
        """Remember the answer in a line; why it is none, or an empty text."""
        try:
            record = parse_json(line)
        except ValueError:
            return "it is not JSON"
        try:
            answer = layout.read(record)
        except ValueError as error:
            return str(error)
        if not self.answers.add(answer):
            return f"it is a second answer to {answer.custom_id!r}"
        return ""

    def _mend_last(self, offset: int, line: bytes, layout: Layout) -> None:
        """Cut off a last line without its newline, or add that where nothing else was missing.

        Raises `Failure` where it is not the beginning of a record, since then the file may be anything else.
        """
        if not may_be_cut_off(line):
            raise _damage_failure(self.path, BrokenLine(offset, line, "it is no record"))
        if not line.endswith(b"\0") and not self._read_line(line, layout):
            self.append(b"\n")
        else:
            self._cut(offset)

    def append(self, line: bytes) -> None:
        """Add a line, in one write. When that fails, what was written of it is taken back, and the rest stays good."""
        try:
            written = os.write(self._fd, line)
            if written < len(line):  # the disk is all but full: the next byte says so
                os.write(self._fd, line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise _write_failure(self.path, error) from error
        self._size += len(line)
        self._needs_sync = True

    def sync(self) -> None:
        """Let all that was added be safe on the disk."""
        with self._syncing:  # a thread syncs while lines are added; the end of the run waits for it
            if not self._needs_sync:
                return
            size = self._size
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise _write_failure(self.path, error) from error
            self._needs_sync = self._size != size

    def close(self) -> None:
        """Sync, and let other runs have the file."""
        try:
            self.sync()
        finally:
            os.close(self._fd)

    def drop(self, layout: Layout, is_dropped: Callable[[Answered], bool]) -> int:
        """Take answers out of the file, in one step; how many they were."""
        offsets = set()
        for offset, line in self._lines():
            if is_dropped(layout.read(parse_json(line))):
                offsets.add(offset)
        if offsets:
            self._leave_out(offsets)
            self.load(layout)
        return len(offsets)

    def reorder(self, layout: Layout, position: Callable[[str], int | None]) -> None:
        """Put the answers into the order of their positions, those that have none at the end, as they are."""
        last = 1 << 60
        places, offsets = array.array("q"), array.array("q")  # of a million lines 16 MB; tuples took 190
        for offset, line in self._lines():
            place = position(layout.read(parse_json(line)).custom_id)
            places.append(last if place is None else place)
            offsets.append(offset)
        in_order = sorted(range(len(places)), key=places.__getitem__)
        if all(map(operator.eq, in_order, itertools.count())):
            return
        offsets.append(self._size)
        # Not through a buffer: it would be filled for each line, a megabyte for 2.6 kB.
        self._replace(os.pread(self._fd, offsets[number + 1] - offsets[number], offsets[number]) for number in in_order)

    def _leave_out(self, offsets: set[int]) -> None:
        self._replace(line for offset, line in self._lines() if offset not in offsets)

    def _replace(self, lines: Iterator[bytes]) -> None:
        """Give the file these lines, in one step. The new one is locked as soon as it has the name."""
        try:
            replace_by_pieces(os.path.realpath(self.path), lines, 0o600)  # a link stays one
            old = self._fd
            self._fd = open_locked(self.path)
            os.close(old)
            self._size = os.fstat(self._fd).st_size
        except OSError as error:
            raise _write_failure(self.path, error) from error

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise _write_failure(self.path, error) from error
        self._size = size
        self._needs_sync = True

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line with its newline, and its offset."""
        offset = 0
        with self._reader() as file:
            for line in file:
                yield offset, line
                offset += len(line)

    def _reader(self) -> BinaryIO:
        """The file from its beginning, in a description of its own: two readers do not move each other."""
        try:
            return open(f"/proc/self/fd/{self._fd}", "rb", buffering=_READ_SIZE)
        except FileNotFoundError:  # no /proc: macOS
            return open(self.path, "rb", buffering=_READ_SIZE)


def may_be_cut_off(line: bytes) -> bool:
    """Whether a last line without its newline is the beginning of a record, or of nothing.

    After a power failure it may be NULs: blocks that were allotted, and not yet written.
    """
    content = line.rstrip(b"\0")
    return not content or content.startswith(b"{")


@contextlib.contextmanager
def hold_lock(path: str) -> Iterator[None]:
    """No other run, launch or merge has the file meanwhile. Raises `Failure`: journal, output, usage."""
    fd = open_locked(path)
    try:
        yield
    finally:
        os.close(fd)


def open_locked(path: str) -> int:
    """The file at this path, created with mode 0600 where there is none, and ours alone until it is closed."""
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise failure_of(Outcome.JOURNAL, f"{path} is in use", "another oastream-batch writes to it") from error
        except OSError as error:
            os.close(fd)
            raise failure_of(Outcome.JOURNAL, f"{path} cannot be locked", describe_error(error)) from error
        if _is_at(fd, path):
            return fd
        os.close(fd)  # the run that had the lock has replaced the file in the meantime


def _open(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except (OSError, ValueError) as error:
        raise _write_failure(path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise failure_of(
            Outcome.USAGE,
            f"-o {path} is not a regular file",
            "it could not be continued",
            "leave out -o to write to stdout",
        )
    return fd


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _damage_failure(path: str, broken: BrokenLine) -> Failure:
    what = f"{path} cannot be continued"
    return failure_of(
        Outcome.JOURNAL, what, f"the line at byte {broken.offset}: {broken.why}", "--repair moves it to the errors file"
    )


def _no_journal_failure(path: str, broken: BrokenLine) -> Failure:
    """Of a file that begins with something else: another --format, another program's, or damaged in its first line."""
    failure = _damage_failure(path, broken)
    return Failure(failure.verdict._replace(hint="is it an answers file, and of this --format?"))


def _write_failure(path: str, error: OSError | ValueError) -> Failure:
    return failure_of(Outcome.OUTPUT, f"{path} cannot be written", describe_error(error))
