"""Deltas that are read together, many as one event, make the same answer as those that are read one by one."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from oastream.apis import api_named
from oastream.events.answer import Answer, Limits
from oastream.events.decode import Decoder
from oastream.events.reply import Reply
from oastream.exits import Failure
from oastream.output.formats import (
    EagerToolsFormat,
    Format,
    JsonFormat,
    NdjsonFormat,
    SseFormat,
    TextFormat,
    ToolsFormat,
)
from tests.support.streams import call, chat_body, message, responses_body

LIMIT = 1 << 20
ENOUGH = 160
"""Events after which a decoder knows what the others will look like."""


class Reading:
    """What comes of a stream, read in one of the two ways."""

    def __init__(self, api: str, output_format: Format, joins_deltas: bool, limit: int = LIMIT) -> None:
        dialect = api_named(api).new_dialect(1, True, None)
        self.format = output_format
        self.reply = Reply(None, output_format.prints_deltas, keep_text=True)
        self.answer = Answer(Decoder(dialect, limit, joins_deltas), self.reply, Limits(), 0.0)
        self.events = 0

    def read(self, pieces: list[bytes]) -> tuple[Any, ...]:
        tools_wanted = isinstance(self.format, ToolsFormat)
        printed = []
        try:
            for piece in pieces:
                printed.append(self._deliver(self.answer.feed(piece)))
                self.answer.heard(1.0)
                if self.answer.is_done:
                    break
            else:
                printed.append(self._deliver(self.answer.end("")))
            verdict = self.answer.verdict(tools_wanted)
            if verdict.has_answer:
                self.format.complete(self.reply)
        except Failure as failed:
            verdict = failed.verdict
        printed.append(self.format.take())
        return verdict, printed, self.reply.text, self.reply.usage, self.answer.phase

    def _deliver(self, events: Any) -> bytes:
        for event, raw, text in events:
            self.events += 1
            self.format.add_event(event, raw, text, self.reply)
        return self.format.take()


def compare(api: str, output_format: type[Format], pieces: list[bytes], limit: int = LIMIT) -> tuple[Reading, Reading]:
    together = Reading(api, output_format(False), joins_deltas=True, limit=limit)
    one_by_one = Reading(api, output_format(False), joins_deltas=False, limit=limit)
    assert together.read(pieces) == one_by_one.read(pieces)
    return together, one_by_one


# Events of one shape -----------------------------------------------------------------------------------------------

_TEXT = (
    b'event: response.%b.delta\ndata: {"type":"response.%b.delta","sequence_number":7,"item_id":"i","output_index":0,'
    b'"content_index":0,"delta":"D","logprobs":[],"obfuscation":"pad"}\n\n'
)
_CHUNK = b'data: {"id":"c","created": 7,"model":"m","choices": [{"index":0,"delta":%b,"finish_reason":null}]}\n\n'
_FRAGMENT = b'{"tool_calls":[{"index":0,"function":{"arguments":"D"}}]}'

SHAPES: dict[str, tuple[str, bytes]] = {
    "text": ("responses", _TEXT % (b"output_text", b"output_text")),
    "refusal": ("responses", _TEXT % (b"refusal", b"refusal")),
    "arguments": ("responses", _TEXT % (b"function_call_arguments", b"function_call_arguments")),
    "input": ("responses", _TEXT % (b"custom_tool_call_input", b"custom_tool_call_input")),
    "reasoning": ("responses", _TEXT % (b"reasoning_text", b"reasoning_text")),
    "text without an index": (
        "responses",
        (_TEXT % (b"output_text", b"output_text")).replace(b'"output_index":0,', b""),
    ),
    "chunks of text": ("chat", _CHUNK % b'{"content":"D"}'),
    "chunks with a role": ("chat", _CHUNK % b'{"role":"assistant","content":"D","refusal":null}'),
    "chunks of reasoning": ("chat", _CHUNK % b'{"content":null,"reasoning_content":"D"}'),
    "chunks of a refusal": ("chat", _CHUNK % b'{"refusal":"D"}'),
    "chunks of a call": ("chat", _CHUNK % _FRAGMENT),
    "chunks with another field of the name": ("chat", _CHUNK % b'{"\\u0063ontent":"D"},"x":{"content":"D"}'),
    "chunks that repeat the name": ("chat", _CHUNK % _FRAGMENT.replace(b'{"arg', b'{"name":"f","arg')),
    "chunks without an index": ("chat", _CHUNK % b'{"tool_calls":[{"function":{"name":"f","arguments":"D"}}]}'),
}
NOT_JOINED = {name for name in SHAPES if name.endswith((" without an index", " of the name", " repeat the name"))}
DELTAS = [
    b"word ", b"", b" ", b"\xc3\xa9", b"\xc3", b"\xa9", b'\\"', b"\\\\", b"\\u00e9", b"\\ud83d", b"\\ude00", b"\\u00",
    b"e9", b"\\x", b"\\", b'"', b'","delta":"', b"\t", b"\x7f", b"{", b"\\n", b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80",
]  # fmt: skip
CHANGES: list[tuple[bytes, bytes]] = [
    (b"7", b"0"),
    (b"7", b"-7"),
    (b"7", b"07"),
    (b"7", b"7.5"),
    (b"7", b"7" * 30),
    (b"7", b'"7"'),
    (b"7", b"null"),
    (b"pad", b""),
    (b"pad", b"\\u0041"),
    (b"pad", b"\xff"),
    (b"pad", b'x","delta":"E'),
    (b"pad", b'x","type":"error'),
    (b"pad", b'x" "'),
    (b'"i"', b'"j"'),
    (b'index":0', b'index":1'),
    (b'"content_index":0', b'"content_index":1'),
    (b'"content_index":0', b'"content_index":false'),
    (b'"logprobs":[]', b'"logprobs":[{"token":"x"}]'),
    (b'"type":"response.', b'"type":"response.x.'),
    (b'"id":"c"', b'"error":{"message":"m"}'),
    (b'"id":"c"', b'"usage":{"prompt_tokens":1}'),
    (b'finish_reason":null', b'finish_reason":"stop"'),
    (b'"delta":"D"', b'"delta":"D","delta":"E"'),
    (b'"delta":"D"', b'"delta":null'),
    (b"data: ", b"data:"),
    (b"data: ", b": still here\ndata: "),
    (b"data: ", b"id: 5\ndata: "),
    (b"data: {", b"data: {\ndata: "),
    (b"event: ", b"event:"),
    (b"\n", b"\r\n"),
    (b"\n\n", b"\n\n\n"),
    (b"\n\n", b"\n"),
    (b"data: ", b"data: [DONE]\n\ndata: "),
]
ORDINARY = some.tuples(some.sampled_from(DELTAS), some.none())
CHANGED = some.tuples(some.sampled_from(DELTAS), some.sampled_from(CHANGES))
EVENTS = some.lists(some.one_of(ORDINARY, ORDINARY, ORDINARY, CHANGED), max_size=60)
FORMATS = [TextFormat, NdjsonFormat, ToolsFormat, EagerToolsFormat, JsonFormat, SseFormat]


def with_delta(event: bytes, delta: bytes) -> bytes:
    return event.replace(b'"D"', b'"%b"' % delta)


def changed(event: bytes, delta: bytes, change: tuple[bytes, bytes] | None) -> bytes:
    if change is not None:
        event = event.replace(*change)
    return with_delta(event, delta)


def formats_for(api: str) -> list[type[Format]]:
    """Those that let deltas be joined: translated events are printed one by one."""
    return [each for each in FORMATS if api == "responses" or not each.prints_events]


@given(some.data())
@settings(deadline=None, max_examples=80)
def test_what_follows_many_deltas_is_the_same_answer_when_they_are_joined(data: some.DataObject) -> None:
    api, event = SHAPES[data.draw(some.sampled_from(sorted(SHAPES)))]
    newline = data.draw(some.sampled_from([b"\n", b"\n", b"\r\n"]))
    begun = with_delta(event, b"begun ") * ENOUGH
    rest = b"".join(changed(event, *each) for each in data.draw(EVENTS))
    cuts = sorted(data.draw(some.sets(some.integers(0, len(rest)), max_size=3)))
    pieces = [rest[at:to] for at, to in zip([0, *cuts], [*cuts, len(rest)], strict=True)]
    output_format = data.draw(some.sampled_from(formats_for(api)))
    compare(api, output_format, [piece.replace(b"\n", newline) for piece in [begun, *pieces] if piece])


@pytest.mark.parametrize("name", SHAPES)
def test_every_odd_event_among_others_is_the_same_answer(name: str) -> None:
    """Each change of an event, and each two deltas that might be another text when they are joined."""
    api, event = SHAPES[name]
    ordinary = with_delta(event, b"word ")
    odd = [changed(event, b"odd ", change) for change in CHANGES]
    odd += [with_delta(event, one) + with_delta(event, other) for one, other in itertools.pairwise(DELTAS)]
    for each in odd:
        compare(api, formats_for(api)[1], [ordinary * ENOUGH, ordinary * 5 + each + ordinary * 5])


@pytest.mark.parametrize("name", SHAPES)
def test_deltas_that_arrive_together_are_read_as_one(name: str) -> None:
    """The guard of what this is for. Some are not joined: which item they belong to, or which field counts, varies."""
    api, event = SHAPES[name]
    rest = b"".join(with_delta(event, b"word%d " % at) for at in range(300))
    together, one_by_one = compare(api, TextFormat, [event * ENOUGH, rest])
    joined = 0 if name in NOT_JOINED else 299
    assert together.events == one_by_one.events - joined


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("size", [5000, 400])
def test_whole_streams_are_the_same_in_pieces_of_any_size(size: int, output_format: type[Format]) -> None:
    words = "".join(f"wörd{at} 😀" for at in range(200))
    arguments = json.dumps({"x": words})
    streams = [
        ("responses", responses_body(message(words), call("f", arguments), message(words), piece=3)),
        ("chat", chat_body(words, reasoning=words, calls=[("c", "f", arguments), ("d", "g", arguments)], piece=3)),
    ]
    for api, body in streams:
        if output_format in formats_for(api):
            compare(api, output_format, [body[at : at + size] for at in range(0, len(body), size)])


def test_an_event_over_the_limit_is_the_same_failure() -> None:
    api, event = SHAPES["text"]
    limit = len(event) + 40
    large = with_delta(event, b"x" * 100)
    for pieces in ([event * ENOUGH, event * 9 + large + event], [event * ENOUGH, event * 9 + large[:150], large[150:]]):
        compare(api, TextFormat, pieces, limit)


@pytest.mark.parametrize("ending", [b"\r\n\n", b"\r \n\n", b"\r\r", b"\n\r\n", b"\r\n\r\n"])
def test_no_carriage_return_gets_into_the_events_that_are_printed(ending: bytes) -> None:
    """A server may end its lines in one way and its events in another."""
    api, event = SHAPES["text"]
    event = event.removesuffix(b"\n\n") + ending
    compare(api, NdjsonFormat, [event * ENOUGH, event * 9])
