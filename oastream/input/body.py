"""`Options` and the prompt → the JSON body, for either API.

In: options, the conversation's items, the texts of files that options name. Out: a dict that is the request's body.
Knows nothing of HTTP, nor where the items come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from oastream.exits import Failure, Outcome, failure_of
from oastream.input.chat_messages import chat_messages
from oastream.input.prompt import decode_argument
from oastream.lenient_json import dumps_exactly
from oastream.options import Options

DEFAULT_MODEL = "gpt-5-mini"

Body = dict[str, Any]
ReadText = Callable[[str], str]
"""A path → the text of that file."""

Item = dict[str, Any]

_STATED_CHOICES = ("auto", "none", "required")


def base_body(options: Options, read: ReadText) -> Body:
    """What --body gives: the object that everything else is laid over."""
    if options.body is None:
        return {}
    body = read_json("--body", options.body, read)
    if not isinstance(body, dict):
        raise failure_of(Outcome.INPUT, "--body is not a JSON object", f"it is {_kind(body)}")
    return body


def object_in(body: Body, name: str) -> Body:
    """A field of --body that an option adds to, empty where there is none. Raises `Failure`: input."""
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise failure_of(Outcome.INPUT, "--body cannot be used", f"its {name} is {_kind(value)}, not an object")
    return value or {}


def list_in(body: Body, name: str) -> list[Any]:
    """The same for a field that is a list."""
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        raise failure_of(Outcome.INPUT, "--body cannot be used", f"its {name} is {_kind(value)}, not a list")
    return value or []


def brings_input(body: Body) -> bool:
    """Whether the body holds a message of its own, so that no prompt is needed."""
    return bool(body.get("input") or body.get("messages") or body.get("prompt"))


def user_message(prompt: str | None, parts: Sequence[Item]) -> list[Item]:
    """The user's message as an input item: text, or text and attachments. Without either there is none."""
    if not parts:
        return [] if prompt is None else [{"type": "message", "role": "user", "content": prompt}]
    text = [] if prompt is None else [{"type": "input_text", "text": prompt}]
    return [{"type": "message", "role": "user", "content": [*text, *parts]}]


def build_body(
    options: Options, items: Sequence[Item], base: Body, read: ReadText, answer_format: Body | None = None
) -> Body:
    """The body of the request: `base`, the conversation and the options over it, --set last."""
    shape = _responses_fields if options.api == "responses" else _chat_fields
    body = base | shape(options, items, base, _system(options, read)) | (answer_format or {})
    body.setdefault("model", DEFAULT_MODEL)
    body |= _present(model=options.model, temperature=options.temperature, top_p=options.top_p)
    if options.tools is not None:
        body["tools"] = tools_for(options.api, read_json("--tools", options.tools, read))
    if options.tool_choice is not None:
        body["tool_choice"] = _tool_choice(options.api, options.tool_choice, list_in(body, "tools"))
    body["stream"] = True
    if options.background or options.detach:
        body["background"] = True
    for path, value in options.set:
        _set(body, path, _json_or_text(decode_argument(value, "--set")))
    return body


def encoded(body: Body) -> bytes:
    """The body as JSON. Text that is not Unicode, from a command line that is not UTF-8, is the user's error."""
    try:
        return dumps_exactly(body)
    except ValueError as error:
        raise failure_of(Outcome.INPUT, "the request cannot be written as JSON", error) from error


def read_json(option: str, value: str, read: ReadText) -> Any:
    """JSON given in place (it begins with a brace or bracket) or in a file, which may be written @FILE."""
    in_place = value.lstrip().startswith(("{", "["))
    text = decode_argument(value, option) if in_place else read(value.removeprefix("@"))
    return _parsed_json(text, option if in_place else f"{option} {value}")


