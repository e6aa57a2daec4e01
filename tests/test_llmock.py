"""A second opinion on both APIs: llmock, a scripted server that others wrote.

In: answers, tool calls and faults that llmock is told to play. Out: what the program makes of them.
Skipped where llmock is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.program import Result, oastream
from tests.support.real_servers import llmock

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ARGUMENTS = {"city": "北京 😀", "days": 3, "exact": True, "note": 'a "quoted"\nline'}

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with llmock() as handle:
        yield handle


@pytest.fixture
def mock(running: Any) -> Any:
    """llmock without a script, and without the requests of other tests."""
    return running.reset()


def ask(mock: Any, api: str, *args: str) -> Result:
    return oastream("--base-url", mock.base_url(), "--api", api, *args, "What is the weather in Peking?")


def sent(mock: Any) -> list[str]:
    return [record.path for record in mock.requests]


@both_apis
def test_text_is_printed(mock: Any, api: str) -> None:
    mock.reply("Grüße 😀, two  spaces\nand a line")
    result = ask(mock, api)
    assert (result.status, result.text, result.err) == (0, "Grüße 😀, two  spaces\nand a line\n", "")
    assert sent(mock) == [{"responses": "/v1/responses", "chat": "/v1/chat/completions"}[api]]


@both_apis
def test_a_tool_call_in_text_is_13(mock: Any, api: str) -> None:
    mock.call_tool("get_weather", ARGUMENTS)
    result = ask(mock, api, "--tools", json.dumps([WEATHER]))
    assert (result.status, result.out) == (13, b"")
    assert "get_weather" in result.err


@both_apis
def test_a_tool_call_with_format_tools_is_0_and_its_arguments_are_parsed(mock: Any, api: str) -> None:
    mock.call_tool("get_weather", ARGUMENTS)
    result = ask(mock, api, "--format", "tools", "--tools", json.dumps([WEATHER]))
    assert (result.status, result.err) == (0, "")
    [call] = result.records
    assert call["call_id"].startswith("call_")
    assert call == {
        "type": "function_call",
        "call_id": call["call_id"],
        "name": "get_weather",
        "arguments": ARGUMENTS,
    }


@both_apis
def test_text_before_a_tool_call_is_printed(mock: Any, api: str) -> None:
    mock.call_tool("get_weather", {}, text="Let me see.")
    result = ask(mock, api)
    assert (result.status, result.text) == (13, "Let me see.\n")


@both_apis
def test_empty_arguments_are_an_empty_object(mock: Any, api: str) -> None:
    mock.call_tool("get_time", {})
    assert ask(mock, api, "--format", "tools").records[0]["arguments"] == {}


@both_apis
def test_several_calls_are_one_line_each(mock: Any, api: str) -> None:
    scenarios = pytest.importorskip("llmock.scenarios")
    calls = tuple(scenarios.ToolCall("get_weather", {"city": city}) for city in ("Oslo", "Rome", "北京"))
    mock.add(scenarios.Reply(tool_calls=calls))
    result = ask(mock, api, "--format", "tools")
    assert result.status == 0
    assert [call["arguments"]["city"] for call in result.records] == ["Oslo", "Rome", "北京"]
    assert len({call["call_id"] for call in result.records}) == 3


@both_apis
@pytest.mark.parametrize("shape", ["responses", "chat", "bare"])
def test_llmock_finds_the_tool_whatever_shape_it_was_given_in(mock: Any, api: str, shape: str) -> None:
    """llmock calls a tool of its own accord, with arguments after its schema, when it can read the request's tools."""
    bare = {name: value for name, value in WEATHER.items() if name != "type"}
    tools = {"responses": [WEATHER], "chat": [{"type": "function", "function": bare}], "bare": [bare]}
    result = ask(mock, api, "--format", "tools", "--tools", json.dumps(tools[shape]))
    assert result.status == 0, result
    assert [(call["name"], list(call["arguments"])) for call in result.records] == [("get_weather", ["city"])]


@both_apis
def test_llmock_honours_tool_choice(mock: Any, api: str) -> None:
    tools = json.dumps([WEATHER, {**WEATHER, "name": "other"}])
    forced = ask(mock, api, "--format", "tools", "--tools", tools, "--tool-choice", "other")
    assert [call["name"] for call in forced.records] == ["other"]
    assert ask(mock, api, "--format", "tools", "--tools", tools, "--tool-choice", "none").status == 17


@both_apis
def test_arguments_that_are_not_json_are_43_and_nothing_is_printed(mock: Any, api: str) -> None:
    mock.break_tool_call("malformed_arguments")
    result = ask(mock, api, "--format", "tools", "--tools", json.dumps([WEATHER]))
    assert (result.status, result.out) == (43, b"")


@both_apis
@pytest.mark.parametrize(
    ("status", "exit_status"),
    [(400, 20), (401, 21), (403, 22), (404, 23), (402, 24), (418, 25), (429, 30), (500, 31), (503, 31), (529, 31)],
)
def test_an_error_status_has_its_exit_status(mock: Any, api: str, status: int, exit_status: int) -> None:
    mock.fail(status, times=None)
    result = ask(mock, api, "--retry", "0")
    assert (result.status, result.out) == (exit_status, b"")
    assert len(mock.requests) == 1


@both_apis
def test_a_rate_limit_that_ends_is_not_seen(mock: Any, api: str) -> None:
    mock.rate_limit(times=2, retry_after=0.1).reply("after all")
    result = ask(mock, api, "--retry-delay", "0.05")
    assert (result.status, result.text, result.err) == (0, "after all\n", "")
    assert len(mock.requests) == 3


@both_apis
def test_a_prompt_too_long_is_20(mock: Any, api: str) -> None:
    mock.context_overflow()
    assert ask(mock, api).status == 20


@both_apis
def test_a_stream_that_ends_early_but_cleanly_is_40(mock: Any, api: str) -> None:
    mock.reply("one two three four five").truncate(after_chunks=5 if api == "responses" else 3)
    result = ask(mock, api)
    assert result.status == 40
    assert "one two three four five".startswith(result.text.strip())
    assert result.text.strip()


@both_apis
def test_a_dropped_connection_is_40(mock: Any, api: str) -> None:
    mock.reply("one two three four five").disconnect(after_chunks=6 if api == "responses" else 3)
    result = ask(mock, api)
    assert (result.status, bool(result.out)) == (40, True)


@both_apis
def test_a_chunk_that_is_not_json_is_43(mock: Any, api: str) -> None:
    mock.reply("one two three four five").corrupt(after_chunks=6 if api == "responses" else 3)
    assert ask(mock, api).status == 43


@both_apis
def test_a_stall_is_41(mock: Any, api: str) -> None:
    mock.reply("one two three four five").stall(after_chunks=6 if api == "responses" else 3, seconds=5)
    result = ask(mock, api, "--idle-timeout", "0.5")
    assert (result.status, bool(result.out)) == (41, True)


@both_apis
def test_llmocks_own_verdict_on_the_client_is_clean(mock: Any, api: str) -> None:
    """It looks for a Retry-After not kept, for retries of what cannot be retried, for cut streams taken as whole."""
    mock.rate_limit(times=1, retry_after=1).reply("one two three four five").truncate(after_chunks=5)
    result = ask(mock, api)
    assert result.status == 40
    mock.fail(401)
    assert ask(mock, api).status == 21
    mock.assert_resilient()


@both_apis
def test_usage_is_in_the_end_record(mock: Any, api: str) -> None:
    mock.reply("one two three")
    usage = ask(mock, api, "--format", "ndjson").end["usage"]
    assert usage["input_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
