"""Which reply a request gets.

In: a `Request` that was read, a `Plan`. Out: a `Reply`, whose body is made while it is sent. Holds what the server
remembers: how many attempts there were, background jobs, finished responses. Knows nothing of sockets.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, unquote

from oastream.mock import chat, responses
from oastream.mock.answer import Answer, Turn, answer_to
from oastream.mock.background import Job
from oastream.mock.checks import BadRequest, check_chat, check_input, check_responses
from oastream.mock.faults import Failing, Fault, bent, body_length, failed, settled
from oastream.mock.frames import Frame, Item, Json, Tape, Wire, json_text
from oastream.mock.script import Plan

REMEMBERED = 1000
"""Responses that can still be fetched; older ones are forgotten."""
EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. Header names are in lower case; `body` is the parsed JSON, or the text if it is none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: head, then the wire's items. `length` is the Content-Length where the framing is `length`.

    With `raw`, these bytes are sent instead of any HTTP, then the connection ends by `cut`.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wire: Iterable[Wire] = ()
    framing: str = "length"
    length: int = 0
    delay: float = 0.0
    raw: bytes | None = None
    cut: str = "fin"


@dataclass(frozen=True, slots=True)
class _Kept:
    """A stored response, and what it was asked for."""

    turn: Turn
    response: Job | Json


class _Refused(Exception):
    """The request gets an error; its arguments are the status and the error object."""

    def __init__(self, status: int, message: str, **fields: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.error = _error_object(status, message, **fields)


def _error_object(status: int, message: str, **fields: str | None) -> Json:
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    kind = "requests" if status == 429 else kind
    return {"message": message, "type": kind, "param": None, "code": None, **fields}


class Routes:
    """The server's memory and its choice of replies. `reply` may be called from several threads."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._replies = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def reply(self, request: Request) -> Reply:
        """The reply to a request."""
        number = self._next_number()
        try:
            reply = self._routed(request, number)
        except BadRequest as bad:
            error = _error_object(400, str(bad), param=bad.param, code=bad.code)
            reply = _plain(400, json_text({"error": error}), Fault())
        except _Refused as refused:
            reply = _plain(refused.status, json_text({"error": refused.error}), Fault())
        return replace(reply, headers={**_usual_headers(number), **reply.headers})

    def _routed(self, request: Request, number: int) -> Reply:
        path, _, query = request.path.partition("?")
        for method, pattern, route in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == request.method:
                return route(self, request, parse_qs(query), *map(unquote, match.groups()), number)
        known = any(re.fullmatch(pattern, path) for _, pattern, _ in _ROUTES)
        raise _not_allowed(request.method, path) if known else _no_such_url(request.method, path)

    # --- the answers

    def _responses(self, request: Request, query: Query, number: int) -> Reply:
        return self._answer(responses, check_responses, request, number)

    def _chat(self, request: Request, query: Query, number: int) -> Reply:
        return self._answer(chat, check_chat, request, number)

    def _answer(self, api: ModuleType, check: Callable[[Any], Json], request: Request, number: int) -> Reply:
        fault = self._next_attempt("stream")
        if early := _early(fault):
            return early
        body = check(request.body)
        if fault.background == "ignored":
            body = {**body, "background": False}
        if api is responses:
            self._check_previous(body)
        turn = Turn(body, answer_to(body, fault.reply, fault.end), number, int(time.time()))
        tape = Tape(tuple(api.frames(turn)), fault.endless)
        if api is responses and body.get("background"):
            return self._background(turn, tape, fault)
        if api is responses and body.get("store", True):
            self._keep(turn, responses.whole(turn))
        if body.get("stream"):
            return _stream(tape, tape.play(fault.pace), fault, _failing(api, turn, fault))
        return _whole(json_text(api.whole(turn)), fault)

    def _background(self, turn: Turn, tape: Tape, fault: Fault) -> Reply:
        """Starts a job. Its answer's error is part of it; the other faults are those of this connection."""
        streamed = bool(turn.body.get("stream")) and fault.background != "queued"
        tape, final, fault = _job_of(turn, tape, fault)
        job = Job(turn, tape, final, fault.pace, streamed and fault.replay, self._clock(), self._clock)
        self._keep(turn, job)
        if streamed:
            return _stream(tape, job.follow(-1), fault, _failing(responses, turn, fault))
        return _whole(json_text(responses.shell(turn, "queued")), fault)

    # --- what was answered before

    def _fetch(self, request: Request, query: Query, ident: str, number: int) -> Reply:
        if query.get("stream", ["false"])[0].lower() in ("true", "1"):
            return self._resume(query, ident)
        fault = self._next_attempt("poll")
        kept = self._find(ident)
        return _early(fault) or _whole(json_text(kept.response() if isinstance(kept, Job) else kept), fault)

    def _resume(self, query: Query, ident: str) -> Reply:
        fault = self._next_attempt("stream")
        if early := _early(fault):
            return early
        job = self._find(ident)
        if not isinstance(job, Job) or not job.replayable:
            raise _Refused(400, "This response cannot be streamed: it was not created with background and stream.")
        after = _starting_after(query)
        rest = Tape(job.tape.frames[after + 1 :])
        return _stream(rest, job.follow(after), fault, _failing(responses, job.turn, fault))

    def _cancel(self, request: Request, query: Query, ident: str, number: int) -> Reply:
        fault = self._next_attempt("cancel")
        if early := _early(fault):
            return early
        job = self._find(ident)
        if not isinstance(job, Job):
            raise _Refused(400, "Cannot cancel a synchronous response.")
        job.cancel()
        return _whole(json_text(job.response()), fault)

    def _delete(self, request: Request, query: Query, ident: str, number: int) -> Reply:
        self._find(ident)
        with self._lock:
            self._kept.pop(ident, None)
        return _plain(200, json_text({"id": ident, "object": "response", "deleted": True}), Fault())

    def _input_items(self, request: Request, query: Query, ident: str, number: int) -> Reply:
        self._find(ident)
        items = responses.input_items(self._kept[ident].turn)
        if query.get("order", ["desc"])[0] != "asc":
            items.reverse()
        ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
        return _plain(200, json_text({"object": "list", "data": items, "has_more": False, **ends}), Fault())

    def _input_tokens(self, request: Request, query: Query, number: int) -> Reply:
        turn = Turn(check_input(request.body), Answer(), number, int(time.time()))
        return _plain(200, json_text(responses.input_tokens(turn)), Fault())

    def _models(self, request: Request, query: Query, number: int) -> Reply:
        return _plain(200, json_text({"object": "list", "data": [_model("mock")]}), Fault())

    def _one_model(self, request: Request, query: Query, name: str, number: int) -> Reply:
        """Any name will do, as in a request."""
        return _plain(200, json_text(_model(name)), Fault())

    # --- memory

    def _check_previous(self, body: Json) -> None:
        ident = body.get("previous_response_id")
        if ident is not None and ident not in self._kept:
            why = f"Previous response with id '{ident}' not found."
            raise BadRequest(why, "previous_response_id", "previous_response_not_found")

    def _next_number(self) -> int:
        with self._lock:
            self._replies += 1
            return self._replies

    def _next_attempt(self, on: str) -> Fault:
        with self._lock:
            number = self._attempts.get(on, 0)
            self._attempts[on] = number + 1
        return self._plan.attempt(on, number)

    def _keep(self, turn: Turn, response: Job | Json) -> None:
        with self._lock:
            self._kept[turn.ident("resp_")] = _Kept(turn, response)
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)

    def _find(self, ident: str) -> Job | Json:
        with self._lock:
            kept = self._kept.get(ident)
        if kept is None:
            raise _Refused(404, f"Response with id '{ident}' not found.")
        return kept.response


