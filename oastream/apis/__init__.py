"""What differs between the APIs, one object each: `api_named` gives it, and nothing outside asks which one it has.

In: options, the items of a conversation, what was given in some API's shape. Out: paths, headers and fields of a
request; what reads the events of its reply. Does no I/O. A further API is a module here, with an `API` of its own, one
in `events/` that reads its events, and a line in `_MODULES`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oastream.apis.api import Api

_MODULES = {"responses": "oastream.apis.responses", "chat": "oastream.apis.chat"}
"""--api → the module of its object. Only the one that is asked for is loaded."""
API_NAMES = tuple(_MODULES)
"""The values of --api; the first is the default."""


@functools.cache  # a batch asks for each of its items: an import that is done already takes 3 µs
def api_named(name: str) -> Api:
    """The API that --api names."""
    api: Api = importlib.import_module(_MODULES[name]).API
    return api


@functools.lru_cache(maxsize=16)  # a batch asks for each of its items, mostly of one path
def api_at(path: str) -> Api | None:
    """The API whose requests go to this path below the base URL; None for an endpoint of another kind."""
    for name in API_NAMES:
        api = api_named(name)
        if api.path == path:
            return api
    return None


def api_of_body(body: Mapping[str, Any]) -> Api | None:
    """The API that a request body is for, by the field that has the conversation."""
    for name in reversed(API_NAMES):  # gateways pass `input` on beside `messages`
        api = api_named(name)
        if api.prompt_field in body:
            return api
    return None
