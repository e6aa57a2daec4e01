"""Servers that limit and clients that send, in virtual time: minutes of a batch in tens of milliseconds.

A heap of events is all there is. A `Server` has buckets, a queue for its slots, and times at which it is gone; a
`Client` asks a `Gate`, as the sender of a batch does, and does what it says. Each run is the same for the same seed.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from oastream.batch.pacing.gate import Flight, Gate, Settings
from oastream.batch.pacing.tokens import Cost, TokenEstimates
from oastream.exits import Outcome, Verdict

RPM = 3000.0
TPM = 2_000_000.0
WALL_TIME_AT_ZERO = 1_800_000_000.0


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, moment: float, call: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(moment, self.now), self._count, call, args))

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        self.at(self.now + seconds, call, *args)

    def run(self, until: float = math.inf) -> None:
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, call, args = heapq.heappop(heap)
            call(*args)


class Bucket(Protocol):
    """A limit of units by the window, a minute or a second long."""

    size: float

    def level(self, now: float) -> float: ...

    def take(self, units: float, now: float) -> None: ...

    def resets_in(self, now: float) -> float:
        """Seconds until it is full."""
        ...

    def waits_for(self, units: float, now: float) -> float:
        """Seconds until there are so many."""
        ...


class Continuous:
    """A bucket that fills all the time (a token bucket, GCRA): OpenAI, Anthropic."""

    def __init__(self, per_minute: float, window: float) -> None:
        self.size = per_minute / 60 * window
        self._rate = per_minute / 60
        self._level = self.size
        self._at = 0.0

    def level(self, now: float) -> float:
        self._level = min(self.size, self._level + self._rate * (now - self._at))
        self._at = now
        return self._level

    def take(self, units: float, now: float) -> None:
        self._level = self.level(now) - units

    def resets_in(self, now: float) -> float:
        return (self.size - self.level(now)) / self._rate

    def waits_for(self, units: float, now: float) -> float:
        return max(0.0, min(units, self.size) - self.level(now)) / self._rate


class AtOnce:
    """A bucket that is filled at the end of each window: a counter."""

    def __init__(self, per_minute: float, window: float) -> None:
        self.size = per_minute / 60 * window
        self._window = window
        self._number = 0
        self._level = self.size

    def level(self, now: float) -> float:
        number = int(now // self._window)
        if number != self._number:
            self._number = number
            self._level = self.size
        return self._level

    def take(self, units: float, now: float) -> None:
        self._level = self.level(now) - units

    def resets_in(self, now: float) -> float:
        return self._window - now % self._window

    def waits_for(self, units: float, now: float) -> float:
        return 0.0 if self.level(now) >= min(units, self.size) else self.resets_in(now)


@dataclass(frozen=True)
class Item:
    """A request: what is known of it, and what its answer will take. `service` is the time of its answer's stream."""

    number: int
    size: int
    output_limit: int | None
    usage: Cost
    service: float


@dataclass
class Call:
    """An item on its way."""

    item: Item
    flight: Flight
    client: Client
    headers: dict[str, str] = field(default_factory=dict)
    is_open: bool = True


@dataclass
class ServerSettings:
    """What a server is like. `says` is what its replies tell of limits: "headers", "retry-after" or "nothing"."""

    says: str = "headers"
    refill: type[Continuous] | type[AtOnce] = Continuous
    window: float = 60.0
    rpm: float = RPM
    tpm: float = TPM
    charges_usage: bool = False
    """Charges the output when the answer is complete, instead of the output limit when the request comes in."""
    slots: int | None = None
    first_event: float = 0.4
    gone: tuple[float, float] = (math.inf, math.inf)
    network: tuple[float, float] = (0.010, 0.030)


