"""What happens to every request, whatever its URL: each layer is a function around all that is further in.

In: a `Call`, and the way to its reply. Out: the reply, as it is, changed, or another one. A layer that keeps something
between requests is an object with `__call__`. Knows nothing of URLs.
"""

from __future__ import annotations

from collections.abc import Callable

from oastream.mock.endpoints import Call
from oastream.mock.errors import ApiError, error_object
from oastream.mock.exchange import Reply, Request, merge_headers
from oastream.mock.limits import Limiter, Limits
from oastream.mock.replies import json_reply

Handler = Callable[[Call], Reply]
Layer = Callable[[Handler, Call], Reply]


def add_usual_headers(go_on: Handler, call: Call) -> Reply:
    """The headers of every reply of OpenAI's; a fault's own win over them."""
    reply = go_on(call)
    usual = {
        "x-request-id": f"req_{call.number:032x}",
        "openai-processing-ms": "1",
        "openai-version": "2020-10-01",
        "openai-organization": "oastream-mock",
    }
    return reply._replace(headers=merge_headers(usual, reply.headers))


def turn_errors_into_replies(go_on: Handler, call: Call) -> Reply:
    try:
        return go_on(call)
    except ApiError as error:
        return json_reply({"error": error.error}, error.status)


class EnforceLimits:
    """429 for what is more than the limits allow; what is left of them is in the headers of every reply.

    Polls and lists are free: what is limited is what would keep a model busy.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limiter = Limiter(limits, now)

    def __call__(self, go_on: Handler, call: Call) -> Reply:
        request = call.request
        if request.method != "POST":
            return go_on(call)
        size = int(request.headers.get("content-length", "0"))
        refused, headers = self._limiter.take(size, _output_limit(request), call.state.clock())
        if refused is None:
            reply = go_on(call)
        else:
            error = error_object(429, refused.message, type=refused.resource, code="rate_limit_exceeded")
            reply = json_reply({"error": error}, 429)
            headers |= refused.headers
        return reply._replace(headers=merge_headers(headers, reply.headers))


class BeGone:
    """An error status for a while after the first request, as what stands before a server gives when it is gone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._first: float | None = None

    def __call__(self, go_on: Handler, call: Call) -> Reply:
        now = call.state.clock()
        if self._first is None:
            self._first = now
        limits = self._limits
        since_first = now - self._first
        if limits.gone_status is not None and limits.gone_after <= since_first < limits.gone_after + limits.gone:
            return json_reply({"error": error_object(limits.gone_status, "The server is gone.")}, limits.gone_status)
        return go_on(call)


def _output_limit(request: Request) -> int | None:
    """The tokens that an answer may have, by either API's names."""
    if not isinstance(request.body, dict):
        return None
    for name in ("max_output_tokens", "max_completion_tokens", "max_tokens"):
        value = request.body.get(name)
        if isinstance(value, int):
            return value
    return None
