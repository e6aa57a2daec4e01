"""What became of each item → its line in the answers or in the errors, and the figures of the run.

In: items with the stream that answered them, or with the verdict on their failure. Out: lines, in the order in which
they are told or in that of the input; counts. Which item is asked when is not known here. Raises `Failure` with outcome
output where a line cannot be written.
"""

from __future__ import annotations

import array
import os
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol
from urllib.parse import quote

from oastream.batch.keys import request_hash
from oastream.batch.reading import Reading
from oastream.batch.records import Layout, Result
from oastream.batch.runner import Work
from oastream.batch.stream import usage_of
from oastream.exits import Failure, Outcome, Verdict, exit_status, failure_of
from oastream.input.schema import Schema
from oastream.lenient_json import dumps, parse_json
from oastream.system_errors import describe_error

_MAX_NAME_BYTES = 200
"""Of a file in --output-dir, without its suffix: file systems end at 255."""


class Exchange(Protocol):
    """What came of the last time that an item was asked."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def reading(self) -> Reading: ...
    @property
    def http_status(self) -> int | None: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def first_event_ms(self) -> int | None: ...
    @property
    def error_body(self) -> bytes | None: ...


class Lines(Protocol):
    """Where lines go: the journal, stdout, the errors file."""

    @property
    def is_full(self) -> bool:
        """Whether it should be given nothing more until it has written what it has."""

    def append(self, line: bytes, position: int) -> None:
        """Add a line; `position` is that of its item among those that were asked, from 1."""


class Figures:
    """What is counted while items end. Times are in milliseconds."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        """Of the answers of this run."""
        self.errors: Counter[Outcome] = Counter()
        self.attempts = 0
        self.rate_limited = 0
        self.tokens = 0.0
        self.first_event_ms = array.array("d")
        self.elapsed_ms = array.array("d")

    @property
    def done(self) -> int:
        return self.outcomes.total() + self.errors.total()

    @staticmethod
    def quantile(times: array.array[float], share: float) -> float | None:
        """The time that this share of all is not above."""
        ordered = sorted(times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


class Folder:
    """--output-dir: the text of each answer as a file of its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise failure_of(Outcome.OUTPUT, f"{path} cannot be made", describe_error(error)) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise failure_of(Outcome.OUTPUT, f"{path} cannot be written", "permission denied")

    def put(self, custom_id: str, text: str) -> None:
        """Write the file of an id, in one step."""
        path = os.path.join(self._path, f"{file_name(custom_id)}.txt")
        beside = os.path.join(self._path, f".{request_hash(custom_id.encode('utf-8', 'surrogatepass'))}.oastream")
        try:
            with open(beside, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.replace(beside, path)
        except OSError as error:
            raise failure_of(Outcome.OUTPUT, f"{path} cannot be written", describe_error(error)) from error


def file_name(custom_id: str) -> str:
    """The id where it can be the name of a file, else percent-encoded; its hash where that is too long."""
    name = quote(custom_id, safe=" !#$&'()+,-;=@[]^_`{}~", errors="surrogatepass")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _MAX_NAME_BYTES:
        return request_hash(custom_id.encode("utf-8", "surrogatepass"))
    return name


class BatchRecorder:
    """Writes what the runner tells. `accepted` are the outcomes of --ok; `keeps_partial` is --keep-partial."""

    def __init__(
        self,
        layout: Layout,
        answers: Lines,
        errors: Lines,
        folder: Folder | None,
        schema: Schema | None,
        accepted: Collection[Outcome],
        keeps_partial: bool,
        needs_body: bool,
        needs_calls: bool,
        mask: Callable[[str], str],
    ) -> None:
        self._layout = layout
        self._answers = answers
        self._errors = errors
        self._folder = folder
        self._schema = schema
        self._accepted = accepted
        self._keeps_partial = keeps_partial
        self._needs_body = needs_body
        self._needs_calls = needs_calls
        self._mask = mask
        self.figures = Figures()
        self.on_failure: Callable[[], None] = lambda: None
        self.takes_answers = True
        """Whether answers can be written, though perhaps errors cannot."""
        self.on_unplain: Callable[[str, Verdict], None] = lambda custom_id, verdict: None
        """Told of each item that has no plain answer, and why."""
        self.failure: Failure | None = None
        """What keeps lines from being written: the run ends with it."""

    @property
    def is_full(self) -> bool:
        return self._answers.is_full

    def answer(self, work: Work, stream: Exchange, now: float | None) -> None:
        """An item has its answer. `now` is None where nobody knows how long that took."""
        verdict, reply = stream.verdict, stream.reading.answer.reply
        result = self._result(work, stream, verdict, now)
        if self._schema is not None and verdict.outcome is Outcome.STOP and not reply.awaits_client:
            misfit = self._schema.verdict(reply.text)
            if misfit is not None:
                result = result._replace(verdict=misfit, exit=exit_status(misfit, self._accepted))
        if self._needs_calls:
            try:
                result = result._replace(calls=tuple(reply.calls()))
            except Failure as failed:
                self.error(work, stream, failed.verdict, now)
                return
        if self._needs_body:
            result = result._replace(body=stream.reading.body())
        self.figures.outcomes[result.verdict.outcome] += 1
        if result.exit:
            self.on_unplain(work.item.custom_id, result.verdict)
        self._count(work, result, stream)
        if self.takes_answers:
            try:
                self._put_answer(work, result)
            except Failure as failed:
                self.fail(failed)

    def error(self, work: Work, stream: Exchange | None, verdict: Verdict, now: float | None) -> None:
        """An item has none, and will get none in this run."""
        self.figures.errors[verdict.outcome] += 1
        result = self._result(work, stream, verdict, now)
        self._count(work, result, stream)
        result = result._replace(verdict=_mask_verdict(verdict, self._mask))
        self.on_unplain(work.item.custom_id, result.verdict)
        partial = None
        if self._keeps_partial and stream is not None:
            partial = stream.reading.answer.reply.text or None
        if stream is not None and stream.error_body is not None:
            result = result._replace(body=_as_json(stream.error_body, self._mask))
        else:
            result = result._replace(http_status=None)
        if self.failure is None:
            try:
                self._errors.append(self._layout.error(work.item, result, partial), work.position)
            except Failure as failed:
                self.fail(failed, takes_answers=self._errors is not self._answers)

    def _put_answer(self, work: Work, result: Result) -> None:
        if self._folder is not None:
            self._folder.put(work.item.custom_id, result.text)
        self._answers.append(self._layout.answer(work.item, result), work.position)

    def fail(self, failure: Failure, takes_answers: bool = False) -> None:
        """Lines cannot be written any more, or only answers can: those that are in flight are waited for."""
        self.failure = self.failure or failure
        self.takes_answers = self.takes_answers and takes_answers
        self.on_failure()

    def _result(self, work: Work, stream: Exchange | None, verdict: Verdict, now: float | None) -> Result:
        elapsed = None
        if now is not None:
            started = now if work.started is None else work.started
            elapsed = round((now - started) * 1000)
        first_event = None if stream is None else stream.first_event_ms
        return Result(
            verdict,
            exit_status(verdict, self._accepted),
            work.prepared.request,
            work.asked,
            first_event,
            elapsed,
            None if stream is None else stream.http_status,
            None if stream is None else stream.request_id,
            text="" if stream is None else stream.reading.answer.reply.text,
        )

    def _count(self, work: Work, result: Result, stream: Exchange | None) -> None:
        figures = self.figures
        figures.attempts += work.asked
        figures.rate_limited += work.rate_limited
        if result.first_event_ms is not None:
            figures.first_event_ms.append(result.first_event_ms)
        if result.elapsed_ms is not None:
            figures.elapsed_ms.append(result.elapsed_ms)
        tokens = None if stream is None else usage_of(stream.reading.answer.reply.usage)
        if tokens is not None:
            figures.tokens += sum(tokens)


def _mask_verdict(verdict: Verdict, mask: Callable[[str], str]) -> Verdict:
    """Servers repeat the key that they refuse."""
    code = None if verdict.code is None else mask(verdict.code)
    return verdict._replace(summary=mask(verdict.summary), detail=mask(verdict.detail), code=code)


def _as_json(body: bytes, mask: Callable[[str], str]) -> bytes:
    """An error reply as a JSON value: itself, or its words as a text."""
    text = mask(body.decode("utf-8", "replace"))
    try:
        return dumps(parse_json(text.encode()))
    except ValueError:
        return dumps(text)
