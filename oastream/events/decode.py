"""A body's bytes → events of one vocabulary, the Responses API's, whichever API the server speaks.

In: bytes in pieces. Out: `(event, raw)` pairs: the event as a dict, and the server's own JSON when it is that event.
Finds out what the body is (an event stream, one JSON answer, HTML). Does no I/O; `Failure` is what is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from oastream.display import one_line
from oastream.events import sse
from oastream.events.api_error import ApiError, event_error, read_error
from oastream.events.chat import ChatTranslator
from oastream.exits import TRANSIENT, Failure, Outcome, Verdict, failure_of
from oastream.lenient_json import parse_json

DecodedEvent = tuple[dict[str, Any], bytes | None]

_DONE = b"[DONE]"
_BRACE = ord("{")
_BOM = b"\xef\xbb\xbf"
_SHOWN = 500
"""So many bytes of what is no answer are kept to be shown."""
_FIELDS = (b"data", b"event", b"id", b"retry", b"")
"""What stands before the colon in a line of an event stream; nothing in a comment."""


def parse_event(data: bytes, name: str = "") -> tuple[dict[str, Any], bytes | None]:
    """The payload of an event, and the server's own JSON of it if it is that.

    Raises `Failure` malformed when it is not a JSON object; an event that is named error may be plain words.
    """
    try:
        value = parse_json(data)
    except ValueError as error:
        if name == "error":
            return _error_event(data.decode("utf-8", "replace")), None
        raise _malformed("an event is not JSON", data) from error
    if isinstance(value, dict):
        return value, data
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and event_error(value[0]):
        return value[0], None  # Gemini wraps its errors in a list
    if name == "error":
        return _error_event(value if isinstance(value, str) else data.decode("utf-8", "replace")), None
    raise _malformed("an event is not a JSON object", data)


def _error_event(words: str) -> dict[str, Any]:
    return {"type": "error", "code": None, "message": words, "param": None}


def _as_error(event: dict[str, Any]) -> dict[str, Any]:
    """An event that is an error by its name or its fields, as the API has it: its own type is the error's."""
    kind = event.get("type")
    code = kind if isinstance(kind, str) and kind != "error" and not event.get("code") else event.get("code")
    return {**event, "type": "error", "code": code}


def parse_document(data: bytes, name: str) -> Any:
    """A whole body as JSON; `name` is what it should be. Raises `Failure`: not_api for a web page, else malformed."""
    try:
        return parse_json(data)
    except ValueError as error:
        if data.lstrip().startswith(b"<"):
            raise _web_page(data) from error
        raise _malformed(f"{name} is not JSON", data) from error


def _web_page(data: bytes) -> Failure:
    return failure_of(Outcome.NOT_API, "the server sent a web page", page_title(data), "is the base URL right?")


def _malformed(what: str, data: bytes) -> Failure:
    return failure_of(Outcome.MALFORMED, what, one_line(data.decode("utf-8", "replace"), 80))


