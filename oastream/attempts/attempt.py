"""One attempt: a request is sent, and what comes of it goes its way: bytes → events → reply and sink → output.

In: a request. Out: the verdict; what came of the answer is in the reply and has gone to the output. Whether another
attempt follows is not decided here. Of the formats it knows only whether calls are what is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from oastream.attempts.deadlines import ERROR_BODY_TIME, LINGER, Deadlines
from oastream.attempts.http_error import http_error_verdict
from oastream.events.decode import Chat, Decoded, Decoder, Responses, parse_document
from oastream.events.reply import Reply
from oastream.exits import Failure, Outcome, Verdict, failure_of
from oastream.http.http1 import Cut
from oastream.http.request import Request
from oastream.options import Options
from oastream.output.destination import Output
from oastream.output.formats import Sink
from oastream.output.stderr import Messages
from oastream.redaction import redacted, shown_reply_header
from oastream.text import one_line
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.attempts.background import Job

ERROR_BODY_BYTES = 1 << 20
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 5.0
"""Seconds between two polls of a background response. The first pause is --retry-delay, each is half as long again."""
DETACH_TIME = 10.0
"""Seconds after its id that --detach waits for a response to leave the queue."""
_REQUEST_IDS = ("x-request-id", "request-id", "x-ms-request-id", "apim-request-id", "x-amzn-requestid")
_REASONING = frozenset(
    {"response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.reasoning.delta"}
)


class Source(Protocol):
    """What bytes come from: a live response, or a recorded one."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]: ...
    def read(self, deadline: float) -> bytes | None: ...
    def __enter__(self) -> Source: ...
    def __exit__(self, *_: Any) -> None: ...


OpenSource = Callable[[Request, float, float], Source]
"""Opens a source: the request, the deadline to connect, the deadline for the head of the reply."""


