"""Reads a body with the parts of the program that do no I/O: bytes → events → reply and format.

In: the bytes of a body, a dialect, a format. Out: the outcome, and what was printed. For rules about what a stream
means; whether the program reads it so over a socket is for other tests to show.
"""

from __future__ import annotations

from collections.abc import Iterable

from oastream.events.answer import Answer
from oastream.events.decode import Decoder, Dialect
from oastream.events.reply import Reply
from oastream.exits import Failure, Outcome
from oastream.output.formats import Format, ToolsFormat

LIMIT = 1 << 20
"""Bytes of the largest event."""


def feed_pieces(answer: Answer, pieces: Iterable[bytes], why_cut: str = "") -> None:
    """Give an answer a body in these pieces, until it is done or the body is at its end. Raises `Failure`."""
    for piece in pieces:
        for _ in answer.feed(piece):
            pass
        answer.heard(1.0)
        if answer.is_done:
            return
    for _ in answer.end(why_cut):
        pass
    answer.heard(1.0)


def read_body(
    body: bytes,
    output_format: Format,
    dialect: Dialect,
    limit: int | None = None,
    offered: frozenset[str] | None = None,
) -> tuple[Outcome, list[bytes]]:
    """The outcome of a body, and what the format has printed after each event, and at the end."""
    decoder = Decoder(dialect, LIMIT)
    reply = Reply(limit, output_format.prints_deltas, offered=offered)
    printed = []
    try:
        for event, raw in [*decoder.feed(body), *decoder.close()]:
            if not reply.has_ended:
                output_format.add_event(event, raw, reply.feed(event), reply)
                printed.append(output_format.take())
        verdict = reply.verdict(isinstance(output_format, ToolsFormat))
        if verdict.has_answer:
            output_format.complete(reply)
            printed.append(output_format.take())
    except Failure as failed:
        return failed.verdict.outcome, printed
    return verdict.outcome, printed
