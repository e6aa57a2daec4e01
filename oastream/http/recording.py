"""Recordings: what a server sent, as it came, with its timing; and its replay through the same way as a live answer.

A recording is JSON Lines. Each attempt begins with a head, `{"ms":0,"status":200,"headers":{…}}`; then a line a piece,
`{"ms":12,"data":"…"}` (`base64` where the bytes are not UTF-8); then how it ended: `{"ms":90,"end":""}`, the reason of
a cut instead of "", or `{"ms":90,"silence":true}` when a deadline passed. An attempt that brought no head is one line,
`{"ms":3,"failed":{"outcome":"unreachable",…}}`, with null for a deadline that passed. `ms` counts from the
attempt's request. Where several choices were asked for, each head has their number, `"choices":2`: without it, all
would be taken for one.
No secret gets in: of the headers only those that matter are kept, and nothing else of the request.
A body that curl has saved, an event stream or an answer as JSON, is played as one answer; any other file is refused.
"""

from __future__ import annotations

import base64
import contextlib
import math
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from oastream.events.decode import is_answer
from oastream.exits import ANSWERED, TABLE, Failure, Outcome, Verdict, failure_of
from oastream.http.http1 import TruncatedBody
from oastream.http.request import Request
from oastream.http.source import OpenSource, Source
from oastream.input.prompt import InputReader
from oastream.lenient_json import dumps
from oastream.output.destination import output_failure
from oastream.reading import open_file
from oastream.redaction import StreamMask, mask_url, redact
from oastream.watch import Watch
from oastream.writer import Writer

MAX_RECORDING_BYTES = 1 << 30
_KEPT_HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "location")
_OUTCOMES = frozenset(o.value for o in TABLE if o not in ANSWERED and o not in (Outcome.INTERNAL, Outcome.OUTPUT))
"""How an attempt can end without a head."""
_WORDS = ("what", "why", "hint")
"""What a recording calls a verdict's summary, detail and hint."""
_PIECE = 1 << 16

Record = dict[str, Any]


class Recorder:
    """Opens sources and writes down what they bring. Readable by its owner alone: answers are private.

    A file that was there is made private, and emptied before the first request: a run that sends none leaves what it
    holds. A FIFO or device is written as it is. `deadline` is the run's, `choices` how many answers its request asks
    for.
    """

    def __init__(
        self,
        path: str,
        live: OpenSource,
        secrets: Callable[[], tuple[str, ...]],
        watch: Watch,
        deadline: float = math.inf,
        choices: int = 1,
    ) -> None:
        self._path = path
        self._live = live
        self._asked: Record = {"choices": choices} if choices > 1 else {}
        self._known_secrets = secrets
        self._now = watch.now
        self._deadline = deadline
        self._began = watch.now()
        self._mask = StreamMask(())
        with self._as_output_error():
            self._fd = open_file(path, os.O_WRONLY | os.O_CREAT, watch, deadline, 0o600)
            self._has_older = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if self._has_older:
                os.fchmod(self._fd, 0o600)
        self._writer = Writer(self._fd, watch)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        """Some file systems say only on close that what was written is lost."""
        self._writer.close()
        with self._as_output_error():
            os.close(self._fd)

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # the deadline's, not the system's
                raise
            raise output_failure(self._path, error) from error

    def open(self, request: Request, connect_deadline: float, deadline: float) -> Source:
        self._drop_older()
        self._began = self._now()
        source = self._opened(request, connect_deadline, deadline)
        secrets = self._known_secrets()  # a sign-in may bring new ones
        self._mask = StreamMask(secrets)
        found = source.headers
        headers = {name: redact(mask_url(found[name]), secrets) for name in _KEPT_HEADERS if name in found}
        self.write(status=source.status, headers=headers, **self._asked)
        return RecordingSource(source, self)

    def _drop_older(self) -> None:
        if self._has_older:
            with self._as_output_error():
                os.ftruncate(self._fd, 0)
            self._has_older = False

    def _opened(self, request: Request, connect_deadline: float, deadline: float) -> Source:
        try:
            return self._live(request, connect_deadline, deadline)
        except TimeoutError:
            self.write(failed=None)
            raise
        except Failure as failed:
            verdict = failed.verdict
            if verdict.outcome is not Outcome.SIGNAL:
                parts = (verdict.summary, verdict.detail, verdict.hint)
                words = {name: redact(part, self._known_secrets()) for name, part in zip(_WORDS, parts, strict=True)}
                self.write(failed={"outcome": verdict.outcome.value, **words})
            raise

    def piece(self, data: bytes) -> None:
        """A piece of the body; a server that repeats the key does not get it into the recording."""
        if masked := self._mask.feed(data):
            self.write(**_written(masked))

    def end(self, **how: Any) -> None:
        """The body is over, and how; what looked like the beginning of a secret was none."""
        if left := self._mask.close():
            self.write(**_written(left))
        self.write(**how)

    def write(self, **fields: Any) -> None:
        """Append a line. Raises `Failure` with outcome output when it cannot be written."""
        line = dumps({"ms": round((self._now() - self._began) * 1000), **fields}) + b"\n"
        with self._as_output_error():
            self._writer.write(line, self._deadline)


class RecordingSource:
    """A live source that is being recorded."""

    def __init__(self, source: Source, recorder: Recorder) -> None:
        self._source = source
        self._recorder = recorder
        self.status = source.status
        self.headers = source.headers

    def __enter__(self) -> RecordingSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.__exit__()

    def read(self, deadline: float) -> bytes | None:
        try:
            piece = self._source.read(deadline)
        except TruncatedBody as cut:
            self._recorder.end(end=str(cut))
            raise
        except TimeoutError:
            self._recorder.end(silence=True)
            raise
        if piece is None:
            self._recorder.end(end="")
        elif piece:
            self._recorder.piece(piece)
        return piece


