"""The data of an event, or a complete body, as JSON; and what to say of one that is something else.

In: bytes. Out: the value, or a `Failure` that shows what was received instead. Refuses to know what the value means,
except for errors, which servers also send as plain words or wrapped in a list.
"""

from __future__ import annotations

from typing import Any

from oastream.display import one_line
from oastream.events.api_error import event_error
from oastream.events.fields import Event
from oastream.exits import Failure, Outcome, failure_of
from oastream.lenient_json import parse_json

_DONE = b"[DONE]"
_BRACE = ord("{")


def is_done_marker(data: bytes) -> bool:
    """Whether the data of an event is `[DONE]`; some servers put blanks around it."""
    # The first byte decides for nearly all events, so that hardly any is copied by `strip`.
    return data[0] != _BRACE and data.strip().startswith(_DONE)


def parse_event(data: bytes, name: bytes = b"") -> tuple[Event, bytes | None]:
    """The payload of an event of the type `name`, and the server's own JSON of it, where that is it word for word.

    The JSON is on one line. Raises `Failure` malformed when it is not a JSON object; an event of type error may be
    plain words.
    """
    try:
        value = parse_json(data)
    except ValueError as error:
        if name == b"error":
            return _error_event(_as_text(data)), None
        raise malformed("an event is not JSON", data) from error
    if isinstance(value, dict):
        if b"\n" in data:  # only between tokens, where a space means the same
            data = data.replace(b"\n", b" ")
        return value, data
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and event_error(value[0]):
        return value[0], None  # Gemini wraps its errors in a list
    if name == b"error" and isinstance(value, str):
        return _error_event(value), None
    if name == b"error":
        return _error_event(_as_text(data)), None
    raise malformed("an event is not a JSON object", data)


def parse_document(data: bytes, name: str) -> Any:
    """A complete body as JSON; `name` is what it should be. Raises `Failure`: not_api for a page, else malformed."""
    try:
        return parse_json(data)
    except ValueError as error:
        if data.lstrip().startswith(b"<"):
            raise web_page(data) from error
        raise malformed(f"{name} is not JSON", data) from error


def is_complete_event(data: bytes) -> bool:
    """Whether the data of an event that no blank line closed is complete, and not just a beginning."""
    try:
        return is_done_marker(data) or isinstance(parse_json(data), dict)
    except ValueError:
        return False


def _error_event(message: str) -> Event:
    """An error that was sent as words, in the Responses API's shape."""
    return {"type": "error", "code": None, "message": message, "param": None}


def malformed(summary: str, data: bytes) -> Failure:
    """What was received is not JSON, or not the kind of JSON that it must be; its beginning is shown."""
    return failure_of(Outcome.MALFORMED, summary, one_line(_as_text(data), 80))


def web_page(data: bytes) -> Failure:
    """What was received is a page: a proxy's, a login, or the server's own front page."""
    return failure_of(Outcome.NOT_API, "the server sent a web page", page_title(data), "is the base URL right?")


def page_title(page: bytes) -> str:
    """The title of an HTML page, else the beginning of its text.

    By `find` and `partition` alone, which are linear: on 80 kB of `<title` repeated a regular expression took 14 s,
    deaf to deadlines and signals.
    """
    title = _find_title(page)
    if title is None:
        title = _without_tags(page)
    return one_line(_as_text(title), 80)


def _find_title(page: bytes) -> bytes | None:
    lower = page.lower()
    tag = lower.find(b"<title")
    if tag < 0:
        return None
    start = page.find(b">", tag) + 1
    end = lower.find(b"</title", start)
    if not start or end < 0:
        return None
    return page[start:end]


def _without_tags(page: bytes) -> bytes:
    first, *others = page.split(b"<")
    return b" ".join([first, *(other.partition(b">")[2] for other in others)])


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
