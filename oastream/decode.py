"""A body's bytes → events of one vocabulary, the Responses API's, whichever API the server speaks.

In: bytes in pieces. Out: `(event, raw)` pairs: the event as a dict, and the server's own JSON when it is that event.
Finds out what the body is (an event stream, one JSON answer, HTML). Does no I/O; `Failure` is what is no answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from oastream import sse
from oastream.api_error import ApiError, event_error, read_error
from oastream.chat import Translator
from oastream.exits import Failure, Outcome, Verdict, failure
from oastream.text import one_line

Decoded = tuple[dict[str, Any], bytes | None]

_DONE = b"[DONE]"
_BRACE = ord("{")


def parse_json(data: bytes) -> Any:
    """JSON as any server may write it: bytes that are not UTF-8 become U+FFFD, lone surrogates stay for `text.Joiner`.

    Raises `ValueError` for what is not JSON; NaN and Infinity are not.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data.decode("utf-8", "replace"), parse_constant=_no_constant)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_event(data: bytes) -> dict[str, Any]:
    """The payload of an event. Raises `Failure` malformed when it is not a JSON object."""
    try:
        value = parse_json(data)
    except ValueError as error:
        raise _malformed("an event is not JSON", data) from error
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and "error" in value[0]:
        return value[0]  # Gemini wraps its errors in a list
    raise _malformed("an event is not a JSON object", data)


def parse_document(data: bytes, name: str) -> Any:
    """A whole body as JSON; `name` is what it should be. Raises `Failure`: not_api for a web page, else malformed."""
    try:
        return parse_json(data)
    except ValueError as error:
        if data.lstrip().startswith(b"<"):
            raise _web_page(data) from error
        raise _malformed(f"{name} is not JSON", data) from error


def _web_page(data: bytes) -> Failure:
    return failure(Outcome.NOT_API, "the server sent a web page", page_title(data), "is the base URL right?")


def _malformed(what: str, data: bytes) -> Failure:
    return failure(Outcome.MALFORMED, what, one_line(data.decode("utf-8", "replace"), 80))


class Decoder:
    """Decodes one body. `is_settled` says that the answer is complete and only trailing data may still come."""

    def __init__(self, dialect: Responses | Chat, max_event_bytes: int) -> None:
        self._dialect = dialect
        self._limit = max_event_bytes
        self._parser = sse.Parser(max_event_bytes)
        self._document: bytearray | None = bytearray()
        self._is_stream = False
        self.payloads = 0
        """Events that have come, `[DONE]` included."""

    @property
    def is_settled(self) -> bool:
        return self._dialect.is_settled

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole, so that nothing that goes wrong from now on counts."""
        return self._dialect.is_complete

    @property
    def comments(self) -> int:
        return self._parser.comments

    def feed(self, chunk: bytes) -> Iterator[Decoded]:
        """The events that `chunk` completes."""
        if not self._is_stream:
            chunk = self._sniffed(chunk)
        for kind, data in self._parser.feed(chunk) if chunk else ():
            if not data.isspace():
                self.payloads += 1
                yield from self._dialect.feed(kind, data)
        if self._parser.overflowed:
            if not self.is_complete:
                raise self._too_large()
            yield from self._dialect.close()

    def close(self, torn: bool = False) -> Iterator[Decoded]:
        """What the end of the body completes: an event without its blank line counts if it is whole.

        `torn` says that the body's framing wanted more: then a document that makes no sense is only a beginning.
        """
        if not self._is_stream and self._document:
            yield from self._whole_document(bytes(self._document), torn)
        for kind, data in self._parser.close():
            if _is_whole(data):
                self.payloads += 1
                yield from self._dialect.feed(kind, data)
        yield from self._dialect.close()

    def _sniffed(self, chunk: bytes) -> bytes:
        """Hold back a body until its first character tells what it is; returns what the event parser may have."""
        assert self._document is not None
        self._document += chunk
        head = self._document.removeprefix(b"\xef\xbb\xbf").lstrip()
        if not head or head.startswith((b"{", b"[", b"<")):
            if len(self._document) > self._limit:
                raise self._too_large()
            return b""
        self._is_stream = True
        held, self._document = bytes(self._document), None
        return held

    def _too_large(self) -> Failure:
        return failure(Outcome.MALFORMED, "an event is too large", f"over --max-event-bytes {self._limit}")

    def _whole_document(self, document: bytes, torn: bool) -> Iterator[Decoded]:
        """A body that is no event stream: a JSON answer or error, a page, or events behind a stray line."""
        document = document.removeprefix(b"\xef\xbb\xbf").strip()
        if not document:
            return
        try:
            value = parse_json(document)
        except ValueError:
            if not torn:
                yield from self._not_json(document)
            return
        self.payloads += 1
        yield from self._answer(value)

    def _not_json(self, document: bytes) -> Iterator[Decoded]:
        events = self._parser.feed(document + b"\n\n")
        if not events and document.startswith(b"<"):
            raise _web_page(document)
        if not events:
            raise _malformed("the answer is not JSON", document)
        for kind, data in events:
            self.payloads += 1
            yield from self._dialect.feed(kind, data)

    def _answer(self, value: Any) -> Iterator[Decoded]:
        error = event_error(value) if isinstance(value, dict) else read_error(value)
        if isinstance(value, dict) and value.get("object") == "response" and value.get("status") == "failed":
            error = None  # the response itself says so
        if error is not None:
            raise Failure(error_verdict(error))
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            yield from self._dialect.chat_document(len(value["choices"])).whole(value)
        elif isinstance(value, dict) and isinstance(value.get("output"), list):
            status = value.get("status")
            if status in ("queued", "in_progress"):
                raise failure(Outcome.INTERRUPTED, "the answer is not complete", f"the server calls it {status}")
            kind = status if status in ("incomplete", "failed") else "completed"
            yield {"type": f"response.{kind}", "response": value}, None
        else:
            raise failure(Outcome.NOT_API, "the server sent JSON that is not an answer", one_line(str(value), 80))


def error_verdict(error: ApiError, http_status: int | None = None, after_output: bool = False) -> Verdict:
    """The verdict of an error that a server reported."""
    outcome = Outcome.FAILED if after_output else error.outcome(http_status)
    why = error.message if error.param is None or error.param in error.message else f"{error.message} ({error.param})"
    status = http_status or error.status
    return Verdict(outcome, WHAT.get(outcome, "the server failed"), one_line(why), http_status=status, code=error.name)


WHAT = {
    Outcome.BAD_REQUEST: "bad request",
    Outcome.AUTH: "the key is not accepted",
    Outcome.FORBIDDEN: "not permitted",
    Outcome.NOT_FOUND: "not found",
    Outcome.QUOTA: "no credit left",
    Outcome.REJECTED: "the server rejects the request",
    Outcome.NOT_API: "no such API there",
    Outcome.RATE_LIMITED: "rate limited",
    Outcome.SERVER_ERROR: "the server failed",
    Outcome.FAILED: "the answer failed",
}
"""The first words of the message for what a server reports."""


def page_title(page: bytes) -> str:
    """What an HTML page calls itself, else the beginning of its text."""
    title = re.search(rb"<title[^>]*>(.*?)</title", page, re.IGNORECASE | re.DOTALL)
    text = title.group(1) if title else re.sub(rb"<[^>]*>", b" ", page)
    return one_line(text.decode("utf-8", "replace"), 80)


def is_done(data: bytes) -> bool:
    """Whether the data is `[DONE]`; some servers put blanks around it."""
    return data[0] != _BRACE and data.strip().startswith(_DONE)


def _is_whole(data: bytes) -> bool:
    try:
        return is_done(data) or isinstance(parse_json(data), dict)
    except ValueError:
        return False


class Responses:
    """The Responses API's events, as they are."""

    is_settled = False
    is_complete = False
    """The terminal event itself ends the reading."""

    def chat_document(self, choices: int) -> Chat:
        """What translates an answer of the other API, from a server that has only that."""
        return Chat(choices)

    def feed(self, kind: bytes, data: bytes) -> Sequence[Decoded]:
        if is_done(data):
            return ()  # Open Responses and OpenRouter end with it; it proves nothing
        event = parse_event(data)
        own = event.get("type")
        if type(own) is str and own.startswith("response."):
            return ((event, data),)
        named = kind.decode("utf-8", "replace")
        if event_error(event, named):
            event = {**event, "type": "error"}
        elif named not in ("", "message") or type(own) is not str:
            event = {**event, "type": named}
        return ((event, data),)

    def close(self) -> Sequence[Decoded]:
        return ()


