"""Whatever a server sends takes time in proportion to its length.

Work is counted in lines of Python: four times the input may cost no more than four times the work, on any machine. What
a count cannot see, copies and searches in C, is bounded by the CPU time of the whole program, generously: the
quadratic ways that were here took from fourteen seconds to minutes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from oastream.events.chat_dialect import ChatDialect
from oastream.events.decode import Decoder, Dialect
from oastream.events.json_body import page_title
from oastream.events.responses_dialect import ResponsesDialect
from oastream.output.formats import EagerToolsFormat, Format, JsonFormat, NdjsonFormat, TextFormat, ToolsFormat
from tests.support.program import oastream
from tests.support.reading import LIMIT, read_body
from tests.support.streams import (
    Event,
    call,
    chat_chunks,
    chunk,
    message,
    reasoning,
    response_object,
    responses_events,
    sse,
)
from tests.support.wire import http_response, serve

SMALL, LARGE = 150, 600
MOST = 4.2
"""Work for LARGE by that for SMALL: 4 and a little for what is there once."""
MANY = 20_000
CPU = 4.0
"""Seconds: twice the promised bound, since a busy machine counts more for the same work."""


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python the work has executed: each turn of a loop, and of a comprehension, is one."""
    count = 0

    def note(_frame: Any, _event: str, _argument: Any) -> Any:
        nonlocal count
        count += 1
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(work: Callable[[int], Callable[[], object]]) -> float:
    """How many times the work four times the input is; `work` makes it, for so many of something."""
    return lines_run(work(LARGE)) / lines_run(work(SMALL))


def reading(body: bytes, output_format: type[Format], dialect: Dialect) -> Callable[[], object]:
    return lambda: read_body(body, output_format(False), dialect)


# What comes in any number ------------------------------------------------------------------------------------------


