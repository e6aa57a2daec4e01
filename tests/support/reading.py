"""Reads a body with the parts of the program that do no I/O: bytes → events → reply and format.

In: the bytes of a body, a dialect, a format. Out: the outcome, and what was printed. For rules about what a stream
means; whether the program reads it so over a socket is for other tests to show.
"""

from __future__ import annotations

from oastream.events.decode import Chat, Decoder, Responses
from oastream.events.reply import Reply
from oastream.exits import Failure, Outcome
from oastream.output.formats import Sink, Tools

LIMIT = 1 << 20
"""Bytes of the largest event."""


def read(
    body: bytes,
    sink: Sink,
    dialect: Chat | Responses,
    limit: int | None = None,
    offered: frozenset[str] | None = None,
) -> tuple[Outcome, list[bytes]]:
    """The outcome of a body, and what the sink has printed after each event, and at the end."""
    decoder = Decoder(dialect, LIMIT)
    reply = Reply(limit, sink.prints_deltas, offered=offered)
    printed = []
    try:
        for event, raw in [*decoder.feed(body), *decoder.close()]:
            if not reply.ended:
                sink.event(event, raw, reply.feed(event), reply)
                printed.append(sink.take())
        verdict = reply.verdict(isinstance(sink, Tools))
        if verdict.answered:
            sink.complete(reply)
            printed.append(sink.take())
    except Failure as failed:
        return failed.verdict.outcome, printed
    return verdict.outcome, printed