class RunStats:
    """What a run counts and times; times in seconds of the run's clock."""

    __slots__ = ("attempts", "first_event", "first_text", "resumes", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.attempts = 0
        self.resumes = 0
        self.first_event: float | None = None
        self.first_text: float | None = None


class Session(NamedTuple):
    """What every attempt of a run shares.

    `can_reopen` tells whether a source can be opened again; `choices` is how many answers the request asks for;
    `keep_text` whether the answer's text is needed after it was printed; `asked` are the fields of a response that
    repeat the request, for an API whose own chunks do not; `offered` are the names of its tools, None when they are not
    known.
    """

    options: Options
    output: Output
    messages: Messages
    stats: RunStats
    deadlines: Deadlines
    open: OpenSource
    watch: Watch
    can_reopen: Callable[[], bool]
    choices: int = 1
    keep_text: bool = False
    asked: dict[str, Any] | None = None
    offered: frozenset[str] | None = None


class Attempt:
    """One attempt at an answer, or at the rest of one. `job` is the background response it belongs to."""

    def __init__(self, session: Session, sink: Sink, reply: Reply, job: Job | None) -> None:
        self._session = session
        self._sink = sink
        self._reply = reply
        self._job = job
        self._decoder = self._new_decoder()
        self._request_id: str | None = None
        self._first_event_deadline = math.inf
        self.committed = False
        """Whether anything was handed to the output."""

    def stream(self, request: Request) -> Verdict:
        """Send the request, read the stream of its reply to the end; how that went."""
        return self._as_verdict(lambda: self._stream(request))

    def poll(self, job: Job) -> Verdict:
        """Ask for the response again and again until it is at its end; then pass on what is missing."""
        return self._as_verdict(lambda: self._poll(job))

    def fetch(self, request: Request, take: Callable[[bytes], Verdict]) -> Verdict:
        """Send a request whose reply is one document, and hand that on; how that went."""
        return self._as_verdict(lambda: take(self._document(request)))

    @property
    def is_queued(self) -> bool:
        """Whether the reply was a response that is not complete yet, as one JSON object."""
        return self._decoder.is_unfinished

    def _as_verdict(self, go: Callable[[], Verdict | None]) -> Verdict:
        """How `go` ends; when it does not say so itself, the reply does."""
        try:
            verdict = go() or self._reply.verdict(self._session.options.format == "tools")
        except Failure as failed:
            connecting = failed.verdict.outcome is Outcome.TIMEOUT
            verdict = self._deadline_verdict() if connecting and self._session.deadlines.run_passed else failed.verdict
        except TimeoutError:
            verdict = self._deadline_verdict() if not self._must_leave else self._leave_queued()
        secrets = self._session.messages.secrets  # servers repeat the key that they reject
        code, request_id = (text and redacted(text, secrets) for text in (verdict.code, self._request_id))
        return verdict._replace(detail=redacted(verdict.detail, secrets), code=code, request_id=request_id)

    # Streaming ---------------------------------------------------------------------------------------------------

    def _new_decoder(self) -> Decoder:
        options = self._session.options
        dialect: Chat | Responses = Responses()
        if options.api == "chat":
            keep_text = self._sink.repeats_text or self._session.keep_text
            dialect = Chat(self._session.choices, keep_text, self._session.asked)
        return Decoder(dialect, options.max_event_bytes)

    def _open(self, request: Request) -> Source:
        deadlines, messages = self._session.deadlines, self._session.messages
        leave_by = math.inf if self._job is None else self._job.leave_by
        self._first_event_deadline = min(deadlines.first_event(), leave_by)
        began = deadlines.now()
        _trace_request(messages, request)
        source = self._session.open(request, min(deadlines.connect(), leave_by), self._first_event_deadline)
        headers = source.headers
        found = next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)
        self._request_id = found and one_line(found, 100)
        _trace_reply(messages, source, deadlines.now() - began)
        return source

    def _stream(self, request: Request) -> Verdict | None:
        with self._open(request) as source:
            if source.status // 100 != 2:
                raise Failure(self._http_error_verdict(source, request))
            why = self._read_stream(source)
            if self._may_leave:
                return Verdict(Outcome.STOP)
            if not self._reply.ended:
                raise self._truncation_failure(why)
            if self._sink.wants_rest_of_body and not why:
                self._drain_body(source)
        return None

    def _read_stream(self, source: Source) -> str:
        """Read until the answer has ended or the body has; in the second case, why there is nothing more."""
        decoder = self._decoder
        deadline = self._first_event_deadline
        why = ""
        while not why and not self._is_done:
            before = decoder.payloads, decoder.comments, self._lingers
            try:
                chunk = source.read(deadline if self._job is None else min(deadline, self._job.leave_by))
            except Cut as cut:
                chunk, why = None, str(cut)
            except TimeoutError:
                if not decoder.is_complete and not self._reply.ended:
                    raise
                chunk = None
            except Failure as failed:
                # Corrupt compression, say. A signal, and a reader that has gone, end the run all the same.
                if not decoder.is_complete or failed.verdict.outcome is Outcome.SIGNAL:
                    raise
                chunk = None
            if chunk is None:
                self._deliver(decoder.close(torn=bool(why)))
                why = why or "it ended without a terminal event"
            else:
                self._sink.chunk(chunk)
                self._deliver(decoder.feed(chunk))
            deadline = self._next_deadline(deadline, *before)
        return why

    @property
    def _is_done(self) -> bool:
        """Whether nothing more needs to be read: the terminal event has come, or the job runs and is left alone."""
        return (self._reply.ended and not self._outlives_error) or self._may_leave

    @property
    def _outlives_error(self) -> bool:
        """Whether an error event may not have been the end: OpenAI sends `response.failed` after it."""
        return self._job is not None and self._job.can_be_taken_up

    @property
    def _lingers(self) -> bool:
        """Whether only what may follow the end of the answer is waited for."""
        return self._decoder.is_settled or self._reply.ended

    @property
    def _may_leave(self) -> bool:
        """Whether --detach has done its work: the job runs."""
        return self._session.options.detach and self._job is not None and self._job.is_running

    @property
    def _must_leave(self) -> bool:
        return self._job is not None and self._session.deadlines.now() >= self._job.leave_by

    def _leave_queued(self) -> Verdict:
        assert self._job is not None
        self._session.messages.line(f"response {self._job.shown_id} is still queued")
        return Verdict(Outcome.STOP)

    def _next_deadline(self, deadline: float, payloads: int, comments: int, lingered: bool) -> float:
        """An event is a sign of life, and after the first one a comment is; a half-sent event is none.

        Counted from now, so that the time in which stdout was blocked is not held against the server.
        """
        decoder = self._decoder
        if self._lingers:
            return deadline if lingered else self._session.deadlines.after(LINGER)
        alive = decoder.payloads > payloads or (payloads and decoder.comments > comments)
        return self._session.deadlines.idle() if alive else deadline

    def _deliver(self, decoded: Iterable[Decoded]) -> None:
        """Events to the reply and the sink; what they bring is written before anything else is read."""
        stats, now = self._session.stats, self._session.deadlines.now
        job, reply, sink, attentive = self._job, self._reply, self._sink, self._watches_events
        try:
            for event, raw in decoded:
                if job is not None and not self._accepts(job, event):
                    continue
                if stats.first_event is None:
                    stats.first_event = now()
                try:
                    text = reply.feed(event)
                except Failure:
                    if job is not None:
                        job.refuse()
                    raise
                if text and stats.first_text is None:
                    stats.first_text = now()
                    self._session.messages.begin_text()
                sink.event(event, raw, text, reply)
                if sink.is_full:
                    self._write()
                if attentive:
                    self._trace_event(event)
                if (reply.ended or job is not None) and self._is_done:
                    return
        finally:
            self._write()

    def _accepts(self, job: Job, event: dict[str, Any]) -> bool:
        """Whether an event of a background response is new; the first time, whether the server works in the background.

        Raises `Failure`: malformed for a gap, not_api when there is nothing that --detach could leave.
        """
        promise = job.promise
        is_new = job.accept(event)
        if is_new and event["type"].startswith("response."):
            self._reply.reopen()
        if job.promise is promise:
            return is_new
        detaches = self._session.options.detach
        if job.is_ignored and detaches:
            why = "its answer would end with the connection, so it was not waited for"
            raise failure_of(Outcome.NOT_API, "the server ignores background", why, "ask without --detach")
        if job.is_ignored:
            self._session.messages.once("the server ignores background: a stream that breaks off cannot be resumed")
        return is_new

    @property
    def _watches_events(self) -> bool:
        """Whether stderr has anything to say of single events."""
        messages = self._session.messages
        return self._session.options.reasoning or messages.verbose > 1 or messages.status is not None

    def _trace_event(self, event: dict[str, Any]) -> None:
        messages = self._session.messages
        messages.trace("*", event["type"], level=2)
        if event["type"] in _REASONING:
            messages.phase("thinking")
            if self._session.options.reasoning:
                self._write()  # stdout and stderr may be one terminal or file: in the order in which they came
                messages.reasoning(str(event.get("delta") or ""))

    def _write(self) -> None:
        data = self._sink.take()
        if data:
            self.committed = True
            self._session.messages.begin_text()
            self._session.output.write(data, self._session.deadlines.run)
            self._begin_leave()

    def _begin_leave(self) -> None:
        """--detach may leave its job once the id is written: without it nobody could take the response up again."""
        if self._session.options.detach and self._job is not None and math.isinf(self._job.leave_by):
            self._job.leave_by = self._session.deadlines.after(DETACH_TIME)

    def _drain_body(self, source: Source) -> None:
        """The body's bytes after the terminal event, as far as they come at once."""
        deadline = self._session.deadlines.after(LINGER)
        try:
            while (chunk := source.read(deadline)) is not None:
                self._sink.chunk(chunk)
                self._write()
        except (Cut, TimeoutError):
            return  # the answer is complete, whatever happens on the wire after it

    # Polling -----------------------------------------------------------------------------------------------------

    def _poll(self, job: Job) -> Verdict | None:
        options = self._session.options
        pause = max(options.retry_delay if options.replay is None else 0.0, SHORTEST_PAUSE)
        while (event := job.take_poll(self._polled(job))) is None and not self._may_leave:
            self._pause(job, min(pause, LONGEST_PAUSE))
            pause *= 1.5
        if event is None or self._may_leave:
            return Verdict(Outcome.STOP)
        self._job = None  # the event of a poll has no number
        self._deliver([(event, None)])
        return None

    def _pause(self, job: Job, seconds: float) -> None:
        deadlines = self._session.deadlines
        self._session.watch.sleep(min(deadlines.after(seconds), job.leave_by))
        if deadlines.run_passed or deadlines.now() >= job.leave_by:
            raise TimeoutError

    def _polled(self, job: Job) -> Any:
        """The response as far as it is. A page instead is a gateway's that may be gone soon: the address was right."""
        try:
            return parse_document(self._document(job.poll_request()), "the response")
        except Failure as failed:
            if failed.verdict.outcome is not Outcome.NOT_API or failed.verdict.http_status is not None:
                raise
            raise Failure(failed.verdict._replace(outcome=Outcome.MALFORMED, hint="")) from failed

    def _document(self, request: Request) -> bytes:
        with self._open(request) as source:
            if source.status // 100 != 2:
                raise Failure(self._http_error_verdict(source, request))
            return self._whole_body(source)

    def _whole_body(self, source: Source) -> bytes:
        deadline = self._first_event_deadline
        body = bytearray()
        try:
            while (chunk := source.read(deadline)) is not None:
                body += chunk
                if len(body) > self._session.options.max_event_bytes:
                    raise failure_of(Outcome.MALFORMED, "the response is too large", "over --max-event-bytes")
        except Cut as cut:
            raise failure_of(Outcome.UNREACHABLE, "no answer", str(cut)) from cut
        return bytes(body)

    # What went wrong ---------------------------------------------------------------------------------------------

    @property
    def _resumed(self) -> bool:
        """Whether an earlier attempt has brought events of the same answer."""
        return self._job is not None and self._job.progress > 0

    def _truncation_failure(self, why: str) -> Failure:
        if not self._decoder.payloads and not self._resumed:
            return failure_of(Outcome.UNREACHABLE, "no answer", "the reply ended before its first event")
        return failure_of(Outcome.INTERRUPTED, "the answer broke off", why, self._decoder.hint)

    def _deadline_verdict(self) -> Verdict:
        """Which deadline has passed."""
        options = self._session.options
        began = self._reply.output_began
        what = "the answer broke off" if began else "no answer in time"
        if self._session.deadlines.run_passed:
            outcome = Outcome.DEADLINE if began else Outcome.TIMEOUT
            return Verdict(outcome, what, f"--max-time {options.max_time:g} s passed", should_retry=False)
        if not self._decoder.payloads:
            why = f"no event within --first-event-timeout {options.first_event_timeout:g} s"
            return Verdict(Outcome.IDLE if self._resumed else Outcome.TIMEOUT, what, why)
        why = f"no event within --idle-timeout {options.idle_timeout:g} s"
        return Verdict(Outcome.IDLE, "the answer broke off", why)

    def _http_error_verdict(self, source: Source, request: Request) -> Verdict:
        deadline = self._session.deadlines.after(ERROR_BODY_TIME)
        body = bytearray()
        try:
            while len(body) < ERROR_BODY_BYTES and (chunk := source.read(deadline)) is not None:
                body += chunk
        except (Cut, TimeoutError):
            pass  # what has come is enough to say what it is about
        except Failure as failed:
            if failed.verdict.outcome is Outcome.SIGNAL:
                raise
        return http_error_verdict(source.status, source.headers, bytes(body), request)


def _trace_request(messages: Messages, request: Request) -> None:
    """What -v shows of a request; secrets are masked."""
    if messages.verbose:
        messages.trace(">", f"{request.method} {request.shown_url}")
        for name, value in request.shown_headers().items():
            messages.trace(">", f"{name}: {value}")
        messages.trace("*", f"{len(request.body)} bytes of body")


def _trace_reply(messages: Messages, source: Source, seconds: float) -> None:
    if messages.verbose:
        messages.trace("<", f"HTTP {source.status}, after {seconds * 1000:.0f} ms")
        for name, value in source.headers.items():
            messages.trace("<", f"{name}: {shown_reply_header(name, value)}")
