"""An item and what became of it → a line of the answers or of the errors; and back, from a line of an older run.

In: `Result`s. Out: JSON lines in one of four layouts, one class each; from a record read back, whose answer it is.
Writes nothing itself.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from oastream.batch.input import InputForm, Item, row_id
from oastream.batch.keys import id_digest
from oastream.exits import Outcome, Verdict
from oastream.lenient_json import dumps, parse_json

Record = dict[str, Any]
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


class Result(NamedTuple):
    """What became of one item. Times are in milliseconds.

    `request` is HASH of the body that was sent, empty when nothing could be. `body` is the server's object as JSON: of
    an answer, or of a reply that refused it. `text` and `calls` are what the layouts of those names need; of an answer
    that broke off `text` is what there was of it.
    """

    verdict: Verdict
    exit: int
    request: str = ""
    attempts: int = 0
    first_event_ms: int | None = None
    elapsed_ms: int | None = None
    http_status: int | None = None
    request_id: str | None = None
    body: bytes | None = None
    parsed_body: Any = None
    """The same as a value, where bytes cannot be put into the line."""
    text: str = ""
    calls: tuple[Record, ...] = ()


class Answered(NamedTuple):
    """What a record of an older run says: which request it answers, and how that ended."""

    custom_id: str
    request: str
    outcome: Outcome


class Failed(NamedTuple):
    """What an error record of an older run says: whose it is, how it ended, and whether trying again may help."""

    custom_id: str
    outcome: Outcome
    retryable: bool


class Layout:
    """How a line looks. `name` is what --format calls it."""

    name = ""
    marks: frozenset[str] = frozenset()
    """The fields that tell a record of this layout from one of another."""

    def answer(self, item: Item, result: Result) -> bytes:
        """The line of an answer, with its newline."""
        return _write_line(self._answer_line, item, result)

    def error(self, item: Item, result: Result, partial: str | None = None) -> bytes:
        """The line of an item without an answer. `partial` is what there was of one."""
        return _write_line(functools.partial(self._error_line, partial_text=partial), item, result)

    def _answer_line(self, item: Item, result: Result) -> bytes:
        return _line({**self._head(item, result), **self._answer(item, result), "oastream": _about(item, result)})

    def _error_line(self, item: Item, result: Result, partial_text: str | None) -> bytes:
        record = {**self._head(item, result), **self._no_answer(item, result), "error": error_object(result.verdict)}
        if partial_text is not None:
            record["partial"] = partial_text
        return _line({**record, "oastream": _about(item, result)})

    def read(self, record: Any) -> Answered:
        """Whose answer a line is. Raises `ValueError` for what is no answer in this layout."""
        if not isinstance(record, dict) or not record.keys() >= self.marks or record.get("error"):
            raise ValueError(f"it is no answer in --format {self.name}")
        about = record.get("oastream")
        if not isinstance(about, dict) or not isinstance(about.get("request"), str):
            raise ValueError("it does not say which request it answers")
        return Answered(self._id_in(record), about["request"], _outcome(about.get("outcome")))

    def read_error(self, record: Any) -> Failed:
        """Whose error a line is. Raises `ValueError` for what is none in this layout, and for one of no item."""
        if not isinstance(record, dict) or not isinstance(record.get("error"), dict):
            raise ValueError("it is no error")
        error = record["error"]
        return Failed(self._id_in(record), _outcome(error.get("kind")), error.get("retryable") is True)

    def _head(self, item: Item, result: Result) -> Record:
        return {"custom_id": item.custom_id, "outcome": result.verdict.outcome.value}

    def _answer(self, item: Item, result: Result) -> Record:
        raise NotImplementedError

    def _no_answer(self, item: Item, result: Result) -> Record:
        raise NotImplementedError

    def _id_in(self, record: Record) -> str:
        custom_id = record.get("custom_id")
        if not isinstance(custom_id, str):
            raise ValueError("it has no custom_id")
        return custom_id


class BatchLayout(Layout):
    """A line of the Batch API's output file: https://platform.openai.com/docs/api-reference/batch/request-output."""

    name = "batch"
    marks = frozenset({"custom_id", "response"})

    def _head(self, item: Item, result: Result) -> Record:
        return {"id": f"batch_req_{id_digest(item.custom_id):015x}", "custom_id": item.custom_id}

    def _answer(self, item: Item, result: Result) -> Record:
        return {"response": _response(result), "error": None}

    def _no_answer(self, item: Item, result: Result) -> Record:
        return {"response": None if result.http_status is None else _response(result)}


class TextLayout(Layout):
    """The text of the answer."""

    name = "text"
    marks = frozenset({"custom_id", "outcome", "text"})

    def _answer(self, item: Item, result: Result) -> Record:
        return {"text": result.text}

    def _no_answer(self, item: Item, result: Result) -> Record:
        return {"text": None}


