"""Every place to cut: the same bytes in any two pieces are the same answer, and a body that ends anywhere is a prefix.

Pieces are fed to the parts of the program that do no I/O, for every offset; ends go over a socket, to the forked
program, for every offset of the smallest streams. A sample of both, with the program from its start, is in
`test_any_cut`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from oastream.events.answer import Answer, Limits
from oastream.events.chat_dialect import ChatDialect
from oastream.events.decode import DecodedEvent, Decoder
from oastream.events.reply import Reply
from oastream.events.responses_dialect import ResponsesDialect
from oastream.exits import Failure, Outcome
from oastream.output.formats import FORMATS
from tests.support import forked
from tests.support.streams import Event, sse
from tests.support.wire import Framing, Step, chunk, drop, head, rst, send, serve
from tests.test_any_cut import STREAMS, Stream, read

LIMIT = 1 << 20
STRIDE = 11
"""Where a step costs too much to be taken at every offset; prime, so that it meets every part of an event."""
Ending = tuple[Outcome, bytes]


def decoder(api: str) -> Decoder:
    return Decoder(ChatDialect() if api == "chat" else ResponsesDialect(), LIMIT)


def decoded(api: str, *pieces: bytes) -> list[DecodedEvent]:
    made = decoder(api)
    events = [event for piece in pieces for event in made.feed(piece)]
    return [*events, *made.close()]


def answered(api: str, format: str, *pieces: bytes) -> Ending:
    """How the pieces of a body end, and what a format prints of them."""
    output_format = FORMATS[format](False)
    answer = Answer(decoder(api), Reply(None, output_format.prints_deltas, output_format.assembles), Limits(), 0.0)
    out = []
    for piece in (*pieces, None):
        if piece is not None:
            output_format.add_chunk(piece)
        if not answer.is_done:
            for event, raw, text in answer.end() if piece is None else answer.feed(piece):
                output_format.add_event(event, raw, text, answer.reply)
            answer.heard(0.0)
        out.append(output_format.take())
    verdict = answer.verdict(format == "tools")
    if verdict.has_answer:
        try:
            output_format.complete(answer.reply)
        except Failure as failed:
            verdict = failed.verdict
        out.append(output_format.take())
    return verdict.outcome, b"".join(out)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("name", STREAMS)
def test_any_two_pieces_are_the_same_events(name: str, newline: str) -> None:
    stream = STREAMS[name]
    body = stream.with_newline(newline)
    whole = decoded(stream.api, body)
    for offset in range(len(body) + 1):
        assert decoded(stream.api, body[:offset], body[offset:]) == whole, f"cut at {offset}"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", STREAMS)
def test_two_pieces_are_the_same_answer(name: str, format: str) -> None:
    stream = STREAMS[name]
    whole = answered(stream.api, format, stream.body)
    for offset in range(len(stream.body) % STRIDE, len(stream.body) + 1, STRIDE):
        pieces = stream.body[:offset], stream.body[offset:]
        assert answered(stream.api, format, *pieces) == whole, f"cut at {offset}"


@pytest.mark.parametrize("name", STREAMS)
def test_a_body_that_ends_anywhere_is_a_prefix(name: str) -> None:
    stream = STREAMS[name]
    whole = {format: answered(stream.api, format, stream.body) for format in FORMATS}
    assert whole["text"][1].decode() == f"{stream.text}\n"
    for offset in range(len(stream.body)):
        body = stream.body[:offset]
        seen = read(stream, body)
        outcome, text = answered(stream.api, "text", body)
        if seen.terminal:
            assert (outcome, text) == whole["text"], f"cut at {offset}"
        else:
            expected = Outcome.INTERRUPTED if seen.events else Outcome.UNREACHABLE
            assert (outcome, text.decode()) == (expected, seen.text), f"cut at {offset}"
        if offset % STRIDE == 0 or body.endswith(b"}"):
            others = {format: answered(stream.api, format, body) for format in ("ndjson", "tools", "json", "sse")}
            check_others(others, whole, body, seen.terminal)


def check_others(cut: dict[str, Ending], whole: dict[str, Ending], body: bytes, terminal: bool) -> None:
    """Formats that print records: whole ones, in order, and no call or response that is not complete."""
    assert cut["sse"][1] == body
    if terminal:
        assert cut["tools"] == whole["tools"]
        assert cut["json"][0] is whole["json"][0]
        return
    assert len({outcome for outcome, _ in cut.values()}) == 1
    assert whole["ndjson"][1].startswith(cut["ndjson"][1])
    assert cut["tools"][1] == cut["json"][1] == b""


# Over a socket


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ends, and after every how many bytes that is tried."""

    framing: Framing
    how: Step
    every: int = 1


ENDS = {
    "fin": End("close", drop),
    "last-chunk": End("chunked", send(b"0\r\n\r\n"), every=7),
    "no-last-chunk": End("chunked", drop),
    "short-length": End("length", drop, every=7),
    "rst": End("chunked", rst, every=3),
}


def delta(text: str) -> Event:
    return {"type": "response.output_text.delta", "delta": text}


SMALL = {
    "responses": Stream(
        "responses",
        sse([{"type": "response.created"}, delta("Zü"), delta("北\n"), {"type": "response.completed"}], names=False),
        "Zü北\n",
        0,
    ),
    "chat": Stream(
        "chat",
        sse(
            [
                {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": end}]}
                for text, end in (("Zü", None), ("北\n", None), ("", "stop"))
            ],
            done=True,
        ),
        "Zü北\n",
        0,
    ),
}


@pytest.mark.parametrize("ending", ENDS)
@pytest.mark.parametrize("name", SMALL)
def test_a_connection_that_ends_anywhere_never_prints_a_wrong_byte(name: str, ending: str) -> None:
    stream, end = SMALL[name], ENDS[ending]
    offsets = range(0, len(stream.body) + 1, end.every)
    with serve(*(cut_at(stream.body, offset, end) for offset in offsets)) as server:
        for offset in offsets:
            seen = read(stream, stream.body[:offset])
            result = forked.oastream("--base-url", server.url, "--api", stream.api, "--retry", "0", "hi")
            expected = 0 if seen.terminal else 40 if seen.events else 32
            assert (result.status, result.out.decode()) == (expected, seen.text), f"cut at {offset}: {result}"
            assert (result.err == "") == (expected == 0)
    assert len(server.requests) == len(offsets)


def cut_at(body: bytes, offset: int, end: End) -> list[Step]:
    data = body[:offset]
    framed = chunk(data) if end.framing == "chunked" and data else data
    return [send(head(end.framing, len(body) + 1) + framed), end.how]
