"""What the server remembers between requests: how many there were, which attempt is next, what it has stored.

In: a `Plan`, and things to keep. Out: numbers, faults, things that were kept. May be used from several threads, since
every connection has its own. Knows nothing of URLs and replies.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from oastream.mock.answer import Turn
from oastream.mock.background import Job
from oastream.mock.batches import Batch, BatchScript
from oastream.mock.errors import ApiError
from oastream.mock.events import Json
from oastream.mock.faults import AttemptKind, Fault
from oastream.mock.script import Plan

REMEMBERED = 1000
"""Things of one kind that can still be fetched; older ones are forgotten."""

Thing = TypeVar("Thing")


class Store(Generic[Thing]):
    """The newest things of one kind, by id; `kind` is the word for one in an error."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lock = threading.Lock()
        self._things: OrderedDict[str, Thing] = OrderedDict()

    def keep(self, thing_id: str, thing: Thing) -> None:
        with self._lock:
            self._things[thing_id] = thing
            while len(self._things) > REMEMBERED:
                self._things.popitem(last=False)

    def find(self, thing_id: str) -> Thing:
        """The thing of that id. Raises `ApiError` 404."""
        with self._lock:
            thing = self._things.get(thing_id)
        if thing is None:
            raise ApiError(404, f"{self._kind} with id '{thing_id}' not found.")
        return thing

    def forget(self, thing_id: str) -> None:
        with self._lock:
            self._things.pop(thing_id, None)

    def newest_first(self) -> list[Thing]:
        with self._lock:
            return list(reversed(self._things.values()))

    def __contains__(self, thing_id: object) -> bool:
        return thing_id in self._things


class StoredResponse(NamedTuple):
    """A response as it can be fetched, and what it was asked for; a job's state depends on when it is looked at."""

    turn: Turn
    response: Job | Json


class StoredFile(NamedTuple):
    """A file as it was uploaded, or as a batch has made it: what is told of it, and its bytes."""

    about: Json
    data: bytes


class State:
    """All that outlives a request."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self.clock = clock
        self.responses: Store[StoredResponse] = Store("Response")
        self.files: Store[StoredFile] = Store("File")
        self.batches: Store[Batch] = Store("Batch")
        self.batch_script = BatchScript(plan.batches)
        self._lock = threading.Lock()
        self._requests = 0
        self._attempts: dict[AttemptKind, int] = dict.fromkeys(AttemptKind, 0)

    def number_request(self) -> int:
        """The number of the next request, from 1."""
        with self._lock:
            self._requests += 1
            return self._requests

    def next_attempt(self, on: AttemptKind) -> Fault:
        """What the plan has for the next request of that kind."""
        with self._lock:
            number = self._attempts[on]
            self._attempts[on] += 1
        return self.plan.attempt(on, number)
