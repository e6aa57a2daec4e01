"""Streams whose fields are of the wrong type, missing, doubled, nested or enormous: no run of them is our bug.

Well-formed events of either API are spoilt at random places and go the whole way, in every format, with a history that
the next run must be able to read. What such a stream means is for other tests; here it may only not end in status 1.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from oastream.apis.response_fields import response_fields
from oastream.events.chat_dialect import ChatDialect
from oastream.events.decode import Decoder
from oastream.exits import Failure
from oastream.output.formats import FORMATS
from tests.support import forked
from tests.support.streams import (
    Event,
    call,
    chat_chunks,
    chunk,
    custom_call,
    message,
    reasoning,
    refusal,
    response_object,
    responses_events,
    sse,
)
from tests.support.wire import Reply, http_response, serve, sse_response

STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SEEDS = int(os.environ.get("WRONG_TYPES_SEEDS", "400"))
"""How many streams; more for a search by hand."""
BATCH = 40
"""Streams that share a server and a history."""

RAW = {
    "@deep@": "[" * 500 + "]" * 500,
    "@deeper@": '{"a":' * 990 + "1" + "}" * 990,
    "@deepest@": "[" * 5000 + "]" * 5000,
    "@huge@": "9" * 400,
    "@enormous@": "9" * 5000,
    "@float@": "1e400",
    "@nan@": "NaN",
}
"""JSON that `json.dumps` would not write, by the text that stands for it until then."""
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 3.5, 2**53, 2**64, -(2**70), "", "x", "0", "null", "error", "\ud800", "\udc00x",
    "\u2028", "\x00\x1b[2J", "oastream:end", "completed", "incomplete", "function_call", "message", "{", "{}",
    '{"a":NaN,"b":1234567890123456}', [], {}, [None], [[]], [{}], {"a": None}, {"type": "error"}, {"type": None},
    {"text": 5}, {"error": {}}, {"error": [None]}, [["x", {}]], "@deep@", "@deeper@", "@deepest@", "@huge@",
    "@enormous@", "@float@", "@nan@",
]  # fmt: skip


def waiting(kind: str, **fields: Any) -> Event:
    return {"type": kind, "id": f"id_{kind}", "call_id": f"c_{kind}", "status": "completed", **fields}


RESPONSES: list[list[Event]] = [
    responses_events(reasoning("Let me see"), message("Hello there")),
    responses_events(refusal("No, thank you")),
    responses_events(message("Let me look"), call("f", '{"x":1}'), custom_call("sql", "select 1", "call_2")),
    responses_events(call("f", '{"x":12345678901234567890}'), call("g", "{}", "call_2")),
    responses_events(message("cut"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    responses_events(message("bad"), status="failed", error={"code": "server_error", "message": "boom"}),
    [
        {"type": "response.created", "response": response_object("in_progress")},
        {"type": "response.output_text.delta", "delta": "Hi", "item_id": "m", "logprobs": []},
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
    ],
    [
        *(
            {"type": "response.output_item.done", "output_index": at, "item": item}
            for at, item in enumerate(
                [
                    waiting("shell_call", action={"commands": ["ls"]}),
                    waiting("tool_search_call", execution="client", arguments={}),
                    waiting("mcp_approval_request", name="x", arguments="{}"),
                    waiting("function_call_output", output="42"),
                    waiting("image_generation_call", result="AA"),
                ]
            )
        ),
        {"type": "response.completed", "response": response_object(output=[message("done")])},
    ],
]


def one_choice(**fields: Any) -> Event:
    return {**chunk(None), "choices": [{"index": 0, "delta": {}, "finish_reason": None, **fields}]}


CHAT: list[list[Event]] = [
    chat_chunks("Hello there", reasoning="Let me see"),
    chat_chunks(refusal="No, thank you"),
    chat_chunks("Let me look", calls=[("a", "f", '{"x":1}'), ("b", "g", "{}")], finish="tool_calls"),
    chat_chunks("cut", finish="length"),
    [*chat_chunks("one", finish="stop", usage=None), chunk({"content": "two"}, "stop", index=1)],
    [
        one_choice(
            delta={"content": [{"type": "thinking", "thinking": [{"text": "a"}]}, {"type": "text", "text": "b"}]}
        ),
        one_choice(delta={"images": [{"image_url": {"url": "data:,"}}], "audio": {"transcript": "c"}}),
        one_choice(delta={"function_call": {"name": "f", "arguments": "{}"}}, logprobs={"content": [{"token": "x"}]}),
        one_choice(delta={"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "sql", "input": "x"}}]}),
        one_choice(finish_reason="stop", native_finish_reason="MAX_TOKENS", usage={"prompt_tokens": 1}),
        {**chunk(None), "x_groq": {"usage": {"completion_tokens": 3}}},
    ],
    [*chat_chunks("Hello", finish=None), {"error": {"message": "boom", "code": 500, "type": "server_error"}}],
    [{"base_resp": {"status_code": 1002, "status_msg": "slow"}, "choices": None}],
]
ANSWER = {**chunk(None), "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "Hi"}}]}
DOCUMENTS: dict[str, list[Event]] = {
    "responses": [
        response_object(output=[message("Hi"), call("f", "{}")]),
        response_object("failed", error={"code": "server_error", "message": "boom"}),
        response_object("in_progress"),
        {"error": {"message": "no", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}},
        {"detail": [{"msg": "no", "loc": ["body", "model"]}]},
    ],
    "chat": [ANSWER, {"error": {"message": "no", "code": 404}}, {"base_resp": {"status_code": 1004}}],
}

ASKED_FORMATS = [*FORMATS, "tools --eager"]
EXTRAS = [
    "--reasoning", "--sanitize always", "-vv", "--stats", "--stats=json", "--hold", "--max-output-tokens 7",
    "--set n=3",
]  # fmt: skip

NEVER = frozenset({1, 2, 8, 97, *range(-64, 0)})
"""Statuses that no server may cause: a death, a bug, bad options, a history that cannot be read again."""


class Spoilt(NamedTuple):
    """One run: the API, the options, what the server sends."""

    api: str
    options: list[str]
    reply: Reply
    body: bytes


def spoilt(seed: int) -> Spoilt:
    """A stream, or a document, with one to four of its fields spoilt."""
    chance = random.Random(seed)
    api = chance.choice(["responses", "chat"])
    is_stream = chance.random() < 0.85
    values = copy.deepcopy(chance.choice(RESPONSES if api == "responses" else CHAT) if is_stream
                           else [chance.choice(DOCUMENTS[api])])  # fmt: skip
    for _ in range(chance.choice([1, 1, 1, 2, 3, 4])):
        spoil(values, chance)
    texts = [as_json(value, chance) for value in values]
    options = f"--format {chance.choice(ASKED_FORMATS)}".split()
    for extra in chance.sample(EXTRAS, chance.choice([0, 0, 0, 1, 2])):
        if not (extra == "--hold" and "--eager" in options):
            options += extra.split()
    if not is_stream:
        body = "".join(texts).encode("utf-8", "surrogatepass")
        status = chance.choice(["200 OK", "200 OK", "400 Bad Request", "500 Oops"])
        return Spoilt(api, options, http_response(body, status), body)
    lines = [event_lines(text, value, chance) for text, value in zip(texts, values, strict=True)]
    body = "".join(lines).encode("utf-8", "surrogatepass") + sse([], done=api == "chat")
    return Spoilt(api, options, sse_response(body), body)


def event_lines(text: str, value: Any, chance: random.Random) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    name = f"event: {kind}\n" if isinstance(kind, str) and "\n" not in kind and chance.random() < 0.7 else ""
    return f"{name}data: {text}\n\n"


def as_json(value: Any, chance: random.Random) -> str:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.7)
    return re.sub("|".join(f'"{name}"' for name in RAW), lambda found: RAW[found[0].strip('"')], text)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with each key or index in it."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in list(members):
        yield value, key
        yield from places(member)


def spoil(values: list[Any], chance: random.Random) -> None:
    """Spoil one field of one event, or one event."""
    found = list(places(values))
    if found:
        container, key = chance.choice(found)
        chance.choice(SPOILERS)(container, key, chance)


def replace(container: Any, key: Any, chance: random.Random) -> None:
    container[key] = copy.deepcopy(chance.choice(STRANGE))


def remove(container: Any, key: Any, _: random.Random) -> None:
    del container[key]


def nest(container: Any, key: Any, chance: random.Random) -> None:
    container[key] = chance.choice([[container[key]], {"text": container[key]}, {"type": container[key]}])


def double(container: Any, key: Any, chance: random.Random) -> None:
    if isinstance(container, list):
        container.insert(chance.randrange(len(container) + 1), copy.deepcopy(container[key]))
    else:
        container[chance.choice(list(container))] = copy.deepcopy(container[key])


def as_text(container: Any, key: Any, _: random.Random) -> None:
    container[key] = json.dumps(container[key])


SPOILERS: list[Callable[[Any, Any, random.Random], None]] = [replace, replace, replace, remove, nest, double, as_text]


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_no_stream_is_a_bug_of_ours(first: int, tmp_path: Path) -> None:
    runs = [spoilt(seed) for seed in range(first, first + BATCH)]
    history = tmp_path / "history"
    with serve(*(run.reply for run in runs)) as server:
        for seed, run in enumerate(runs, first):
            args = ["--base-url", server.url, "--api", run.api, "--retry", "0", "--history", str(history)]
            result = forked.oastream(*args, *run.options, "hello")
            story = f"seed {seed}: {run.options} {result}\n{run.body[:3000]!r}"
            assert result.status not in NEVER, story
            if "ndjson" in run.options:
                last = result.out.splitlines()[-1]  # not parsed: its usage may be nested as deeply as the server's
                assert last.startswith(b'{"type":"oastream:end","exit":%d,' % result.status), story
            if "json" in run.options:
                assert result.out.count(b"\n") == bool(result.out), story


@pytest.mark.parametrize("option", ["--background", "--detach", "--schema"])
def test_no_stream_is_a_bug_of_ours_in_other_ways_to_run(option: str) -> None:
    more = [option, '{"type":"object"}'] if option == "--schema" else [option, "--max-time", "0.5"]
    for seed in range(-SEEDS // 8, 0):
        run, polled = spoilt(seed), spoilt(seed - SEEDS)
        api = run.api if option == "--schema" else "responses"
        with serve(run.reply, polled.reply) as server:
            args = ["--base-url", server.url, "--api", api, "--retry", "1", "--retry-delay", "0", *more]
            result = forked.oastream(*args, "hello")
        assert result.status not in NEVER, f"seed {seed}: {result}\n{run.body[:3000]!r}\n{polled.body[:3000]!r}"


def test_what_chat_is_translated_into_is_whole_by_the_sdks_types() -> None:
    for seed in range(SEEDS):
        run = spoilt(seed)
        if run.api != "chat":
            continue
        decoder = Decoder(ChatDialect(request_fields=response_fields({})), len(run.body) + 1)
        with contextlib.suppress(Failure):
            for event, _ in itertools.chain(decoder.feed(run.body), decoder.close()):
                STREAM_EVENT.validate_python(event, strict=False)


@pytest.mark.parametrize("value", ["@deep@", "@deeper@", "@huge@", "@float@", "\ud800"])
def test_an_answer_can_be_sent_again_whatever_its_items_hold(value: str, tmp_path: Path) -> None:
    item = {**waiting("shell_call"), "action": value}
    last = {"type": "response.completed", "response": response_object(output=[item, message("Hi")])}
    body = f"data: {as_json(last, random.Random(0))}\n\n".encode("utf-8", "surrogatepass")
    with serve(sse_response(body)) as server:
        for _ in range(2):
            args = ["--base-url", server.url, "--history", str(tmp_path / "history"), "--retry", "0"]
            assert forked.oastream(*args, "hello").status == 13
    assert b'"type":"shell_call"' in server.requests[1].body
