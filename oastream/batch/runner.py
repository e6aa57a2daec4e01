"""Items in, answers and errors out: what is sent next, where to, and what follows when it fails.

In: items with their requests, servers with their gates. Out: each item's `Outcome`, told to a `Recorder` exactly once,
and how the run ended. Whether a request may go is the gates', whether it goes again `retry`'s; the journal, files and
messages are the recorder's. Runs on one asyncio loop, whose clock is the clock of all moments here.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult

from oastream.attempts.retry import Decision, Situation, Step, next_step
from oastream.batch.input import Item
from oastream.batch.pacing.gate import Flight, Gate
from oastream.batch.pacing.outage import FATAL, PASSING
from oastream.batch.pacing.tokens import Cost, TokenBudget, TokenEstimates
from oastream.batch.pool import Connection, Pool, is_out_of_descriptors
from oastream.batch.prepare import Prepared
from oastream.batch.stream import ItemStream, usage_of
from oastream.exits import Failure, Outcome, Verdict, internal_error
from oastream.http.connection_errors import connection_failure
from oastream.http.request import Request
from oastream.output.stderr import Trace

_STARTS_AT_ONCE = 64
"""Requests that start before what has arrived is looked at again."""


_UNSIGNED = Request("POST", SplitResult("", "", "", "", ""), (), b"")
"""What stands for a request until it is signed."""


class Server(NamedTuple):
    """One server: `serialize` makes the bytes of a request, and the request itself for messages.

    Where `sign` is given, that does it: a cloud's sign-in takes its time.
    """

    gate: Gate
    pool: Pool
    serialize: Callable[[Prepared], tuple[bytes, Request]]
    sign: Callable[[Prepared], Awaitable[tuple[bytes, Request]]] | None = None


_GIVEN_UP = Verdict(Outcome.SIGNAL, signal=0)
"""Of a request that the end of the run cuts off: as after a signal nothing follows it, and it is nobody's failure."""


class Work:
    """An item that is not done yet."""

    __slots__ = ("asked", "failed_at", "item", "position", "prepared", "rate_limited", "started")

    def __init__(self, item: Item, prepared: Prepared, position: int) -> None:
        self.item = item._replace(body=None, prompt=None)  # they are in the request, and may be long
        self.position = position
        self.prepared = prepared
        self.asked = 0
        self.failed_at: tuple[tuple[Gate, float], ...] = ()
        self.rate_limited = 0
        self.started: float | None = None


class _Exchange:
    """A request that is in flight: whose it is, where it went, and what listens to the reply.

    `opening` is there while it waits for a connection.
    """

    __slots__ = ("_on_end", "cost", "flight", "opening", "server", "stream", "work")

    def __init__(
        self,
        work: Work,
        server: Server,
        flight: Flight,
        cost: Cost,
        stream: ItemStream,
        on_end: Callable[[_Exchange], None],
    ) -> None:
        self._on_end = on_end
        self.work = work
        self.server = server
        self.flight = flight
        self.cost = cost
        self.stream = stream
        self.opening: asyncio.Task[None] | None = None
        stream.on_done = self._tell_end  # a partial of the runner's own method would be 200 bytes more

    def _tell_end(self) -> None:
        self._on_end(self)


class Source(Protocol):
    """Where items come from."""

    def next(self) -> Work | None:
        """The next item; None when none is there yet, or none any more."""

    @property
    def is_over(self) -> bool: ...


class Recorder(Protocol):
    """Whom the runner tells what became of an item, once each."""

    @property
    def is_full(self) -> bool:
        """Whether nothing more should start until what is told already has been written."""

    def answer(self, work: Work, stream: ItemStream, now: float) -> None: ...
    def error(self, work: Work, stream: ItemStream | None, verdict: Verdict, now: float) -> None: ...


class _Suspect(NamedTuple):
    """A failure that may turn out to be every item's: a key that is refused from now on, say."""

    work: Work
    stream: ItemStream
    verdict: Verdict


class Settings(NamedTuple):
    """`retries` are further tries of an item that fails by itself, `retry_delay` the base of their backoff.

    `most_in_flight` is what the file descriptors of this process allow.
    """

    retries: int = 5
    retry_delay: float = 0.5
    tools_wanted: bool = False
    drain: float = 20.0
    """Seconds that what is in flight may take when the run is broken off."""
    most_in_flight: float = math.inf


