"""Deadlines and retries: when a byte stream is opened, how long it may be silent, and whether another one is opened.

In: a request, options, a sink and an output. Out: the reply and the verdict of the last attempt. This is the one place
that decides on a retry: from the verdict, and from whether anything of the answer has been committed to the output.
Knows nothing of formats.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from oastream.api_error import ApiError, read_error
from oastream.decode import Chat, Decoded, Decoder, Responses, error_verdict, page_title, parse_json
from oastream.endpoint import Request
from oastream.exits import Failure, Outcome, Verdict, failure
from oastream.messages import Messages
from oastream.options import Options
from oastream.output import Output
from oastream.reply import Reply
from oastream.sinks import Sink, error_fields
from oastream.text import one_line
from oastream.transport import Cut, Response, open_response
from oastream.watch import Watch

LINGER = 2.0
"""Seconds to wait, once the answer is complete, for the usage and `[DONE]` that may follow."""
ERROR_BODY_TIME = 5.0
ERROR_BODY_BYTES = 1 << 20
LONGEST_BACKOFF = 30.0
_REQUEST_IDS = ("x-request-id", "request-id", "x-ms-request-id", "apim-request-id", "x-amzn-requestid")
_REASONING = frozenset(
    {"response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.reasoning.delta"}
)


@dataclass(slots=True)
class Figures:
    """What a run counts and times; times in seconds of the run's clock."""

    started: float
    attempts: int = 0
    resumes: int = 0
    first_event: float | None = None
    first_text: float | None = None


