"""One request of an item, from its head to its verdict: what a connection tells goes to the answer and to the gate.

In: what arrives, with the moments of the event loop's clock. Out: a verdict, and what the record of the item needs.
Owns no connection and makes no second attempt. Deadlines, verdicts and what an event means are `Answer`'s, the single
run's own.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from oastream.attempts.exchange import ERROR_BODY_BYTES, ERROR_BODY_TIME, find_request_id
from oastream.attempts.http_error import http_error_verdict
from oastream.batch.pacing.gate import Flight, Gate
from oastream.batch.pool import Connection
from oastream.batch.reading import Reading
from oastream.events.answer import NewEvent
from oastream.exits import Failure, Outcome, Verdict
from oastream.http.request import Request

_CONTEXT = contextvars.Context()
"""Of all timers: a copy for each takes memory, and nothing here has context variables."""
_NO_HEADERS: dict[str, str] = {}
_NO_VERDICT = Verdict(Outcome.UNREACHABLE)
_HELD_UP = 0.1
"""Seconds that a timer may be late before it is the loop that was not there."""


class ItemStream:
    """Listens to the response of one request. `on_done` is called once `verdict` is there."""

    __slots__ = (
        "_connection",
        "_error_body",
        "_error_deadline",
        "_error_headers",
        "_flight",
        "_gate",
        "_has_told_first_event",
        "_loop",
        "_timer",
        "_timer_at",
        "_tools_wanted",
        "answer",
        "http_status",
        "is_done",
        "on_done",
        "reading",
        "request",
        "request_id",
        "verdict",
    )

    def __init__(self, request: Request, reading: Reading, gate: Gate, flight: Flight, tools_wanted: bool) -> None:
        self.request = request
        self._gate = gate
        self._flight = flight
        self._tools_wanted = tools_wanted
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._error_body: bytearray | None = None
        self._error_deadline = 0.0
        self._error_headers = _NO_HEADERS
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._has_told_first_event = False
        self.reading = reading
        self.answer = reading.answer
        self.is_done = False
        self.on_done: Callable[[], object] | None = None
        self.verdict = _NO_VERDICT
        self.http_status: int | None = None
        self.request_id: str | None = None

    @property
    def error_text(self) -> str:
        """The body of an error reply: some servers say in it how long to wait."""
        return bytes(self._error_body or b"").decode("utf-8", "replace")

    @property
    def error_body(self) -> bytes | None:
        """The same as bytes; None where the status was a 2xx."""
        return None if self._error_body is None else bytes(self._error_body)

    @property
    def first_event_ms(self) -> int | None:
        """Milliseconds from the request to the first event."""
        moment = self.answer.first_event
        return None if moment is None else round((moment - self._flight.started) * 1000)

    def begin(self, connection: Connection, data: bytes) -> None:
        """Send the request on this connection."""
        self._connection = connection
        connection.send(data, self)
        self._arm_timer()

    def stop(self, verdict: Verdict) -> None:
        """End now, whatever may still come."""
        if self._connection is not None:
            self._connection.close()
        self._finish(verdict)

    # What the connection tells -----------------------------------------------------------------------------------

    def move_to(self, connection: Connection) -> None:
        self._connection = connection
        if self.is_done:  # a deadline passed while it was being opened
            connection.close()

    def receive_head(self, status: int, headers: dict[str, str]) -> None:
        now = self._loop.time()
        self.http_status, self.request_id = status, find_request_id(headers)
        self._gate.read_headers(self._flight, headers, now, time.time())
        if status // 100 == 2:
            self._gate.accept(self._flight, now)
            return
        self._error_body, self._error_headers = bytearray(), headers
        self._error_deadline = now + ERROR_BODY_TIME
        self._arm_timer()

    def receive_body(self, piece: bytes) -> None:
        if self._error_body is None:
            if self.reading.document is not None:
                self.reading.document += piece
            self._deliver(lambda: self.answer.feed(piece))
            return
        self._error_body += piece
        if len(self._error_body) >= ERROR_BODY_BYTES:
            self._finish_error()

    def receive_end(self, why: str) -> None:
        if self._error_body is None:
            self._deliver(lambda: self.answer.end(why))
        else:
            self._finish_error()

    def receive_failure(self, failure: Failure) -> None:
        if self.answer.is_whole:
            self._deliver(self.answer.end)
        elif self._error_body is None:
            self._finish(failure.verdict)
        else:
            self._finish_error()

    # The answer --------------------------------------------------------------------------------------------------

    def _deliver(self, events: Callable[[], Iterable[NewEvent]]) -> None:
        if self.is_done:
            return
        answer = self.answer
        try:
            for _ in events():
                pass  # the reply keeps what the record needs
        except Failure as failed:
            self._finish(failed.verdict)
            return
        answer.heard(self._loop.time())
        if answer.first_event is not None and not self._has_told_first_event:
            self._has_told_first_event = True
            self._gate.receive_first_event(self._flight, answer.first_event)
        if answer.is_done:
            self._finish(answer.verdict(self._tools_wanted))
        elif answer.deadline < self._timer_at:  # the first event is waited for longer than the next, and all than usage
            self._arm_timer()

    def _check_deadline(self) -> None:
        """The timer may be set for a deadline that events have put off since: one timer a stream, not one an event."""
        now = self._loop.time()
        if self._deadline > now:
            self._arm_timer()
        elif now - self._timer_at > _HELD_UP:
            # The process was stopped, or its machine asleep. What has arrived in the meantime is read first: epoll says
            # nothing of it after a signal, and asyncio calls what is due by then before it looks again.
            self._timer_at = now
            self._timer = self._loop.call_later(0, self._check_deadline)
        elif self._error_body is not None:
            self._finish_error()
        elif self.answer.is_whole:
            self._deliver(self.answer.end)
        else:
            self._finish(self.answer.late(now))

    @property
    def _deadline(self) -> float:
        return self.answer.deadline if self._error_body is None else self._error_deadline

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        if self._timer_at < math.inf:
            self._timer = self._loop.call_at(self._timer_at, self._check_deadline, context=_CONTEXT)

    def _finish_error(self) -> None:
        assert self.http_status is not None
        body = bytes(self._error_body or b"")
        self._finish(http_error_verdict(self.http_status, self._error_headers, body, self.request))

    def _finish(self, verdict: Verdict) -> None:
        if self.is_done:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is not None:
            self._connection.leave()
        if not verdict.has_answer:
            self.reading.catch_up()
        if self.request_id is not None:
            verdict = verdict._replace(request_id=self.request_id)
        self.verdict, self.is_done = verdict, True
        on_done, self.on_done = self.on_done, None  # it knows us, too
        if on_done is not None:
            on_done()


def usage_of(usage: dict[str, Any] | None) -> tuple[float, float] | None:
    """Tokens of input and output, by the words of either API; None where the server told none."""
    if usage is None:
        return None
    tokens_in = usage.get("input_tokens", usage.get("prompt_tokens", 0))
    tokens_out = usage.get("output_tokens", usage.get("completion_tokens", 0))
    if not isinstance(tokens_in, (int, float)) or not isinstance(tokens_out, (int, float)):
        return None
    return float(tokens_in), float(tokens_out)
