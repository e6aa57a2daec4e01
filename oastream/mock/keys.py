"""The keys of an attempt: how the value of each is read, and what it does.

In: keys and values that a user wrote. Out: the fields of a `Fault`, or a ValueError of one clear line.
A new key is a field of `faults.Fault`, a line here, and the stage in `faults` that does it. Help and man page show the
keys in the order of the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from oastream.mock.errors import ErrorShape
from oastream.mock.events import CutKind
from oastream.mock.faults import AttemptKind, BackgroundReply, Framing, Numbering
from oastream.mock.values import (
    check_names,
    member_of,
    parse_count,
    parse_end,
    parse_flag,
    parse_headers,
    parse_interval,
    parse_place,
    parse_places,
    parse_reply,
    parse_seconds,
    parse_status,
    parse_text,
)


class Key(NamedTuple):
    """A key of an attempt: how its value is read, and what it does."""

    parse: Callable[[object], object]
    help: str


KEYS: dict[str, Key] = {
    # Which attempt, what is said, how fast.
    "on": Key(member_of(AttemptKind), "stream | poll | cancel: which requests this applies to (stream)"),
    "end": Key(parse_end, "how the answer ends, like --end"),
    "reply": Key(parse_reply, "what the answer says, like --reply"),
    "pace": Key(parse_seconds, "seconds between events"),
    "delay": Key(parse_seconds, "seconds before the head of the reply (inf: it never comes)"),
    # Another reply than the answer.
    "status": Key(parse_status, "HTTP status of a reply without an answer, with `body` or an error in OpenAI's words"),
    "headers": Key(parse_headers, "headers of the reply, replacing the usual ones: Name: value (repeatable)"),
    "body": Key(parse_text, "the reply's body, verbatim, or @FILE"),
    "raw": Key(parse_text, "text or @FILE sent instead of any HTTP, then the end (empty: closes without a reply)"),
    # Silence, keep-alive comments, single bytes.
    "stall_after": Key(parse_place, "go silent after this many events"),
    "stall": Key(parse_seconds, "for this many seconds (inf)"),
    "comments": Key(parse_interval, "seconds between `: keep-alive` comments, in every pause of the body"),
    "drip": Key(parse_seconds, "seconds between single bytes, from `stall_after` on (0)"),
    # The connection's end.
    "cut_events": Key(parse_place, "end the connection after this many events"),
    "cut_bytes": Key(parse_count, "end the connection after this many bytes of the body"),
    "cut": Key(
        member_of(CutKind),
        "how: fin (the body ends properly), drop (FIN without the last chunk), rst, chunk (FIN inside a chunk)",
    ),
    "framing": Key(member_of(Framing), "how the end of the body is signalled: chunked, length, close"),
    "keep_open": Key(parse_flag, "do not end the body after its last event"),
    # Wrong events.
    "duplicate": Key(parse_places, "numbers of events to send twice: 3 or 3+5"),
    "skip": Key(parse_places, "numbers of events to leave out"),
    "reorder": Key(parse_places, "numbers of events to send after the one that follows them"),
    "malformed": Key(parse_place, "number of an event whose data is broken JSON"),
    "huge": Key(parse_count, "bytes of data in the first delta, by padding"),
    "sequence": Key(member_of(Numbering), "none (no sequence numbers) or constant (all 0)"),
    # An error event, or the words of an error body.
    "error": Key(
        member_of(ErrorShape),
        "an error event, then the end: nested ({error: {...}}), flat, string ({error: text}), event (event: error),"
        " field (error: line), choice (Chat: in a choice), failed (Responses: response.failed)",
    ),
    "after": Key(parse_place, "after this many events (0)"),
    "code": Key(parse_text, "the error's code, in an event or in the body of a `status`"),
    "type": Key(parse_text, "the error's type"),
    "message": Key(parse_text, "the error's message"),
    # Wrong ends of the stream.
    "no_done": Key(parse_flag, "no [DONE] (Chat)"),
    "no_finish": Key(parse_flag, "no terminal event (Chat: no chunk with a finish_reason)"),
    "endless": Key(parse_flag, "repeat the text forever"),
    # What becomes of a background response.
    "replay": Key(parse_flag, "false: a background response of this attempt can be polled, but not streamed again"),
    "background": Key(
        member_of(BackgroundReply),
        "queued (a request for a background response gets one JSON object whose status is queued, to be polled, even"
        " if it asks for a stream), ignored (it is answered as if it had not asked for the background)",
    ),
}


def read_value(key: str, value: object, where: str) -> Any:
    """A value by its key's parser; an error names the place, the key and the value."""
    return parse_named(KEYS[key].parse, value, f"{where}{key}")


def parse_named(parse: Callable[[object], object], value: object, name: str) -> Any:
    """A value by any parser; an error begins with its name, and says what the value is not."""
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{name}: {_quote(value)} is not {error}") from None


def read_fields(table: Mapping[str, object], where: str) -> dict[str, Any]:
    """The fields of a fault: every key of a table with its value."""
    check_names(table, KEYS, f"in {where.rstrip(': ')}")
    return {key: read_value(key, value, where) for key, value in table.items()}


def _quote(value: object) -> str:
    """The value as a message shows it: on one line, and not a whole file."""
    text = value
    if not isinstance(text, str):
        text = json.dumps(text, default=str)  # as it stands in TOML, more or less; a date becomes text
    text = text.replace("\n", " ")
    if len(text) > 40:
        text = text[:37] + "..."
    return repr(text)
