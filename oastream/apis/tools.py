"""Tools and the choice among them, as a user may write them → the shape of the API in use.

In: what --tools and --tool-choice give, in either API's shape, or bare function schemas. Out: the fields of the body.
What cannot be a tool is a `Failure` with outcome input. What a tool does is not known here.
"""

from __future__ import annotations

from typing import Any

import orjson

from oastream.apis.api import Api
from oastream.apis.body_fields import Body, definition_in, describe_kind, tool_name
from oastream.exits import Failure, Outcome, failure_of

_GENERAL_CHOICES = ("auto", "none", "required")
_CLIENT_TOOLS = ("function", "custom")
"""Types of the tools that the client runs; a tool of any other is the server's."""


def tools_for(api: Api, given: Any) -> list[Body]:
    """Tools in either API's shape, or bare function schemas, in the shape of the API in use."""
    given = _as_list(given)
    if not isinstance(given, list):
        raise failure_of(Outcome.INPUT, "--tools is not a list of tools", f"it is {describe_kind(given)}")
    return [_translate_tool(api, entry, number) for number, entry in enumerate(given, 1)]


def _as_list(given: Any) -> Any:
    """One tool is a list of one, and a whole request body in the file stands for its tools."""
    if not isinstance(given, dict):
        return given
    tools = given.get("tools")
    if isinstance(tools, list):
        return tools
    return [given]


def _translate_tool(api: Api, entry: Any, number: int) -> Body:
    if not isinstance(entry, dict):
        raise _no_tool(f"entry {number} is {describe_kind(entry)}")
    kind = entry.get("type", "function")
    if kind in _CLIENT_TOOLS:
        return _translate_client_tool(api, kind, entry, number)
    if "name" in entry and ("parameters" in entry or kind == "object"):
        # A bare function whose `type` is that of its parameters, or of some framework's own.
        function = {"type": "function", "function": _without_type(entry)}
        return _translate_client_tool(api, "function", function, number)
    if not isinstance(kind, str) or kind == "object":
        raise _no_tool(f"entry {number} is neither a tool nor a function with a name")
    return entry  # a tool that the server runs itself: only the server knows its shape


def _translate_client_tool(api: Api, kind: str, entry: Body, number: int) -> Body:
    """A function or custom tool: Chat puts what defines it into a field named as its kind, Responses beside that."""
    inner = entry.get(kind)
    definition = _without_type(entry)
    if isinstance(inner, dict):
        definition = dict(inner)
    name = definition.get("name")
    if not isinstance(name, str) or not name:
        raise _no_tool(f"entry {number} has no name")
    if not isinstance(definition.get("parameters") or {}, dict):
        raise _no_tool(f"the parameters of {name} are {describe_kind(definition['parameters'])}, not a schema")
    return api.tool(kind, definition, is_flat=not isinstance(inner, dict) and "type" in entry)


def _without_type(fields: Body) -> Body:
    return {name: value for name, value in fields.items() if name != "type"}


def _no_tool(why: str) -> Failure:
    return failure_of(Outcome.INPUT, "--tools has an entry that is not a tool", why)


def read_tool_choice(api: Api, choice: str, tools: list[Any]) -> Any:
    """What --tool-choice gives: a word, an object of either API, or the name of one of `tools`."""
    if choice in _GENERAL_CHOICES:
        return api.general_tool_choice(choice)
    if choice.lstrip().startswith("{"):
        return tool_choice_for(api, parse_given_json(choice, "--tool-choice"))
    kinds = {tool_name(tool): tool.get("type", "function") for tool in tools if isinstance(tool, dict)}
    # A name that no tool has goes as a function's: the server knows those of a stored prompt.
    kind = kinds.get(choice, "function")
    if kind not in _CLIENT_TOOLS:
        return {"type": kind}
    return api.tool_choice(kind, choice)


def tool_choice_for(api: Api, stated: Body) -> Body:
    """A choice given as an object of either API, in the shape of the API in use; of an unknown kind, as it is."""
    kind = stated.get("type")
    if kind == "allowed_tools":
        return _allowed_tools(api, stated)
    if not isinstance(kind, str) or kind not in _CLIENT_TOOLS:
        return stated
    name = definition_in(stated, kind).get("name")
    if not isinstance(name, str):
        return stated
    return api.tool_choice(kind, name)


def _allowed_tools(api: Api, stated: Body) -> Body:
    """The choice of some tools. Chat puts mode and tools into an object of their own."""
    inner = stated.get("allowed_tools")
    fields = _without_type(stated)
    if isinstance(inner, dict):
        fields = dict(inner)
    if isinstance(fields.get("tools"), list):
        fields["tools"] = [_translate_allowed(api, tool) for tool in fields["tools"]]
    return api.allowed_tools(fields)


def _translate_allowed(api: Api, tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool  # the server says best what is wrong with it
    return tool_choice_for(api, tool)


def parse_given_json(text: str | bytes, source: str) -> Any:
    """JSON that the user gave. Raises `Failure` with outcome input, which names the source and the place."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not text.strip():
            raise failure_of(Outcome.INPUT, f"{source} is not JSON", "it is empty") from error
        why = f"{error.msg}: line {error.lineno}, column {error.colno}"
        raise failure_of(Outcome.INPUT, f"{source} is not JSON", why, _json_hint(text)) from error


def _json_hint(text: str | bytes) -> str:
    """What is missing in JSON as JavaScript and Python write it."""
    if text.lstrip()[1:].lstrip()[:1] in ("'", b"'"):
        return 'JSON has double quotes, as in {"type": "object"}'
    return ""
