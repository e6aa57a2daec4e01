"""What the events of a Responses stream mean: which event belongs to which item, what contradicts what, who waits.

Fed to the parts that do no I/O; what the wire adds is in other tests.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from oastream.events.json_body import page_title
from oastream.events.responses_dialect import ResponsesDialect
from oastream.exits import Outcome
from oastream.output.formats import EagerToolsFormat, TextFormat, ToolsFormat
from tests.support import forked
from tests.support.reading import read_body
from tests.support.streams import (
    Event,
    call,
    chat_chunks,
    message,
    response_object,
    responses_body,
    responses_events,
    sse,
)
from tests.support.wire import http_response, serve, sse_response


def text_of(events: list[Event]) -> tuple[Outcome, str]:
    outcome, printed = read_body(sse(events), TextFormat(False), ResponsesDialect())
    return outcome, b"".join(printed).decode()


def calls_of(events: list[Event], eager: bool = False, limit: int | None = None) -> tuple[Outcome, list[Any]]:
    outcome, printed = read_body(
        sse(events), EagerToolsFormat(False) if eager else ToolsFormat(False), ResponsesDialect(), limit
    )
    return outcome, [json.loads(line) for line in b"".join(printed).splitlines()]


def ids_of(events: list[Event], eager: bool = False) -> tuple[Outcome, list[str]]:
    outcome, calls = calls_of(events, eager)
    return outcome, [one["call_id"] for one in calls]


def ending(*output: Event, status: str = "completed", **more: Any) -> Event:
    return {"type": f"response.{status}", "response": response_object(status, output, **more)}


def item_done(item: Event, at: int | None = 0) -> Event:
    return {"type": "response.output_item.done", "item": item} | ({} if at is None else {"output_index": at})


def delta(text: str, at: int | None = 0, part: int | None = 0) -> Event:
    places = {"output_index": at, "content_index": part}
    return {"type": "response.output_text.delta", "delta": text, **{k: v for k, v in places.items() if v is not None}}


A, B = call("f", '{"x":1}', "call_a"), call("g", '{"y":2}', "call_b")
BOTH = {"id": "a", **A}, {"id": "b", **B}

# Items -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("output", [(), BOTH, BOTH[::-1], BOTH[1:], BOTH[:1]], ids=["none", "ab", "ba", "b", "a"])
def test_two_items_that_are_done_under_one_index_are_two(output: tuple[Event, ...], eager: bool) -> None:
    events = [item_done(BOTH[0]), item_done(BOTH[1]), ending(*output)]
    assert ids_of(events, eager) == (Outcome.STOP, ["call_a", "call_b"])


def test_two_messages_that_are_done_under_one_index_are_two() -> None:
    first, second = ({"id": name, **message(name)} for name in ("one", "two"))
    assert text_of([item_done(first), item_done(second), ending()]) == (Outcome.STOP, "onetwo\n")


def test_whole_items_that_nothing_places_or_names_are_several() -> None:
    texts = [item_done(message("one"), None), item_done(message("two"), None)]
    assert text_of([*texts, ending()]) == (Outcome.STOP, "onetwo\n")
    unnamed = [{key: value for key, value in item.items() if key not in ("id", "call_id")} for item in BOTH]
    outcome, calls = calls_of([*(item_done(item, None) for item in unnamed), ending()])
    assert (outcome, [one["name"] for one in calls]) == (Outcome.STOP, ["f", "g"])
    ended = calls_of([*(item_done(item, None) for item in unnamed), ending(*unnamed)])
    assert len(ended[1]) == 2


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("names", ["both", "ids", "call ids", "neither"])
@pytest.mark.parametrize("order", [[0, 1], [1, 0], [1], [0], []], ids=str)
def test_calls_of_the_end_are_those_of_the_stream(names: str, order: list[int], eager: bool) -> None:
    events = responses_events(A, B)[:-1]
    streamed = [dict(event["item"]) for event in events if event["type"] == "response.output_item.done"]
    for item in streamed:
        if names in ("ids", "neither"):
            item.pop("call_id")
        if names in ("call ids", "neither"):
            item.pop("id")
    assert ids_of([*events, ending(*(streamed[at] for at in order))], eager) == (Outcome.STOP, ["call_a", "call_b"])


def test_a_call_that_only_the_end_has_is_new() -> None:
    assert ids_of([*responses_events(A)[:-1], ending(*BOTH)]) == (Outcome.STOP, ["call_a", "call_b"])


@pytest.mark.parametrize("order", [[0, 1], [1, 0], [1], [0], []], ids=str)
@pytest.mark.parametrize("named", [True, False])
def test_messages_of_the_end_are_those_of_the_stream(order: list[int], named: bool) -> None:
    events = responses_events(message("Let me see. "), message("It is 42."))[:-1]
    streamed = [dict(event["item"]) for event in events if event["type"] == "response.output_item.done"]
    for item in streamed if not named else ():
        item.pop("id")
    end = ending(*(streamed[at] for at in order))
    assert text_of([*events, end]) == (Outcome.STOP, "Let me see. It is 42.\n")


def test_messages_of_the_end_are_matched_without_the_white_space_that_servers_trim() -> None:
    events = responses_events(message("Hello there "), message("Hello "))[:-1]
    assert text_of([*events, ending(message("Hello"), message("Hello there"))])[1] == "Hello there Hello \n"


@pytest.mark.parametrize(
    ("final", "text", "outcome"),
    [
        ("Hello there", "Hello there\n", Outcome.STOP),
        ("Hello", "Hello there\n", Outcome.STOP),
        ("Hello there friend", "Hello there friend\n", Outcome.STOP),
        ("Hello there \n", "Hello there \n", Outcome.STOP),
        ("Good day", "Hello there", Outcome.MALFORMED),
    ],
)
def test_a_final_text_completes_repeats_or_contradicts(final: str, text: str, outcome: Outcome) -> None:
    done = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": final}
    begun = [*responses_events(message("Hello there"))[:4], delta("Hello"), delta(" there")]
    assert text_of([*begun, done, ending()]) == (outcome, text)


@pytest.mark.parametrize(
    ("finals", "outcome"),
    [
        (["one", "two"], Outcome.STOP),
        (["one\n", "two"], Outcome.STOP),
        (["one", "two more"], Outcome.STOP),
        (["one more", "two"], Outcome.MALFORMED),
        (["onetwo"], Outcome.MALFORMED),
    ],
)
def test_a_text_cannot_go_on_once_another_is_printed_behind_it(finals: list[str], outcome: Outcome) -> None:
    events = [delta("one"), delta("two", at=1), ending(*map(message, finals))]
    text = "onetwo" + finals[-1].removeprefix("two") + "\n" if outcome is Outcome.STOP else "onetwo"
    assert text_of(events) == (outcome, text)


def test_the_content_of_a_message_may_be_its_text() -> None:
    said = {**message("Hello"), "content": "Hello there"}
    assert text_of([ending(said)]) == (Outcome.STOP, "Hello there\n")
    assert text_of([delta("Hello"), item_done(said), ending(said)]) == (Outcome.STOP, "Hello there\n")


@pytest.mark.parametrize(("late", "outcome"), [(" \n", Outcome.STOP), ('{"x":2}', Outcome.MALFORMED)])
def test_a_printed_call_cannot_go_on(late: str, outcome: Outcome) -> None:
    more = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": late}
    assert calls_of([item_done(A), more, ending()], eager=True)[0] is outcome


@pytest.mark.parametrize("final", ["Hello there", " Hello there", "Hello there\n\n"])
def test_a_final_text_may_lack_white_space_at_its_ends(final: str) -> None:
    done = {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": final}
    assert text_of([delta(" Hello"), delta(" there\n\n"), done, ending()]) == (Outcome.STOP, " Hello there\n\n")


def test_messages_without_an_index_have_texts_of_their_own() -> None:
    """LM Studio and Lemonade send no output_index."""
    events: list[Event] = []
    for name, text in (("m1", "one "), ("m2", "two")):
        item = {"id": name, **message(text)}
        events += [
            {"type": "response.output_item.added", "item": {**item, "content": []}},
            {"type": "response.output_text.delta", "item_id": name, "delta": text},
            {"type": "response.output_text.done", "item_id": name, "text": text},
            item_done(item, None),
        ]
    assert text_of([*events, ending()]) == (Outcome.STOP, "one two\n")


@pytest.mark.parametrize("final", [True, False])
def test_messages_that_nothing_places_begin_behind_one_another(final: bool) -> None:
    events: list[Event] = []
    for text in ("one ", "two"):
        done = {"type": "response.output_text.done", "content_index": 0, "text": text}
        part = {"type": "response.content_part.done", "content_index": 0, "part": message(text)["content"][0]}
        events += [delta(text[:2], None), delta(text[2:], None), done, part]
    output = [message("one "), message("two")] if final else []
    assert text_of([*events, ending(*output)]) == (Outcome.STOP, "one two\n")


def test_a_done_without_a_content_index_is_of_the_last_text() -> None:
    done = {"type": "response.output_text.done", "output_index": 0, "text": "Hello"}
    assert text_of([delta("Hel"), done, ending()]) == (Outcome.STOP, "Hello\n")


# Calls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("name", ["", None, 7])
def test_a_call_without_a_name_is_broken(name: Any, eager: bool) -> None:
    events = [item_done({**A, "name": name}), ending({**A, "name": name})]
    assert calls_of(events, eager) == (Outcome.MALFORMED, [])
    assert text_of(events)[0] is Outcome.TOOL_CALLS


@pytest.mark.parametrize("kind", ["shell_call", "local_shell_call", "apply_patch_call", "computer_call"])
def test_a_cut_item_that_waits_is_not_printed(kind: str) -> None:
    item = {"type": kind, "id": "x", "call_id": "c", "action": {"commands": ["rm -r"]}}
    cut, length = {**item, "status": "incomplete"}, {"incomplete_details": {"reason": "max_output_tokens"}}
    assert calls_of([item_done(cut), ending(cut, status="incomplete", **length)]) == (Outcome.LENGTH, [])
    assert calls_of([item_done(BOTH[0]), item_done(cut, 1), ending()]) == (Outcome.MALFORMED, [])
    assert calls_of([item_done({**item, "status": "completed"}), ending()])[0] is Outcome.STOP


@pytest.mark.parametrize(
    "arguments",
    ['{"a":NaN,"b":1234567890123456}', '{"a":Infinity}', "[1]", '{"a":', "x", '{"a":' * 5000 + "12345678901234567"],
    ids=["NaN", "Infinity", "list", "cut", "words", "deep"],
)
def test_arguments_that_are_no_object_are_broken(arguments: str) -> None:
    assert calls_of(responses_events(call("f", arguments), piece=10_000)) == (Outcome.MALFORMED, [])


def test_arguments_keep_every_digit() -> None:
    nested = "[" * 500 + "]" * 500
    _, [printed] = calls_of(responses_events(call("f", f'{{"id":12345678901234567890123,"deep":{nested}}}')))
    assert printed["arguments"]["id"] == 12345678901234567890123


@pytest.mark.parametrize("arguments", ["", "null", " {} "])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    assert calls_of(responses_events(call("f", arguments)))[1][0]["arguments"] == {}


def test_empty_arguments_that_the_limit_cut_are_not_whole() -> None:
    cut = {**A, "arguments": "", "status": "incomplete"}
    length = {"incomplete_details": {"reason": "max_output_tokens"}}
    assert calls_of([item_done(cut), ending(cut, status="incomplete", **length)]) == (Outcome.LENGTH, [])


def test_deltas_that_parse_count_more_than_a_done_that_does_not() -> None:
    events = responses_events(call("f", '{"x":1}'))
    for event in events:
        if event["type"] == "response.function_call_arguments.done":
            event["arguments"] = '{"x":1}}'
        if event["type"] == "response.output_item.done":
            event["item"] = {**event["item"], "arguments": '{"x":1}}'}
    assert calls_of([*events[:-1], ending()])[1][0]["arguments"] == {"x": 1}


def test_a_call_in_a_completed_response_is_whole_without_a_done_event() -> None:
    events = [event for event in responses_events(A) if not event["type"].endswith((".done", ".completed"))]
    assert calls_of([*events, ending()])[1][0]["arguments"] == {"x": 1}


# Who waits ---------------------------------------------------------------------------------------------------------

OUTPUT = {"type": "function_call_output", "call_id": "call_a", "output": "42"}


@pytest.mark.parametrize(
    ("items", "offered", "waits"),
    [
        ([A], None, True),
        ([A], frozenset({"f"}), True),
        ([A, OUTPUT], frozenset({"f"}), False),
        ([A, B, OUTPUT], frozenset({"f", "g"}), True),
        ([A, message("It is 42.")], frozenset(), False),
        ([A, message("It is 42.")], frozenset({"f"}), True),
        ([message("Let me see."), A], frozenset(), True),
        ([A, message("It is 42.")], None, True),
        ([{"type": "tool_search_call", "execution": "client", "id": "t"}], None, True),
        ([{"type": "tool_search_call", "execution": "server", "id": "t"}], None, False),
        ([{"type": "mcp_approval_request", "id": "m", "name": "x"}], None, True),
        ([{"type": "image_generation_call", "id": "i", "result": "AA"}], None, False),
    ],
)
def test_who_waits_for_the_client(items: list[Event], offered: frozenset[str] | None, waits: bool) -> None:
    events = [item_done({"id": f"i{at}", "status": "completed", **item}, at) for at, item in enumerate(items)]
    outcome, _ = read_body(sse([*events, ending()]), TextFormat(False), ResponsesDialect(), None, offered)
    assert outcome is (Outcome.TOOL_CALLS if waits else Outcome.STOP)


# The end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("max_tokens", Outcome.LENGTH),
        ("SAFETY", Outcome.CONTENT_FILTER),
        ("abort", Outcome.FAILED),
        ("steered", Outcome.OTHER),
        (None, Outcome.OTHER),
        ("null", Outcome.OTHER),
    ],
)
@pytest.mark.parametrize("event", ["incomplete", "completed"])
def test_the_reason_of_an_incomplete_answer_is_its_outcome(event: str, reason: Any, outcome: Outcome) -> None:
    last = ending(message("Hi"), status="incomplete", incomplete_details={"reason": reason})
    assert text_of([{**last, "type": f"response.{event}"}])[0] is outcome


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_completed_response_that_says_failed_is_that(status: str) -> None:
    assert text_of([delta("Hi"), {**ending(), "response": response_object(status)}])[0] is Outcome.FAILED


def test_output_has_begun_with_the_first_piece_of_a_call() -> None:
    events = [event for event in responses_events(A) if not event["type"].endswith((".done", ".completed"))]
    error = {"type": "error", "code": "rate_limit_exceeded", "message": "slow"}
    assert calls_of([*events, error])[0] is Outcome.FAILED
    assert calls_of([error])[0] is Outcome.RATE_LIMITED


# What is no answer -------------------------------------------------------------------------------------------------


def run_on(body: bytes, *args: str, api: str = "responses", kind: str = "application/json") -> Any:
    with serve(http_response(body, content_type=kind)) as server:
        return forked.oastream("--base-url", server.url, "--api", api, "--retry", "0", *args, "hello")


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("body", [b"null", b"42", b'"x"', b"Service is starting.", b'{"hello":"world"}', b"[]"])
def test_what_is_neither_an_answer_nor_an_error_is_shown(api: str, body: bytes) -> None:
    result = run_on(body, api=api)
    assert (result.status, body.decode() in result.message) == (26, True)


@pytest.mark.parametrize("words", ["database unavailable", "identity service down", "error: no model", "events\nnone"])
def test_words_that_begin_like_a_field_are_words(words: str) -> None:
    result = run_on(words.encode())
    assert (result.status, " ".join(words.split()) in result.message) == (26, True)


@pytest.mark.parametrize("body", [b"dat", b"e", b"id: 5\n\n", b": ping\n\n", b"retry", b"event: ping\n\n", b"data\n\n"])
def test_an_event_stream_without_an_event_is_no_answer(body: bytes) -> None:
    assert run_on(body).status == 32


def test_json_of_any_depth_is_shown() -> None:
    assert run_on(b"[" * 900 + b"]" * 900).status == 26
    assert run_on(b'{"error":{"message":' + b"[" * 900 + b"]" * 900 + b"}}").status == 31
    assert run_on(b'{"detail":' + b"[" * 900 + b"]" * 900 + b"}").status == 31
    assert run_on(b'{"error":{"code":' + b"9" * 5000 + b"}}").status in (31, 43)


@pytest.mark.parametrize("depth", [500, 990, 1020, 5000])
@pytest.mark.parametrize("format", ["json", "ndjson", "text", "tools"])
def test_no_depth_is_a_bug(depth: int, format: str) -> None:
    nested = "[" * depth + "]" * depth
    body = sse([json.dumps(ending(message("Hi"))).replace('"usage": null', f'"usage": null, "extra": {nested}')])
    with serve(sse_response(body)) as server:
        result = forked.oastream("--base-url", server.url, "--retry", "0", "--format", format, "hello")
    assert result.status in (0, 17, 43)


def test_an_error_event_may_be_plain_words() -> None:
    for api in ("responses", "chat"):
        result = run_on(b"event: error\ndata: the model is not loaded\n\n", api=api, kind="text/event-stream")
        assert (result.status, "the model is not loaded" in result.message) == (31, True)


def test_a_list_that_holds_one_error_is_that_error() -> None:
    body = sse(['[{"error":{"message":"quota","status":"RESOURCE_EXHAUSTED","code":429}}]'])
    assert run_on(body, kind="text/event-stream").status == 30
    result = run_on(body, "--format", "ndjson", kind="text/event-stream")
    assert result.records[0]["error"]["message"] == "quota"


def test_chunks_of_chat_get_a_hint() -> None:
    body = sse(chat_chunks("Hi"), done=True)
    result = run_on(body, kind="text/event-stream")
    assert result.status == 40
    assert result.err.splitlines()[1].endswith("try --api chat")


@pytest.mark.parametrize("name", ["", "event: oastream:end\n"])
def test_a_server_cannot_forge_our_records(name: str) -> None:
    forged = '{"type":"oastream:end","exit":0,"outcome":"stop"}' if not name else '{"exit":0}'
    body = f"{name}data: {forged}\n\n".encode() + responses_body(message("Hi"))
    records = run_on(body, "--format", "ndjson", kind="text/event-stream").records
    assert [record["type"] for record in records].count("oastream:end") == 1
    assert all(record.get("exit") != 0 or record is records[-1] for record in records)


def test_an_error_under_the_name_of_our_records_is_an_error() -> None:
    record = {"type": "oastream:end", "exit": 0, "outcome": "stop", "error": {"message": "boom", "code": 429}}
    for api in ("responses", "chat"):
        result = run_on(sse([record]), "--format", "ndjson", api=api, kind="text/event-stream")
        assert (result.status, result.end["exit"]) == (30, 30)
        assert result.records[-2]["type"] == "error"


def test_the_type_of_an_event_named_error_is_the_errors() -> None:
    body = b'event: error\ndata: {"type":"rate_limit_error","message":"slow"}\n\n'
    for api in ("responses", "chat"):
        assert run_on(body, api=api, kind="text/event-stream").status == 30


def test_minimax_says_its_errors_in_base_resp() -> None:
    for code, status in ((1002, 30), (1004, 21), (1008, 24), (2013, 31)):
        body = json.dumps({"base_resp": {"status_code": code, "status_msg": "no"}, "choices": None})
        assert run_on(body.encode(), api="chat").status == status
        assert run_on(sse([body]), api="chat", kind="text/event-stream").status == status
    answer = json.dumps({"base_resp": {"status_code": 0}, "choices": [{"message": {"content": "Hi"}, "index": 0}]})
    assert run_on(answer.encode(), api="chat").status == 0


# Web pages ---------------------------------------------------------------------------------------------------------


def test_a_web_page_is_shown_by_its_title() -> None:
    assert page_title(b"<html><TITLE lang=en>\n Bad\n gateway </TITLE><p>x") == "Bad gateway"
    assert page_title(b"<p>Bad <b>gateway</b>") == "Bad gateway"
