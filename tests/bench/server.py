"""A server that is never the bottleneck: each stream is rendered once, then sent as fast as the socket takes it.

The path of the base URL chooses the stream: `/burst/N/v1/…` sends N events at once; `/pace/N/RATE/v1/…` sends N events
at RATE a second, each delta beginning with the moment it was sent (nanoseconds of the monotonic clock).
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import sys
import threading
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BASE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": []}
FIXED = {"parallel_tool_calls": True, "tool_choice": "auto", "instructions": None, "metadata": {}}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
USAGE = {
    "input_tokens": 1,
    "output_tokens": 1,
    "total_tokens": 2,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def chunk(payload: object, name: str = "") -> bytes:
    """One event in a chunk of its own, as API servers send it."""
    event = (f"event: {name}\n" if name else "") + f"data: {json.dumps(payload)}\n\n"
    data = event.encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(api: str, number: int, text: str) -> bytes:
    if api == "chat":
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return chunk({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})
    kind = "response.output_text.delta"
    return chunk({"type": kind, "sequence_number": number, **PLACE, "delta": text, "logprobs": []}, kind)


def opening(api: str) -> bytes:
    if api == "chat":
        return b""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": {**BASE, **FIXED, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **PLACE, "part": part},
    ]
    return b"".join(chunk({**e, "sequence_number": n}, str(e["type"])) for n, e in enumerate(events))


def ending(api: str) -> bytes:
    if api == "chat":
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        last = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return chunk(last) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
    kind = "response.completed"
    response = {**BASE, **FIXED, "status": "completed", "usage": USAGE}
    return chunk({"type": kind, "sequence_number": 10**9, "response": response}, kind) + b"0\r\n\r\n"


@functools.cache
def burst(api: str, count: int) -> bytes:
    deltas = b"".join(delta(api, n + 3, f"word{n} ") for n in range(count))
    return HEAD + opening(api) + deltas + ending(api)


def paced(line: socket.socket, api: str, count: int, rate: float) -> None:
    line.sendall(HEAD + opening(api))
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        line.sendall(delta(api, number + 3, f"{time.monotonic_ns()}\n"))
    line.sendall(ending(api))


def answer(line: socket.socket) -> None:
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with line, contextlib.suppress(OSError):  # the peer has gone
        words = path(line).split("/")
        api = "chat" if words[-1] == "completions" else "responses"
        if words[1] == "burst":
            line.sendall(burst(api, int(words[2])))
        else:
            paced(line, api, int(words[2]), float(words[3]))
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):
            pass  # to close before the peer does could take back what it has not read


def path(line: socket.socket) -> str:
    """The path of a request, once all of it has come."""
    with line.makefile("rb") as request:
        _, target, _ = request.readline().decode().split(" ", 2)
        size = 0
        while (header := request.readline().lower()).strip():
            if header.startswith(b"content-length:"):
                size = int(header.split(b":")[1])
        request.read(size)
    return target


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    for count in map(int, sys.argv[1:]):
        burst("responses", count)
        burst("chat", count)
    while True:
        line, _ = listener.accept()
        threading.Thread(target=answer, args=(line,), daemon=True).start()


main()
