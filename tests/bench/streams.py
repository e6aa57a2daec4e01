"""What the benchmark's server sends, as bytes: the answers of both APIs, by the words of a path.

In: `burst/N`, `calls/N/M`, `large/N`, `object/N`, `page/N`. Out: a whole reply, its head included. Knows no sockets.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable

Event = dict[str, object]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
BASE: Event = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": []}
FIXED: Event = {"parallel_tool_calls": True, "tool_choice": "auto", "instructions": None, "metadata": {}}
PLACE: Event = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
USAGE: Event = {
    "input_tokens": 1,
    "output_tokens": 1,
    "total_tokens": 2,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
CHUNK: Event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@functools.cache
def reply(api: str, kind: str, *numbers: int) -> bytes:
    """The whole reply that a path asks for; each is rendered once."""
    return _REPLIES[kind](api, *numbers)


def burst(api: str, count: int) -> bytes:
    """An answer of so many deltas of text."""
    deltas = b"".join(delta(api, n + 3, f"word{n} ") for n in range(count))
    return HEAD + opening(api) + deltas + ending(api)


def large(api: str, size: int) -> bytes:
    """An answer whose one delta has so many characters."""
    return HEAD + opening(api) + delta(api, 3, "x" * size) + ending(api)


def calls(api: str, count: int, pieces: int) -> bytes:
    """An answer of so many tool calls, the arguments of each in so many pieces."""
    events = (event for call in range(count) for event in _call(api, call, pieces))
    return HEAD + b"".join(map(chunk, events)) + ending(api, "tool_calls")


def whole_object(api: str, size: int) -> bytes:
    """A server that ignores `stream`: an answer of so many characters as one JSON object."""
    text = "x" * size
    if api == "chat":
        message = {"role": "assistant", "content": text}
        answer: Event = {**CHUNK, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    else:
        part = {"type": "output_text", "text": text, "annotations": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        answer = {**BASE, **FIXED, "status": "completed", "output": [item], "usage": USAGE}
    return _unstreamed("200 OK", "application/json", json.dumps(answer).encode())


def error_page(api: str, size: int) -> bytes:
    """What a gateway says: HTML of so many bytes."""
    return _unstreamed("400 Bad Request", "text/html", b"<html>%s</html>" % (b"<p>no " * (size // 6)))


_REPLIES: dict[str, Callable[..., bytes]] = {
    "burst": burst,
    "large": large,
    "calls": calls,
    "object": whole_object,
    "page": error_page,
}


# Events ----------------------------------------------------------------------------------------------------------


def chunk(payload: Event) -> bytes:
    """One event in a chunk of its own, as API servers send it; those of Responses have a name."""
    event = f"event: {payload['type']}\n" if "type" in payload else ""
    data = f"{event}data: {json.dumps(payload)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(api: str, number: int, text: str) -> bytes:
    """A piece of the answer's text."""
    if api == "chat":
        return chunk(_chat({"content": text}))
    kind = "response.output_text.delta"
    return chunk({"type": kind, "sequence_number": number, **PLACE, "delta": text, "logprobs": []})


def opening(api: str) -> bytes:
    """The events before the first piece of text."""
    if api == "chat":
        return b""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    events: Iterable[Event] = [
        {"type": "response.created", "response": {**BASE, **FIXED, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **PLACE, "part": part},
    ]
    return b"".join(chunk({**event, "sequence_number": number}) for number, event in enumerate(events))


def ending(api: str, reason: str = "stop") -> bytes:
    """The terminal event, and the end of the body. `reason` is Chat's."""
    if api == "chat":
        return chunk(_chat({}, reason)) + b"e\r\ndata: [DONE]\n\n\r\n" + END
    response = {**BASE, **FIXED, "status": "completed", "usage": USAGE}
    return chunk({"type": "response.completed", "sequence_number": 10**9, "response": response}) + END


def _chat(part: Event, reason: str | None = None) -> Event:
    return {**CHUNK, "choices": [{"index": 0, "delta": part, "finish_reason": reason}]}


def _call(api: str, call: int, pieces: int) -> list[Event]:
    text = ['{"words": ["', *[f"word{number} " for number in range(pieces - 2)], '"]}']
    if api == "chat":
        function = {"name": "look_up", "arguments": ""}
        head: Event = {"index": call, "id": f"call_{call}", "type": "function", "function": function}
        parts = [head, *({"index": call, "function": {"arguments": piece}} for piece in text)]
        return [_chat({"tool_calls": [part]}) for part in parts]
    place: Event = {"output_index": call, "item_id": f"fc_{call}"}
    item: Event = {"id": f"fc_{call}", "type": "function_call", "call_id": f"call_{call}", "name": "look_up"}
    begun, done = {"status": "in_progress", "arguments": ""}, {"status": "completed", "arguments": "".join(text)}
    kind = "response.function_call_arguments"
    return [
        {"type": "response.output_item.added", "output_index": call, "item": {**item, **begun}},
        *({"type": f"{kind}.delta", **place, "delta": piece} for piece in text),
        {"type": f"{kind}.done", **place, "arguments": "".join(text)},
        {"type": "response.output_item.done", "output_index": call, "item": {**item, **done}},
    ]


def _unstreamed(status: str, content_type: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
