"""Each piece from its upload to its last answer, whatever happens on the way; each step recorded before the next.

In: cut pieces, batches as the service describes them, works of the input. Out: lines through the recorder, the ledger
up to date, ids of items that are to be asked again. Raises `Failure` for what ends the run. Waits for nothing but
replies: when to look again is for `send` to say.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from oastream.batch.journal import Journal
from oastream.batch.keys import id_digest
from oastream.batch.lines import ErrorsFile
from oastream.batch.recorder import BatchRecorder
from oastream.batch.runner import Work
from oastream.batch.source import FileSource
from oastream.batch.via.fetched import FetchedAnswer, read_answer, read_record
from oastream.batch.via.ledger import Ledger, Piece, Stage
from oastream.batch.via.pieces import CutPiece
from oastream.batch.via.service import Service
from oastream.events.api_error import ApiError, error_verdict
from oastream.exits import TRANSIENT, Failure, Outcome, Verdict, failure_of
from oastream.http.request import Request
from oastream.watch import Watch, signal_failure

if TYPE_CHECKING:
    from openai.types import Batch, BatchError

T = TypeVar("T")
QUEUE_IS_FULL = "token_limit_exceeded"
_FOR_ALL = frozenset({Outcome.AUTH, Outcome.FORBIDDEN, Outcome.QUOTA, Outcome.NOT_FOUND})
"""What is wrong with every item when it is wrong with one."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_OVER = ("completed", "expired", "cancelled")


