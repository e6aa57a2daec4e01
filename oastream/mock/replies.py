"""Replies: an answer or an error, a fault, and out comes what the server sends.

In: bodies and events, beside the `Fault` of the attempt. Out: a `Reply`, whose body is made while it is sent.
Knows nothing of URLs, of what is stored, or of sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from oastream.mock.errors import error_object
from oastream.mock.events import Event, EventSequence, Item, Json, json_text
from oastream.mock.exchange import Reply, merge_headers
from oastream.mock.faults import ErrorEvents, Fault, Framing, apply_faults, body_length, resolve_half

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
_LOOKS_LIKE_EVENTS = re.compile(r"data:|event:|:|error:")


def json_reply(body: Json, status: int = 200) -> Reply:
    """An object that no fault touches: what is listed, counted or deleted, and errors."""
    return plain_reply(status, json_text(body), Fault())


def plain_reply(status: int, body: str, fault: Fault) -> Reply:
    """A reply that is no answer: an error, a page, a list."""
    head = merge_headers({"Content-Type": _guess_content_type(body)}, fault.headers)
    return _one_body(status, head, body, fault._replace(error=None, malformed=None))


def early_reply(fault: Fault) -> Reply | None:
    """The reply of a fault that gives no answer at all; None where there shall be one."""
    if fault.raw is not None:
        return Reply(raw=fault.raw.encode(), cut=fault.cut, delay=fault.delay)
    if fault.status is None and fault.body is None:
        return None
    status = fault.status or 200
    if fault.body is not None:
        return plain_reply(status, fault.body, fault)
    return plain_reply(status, json_text({"error": _error_of(fault, status)}), fault)


def object_reply(body: Json, fault: Fault) -> Reply:
    """The answer as one JSON object. What happens to events needs another meaning here, as there are none."""
    head = merge_headers({"Content-Type": JSON}, fault.headers)
    if fault.error is not None:  # an error event has no place in it, and becomes a status
        error = json_text({"error": _error_of(fault, 500)})
        return _one_body(500, head, error, fault._replace(error=None))
    if fault.malformed is not None:  # whichever event it was: the object is broken
        fault = fault._replace(malformed=0)
    if fault.endless:  # a model that never stops never finishes the object
        fault = fault._replace(stall_after=0)
    return _one_body(200, head, json_text(body), fault)


def stream_reply(sequence: EventSequence, items: Iterator[Item], fault: Fault, error_events: ErrorEvents) -> Reply:
    """The answer as events. `items` are those of the sequence, with pauses, as far as they are still to be sent."""
    head = merge_headers({"Content-Type": EVENT_STREAM, "Cache-Control": "no-cache"}, fault.headers)
    fault = resolve_half(fault, sequence.events)
    return _reply(200, head, sequence, items, fault, fault.framing or Framing.CHUNKED, error_events)


def error_in_events(fault: Fault) -> Json:
    """The error that a stream reports; a code is always there, as clients look for one."""
    code = fault.code or "server_error"
    message = fault.message or "The server had an error."
    return _error_of(fault._replace(code=code, message=message), 500)


def _error_of(fault: Fault, status: int) -> Json:
    """The error object of a status, with the words that the script gives."""
    given = {"type": fault.type, "code": fault.code}
    message = fault.message or f"The server answers with status {status}."
    return error_object(status, message, **{key: value for key, value in given.items() if value is not None})


def _guess_content_type(body: str) -> str:
    """What a server would call such a body: a script gives the text alone."""
    first = body.lstrip()[:1]
    if first in ("{", "["):
        return JSON
    if first == "<":
        return "text/html; charset=utf-8"
    if _LOOKS_LIKE_EVENTS.match(body):
        return EVENT_STREAM
    return "text/plain; charset=utf-8"


def _one_body(status: int, headers: Mapping[str, str], body: str, fault: Fault) -> Reply:
    """A body that is no stream goes through the same faults, as one event without a line around it."""
    sequence = EventSequence((Event(body, field=""),))
    fault = resolve_half(fault, ())
    framing = fault.framing or Framing.LENGTH
    return _reply(status, headers, sequence, sequence.events, fault, framing, lambda number: [])


def _reply(
    status: int,
    headers: Mapping[str, str],
    sequence: EventSequence,
    items: Iterable[Item],
    fault: Fault,
    framing: Framing,
    error_events: ErrorEvents,
) -> Reply:
    length = 0
    if framing is Framing.LENGTH:
        length = body_length(sequence, fault, error_events)
    wire = apply_faults(items, fault, error_events)
    return Reply(status, headers, wire, framing, length, fault.delay, cut=fault.cut)
