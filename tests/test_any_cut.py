"""The same bytes, cut in any way and with any line ends, are the same answer; a lost end is never a success."""

from __future__ import annotations

import functools
import itertools
import json
import random
import re
from dataclasses import dataclass

import pytest

from oastream.output.formats import FORMATS
from tests.support.program import Result, oastream
from tests.support.streams import (
    call,
    chat_body,
    message,
    reasoning,
    refusal,
    responses_body,
)
from tests.support.wire import Framing, serve, sse_response

TEXT = 'Zürich: "naïve" \\ 北京 \U0001f600\u2028\t\r\nend'
ARGUMENTS = '{"city": "北京 \U0001f600"}'


@dataclass(frozen=True, slots=True)
class Stream:
    api: str
    body: bytes
    text: str
    status: int
    calls: int = 0

    def with_newline(self, newline: str) -> bytes:
        return self.body.replace(b"\n", newline.encode())


STREAMS = {
    "responses-text": Stream("responses", responses_body(reasoning("think"), message(TEXT), piece=5), TEXT, 0),
    "responses-calls": Stream(
        "responses",
        b"\xef\xbb\xbf: hi\n\n"
        + responses_body(message("Hm."), call("f", ARGUMENTS), call("g", "{}", "call_2"), piece=9),
        "Hm.",
        13,
        2,
    ),
    "responses-refusal": Stream("responses", responses_body(refusal(TEXT), piece=20), TEXT, 12),
    "chat-text": Stream("chat", chat_body(TEXT, reasoning="think", piece=5), TEXT, 0),
    "chat-calls": Stream(
        "chat",
        chat_body(TEXT, calls=[("call_1", "f", ARGUMENTS), ("call_2", "g", "{}")], finish="tool_calls", piece=9),
        TEXT,
        13,
        2,
    ),
}
FRAMINGS: list[Framing] = ["chunked", "length", "close"]


def run(
    stream: Stream,
    format: str,
    body: bytes,
    framing: Framing = "chunked",
    pieces: int | list[int] | None = None,
) -> Result:
    with serve(sse_response(body, framing, pieces)) as server:
        return oastream("--base-url", server.url, "--api", stream.api, "--retry", "0", "--format", format, "hi")


def steady(result: Result) -> tuple[int, bytes]:
    """Without what differs from run to run."""
    return result.status, re.sub(rb'("\w+_ms":)[0-9.]+', rb"\g<1>0", result.out)


@functools.cache
def whole(name: str, format: str) -> tuple[int, bytes]:
    stream = STREAMS[name]
    return steady(run(stream, format, stream.body))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_whole_stream_gives_its_answer(name: str, format: str) -> None:
    stream = STREAMS[name]
    status, out = whole(name, format)
    if format == "tools":
        assert status == (0 if stream.calls else stream.status or 17)
        assert len(out.splitlines()) == stream.calls
        return
    assert status == stream.status
    if format == "text":
        assert out.decode() == f"{stream.text}\n"
    elif format == "sse":
        assert out == stream.body
    elif format == "json":
        assert json.loads(out)["object"] == "response"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("format", FORMATS)
def test_single_bytes_are_the_same_answer(name: str, format: str, newline: str) -> None:
    stream = STREAMS[name]
    body = stream.with_newline(newline)
    framing = FRAMINGS[len(name + format + newline) % 3]
    result = steady(run(stream, format, body, framing, pieces=1))
    if format == "sse":
        assert result == (stream.status, body)
    else:
        assert result == whole(name, format)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("format", FORMATS)
def test_two_pieces_are_the_same_answer(name: str, format: str) -> None:
    stream = STREAMS[name]
    chance = random.Random(f"{name}-{format}")
    for newline, framing in zip(("\n", "\r\n", "\r"), FRAMINGS, strict=True):
        body = stream.with_newline(newline)
        offset = chance.randrange(1, len(body))
        result = steady(run(stream, format, body, framing, pieces=[offset]))
        expected = (stream.status, body) if format == "sse" else whole(name, format)
        assert result == expected, f"cut at {offset} of {framing} with {newline!r}"


# A body that ends too early


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader of the plainest kind makes of a body that may end anywhere."""

    events: int
    text: str
    terminal: bool


def read(stream: Stream, body: bytes) -> Reading:
    text, terminal, events = "", False, 0
    blocks = body.removeprefix(b"\xef\xbb\xbf").split(b"\n\n")
    for at, block in enumerate(blocks):
        data = b"\n".join(line[6:] for line in block.split(b"\n") if line.startswith(b"data: "))
        if not data or (at == len(blocks) - 1 and not is_whole(data)):
            continue
        events += 1
        if data == b"[DONE]":
            terminal = True
            continue
        event = json.loads(data)
        delta = event["choices"][0]["delta"] if event.get("choices") else event
        if stream.api == "chat":
            text += delta.get("content") or ""
            terminal = terminal or any(choice["finish_reason"] for choice in event["choices"])
        else:
            text += event["delta"] if event["type"] in ("response.output_text.delta", "response.refusal.delta") else ""
            terminal = terminal or event["type"] == "response.completed"
    return Reading(events, text, terminal)


def is_whole(data: bytes) -> bool:
    """Whether the data of an event that no blank line closes counts."""
    try:
        return data == b"[DONE]" or isinstance(json.loads(data), dict)
    except ValueError:
        return False


def offsets(name: str, count: int) -> list[int]:
    """Places to cut at: around some of the borders between events, and anywhere."""
    body = STREAMS[name].body
    chance = random.Random(name)
    borders = [match.end() for match in re.finditer(rb"\n\n", body)]
    near = [chance.choice(borders[-6:]) + by for by in (-2, -1, 0)] + [chance.choice(borders) - 1, borders[-1] - 3]
    return sorted({0, *near, *(chance.randrange(len(body)) for _ in range(count))} - {len(body)})


def cuts(count: int) -> list[tuple[str, int]]:
    return list(itertools.chain.from_iterable([(name, at) for at in offsets(name, count)] for name in STREAMS))


@pytest.mark.parametrize(("name", "offset"), cuts(10))
def test_a_body_that_ends_early_is_its_prefix_and_never_a_success(name: str, offset: int) -> None:
    stream = STREAMS[name]
    body = stream.body[:offset]
    seen = read(stream, body)
    result = run(stream, "text", body, FRAMINGS[offset % 2 * 2])
    if seen.terminal:
        assert (result.status, result.out.decode()) == (stream.status, f"{stream.text}\n")
    else:
        assert result.status == (40 if seen.events else 32)
        assert result.out.decode() == seen.text


@pytest.mark.parametrize(("name", "offset"), cuts(3)[::2])
def test_an_early_end_prints_whole_records_and_no_call(name: str, offset: int) -> None:
    stream = STREAMS[name]
    body = stream.body[:offset]
    seen = read(stream, body)
    records = run(stream, "ndjson", body)
    assert records.end["exit"] == records.status
    assert records.status == (stream.status if seen.terminal else 40 if seen.events else 32)
    tools = run(stream, "tools", body)
    if not seen.terminal:
        assert (tools.status, tools.out) == (records.status, b"")
