"""Retry and background against servers that fail at random: what holds whatever they do.

A case is a few options and what the server does with each request. The model follows from what was sent which requests
may come after it, what may be printed and how the run may end. `TESTS_MODEL_CASES` is the number of cases.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hypothesis
from hypothesis import strategies as st

from tests.support import forked
from tests.support.program import Result
from tests.support.streams import Event, message, response_object, responses_events, sse
from tests.support.wire import Reply, Request, Server, Step, chunk, drop, fin, http_response, rst, send, sse_response

CASES = int(os.environ.get("TESTS_MODEL_CASES", "250"))
TEXT = "one two three four"
EVENTS = len(responses_events(message(TEXT)))
SOON = 12.0

RETRYABLE = ("server_error", "rate_limit_exceeded", "server_is_overloaded")
FINAL = ("insufficient_quota", "invalid_prompt", "invalid_api_key")
STATUSES = {0, 20, 21, 23, 24, 25, 26, 30, 31, 32, 40, 42, 43}

WHOLE = ("whole", "document")
BROKEN = ("cut", "error", "failed", "gap", "twice", "bad_json", "wrong_type", "unnumbered", "pings", "page", "close")
ANSWERS = (*WHOLE, *BROKEN, "status")
POST_ACTS = (*ANSWERS, *BROKEN, "queued", "ignored")
STREAM_ACTS = (*ANSWERS, *BROKEN, "from_start", "queued")
POLL_ACTS = ("completed", "queued", "in_progress", "failed", "cancelled", "expired", "no_response", "status", "page")
FOR_EVER = ("whole", "cut", "error", "failed", "bad_json", "pings", "page", "close", "status")
POLLS_FOR_EVER = ("completed", "failed", "cancelled", "expired", "no_response", "status", "page")
REFUSALS = {  # status line -> whether another try may help
    "400 Bad Request": False,
    "401 Unauthorized": False,
    "404 Not Found": False,
    "402 Payment Required": False,
    "429 Too Many Requests": True,
    "500 Oops": True,
    "503 Overloaded": True,
}


@dataclass(frozen=True)
class Act:
    """What the server does with one request: `at` is an event, `how` the end of the connection."""

    kind: str
    at: int = 0
    how: str = "drop"
    code: str = "server_error"
    line: str = "500 Oops"


@dataclass(frozen=True)
class Case:
    """The options, and the acts for each kind of request; the last of a kind repeats for ever."""

    background: bool
    args: tuple[str, ...]
    retry: int
    posts: tuple[Act, ...]
    streams: tuple[Act, ...]
    polls: tuple[Act, ...]


def acts(kinds: tuple[str, ...], for_ever: tuple[str, ...]) -> st.SearchStrategy[tuple[Act, ...]]:
    def one(names: tuple[str, ...]) -> st.SearchStrategy[Act]:
        return st.builds(
            Act,
            st.sampled_from(names),
            st.integers(0, EVENTS - 1),
            st.sampled_from(("drop", "fin", "rst")),
            st.sampled_from((*RETRYABLE, *FINAL)),
            st.sampled_from(tuple(REFUSALS)),
        )

    return st.builds(lambda some, last: (*some, last), st.lists(one(kinds), min_size=1, max_size=6), one(for_ever))


CASE = st.builds(
    Case,
    st.sampled_from((True, True, False)),
    st.sampled_from(((), (), ("--hold",), ("--format", "ndjson"), ("--format", "json"))),
    st.sampled_from((0, 1, 2, 3, 3)),
    acts(POST_ACTS, FOR_EVER),
    acts(STREAM_ACTS, FOR_EVER),
    acts(POLL_ACTS, POLLS_FOR_EVER),
)


@dataclass
class Sent:
    """What one request got: the bytes, and what they mean to a client that reads them all.

    `names` says that a response is named that goes on without its stream, `completes` that the answer is whole,
    `closes` that the response has failed, `ends` that no request may follow.
    """

    reply: Reply
    names: bool = False
    completes: bool = False
    closes: bool = False
    ends: bool = False
    is_sure: bool = True
    events: int = 0


@dataclass
class Exchange:
    """A request, and what it got."""

    kind: str
    act: Act
    sent: Sent
    at: float = field(default=0.0)


class Scripted(Server):
    """Plays a case. Requests come one after the other."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.exchanges: list[Exchange] = []
        super().__init__([b""])

    def reply(self, request: Request, number: int) -> Reply:
        kind, after = kind_of(request)
        sequence = {"post": self.case.posts, "stream": self.case.streams, "poll": self.case.polls}[kind]
        act = sequence[min(sum(one.kind == kind for one in self.exchanges), len(sequence) - 1)]
        posts = sum(one.kind == "post" for one in self.exchanges) + (kind == "post")
        sent = polled(act, posts) if kind == "poll" else streamed(act, kind, posts, after, self.case.background)
        self.exchanges.append(Exchange(kind, act, sent, request.at))
        return sent.reply