class Server:
    """Takes calls, and has its clients told what becomes of them."""

    def __init__(self, clock: Clock, settings: ServerSettings, luck: random.Random) -> None:
        self.clock = clock
        self.settings = settings
        self.luck = luck
        self.requests = settings.refill(settings.rpm, settings.window)
        self.tokens = settings.refill(settings.tpm, settings.window)
        self.accepted: list[float] = []
        self.charged: list[tuple[float, float]] = []
        self.refused: list[float] = []
        self.first_events: list[tuple[float, float]] = []
        self.done: list[tuple[float, float]] = []
        self._free = settings.slots if settings.slots is not None else 10**9
        self._queue: deque[Call] = deque()
        self._open: set[int] = set()
        self._calls: dict[int, Call] = {}
        if settings.gone[0] < math.inf:
            clock.at(settings.gone[0], self._go)

    def _way(self) -> float:
        """Seconds of the network, one way."""
        return self.luck.uniform(*self.settings.network)

    def send(self, call: Call) -> None:
        self.clock.after(self._way(), self._arrive, call)

    def is_gone(self) -> bool:
        begins, ends = self.settings.gone
        return begins <= self.clock.now < ends

    def _go(self) -> None:
        for call in list(self._calls.values()):
            self._drop(call)
        self._calls.clear()
        self._queue.clear()
        self._free = self.settings.slots if self.settings.slots is not None else 10**9

    def _drop(self, call: Call) -> None:
        call.is_open = False
        self.clock.after(self._way(), call.client.lose, call)

    def _arrive(self, call: Call) -> None:
        now = self.clock.now
        if self.is_gone():
            self._drop(call)
            return
        cost = self._cost(call.item)
        if self.requests.level(now) < 1 or self.tokens.level(now) < min(cost, self.tokens.size):
            self.refused.append(now)
            self.clock.after(self._way(), call.client.refuse, call, self._headers(now, cost))
            return
        self.requests.take(1, now)
        self.tokens.take(cost, now)
        self.accepted.append(now)
        self.charged.append((now, cost))
        call.headers = self._headers(now, None)
        self._calls[id(call)] = call
        self._queue.append(call)
        self._serve()

    def _cost(self, item: Item) -> float:
        if self.settings.charges_usage:
            return item.usage.input
        return item.size / 4 + (item.output_limit or 512)

    def _headers(self, now: float, refused_cost: float | None) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self.settings.says == "headers":
            for name, bucket in (("requests", self.requests), ("tokens", self.tokens)):
                headers[f"x-ratelimit-limit-{name}"] = f"{bucket.size:.0f}"
                headers[f"x-ratelimit-remaining-{name}"] = f"{max(0.0, bucket.level(now)):.0f}"
                headers[f"x-ratelimit-reset-{name}"] = f"{bucket.resets_in(now) * 1000:.0f}ms"
        if refused_cost is not None and self.settings.says != "nothing":
            wait = max(self.requests.waits_for(1, now), self.tokens.waits_for(refused_cost, now))
            headers["retry-after"] = str(math.ceil(wait))
        return headers

    def _serve(self) -> None:
        while self._queue and self._free:
            call = self._queue.popleft()
            if call.is_open:
                self._free -= 1
                self.clock.after(self.luck.lognormvariate(math.log(self.settings.first_event), 0.3), self._begin, call)

    def _begin(self, call: Call) -> None:
        if call.is_open:
            now = self.clock.now
            self.first_events.append((now, now - call.flight.started))
            call.client.begin(call)
            self.clock.after(call.item.service, self._end, call)

    def _end(self, call: Call) -> None:
        if not call.is_open:
            return
        now = self.clock.now
        if self.settings.charges_usage:
            self.tokens.take(call.item.usage.output, now)
            self.charged.append((now, call.item.usage.output))
        self.done.append((now, call.item.usage.tokens))
        self._calls.pop(id(call))
        self._free += 1
        call.client.finish(call)
        self._serve()


@dataclass
class Items:
    """Where items come from, as many as there are; each kind of size is log-normal."""

    luck: random.Random
    count: float = math.inf
    size: float = 1000.0
    output: float = 150.0
    output_limit: int | None = 300
    service: float = 2.0
    made: int = 0

    def next(self) -> Item | None:
        if self.made >= self.count:
            return None
        self.made += 1
        luck = self.luck
        size = int(self.size * luck.lognormvariate(0, 0.5))
        output = self.output * luck.lognormvariate(0, 0.4)
        if self.output_limit is not None:
            output = min(output, self.output_limit)
        usage = Cost(size / 4 * luck.uniform(0.9, 1.1), output)
        return Item(self.made, size, self.output_limit, usage, self.service * luck.lognormvariate(0, 0.3))


