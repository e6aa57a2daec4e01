"""What the endpoints of files and batches have in common: pages of a list, requests that are lost or stalled.

In: a `Call`, objects with ids. Out: OpenAI's list object; a `Reply` that never comes, or breaks off.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec

from oastream.mock.endpoints import Call
from oastream.mock.errors import BadRequest
from oastream.mock.events import CutKind, Json
from oastream.mock.exchange import Reply

Parts = ParamSpec("Parts")
Endpoint = Callable[Concatenate[Call, Parts], Reply]

_LOST = Reply(raw=b"", cut=CutKind.RST)
_STALLED = Reply(raw=b"", delay=math.inf)


def with_step_faults(step: str) -> Callable[[Endpoint[Parts]], Endpoint[Parts]]:
    """The endpoint, of whose requests some are lost or stalled when the script says so."""

    def wrap(endpoint: Endpoint[Parts]) -> Endpoint[Parts]:
        @functools.wraps(endpoint)
        def reply(call: Call, /, *parts: Parts.args, **named: Parts.kwargs) -> Reply:
            script = call.state.batch_script
            if script.stalls(f"before-{step}"):
                return _STALLED
            answer = endpoint(call, *parts, **named)
            if script.stalls(f"after-{step}"):
                return _STALLED
            if script.loses(step):
                return _LOST
            return answer

        return reply

    return wrap


def list_page(call: Call, things: Sequence[Json], usual: int, most: int) -> Json:
    """The part of a list that `limit` and `after` ask for."""
    limit = _read_limit(call, usual, most)
    after = call.parameter("after", "")
    start = 0
    if after:
        ids = [thing["id"] for thing in things]
        if after not in ids:
            raise BadRequest(f"Invalid 'after': there is no object with id '{after}'.", "after", "invalid_value")
        start = ids.index(after) + 1
    page = things[start : start + limit]
    ends = {"first_id": None, "last_id": None}
    if page:
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]}
    return {"object": "list", "data": list(page), **ends, "has_more": start + limit < len(things)}


def _read_limit(call: Call, usual: int, most: int) -> int:
    text = call.parameter("limit", str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise BadRequest(f"Invalid 'limit': it must be an integer from 1 to {most}.", "limit", "invalid_value")
    return int(text)
