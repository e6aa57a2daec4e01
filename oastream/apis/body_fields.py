"""Fields of --body that options add to.

In: the body that the user gave. Out: the part of it that is asked for, or a `Failure` with outcome input. Knows nothing
of what the fields mean.
"""

from __future__ import annotations

from typing import Any

from oastream.exits import Outcome, failure_of

Body = dict[str, Any]


def object_in(body: Body, name: str) -> Body:
    """A field of --body that an option adds to, empty where there is none. Raises `Failure`: input."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise failure_of(Outcome.INPUT, "--body cannot be used", f"its {name} is {describe_kind(value)}, not an object")
    return value or {}


def list_in(body: Body, name: str) -> list[Any]:
    """The same for a field that is a list."""
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise failure_of(Outcome.INPUT, "--body cannot be used", f"its {name} is {describe_kind(value)}, not a list")
    return value or []


def describe_kind(value: Any) -> str:
    """What a JSON value is, for a message that wanted another kind."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def without_none(**fields: Any) -> Body:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