def head(at: int, index: int | None, call_id: str | None, name: str | None, arguments: str) -> Event:
    fragment = {"index": index, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return {key: value for key, value in fragment.items() if value is not None}


def fragments(*each: Callable[[int], Event]) -> Callable[[int], list[Event]]:
    """Chunks with one fragment each: all first pieces of the calls, then all second ones."""
    return lambda count: [chunk({"tool_calls": [piece(at)]}) for piece in each for at in range(count)]


CHAT: dict[str, Callable[[int], list[Event]]] = {
    "calls by index": fragments(lambda at: head(at, at, f"c{at}", "f", "{}")),
    "calls by id": fragments(lambda at: head(at, None, f"c{at}", "f", "{}")),
    "calls under one index": fragments(lambda at: head(at, 0, f"c{at}", "f", "{}")),
    "calls without ids": fragments(lambda at: head(at, 0, None, f"f{at}", "{}")),
    "calls in turn": fragments(
        lambda at: head(at, at, f"c{at}", "f", '{"x":'), lambda at: head(at, at, None, None, "1}")
    ),
    "pieces of one call": fragments(lambda at: head(at, 0, "c", "f", '{"x":1}' if at == 0 else " ")),
    "choices": lambda count: [chunk({"content": "x"}, "stop", at) for at in range(count)],
    "images": lambda count: [chunk({"images": [{"image_url": {"url": "data:,"}}]}) for _ in range(count)],
    "text and refusals in turn": lambda count: [
        chunk({"content": "x"} if at % 2 else {"refusal": "x"}) for at in range(count)
    ],
    "finish reasons": lambda count: [chunk({"content": "x"}, "stop") for _ in range(count)],
    "keep-alives": lambda count: [chunk(None) for _ in range(count)],
}

ITEMS: dict[str, Callable[[int], Event]] = {
    "calls": lambda at: call("f", "{}", f"c{at}"),
    "calls with one id": lambda at: call("f", "{}", "c"),
    "messages": lambda at: message(f"text {at}"),
    "messages alike": lambda at: message("text"),
    "reasoning": lambda at: reasoning("x"),
    "calls that are answered": lambda at: (
        {"type": "function_call_output", "call_id": f"c{at - 1}", "output": ""} if at % 2 else call("f", "{}", f"c{at}")
    ),
    "items that wait": lambda at: {"type": "shell_call", "call_id": f"c{at}", "action": {}},
}


def streamed(items: Sequence[Event], named: bool) -> list[Event]:
    """Each item done, and all of them once more at the end, in another order."""
    each = [{**({"id": f"i{at}"} if named else {}), "status": "completed", **item} for at, item in enumerate(items)]
    done = [{"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(each)]
    return [*done, {"type": "response.completed", "response": response_object(output=each[::-1])}]


@pytest.mark.parametrize("output_format", [TextFormat, ToolsFormat, EagerToolsFormat, JsonFormat, NdjsonFormat])
@pytest.mark.parametrize("name", CHAT)
def test_chunks_take_work_in_proportion(name: str, output_format: type[Format]) -> None:
    def work(count: int) -> Callable[[], object]:
        return reading(sse(CHAT[name](count), done=True), output_format, ChatDialect(count if name == "choices" else 1))

    assert growth(work) < MOST


@pytest.mark.parametrize("output_format", [TextFormat, ToolsFormat, EagerToolsFormat, JsonFormat])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("name", ITEMS)
def test_items_take_work_in_proportion(name: str, named: bool, output_format: type[Format]) -> None:
    def stream(count: int) -> Callable[[], object]:
        return reading(sse(streamed(list(map(ITEMS[name], range(count))), named)), output_format, ResponsesDialect())

    def document(count: int) -> Callable[[], object]:
        answer = response_object(output=list(map(ITEMS[name], range(count))))
        return reading(json.dumps(answer).encode(), output_format, ResponsesDialect())

    assert growth(stream) < MOST
    assert growth(document) < MOST


@pytest.mark.parametrize("unit", [b"\n", b" ", b'{"a":', b": ping\n", b"data: x", b"x"])
def test_bytes_one_by_one_take_work_in_proportion(unit: bytes) -> None:
    """The beginning of a body is looked at until it tells what it is; a document, and an event, are gathered."""

    def feed(body: bytes) -> None:
        decoder = Decoder(ResponsesDialect(), LIMIT)
        for at in range(len(body)):
            list(decoder.feed(body[at : at + 1]))

    assert growth(lambda count: lambda: feed(unit * count)) < MOST


ODD_LINES = {
    "comments": b": ping\n",
    "lines of data": b"data: 1,\n",
    "pieces of one line": b"x" * 300,
    "lines that nobody knows": b"unknown: x\n",
}


@pytest.mark.parametrize("name", ODD_LINES)
def test_lines_within_one_event_take_work_in_proportion(name: str) -> None:
    def feed(count: int) -> None:
        decoder = Decoder(ResponsesDialect(), LIMIT)
        list(decoder.feed(b"data: ["))
        for _ in range(count):
            list(decoder.feed(ODD_LINES[name]))

    assert growth(lambda count: lambda: feed(count)) < MOST


@pytest.mark.parametrize("items", [1, 40])
def test_deltas_that_are_joined_take_work_in_proportion(items: int) -> None:
    """Also where they are of one item after another, and what they look like is learned anew."""

    def feed(count: int) -> None:
        decoder = Decoder(ResponsesDialect(), LIMIT, joins_deltas=True)
        for at in range(count):
            place = {"output_index": at % items, "item_id": f"i{at % items}"}
            delta = {"type": "response.output_text.delta", **place, "content_index": 0, "delta": "word "}
            list(decoder.feed(sse([delta] * 150)))

    feed(LARGE // 15)  # `re` keeps the patterns: whoever came first would count their making
    assert growth(lambda count: lambda: feed(count // 15)) < MOST


# The whole program -------------------------------------------------------------------------------------------------


def cpu_of(reply: bytes, *args: str) -> tuple[int, float]:
    """The status of a run, and the seconds of CPU that it took."""
    with serve(reply) as server:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = oastream("--base-url", server.url, "--retry", "0", *args, "hello", timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result.status, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


CALLS = [call("f", "{}", f"c{at}") for at in range(MANY)]
CHAT_CALLS = [{"id": f"c{at}", "function": {"name": "f", "arguments": "{}"}} for at in range(MANY)]
CHAT_ANSWER = {"index": 0, "message": {"tool_calls": CHAT_CALLS}, "finish_reason": "tool_calls"}
BODIES: dict[str, Callable[[], tuple[str, bytes]]] = {
    "Responses": lambda: ("responses", sse(responses_events(*CALLS))),
    "Responses, at the end alone": lambda: (
        "responses",
        sse([{"type": "response.completed", "response": response_object(output=CALLS)}]),
    ),
    "Responses, as JSON": lambda: ("responses", json.dumps(response_object(output=CALLS)).encode()),
    "Chat": lambda: ("chat", sse(chat_chunks(calls=[(f"c{at}", "f", "{}") for at in range(MANY)]), done=True)),
    "Chat, as JSON": lambda: ("chat", json.dumps({**chunk(None), "choices": [CHAT_ANSWER]}).encode()),
}


@pytest.mark.parametrize("name", BODIES)
def test_twenty_thousand_calls_take_little_time(name: str) -> None:
    api, body = BODIES[name]()
    status, seconds = cpu_of(http_response(body, content_type=""), "--api", api, "--format", "tools")
    assert status == 0
    assert seconds < CPU


PAGES = [b"<title>" * 149_000, b"<" * (1 << 20), b"x" * (1 << 20), b"[" * (1 << 20), b'{"error":' * 116_000]


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
@pytest.mark.parametrize("page", PAGES, ids=["titles", "tags", "words", "lists", "objects"])
def test_a_mebibyte_of_an_error_page_takes_little_time(page: bytes, status: str) -> None:
    _, seconds = cpu_of(http_response(page, status, "text/html"))
    assert seconds < CPU


@pytest.mark.parametrize("said", ["{", "z"])
def test_a_wrong_whole_that_is_repeated_behind_a_long_call_takes_little_time(said: str) -> None:
    begun: list[Event] = responses_events(call("f", json.dumps({"x": "y" * 3_000_000})), piece=4_000_000)[:4]
    done = {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": said}
    end = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    body = sse([*begun, *[done] * 1000, end])
    status, seconds = cpu_of(http_response(body, content_type="text/event-stream"), "--format", "tools")
    assert status == 0
    assert seconds < CPU


def test_a_large_json_answer_takes_little_time() -> None:
    """Read in pieces of 64 KiB at most, of which each must be looked at once."""
    body = json.dumps(response_object(output=[message("x" * (15 << 20))])).encode()
    assert cpu_of(http_response(body))[0] == 0
    decoder = Decoder(ResponsesDialect(), 16 << 20)
    began = time.process_time()
    for at in range(0, len(body), 4096):
        assert not list(decoder.feed(body[at : at + 4096]))
    assert list(decoder.close())
    assert time.process_time() - began < CPU


def test_a_page_title_takes_little_time() -> None:
    for page in PAGES:
        began = time.process_time()
        page_title(page)
        assert time.process_time() - began < CPU