class Attempts:
    """Gets one answer, in as many attempts as it takes and the options allow."""

    def __init__(
        self,
        options: Options,
        request: Request,
        new_sink: Callable[[], Sink],
        output: Output,
        watch: Watch,
        messages: Messages,
        environ: Mapping[str, str],
        figures: Figures,
        choices: int = 1,
    ) -> None:
        self._options = options
        self._request = request
        self._new_sink = new_sink
        self.sink = new_sink()
        self._output = output
        self._watch = watch
        self._messages = messages
        self._environ = environ
        self._figures = figures
        self._choices = choices
        self._committed = False
        self._records: list[dict[str, object]] = []
        self._run_deadline = self._after(options.max_time, figures.started)
        self._retry_deadline = self._after(options.retry_max_time)
        self.reply = Reply(options.max_output_tokens)

    def run(self) -> Verdict:
        """Attempt until there is an answer, or no reason to try again."""
        while True:
            verdict = self._attempt()
            if not self._may_retry(verdict):
                return verdict
            delay = self._delay(verdict)
            left = min(self._retry_deadline, self._run_deadline) - self._watch.now()
            if delay >= left:
                hint = (
                    f"not retried: the wait of {delay:.3g} s is longer than the {max(left, 0):.3g} s left for retries"
                )
                return replace(verdict, hint=hint)
            try:
                self._announce_retry(verdict, delay)
                self._watch.sleep(self._watch.now() + delay)
            except Failure as failed:
                return failed.verdict

    # One attempt -------------------------------------------------------------------------------------------------

    def _attempt(self) -> Verdict:
        self._figures.attempts += 1
        self.sink = self._new_sink()
        self.reply = Reply(self._options.max_output_tokens, self.sink.assembles)
        request_id = None
        try:
            with self._open() as response:
                request_id = next((response.headers[name] for name in _REQUEST_IDS if response.headers.get(name)), None)
                if response.status // 100 != 2:
                    raise Failure(self._rejected(response))
                self._stream(response)
            verdict = self.reply.verdict(self._options.format == "tools")
        except Failure as failed:
            verdict = failed.verdict
        except TimeoutError:
            verdict = self._late()
        return replace(verdict, request_id=request_id and one_line(request_id, 100))

    def _open(self) -> Response:
        connect_deadline = min(self._after(self._options.connect_timeout), self._run_deadline)
        first_event = self._after(self._options.first_event_timeout)
        return open_response(
            self._request, self._environ, self._watch, connect_deadline, min(first_event, self._run_deadline)
        )

    def _stream(self, response: Response) -> None:
        """The way of the bytes: body → events → sink → output, until the terminal event or the body's end."""
        decoder = self._decoder()
        deadline = self._after(self._options.first_event_timeout)
        cut = ""
        while not cut and not self.reply.ended:
            before = decoder.payloads, decoder.comments, decoder.settled
            try:
                chunk = response.read(min(deadline, self._run_deadline))
            except Cut as error:
                chunk, cut = None, str(error)
            except TimeoutError:
                if not decoder.settled:
                    raise
                chunk = None
            if chunk is None:
                cut = cut or "it ended without a terminal event"
                self._pass_on(decoder.close())
            else:
                self.sink.chunk(chunk)
                self._pass_on(decoder.feed(chunk))
            deadline = self._next_deadline(decoder, deadline, *before)
        if not self.reply.ended:
            raise self._broken_off(decoder, cut)
        if self.sink.wants_rest_of_body and not cut:
            self._rest(response)

    def _decoder(self) -> Decoder:
        chat = self._options.api == "chat"
        dialect = Chat(self._choices, self.sink.repeats_text) if chat else Responses()
        return Decoder(dialect, self._options.max_event_bytes)

    def _next_deadline(
        self, decoder: Decoder, deadline: float, payloads: int, comments: int, was_settled: bool
    ) -> float:
        """An event is a sign of life, and after the first one a comment is; a half-sent event is none."""
        if decoder.settled:
            return deadline if was_settled else self._watch.now() + LINGER
        alive = decoder.payloads > payloads or (payloads and decoder.comments > comments)
        return self._after(self._options.idle_timeout) if alive else deadline

    def _pass_on(self, decoded: Iterable[Decoded]) -> None:
        """Events to the reply and the sink; what they bring is written before anything else is read."""
        try:
            for event, raw in decoded:
                if self._figures.first_event is None:
                    self._figures.first_event = self._watch.now()
                text = self.reply.feed(event)
                if text and self._figures.first_text is None:
                    self._figures.first_text = self._watch.now()
                self.sink.event(event, raw, text, self.reply)
                if self._options.reasoning and event["type"] in _REASONING:
                    self._messages.reasoning(str(event.get("delta") or ""))
                if self.reply.ended:
                    return
        finally:
            self._write()

    def _write(self) -> None:
        data = self.sink.take()
        if data:
            self._committed = True
            self._output.write(data)

    def _rest(self, response: Response) -> None:
        """The body's bytes after the terminal event, as far as they come at once."""
        deadline = min(self._watch.now() + LINGER, self._run_deadline)
        try:
            while (chunk := response.read(deadline)) is not None:
                self.sink.chunk(chunk)
                self._write()
        except (Cut, TimeoutError):
            return  # the answer is complete, whatever happens on the wire after it

    # What went wrong ---------------------------------------------------------------------------------------------

    def _broken_off(self, decoder: Decoder, why: str) -> Failure:
        if not decoder.payloads:
            return failure(Outcome.UNREACHABLE, "no answer", "the reply ended before its first event")
        return failure(Outcome.INTERRUPTED, "the answer broke off", why)

    def _late(self) -> Verdict:
        """Which deadline has passed."""
        if self._watch.now() >= self._run_deadline:
            began = self.reply.output_began
            what = "the answer broke off" if began else "no answer in time"
            outcome = Outcome.DEADLINE if began else Outcome.TIMEOUT
            return Verdict(outcome, what, f"--max-time {self._options.max_time:g} s passed", should_retry=False)
        if self._figures.first_event is None:
            why = f"no event for --first-event-timeout {self._options.first_event_timeout:g} s"
            return Verdict(Outcome.TIMEOUT, "no answer in time", why)
        why = f"no event for --idle-timeout {self._options.idle_timeout:g} s"
        return Verdict(Outcome.IDLE, "the answer broke off", why)

    def _rejected(self, response: Response) -> Verdict:
        """The verdict of a reply that is no 2xx: what its body says, its status, and when to come back."""
        status = response.status
        error = said(self._error_body(response))
        if 300 <= status < 400:
            error = ApiError(f"redirected to {_target(response.headers.get('location', ''))}")
        verdict = error_verdict(error or ApiError(f"HTTP {status}"), status)
        if status == 407:
            verdict = replace(verdict, what="the proxy wants credentials")
        if verdict.outcome is Outcome.NOT_FOUND and error is None and "/v1" not in self._request.url.path:
            verdict = replace(verdict, hint="most base URLs end in /v1")
        return replace(
            verdict,
            retry_after=retry_after(response.headers),
            should_retry={"true": True, "false": False}.get(response.headers.get("x-should-retry", "")),
        )

    def _error_body(self, response: Response) -> bytes:
        deadline = min(self._after(ERROR_BODY_TIME), self._run_deadline)
        body = bytearray()
        try:
            while len(body) < ERROR_BODY_BYTES and (chunk := response.read(deadline)) is not None:
                body += chunk
        except (Cut, TimeoutError, Failure) as error:
            if isinstance(error, Failure) and error.verdict.outcome is Outcome.SIGNAL:
                raise
        return bytes(body)

    # Another attempt ---------------------------------------------------------------------------------------------

    def _may_retry(self, verdict: Verdict) -> bool:
        written = self._committed and not self._output.held
        return verdict.retryable and not written and self._figures.attempts <= self._options.retry

    def _delay(self, verdict: Verdict) -> float:
        """Seconds to wait: what the server asks for, else a random part of a growing time, so that many runs spread."""
        if verdict.retry_after is not None:
            return verdict.retry_after
        import random  # 5 ms that a run without retries need not pay

        return random.uniform(0, min(self._options.retry_delay * 2 ** (self._figures.attempts - 1), LONGEST_BACKOFF))

    def _announce_retry(self, verdict: Verdict, delay: float) -> None:
        number = self._figures.attempts
        what = verdict.what or verdict.outcome.value
        self._messages.progress(f"{what}; retrying in {delay:.1f} s ({number} of {self._options.retry})")
        fields = {"type": "oastream:retry", "attempt": number, "delay_ms": round(delay * 1000)}
        self._records.append(fields | {"error": error_fields(verdict)})
        if self._output.held:
            self._output.reset()
            self._committed = False
        self.sink.take()
        for record in self._records if self._output.held else self._records[-1:]:
            self.sink.record(record)
        self._output.write(self.sink.take())

    def _after(self, seconds: float, since: float | None = None) -> float:
        """The moment `seconds` from now, or from `since`; 0 is no limit."""
        return (self._watch.now() if since is None else since) + seconds if seconds else math.inf


def said(body: bytes) -> ApiError | None:
    """The error in the body of an error reply: JSON in any shape, an event, a page, or plain text."""
    text = body.strip()
    if not text:
        return None
    for line in (text, *(line[5:] for line in text.splitlines() if line.startswith(b"data:"))):
        try:
            error = read_error(parse_json(line))
        except ValueError:
            continue
        if error is not None:
            return error
    if text.startswith(b"<"):
        return ApiError(page_title(text))
    return ApiError(one_line(text.decode("utf-8", "replace"), 200))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: retry-after-ms, Retry-After in seconds or as a date. Never negative."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    import email.utils  # 15 ms, for a date only

    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def _target(location: str) -> str:
    """Host of a redirect; the rest may hold secrets."""
    from urllib.parse import urlsplit

    try:
        return one_line(urlsplit(location).netloc or "another path", 100)
    except ValueError:
        return "another place"
