"""Fields of a body: those of --body that options add to, what it offers and asks for.

In: the body that the user gave, or the one that is sent. Out: the part of it that is asked for, or a `Failure` with
outcome input. Knows nothing of which API it is for.
"""

from __future__ import annotations

from typing import Any

from oastream.exits import Outcome, failure_of

Body = dict[str, Any]
_NO_TOOLS: frozenset[str] = frozenset()


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


def offered_tools(body: Body) -> frozenset[str] | None:
    """The names of the tools that a request offers; None where a stored prompt may bring more of them."""
    # The prompt's tools are known to the server alone, so no call can be told from one of a tool of the server's own.
    if body.get("prompt"):
        return None
    tools = body.get("tools")
    if not isinstance(tools, list):
        return _NO_TOOLS
    return frozenset(tool_name(tool) for tool in tools if isinstance(tool, dict))


def tool_name(tool: Body) -> str:
    """What --tool-choice calls a tool: its name in either shape, else its type."""
    kind = str(tool.get("type"))
    return str(definition_in(tool, kind).get("name") or tool.get("name") or kind)


def definition_in(tool: Body, kind: str) -> Body:
    """Where the name of a tool or of a choice stands: within the field that Chat has for it, else beside its type."""
    inner = tool.get(kind)
    if isinstance(inner, dict):
        return inner
    return tool


def choices_asked_for(body: Body) -> int:
    """How many answers the request asks for: only Chat knows `n`."""
    count = body.get("n")
    if isinstance(count, int) and count > 0:
        return count
    return 1