def _written(piece: bytes) -> Record:
    try:
        return {"data": piece.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(piece).decode()}


def _read(line: Record) -> bytes:
    return base64.b64decode(line["base64"]) if "base64" in line else str(line["data"]).encode()


class Replay:
    """Opens the attempts of a recording, one after the other."""

    def __init__(self, path: str, realtime: bool, watch: Watch, deadline: float = math.inf) -> None:
        self._realtime = realtime
        self._watch = watch
        data = InputReader(watch, "utf-8", lambda: None, deadline).data(path, MAX_RECORDING_BYTES)
        self._attempts = _attempts(path, data)
        self.choices = max((a[0].get("choices", 1) for a in self._attempts if "failed" not in a[0]), default=1)
        """How many answers were asked for."""

    def can_reopen(self) -> bool:
        """Whether the recording has another attempt."""
        return bool(self._attempts)

    def open(self, _request: Request, _connect_deadline: float, deadline: float) -> Source:
        played = ReplayedSource(self._attempts.pop(0), self._watch, self._realtime)
        played.wait_for_head(deadline)
        played.check_head()
        return played


class ReplayedSource:
    """One recorded attempt."""

    def __init__(self, lines: list[Record], watch: Watch, realtime: bool) -> None:
        head, *self._lines = lines
        self.status: int = head.get("status", 0)
        self.headers: dict[str, str] = head.get("headers", {})
        self._head = head
        self._watch = watch
        self._realtime = realtime
        self._began = watch.now()

    def __enter__(self) -> ReplayedSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.clear()

    def wait_for_head(self, deadline: float) -> None:
        self._wait(self._head, deadline)

    def check_head(self) -> None:
        """Fail as the attempt did that brought no head."""
        if "failed" not in self._head:
            return
        failed = self._head["failed"]
        if failed is None:
            raise TimeoutError
        what, why, hint = (str(failed.get(name) or "") for name in _WORDS)
        raise Failure(Verdict(Outcome(failed["outcome"]), what, why, hint))

    def read(self, deadline: float) -> bytes | None:
        if not self._lines:
            raise TruncatedBody("the recording ends here")
        self._wait(self._lines[0], deadline)
        line = self._lines.pop(0)
        if "silence" in line:
            raise TimeoutError
        if "end" not in line:
            return _read(line)
        if line["end"]:
            raise TruncatedBody(str(line["end"]))
        return None

    def _wait(self, line: Record, deadline: float) -> None:
        if not self._realtime:
            return
        moment = self._began + line["ms"] / 1000
        self._watch.sleep(min(moment, deadline))
        if moment > deadline:
            raise TimeoutError


def _attempts(path: str, data: bytes) -> list[list[Record]]:
    """The attempts in a recording; of the body of an answer, one that sends it with a 200. Raises `Failure`: input."""
    texts = data.splitlines()
    if not texts or "ms" not in _parsed(texts[0]):
        if not is_answer(data):
            raise failure_of(Outcome.INPUT, f"{path} is not a recording", "nor an event stream, nor an answer as JSON")
        return [_as_body(data)]
    if not data.endswith(b"\n") and not _parsed(texts[-1]):
        texts.pop()  # the run was killed while it wrote it
    attempts: list[list[Record]] = []
    for number, text in enumerate(texts, 1):
        line = _parsed(text)
        if _is_head(line):
            attempts.append([line])
        elif attempts and _is_piece(line):
            attempts[-1].append(line)
        else:
            raise failure_of(Outcome.INPUT, f"{path} is not a recording", f"line {number} does not belong in one")
    return attempts


def _is_head(line: Record) -> bool:
    """Whether it begins an attempt, and nothing in it is of another kind than we write."""
    if "failed" in line:
        return _is_failed(line["failed"])
    status, headers, choices = line.get("status"), line.get("headers", {}), line.get("choices", 1)
    if type(status) is not int or status not in range(100, 1000) or type(choices) is not int or choices < 1:
        return False
    return isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())


def _is_failed(failed: Any) -> bool:
    """Whether an attempt can have failed like this before it had a head; None is a deadline that passed."""
    if failed is None:
        return True
    if not isinstance(failed, dict) or not isinstance(failed.get("outcome"), str):
        return False
    return failed["outcome"] in _OUTCOMES and isinstance(failed.get("what"), str)


def _is_piece(line: Record) -> bool:
    """Whether it goes on with an attempt: bytes, or how it ended."""
    if "base64" in line:
        with contextlib.suppress(ValueError, TypeError):
            base64.b64decode(line["base64"], validate=True)
            return True
        return False
    return isinstance(line.get("data"), str) or isinstance(line.get("end"), str) or line.get("silence") is True


def _parsed(text: bytes) -> Record:
    """The line as an object with a moment, else an empty one."""
    with contextlib.suppress(orjson.JSONDecodeError):
        line = orjson.loads(text)
        if isinstance(line, dict) and type(line.get("ms")) in (int, float):
            return line
    return {}


def _as_body(data: bytes) -> list[Record]:
    pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
    lines = [{"ms": 0, "base64": base64.b64encode(piece).decode()} for piece in pieces]
    return [{"ms": 0, "status": 200}, *lines, {"ms": 0, "end": ""}]