class Decoder:
    """Decodes one body. `is_settled` says that the answer is complete and only trailing data may still come."""

    def __init__(self, dialect: ResponsesDialect | ChatDialect, max_event_bytes: int) -> None:
        self._dialect = dialect
        self._limit = max_event_bytes
        self._parser = sse.Parser(max_event_bytes)
        self._start = bytearray()  # blanks, and what may be a byte order mark
        self._document: bytearray | None = None
        self._is_stream = False
        self._opening = b""  # of a stream, while no event has come of it
        self.payloads = 0
        """Events that have come, `[DONE]` included."""
        self.is_unfinished = False
        """Whether the body was a response that is not complete yet, as one JSON object."""

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

    @property
    def hint(self) -> str:
        """What may be wrong when the body ends without an answer."""
        return self._dialect.hint

    def feed(self, chunk: bytes) -> Iterator[DecodedEvent]:
        """The events that `chunk` completes."""
        if not self._is_stream:
            chunk = self._hold_until_known(chunk)
        decode = self._dialect.feed
        for kind, data in self._parser.feed(chunk) if chunk else ():
            if not data.isspace():
                self.payloads += 1
                for decoded in decode(kind, data):  # noqa: UP028 - `yield from` takes 130 instructions more an event
                    yield decoded
        if self._parser.overflowed:
            if not self.is_complete:
                raise self._too_large()
            yield from self._dialect.close()

    def close(self, truncated: bool = False) -> Iterator[DecodedEvent]:
        """What the end of the body completes: an event without its blank line counts if it is whole.

        `truncated` says that the body's framing wanted more: then a document that makes no sense is only a beginning.
        """
        if self._document is not None:
            document, self._document = bytes(self._document), None
            yield from self._whole_document(document, truncated)
        for kind, data in self._parser.close():
            if _is_whole(data):
                self.payloads += 1
                yield from self._dialect.feed(kind, data)
        if self._opening and not self.payloads and not truncated and not is_event_stream(self._opening):
            words = one_line(self._opening.decode("utf-8", "replace"), 80)
            raise failure_of(Outcome.NOT_API, "the server sent neither events nor JSON", words)
        yield from self._dialect.close()

    def _hold_until_known(self, chunk: bytes) -> bytes:
        """Hold back a body until its first character tells what it is; returns what the event parser may have."""
        if self._document is not None:
            self._document += chunk
            if len(self._document) > self._limit:
                raise self._too_large()
            return b""
        self._start += chunk
        if len(self._start) < len(_BOM) and _BOM.startswith(self._start):
            return b""
        begun = bytes(self._start).removeprefix(_BOM).lstrip(b"\r\n")  # blank lines say nothing, however many come
        self._start = bytearray(begun)
        text = begun.lstrip()
        if not text:
            return b""
        if text.startswith((b"{", b"[", b"<")):
            self._document = bytearray(text)
            return b""
        self._is_stream = True
        self._opening = text[:_SHOWN]
        return begun

    def _too_large(self) -> Failure:
        return failure_of(Outcome.MALFORMED, "an event is too large", f"over --max-event-bytes {self._limit}")

    def _whole_document(self, document: bytes, truncated: bool) -> Iterator[DecodedEvent]:
        """A body that is no event stream: a JSON answer or error, a page, or events behind a stray line."""
        try:
            value = parse_json(document)
        except ValueError:
            if not truncated:
                yield from self._not_json(document)
            return
        self.payloads += 1
        yield from self._answer(value, document)

    def _not_json(self, document: bytes) -> Iterator[DecodedEvent]:
        events = self._parser.feed(document + b"\n\n")
        if not events and document.startswith(b"<"):
            raise _web_page(document)
        if not events:
            raise _malformed("the answer is not JSON", document)
        for kind, data in events:
            self.payloads += 1
            yield from self._dialect.feed(kind, data)

    def _answer(self, value: Any, document: bytes) -> Iterator[DecodedEvent]:
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
                self.is_unfinished = True
                yield {"type": f"response.{status}", "response": value}, None
                raise failure_of(Outcome.INTERRUPTED, "the answer is not complete", f"the server calls it {status}")
            kind = status if status in ("incomplete", "failed") else "completed"
            yield {"type": f"response.{kind}", "response": value}, None
        else:
            shown = one_line(document[:_SHOWN].decode("utf-8", "replace"), 80)
            raise failure_of(Outcome.NOT_API, "the server sent JSON that is not an answer", shown)


def error_verdict(error: ApiError, http_status: int | None = None, after_output: bool = False) -> Verdict:
    """The verdict of an error that a server reported."""
    outcome = error.outcome(http_status)
    may_retry = False if after_output and outcome not in TRANSIENT else None  # no credit stays no credit
    outcome = Outcome.FAILED if after_output else outcome
    why = error.message if error.param is None or error.param in error.message else f"{error.message} ({error.param})"
    status = http_status or error.status
    what = WHAT.get(outcome, "the server failed")
    return Verdict(outcome, what, one_line(why), http_status=status, code=error.name, should_retry=may_retry)


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
    """What an HTML page calls itself, else the beginning of its text. In time that grows with its length alone."""
    lower = page.lower()
    start = page.find(b">", lower.find(b"<title")) + 1 if b"<title" in lower else 0
    end = lower.find(b"</title", start) if start else -1
    text = page[start:end] if end >= 0 else _without_tags(page)
    return one_line(text.decode("utf-8", "replace"), 80)


def _without_tags(page: bytes) -> bytes:
    first, *others = page.split(b"<")
    return b" ".join([first, *(other.partition(b">")[2] for other in others)])


def is_done(data: bytes) -> bool:
    """Whether the data is `[DONE]`; some servers put blanks around it."""
    return data[0] != _BRACE and data.strip().startswith(_DONE)


def is_event_stream(opening: bytes) -> bool:
    """Whether a body that brought no event is an event stream all the same: comments, an id, an event without data."""
    line = opening.replace(b"\r", b"\n").partition(b"\n")[0]
    name, colon, _ = line.partition(b":")
    return name in _FIELDS if colon or line != opening else any(field.startswith(name) for field in _FIELDS)


