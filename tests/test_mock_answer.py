"""What the mock server says: pure functions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.exits import Outcome
from oastream.mock.answer import Answer, ToolCall, answer_to, argument_pieces, count_tokens, shorten, split_words
from oastream.mock.body import last_user_text
from oastream.mock.events import json_text
from oastream.mock.sample import sample_value


@given(st.text())
def test_pieces_joined_are_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text
    assert "".join(argument_pieces(ToolCall("f", text))) == text


@given(st.text(min_size=1), st.text(), st.integers(0, 20))
def test_an_answer_never_has_more_tokens_than_its_limit(text: str, payload: str, limit: int) -> None:
    answer = Answer(text, reasoning="so so", calls=(ToolCall("f", payload),))
    short = shorten(answer, limit)
    assert count_tokens(short) == min(limit, count_tokens(answer))
    assert text.startswith(short.text)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"input": "hi 北京"}, "hi 北京"),
        ({"input": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "a"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image"}]}]}, "x"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text"}]}]}, "x"),
        ({"messages": [{"role": "system", "content": "only me"}]}, "only me"),
        ({"input": []}, ""),
        ({"input": [{"role": "user"}, "odd"]}, ""),
    ],
)
def test_the_echo_is_the_last_user_text(body: dict[str, Any], text: str) -> None:
    assert last_user_text(body) == text
    assert answer_to(body, None, Outcome.STOP).text == text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}},
            {"a": "sample", "b": 1},
        ),
        ({"type": "object", "properties": {"a": {}, "b": {"enum": ["C", "F"]}}, "required": ["b"]}, {"b": "C"}),
        ({"type": "array", "items": {"type": ["number", "null"]}}, [1.5]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": "integer", "minimum": 7}, 7),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"const": True}}}, True),
        ({}, "sample"),
    ],
)
def test_a_sample_has_the_schemas_shape(schema: dict[str, Any], value: object) -> None:
    assert sample_value(schema) == value


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    assert json_text(sample_value({"type": "object", "properties": {"next": {"$ref": "#"}}}))


def test_structured_output_is_answered_with_a_sample_and_schema_with_plain_text() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    body = {"input": "hi", "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}
    assert answer_to(body, None, Outcome.STOP).text == '{"n":1}'
    assert answer_to(body, None, Outcome.SCHEMA).text == "This is not JSON."
    chat = {"messages": [], "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    assert answer_to(chat, None, Outcome.STOP).text == '{"n":1}'


def test_a_required_tool_is_called_and_no_tool_calls_calls_none() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
    body = {"input": "hi", "tools": [tool], "tool_choice": "required"}
    assert answer_to(body, None, Outcome.STOP).calls == (ToolCall("f", '{"x":"sample"}'),)
    assert answer_to(body, None, Outcome.NO_TOOL_CALLS).text == "hi"


def test_the_named_tool_is_called_in_either_shape() -> None:
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "g"}},
    ]
    body = {"messages": [], "tools": tools, "tool_choice": {"type": "custom", "custom": {"name": "g"}}}
    assert answer_to(body, None, Outcome.STOP).calls == (ToolCall("g", "sample input", custom=True),)
    assert answer_to({**body, "tool_choice": "auto"}, None, Outcome.TOOL_CALLS).calls == (ToolCall("f", "{}"),)


def test_a_lone_surrogate_stays_an_escape() -> None:
    assert json_text({"a": "北\ud800"}) == '{"a":"\\u5317\\ud800"}'
    assert json_text({"a": "北"}) == '{"a":"北"}'