class Delivery:
    """The pieces of a run. `retries` is how many further tries an item gets, `outage_max` seconds of a dead server."""

    def __init__(
        self,
        ledger: Ledger,
        service: Service,
        recorder: BatchRecorder,
        source: FileSource,
        sync: Callable[[], None],
        request: Request,
        watch: Watch,
        retries: int,
        outage_max: float,
        tools_wanted: bool,
    ) -> None:
        self._ledger = ledger
        self._service = service
        self._recorder = recorder
        self._source = source
        self._sync = sync
        self._request = request
        self._watch = watch
        self._retries = retries
        self._outage_max = outage_max
        self._tools_wanted = tools_wanted
        self._settled: set[int] = set()
        """Keys of the ids that have their line from this run."""
        self._tries: Counter[int] = Counter()
        """How often an item has failed, by its key."""
        self.has_released = False
        """Whether items are to be asked again that were in a piece."""
        self.is_cancelling = False
        self._known: dict[int, int] = {}
        self._known_digests: list[str] = []

    def works(self) -> Iterator[Work]:
        """What is still to be sent: one pass over the input, beside what is in pieces at each moment."""
        self.has_released = False
        for work in self._pass_over_input():
            key = id_digest(work.item.custom_id)
            if key not in self._settled and not self._is_on_its_way(key, work.prepared.request):
                yield work

    def _pass_over_input(self) -> Iterator[Work]:
        """All that is to be asked. A long pass waits for nothing, and heeds signals none the less."""
        for work in self._source.works():
            if self._watch.pending_signal is not None:
                raise signal_failure(self._watch.pending_signal)
            yield work

    def _is_on_its_way(self, key: int, request: str) -> bool:
        return self._known_entries().get(key) == int(request, 16)

    def _known_entries(self) -> dict[int, int]:
        """Key → HASH of all that is in pieces, made anew only when there are other pieces."""
        digests = [piece.digest for piece in self._ledger.pieces]
        if digests != self._known_digests:
            self._known = {key: request for piece in self._ledger.pieces for key, request in piece.entries}
            self._known_digests = digests
        return self._known

    # --- what an earlier run has left

    def check_requests(self, may_change: bool) -> None:
        """Raise journal where the input now asks another question than the one that is on its way."""
        if may_change or not self._ledger.pieces:
            return
        known = self._known_entries()
        for work in self._source.works():
            sent = known.get(id_digest(work.item.custom_id))
            if sent is not None and sent != int(work.prepared.request, 16):
                raise failure_of(
                    Outcome.JOURNAL,
                    f"the answer to {work.item.custom_id!r} is on its way, to another request",
                    f"the request on line {work.item.line} has changed",
                    "--redo changed sends it again",
                )

    def recover(self) -> None:
        """Find out what became of the pieces of a run that died between two steps."""
        for piece in list(self._ledger.pieces):
            if piece.stage is Stage.UPLOADING:
                self._recover_upload(piece)
            elif piece.stage is Stage.CREATING:
                self._create_from_old_file(piece)

    def _recover_upload(self, piece: Piece) -> None:
        found = None
        if not self.is_cancelling:
            found = self._patiently(lambda: self._service.find_file(self._ledger.file_name(piece)))
        if found is None:
            self._release(piece)
            return
        self._note_upload(piece, found)
        self._create_from_old_file(piece)

    # --- there

    def submit(self, cut: CutPiece) -> None:
        """Upload a piece and create its batch."""
        piece = cut.piece
        self._ledger.add(piece)
        try:
            with cut.file:
                self._note_upload(piece, self._upload(piece, cut.file))
            self._create(piece)
        except Failure as failed:
            if (failed.verdict.http_status or 500) < 500:  # it was refused: nothing of it is running
                self._ledger.drop(piece)
            raise

    def _upload(self, piece: Piece, file: BinaryIO) -> str:
        name = self._ledger.file_name(piece)
        return self._patiently(lambda: self._service.upload(name, file), lambda: self._service.find_file(name))

    def _note_upload(self, piece: Piece, file_id: str) -> None:
        piece.file_id, piece.stage = file_id, Stage.CREATING
        self._ledger.save()

    def _create(self, piece: Piece) -> None:
        """Create the batch of an uploaded piece."""
        metadata, file_id = self._ledger.metadata(piece), str(piece.file_id)
        try:
            batch = self._patiently(
                lambda: self._service.create(file_id, piece.endpoint, metadata), lambda: self._find_batch(piece)
            )
        except Failure as failed:
            if failed.verdict.code != QUEUE_IS_FULL:
                raise
            self._wait_for_room(piece)
            return
        self._note_batch(piece, batch)

    def _create_from_old_file(self, piece: Piece) -> None:
        """The same for a file of long ago: its batch may be there already, or the file may be gone."""
        found = self._patiently(lambda: self._find_batch(piece))
        if found is not None:
            self._note_batch(piece, found)
            return
        if self.is_cancelling:
            self._release(piece)
            return
        try:
            self._create(piece)
        except Failure as failed:
            if failed.verdict.outcome is not Outcome.NOT_FOUND:
                raise
            self._release(piece)

    def _find_batch(self, piece: Piece) -> Batch | None:
        return self._service.find_batch(self._ledger.metadata(piece), self._ledger.began)

    def _note_batch(self, piece: Piece, batch: Batch) -> None:
        piece.batch_id, piece.stage = batch.id, Stage.RUNNING
        self._ledger.save()

    def _wait_for_room(self, piece: Piece) -> None:
        piece.batch_id, piece.stage = None, Stage.WAITING
        piece.attempt += 1
        self._ledger.save()

    def try_again(self) -> bool:
        """Create the batch of one piece that waits for room in the queue. False if none waits."""
        for piece in self._ledger.pieces:
            if piece.stage is Stage.WAITING:
                piece.stage = Stage.CREATING  # recorded before the request that may get lost
                self._ledger.save()
                self._create_from_old_file(piece)
                return True
        return False

    def _release(self, piece: Piece) -> None:
        """What the piece has not settled is to be sent anew."""
        self.has_released = True
        self._ledger.drop(piece)

    # --- back

    def look(self, piece: Piece) -> str:
        """Ask how the batch of a running piece is, and take what it has if it is over; its status."""
        batch = self._patiently(lambda: self._service.retrieve(str(piece.batch_id)))
        if batch.status in _OVER:
            self._collect(piece, batch)
        elif batch.status == "failed":
            self._take_refusal(piece, batch)
        return batch.status

    def cancel(self, piece: Piece) -> None:
        """Cancel the batch of a piece, unless it is over."""
        batch_id = str(piece.batch_id)
        if self._patiently(lambda: self._service.retrieve(batch_id)).status in (*_OVER, "failed", "cancelling"):
            return
        try:
            self._patiently(lambda: self._service.cancel(batch_id))
        except Failure as failed:
            if failed.verdict.http_status not in (400, 409):  # it has ended in the meantime
                raise

    def _works_of(self, piece: Piece) -> dict[int, Work]:
        """The items of a piece that still want an answer to the request that was sent, by key."""
        requests = dict(piece.entries)
        works = {}
        for work in self._pass_over_input():
            key = id_digest(work.item.custom_id)
            if key not in self._settled and requests.get(key) == int(work.prepared.request, 16):
                work.prepared = work.prepared._replace(body=b"")  # 50,000 of them may be large
                works[key] = work
        return works

    def _collect(self, piece: Piece, batch: Batch) -> None:
        works = self._works_of(piece)
        lines = 0
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            with self._patiently(partial(self._service.download, file_id)) as file:
                lines += self._record_all(file, works)
        _check_complete(batch, lines)
        for key, work in works.items():  # of which neither file says anything
            self._record(key, work, read_answer({"error": {"code": "batch_expired"}}, work, self._request, False))
        self._sync()
        self._ledger.drop(piece)

    def _record_all(self, file: BinaryIO, works: dict[int, Work]) -> int:
        """Record what a file says of these items, and take them out of `works`; how many lines it has."""
        lines = 0
        for line in file:
            lines += 1
            try:
                custom_id, record = read_record(line)
            except ValueError as error:
                raise failure_of(Outcome.MALFORMED, "a line of the output is no record", error) from error
            key = id_digest(custom_id)
            work = works.pop(key, None)
            if work is not None:
                self._record(key, work, read_answer(record, work, self._request, self._tools_wanted))
        return lines

    def _record(self, key: int, work: Work, answer: FetchedAnswer) -> None:
        """Write the line of an item, unless it is to be asked again."""
        work.asked = self._tries[key] + 1
        if self._may_ask_again(key, answer):
            self._tries[key] += 1
            self.has_released = True
            return
        if answer.verdict.has_answer:
            self._recorder.answer(work, answer, None)
        else:
            self._recorder.error(work, answer, answer.verdict, None)
        self._check_recorder()
        self._settled.add(key)

    def _may_ask_again(self, key: int, answer: FetchedAnswer) -> bool:
        if answer.verdict.has_answer or not answer.verdict.retryable:
            return False
        if self.is_cancelling:
            return answer.http_status is None  # what was not executed has not failed
        return self._tries[key] < self._retries

    def _check_recorder(self) -> None:
        if self._recorder.failure is not None:
            raise self._recorder.failure

    # --- a batch that fails at validation

    def _take_refusal(self, piece: Piece, batch: Batch) -> None:
        """Error records for the lines that it names; the others are sent anew. What concerns all ends the run."""
        errors = (batch.errors and batch.errors.data) or []
        if any(error.code == QUEUE_IS_FULL for error in errors):
            self._wait_for_room(piece)
            return
        verdicts = [(error.line, _verdict_of(error)) for error in errors]
        keys = [key for key, _ in piece.entries]
        named = {keys[line - 1]: verdict for line, verdict in verdicts if line and 0 < line <= len(keys)}
        for_all = [verdict for _, verdict in verdicts if verdict.outcome in _FOR_ALL]
        if for_all or not named:
            self._ledger.drop(piece)
            why = Verdict(Outcome.BAD_REQUEST, "the batch failed", f"{batch.id} does not say why")
            raise Failure([*for_all, *(verdict for _, verdict in verdicts), why][0])
        works = self._works_of(piece)
        for key, verdict in named.items():
            if key in works:
                works[key].asked = 1
                self._recorder.error(works[key], None, verdict, None)
                self._check_recorder()
                self._settled.add(key)
        self._sync()
        self._release(piece)

    # --- a server that fails

    def _patiently(self, ask: Callable[[], T], find: Callable[[], T | None] | None = None) -> T:
        """What `ask` gives, in spite of failures that pass. `find` looks for what a try may have done unheard."""
        began, pause = self._watch.now(), _FIRST_PAUSE
        step: Callable[[], T | None] = ask
        while True:
            try:
                got = step()
                if got is not None or find is None:
                    return got  # type: ignore[return-value]  # only `find` may give none
                step = ask
                continue
            except Failure as failed:
                verdict = failed.verdict
                if verdict.code == QUEUE_IS_FULL or verdict.outcome not in TRANSIENT or not verdict.retryable:
                    raise
                if self._watch.now() - began >= self._outage_max:
                    raise
            step = find or ask
            self._service.sleep(max(verdict.retry_after or 0.0, pause * random.uniform(0.5, 1.0)))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _check_complete(batch: Batch, lines: int) -> None:
    """Raise for a download that was cut off unnoticed: what it lacks would be sent, and paid, a second time."""
    counts = batch.request_counts
    if counts is not None and lines < counts.completed + counts.failed:
        why = f"{lines} lines, where {counts.completed + counts.failed} items are done"
        raise failure_of(Outcome.INTERRUPTED, f"the output of {batch.id} is not whole", why)


def _verdict_of(error: BatchError) -> Verdict:
    """A fault of the request, unless its code says otherwise: nothing that is refused here gets better by itself."""
    found = ApiError(error.message or "the line is not accepted", error.code, param=error.param)
    return error_verdict(found, 400)


def sync_lines(journal: Journal, errors: ErrorsFile | None) -> None:
    """What was fetched is safe on the disk, before the ledger forgets where it can be fetched."""
    journal.sync()
    if errors is not None:
        errors.sync()