def _parsed_json(text: str | bytes, source: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise failure_of(Outcome.INPUT, f"{source} is not JSON", f"{error.msg}: {where}") from error


def _present(**fields: Any) -> Body:
    return {name: value for name, value in fields.items() if value is not None}


def text_or_file(option: str, value: str, read: ReadText) -> str:
    """TEXT as it is, @FILE's, or @@TEXT for a text that begins with @."""
    if value.startswith("@") and not value.startswith("@@"):
        return read(value[1:])
    return decode_argument(value.removeprefix("@"), option)


def _system(options: Options, read: ReadText) -> str | None:
    return None if options.system is None else text_or_file("--system", options.system, read)


def _responses_fields(options: Options, items: Sequence[Item], base: Body, system: str | None) -> Body:
    fields = _present(
        instructions=system,
        max_output_tokens=options.max_output_tokens,
        previous_response_id=options.previous_response_id,
    )
    for item in items:
        _refuse_audio(item)
    earlier = base.get("input")
    if items and isinstance(earlier, list):
        fields["input"] = [*earlier, *items]
    elif items:
        fields["input"] = _text_alone(items) or list(items)
    if options.reasoning_effort is not None:
        fields["reasoning"] = {**object_in(base, "reasoning"), "effort": options.reasoning_effort}
    return fields


def _refuse_audio(item: Item) -> None:
    """A conversation that began on Chat may hold audio, which the Responses API has no part for."""
    content = item.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "input_audio":
            raise failure_of(
                Outcome.INPUT, "the conversation holds audio", "the Responses API takes none", "--api chat does"
            )


def _text_alone(items: Sequence[Item]) -> str | None:
    """The text of a user's message that is all there is: the shortest form, which every server takes."""
    content = items[0].get("content") if len(items) == 1 and items[0].get("role") == "user" else None
    return content if isinstance(content, str) else None


def _chat_fields(options: Options, items: Sequence[Item], base: Body, system: str | None) -> Body:
    messages = [*list_in(base, "messages"), *chat_messages(items)]
    if system is not None:
        messages = [{"role": "system", "content": system}, *_without_system(messages)]
    fields = _present(max_completion_tokens=options.max_output_tokens, reasoning_effort=options.reasoning_effort)
    # Without this OpenAI's chat streams bring no usage at all.
    return {"messages": messages, "stream_options": base.get("stream_options", {"include_usage": True})} | fields


def _without_system(messages: list[Any]) -> list[Any]:
    first = messages[0] if messages else None
    leads = isinstance(first, dict) and first.get("role") in ("system", "developer")
    return messages[1:] if leads else messages


def tools_for(api: str, given: Any) -> list[Body]:
    """Tools in either API's shape, or bare function schemas, in the shape of the API in use."""
    if isinstance(given, dict):
        given = given["tools"] if isinstance(given.get("tools"), list) else [given]
    if not isinstance(given, list):
        raise failure_of(Outcome.INPUT, "--tools is not a list of tools", f"it is {_kind(given)}")
    return [_tool(api, entry, number) for number, entry in enumerate(given, 1)]


def offered_tools(body: Body) -> frozenset[str] | None:
    """The names of the tools that a request offers; None where a stored prompt may bring more of them."""
    if body.get("prompt"):
        return None
    tools = body.get("tools")
    return (
        frozenset(_tool_name(tool) for tool in tools if isinstance(tool, dict))
        if isinstance(tools, list)
        else frozenset()
    )


def _tool(api: str, entry: Any, number: int) -> Body:
    if not isinstance(entry, dict):
        raise _no_tool(f"entry {number} is {_kind(entry)}")
    kind = entry.get("type", "function")
    if kind not in ("function", "custom"):
        if "name" in entry and ("parameters" in entry or kind == "object"):
            return _tool(api, {"type": "function", "function": _without_type(entry)}, number)
        if not isinstance(kind, str) or kind == "object":
            raise _no_tool(f"entry {number} is neither a tool nor a function with a name")
        return entry  # a tool that the server runs itself: only the server knows its shape
    inner = entry.get(kind)
    definition = dict(inner) if isinstance(inner, dict) else _without_type(entry)
    name = definition.get("name")
    if not isinstance(name, str) or not name:
        raise _no_tool(f"entry {number} has no name")
    if not isinstance(definition.get("parameters") or {}, dict):
        raise _no_tool(f"the parameters of {name} are {_kind(definition['parameters'])}, not a schema")
    if api == "chat":
        return {"type": kind, kind: definition}
    if kind == "function" and (isinstance(inner, dict) or "type" not in entry):
        # Responses makes a tool strict that does not say so, Chat does not: what was optional would be mandatory.
        definition.setdefault("strict", False)
    return {"type": kind, **definition}


def _without_type(fields: Body) -> Body:
    return {name: value for name, value in fields.items() if name != "type"}


def _no_tool(why: str) -> Failure:
    return failure_of(Outcome.INPUT, "--tools has an entry that is not a tool", why)


def _tool_choice(api: str, choice: str, tools: list[Any]) -> Any:
    if choice in _STATED_CHOICES:
        return choice
    if choice.lstrip().startswith("{"):
        return tool_choice_for(api, _parsed_json(choice, "--tool-choice"))
    kinds = {_tool_name(tool): tool.get("type", "function") for tool in tools if isinstance(tool, dict)}
    kind = kinds.get(choice, "function")
    if kind not in ("function", "custom"):
        return {"type": kind}
    return _named_tool(api, kind, choice)


def tool_choice_for(api: str, stated: Body) -> Body:
    """A choice given as an object of either API, in the shape of the API in use; of an unknown kind, as it is."""
    kind = stated.get("type")
    if kind == "allowed_tools":
        return _allowed_tools(api, stated)
    inner = stated.get(kind) if kind in ("function", "custom") else None
    name = inner.get("name") if isinstance(inner, dict) else stated.get("name")
    if kind in ("function", "custom") and isinstance(name, str):
        return _named_tool(api, kind, name)
    return stated


def _named_tool(api: str, kind: str, name: str) -> Body:
    return {"type": kind, kind: {"name": name}} if api == "chat" else {"type": kind, "name": name}


def _allowed_tools(api: str, stated: Body) -> Body:
    """Chat puts mode and tools into an object of their own."""
    inner = stated.get("allowed_tools")
    fields = dict(inner) if isinstance(inner, dict) else _without_type(stated)
    if isinstance(fields.get("tools"), list):
        fields["tools"] = [tool_choice_for(api, tool) if isinstance(tool, dict) else tool for tool in fields["tools"]]
    return {"type": "allowed_tools", "allowed_tools": fields} if api == "chat" else {"type": "allowed_tools", **fields}


def _tool_name(tool: Body) -> str:
    """What --tool-choice calls a tool: its name in either shape, else its type."""
    kind = str(tool.get("type"))
    inner = tool.get(kind)
    name = inner.get("name") if isinstance(inner, dict) else None
    return str(name or tool.get("name") or kind)


def _json_or_text(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _set(body: Body, path: str, value: Any) -> None:
    """Put `value` at a dotted path; a number is a place in a list, one past its end appends."""
    here: Any = body
    steps = path.split(".")
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        inner = value if following is None else ([] if _is_position(following) else {})
        here = _put(here, step, inner, following is None, path)


def _is_position(step: str) -> bool:
    """Whether a step of a path is a place in a list. `str.isdigit` also holds for ², which no int is made of."""
    return step.isascii() and step.isdigit() and len(step) < 10


def _put(here: Any, step: str, inner: Any, last: bool, path: str) -> Any:
    if isinstance(here, list) and _is_position(step) and int(step) <= len(here):
        at = int(step)
        if at == len(here):
            here.append(inner)
        elif last or here[at] is None:
            here[at] = inner
        return here[at]
    if isinstance(here, dict):
        if last or here.get(step) is None:
            here[step] = inner
        return here[step]
    raise failure_of(Outcome.USAGE, "bad usage", f"--set {path}: no object or list at {step!r}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