def kind_of(request: Request) -> tuple[str, int]:
    """Which kind of request it is, and the number after which a stream begins."""
    url = urlsplit(request.path)
    if request.method == "POST":
        assert url.path == "/v1/responses", request.path
        return "post", -1
    query = parse_qs(url.query)
    return ("stream", int(query.get("starting_after", ["-1"])[0])) if "stream" in query else ("poll", -1)


def truth(number: int, background: bool) -> list[Event]:
    """The whole stream of a response."""
    events = responses_events(message(TEXT), response_id=f"resp_{number}")
    for event in events:
        if "response" in event:
            event["response"] = {**event["response"], "id": f"resp_{number}", "background": background}
    return events


def response(number: int, status: str, **fields: Any) -> Event:
    return response_object(status, response_id=f"resp_{number}", background=True, **fields)


def streamed(act: Act, kind: str, number: int, after: int, background: bool) -> Sent:
    """What a request for a stream gets; `after` is the last number that the client has."""
    works = background and act.kind != "ignored"
    whole = truth(number, works)
    events = whole[after + 1 :] if act.kind != "from_start" else whole
    at = act.at % max(len(events), 1)
    head = events[:at]
    counts = works and any("response" in event for event in head)
    failed = {"code": act.code, "message": "no luck"}
    final = act.code in FINAL
    match act.kind:
        case "whole" | "from_start" | "ignored":
            return Sent(stream(events, "fin"), works, completes=True, ends=True)
        case "document":
            return Sent(http_response(json.dumps(whole[-1]["response"])), works, completes=True, ends=True)
        case "twice" if works:
            return Sent(stream([*events[: at + 1], *events[at:]], "fin"), works, completes=True, ends=True)
        case "gap" if works:
            rest = events[at + 1 :]
            return Sent(stream([*head, *rest], "fin"), counts or any("response" in event for event in rest[:1]))
        case "unnumbered" if works:
            bare = [{key: value for key, value in event.items() if key != "sequence_number"} for event in head]
            return Sent(stream(bare, act.how), counts, is_sure=act.how != "rst")
        case "error":
            event: Event = {"type": "error", **failed}
            foreground = not works and kind == "post"
            return Sent(
                stream([*head, event], act.how), counts, closes=foreground, ends=final, is_sure=act.how != "rst"
            )
        case "failed":
            event = {"type": "response.failed", "response": response(number, "failed", error=failed)}
            event["response"]["background"] = works
            event["sequence_number"] = at + after + 1
            return Sent(stream([*head, event], act.how), counts, closes=True, ends=final, is_sure=act.how != "rst")
        case "bad_json":
            return Sent(stream([*head, '{"type": '], "fin"), counts)
        case "wrong_type":
            event = {"type": "response.output_text.delta", "delta": 5, "sequence_number": at + after + 1}
            return Sent(stream([*head, event], "fin"), counts)
        case "pings":
            return Sent(stream([{"type": "ping"}, {"type": "ping"}], act.how))
        case "page":
            return Sent(
                http_response("<html><title>Sign in</title></html>", content_type="text/html"), ends=kind == "post"
            )
        case "close":
            return Sent(b"")
        case "status":
            return refused(act, kind)
        case "queued":
            status = "queued" if kind == "post" else "in_progress"
            body = {**response(number, status), "background": works}
            return Sent(http_response(json.dumps(body)), names=background)
        case _:
            return Sent(stream(head, act.how), counts, is_sure=act.how != "rst")


def refused(act: Act, kind: str) -> Sent:
    headers = {"Retry-After": "0", "x-should-retry": "true"}
    error = http_response('{"error":{"message":"no luck"}}', act.line, headers=headers)
    return Sent(error, ends=not REFUSALS[act.line] and kind != "stream")


