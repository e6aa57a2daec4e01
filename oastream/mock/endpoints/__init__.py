"""What the server does at each URL: one module for each kind of thing that the API has, one function for each URL.

In: a `Call`, and the parts of the path that the route leaves open. Out: a `Reply`, or an `ApiError`.
A function here gets its line in `routes.ROUTES`; what it keeps between requests is a `Store` in `state.State`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oastream.mock.exchange import Request
from oastream.mock.state import State


class Call(NamedTuple):
    """One request, beside what the server remembers. `number` counts the server's requests and makes the ids."""

    request: Request
    query: Mapping[str, Sequence[str]]
    number: int
    state: State

    def parameter(self, name: str, default: str) -> str:
        """A parameter of the query; of several with one name the first."""
        return self.query.get(name, [default])[0]
