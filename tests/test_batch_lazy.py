"""Events that are kept raw until they are needed make the same answer as those that are looked at one by one."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.batch.lazy import KeptBytes
from oastream.batch.reading import Reader
from oastream.events.answer import Limits
from oastream.events.reply import Reply
from oastream.exits import Failure
from tests.support.reading import feed_pieces
from tests.support.streams import (
    Event,
    call,
    custom_call,
    message,
    reasoning,
    refusal,
    response_object,
    responses_events,
    sse,
)
from tests.test_batch_completion import STREAMS, recorded

EAGER, LAZY = Reader(Limits(), 1 << 24, is_lazy=False), Reader(Limits(), 1 << 24)


def outcome(reader: Reader, pieces: list[bytes], is_cut_off: bool = False) -> tuple[Any, ...]:
    """All that a batch writes of a reply which comes in these pieces."""
    reply = Reply(prints_deltas=False, keep_text=True)
    reading = reader.responses(0.0, reply, False)
    answer = reading.answer
    try:
        feed_pieces(answer, pieces, "it was cut" if is_cut_off else "")
        verdict = answer.verdict()
    except Failure as failed:
        verdict = failed.verdict
    if not verdict.has_answer:
        reading.catch_up()
    try:
        calls: Any = list(reply.calls())
    except Failure as failed:
        calls = failed.verdict
    return verdict, reply.text, reply.usage, reply.output_began, calls, json.loads(reading.body())


def same(pieces: list[bytes], is_cut_off: bool = False) -> None:
    assert outcome(LAZY, pieces, is_cut_off) == outcome(EAGER, pieces, is_cut_off)


def events_of(*items: Event, **more: Any) -> list[Event]:
    return responses_events(*items, **more)


WHOLE = events_of(reasoning("hm"), message("Hello, 世界"), call("f", '{"a":1}'), custom_call("g", "raw", "call_2"))
TEXT = events_of(message("Hello"))


def with_output(events: list[Event], output: list[Event]) -> list[Event]:
    """The same stream, with another output in its terminal event."""
    last = events[-1]
    return [*events[:-1], {**last, "response": {**last["response"], "output": output}}]


HAND_WRITTEN: dict[str, list[Event]] = {
    "everything": WHOLE,
    "text": TEXT,
    "refusal": events_of(refusal("no")),
    "nothing": events_of(),
    "nothing but reasoning": events_of(reasoning("hm")),
    "incomplete": events_of(message("x"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    "failed": events_of(message("x"), status="failed", error={"code": "server_error", "message": "oops"}),
    "no output at the end": with_output(TEXT, []),
    "an item missing at the end": with_output(WHOLE, WHOLE[-1]["response"]["output"][:1]),
    "an item only at the end": with_output(TEXT, [*TEXT[-1]["response"]["output"], call("f", "{}")]),
    "an error in the middle": [*TEXT[:5], {"type": "error", "code": "server_error", "message": "oops"}],
    "an error at the beginning": [{"type": "error", "code": "rate_limit_exceeded", "message": "slow"}],
    "no terminal event": TEXT[:-1],
    "no item events": [event for event in TEXT if "output_item" not in event["type"]],
    "deltas alone": [event for event in TEXT if event["type"].endswith((".delta", ".completed"))],
    "unfinished item": [event for event in TEXT if event["type"] != "response.output_item.done"],
    "vendor's events": [*TEXT[:3], {"type": "keepalive"}, {"type": "response.vendor.thing", "x": 1}, *TEXT[3:]],
    "another response": [*TEXT[:-1], {"type": "response.completed", "response": response_object()}],
}


@pytest.mark.parametrize("names", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_every_cut_of_a_stream_is_the_same_lazily(name: str, names: bool) -> None:
    stream = sse(HAND_WRITTEN[name], names=names)
    for at in range(0, len(stream), 1 if name == "refusal" else 11):  # of one stream every cut, of others enough
        same([stream[:at], stream[at:]] if at else [stream])
        if at % 7 == 0:
            same([stream[:at]] if at else [], is_cut_off=True)


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("size", [1, 7, 150, 400])
def test_pieces_of_any_size_are_the_same_lazily(size: int, newline: str) -> None:
    for events in HAND_WRITTEN.values():
        stream = sse(events, newline=newline)
        same([stream[at : at + size] for at in range(0, len(stream), size)])


ODD_BLOCKS = {
    "comment": b": still here\n\n",
    "byte order mark": b"\xef\xbb\xbf",
    "no name": b'data: {"type":"response.vendor.thing"}\n\n',
    "name alone": b"event: response.output_item.added\n\n",
    "data of two lines": b'event: response.vendor.thing\ndata: {"type":\ndata: "response.vendor.thing"}\n\n',
    "name behind the data": b'data: {"type":"response.vendor.thing"}\nevent: response.vendor.thing\n\n',
    "words of another event": b'event: response.vendor.thing\ndata: {"x":"event: response.output_item.done\\n",'
    b'"type":"response.vendor.thing"}\n\n',
    "another name first": b'event: response.vendor.thing\ndata: {"x":"response.vendor.thing","type":"error"}\n\n',
    "an item within a name": b"event: response.xevent: response.output_item.added\n"
    b'data: {"type":"response.xevent: response.output_item.added"}\n\n',
    "an id": b'id: 3\nevent: response.vendor.thing\ndata: {"type":"response.vendor.thing"}\n\n',
}


@pytest.mark.parametrize("name", ODD_BLOCKS)
def test_a_block_of_another_shape_among_the_events_is_read_the_same_lazily(name: str) -> None:
    for at in (0, 1, 4, len(TEXT) - 1):
        stream = sse(TEXT[:at]) + ODD_BLOCKS[name] + sse(TEXT[at:])
        same([stream])
        same([stream[at : at + 100] for at in range(0, len(stream), 100)])


def test_an_event_over_the_limit_is_the_same_lazily() -> None:
    events = events_of(message("Hello " * 100))
    readers = [Reader(Limits(), 400, is_lazy=is_lazy) for is_lazy in (True, False)]
    for size in (100, 300, 5000):
        stream = sse(events)
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        first, second = (outcome(reader, pieces) for reader in readers)
        assert first == second


def test_events_that_arrive_together_are_not_taken_apart() -> None:
    """The guard of what this is for: fewer calls than the stream has events."""
    stream = sse(events_of(message("x" * 300), piece=1))
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        outcome(LAZY, [stream])
    finally:
        sys.setprofile(None)
    assert 0 < calls < 600, "300 deltas with two calls each"


def test_an_event_under_a_wrong_name_is_looked_at() -> None:
    bad = b'event: response.output_text.delta\ndata: {"type":"error","code":"server_error","message":"oops"}\n\n'
    same([sse(TEXT[:4]) + bad + sse(TEXT[4:])])


@given(st.data())
def test_events_left_out_and_streams_cut_off_are_the_same_lazily(data: st.DataObject) -> None:
    events = list(data.draw(st.sampled_from([HAND_WRITTEN[name] for name in sorted(HAND_WRITTEN)])))
    for at in sorted(data.draw(st.sets(st.integers(0, len(events) - 1), max_size=3)), reverse=True):
        del events[at]
    same([sse(events[: data.draw(st.integers(0, len(events)))])])


def test_without_room_events_are_looked_at_as_they_come() -> None:
    room = KeptBytes(400)
    assert room.take(300)
    assert not room.take(101)
    room.give_back(300)
    assert room.take(400)


@pytest.mark.skipif(not STREAMS.is_dir(), reason=f"no recorded streams in {STREAMS}")
def test_recorded_streams_are_the_same_lazily() -> None:
    seen = 0
    for path, stream in recorded("responses"):
        for pieces in ([stream], [stream[:1000], stream[1000:]], [stream[: len(stream) // 2]]):
            assert outcome(LAZY, pieces) == outcome(EAGER, pieces), path
        seen += 1
    assert seen > 100
