"""Which items of the input are to be asked, and how the others stand.

In: items, the answers of the journal, what failed for good, the shard. Out: a `Standing` for each item, and counts.
Raises `Failure`: input for an id that came before, journal for an answer to another request. Sends nothing.
"""

from __future__ import annotations

import array
import enum
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

from oastream.batch.input import Item
from oastream.batch.journal import Answers
from oastream.batch.keys import id_key
from oastream.batch.shard import Shard
from oastream.exits import Failure, Outcome, Verdict, failure_of


class DuplicateId(Failure):
    """An id that came before. `why` is the end of a message that names the line."""

    def __init__(self, item: Item) -> None:
        self.why = f"duplicate id {item.custom_id!r}"
        super().__init__(Verdict(Outcome.INPUT, f"line {item.line}", self.why))


class Standing(enum.Enum):
    """How an item stands before it is asked."""

    __hash__ = object.__hash__  # as of `Outcome`

    TO_ASK = "to ask"
    ANSWERED = "answered"
    FAILED_FOR_GOOD = "failed for good"
    """An earlier run has an error for it that trying again would not mend."""
    ELSEWHERE = "elsewhere"
    """It belongs to another shard."""


class Plan:
    """Sorts the items of one pass over the input, and counts them.

    `request_of` gives HASH of an item's request; it is asked only where there is an answer to compare with.
    """

    def __init__(
        self,
        answers: Answers,
        request_of: Callable[[Item], str],
        failed_for_good: Mapping[int, Outcome] = MappingProxyType({}),
        shard: Shard | None = None,
    ) -> None:
        self._answers = answers
        self._request_of = request_of
        self._failed_for_good = failed_for_good
        self.failed_keys: set[int] = set()
        """Which of them the input has brought."""
        self.failed: Counter[Outcome] = Counter()
        """How they ended."""
        self.order: array.array[int] | None = None
        """The keys of the ids in the order of the input, where somebody wants to know."""
        self._shard = shard
        self._seen: set[int] = set()
        self.counts: Counter[Standing] = Counter()
        self.outcomes: Counter[Outcome] = Counter()
        """How the answers ended that the journal has."""
        self.changed: list[str] = []
        """Ids whose answer is to another request, where `may_change` lets them be."""
        self.may_change = False

    def sort(self, item: Item) -> Standing:
        """How the item stands. The first pass over the input asks this of each, once."""
        standing = self.standing(item)
        if not self._is_new(item.custom_id, standing):
            raise DuplicateId(item)
        if standing is Standing.ANSWERED and not self._is_same_request(item):
            standing = Standing.TO_ASK
        elif standing is Standing.FAILED_FOR_GOOD:
            key = id_key(item.custom_id)
            self.failed_keys.add(key)
            self.failed[self._failed_for_good[key]] += 1
        if self.order is not None:
            self.order.append(id_key(item.custom_id))
        self.counts[standing] += 1
        return standing

    def take_back(self, item: Item) -> None:
        """The item was sorted, and turned out to be none."""
        self.counts[Standing.TO_ASK] -= 1

    def standing(self, item: Item) -> Standing:
        """The same without the checks, for a second pass."""
        if self._shard is not None and not self._shard.has(item.custom_id):
            return Standing.ELSEWHERE
        if item.custom_id in self._answers:
            return Standing.ANSWERED
        if id_key(item.custom_id) in self._failed_for_good:
            return Standing.FAILED_FOR_GOOD
        return Standing.TO_ASK

    def use_answers(self, answers: Answers) -> None:
        """Others are gone: these are those that are left."""
        self._answers = answers

    def forget_ids(self) -> None:
        """The first pass is over: what it needed to find an id that came twice is not needed any more."""
        self._seen = set()

    def _is_new(self, custom_id: str, standing: Standing) -> bool:
        """Whether the input has not brought the id before. Those of other shards are other runs' to look at."""
        if standing is Standing.ELSEWHERE:
            return True
        if standing is Standing.ANSWERED:
            return self._answers.see(custom_id)
        key = id_key(custom_id)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _is_same_request(self, item: Item) -> bool:
        """Whether the answer is to this very request. One to another is a `Failure`, unless it may be asked again."""
        outcome = self._answers.outcome(item.custom_id, self._request_of(item))
        if outcome is not None:
            self.outcomes[outcome] += 1
            return True
        if self.may_change:
            self.changed.append(item.custom_id)
            return False
        raise failure_of(
            Outcome.JOURNAL,
            f"the answer to {item.custom_id!r} belongs to another request",
            f"the request on line {item.line} has changed",
            "--redo changed sends it again",
        )