Query = dict[str, list[str]]
_Route = Callable[..., Reply]

_ROUTES: tuple[tuple[str, str, _Route], ...] = (
    ("POST", r"(?:/v1)?/responses", Routes._responses),
    ("POST", r"(?:/v1)?/chat/completions", Routes._chat),
    ("GET", r"(?:/v1)?/models", Routes._models),
    ("GET", r"(?:/v1)?/models/([^/]+(?:/[^/]+)*)", Routes._one_model),
    ("POST", r"(?:/v1)?/responses/input_tokens", Routes._input_tokens),
    ("GET", r"(?:/v1)?/responses/([^/]+)", Routes._fetch),
    ("DELETE", r"(?:/v1)?/responses/([^/]+)", Routes._delete),
    ("GET", r"(?:/v1)?/responses/([^/]+)/input_items", Routes._input_items),
    ("POST", r"(?:/v1)?/responses/([^/]+)/cancel", Routes._cancel),
)


# --- refusals, in OpenAI's words


def _starting_after(query: Query) -> int:
    value = query.get("starting_after", ["-1"])[0]
    if value != "-1" and not (value.isascii() and value.isdigit()):
        raise _Refused(400, "Invalid type for 'starting_after': an integer.", param="starting_after")
    return int(value)


def _not_allowed(method: str, path: str) -> _Refused:
    return _Refused(405, f"Not allowed to {method} on {path}.", code="method_not_supported")


