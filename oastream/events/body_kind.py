"""What the body of a reply is, by its beginning: an event stream, one JSON document, a page, or plain words.

In: bytes. Out: the kind. The Content-Type does not count: a body that parses as an event stream is one, whatever the
server calls it. Refuses to know what the body says, except that a recording must hold an answer at all.
"""

from __future__ import annotations

from oastream.events import sse
from oastream.events.api_error import event_error, read_error
from oastream.lenient_json import parse_json

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SHOWN_BYTES = 500
"""How much of a body's beginning is kept, to judge it once it has ended, and to show it."""
_FIELD_NAMES = (b"data", b"event", b"id", b"retry", b"")
"""What precedes the colon in a line of an event stream: nothing, in a comment."""


# The three kinds. No enum, whose creation takes 0.2 % of a short run.
UNKNOWN = "unknown"
"""Nothing but blanks, or part of a byte order mark: held back until more is known."""
DOCUMENT = "document"
"""JSON or a page: held back until the body ends."""
EVENTS = "events"
"""Anything else is read as events. Whether it is an event stream is asked only if no event is found in it."""


def kind_of_body(beginning: bytes) -> str:
    """The kind of a body with that beginning, byte order mark removed."""
    text = beginning.lstrip()
    if not text:
        return UNKNOWN
    return DOCUMENT if text.startswith((b"{", b"[", b"<")) else EVENTS


def is_event_stream(opening: bytes) -> bool:
    """Whether a body without any event is an event stream nevertheless: comments, an id, an event without data."""
    line = opening.replace(b"\r", b"\n").partition(b"\n")[0]
    name, colon, _ = line.partition(b":")
    is_whole_line = line != opening
    if colon or is_whole_line:
        return name in _FIELD_NAMES
    return any(field.startswith(name) for field in _FIELD_NAMES)


def is_answer(body: bytes) -> bool:
    """Whether a body is what the decoder takes from a server: an event stream, an answer, or an error as JSON."""
    text = body.removeprefix(BYTE_ORDER_MARK).lstrip()
    if not text.startswith((b"{", b"[")):
        return bool(text) and (is_event_stream(text[:SHOWN_BYTES]) or _has_events(text))
    try:
        value = parse_json(text)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return read_error(value) is not None
    return isinstance(value.get("choices"), list) or isinstance(value.get("output"), list) or bool(event_error(value))


def _has_events(text: bytes) -> bool:
    return bool(sse.Parser(len(text) + 1).feed(text + b"\n\n"))
