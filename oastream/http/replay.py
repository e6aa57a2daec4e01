"""A recording, played through the same way as a live answer.

In: the path of a file that `recording` has written, whose format is described there. Out: sources, one for each
attempt in it. A body that curl has saved, an event stream or an answer as JSON, is played as one answer; any other file
is refused, with the line that is wrong. Sends nothing, and knows nothing of what the bytes mean.
"""

from __future__ import annotations

import base64
import contextlib
import math
from typing import Any

import orjson

from oastream.events.body_kind import is_answer
from oastream.exits import ANSWERED, TABLE, Failure, Outcome, Verdict, failure_of
from oastream.http.http1 import TruncatedBody
from oastream.http.recording import Record
from oastream.http.request import Request
from oastream.http.source import Source
from oastream.input.prompt import InputReader
from oastream.watch import Watch

MAX_RECORDING_BYTES = 1 << 30
_NEVER_RECORDED = (*ANSWERED, Outcome.INTERNAL, Outcome.OUTPUT)
_FAILED_OUTCOMES = frozenset(outcome.value for outcome in TABLE if outcome not in _NEVER_RECORDED)
"""How an attempt can end without a head."""
_PIECE_SIZE = 1 << 16
"""Bytes that a body without timing is played in: what one read of a socket brings at most."""


class Replay:
    """Opens the attempts of a recording, one after the other."""

    def __init__(self, path: str, realtime: bool, watch: Watch, deadline: float = math.inf) -> None:
        self._realtime = realtime
        self._watch = watch
        data = InputReader(watch, "utf-8", lambda: None, deadline).data(path, MAX_RECORDING_BYTES)
        self._attempts = _read_attempts(path, data)
        heads = [attempt[0] for attempt in self._attempts]
        self.choices = max((head.get("choices", 1) for head in heads if "failed" not in head), default=1)
        """How many answers were asked for."""

    def can_reopen(self) -> bool:
        """Whether the recording has another attempt."""
        return bool(self._attempts)

    def open(self, _request: Request, _connect_deadline: float, deadline: float) -> Source:
        source = ReplayedSource(self._attempts.pop(0), self._watch, self._realtime)
        source.wait_for_head(deadline)
        return source


class ReplayedSource:
    """One recorded attempt."""

    def __init__(self, records: list[Record], watch: Watch, realtime: bool) -> None:
        head, *self._records = records
        self.status: int = head.get("status", 0)
        self.headers: dict[str, str] = head.get("headers", {})
        self._head = head
        self._watch = watch
        self._realtime = realtime
        self._began = watch.now()

    def __enter__(self) -> ReplayedSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._records.clear()

    def wait_for_head(self, deadline: float) -> None:
        """Until it came. Raises `Failure` or `TimeoutError`, as the attempt did that brought none."""
        self._wait_for(self._head, deadline)
        if "failed" not in self._head:
            return
        failed = self._head["failed"]
        if failed is None:
            raise TimeoutError
        summary, detail, hint = (str(failed.get(name) or "") for name in ("what", "why", "hint"))
        raise Failure(Verdict(Outcome(failed["outcome"]), summary, detail, hint))

    def read(self, deadline: float) -> bytes | None:
        if not self._records:  # the run that wrote it was killed
            raise TruncatedBody("the recording ends here")
        # One that is late stays: another deadline may be waited for.
        self._wait_for(self._records[0], deadline)
        record = self._records.pop(0)
        if "silence" in record:
            raise TimeoutError
        if "end" not in record:
            return _as_bytes(record)
        if record["end"]:
            raise TruncatedBody(str(record["end"]))
        return None

    def _wait_for(self, record: Record, deadline: float) -> None:
        if not self._realtime:
            return
        moment = self._began + record["ms"] / 1000
        self._watch.sleep(min(moment, deadline))
        if moment > deadline:
            raise TimeoutError


def _as_bytes(record: Record) -> bytes:
    if "base64" in record:
        return base64.b64decode(record["base64"])
    return str(record["data"]).encode()


# Reading the file ------------------------------------------------------------------------------------------------


def _read_attempts(path: str, data: bytes) -> list[list[Record]]:
    """The attempts in a recording; of the body of an answer, one that sends it with a 200. Raises `Failure`: input."""
    lines = data.splitlines()
    if not lines or not _parse_record(lines[0]):
        if not is_answer(data):
            raise failure_of(
                Outcome.INPUT, f"{path} is not a recording", "it is no event stream and no answer as JSON either"
            )
        return [_records_of_body(data)]
    if not data.endswith(b"\n") and not _parse_record(lines[-1]):
        lines.pop()  # the run was killed while it wrote it
    attempts: list[list[Record]] = []
    for number, line in enumerate(lines, 1):
        record = _parse_record(line)
        if _is_head(record):
            attempts.append([record])
        elif attempts and _continues_attempt(record):
            attempts[-1].append(record)
        else:
            raise failure_of(Outcome.INPUT, f"{path} is not a recording", f"line {number} does not belong in one")
    return attempts


def _parse_record(line: bytes) -> Record:
    """The line as an object with a moment, else an empty one."""
    with contextlib.suppress(orjson.JSONDecodeError):
        record = orjson.loads(line)
        if isinstance(record, dict) and type(record.get("ms")) in (int, float):  # True is an int, too
            return record
    return {}


def _is_head(record: Record) -> bool:
    """Whether it begins an attempt, and nothing in it is of another kind than we write."""
    if "failed" in record:
        return _is_recorded_failure(record["failed"])
    status, headers, choices = record.get("status"), record.get("headers", {}), record.get("choices", 1)
    if type(status) is not int or status not in range(100, 1000) or type(choices) is not int or choices < 1:
        return False
    return isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())


def _is_recorded_failure(failed: Any) -> bool:
    """Whether an attempt can have failed like this before it had a head; None is a deadline that passed."""
    if failed is None:
        return True
    if not isinstance(failed, dict) or not isinstance(failed.get("outcome"), str):
        return False
    return failed["outcome"] in _FAILED_OUTCOMES and isinstance(failed.get("what"), str)


def _continues_attempt(record: Record) -> bool:
    """Whether it goes on with an attempt: bytes, or how it ended."""
    if "base64" in record:
        return _is_base64(record["base64"])
    return isinstance(record.get("data"), str) or isinstance(record.get("end"), str) or record.get("silence") is True


def _is_base64(text: Any) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        return False
    return True


def _records_of_body(data: bytes) -> list[Record]:
    """The records of an attempt that brought this body, at once."""
    pieces = [data[start : start + _PIECE_SIZE] for start in range(0, len(data), _PIECE_SIZE)]
    records = [{"ms": 0, "base64": base64.b64encode(piece).decode()} for piece in pieces]
    return [{"ms": 0, "status": 200}, *records, {"ms": 0, "end": ""}]
