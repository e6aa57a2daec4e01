"""Input items of the Responses API → messages of Chat Completions.

In: items, the form that a conversation is kept in. Out: messages that say the same. What Chat has no form for
(reasoning, the calls of tools that a server ran itself, references to stored items) is left out; the URL of a file is a
`Failure` with outcome input. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from oastream.exits import Outcome, failure_of

Item = dict[str, Any]
Message = dict[str, Any]

_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_ROLES = {"developer": "system"}
"""Roles that servers other than OpenAI's do not know."""


def chat_messages(items: Iterable[Item]) -> list[Message]:
    """The items as messages; calls and text that follow one another are one message of the assistant."""
    messages: list[Message] = []
    for item in items:
        message = _message(item)
        if message is None:
            continue
        if _goes_on(messages[-1] if messages else {}, message):
            messages[-1] = _joined(messages[-1], message)
        else:
            messages.append(message)
    return messages


def _message(item: Item) -> Message | None:
    kind = item.get("type") or "message"
    if kind == "message":
        return _said(item)
    if kind in _CALLS:
        return {"role": "assistant", "content": None, "tool_calls": [_CALLS[kind](item)]}
    if kind in _OUTPUTS:
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": _content(item.get("output"))}
    return None


def _said(item: Item) -> Message | None:
    role = item.get("role")
    if role != "assistant":
        return {"role": _ROLES.get(str(role), role), "content": _content(item.get("content"))}
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"type": "output_text", "text": content}]
    text = "".join(str(part["text"]) for part in parts if part.get("text"))
    refusal = "".join(str(part["refusal"]) for part in parts if part.get("refusal"))
    if not text and not refusal:
        return None
    return {"role": "assistant", "content": text or None} | ({"refusal": refusal} if refusal else {})


def _goes_on(last: Message, message: Message) -> bool:
    """Whether the message only adds calls to what the assistant has just said."""
    return last.get("role") == "assistant" and "tool_calls" in message


def _joined(last: Message, message: Message) -> Message:
    return {**last, "tool_calls": [*last.get("tool_calls", ()), *message["tool_calls"]]}


def _function_call(item: Item) -> Item:
    arguments = item.get("arguments")
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
    function = {"name": item.get("name"), "arguments": text}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _custom_call(item: Item) -> Item:
    custom = {"name": item.get("name"), "input": item.get("input")}
    return {"id": item.get("call_id"), "type": "custom", "custom": custom}


_CALLS: dict[str, Callable[[Item], Item]] = {
    "function_call": _function_call,
    "custom_tool_call": _custom_call,
}


# Content parts ---------------------------------------------------------------------------------------------------


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    translate = _PARTS.get(kind) if isinstance(kind, str) else None
    return part if translate is None else translate(part)


def _text(part: Item) -> Item:
    return {"type": "text", "text": part.get("text")}


def _image(part: Item) -> Item:
    image = {"url": part.get("image_url"), "detail": part.get("detail")}
    return {"type": "image_url", "image_url": {name: value for name, value in image.items() if value is not None}}


def _file(part: Item) -> Item:
    if part.get("file_url"):
        raise failure_of(
            Outcome.INPUT, "the conversation holds the URL of a file", "--api chat takes only files themselves"
        )
    return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}


_PARTS: dict[str, Callable[[Item], Item]] = {
    "input_text": _text,
    "output_text": _text,
    "input_image": _image,
    "input_file": _file,
}
