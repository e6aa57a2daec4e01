"""A Chat request's body → the fields of a Responses API response that repeat what was asked for.

In: the body as it is sent. Out: fields for every response that Chat's chunks are translated into, so that each is a
whole Response by the SDK's types (openai.types.responses.Response) and by the OpenAPI description. Does no I/O; what
the body has in a form that a Response cannot hold is left out.
"""

from __future__ import annotations

from typing import Any

from oastream.apis import api_named
from oastream.apis.tools import tool_choice_for, tools_for
from oastream.exits import Failure

Fields = dict[str, Any]

_NUMBERS = ("temperature", "top_p")


def response_fields(body: Fields) -> Fields:
    """The fields, for a body of POST /chat/completions."""
    # What Chat cannot ask for has the value that a Response has without it: the SDK's type wants the field to be there.
    return {
        "background": False,
        "instructions": _instructions(body.get("messages")),
        "max_output_tokens": _output_limit(body),
        "metadata": _metadata(body.get("metadata")),
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        **{name: _number_or_none(body.get(name)) for name in _NUMBERS},
        "tool_choice": _tool_choice(body.get("tool_choice")),
        "tools": _tools(body.get("tools")),
    }


def _instructions(messages: Any) -> str | None:
    """The text of a system message at the beginning, which is where --system puts it on Chat."""
    if not isinstance(messages, list) or not messages:
        return None
    first = messages[0]
    if not isinstance(first, dict) or first.get("role") not in ("system", "developer"):
        return None
    content = first.get("content")
    if isinstance(content, str):
        return content
    return None


def _output_limit(body: Fields) -> int | None:
    """The limit in its present field, else in the one that it replaced."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if isinstance(limit, int):
        return limit
    return None


def _metadata(metadata: Any) -> Fields:
    if isinstance(metadata, dict):
        return metadata
    return {}


def _tool_choice(choice: Any) -> str | Fields:
    if isinstance(choice, dict):
        return tool_choice_for(api_named("responses"), choice)
    if isinstance(choice, str):
        return choice
    return "auto"


def _number_or_none(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return None


def _tools(tools: Any) -> list[Fields]:
    """The tools as Responses has them; none where --body brings something that is no list of tools."""
    try:
        return tools_for(api_named("responses"), tools or [])
    except Failure:
        return []