class Client:
    """Sends what there is as its gate allows, again what was not answered, and counts what failed for good."""

    def __init__(self, server: Server, gate: Gate, items: Items, retries: int = 5) -> None:
        self.clock = server.clock
        self.server = server
        self.gate = gate
        self.items = items
        self.estimates = TokenEstimates()
        self.retries = retries
        self.failed: list[int] = []
        self._again: deque[Item] = deque()
        self._failures: dict[int, list[float]] = {}
        self._wakes_at = math.inf

    def wake(self) -> None:
        """Send all that may start now."""
        if self.clock.now >= self._wakes_at:
            self._wakes_at = math.inf
        while True:
            now = self.clock.now
            moment = self.gate.next_start(now)
            if moment > now:
                self._sleep_until(moment)
                return
            item = self._again.popleft() if self._again else self.items.next()
            if item is None:
                return
            cost = self.estimates.estimate(item.size, item.output_limit)
            self.server.send(Call(item, self.gate.start(item.number, cost, now), self))

    def begin(self, call: Call) -> None:
        """The head of a reply and its first event arrive."""
        now = self.clock.now
        self.gate.read_headers(call.flight, call.headers, now, WALL_TIME_AT_ZERO + now)
        self.gate.accept(call.flight, now)
        self.gate.receive_first_event(call.flight, now)
        self.wake()

    def finish(self, call: Call) -> None:
        """An answer is complete."""
        self.estimates.learn(call.item.size, call.item.usage)
        self.gate.end(call.flight, call.item.usage, self.clock.now)
        self.wake()

    def refuse(self, call: Call, headers: dict[str, str]) -> None:
        """A 429 arrives."""
        now = self.clock.now
        self.gate.read_headers(call.flight, headers, now, WALL_TIME_AT_ZERO + now)
        wait = float(headers["retry-after"]) if "retry-after" in headers else None
        self.gate.fail(call.flight, Verdict(Outcome.RATE_LIMITED, http_status=429, retry_after=wait), now)
        self._again.append(call.item)
        self.wake()

    def lose(self, call: Call) -> None:
        """The connection is refused or reset."""
        now = self.clock.now
        self.gate.fail(call.flight, Verdict(Outcome.UNREACHABLE), now)
        moments = self._failures.setdefault(call.item.number, [])
        moments.append(now)
        if sum(not self.gate.outage.excuses(moment) for moment in moments) > self.retries:
            self.failed.append(call.item.number)
        else:
            self._again.append(call.item)
        self.wake()

    def _sleep_until(self, moment: float) -> None:
        if moment < self._wakes_at:
            self._wakes_at = moment
            self.clock.at(moment, self.wake)


class Share(NamedTuple):
    """Of what the limits allow, how much was used, and of what was sent, how much was refused. In percent."""

    used: float
    refused: float


class Run(NamedTuple):
    """What came of a simulation."""

    server: Server
    clients: list[Client]

    def share(self, begins: float, ends: float) -> Share:
        """Use of the scarcer of the two limits between two moments."""
        server = self.server
        minutes = (ends - begins) / 60
        accepted = sum(begins <= moment < ends for moment in server.accepted)
        refused = sum(begins <= moment < ends for moment in server.refused)
        tokens = sum(cost for moment, cost in server.charged if begins <= moment < ends)
        used = max(accepted / server.settings.rpm, tokens / server.settings.tpm) / minutes
        return Share(100 * used, 100 * refused / max(1, accepted + refused))

    def answers_per_second(self, begins: float, ends: float) -> float:
        return sum(begins <= moment < ends for moment, _ in self.server.done) / (ends - begins)

    def first_event_p99(self) -> float:
        waits = sorted(wait for _, wait in self.server.first_events)
        return waits[int(0.99 * len(waits))]


def simulate(
    server_settings: ServerSettings,
    settings: Settings,
    seed: int,
    *,
    clients: int = 1,
    seconds: float = math.inf,
    items: Callable[[random.Random], Items] = Items,
    gate: type[Gate] = Gate,
) -> Run:
    """Let clients with these settings send to such a server, for some time or until all items are done."""
    clock = Clock()
    luck = random.Random(seed)
    server = Server(clock, server_settings, luck)
    senders = [Client(server, gate(settings._replace(shard=number)), items(luck)) for number in range(clients)]
    for sender in senders:
        clock.at(luck.uniform(0, 1), sender.wake)
    clock.run(seconds)
    return Run(server, senders)
