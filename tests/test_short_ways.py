"""The fast ways through decoding are short cuts: they give what the long ways give."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from oastream.events.chat import ChatTranslator
from oastream.events.sse import Parser

LIMIT = 40
LINES = [
    b"data: a",
    b"data:b",
    b"data:  c",
    b"data",
    b"data: ",
    b"data:",
    b"event: e",
    b"event:e",
    b"event: ",
    b"event",
    b": comment",
    b"id: 1",
    b"retry: 5",
    b"unknown: x",
    b'error: {"message":"m"}',
    b'{"error":{"message":"m"}}',
    b"data: " + b"long" * 12,
    b"",
    b"",
    b"",
]


def by_the_standard(body: bytes) -> list[tuple[bytes, bytes]]:
    """WHATWG HTML 9.2.6 line by line, with what `sse` says it adds to it; stops at an event over the limit."""
    events: list[tuple[bytes, bytes]] = []
    kind, data = b"", list[bytes]()
    for line in body.split(b"\n"):
        if not line:
            joined = b"\n".join(data)
            if len(joined) > LIMIT:
                return events
            if joined:
                events.append((kind, joined))
            kind, data = b"", []
        elif line.startswith((b'{"error"', b'{"object":"error"')):
            kind, data = b"error", [*data, line]
        else:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"error":
                kind, data = b"error", [*data, value]
            elif name == b"event":
                kind = value
    return events


@given(some.lists(some.sampled_from(LINES), max_size=24))
def test_events_are_those_of_the_standard(lines: list[bytes]) -> None:
    body = b"\n".join([*lines, b"", b""])
    parser = Parser(LIMIT)
    assert parser.feed(body) == by_the_standard(body)


@given(some.lists(some.sampled_from(LINES), max_size=24), some.integers(1, 20))
def test_events_do_not_depend_on_the_pieces(lines: list[bytes], size: int) -> None:
    body = b"\n".join([*lines, b"", b""])
    parser = Parser(LIMIT)
    events: list[tuple[bytes, bytes]] = []
    for at in range(0, len(body), size):
        events += parser.feed(body[at : at + size])
        if parser.has_overflowed:
            break
    assert events == by_the_standard(body)


def test_nothing_follows_an_event_that_was_too_large() -> None:
    parser = Parser(LIMIT)
    assert parser.feed(b"data: long") == []
    assert parser.feed(b"long" * LIMIT + b"\n\ndata: after\n\n") == []
    assert parser.has_overflowed


TEXTS = ["word", "", "é", "\ud83d", "\ude00", None]
DELTAS = some.one_of(
    some.fixed_dictionaries({"content": some.sampled_from(TEXTS)}),
    some.fixed_dictionaries({"role": some.just("assistant"), "content": some.sampled_from(TEXTS)}),
    some.fixed_dictionaries({"reasoning_content": some.just("think"), "content": some.sampled_from(TEXTS)}),
    some.fixed_dictionaries({"refusal": some.just("no")}),
    some.fixed_dictionaries({"content": some.just([{"type": "text", "text": "part"}])}),
    some.just({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
    some.just({}),
)
CHOICES = some.fixed_dictionaries(
    {"delta": DELTAS},
    optional={
        "index": some.sampled_from([0, 1, None]),
        "finish_reason": some.sampled_from([None, "", "stop"]),
        "logprobs": some.sampled_from([None, {"content": [{"token": "w"}]}]),
    },
)
CHUNKS = some.fixed_dictionaries(
    {"choices": some.lists(CHOICES, max_size=2)},
    optional={
        "id": some.sampled_from(["", "c1"]),
        "model": some.sampled_from(["", "m"]),
        "created": some.just(1),
        "usage": some.sampled_from([None, {"prompt_tokens": 1, "completion_tokens": 2}]),
        "x_groq": some.just({"usage": {"prompt_tokens": 3}}),
    },
)
NAMED = {"id": "c1", "model": "m", "created": 1, "choices": [{"index": 0, "delta": {"content": "first"}}]}


@given(some.lists(CHUNKS, max_size=12), some.booleans())
def test_chunks_of_text_are_translated_as_all_chunks_are(chunks: list[dict[str, Any]], named: bool) -> None:
    chunks = [NAMED, *chunks] if named else chunks
    short, long = ChatTranslator(), ChatTranslator()
    for chunk in chunks:
        events = short.text_only_events(chunk)
        assert (short.feed(chunk) if events is None else events) == long.feed(chunk)
    assert short.close() == long.close()
