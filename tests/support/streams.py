"""Well-formed answers of our own, in the events of either API, and as the bytes of a body.

In: texts, calls, items. Out: events as dicts (`…_events`, `…_chunks`), a whole body (`…_body`), or one up to its last
delta (`…_start`). Knows nothing of servers; the shapes were written down by hand, not taken from the mock's code, so
that neither can be wrong because the other is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

Event = dict[str, Any]
Item = dict[str, Any]

MODEL = "test-model"
USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
CHAT_USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sse(payloads: Iterable[Event | str], names: bool = True, done: bool = False, newline: str = "\n") -> bytes:
    """Events as a body: with `event:` lines where the payload has a type, with [DONE] where the API sends it."""
    lines: list[str] = []
    for payload in payloads:
        if names and isinstance(payload, dict) and "type" in payload:
            lines.append(f"event: {payload['type']}")
        data = payload if isinstance(payload, str) else dumps(payload)
        lines += [f"data: {data}", ""]
    if done:
        lines += ["data: [DONE]", ""]
    return "".join(line + newline for line in lines).encode()


def split(text: str, piece: int) -> list[str]:
    return [text[at : at + piece] for at in range(0, len(text), piece)]


# Items of a Responses answer, whole. `responses_events` takes them apart again.


def message(text: str, **more: Any) -> Item:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part], **more}


def refusal(text: str) -> Item:
    return {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "refusal", "refusal": text}],
    }


def call(name: str, arguments: str, call_id: str = "call_1") -> Item:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def custom_call(name: str, text: str, call_id: str = "call_1") -> Item:
    return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": text, "status": "completed"}


def reasoning(text: str) -> Item:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def response_object(
    status: str = "completed",
    output: Sequence[Item] = (),
    usage: object = None,
    response_id: str = "resp_1",
    **more: Any,
) -> Event:
    return {
        "id": response_id,
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "model": MODEL,
        "output": list(output),
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        **more,
    }


_PART_FIELDS = {"output_text": "text", "refusal": "refusal"}
_PAYLOADS = {
    "function_call": ("function_call_arguments", "arguments"),
    "custom_tool_call": ("custom_tool_call_input", "input"),
}


def item_events(item: Item, at: int, piece: int) -> list[Event]:
    """One item, from its `added` to its `done`."""
    place: Event = {"item_id": item["id"], "output_index": at}
    added: Event = {**item, "status": "in_progress"}
    inner: list[Event] = []
    if item["type"] == "message":
        added["content"] = []
        part, where = item["content"][0], {**place, "content_index": 0}
        inner = part_events("content_part", part["type"], _PART_FIELDS[part["type"]], part, where, piece)
    elif item["type"] == "reasoning":
        added["summary"] = []
        part, where = item["summary"][0], {**place, "summary_index": 0}
        inner = part_events("reasoning_summary_part", "reasoning_summary_text", "text", part, where, piece)
    elif item["type"] in _PAYLOADS:
        name, field = _PAYLOADS[item["type"]]
        added[field] = ""
        inner = text_events(name, field, item[field], place, piece)
    return [
        {"type": "response.output_item.added", "output_index": at, "item": added},
        *inner,
        {"type": "response.output_item.done", "output_index": at, "item": item},
    ]


def part_events(kind: str, name: str, field: str, part: Event, place: Event, piece: int) -> list[Event]:
    """One part of an item, around the deltas of its text."""
    return [
        {"type": f"response.{kind}.added", **place, "part": {**part, field: ""}},
        *text_events(name, field, part[field], place, piece),
        {"type": f"response.{kind}.done", **place, "part": part},
    ]


def text_events(name: str, field: str, text: str, place: Event, piece: int) -> list[Event]:
    return [
        *({"type": f"response.{name}.delta", **place, "delta": part} for part in split(text, piece)),
        {"type": f"response.{name}.done", **place, field: text},
    ]


def responses_events(
    *items: Item,
    piece: int = 4,
    status: str = "completed",
    usage: object = USAGE,
    **more: Any,
) -> list[Event]:
    """A whole Responses stream. `more` goes into the terminal response (`incomplete_details`, `error`, …)."""
    output: list[Item] = [{"id": f"{item['type'][:2]}_{at}", **item} for at, item in enumerate(items)]
    begun = response_object("in_progress")
    events: list[Event] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for at, item in enumerate(output):
        events += item_events(item, at, piece)
    events.append({"type": f"response.{status}", "response": response_object(status, output, usage, **more)})
    return [{"type": event["type"], "sequence_number": at, **event} for at, event in enumerate(events)]


def chunk(delta: Event | None, finish: str | None = None, index: int = 0, **more: Any) -> Event:
    """One chunk of Chat Completions, with one choice, or with none."""
    choices = []
    if delta is not None:
        choices = [{"index": index, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": MODEL,
        "choices": choices,
        **more,
    }


def call_deltas(calls: Sequence[tuple[str, str, str]], piece: int) -> list[Event]:
    """Tool calls `(id, name, arguments)` as OpenAI streams them: a head, then its arguments."""
    deltas: list[Event] = []
    for at, (call_id, name, arguments) in enumerate(calls):
        top = {"index": at, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [top]})
        deltas += [{"tool_calls": [{"index": at, "function": {"arguments": text}}]} for text in split(arguments, piece)]
    return deltas


def chat_chunks(
    text: str = "",
    *,
    calls: Sequence[tuple[str, str, str]] = (),
    refusal: str = "",
    reasoning: str = "",
    finish: str | None = "stop",
    usage: object = CHAT_USAGE,
    piece: int = 4,
) -> list[Event]:
    """A whole Chat Completions stream, as OpenAI sends it (without its [DONE])."""
    deltas: list[Event] = [
        {"role": "assistant", "content": ""},
        *({"reasoning_content": part} for part in split(reasoning, piece)),
        *({"content": part} for part in split(text, piece)),
        *({"refusal": part} for part in split(refusal, piece)),
        *call_deltas(calls, piece),
    ]
    events = [chunk(delta) for delta in deltas]
    if finish:
        events.append(chunk({}, finish))
    if usage:
        events.append(chunk(None, usage=usage))
    return events


def responses_body(*items: Item, newline: str = "\n", **options: Any) -> bytes:
    return sse(responses_events(*items, **options), newline=newline)


def chat_body(text: str = "", newline: str = "\n", **options: Any) -> bytes:
    return sse(chat_chunks(text, **options), done=True, newline=newline)


def responses_start(text: str = "Hello", piece: int = 1000) -> bytes:
    """A stream up to its last delta."""
    return sse(event for event in responses_events(message(text), piece=piece) if not is_ending(event))


def is_ending(event: Event) -> bool:
    return str(event["type"]).endswith((".done", ".completed"))


def chat_start(text: str = "Hello", piece: int = 1000) -> bytes:
    """A stream up to its last delta."""
    return sse(chat_chunks(text, finish=None, usage=None, piece=piece))


def prompt_in(body: Event) -> str:
    """The text of the last user message in a request to either API."""
    given = body.get("messages", body.get("input"))
    if isinstance(given, str):
        return given
    assert isinstance(given, list), f"no input in {body}"
    users = [turn for turn in given if turn["role"] == "user"]
    content = users[-1]["content"]
    if isinstance(content, str):
        return content
    assert all(part["type"] in ("text", "input_text") for part in content)
    return "".join(part["text"] for part in content)