def _no_such_url(method: str, path: str) -> _Refused:
    return _Refused(404, f"Invalid URL ({method} {path})", code="unknown_url")


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "oastream-mock"}


# --- replies


def _usual_headers(number: int) -> dict[str, str]:
    return {
        "x-request-id": f"req_{number:032x}",
        "openai-processing-ms": "1",
        "openai-version": "2020-10-01",
        "openai-organization": "oastream-mock",
    }


def _early(fault: Fault) -> Reply | None:
    """The reply of a fault that gives no answer at all."""
    if fault.raw is not None:
        return Reply(raw=fault.raw.encode(), cut=fault.cut, delay=fault.delay)
    if fault.status is None and fault.body is None:
        return None
    status = fault.status or 200
    return _plain(status, json_text({"error": _error_of(fault, status)}) if fault.body is None else fault.body, fault)


def _error_of(fault: Fault, status: int) -> Json:
    given = {"type": fault.type, "code": fault.code}
    message = fault.message or f"The server answers with status {status}."
    return _error_object(status, message, **{key: value for key, value in given.items() if value is not None})


def _failing(api: ModuleType, turn: Turn, fault: Fault) -> Failing:
    error = _event_error(fault)

    def frames(number: int) -> list[Frame]:
        events: list[Frame] = api.failure(turn, error, fault.error, number)
        return events

    return frames


def _event_error(fault: Fault) -> Json:
    words = replace(fault, code=fault.code or "server_error", message=fault.message or "The server had an error.")
    return _error_of(words, 500)


def _job_of(turn: Turn, tape: Tape, fault: Fault) -> tuple[Tape, Json, Fault]:
    """The events of a job, its final response, and the faults that are left for the connection."""
    if fault.error is None:
        return tape, responses.whole(turn), fault
    fault = settled(fault, tape.frames)
    frames = failed(tape.frames, fault.after, _failing(responses, turn, fault))
    tape = Tape(tuple(frame for frame in frames if isinstance(frame, Frame)))
    return tape, responses.failed(turn, _event_error(fault)), replace(fault, error=None)


def _plain(status: int, body: str, fault: Fault) -> Reply:
    """A reply that is no answer: an error, a page, a list."""
    head = {"Content-Type": _content_type(body), **fault.headers}
    return _body(status, head, body, replace(fault, error=None, malformed=None))


def _content_type(body: str) -> str:
    start = body.lstrip()[:1]
    if start in ("{", "["):
        return JSON
    if start == "<":
        return "text/html; charset=utf-8"
    return EVENT_STREAM if re.match(r"data:|event:|:|error:", body) else "text/plain; charset=utf-8"


def _whole(body: str, fault: Fault) -> Reply:
    """The answer as one JSON object. An error event has no place in it and becomes a status."""
    if fault.error is not None:
        error = json_text({"error": _error_of(fault, 500)})
        return _body(500, {"Content-Type": JSON, **fault.headers}, error, replace(fault, error=None))
    if fault.malformed is not None:
        fault = replace(fault, malformed=0)
    if fault.endless:
        fault = replace(fault, stall_after=0)
    return _body(200, {"Content-Type": JSON, **fault.headers}, body, fault)


def _body(status: int, headers: dict[str, str], body: str, fault: Fault) -> Reply:
    tape = Tape((Frame(body, field=""),))
    fault = replace(settled(fault, ()), framing=fault.framing or "length")
    return _sent(status, headers, tape, tape.frames, fault, lambda number: [])


def _stream(tape: Tape, items: Iterator[Item], fault: Fault, failing: Failing) -> Reply:
    headers = {"Content-Type": EVENT_STREAM, "Cache-Control": "no-cache", **fault.headers}
    fault = replace(settled(fault, tape.frames), framing=fault.framing or "chunked")
    return _sent(200, headers, tape, items, fault, failing)


def _sent(
    status: int,
    headers: dict[str, str],
    tape: Tape,
    items: Iterable[Item],
    fault: Fault,
    failing: Failing,
) -> Reply:
    length = body_length(tape, fault, failing) if fault.framing == "length" else 0
    wire = bent(items, fault, failing)
    return Reply(status, headers, wire, fault.framing, length, fault.delay, cut=fault.cut)
