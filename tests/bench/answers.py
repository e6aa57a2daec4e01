"""A server of whole answers that is never the bottleneck: each is rendered once, and connections are kept, as APIs do.

The path of the base URL chooses the answer: `/whole/N/v1/…` sends one of N deltas at once; `/open/N/COUNT/v1/…` sends
half of it, event by event, and the rest once COUNT requests are that far. A request that says `"stream": false` has its
answer as one object. `answers.py [CERTIFICATE KEY]`: with them it speaks TLS.
The events are those that OpenAI sends, and the terminal event of a Responses stream holds the whole output.
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import sys
from typing import Any, ClassVar

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
OBJECT_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
END = b"0\r\n\r\n"
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 200,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 209,
}
CHAT_USAGE = {"prompt_tokens": 9, "completion_tokens": 200, "total_tokens": 209}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1764000000,
    "status": "in_progress",
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "model": "m",
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "auto",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
    "metadata": {},
}
PART = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
ITEM = {"id": "msg_1", "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
CHUNK: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1764000000, "model": "m"}


def chunk(payload: Any, name: str = "") -> bytes:
    """One event in a chunk of its own, as API servers send it."""
    event = f"event: {name}\n" if name else ""
    data = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    whole = f"{event}data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(whole), whole)


def words(count: int) -> list[str]:
    return [f"word{number} " for number in range(count)]


def finished_response(count: int) -> dict[str, Any]:
    part = {**PART, "text": "".join(words(count))}
    item = {**ITEM, "status": "completed", "content": [part]}
    return {**RESPONSE, "status": "completed", "output": [item], "usage": USAGE}


def responses(count: int) -> list[bytes]:
    response = finished_response(count)
    item = response["output"][0]
    part = item["content"][0]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.in_progress", "response": RESPONSE},
        {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
        {"type": "response.content_part.added", **PLACE, "part": PART},
        *(
            {"type": "response.output_text.delta", **PLACE, "delta": word, "logprobs": [], "obfuscation": "Zk3bXq9aT"}
            for word in words(count)
        ),
        {"type": "response.output_text.done", **PLACE, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **PLACE, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    ]
    numbered = ({"type": event["type"], "sequence_number": at, **event} for at, event in enumerate(events))
    return [chunk(event, event["type"]) for event in numbered]


def chat(count: int) -> list[bytes]:
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words(count))]
    chunks = [{**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**CHUNK, "choices": [], "usage": CHAT_USAGE})
    return [*map(chunk, chunks), chunk("[DONE]")]


@functools.cache
def answer(path: str, count: int) -> list[bytes]:
    """The pieces of an answer: the head, each event, the end."""
    events = chat(count) if path.endswith("completions") else responses(count)
    return [HEAD, *events, END]


@functools.cache
def whole(path: str, count: int) -> bytes:
    return b"".join(answer(path, count))


@functools.cache
def unstreamed(count: int) -> bytes:
    """A response as one object, as the terminal event of its stream has it."""
    data = json.dumps(finished_response(count)).encode()
    return OBJECT_HEAD % len(data) + data


class Connection(asyncio.Protocol):
    """One request after another, and none before the last was answered."""

    waiting: ClassVar[dict[Connection, None]] = {}
    """Those that have half of their answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""
        self.rest: list[bytes] = []

    def connection_lost(self, error: Exception | None) -> None:
        self.waiting.pop(self, None)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        size = int(head.lower().partition(b"content-length:")[2].split(None, 1)[0])
        if len(body) >= size:
            self.received = b""
            self.answer(head.split(b" ", 2)[1].decode(), b'"stream": false' in body)

    def answer(self, path: str, in_one_piece: bool) -> None:
        _, kind, *numbers = path.split("/")
        count = int(numbers[0])
        if in_one_piece:
            self.transport.write(unstreamed(count))
        elif kind == "whole":
            self.transport.write(whole(path, count))
        else:
            self.answer_half(answer(path, count), int(numbers[1]))

    def answer_half(self, pieces: list[bytes], together: int) -> None:
        half = len(pieces) // 2
        for piece in pieces[:half]:
            self.transport.write(piece)
        self.rest = pieces[half:]
        self.waiting[self] = None
        if len(self.waiting) == together:
            for connection in self.waiting:
                connection.transport.writelines(connection.rest)
            self.waiting.clear()


def tls_context(files: list[str]) -> ssl.SSLContext | None:
    if not files:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=10_000, ssl=tls_context(sys.argv[1:]))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
