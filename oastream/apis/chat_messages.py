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
        message = _translate_item(item)
        if message is None:
            continue
        if messages and _adds_calls(messages[-1], message):
            messages[-1] = _merge_calls(messages[-1], message)
        else:
            messages.append(message)
    return messages


def _translate_item(item: Item) -> Message | None:
    # A message needs no type in the Responses API's input (EasyInputMessage).
    kind = item.get("type") or "message"
    if kind == "message":
        return _translate_message(item)
    if kind in _CALLS:
        return {"role": "assistant", "content": None, "tool_calls": [_CALLS[kind](item)]}
    if kind in _OUTPUTS:
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": _translate_content(item.get("output"))}
    return None


def _translate_message(item: Item) -> Message | None:
    role = item.get("role")
    if role != "assistant":
        return {"role": _ROLES.get(str(role), role), "content": _translate_content(item.get("content"))}
    return _assistant_message(item.get("content"))


def _assistant_message(content: Any) -> Message | None:
    """What the assistant said, as one text; None for a message without text and refusal."""
    parts = [{"type": "output_text", "text": content}]
    if isinstance(content, list):
        parts = content
    text = "".join(str(part["text"]) for part in parts if part.get("text"))
    refusal = "".join(str(part["refusal"]) for part in parts if part.get("refusal"))
    if not text and not refusal:
        return None
    message = {"role": "assistant", "content": text or None}
    if refusal:
        message["refusal"] = refusal
    return message


def _adds_calls(last: Message, message: Message) -> bool:
    """Whether the message only adds calls to what the assistant has just said."""
    # Chat wants all calls of a turn in one message: the outputs that follow must answer each of them.
    return last.get("role") == "assistant" and "tool_calls" in message


def _merge_calls(last: Message, message: Message) -> Message:
    return {**last, "tool_calls": [*last.get("tool_calls", ()), *message["tool_calls"]]}


def _function_call(item: Item) -> Item:
    arguments = item.get("arguments")
    if not isinstance(arguments, str):  # some servers send the object itself, and so it came into the conversation
        arguments = orjson.dumps(arguments or {}).decode()
    function = {"name": item.get("name"), "arguments": arguments}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _custom_call(item: Item) -> Item:
    custom = {"name": item.get("name"), "input": item.get("input")}
    return {"id": item.get("call_id"), "type": "custom", "custom": custom}


_CALLS: dict[str, Callable[[Item], Item]] = {
    "function_call": _function_call,
    "custom_tool_call": _custom_call,
}


# Content parts ---------------------------------------------------------------------------------------------------


def _translate_content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_translate_part(part) for part in content]


def _translate_part(part: Any) -> Any:
    """A part in Chat's form; one that has no other form there (audio), or that nobody knows, as it is."""
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PARTS:
        return part
    return _PARTS[kind](part)


def _text_part(part: Item) -> Item:
    return {"type": "text", "text": part.get("text")}


def _image_part(part: Item) -> Item:
    image = {"url": part.get("image_url"), "detail": part.get("detail")}
    return {"type": "image_url", "image_url": {name: value for name, value in image.items() if value is not None}}


def _file_part(part: Item) -> Item:
    if part.get("file_url"):
        raise failure_of(
            Outcome.INPUT, "the conversation holds the URL of a file", "--api chat takes only files themselves"
        )
    return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}


_PARTS: dict[str, Callable[[Item], Item]] = {
    "input_text": _text_part,
    "output_text": _text_part,
    "input_image": _image_part,
    "input_file": _file_part,
}
