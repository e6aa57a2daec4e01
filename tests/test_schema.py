"""--schema: the answer's form is asked for in each API's words, and the answer is checked before it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from openai.lib._parsing import type_to_response_format_param
from pydantic import BaseModel

from tests.support.program import CANARY, Result, imported_modules, oastream
from tests.support.streams import call, chat_body, message, reasoning, refusal, responses_body, responses_events, sse
from tests.support.wire import http_response, serve, sse_response

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "ages": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "ages"],
    "additionalProperties": False,
}
GOOD = '{"name": "Ada", "ages": [1, 2]}'
BAD = '{"name": 7, "ages": [1, "two"]}'

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


def ask(api: str, text: str, *args: str, schema: object = SCHEMA) -> tuple[Result, Any]:
    """A run whose answer is this text, and the body that it sent."""
    body = {"responses": responses_body(message(text)), "chat": chat_body(text)}[api]
    return ask_for(body, "--api", api, *args, schema=schema)


def ask_for(body: bytes, *args: str, schema: object = SCHEMA) -> tuple[Result, Any]:
    given = schema if isinstance(schema, str) else json.dumps(schema)
    with serve(sse_response(body)) as server:
        result = oastream("--base-url", server.url, "--schema", given, *args, "hello")
        return result, server.request.json


def asked_for(schema: object) -> dict[str, Any]:
    """What a run asks a Responses server for."""
    format: dict[str, Any] = ask("responses", "1", schema=schema)[1]["text"]["format"]
    return format


def refused(schema: str) -> Result:
    with serve(sse_response(responses_body(message(GOOD)))) as server:
        result = oastream("--base-url", server.url, "--schema", schema, "hello")
        assert (result.status, result.out, server.connections) == (8, b"", 0), result
        assert len(result.err.splitlines()) == 1
        return result


# What is asked for


def test_the_schema_has_each_apis_form() -> None:
    named = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert ask("responses", GOOD)[1]["text"] == {"format": {"type": "json_schema", **named}}
    assert ask("chat", GOOD)[1]["response_format"] == {"type": "json_schema", "json_schema": named}


class Person(BaseModel):
    name: str
    ages: list[int]


@both_apis
def test_the_form_is_the_sdks(api: str) -> None:
    made: Any = type_to_response_format_param(Person)
    schema = made["json_schema"]["schema"]
    body = {"responses": responses_body(message(GOOD)), "chat": chat_body(GOOD)}[api]
    with serve(sse_response(body)) as server:
        sdk = OpenAI(base_url=server.url, api_key=CANARY, max_retries=0)
        if api == "responses":
            with sdk.responses.stream(model="m", input="hello", text_format=Person) as events:
                events.until_done()
        else:
            words: Any = [{"role": "user", "content": "hello"}]
            with sdk.chat.completions.stream(model="m", messages=words, response_format=Person) as chunks:
                chunks.until_done()
        args = ("--api", api, "-m", "m", "--schema", json.dumps(schema), "hello")
        result = oastream("--base-url", server.url, "-v", *args)
        by_sdk, by_us = (request.json for request in server.requests)
    field = {"responses": "text", "chat": "response_format"}[api]
    assert by_us[field] == by_sdk[field]
    assert "strict" not in result.err, "a schema that the SDK made for strict mode breaks none of its rules"


def test_other_words_about_the_text_stay() -> None:
    _, body = ask("responses", GOOD, "--body", '{"text":{"verbosity":"low"}}')
    assert body["text"]["verbosity"] == "low"
    assert body["text"]["format"]["schema"] == SCHEMA


def test_strict_can_be_switched_off() -> None:
    _, body = ask("responses", GOOD, "--set", "text.format.strict=false")
    assert body["text"]["format"]["strict"] is False


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "json_schema", "name": "person", "strict": False, "schema": SCHEMA},
        {"type": "json_schema", "json_schema": {"name": "person", "strict": False, "schema": SCHEMA}},
        {"name": "person", "strict": False, "schema": SCHEMA},
    ],
)
def test_a_schema_in_either_apis_frame_is_taken_out_of_it(frame: Any) -> None:
    assert asked_for(frame) == {"type": "json_schema", "name": "person", "strict": False, "schema": SCHEMA}


def test_the_title_becomes_a_name_that_the_api_takes() -> None:
    assert asked_for({**SCHEMA, "title": "Größe & Name!"})["name"] == "Gr_e_Name"


@pytest.mark.parametrize("prefix", ["", "@"])
def test_a_schema_may_be_in_a_file(tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "a schema, with: signs"
    file.write_text(json.dumps(SCHEMA))
    assert asked_for(f"{prefix}{file}")["schema"] == SCHEMA


def fields(**types: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return {"type": "object", "properties": properties, "required": list(types), "additionalProperties": False}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name", fields(name="string")),
        ("name, age int", fields(name="string", age="integer")),
        ("name,age int , ok bool", fields(name="string", age="integer", ok="boolean")),
        ("name:str,size:float", fields(name="string", size="number")),
        ("name:string,n:integer", fields(name="string", n="integer")),
        ("name\nage int\n", fields(name="string", age="integer")),
    ],
)
def test_the_shorthand_names_fields_and_types(text: str, expected: dict[str, Any]) -> None:
    assert asked_for(text)["schema"] == expected


def test_the_shorthand_has_descriptions() -> None:
    given = asked_for("name: the full name, age int: in years: whole ones")["schema"]["properties"]
    assert given["name"] == {"type": "string", "description": "the full name"}
    assert given["age"] == {"type": "integer", "description": "in years: whole ones"}


def test_the_shorthand_is_that_of_llm() -> None:
    """llm 0.32, utils.schema_dsl: its own examples; strictness is added."""
    for text, expected in {
        "name, bio": fields(name="string", bio="string"),
        "name, age int, bio": fields(name="string", age="integer", bio="string"),
        "name, active bool, score float": fields(name="string", active="boolean", score="number"),
    }.items():
        assert asked_for(text)["schema"] == expected


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ('{"type":"objekt"}', "$.type"),
        ('{"type":"object","properties":[]}', "$.properties"),
        ('{"type":"object",\n "properties":}', "line 2, column"),
        ('{"properties":{"a":{"pattern":"("}}}', "$.properties.a.pattern"),
        ('{"$ref":"#/$defs/none"}', "'/$defs/none' does not exist"),
        ('{"$dynamicRef":"#none"}', "'none' does not exist"),
        ('{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}', "infinite $ref recursion"),
        ('{"$ref":"file:///etc/hostname"}', "file:///etc/hostname"),
        ('{"$schema":"https://example.invalid/mine"}', "https://example.invalid/mine"),
        ('{"multipleOf":%s}' % ("1" * 400), "infinity"),
        ('{"not":' * 500 + "{}" + "}" * 500, "ecursion"),
        ('{"const":"\\ud800"}', "not JSON"),
        ('{"properties":{"a":{"$ref":"https://example.invalid/a.json"}}}', "https://example.invalid/a.json"),
        ('{"$ref":"#"}', "infinite $ref recursion"),
        ("[1]", "not a JSON object"),
        ("name, age integr", "integr"),
        ("a b c, d", "a b c"),
        (",", "no fields"),
        ("/nonexistent/schema.json", "/nonexistent/schema.json"),
        ("schema.json", "schema.json"),
    ],
)
def test_what_is_no_schema_exits_8(schema: str, why: str) -> None:
    assert why in refused(schema).message


def test_nothing_that_a_schema_refers_to_is_fetched(tmp_path: Path) -> None:
    part = tmp_path / "part.json"
    part.write_text('{"type":"string"}')
    with serve(http_response('{"type":"string"}')) as elsewhere:
        for reference in (f"{elsewhere.url}/part.json", part.as_uri()):
            assert reference in refused(json.dumps({"$ref": reference})).message
        assert elsewhere.connections == 0


def test_an_empty_schema_file_exits_8(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("")
    assert "s.json" in refused(str(tmp_path / "s.json")).message


# The note on strict mode

LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (LOOSE, "$: additionalProperties must be false"),
        ({**LOOSE, "additionalProperties": False}, "$: every property must be required, and a is not"),
        ({"type": "array", "items": {"type": "string"}}, "$: the root must be an object"),
        ({**SCHEMA, "properties": {**SCHEMA["properties"], "x": {"oneOf": [{}]}}}, "(and 1 more)"),
        ({**SCHEMA, "$defs": {"d": {"type": "object"}}}, "$.$defs.d: additionalProperties"),
    ],
)
def test_verbose_notes_what_strict_mode_refuses(schema: Any, why: str) -> None:
    result, _ = ask("responses", "{}", "-v", schema=schema)
    [note] = [line for line in result.err.splitlines() if "strict" in line]
    assert why in note


def test_the_note_is_shown_when_the_server_refuses() -> None:
    with serve(http_response('{"error":{"message":"Invalid schema"}}', "400 Bad Request")) as server:
        result = oastream("--base-url", server.url, "--schema", json.dumps(LOOSE), "hello")
    assert result.status == 20
    assert "strict mode" in result.err


def test_success_is_silent_although_strict_mode_would_refuse() -> None:
    assert ask("responses", '{"a": "b"}', schema=LOOSE)[0].err == ""


# The answer


@both_apis
@pytest.mark.parametrize("form", ["text", "ndjson", "json", "sse"])
def test_an_answer_that_fits_is_a_plain_one(api: str, form: str) -> None:
    result, _ = ask(api, GOOD, "--format", form)
    assert (result.status, result.err) == (0, "")


@both_apis
def test_an_answer_that_does_not_fit_exits_14_and_says_where(api: str) -> None:
    result, _ = ask(api, BAD)
    assert (result.status, result.text) == (14, BAD + "\n")
    first, *errors = [line for line in result.err.splitlines() if "hint:" not in line]
    assert first == "oastream: the answer does not fit the schema: 2 errors"
    assert errors == [
        'oastream: $.name: 7 is not of type "string"',
        'oastream: $.ages[1]: "two" is not of type "integer"',
    ]


@pytest.mark.parametrize("text", ["This is not JSON.", "```json\n" + GOOD + "\n```", GOOD + GOOD, "", "NaN"])
def test_what_is_not_json_exits_14(text: str) -> None:
    result, _ = ask("responses", text)
    assert result.status == 14
    assert "$: not JSON" in result.err.splitlines()[1]


def test_many_errors_are_counted_and_not_all_shown() -> None:
    result, _ = ask("responses", json.dumps({"name": "a", "ages": ["x"] * 500}))
    lines = [line for line in result.err.splitlines() if "hint:" not in line]
    assert len(lines) == 22
    assert "500 errors" in result.message
    assert lines[-1] == "oastream: and 480 more"


def test_a_long_wrong_value_is_shortened() -> None:
    result, _ = ask("responses", json.dumps({"name": ["x" * 10_000], "ages": []}))
    assert len(result.err) < 500


@both_apis
@pytest.mark.parametrize("form", ["text", "json", "sse"])
def test_hold_lets_no_wrong_answer_out(api: str, form: str) -> None:
    result, _ = ask(api, BAD, "--hold", "--format", form)
    assert (result.status, result.out) == (14, b"")


def test_hold_lets_the_end_record_out_alone() -> None:
    result, _ = ask("responses", BAD, "--hold", "--format", "ndjson")
    assert result.status == 14
    [record] = result.records
    assert (record["type"], record["exit"], record["outcome"]) == ("oastream:end", 14, "schema")


def test_a_file_is_not_replaced_by_a_wrong_answer(tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    target.write_text("old")
    assert ask("responses", BAD, "-o", str(target))[0].status == 14
    assert target.read_text() == "old"
    assert ask("responses", GOOD, "-o", str(target))[0].status == 0
    assert json.loads(target.read_text()) == json.loads(GOOD)
    assert [entry.name for entry in tmp_path.iterdir()] == ["answer.json"]


def test_keep_partial_leaves_the_wrong_answer_beside(tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    ask("responses", BAD, "-o", str(target), "--keep-partial")
    assert (tmp_path / "answer.json.part").read_text() == BAD + "\n"
    assert not target.exists()


def test_ok_schema_writes_the_file_and_says_nothing(tmp_path: Path) -> None:
    result, _ = ask("responses", BAD, "--ok", "schema", "-o", str(tmp_path / "answer"))
    assert (result.status, result.err) == (0, "")
    assert (tmp_path / "answer").read_text() == BAD + "\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (responses_body(call("clock", "{}")), 13),
        (responses_body(message("{"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}), 10),
        (responses_body(message("{"), status="incomplete", incomplete_details={"reason": "content_filter"}), 11),
        (responses_body(refusal("No.")), 12),
        (responses_body(message("{"), status="incomplete", incomplete_details={"reason": "new"}), 14),
        (responses_body(reasoning("hm")), 14),
    ],
)
def test_the_lowest_number_counts(body: bytes, status: int) -> None:
    assert ask_for(body)[0].status == status


def test_a_tool_call_needs_no_schema_with_format_tools() -> None:
    assert ask_for(responses_body(call("clock", "{}")), "--format", "tools")[0].status == 0


def test_an_answer_may_be_nested_as_deeply_as_its_schema_allows() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    assert ask("responses", "[" * 900 + "]" * 900, schema=tree)[0].status == 0
    result, _ = ask("responses", "[" * 200_000 + "]" * 200_000, schema=tree)
    assert (result.status, result.err.splitlines()[1]) == (14, "oastream: $: not JSON: nested too deeply")


def test_an_integer_of_any_size_is_an_integer() -> None:
    assert ask("responses", '{"name":"a","ages":[123456789012345678901234567890]}')[0].status == 0


def test_an_escaped_lone_surrogate_is_a_character() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2, "maxLength": 2}}}
    assert ask("responses", r'{"a": "\ud83d\ude00\ud800"}', schema=schema)[0].status == 0
    deep = "[" * 990 + r'"\ud800"' + "]" * 990
    assert ask("responses", deep, schema={"type": "array"})[0].status in (0, 14)


@pytest.mark.parametrize(
    ("pattern", "answer", "status"),
    [
        (r"^\p{L}+$", "Zo\u00eb", 0),
        (r"^\p{L}+$", "R2D2", 14),
        (r"^(?<year>\d{4})-\d\d$", "2026-11", 0),
        (r"^(a|a?)+$", "a" * 5000 + "b", 14),
        (r"^(?=a)((a+)+)\2x$", "a" * 5000, 14),
    ],
)
def test_a_pattern_is_ecma_script_and_takes_no_time(pattern: str, answer: str, status: int) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    result, _ = ask("responses", json.dumps({"a": answer}), "--max-time", "20", schema=schema)
    assert result.status == status


def test_a_schema_may_name_its_parts_by_id() -> None:
    part = {"$id": "https://example.org/name", "type": "string"}
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.org/name"}}, "$defs": {"n": part}}
    assert ask("responses", '{"a": 1}', schema=schema)[0].status == 14
    assert ask("responses", '{"a": "b"}', schema=schema)[0].status == 0


@pytest.mark.parametrize(
    ("api", "text", "has_hint"),
    [
        ("responses", {"format": {"type": "text"}}, True),
        ("responses", None, True),
        ("responses", {"format": {"type": "json_schema"}}, False),
        ("chat", None, False),
    ],
)
def test_a_server_that_seems_to_ignore_schemas_gets_a_hint_at_chat(api: str, text: Any, has_hint: bool) -> None:
    events = responses_events(message("Sure!"))
    events[-1]["response"]["text"] = text
    body = sse(events) if api == "responses" else chat_body("Sure!")
    with serve(sse_response(body)) as server:
        result = oastream("--base-url", server.url, "--api", api, "--schema", "name", "hello")
    assert result.status == 14
    assert ("--api chat" in result.err) is has_hint


@both_apis
def test_a_server_that_keeps_to_the_schema_gives_0(api: str) -> None:
    result = oastream("--base-url", "mock:", "--api", api, "--schema", "name, age int", "Invent a dog")
    assert result.status == 0
    assert set(json.loads(result.out)) == {"name", "age"}


@pytest.mark.parametrize(("args", "loaded"), [((), False), (("--schema", "name, age int"), True)])
def test_the_schema_library_is_loaded_only_for_a_schema(args: tuple[str, ...], loaded: bool) -> None:
    assert ("jsonschema_rs" in imported_modules("--base-url", "mock:", *args, "hello")) == loaded
