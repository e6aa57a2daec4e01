"""Whether a request may go to one server now: its limits, how many it works on at once, and whether it is there.

In: starts, replies, first events and ends, with their moments. Out: the moment of the next start, and how many may be
in flight. It is all that the sender asks; one gate a server, so that one that rests does not stop the others. Knows
nothing of bodies and connections, and has no clock of its own.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from oastream.attempts.retry_after import read_wait_in_body
from oastream.batch.pacing.concurrency import AutoConcurrency, FixedConcurrency
from oastream.batch.pacing.limits import read_limits, read_named_limit, read_named_resource
from oastream.batch.pacing.outage import FATAL, PASSING, RAMP, Outage
from oastream.batch.pacing.pace import Pace, Sent
from oastream.batch.pacing.tokens import Cost
from oastream.exits import Outcome, Verdict


class Settings(NamedTuple):
    """What the user says of each server. `concurrency` is None for auto.

    `shards` is the number of clients on the key, `shard` the number of this one.
    """

    rpm: float | None = None
    tpm: float | None = None
    shards: int = 1
    concurrency: int | None = None
    longest_outage: float = 600.0
    shard: int = 0


class Flight:
    """A request that is in flight."""

    __slots__ = ("item", "sent")

    def __init__(self, item: Hashable, sent: Sent) -> None:
        self.item = item
        self.sent = sent

    @property
    def started(self) -> float:
        """When it was sent."""
        return self.sent.started


class Gate:
    """The way to one server."""

    def __init__(self, settings: Settings) -> None:
        fixed = settings.concurrency
        self.pace = Pace(settings.rpm, settings.tpm, settings.shards, settings.shard)
        self.concurrency = AutoConcurrency() if fixed is None else FixedConcurrency(fixed)
        self.outage = Outage(settings.longest_outage)
        self._longest_outage = settings.longest_outage
        self.in_flight = 0

    def next_start(self, now: float) -> float:
        """The moment of the next start, for a request that is there: `now` or earlier if it may start at once.

        inf where it may start only after something else has happened.
        """
        self.concurrency.review(now, self.in_flight)
        if self.outage.is_over(now):
            return math.inf
        if not self.outage.is_resting and self.in_flight >= self.limit(now):
            return self._next_place(now)
        return max(self.outage.next_start(now), self.pace.next_start(now))

    def limit(self, now: float) -> int:
        """The most that may be in flight."""
        return max(1, int(self.concurrency.limit * self.outage.share_of_full(now)))

    def start(self, item: Hashable, cost: Cost, now: float) -> Flight:
        """A request was sent."""
        sent = self.pace.start(cost, now)
        self.outage.start(now)
        self.concurrency.start(sent.number, now)
        self.in_flight += 1
        return Flight(item, sent)

    def read_headers(self, flight: Flight, headers: Mapping[str, str], now: float, wall_time: float) -> None:
        """The head of its reply arrived, whatever the status."""
        wall_time_then = wall_time - (now - flight.started)  # what is shown is the level when the request came in
        self.pace.observe(flight.sent, read_limits(headers, wall_time_then), now)

    def accept(self, flight: Flight, now: float) -> None:
        """Its reply is one that brings an answer: a 2xx."""
        self.pace.accept(flight.sent, now)

    def receive_first_event(self, flight: Flight, now: float) -> None:
        """The first event of its answer arrived, or the answer that comes in one piece."""
        self.concurrency.first_event(flight.sent.number, now)
        self.outage.succeed(flight.started, now)

    def end(self, flight: Flight, usage: Cost | None, now: float) -> None:
        """Its answer is complete; `usage` is None where the server told none."""
        tokens = 0.0 if usage is None else usage.tokens
        self.concurrency.end(flight.sent.number, now, tokens or 1.0, self.in_flight)
        if usage is not None:
            self.pace.settle(flight.sent, usage)
        self._leave(flight)

    def fail(self, flight: Flight, verdict: Verdict, now: float, body: str = "") -> None:
        """It failed; `body` is that of an error reply, or the message of an error event."""
        if verdict.outcome is Outcome.RATE_LIMITED:
            self._refuse(flight, verdict, now, body)
        elif verdict.outcome in PASSING or verdict.outcome in FATAL:
            self.outage.fail(flight.item, verdict, flight.started, now)
            self._hold_after_failure(verdict, now, body)
        else:
            self.outage.hear(flight.started, now)
        self.concurrency.end(flight.sent.number, now, 0.0, self.in_flight)
        self._leave(flight)

    def withdraw(self, flight: Flight, now: float) -> None:
        """It was not sent after all, for a reason that is not the server's."""
        self.concurrency.end(flight.sent.number, now, 0.0, self.in_flight)
        self._leave(flight)

    def _hold_after_failure(self, verdict: Verdict, now: float, body: str) -> None:
        """A 503 may ask for a wait too, but for no longer than the server is waited for at all."""
        wait = _read_wait(verdict, body)
        if verdict.outcome in PASSING and wait is not None:
            self.pace.hold(min(wait, self._longest_outage), now)

    def _refuse(self, flight: Flight, verdict: Verdict, now: float, body: str) -> None:
        wait = _read_wait(verdict, body)
        limit = read_named_limit(body)
        if limit is not None:
            self.pace.limit_to(limit)
        self.pace.refuse(flight.sent, now, wait, read_named_resource(body))
        self.outage.hear(flight.started, now)

    def _leave(self, flight: Flight) -> None:
        self.pace.forget(flight.sent)
        self.in_flight -= 1

    def _next_place(self, now: float) -> float:
        """When one more may be in flight without one of these having ended: while the number grows after an outage."""
        most = self.concurrency.limit
        if self.in_flight >= most:
            return math.inf
        return self.outage.returned_at + RAMP * (self.in_flight + 1) / most


def _read_wait(verdict: Verdict, body: str) -> float | None:
    """Seconds that the server asks for, in a header or in words."""
    return read_wait_in_body(body) if verdict.retry_after is None else verdict.retry_after