class Runner:
    """Keeps the servers busy until all items are done or `stop` is called."""

    def __init__(
        self,
        source: Source,
        servers: list[Server],
        recorder: Recorder,
        settings: Settings,
        budget: TokenBudget,
        trace: Trace,
    ) -> None:
        self._source = source
        self._servers = servers
        self._recorder = recorder
        self._settings = settings
        self._budget = budget
        self._trace = trace
        self._most_in_flight = settings.most_in_flight
        self._estimates = TokenEstimates()
        self._ready: deque[Work] = deque()
        self._later: list[tuple[float, int, Work]] = []
        self._count = itertools.count()
        self._wake = asyncio.Event()
        self._exchanges: set[_Exchange] = set()
        self._on_end = self._end
        self._loop = asyncio.get_running_loop()
        self._suspects: dict[Gate, list[_Suspect]] = {}
        self._is_stopping = False
        self.drain_deadline = math.inf
        """When what is in flight is given up."""
        self._last_failure = Verdict(Outcome.UNREACHABLE)
        self.waits_for_limit = False
        """Whether it is limits alone that keep the next request back."""
        self.aborted: Verdict | None = None
        """Why the run was broken off."""
        self.bug: Failure | None = None
        """What no part of the program expects: the run ends with it."""
        self.on_few_descriptors: Callable[[int], None] = lambda most: None
        """Told how many requests can be in flight, where this machine allows no more."""

    @property
    def in_flight(self) -> int:
        return len(self._exchanges)

    @property
    def held(self) -> float:
        """Seconds in which limits kept requests back, of all servers together."""
        return sum(server.gate.pace.counts.held_seconds for server in self._servers)

    def wake(self) -> None:
        """Something has changed that the runner may wait for."""
        self._wake.set()

    def stop(self, drain_deadline: float) -> None:
        """Start nothing more; what is in flight may end until this moment."""
        self._is_stopping = True
        self.drain_deadline = min(self.drain_deadline, drain_deadline)
        self.wake()

    async def run(self) -> None:
        """Until all is done, or what was in flight when `stop` was called."""
        starts = 0
        while not self._is_over():
            self._wake.clear()
            moment = self._step(self._loop.time())
            if moment is None:
                starts += 1
                if starts % _STARTS_AT_ONCE == 0:
                    await asyncio.sleep(0)
                continue
            if self._is_over():  # the step has found that the source is
                break
            await self._wait(moment)
            self.waits_for_limit = False
            if self._is_stopping and self._loop.time() >= self.drain_deadline:
                self._cut_off()
        if not self._is_stopping:
            for gate in tuple(self._suspects):
                self._blame_items(gate)
        for server in self._servers:
            server.pool.close()

    def _is_over(self) -> bool:
        if self._exchanges:
            return False
        return self._is_stopping or (self._source.is_over and not self._ready and not self._later)

    def _step(self, now: float) -> float | None:
        """Start one request, None if that could be done; else the moment to try again, unless something wakes us."""
        if not self._is_stopping:
            self._check_servers(now)
        if self._is_stopping:
            return self.drain_deadline
        if self.in_flight >= self._most_in_flight:
            self.on_few_descriptors(self.in_flight)
            return math.inf
        work = self._next_work(now)
        if work is None:
            return self._later[0][0] if self._later else math.inf
        server, moment = self._choose_server(now)
        if moment > now or not self._budget.has_room():
            self._ready.appendleft(work)
            self.waits_for_limit = now < moment < math.inf and not server.gate.outage.is_resting
            return moment if moment > now else math.inf
        self._start(work, server, now)
        return None

    def _next_work(self, now: float) -> Work | None:
        if self._ready:
            return self._ready.popleft()
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2]
        if self._recorder.is_full:  # what was begun goes on: it may be the very answer that the others wait for
            return None
        return self._source.next()

    def _choose_server(self, now: float) -> tuple[Server, float]:
        """The server that may be asked first; of several that may be asked now the one with the fewest in flight."""
        chosen, first = self._servers[0], math.inf
        for server in sorted(self._servers, key=lambda server: server.gate.in_flight):
            moment = max(server.gate.next_start(now), now)
            if moment < first:
                chosen, first = server, moment
        return chosen, first

    def _check_servers(self, now: float) -> None:
        """Whether all servers are given up, or the budget is spent: then the run is broken off."""
        if self._budget.is_spent() and not self._exchanges:
            self.abort(Verdict(Outcome.ABORTED, "the budget is spent", "--max-tokens-total"))
        elif all(server.gate.outage.is_over(now) for server in self._servers):
            self.abort(self._outage_verdict())

    def _outage_verdict(self) -> Verdict:
        """Why no server can be asked any more: the failure that ended it, else how long none has answered."""
        for server in self._servers:
            if server.gate.outage.fatal is not None:
                return server.gate.outage.fatal
        return self._last_failure._replace(
            summary="the server is gone", detail=self._last_failure.message, request_id=None
        )

    def abort(self, verdict: Verdict) -> None:
        """Break the run off: start nothing more, let what is in flight end."""
        if self.aborted is None:
            self.aborted = verdict
        self.stop(self._loop.time() + self._settings.drain)

    # One request -------------------------------------------------------------------------------------------------

    def _start(self, work: Work, server: Server, now: float) -> None:
        prepared = work.prepared
        cost = self._estimates.estimate(len(prepared.body), prepared.output_limit)
        self._budget.start(cost)
        flight = server.gate.start(work.item.custom_id, cost, now)
        work.asked += 1
        if work.started is None:
            work.started = now
        data, request = b"", _UNSIGNED
        if server.sign is None:
            data, request = server.serialize(prepared)
        stream = ItemStream(request, prepared.new_reading(now), server.gate, flight, self._settings.tools_wanted)
        exchange = _Exchange(work, server, flight, cost, stream, self._on_end)
        self._exchanges.add(exchange)
        if server.sign is not None:
            exchange.opening = self._loop.create_task(self._sign_and_send(exchange, server.sign(prepared)))
            return
        connection = server.pool.take_idle()
        if connection is not None:
            self._send(exchange, connection, data)
        else:  # only then is a task worth its kilobyte
            exchange.opening = self._loop.create_task(self._open(exchange, data))

    async def _sign_and_send(self, exchange: _Exchange, signing: Awaitable[tuple[bytes, Request]]) -> None:
        stream, pool = exchange.stream, exchange.server.pool
        try:
            data, stream.request = await signing
        except Failure as failed:
            stream.stop(failed.verdict)
            return
        except Exception as error:
            self._take_bug(error)
            return
        connection = pool.take_idle()
        if connection is None:
            await self._open(exchange, data)
            return
        exchange.opening = None
        self._send(exchange, connection, data)

    async def _open(self, exchange: _Exchange, data: bytes) -> None:
        stream, pool = exchange.stream, exchange.server.pool
        try:
            connection = await pool.open()
        except Failure as failed:
            stream.stop(failed.verdict)
        except OSError as error:
            if is_out_of_descriptors(error) and self.in_flight > 1:
                self._withdraw(exchange)
            else:
                stream.stop(connection_failure(error, pool.label).verdict)
        except Exception as error:
            self._take_bug(error)
        else:
            exchange.opening = None
            self._send(exchange, connection, data)

    def _send(self, exchange: _Exchange, connection: Connection, data: bytes) -> None:
        if self._trace.is_on:
            request, custom_id = exchange.stream.request, exchange.work.item.custom_id
            self._trace.sent(f"{request.method} {request.masked_url} for {custom_id!r}")
        exchange.stream.begin(connection, data)

    def _withdraw(self, exchange: _Exchange) -> None:
        """This machine cannot open one more connection: the item waits, and fewer are in flight from now on."""
        self._exchanges.discard(exchange)
        self._budget.end(exchange.cost, None)
        self._most_in_flight = min(self._most_in_flight, self.in_flight)
        exchange.server.gate.withdraw(exchange.flight, self._loop.time())
        exchange.work.asked -= 1
        self._ready.append(exchange.work)
        self.wake()

    def _end(self, exchange: _Exchange) -> None:
        """The verdict is there. Called from within whatever brought it, where nobody would see an exception."""
        self._exchanges.discard(exchange)
        try:
            self._take_verdict(exchange)
        except Exception as error:
            self._take_bug(error)
        self.wake()

    def _take_bug(self, error: Exception) -> None:
        self.bug = internal_error(error)
        self.stop(self._loop.time())

    def _take_verdict(self, exchange: _Exchange) -> None:
        work, server, flight, stream = exchange.work, exchange.server, exchange.flight, exchange.stream
        now, verdict = self._loop.time(), stream.verdict
        tokens = usage_of(stream.answer.reply.usage)
        usage = None if tokens is None else Cost(*tokens)
        self._budget.end(exchange.cost, usage)
        if self._trace.is_on:
            self._trace.received(_describe_end(work, stream))
        if verdict.has_answer:
            server.gate.end(flight, usage, now)
            if usage is not None:
                self._estimates.learn(len(work.prepared.body), usage)
            self._blame_items(server.gate, flight.started)
            self._recorder.answer(work, stream, now)
            return
        server.gate.fail(flight, verdict, now, stream.error_text or verdict.detail)
        if server.gate.outage.is_resting:
            self._release_suspects(server.gate)
        self._last_failure = verdict
        self._after_failure(work, server.gate, stream, now)

    def _after_failure(self, work: Work, gate: Gate, stream: ItemStream, now: float) -> None:
        """What becomes of an item whose request failed. The first line that fits decides:

        =====================================  ==================================================
        failure                                the item
        =====================================  ==================================================
        that ends the server, or given up      is asked elsewhere, or by the next run
        a 429 that may pass                    is asked again; the gate says when, however often
        while the server was down              is asked again, and no try of it is counted
        that may pass, with tries left         is asked again after a pause (`retry`)
        key, quota, model, or no tries left    waits until the server answers another item
        any other                              has an error
        =====================================  ==================================================
        """
        verdict = stream.verdict
        if gate.outage.fatal is not None or verdict.signal is not None:
            self._release_suspects(gate)
            self._ready.append(work)
            return
        if verdict.outcome is Outcome.RATE_LIMITED and verdict.retryable:
            work.rate_limited += 1
            work.asked -= 1
            self._ready.append(work)
            return
        work.failed_at += ((gate, now),)
        failures = sum(not at_gate.outage.excuses(moment) for at_gate, moment in work.failed_at)
        if failures == 0 and verdict.retryable:
            self._ready.append(work)  # whatever --retry says: it is the server that failed
            return
        decision = self._decide(verdict, failures, now)
        if decision.step is Step.ASK:
            delay = decision.delay or 0.0
            self._trace.note(f"{work.item.custom_id!r} is asked again in {delay:.1f} s: {verdict.message}")
            self._later_again(work, now + delay)
        elif verdict.outcome in FATAL or verdict.outcome in PASSING:
            self._suspects.setdefault(gate, []).append(_Suspect(work, stream, verdict))
        else:
            self._recorder.error(work, stream, verdict, now)

    def _decide(self, verdict: Verdict, failures: int, now: float) -> Decision:
        """Whether the item has a try left, by the rule of the single run. `failures` are its own."""
        return next_step(
            Situation(
                verdict._replace(retry_after=None),  # the gate keeps it, for all items
                failures=max(1, failures),  # this one, where an outage excuses it
                retries=self._settings.retries,
                times_asked=failures,  # only what the item itself has used up
                now=now,
                retry_deadline=math.inf,
                retry_delay=self._settings.retry_delay,
                luck=random.random(),
            )
        )

    def _blame_items(self, gate: Gate, started: float = math.inf) -> None:
        """The server has answered a request of that moment: what it failed before then was the item."""
        if gate not in self._suspects:
            return
        suspects = self._suspects.pop(gate)
        for work, stream, verdict in suspects:
            if work.failed_at[-1][1] <= started:
                self._recorder.error(work, stream, verdict, self._loop.time())
        later = [suspect for suspect in suspects if suspect.work.failed_at[-1][1] > started]
        if later:
            self._suspects[gate] = later

    def _release_suspects(self, gate: Gate) -> None:
        """It was the server: another one is asked, or this one when it is back, or the next run asks them."""
        self._ready += [suspect.work for suspect in self._suspects.pop(gate, ())]

    def _later_again(self, work: Work, moment: float) -> None:
        heapq.heappush(self._later, (moment, next(self._count), work))

    # Waiting and ending ------------------------------------------------------------------------------------------

    async def _wait(self, moment: float) -> None:
        """Until the moment, or until something wakes us."""
        seconds = moment - self._loop.time()
        timeout = None if math.isinf(seconds) else max(0.0, seconds)
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return

    def _cut_off(self) -> None:
        """What is still in flight is given up: the next run asks it."""
        given_up, self._exchanges = self._exchanges, set()
        for exchange in given_up:
            exchange.stream.on_done = None
            if exchange.opening is not None:
                exchange.opening.cancel()
            exchange.stream.stop(_GIVEN_UP)


def _describe_end(work: Work, stream: ItemStream) -> str:
    """What -v shows of a reply."""
    verdict = stream.verdict
    status = "no reply" if stream.http_status is None else str(stream.http_status)
    return f"{status} for {work.item.custom_id!r}: {verdict.outcome.value} {verdict.message}".rstrip()
