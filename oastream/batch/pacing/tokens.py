"""What a request costs in tokens, before its answer is there to tell, and when the budget is spent.

In: a request's size and output limit, the usage of answers. Out: a `Cost`. Knows nothing of bodies, APIs and moments.
"""

from __future__ import annotations

from typing import NamedTuple

from oastream.batch.pacing.limits import Resource

BYTES_PER_TOKEN = 4.0
"""English in OpenAI's encodings; answers teach what it is for this input."""
FIRST_OUTPUT_GUESS = 512.0
"""Tokens of an answer without a limit, until some have come."""
_MEMORY = 50
"""Answers after which a newer one counts as much as all before it."""
_FEWEST = 4
"""Answers before their mean is better than the first guess."""


class Cost(NamedTuple):
    """What a request takes from the limits."""

    input: float
    output: float
    requests: float = 1.0

    def of(self, resource: Resource) -> float:
        """What it takes from a limit of this resource."""
        if resource is Resource.REQUESTS:
            return self.requests
        if resource is Resource.INPUT_TOKENS:
            return self.input
        if resource is Resource.OUTPUT_TOKENS:
            return self.output
        return self.input + self.output

    @property
    def tokens(self) -> float:
        """All its tokens."""
        return self.input + self.output


class Mean:
    """A mean that forgets: of all at first, later of about the last `memory`."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self.value = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) / min(self.count, self._memory)


class TokenEstimates:
    """Estimates that grow better with each answer.

    The input is the size by the tokens per byte of the answers so far. The output is the request's own limit, as
    servers count it, or without one the mean of the answers so far.
    """

    def __init__(self) -> None:
        self._tokens_per_byte = Mean(_MEMORY)
        self._output = Mean(_MEMORY)

    def estimate(self, size: int, output_limit: float | None) -> Cost:
        """The cost of a request of `size` bytes."""
        per_byte = 1 / BYTES_PER_TOKEN
        if self._tokens_per_byte.count >= _FEWEST:
            per_byte = self._tokens_per_byte.value
        output = output_limit
        if output is None:
            output = self._output.value if self._output.count >= _FEWEST else FIRST_OUTPUT_GUESS
        return Cost(size * per_byte, output)

    def learn(self, size: int, usage: Cost) -> None:
        """Take in the usage of the answer to a request of `size` bytes."""
        if size > 0:
            self._tokens_per_byte.add(usage.input / size)
        self._output.add(usage.output)


class TokenBudget:
    """`--max-tokens-total`: tokens of all answers together, on all servers.

    A request starts only while what has been used and what those in flight are expected to use leave room, so that the
    budget is overrun by a wrong estimate at most, and not by all that is in flight.
    """

    def __init__(self, total: float | None, used: float = 0.0) -> None:
        self._total = total
        self._used = used
        self._in_flight = 0.0

    def has_room(self) -> bool:
        """Whether another request may start now; if not, one may once an answer took less than expected."""
        return self._total is None or self._used + self._in_flight < self._total

    def is_spent(self) -> bool:
        """Whether none may start ever again."""
        return self._total is not None and self._used >= self._total

    def start(self, cost: Cost) -> None:
        """A request of this estimate was sent."""
        self._in_flight += cost.tokens

    def end(self, cost: Cost, usage: Cost | None) -> None:
        """The request of this estimate has ended; `usage` is None where the server told none."""
        self._in_flight -= cost.tokens
        if usage is not None:
            self._used += usage.tokens
