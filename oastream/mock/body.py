"""What a request asks for, in the shape of either API: its conversation, its tools, its limits.

In: a JSON body that `checks` has let pass. Out: texts, numbers, tools. Chat Completions nests a tool's fields in
`function` or `custom`, Responses does not; nobody after this module has to care. Knows nothing of answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from oastream.mock.events import Json

_TEXT_PARTS = ("text", "input_text", "output_text")
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")


def _as_object(value: object) -> Json:
    """An object as it is, an empty one for all else: not every field that is read here is in the tables of `checks`."""
    if isinstance(value, dict):
        return value
    return {}


# --- the conversation


def conversation(body: Json) -> str | list[Json]:
    """The `input` of a Responses request, the `messages` of a Chat one; empty where there is neither."""
    for name in ("input", "messages"):
        found = body.get(name)
        if isinstance(found, (str, list)):
            return found
    return []


def last_user_text(body: Json) -> str:
    """The text of the last user message; without one, of the last message."""
    source = conversation(body)
    if isinstance(source, str):
        return source
    messages = [item for item in source if isinstance(item, dict)]
    from_user = [item for item in messages if item.get("role") == "user"]
    candidates = from_user or messages
    if not candidates:
        return ""
    return "".join(_texts_in(candidates[-1].get("content")))


def prompt_texts(body: Json) -> Iterator[str]:
    """Every text of the prompt: what input tokens are counted from."""
    source = conversation(body)
    yield str(body.get("instructions") or "")
    if isinstance(source, str):
        yield source
        return
    for item in source:
        if isinstance(item, dict):
            yield from _texts_in(item.get("content"))
            yield str(item.get("output") or item.get("arguments") or "")


def _texts_in(content: object) -> Iterator[str]:
    """The texts of a message's content, which is a text or a list of parts; images and files have none."""
    if isinstance(content, str):
        yield content
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
                yield str(part.get("text", ""))


def ends_in_tool_output(body: Json) -> bool:
    """Whether the last thing said is the output of a tool."""
    source = conversation(body)
    if not isinstance(source, list) or not source:
        return False
    last = source[-1]
    if not isinstance(last, dict):
        return False
    return last.get("role") == "tool" or str(last.get("type")).endswith("_output")


# --- limits and the form of the answer


def token_limit(body: Json) -> int | None:
    for name in _LIMITS:
        if isinstance(body.get(name), int):
            return int(body[name])
    return None


def stop_sequences(body: Json) -> list[str]:
    """Chat's stop sequences; Responses has none, and passes over the field."""
    if "input" in body:
        return []
    sequences = body.get("stop") or []
    if isinstance(sequences, str):
        sequences = [sequences]
    return [sequence for sequence in sequences if sequence]


def output_schema(body: Json) -> Json | None:
    """The JSON schema that the answer must have: in Chat's `response_format` or in Responses' `text.format`."""
    form = _as_object(body.get("response_format")) or _as_object(_as_object(body.get("text")).get("format"))
    if form.get("type") != "json_schema":
        return None
    holder = _as_object(form.get("json_schema")) or form  # Chat has one more level
    schema = holder.get("schema")
    return schema if isinstance(schema, dict) else None


# --- tools


def demands_call(body: Json) -> bool:
    choice = body.get("tool_choice")
    return bool(body.get("tools")) and (choice == "required" or named_tool(choice) is not None)


def named_tool(choice: object) -> str | None:
    """The name of the tool that a `tool_choice` asks for; None for `auto`, `required` and the like."""
    tool = _unnest(_as_object(choice))
    name = tool.get("name")
    return name if isinstance(name, str) else None


def chosen_tool(body: Json) -> Json | None:
    """The tool that `tool_choice` names, or the first that has a name, in the shape of Responses."""
    tools = [_unnest(tool) for tool in body.get("tools") or () if isinstance(tool, dict)]
    wanted = named_tool(body.get("tool_choice"))
    callable_tools = [tool for tool in tools if isinstance(tool.get("name"), str)]  # others run on the server
    candidates = [tool for tool in callable_tools if tool["name"] == wanted] or callable_tools
    if not candidates:
        return None
    return candidates[0]


def _unnest(tool: Json) -> Json:
    """A tool, or the choice of one, in the shape of Responses."""
    inner = tool.get("function") or tool.get("custom")
    if isinstance(inner, dict):
        return {"type": tool.get("type"), **inner}
    return tool
