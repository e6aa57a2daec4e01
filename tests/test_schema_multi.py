"""--schema-multi: many items are asked for, and each is on stdout, valid, as soon as it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.output.item_lines import ItemReader
from tests.support import forked
from tests.support.program import finish, imported_modules, start
from tests.support.streams import call, chat_body, message, responses_body, responses_events, sse
from tests.support.wire import serve, sse_response, stall_after

SCHEMA = "name, age int"
ITEMS: list[Any] = [{"name": "Ada", "age": 36}, {"name": 'quo"te, [brack{ets}] \\', "age": 2}]
WHOLE = json.dumps({"items": ITEMS})


def ask(text: str, *args: str, body: bytes = b"", schema: str = SCHEMA, piece: int = 3) -> tuple[int, bytes, str]:
    with serve(sse_response(body or responses_body(message(text), piece=piece))) as server:
        result = forked.oastream("-n", "--base-url", server.url, "--schema-multi", schema, *args, "people")
    return result.status, result.out, result.err


def lines(*items: object) -> bytes:
    return "".join(f"{json.dumps(item)}\n" for item in items).encode()


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_each_item_is_a_line(piece: int) -> None:
    assert ask(WHOLE, piece=piece) == (0, lines(*ITEMS), "")
    assert ask("", "--api", "chat", body=chat_body(WHOLE, piece=piece)) == (0, lines(*ITEMS), "")


def test_an_item_is_out_while_the_answer_still_streams() -> None:
    events = responses_events(message(WHOLE), piece=8)
    cut = next(at for at, event in enumerate(events) if '"Ada", "age": 36}, ' in "".join(texts(events[: at + 1])))
    body = sse(events[: cut + 1])
    with (
        serve(stall_after(body)) as server,
        start("-n", "--base-url", server.url, "--schema-multi", SCHEMA, "people") as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == lines(ITEMS[0])
        process.terminate()
        finish(process)


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["delta"] for event in events if event["type"] == "response.output_text.delta"]


@pytest.mark.parametrize(("text", "printed"), [('{"items": []}', b""), (' {"items":[ ] } \n', b"")])
def test_an_empty_list_is_no_mistake(text: str, printed: bytes) -> None:
    assert ask(text) == (0, printed, "")


def test_one_that_is_not_valid_is_left_out_and_exits_14() -> None:
    status, out, err = ask(json.dumps({"items": [ITEMS[0], {"name": 7, "age": 1}, 3, ITEMS[1]]}))
    assert (status, out) == (14, lines(*ITEMS))
    assert "the answer does not fit the schema: 2 of 4 items" in err
    assert "$.items[1].name: " in err
    assert "$.items[2]: " in err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[1]",
        '{"item": []}',
        '{"items": [',
        '{"items": []',
        '{"items": []} more',
        '{"items": {}}',
        "```\n",
    ],
)
def test_what_is_no_such_list_exits_14(text: str) -> None:
    status, out, err = ask(text)
    assert (status, out) == (14, b"")
    assert '$: not a whole {"items": [...]}' in err


@pytest.mark.parametrize("text", ['{"items": [1,]}', '{"items": [,1]}', '{"items": [1,,1]}', '{"items": [1 1]}'])
def test_a_missing_item_is_one_that_is_not_valid(text: str) -> None:
    assert ask(text, schema='{"type":"integer"}')[0] == 14


def test_a_cut_answer_prints_the_items_that_are_whole() -> None:
    cut = responses_body(message(WHOLE[:-9]), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert ask("", body=cut)[:2] == (10, lines(ITEMS[0]))


def test_items_may_be_of_any_type_and_keep_their_digits() -> None:
    items = '1.10, 12345678901234567890123, "a, [b] \\" \\\\", [1, [2]], {"a": {"b": [\n]}}, null, true'
    status, out, _ = ask(f'{{"items": [{items}]}}', schema="{}", piece=1)
    expected = ["1.10", "12345678901234567890123", '"a, [b] \\" \\\\"', "[1, [2]]", '{"a": {"b": [ ]}}', "null", "true"]
    assert (status, out.decode().splitlines()) == (0, expected)


def test_a_list_of_them_is_asked_for_and_definitions_stay_at_the_root() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/end"}]}}}
    schema = {**node, "$defs": {"end": {"type": "null"}}}
    with serve(sse_response(responses_body(message('{"items": [{"next": {"next": null}}]}')))) as server:
        words = ("-n", "--base-url", server.url, "--schema-multi", json.dumps(schema), "nodes")
        assert forked.oastream(*words).out == b'{"next": {"next": null}}\n'
        asked = server.request.json["text"]["format"]["schema"]
    assert asked["required"] == ["items"]
    assert asked["$defs"] == {"end": {"type": "null"}}
    item = asked["properties"]["items"]["items"]
    assert item["properties"]["next"]["anyOf"][0] == {"$ref": "#/properties/items/items"}


def test_hold_and_a_file_let_out_only_a_whole_answer(tmp_path: Path) -> None:
    wrong = json.dumps({"items": [ITEMS[0], 3]})
    assert ask(wrong, "--hold")[:2] == (14, b"")
    assert ask(wrong, "-o", str(tmp_path / "out"))[0] == 14
    assert not (tmp_path / "out").exists()
    assert ask(WHOLE, "-o", str(tmp_path / "out"))[0] == 0
    assert (tmp_path / "out").read_bytes() == lines(*ITEMS)


@pytest.mark.parametrize(("text", "status"), [(WHOLE, 0), ('{"items": [3]}', 14), ("[]", 14)])
def test_with_records_the_events_are_as_ever_and_the_answer_is_checked(text: str, status: int) -> None:
    found, out, _ = ask(text, "--format", "ndjson")
    records = [json.loads(line) for line in out.splitlines()]
    assert (found, records[-1]["outcome"]) == (status, "stop" if not status else "schema")
    assert "".join(r["delta"] for r in records if r["type"] == "response.output_text.delta") == text


def test_a_conversation_has_the_whole_answer(tmp_path: Path) -> None:
    assert ask(WHOLE, "--history", str(tmp_path / "talk"))[0] == 0
    assert json.dumps(WHOLE) in (tmp_path / "talk").read_text().splitlines()[-1]


def test_a_tool_call_is_13() -> None:
    assert ask("", body=responses_body(call("f", "{}")))[:2] == (13, b"")


@pytest.mark.parametrize(("words", "status"), [(["--schema", "n"], 2), (["-x"], 2), (["--list-models"], 2)])
def test_where_it_means_nothing_it_is_refused(words: list[str], status: int) -> None:
    words = [*words, *([] if "--list-models" in words else ["hi"])]
    result = forked.oastream("-n", "--base-url", "mock:", "--schema-multi", SCHEMA, *words)
    assert (result.status, "--schema-multi" in result.err) == (status, True)


def test_what_is_no_schema_exits_8_under_its_own_name() -> None:
    result = forked.oastream("-n", "--base-url", "mock:", "--schema-multi", '{"type": 3}', "hi")
    assert (result.status, "--schema-multi is not a schema" in result.err) == (8, True)


@given(st.lists(st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists, max_leaves=4)), st.data())
def test_any_cut_of_any_list_gives_its_items(items: list[Any], data: st.DataObject) -> None:
    text = json.dumps(
        {"items": items}, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1]))
    )
    reader = ItemReader()
    found: list[str] = []
    while text:
        size = data.draw(st.integers(1, 9))
        found += reader.feed(text[:size])
        text = text[size:]
    assert [json.loads(item) for item in found] == items
    assert reader.is_whole


def test_a_run_without_it_loads_none_of_it() -> None:
    assert not {"oastream.output.item_lines", "oastream.input.item_schema"} & imported_modules(
        "-n", "--base-url", "mock:", "hi"
    )
