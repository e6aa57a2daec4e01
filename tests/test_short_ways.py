"""The fast ways through decoding are short cuts: they give what the long ways give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from oastream.events.chat import ChatTranslator
from oastream.events.chat_dialect import ChatDialect
from oastream.events.sse import Parser
from oastream.exits import Failure

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


class EveryChunk(ChatDialect):
    """Looks at each chunk."""

    knows_chunks = False


PLAIN = b'{"id":"c","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"D"},"finish_reason":null}]}'
RAW_TEXTS = [
    b"word",
    b"m",
    b"",
    b" ",
    b"\xc3\xa9",
    b"\xc3",
    b"\xa9",
    b'\\"',
    b"\\u00e9",
    b"\\ud83d",
    b"\\ude00",
    b"\\",
    b'"',
]
RAW_TEXTS += [b"\t", b"\x7f", b'","x":"', b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"\\n"]
RAW_CHANGES = [
    (b"null", b'"stop"'),
    (b'"index":0', b'"index":1'),
    (b'"index":0', b'"index":0,"native_finish_reason":"length"'),
    (b'"c"', b'"c","base_resp":{"status_code":1002}'),
    (b'"content"', b'"role":"assistant","content"'),
    (b'"content"', b'"reasoning_content"'),
    (b'{"content":"D"}', b'{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{}"}}]}'),
    (b"7", b"8"),
    (b"}]}", b"}]} "),
    (PLAIN, b"[DONE]"),
    (PLAIN, b'{"error":{"message":"m"}}'),
    (PLAIN, PLAIN[:-1]),
]
RAW_CHUNKS = some.tuples(
    some.sampled_from(RAW_TEXTS), some.one_of(some.none(), some.none(), some.none(), some.sampled_from(RAW_CHANGES))
)


def fed(dialect: ChatDialect, chunks: list[bytes]) -> list[Any]:
    """The events of each chunk, up to one that fails."""
    events: list[Any] = []
    try:
        for data in chunks:
            events.append((list(dialect.feed(b"", data)), dialect.is_complete, dialect.is_settled))
    except Failure as failed:
        events.append(failed.verdict)
    return [*events, list(dialect.close())]


@given(some.lists(RAW_CHUNKS, max_size=30), some.sampled_from([1, 2]))
def test_chunks_that_are_known_are_translated_as_all_chunks_are(
    changed: list[tuple[bytes, tuple[bytes, bytes] | None]], choices: int
) -> None:
    chunks = [PLAIN.replace(b"D", b"begun") for _ in range(20)]
    chunks += [PLAIN.replace(*(change or (b"", b""))).replace(b"D", text) for text, change in changed]
    assert fed(ChatDialect(choices), chunks) == fed(EveryChunk(choices), chunks)


def test_every_odd_chunk_behind_known_ones_is_translated_as_all_chunks_are() -> None:
    known = [PLAIN.replace(b"D", b"begun") for _ in range(20)]
    odd = [PLAIN.replace(b"D", text) for text in RAW_TEXTS] + [PLAIN.replace(*change) for change in RAW_CHANGES]
    for one in odd:
        for choices in (1, 2):
            chunks = [*known, one, *known]
            assert fed(ChatDialect(choices), chunks) == fed(EveryChunk(choices), chunks), one


@pytest.mark.parametrize("text", [b"m", b",", b":", b"content", b'":'])
def test_a_text_that_stands_elsewhere_in_its_chunk_too_is_not_learned_from_there(text: bytes) -> None:
    known = [PLAIN.replace(b"D", text) for _ in range(20)]
    other = PLAIN.replace(b"D", text).replace(b'"model":"m"', b'"model":"n"')
    assert fed(ChatDialect(), [*known, other]) == fed(EveryChunk(), [*known, other])


def test_a_known_chunk_is_not_parsed() -> None:
    """The guard of what this is for: what is parsed of forty are those before one is learned, and the two to learn."""
    parsed = []

    class Counting(ChatDialect):
        def read_chunk(self, data: bytes, kind: bytes) -> dict[str, Any]:
            parsed.append(data)
            return super().read_chunk(data, kind)

    fed(Counting(), [PLAIN.replace(b"D", b"word%d" % at) for at in range(40)])
    assert len(parsed) < 15
