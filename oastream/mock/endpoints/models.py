"""GET /models and GET /models/{name}: one model is listed, and every name is known.

In: a name, or nothing. Out: OpenAI's object for a model.
"""

from __future__ import annotations

from oastream.mock.endpoints import Call
from oastream.mock.events import Json
from oastream.mock.exchange import Reply
from oastream.mock.replies import json_reply


def list_all(call: Call) -> Reply:
    return json_reply({"object": "list", "data": [_describe("mock")]})


def retrieve(call: Call, name: str) -> Reply:
    """Any name will do, as in a request."""
    return json_reply(_describe(name))


def _describe(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "oastream-mock"}