def is_answer(body: bytes) -> bool:
    """Whether a body is what the decoder takes from a server: an event stream, an answer, or an error as JSON."""
    text = body.removeprefix(_BOM).lstrip()
    if not text.startswith((b"{", b"[")):
        return bool(text) and (is_event_stream(text[:_SHOWN]) or bool(sse.Parser(len(text) + 1).feed(text + b"\n\n")))
    try:
        value = parse_json(text)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return read_error(value) is not None
    return isinstance(value.get("choices"), list) or isinstance(value.get("output"), list) or bool(event_error(value))


def _is_whole(data: bytes) -> bool:
    try:
        return is_done(data) or isinstance(parse_json(data), dict)
    except ValueError:
        return False


OWN_RECORDS = "oastream:"
"""What the types of our own records begin with. A server that sends one could forge the end of the run."""


class ResponsesDialect:
    """The Responses API's events, as they are."""

    is_settled = False
    is_complete = False
    """The terminal event itself ends the reading."""
    hint = ""

    def chat_document(self, choices: int) -> ChatDialect:
        """What translates an answer of the other API, from a server that has only that."""
        return ChatDialect(choices)

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent]:
        if is_done(data):
            return ()  # Open Responses and OpenRouter end with it; it proves nothing
        name = kind.decode("utf-8", "replace") if kind else ""
        event, raw = parse_event(data, name)
        own = event.get("type")
        if type(own) is str and own.startswith("response."):
            return ((event, raw),)
        if event_error(event, name):
            event = _as_error(event)
            raw = None if type(own) is str and own.startswith(OWN_RECORDS) else raw
        elif name not in ("", "message") or type(own) is not str:
            event = {**event, "type": name}
        if event.get("object") == "chat.completion.chunk":
            self.hint = "these are chunks of Chat Completions; try --api chat"
        if event["type"].startswith(OWN_RECORDS):
            return ()
        return ((event, raw),)

    def close(self) -> Sequence[DecodedEvent]:
        return ()


class ChatDialect:
    """Chat Completions chunks, translated. `asked` are the fields of a response that repeat the request."""

    hint = ""

    def __init__(self, choices: int = 1, keep_text: bool = True, asked: dict[str, Any] | None = None) -> None:
        self._asked = asked
        self._translator = ChatTranslator(choices, keep_text, asked)
        self._ended = False

    @property
    def is_settled(self) -> bool:
        return self._translator.is_settled

    @property
    def is_complete(self) -> bool:
        return self._translator.is_complete

    def chat_document(self, choices: int) -> ChatDialect:
        """What translates an answer that came in one piece."""
        return ChatDialect(choices, asked=self._asked)

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent]:
        """The events of one chunk. What is broken fails the answer only while it is not complete."""
        if is_done(data):
            return self.finish()
        try:
            name = kind.decode("utf-8", "replace") if kind else ""
            chunk, _ = parse_event(data, name)
            if not kind and (events := self._translator.text_only_events(chunk)) is not None:
                return _without_raw(events)
            error = None if self.is_complete else event_error(chunk, name)
            if error is not None:
                self._ended = True
                return _without_raw(self._translator.fail(_error_fields(error, chunk)))
            return self._translated(chunk)
        except Failure:
            if not self.is_complete:
                raise
            return self.finish()

    def whole(self, answer: dict[str, Any]) -> Sequence[DecodedEvent]:
        """The events of an answer that came in one piece, which is complete whatever its finish_reason says."""
        return [*self._translated(answer), *self.finish()]

    def close(self) -> Sequence[DecodedEvent]:
        return self.finish() if self.is_complete else ()

    def finish(self) -> Sequence[DecodedEvent]:
        """The events that end the answer, once."""
        if self._ended:
            return ()
        self._ended = True
        return _without_raw(self._translator.close())

    def _translated(self, chunk: dict[str, Any]) -> Sequence[DecodedEvent]:
        try:
            return _without_raw(self._translator.feed(chunk))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise failure_of(Outcome.MALFORMED, "a chunk has a field of the wrong type", error) from error


def _without_raw(events: list[dict[str, Any]]) -> Sequence[DecodedEvent]:
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
    inner = inner or {"message": error.message, "code": error.code, "status": error.status}
    return {"code": error.name, "message": error.message, "param": error.param, "error": inner}
