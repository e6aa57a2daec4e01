"""A request and its reply, as far as both are the same for a stream and for a document.

In: a request. Out: the reply's source, or its whole body; `Failure` for a status that is not 2xx. With -v both are
shown, their secrets masked. What the body means is not known here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from oastream.attempts.deadlines import Deadlines
from oastream.display import one_line
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.http1 import TruncatedBody
from oastream.http.request import Request
from oastream.output.stderr import Trace
from oastream.redaction import mask_reply_header

if TYPE_CHECKING:
    from oastream.http.source import OpenSource, Source

ERROR_BODY_BYTES = 1 << 20
ERROR_BODY_TIME = 5.0
"""Seconds. What an error says is worth a wait, but the status has said most of it."""
_REQUEST_IDS = ("x-request-id", "request-id", "x-ms-request-id", "apim-request-id", "x-amzn-requestid")
"""Headers in which servers name a request: OpenAI, Anthropic, Azure OpenAI, Azure API Management, AWS."""


class Exchange:
    """Sends the requests of one attempt. `request_id` is what the server called the last that it answered."""

    def __init__(self, open_source: OpenSource, deadlines: Deadlines, trace: Trace) -> None:
        self._open_source = open_source
        self._deadlines = deadlines
        self._trace = trace
        self.request_id: str | None = None

    @contextlib.contextmanager
    def open(self, request: Request, deadline: float, leave_by: float = math.inf) -> Iterator[Source]:
        """The reply to a request, whose head must have come by `deadline`.

        Nothing waits beyond `leave_by`, connecting neither. Raises `Failure`, and `TimeoutError` for the deadline.
        """
        with self._send(request, deadline, leave_by) as source:
            if source.status // 100 != 2:
                raise self._http_failure(source, request)
            yield source

    def fetch(self, request: Request, max_bytes: int, leave_by: float = math.inf) -> bytes:
        """The whole body of the reply to a request. Raises as `open` does, also for a body that is cut or too large."""
        deadline = min(self._deadlines.first_event(), leave_by)
        body = bytearray()
        with self.open(request, deadline, leave_by) as source:
            try:
                while (chunk := source.read(deadline)) is not None:
                    body += chunk
                    if len(body) > max_bytes:
                        raise failure_of(Outcome.MALFORMED, "the response is too large", "over --max-event-bytes")
            except TruncatedBody as cut:
                raise failure_of(Outcome.UNREACHABLE, "no answer", str(cut)) from cut
        return bytes(body)

    def _send(self, request: Request, deadline: float, leave_by: float) -> Source:
        now = self._deadlines.now
        began = now()
        _trace_request(self._trace, request)
        source = self._open_source(request, min(self._deadlines.connect(), leave_by), deadline)
        self.request_id = find_request_id(source.headers)
        _trace_reply(self._trace, source, now() - began)
        return source

    def _http_failure(self, source: Source, request: Request) -> Failure:
        from oastream.attempts.http_error import http_error_verdict  # 2 million instructions that most runs never need

        body = _read_error_body(source, self._deadlines.after(ERROR_BODY_TIME))
        return Failure(http_error_verdict(source.status, source.headers, body, request))


def find_request_id(headers: Mapping[str, str]) -> str | None:
    """What the server calls the request, for its support to find it."""
    for name in _REQUEST_IDS:
        if headers.get(name):
            return one_line(headers[name], 100)
    return None


def _read_error_body(source: Source, deadline: float) -> bytes:
    """As much of an error's body as arrives: whatever ends it, what has come is enough to say what it is about."""
    body = bytearray()
    try:
        while len(body) < ERROR_BODY_BYTES and (chunk := source.read(deadline)) is not None:
            body += chunk
    except (TruncatedBody, TimeoutError):
        pass
    except Failure as failed:
        if failed.verdict.outcome is Outcome.SIGNAL:
            raise
    return bytes(body)


def _trace_request(trace: Trace, request: Request) -> None:
    if not trace.is_on:
        return
    trace.sent(f"{request.method} {request.masked_url}")
    for name, value in request.masked_headers().items():
        trace.sent(f"{name}: {value}")
    trace.note(f"{len(request.body)} bytes of body")


def _trace_reply(trace: Trace, source: Source, seconds: float) -> None:
    if not trace.is_on:
        return
    trace.received(f"HTTP {source.status}, after {seconds * 1000:.0f} ms")
    for name, value in source.headers.items():
        trace.received(f"{name}: {mask_reply_header(name, value)}")
