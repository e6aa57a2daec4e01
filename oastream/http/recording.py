"""A recording: what a server sent, as it came, with its timing, written while the answer streams.

In: what opens a live source, a path. Out: the same sources, and the file, which `replay` plays again.

A recording is JSON Lines. Each attempt begins with a head, `{"ms":0,"status":200,"headers":{…}}`; then a line for each
piece, `{"ms":12,"data":"…"}` (`base64` where the bytes are not UTF-8); then how it ended: `{"ms":90,"end":""}`, the
reason of a cut instead of "", or `{"ms":90,"silence":true}` when a deadline passed. An attempt that brought no head is
one line, `{"ms":3,"failed":{"outcome":"unreachable",…}}`, with null for a deadline that passed. `ms` counts from the
attempt's request. Where several choices were asked for, each head has their number, `"choices":2`: without it, all
would be taken for one.

No secret gets in: of the headers only those that matter are kept, and nothing else of the request.
"""

from __future__ import annotations

import base64
import contextlib
import math
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from oastream.exits import Failure, Outcome, Verdict
from oastream.http.http1 import TruncatedBody
from oastream.http.request import Request
from oastream.http.source import OpenSource, Source
from oastream.lenient_json import dumps
from oastream.output.destination import output_failure
from oastream.reading import open_file
from oastream.redaction import StreamMask, mask_url, redact
from oastream.watch import Watch
from oastream.writer import Writer

_KEPT_HEADERS = ("content-type", "retry-after", "retry-after-ms", "x-should-retry", "x-request-id", "location")

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
        open_live: OpenSource,
        secrets: Callable[[], tuple[str, ...]],
        watch: Watch,
        deadline: float = math.inf,
        choices: int = 1,
    ) -> None:
        self._path = path
        self._open_live = open_live
        self._extra: Record = {}
        if choices > 1:
            self._extra["choices"] = choices
        self._known_secrets = secrets
        self._now = watch.now
        self._deadline = deadline
        self._began = watch.now()
        self._mask = StreamMask(())
        with self._as_output_failure():
            self._fd = open_file(path, os.O_WRONLY | os.O_CREAT, watch, deadline, 0o600)
            self._has_older = stat.S_ISREG(os.fstat(self._fd).st_mode)
            if self._has_older:
                os.fchmod(self._fd, 0o600)  # an older recording may have been made readable for others
        self._writer = Writer(self._fd, watch)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        """Some file systems say only on close that what was written is lost."""
        self._writer.close()
        with self._as_output_failure():
            os.close(self._fd)

    @contextlib.contextmanager
    def _as_output_failure(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
            if isinstance(error, TimeoutError) and error.errno is None:  # the deadline's, not the system's
                raise
            raise output_failure(self._path, error) from error

    def open(self, request: Request, connect_deadline: float, deadline: float) -> Source:
        self._drop_older()
        self._began = self._now()
        # What comes of an attempt without a head is a line as well: a replay fails as the run did.
        try:
            source = self._open_live(request, connect_deadline, deadline)
        except TimeoutError:
            self.write(failed=None)
            raise
        except Failure as failure:
            self._write_failure(failure.verdict)
            raise
        secrets = self._known_secrets()  # a sign-in may bring new ones
        self._mask = StreamMask(secrets)
        headers = source.headers
        kept = {name: redact(mask_url(headers[name]), secrets) for name in _KEPT_HEADERS if name in headers}
        self.write(status=source.status, headers=kept, **self._extra)
        return RecordingSource(source, self)

    def _drop_older(self) -> None:
        """Once, before the first attempt: the others are added to it."""
        if self._has_older:
            with self._as_output_failure():
                os.ftruncate(self._fd, 0)
            self._has_older = False

    def _write_failure(self, verdict: Verdict) -> None:
        if verdict.outcome is Outcome.SIGNAL:  # which is no doing of the server's
            return
        secrets = self._known_secrets()
        failed = {
            "outcome": verdict.outcome.value,
            "what": redact(verdict.summary, secrets),
            "why": redact(verdict.detail, secrets),
            "hint": redact(verdict.hint, secrets),
        }
        self.write(failed=failed)

    def write_piece(self, data: bytes) -> None:
        """A piece of the body; a server that repeats the key does not get it into the recording."""
        if masked := self._mask.feed(data):
            self.write(**_as_record(masked))

    def write_end(self, **how: Any) -> None:
        """The body is over, and how; what looked like the beginning of a secret was none."""
        if left := self._mask.close():
            self.write(**_as_record(left))
        self.write(**how)

    def write(self, **fields: Any) -> None:
        """Append a line. Raises `Failure` with outcome output when it cannot be written."""
        line = dumps({"ms": round((self._now() - self._began) * 1000), **fields}) + b"\n"
        with self._as_output_failure():
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
        except TruncatedBody as truncated:
            self._recorder.write_end(end=str(truncated))
            raise
        except TimeoutError:
            self._recorder.write_end(silence=True)
            raise
        if piece is None:
            self._recorder.write_end(end="")
        elif piece:
            self._recorder.write_piece(piece)
        return piece


def _as_record(piece: bytes) -> Record:
    """A piece of a body as a line has it: as text where it is text, for whoever reads the file."""
    try:
        return {"data": piece.decode()}
    except UnicodeDecodeError:  # a character may also be cut at the end of a piece
        return {"base64": base64.b64encode(piece).decode()}