class Chat:
    """Chat Completions chunks, translated. `asked` are the fields of a response that repeat the request."""

    def __init__(self, choices: int = 1, keep_text: bool = True, asked: dict[str, Any] | None = None) -> None:
        self._asked = asked
        self._translator = Translator(choices, keep_text, asked)
        self._ended = False

    @property
    def is_settled(self) -> bool:
        return self._translator.is_settled

    @property
    def is_complete(self) -> bool:
        return self._translator.is_complete

    def chat_document(self, choices: int) -> Chat:
        """What translates an answer that came in one piece."""
        return Chat(choices, asked=self._asked)

    def feed(self, kind: bytes, data: bytes) -> Sequence[Decoded]:
        """The events of one chunk. What is broken fails the answer only while it is not complete."""
        if is_done(data):
            return self.finish()
        try:
            chunk = parse_event(data)
            if not kind and (events := self._translator.go_on(chunk)) is not None:
                return _own(events)
            error = None if self.is_complete else event_error(chunk, kind.decode("utf-8", "replace"))
            if error is not None:
                self._ended = True
                return _own(self._translator.failed(_error_fields(error, chunk)))
            return self._translated(chunk)
        except Failure:
            if not self.is_complete:
                raise
            return self.finish()

    def whole(self, answer: dict[str, Any]) -> Sequence[Decoded]:
        """The events of an answer that came in one piece, which is complete whatever its finish_reason says."""
        return [*self._translated(answer), *self.finish()]

    def close(self) -> Sequence[Decoded]:
        return self.finish() if self.is_complete else ()

    def finish(self) -> Sequence[Decoded]:
        """The events that end the answer, once."""
        if self._ended:
            return ()
        self._ended = True
        return _own(self._translator.close())

    def _translated(self, chunk: dict[str, Any]) -> Sequence[Decoded]:
        try:
            return _own(self._translator.feed(chunk))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise failure(Outcome.MALFORMED, "a chunk has a field of the wrong type", error) from error


def _own(events: list[dict[str, Any]]) -> Sequence[Decoded]:
    return [(event, None) for event in events]


def _error_fields(error: ApiError, chunk: dict[str, Any]) -> dict[str, Any]:
    """The fields of the API's error event; `error` keeps what the server said."""
    said = chunk.get("error") or {
        k: v for k, v in chunk.items() if k in ("code", "message", "type", "detail", "status")
    }
    inner = said if isinstance(said, dict) else {"message": said}
    choices = chunk.get("choices")
    if not chunk.get("error") and isinstance(choices, list):
        inner = next((c["error"] for c in choices if isinstance(c, dict) and isinstance(c.get("error"), dict)), inner)
    return {"code": error.name, "message": error.message, "param": error.param, "error": inner}