def polled(act: Act, number: int) -> Sent:
    """What a poll gets."""
    match act.kind:
        case "completed":
            whole = truth(number, background=True)[-1]["response"]
            return Sent(http_response(json.dumps(whole)), completes=True, ends=True)
        case "failed":
            body = response(number, "failed", error={"code": act.code, "message": "no luck"})
            return Sent(http_response(json.dumps(body)), closes=True, ends=act.code in FINAL)
        case "cancelled" | "expired":
            return Sent(http_response(json.dumps(response(number, act.kind))), closes=True, ends=True)
        case "no_response":
            return Sent(http_response('{"ok": true}'), ends=True)
        case "status":
            return refused(act, "poll")
        case "page":
            return Sent(http_response("<html><title>Sign in</title></html>", content_type="text/html"))
        case _:
            return Sent(http_response(json.dumps(response(number, act.kind))), names=True)


ENDINGS: dict[str, list[Step]] = {"fin": [send(b"0\r\n\r\n"), fin], "drop": [drop], "rst": [rst]}


def stream(payloads: list[Any], how: str) -> Reply:
    return [*sse_response(b"", ending=[]), *(send(chunk(sse([payload]))) for payload in payloads), *ENDINGS[how]]


# The model


def check(case: Case, result: Result, exchanges: list[Exchange]) -> None:
    """Everything that holds for any server."""
    assert result.status in STATUSES, result
    assert result.seconds < SOON
    check_requests(case, exchanges)
    check_output(case, result, exchanges)


def check_requests(case: Case, exchanges: list[Exchange]) -> None:
    posts = [one for one in exchanges if one.kind == "post"]
    assert 1 <= len(posts) <= case.retry + 1, "so often may a question be asked"
    if not case.background:
        assert len(posts) == len(exchanges), "the foreground only asks"
    is_open = False
    for number, one in enumerate(exchanges):
        is_last = number == len(exchanges) - 1
        if one.kind == "post":
            assert not is_open, "a question was asked again whose response goes on"
            is_open = one.sent.names and one.sent.is_sure
        if one.sent.closes or not one.sent.is_sure:
            is_open = False
        if one.sent.ends and one.sent.is_sure:
            assert is_last, f"a request followed on {one.act}"
    check_rows(case, exchanges)


def check_rows(case: Case, exchanges: list[Exchange]) -> None:
    """Failures in a row: no more replies without anything new than --retry allows, but for one that is free."""
    row = 0
    for one in exchanges:
        brings = one.act.kind not in ("status", "page", "close", "pings", "no_response")
        row = 0 if brings else row + 1
        assert row <= case.retry + 2, "failures in a row"


def check_output(case: Case, result: Result, exchanges: list[Exchange]) -> None:
    text = printed_text(case, result)
    assert TEXT.startswith(text), "what is printed is the beginning of the answer, once"
    completed = any(one.sent.completes for one in exchanges)
    assert completed or result.status != 0, "a success without a complete answer"
    if exchanges[-1].sent.completes and exchanges[-1].sent.is_sure:
        assert result.status == 0, "the answer was complete"
    if result.status == 0:
        assert text == TEXT
    elif "--hold" in case.args or "json" in case.args:
        assert text == ""
    if text and result.status != 0:
        assert result.status >= 40, "2x and 3x say that there is no output"


def printed_text(case: Case, result: Result) -> str:
    if "ndjson" in case.args:
        assert result.end["exit"] == result.status
        events = [record for record in result.records if not record["type"].startswith("oastream:")]
        numbers = [event["sequence_number"] for event in events if "sequence_number" in event]
        if case.background:
            assert numbers == sorted(set(numbers)), "an event came twice"
        deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        assert all(isinstance(delta, str) for delta in deltas), "an event that makes no sense was passed on"
        text = "".join(deltas)
        return TEXT if result.status == 0 and TEXT.startswith(text) else text
    if "json" in case.args:
        answer = json.loads(result.out) if result.out else {"output": []}
        return "".join(part["text"] for item in answer["output"] for part in item["content"])
    return result.text.removesuffix("\n")


def run(case: Case) -> tuple[Result, list[Exchange]]:
    server = Scripted(case)
    try:
        background = ("--background",) if case.background else ()
        quick = ("--base-url", server.url, "--retry", str(case.retry), "--retry-delay", "0.005")
        result = forked.oastream(*quick, *background, *case.args, "hi", timeout=2 * SOON)
    finally:
        server.close()
    return result, server.exchanges


@hypothesis.settings(max_examples=CASES, deadline=None)
@hypothesis.given(CASE)
def test_whatever_a_server_does_nothing_is_asked_or_printed_twice_and_every_run_ends(case: Case) -> None:
    result, exchanges = run(case)
    hypothesis.note(f"{result}")
    hypothesis.note("\n".join(f"{one.kind} {one.act}" for one in exchanges))
    check(case, result, exchanges)
