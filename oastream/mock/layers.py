"""What happens to every request, whatever its URL: each layer is a function around all that is further in.

In: a `Call`, and the way to its reply. Out: the reply, as it is, changed, or another one. A layer that keeps something
between requests is an object with `__call__`. Knows nothing of URLs.
"""

from __future__ import annotations

from collections.abc import Callable

from oastream.mock.endpoints import Call
from oastream.mock.errors import ApiError
from oastream.mock.exchange import Reply, merge_headers
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