class ToolsLayout(Layout):
    """The tool calls of the answer, all whole."""

    name = "tools"
    marks = frozenset({"custom_id", "outcome", "calls"})

    def _answer(self, item: Item, result: Result) -> Record:
        return {"calls": list(result.calls)}

    def _no_answer(self, item: Item, result: Result) -> Record:
        return {"calls": None}


class RowLayout(Layout):
    """The row of the input with the answer added: a data set in, a data set out."""

    name = "row"

    def __init__(self, form: InputForm, answer_key: str) -> None:
        self._form = form
        self._answer_key = answer_key
        self.marks = frozenset({answer_key})

    def _head(self, item: Item, result: Result) -> Record:
        return item.row or {}

    def _answer(self, item: Item, result: Result) -> Record:
        return {self._answer_key: result.text}

    def _no_answer(self, item: Item, result: Result) -> Record:
        return {self._answer_key: None}

    def _id_in(self, record: Record) -> str:
        """By the rule of the input; what has no id of its own is called by the line that the answer was given for."""
        line = record["oastream"].get("line")
        return row_id(record, line if isinstance(line, int) else 0, self._form)


LAYOUTS: dict[str, Callable[[InputForm, str], Layout]] = {
    "batch": lambda form, answer_key: BatchLayout(),
    "text": lambda form, answer_key: TextLayout(),
    "tools": lambda form, answer_key: ToolsLayout(),
    "row": RowLayout,
}
"""--format → the layout, from the form of the input and --answer-key."""


def bad_line_record(line: int, why: str) -> bytes:
    """The error record of a line that --skip-bad passes over."""
    error = {"code": None, "message": why, "kind": Outcome.INPUT.value, "retryable": False}
    return _line({"custom_id": None, "response": None, "error": error, "oastream": {"line": line}})


def broken_line_record(broken: bytes, offset: int) -> bytes:
    """The error record in which --repair keeps a line of the journal that is no record."""
    why = f"the line at byte {offset} of the answers was no record"
    error = {"code": None, "message": why, "kind": Outcome.JOURNAL.value, "retryable": False}
    return _line({"custom_id": None, "response": None, "error": error, "line": broken.decode("utf-8", "replace")})


def is_broken_line_record(line: bytes) -> bool:
    """Whether --repair has put a line of the errors file there."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        record = parse_json(line)
        return record["error"]["kind"] == Outcome.JOURNAL.value and "line" in record
    return False


def is_error_line(line: bytes) -> bool:
    """Whether a line may be one of an errors file: of any layout, of an item or of none, or one that was cut off."""
    try:
        record = parse_json(line)
    except ValueError:
        return line.startswith(b"{") and not line.endswith(b"\n")
    return isinstance(record, dict) and isinstance(record.get("error"), dict) and "kind" in record["error"]


def read_error_line(line: bytes, layout: Layout) -> Failed | None:
    """Whose error a line of the errors file is, None for a line that is of no item."""
    try:
        return layout.read_error(parse_json(line))
    except (ValueError, KeyError, AttributeError):
        return None


def error_object(verdict: Verdict) -> Record:
    """What went wrong, with the fields of the Batch API's `error` and two of ours."""
    return {
        "code": verdict.code or verdict.outcome.value,
        "message": verdict.message,
        "kind": verdict.outcome.value,
        "retryable": verdict.retryable,
    }


def _write_line(make_line: Callable[[Item, Result], bytes], item: Item, result: Result) -> bytes:
    """The line, with the body as it came: to read and write it again would take longer than all the rest.

    A lone surrogate, say in the id, goes the slow way of `dumps`, which knows no `Fragment`: then it is read.
    """
    try:
        return make_line(item, result)
    except TypeError:
        if result.body is None:
            raise
        return make_line(item, result._replace(body=None, parsed_body=parse_json(result.body)))


def _response(result: Result) -> Record:
    body = result.parsed_body
    if result.body is not None:
        body = orjson.Fragment(result.body)
    return {"status_code": result.http_status, "request_id": result.request_id, "body": body}


def _about(item: Item, result: Result) -> Record:
    return {
        "request": result.request,
        "outcome": result.verdict.outcome.value,
        "exit": result.exit,
        "attempts": result.attempts,
        "first_event_ms": result.first_event_ms,
        "elapsed_ms": result.elapsed_ms,
        "line": item.line,
    }


def _outcome(name: object) -> Outcome:
    outcome = _OUTCOMES.get(name) if isinstance(name, str) else None
    if outcome is None:
        raise ValueError("it does not say how its answer ended")
    return outcome


def _line(record: Record) -> bytes:
    return dumps(record) + b"\n"
