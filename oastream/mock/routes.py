"""Which reply a request gets: the table of URLs, and the layers around it.

In: a `Request` that was read, a `Plan`. Out: a `Reply`. Knows nothing of sockets, nor of what an endpoint does.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs, unquote

from oastream.mock.endpoints import Call, answers, batches, files, models, stored
from oastream.mock.errors import ApiError
from oastream.mock.exchange import Reply, Request
from oastream.mock.layers import BeGone, EnforceLimits, Handler, Layer, add_usual_headers, turn_errors_into_replies
from oastream.mock.script import Plan
from oastream.mock.state import State

_ID = r"([^/]+)"
_NAME = r"([^/]+(?:/[^/]+)*)"  # of a model: those of Hugging Face have a slash

ROUTES: tuple[tuple[str, str, Callable[..., Reply]], ...] = (
    ("POST", "/responses", answers.create_response),
    ("POST", "/chat/completions", answers.create_completion),
    ("GET", "/models", models.list_all),
    ("GET", f"/models/{_NAME}", models.retrieve),
    ("POST", "/responses/input_tokens", answers.count_input_tokens),
    ("GET", f"/responses/{_ID}", stored.retrieve),
    ("DELETE", f"/responses/{_ID}", stored.delete),
    ("GET", f"/responses/{_ID}/input_items", stored.list_input_items),
    ("POST", f"/responses/{_ID}/cancel", stored.cancel),
    ("POST", "/files", files.upload),
    ("GET", "/files", files.list_all),
    ("GET", f"/files/{_ID}", files.retrieve),
    ("DELETE", f"/files/{_ID}", files.delete),
    ("GET", f"/files/{_ID}/content", files.send_content),
    ("POST", "/batches", batches.create),
    ("GET", "/batches", batches.list_all),
    ("GET", f"/batches/{_ID}", batches.retrieve),
    ("POST", f"/batches/{_ID}/cancel", batches.cancel),
)
"""Method, path below the base URL, endpoint; what a path leaves open is handed to the endpoint."""


class Routes:
    """The server without its sockets. `reply` may be called from several threads."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = State(plan, clock)
        # From the outside in. What concerns every request gets its line here. The refusals of those in the middle need
        # the usual headers, and errors need the headers that they add.
        layers: list[Layer] = [add_usual_headers]
        if plan.limits.gone_status is not None:
            layers.append(BeGone(plan.limits))
        if plan.limits.rpm or plan.limits.tpm:
            layers.append(EnforceLimits(plan.limits, clock()))
        layers.append(turn_errors_into_replies)
        self._answer: Handler = _dispatch
        for layer in reversed(layers):
            self._answer = functools.partial(layer, self._answer)

    def reply(self, request: Request) -> Reply:
        """The reply to a request."""
        _, _, query = request.path.partition("?")
        call = Call(request, parse_qs(query), self._state.number_request(), self._state)
        return self._answer(call)


def _dispatch(call: Call) -> Reply:
    """The reply of the endpoint that the route names. Raises `ApiError`."""
    method = call.request.method
    path, _, _ = call.request.path.partition("?")
    place = path.removeprefix("/v1")  # a base URL may be written with or without it
    is_known = False
    for allowed, pattern, endpoint in ROUTES:
        if match := re.fullmatch(pattern, place):
            if allowed == method:
                return endpoint(call, *map(unquote, match.groups()))
            is_known = True
    if is_known:
        raise ApiError(405, f"Not allowed to {method} on {path}.", code="method_not_supported")
    raise ApiError(404, f"Invalid URL ({method} {path})", code="unknown_url")
