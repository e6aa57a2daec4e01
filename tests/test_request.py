"""What is on the wire for each option, on both APIs; and what never gets there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from tests.support import forked
from tests.support.program import CANARY, NOTHING, Environment, Result, oastream
from tests.support.streams import chat_body, message, prompt_in, responses_body
from tests.support.wire import Request, Server, serve, sse_response

ANSWERS = {"responses": sse_response(responses_body(message("ok"))), "chat": sse_response(chat_body("ok"))}
PATHS = {"responses": "/v1/responses", "chat": "/v1/chat/completions"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BARE = {"name": "get_weather", "description": "Weather of a city", "parameters": SCHEMA}
FLAT = {"type": "function", **BARE}
NESTED = {"type": "function", "function": BARE}

WORDS = (
    *("type", "role", "content", "name", "function", "custom", "tools", "messages", "input", "reasoning", "text"),
    *("format", "schema", "parameters", "call_id", "output", "arguments", "allowed_tools", "properties", "$ref"),
    *("items", "status"),
)
"""Fields that have a meaning somewhere."""

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


@pytest.fixture
def server() -> Iterator[Server]:
    """For runs that send nothing, or on the Responses API."""
    with serve(ANSWERS["responses"]) as running:
        yield running


def sent(api: str, *args: str, env: Environment = NOTHING) -> Request:
    """The request of a run that succeeds."""
    with serve(ANSWERS[api]) as server:
        result = oastream("--base-url", server.url, "--api", api, *args, "hello", env=env)
        assert (result.status, result.out, result.err) == (0, b"ok\n", "")
        return server.request


def body(api: str, *args: str) -> Any:
    return sent(api, *args).json


def refused(server: Server, status: int, *args: str, env: Environment = NOTHING) -> Result:
    """A run that ends before anything is sent, with one message."""
    base = () if "--base-url" in args else ("--base-url", server.url)
    result = oastream(*base, *args, "hello", env=env)
    assert result.status == status, result
    assert result.out == b""
    assert result.message
    assert len(result.err.splitlines()) <= 2
    assert server.connections == 0, "something was sent"
    return result


# The body


@both_apis
def test_the_request_asks_for_a_stream_of_json_events(api: str) -> None:
    request = sent(api)
    assert (request.method, request.path) == ("POST", PATHS[api])
    assert request.headers["content-type"].startswith("application/json")
    assert request.headers.get("accept-encoding", "identity") == "identity", "compression delays deltas"
    assert request.headers["authorization"] == f"Bearer {CANARY}"
    assert request.headers["host"].startswith("127.0.0.1:")
    assert request.json["stream"] is True
    assert isinstance(request.json["model"], str)
    assert prompt_in(request.json) == "hello"


def test_chat_asks_for_usage() -> None:
    assert body("chat")["stream_options"] == {"include_usage": True}


def test_responses_is_the_default_api(server: Server) -> None:
    assert oastream("--base-url", server.url, "hello").status == 0
    assert server.request.path == "/v1/responses"


@both_apis
@pytest.mark.parametrize(
    ("args", "field", "value"),
    [
        (["-m", "some/model:v1"], "model", "some/model:v1"),
        (["--model", "m"], "model", "m"),
        (["--temperature", "0.3"], "temperature", 0.3),
        (["--temperature", "0"], "temperature", 0),
        (["--top-p", "0.9"], "top_p", 0.9),
        (["--tool-choice", "required", "--tools", json.dumps([BARE])], "tool_choice", "required"),
        (["--set", "seed=7"], "seed", 7),
        (["--set", "user=bob"], "user", "bob"),
        (["--set", 'user="7"'], "user", "7"),
        (["--set", "store=false"], "store", False),
        (["--set", 'stop=["a","b"]'], "stop", ["a", "b"]),
        (["--set", "metadata.a.b=1", "--set", "metadata.c=x=y"], "metadata", {"a": {"b": 1}, "c": "x=y"}),
        (["--body", '{"metadata":{"k":"v"}}'], "metadata", {"k": "v"}),
        (["--body", '{"temperature":0.1}', "--temperature", "0.9"], "temperature", 0.9),
        (["--body", '{"metadata":{"k":"v"}}', "--set", "metadata.x=1"], "metadata", {"k": "v", "x": 1}),
        (["--body", '{"model":"from-body"}'], "model", "from-body"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value and str(value[0]).startswith("-") else None,
)
def test_an_option_is_a_field_of_the_body(api: str, args: list[str], field: str, value: object) -> None:
    assert body(api, *args)[field] == value


@pytest.mark.parametrize("step", ["\u00b2", "9" * 5000, "-1"])
def test_a_step_that_is_no_place_in_a_list_is_a_name(step: str) -> None:
    assert body("responses", "--set", f"metadata.{step}=1")["metadata"] == {step: 1}


@pytest.mark.parametrize("option", ["--max-output-tokens", "--max-tokens"])
def test_the_token_limit_has_each_apis_name(option: str) -> None:
    assert body("responses", option, "50")["max_output_tokens"] == 50
    chat = body("chat", option, "50")
    assert [chat.get("max_completion_tokens"), chat.get("max_tokens")].count(50) == 1


def test_the_reasoning_effort_has_each_apis_place() -> None:
    assert body("responses", "--reasoning-effort", "low")["reasoning"]["effort"] == "low"
    assert body("chat", "--reasoning-effort", "low")["reasoning_effort"] == "low"


@pytest.mark.parametrize("option", ["-s", "--system", "--instructions"])
def test_the_system_text_has_each_apis_place(option: str) -> None:
    assert body("responses", option, "Be brief.")["instructions"] == "Be brief."
    first, second = body("chat", option, "Be brief.")["messages"]
    assert first["role"] in ("system", "developer")
    assert first["content"] == "Be brief."
    assert (second["role"], second["content"]) == ("user", "hello")


def test_the_system_text_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "system").write_bytes("Sei kürzer.\n".encode())
    assert body("responses", "-s", f"@{tmp_path}/system")["instructions"] == "Sei kürzer.\n"


def test_a_previous_response_is_named() -> None:
    assert body("responses", "--previous-response-id", "resp_9")["previous_response_id"] == "resp_9"


def test_the_body_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{"metadata":{"k":"v"}}')
    assert body("responses", "--body", str(tmp_path / "body.json"))["metadata"] == {"k": "v"}


@both_apis
@pytest.mark.parametrize("shape", [BARE, FLAT, NESTED], ids=["bare", "flat", "nested"])
def test_tools_are_sent_in_the_shape_of_the_api(api: str, shape: dict[str, Any]) -> None:
    expected = {"responses": FLAT, "chat": NESTED}[api]
    (tool,) = body(api, "--tools", json.dumps([shape]))["tools"]
    if api == "responses":
        assert {name: tool[name] for name in expected} == expected
        assert "function" not in tool
    else:
        assert tool == expected


@pytest.mark.parametrize("tool", [BARE, NESTED, {**BARE, "type": "object"}], ids=["bare", "nested", "schema"])
def test_a_tool_that_does_not_say_so_is_not_made_strict(tool: dict[str, Any]) -> None:
    assert body("responses", "--tools", json.dumps([tool]))["tools"] == [{**FLAT, "strict": False}]
    assert body("chat", "--tools", json.dumps([tool]))["tools"] == [NESTED]


def test_a_tool_in_the_shape_of_responses_is_sent_as_it_is() -> None:
    assert body("responses", "--tools", json.dumps([FLAT]))["tools"] == [FLAT]


def test_a_custom_tool_has_no_strictness() -> None:
    custom = {"type": "custom", "custom": {"name": "sql"}}
    assert body("responses", "--tools", json.dumps([custom]))["tools"] == [{"type": "custom", "name": "sql"}]


def test_strict_survives_the_change_of_shape() -> None:
    nested = {"type": "function", "function": {**BARE, "strict": True}}
    assert body("responses", "--tools", json.dumps([nested]))["tools"] == [{**FLAT, "strict": True}]
    assert body("chat", "--tools", json.dumps([{**FLAT, "strict": True}]))["tools"] == [nested]


def test_tools_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([BARE], indent=2))
    assert body("chat", "--tools", str(tmp_path / "tools.json"))["tools"] == [NESTED]


def test_hosted_tools_are_sent_as_they_are() -> None:
    assert body("responses", "--tools", '[{"type":"web_search"}]')["tools"] == [{"type": "web_search"}]


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
def test_a_tool_choice_by_mode_is_a_word(choice: str) -> None:
    assert body("responses", "--tools", json.dumps([BARE]), "--tool-choice", choice)["tool_choice"] == choice


def test_a_tool_choice_by_name_has_the_shape_of_the_api() -> None:
    args = ["--tools", json.dumps([BARE]), "--tool-choice", "get_weather"]
    assert body("responses", *args)["tool_choice"] == {"type": "function", "name": "get_weather"}
    assert body("chat", *args)["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}


def choice_sent(api: str, choice: Any) -> Any:
    return body(api, "--tools", json.dumps([BARE]), "--tool-choice", json.dumps(choice))["tool_choice"]


ONE = {"responses": {"type": "function", "name": "get_weather"}}
ONE["chat"] = {"type": "function", "function": {"name": "get_weather"}}  # type: ignore[dict-item]
ALLOWED = {
    "responses": {"type": "allowed_tools", "mode": "required", "tools": [ONE["responses"]]},
    "chat": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [ONE["chat"]]}},
}


@both_apis
@pytest.mark.parametrize("given", ["responses", "chat"])
@pytest.mark.parametrize("choice", [ONE, ALLOWED], ids=["one", "allowed"])
def test_a_tool_choice_in_either_shape_has_that_of_the_api(api: str, given: str, choice: dict[str, Any]) -> None:
    assert choice_sent(api, choice[given]) == choice[api]


@both_apis
def test_a_tool_choice_of_another_kind_is_sent_as_it_is(api: str) -> None:
    assert choice_sent(api, {"type": "mcp", "server_label": "docs"}) == {"type": "mcp", "server_label": "docs"}


# Texts that begin with @


@pytest.mark.parametrize("words", ["@@all, be brief", "@@"])
def test_two_ats_begin_a_text_with_one(words: str) -> None:
    assert body("responses", "-s", words)["instructions"] == words[1:]


def test_the_output_of_a_tool_may_begin_with_an_at() -> None:
    item = body("responses", "--tool-output", "call_1=@@handle")["input"][0]
    assert item == {"type": "function_call_output", "call_id": "call_1", "output": "@handle"}


# Headers, address, key


def test_dry_run_shows_both_values_of_a_header_that_is_given_twice() -> None:
    args = ("--header", "X-Tag: a", "--header", "X-Tag: b")
    result = forked.oastream("-n", "--base-url", "mock:", "--dry-run", *args, "hi")
    assert json.loads(result.out)["headers"]["X-Tag"] == "a, b"


def test_headers_are_added() -> None:
    request = sent("responses", "--header", "X-Trace: a: b", "--header", "x-other:c")
    assert request.headers["x-trace"] == "a: b"
    assert request.headers["x-other"] == "c"


def test_organisation_and_project_are_honoured() -> None:
    request = sent("responses", env={"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"})
    assert request.headers["openai-organization"] == "org-1"
    assert request.headers["openai-project"] == "proj-1"


def test_the_base_url_may_end_in_a_slash(server: Server) -> None:
    assert oastream("--base-url", f"{server.url}/", "hello").status == 0
    assert server.request.path == "/v1/responses"


def test_the_base_url_may_come_from_the_environment(server: Server) -> None:
    assert oastream("hello", env={"OPENAI_BASE_URL": server.url}).status == 0
    assert server.request.path == "/v1/responses"


def test_the_base_url_option_beats_the_environment(server: Server) -> None:
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    assert oastream("--base-url", server.url, "hello", env=env).status == 0


def test_loopback_has_many_names(server: Server) -> None:
    for name in ("localhost", "127.0.0.1", "LOCALHOST"):
        assert oastream("--base-url", f"http://{name}:{server.port}/v1", "hello").status == 0


@pytest.mark.parametrize("key", [None, ""], ids=["unset", "empty"])
def test_loopback_needs_no_key(key: str | None) -> None:
    assert "authorization" not in sent("responses", env={"OPENAI_API_KEY": key}).headers


@pytest.mark.parametrize("key", [None, "", " \n"], ids=["unset", "empty", "blank"])
@pytest.mark.parametrize("url", [None, "https://example.invalid/v1"], ids=["default", "other"])
def test_no_key_exits_6(server: Server, url: str | None, key: str | None) -> None:
    result = oastream(*(["--base-url", url] if url else []), "hello", env={"OPENAI_API_KEY": key})
    assert result.status == 6
    assert "key" in result.message.lower()


@pytest.mark.parametrize(
    "host", ["example.invalid", "127.0.0.1.example.invalid", "localhost.example.invalid", "192.0.2.1", "[2001:db8::1]"]
)
def test_no_key_goes_over_plain_http_to_another_host(server: Server, host: str) -> None:
    result = refused(server, 6, "--base-url", f"http://{host}/v1")
    assert "http" in result.message


def key_file(tmp_path: Path, name: str, content: str) -> str:
    file = tmp_path / name
    file.write_text(content)
    file.chmod(0o600)
    return str(file)


def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    name = key_file(tmp_path, "key", "sk-CANARY-file\n")
    assert sent("responses", "--api-key-file", name).headers["authorization"] == "Bearer sk-CANARY-file"


def test_the_key_may_come_from_a_file_named_in_the_environment(tmp_path: Path) -> None:
    env = {"OASTREAM_API_KEY_FILE": key_file(tmp_path, "key", "sk-CANARY-env-file\n")}
    assert sent("responses", env=env).headers["authorization"] == "Bearer sk-CANARY-env-file"


def test_the_key_may_come_from_a_command() -> None:
    request = sent("responses", env={"OASTREAM_API_KEY_CMD": "echo sk-CANARY-cmd; exit 0"})
    assert request.headers["authorization"] == "Bearer sk-CANARY-cmd"


def test_no_word_of_a_command_line_runs_a_command(server: Server, tmp_path: Path) -> None:
    """A prompt that somebody else wrote may look like an option."""
    for words in (["--api-key-cmd=touch pwned; echo k"], ["--api-key-cmd", "touch pwned"], ["--api-key-c=touch pwned"]):
        result = oastream("--base-url", server.url, *words, cwd=tmp_path, env={"OPENAI_API_KEY": None})
        assert result.status == 2
        assert " -- " in result.err
    assert list(tmp_path.iterdir()) == []
    assert server.connections == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_a_key(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" sk-CANARY-file\r\n", encoding=encoding)
    request = sent("responses", "--api-key-file", str(tmp_path / "key"))
    assert request.headers["authorization"] == "Bearer sk-CANARY-file"


def test_the_option_beats_the_environment(tmp_path: Path) -> None:
    env = {"OASTREAM_API_KEY_FILE": key_file(tmp_path, "env", "sk-CANARY-env-file")}
    request = sent("responses", "--api-key-file", key_file(tmp_path, "option", "sk-CANARY-option"), env=env)
    assert request.headers["authorization"] == "Bearer sk-CANARY-option"


@pytest.mark.parametrize(
    "args",
    [
        ["--api-key-file", "/nonexistent/key"],
        ["--api-key-file", "/dev/null"],
        ["--api-key-file", "/"],
    ],
    ids=" ".join,
)
def test_a_key_that_cannot_be_had_exits_6(server: Server, args: list[str]) -> None:
    refused(server, 6, *args)


@pytest.mark.parametrize("command", ["exit 3", "true", "kill -9 $$", "yes"])
def test_a_command_that_brings_no_key_exits_6(server: Server, command: str) -> None:
    refused(server, 6, env={"OASTREAM_API_KEY_CMD": command})


@pytest.mark.parametrize("key", ["sk-CANARY-ключ", "sk-CANARY\nX-Evil: 1"], ids=["not-ascii", "newline"])
def test_a_key_that_fits_no_header_exits_6(server: Server, key: str) -> None:
    refused(server, 6, env={"OPENAI_API_KEY": key})


def test_no_option_takes_a_key_as_text(server: Server) -> None:
    refused(server, 2, "--api-key", "sk-secret")


# Dry run


@both_apis
def test_a_dry_run_prints_the_request_and_sends_nothing(server: Server, api: str) -> None:
    args = ["--dry-run", "--api", api, "-m", "m1", "--temperature", "0.5", "--header", "X-Trace: yes"]
    result = oastream("--base-url", server.url, *args, "hello")
    assert (result.status, result.err, server.connections) == (0, "", 0)
    shown = json.loads(result.out)
    assert isinstance(shown, dict)
    everything = json.dumps(shown)
    for part in ("m1", "0.5", "hello", "yes", server.url.removesuffix("/v1") + PATHS[api]):
        assert part in everything


def test_a_dry_run_writes_no_file(server: Server, tmp_path: Path) -> None:
    recording, answer = tmp_path / "recording", tmp_path / "answer"
    recording.write_text("an old recording\n")
    answer.write_text("an old answer\n")
    files = ["--record", str(recording), "-o", str(answer), "--history", str(tmp_path / "chat.jsonl")]
    assert oastream("--base-url", server.url, "--dry-run", *files, "hello").status == 0
    assert recording.read_text() == "an old recording\n"
    assert answer.read_text() == "an old answer\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["answer", "recording"]


def test_a_tool_choice_that_begins_like_an_object_is_one(server: Server) -> None:
    assert "--tool-choice is not JSON" in refused(server, 8, "--tool-choice", '{"type": "function"').err


@pytest.mark.parametrize("name", ["Authorization: Bearer ", "api-key: ", "X-Api-Key: ", "Cookie: session="])
def test_a_dry_run_shows_no_secret(server: Server, name: str) -> None:
    result = oastream("--base-url", server.url, "--dry-run", "--header", f"{name}sk-CANARY-header", "hello")
    assert result.status == 0  # that no canary is in it, every run is checked for


# Any JSON at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "function", "custom", "f"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@hypothesis.given(
    api=st.sampled_from(["responses", "chat"]),
    option=st.sampled_from(["--tools", "--tool-choice", "--body", "--schema", "--history"]),
    value=JSON,
)
def test_no_json_from_a_user_is_a_bug(api: str, option: str, value: object) -> None:
    """Status 1 is for bugs: what cannot be used is 8, or 2 where an option has a form of its own."""
    text = json.dumps(value)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write(f"{text}\n")
        file.flush()
        where = file.name if option == "--history" else text
        both = ["--tools", '[{"name":"f"}]'] if option == "--tool-choice" else []
        more = ["--tool-choice", "f", "--reasoning-effort", "low"] if option in ("--body", "--tools") else []
        args = ["--base-url", "mock:", "--api", api, *both, *more, "--dry-run", option, where, "hi"]
        assert forked.oastream(*args).status in (0, 2, 8)


# What is refused


@pytest.mark.parametrize(
    "args",
    [
        ["--frobnicate"],
        ["--api", "soap"],
        ["--format", "xml"],
        ["--temperature", "hot"],
        ["--temperature", "nan"],
        ["--top-p", ""],
        ["--max-output-tokens", "many"],
        ["--max-output-tokens", "0"],
        ["--max-output-tokens", "-5"],
        ["--retry", "-1"],
        ["--retry-delay", "-1"],
        ["--idle-timeout", "soon"],
        ["--max-time", "-1"],
        ["--max-event-bytes", "x"],
        ["--ok", "fine"],
        ["--ok", "99"],
        ["--sanitize", "sometimes"],
        ["--set", "no-equals-sign"],
        ["--set", "model.a=1"],
        ["--header", "no colon"],
        ["--header", "X-A: b\r\nX-Evil: c"],
        ["--header", "X A: b"],
        ["--base-url", "not a url"],
        ["--base-url", "ftp://127.0.0.1/v1"],
        ["--model"],
    ],
    ids=lambda args: " ".join(args).encode("unicode_escape").decode(),
)
def test_a_bad_option_exits_2_with_one_line(server: Server, args: list[str]) -> None:
    result = oastream("--base-url", server.url, "hello", *args)
    assert (result.status, result.out, server.connections) == (2, b"", 0)
    assert args[0] in result.err, "the message names the option"
    assert result.message
    assert len(result.err.splitlines()) <= 2


@pytest.mark.parametrize("option", ["--tools", "--body"])
@pytest.mark.parametrize(
    "value", ["{oops", "[1]", '"text"', "/nonexistent/file.json"], ids=["broken", "number", "string", "missing"]
)
def test_json_that_cannot_be_used_exits_8(server: Server, option: str, value: str) -> None:
    refused(server, 8, option, value)


def test_a_tools_file_that_is_not_json_exits_8_and_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text('[{"name": "x",}]')
    result = refused(server, 8, "--tools", str(tmp_path / "tools.json"))
    assert "tools.json" in result.message


@pytest.mark.parametrize(
    "tools",
    [
        '[{"type":"object","properties":{}}]',
        '[{"type":"function","function":"get_weather"}]',
        '[{"type":"function","name":"f","parameters":"none"}]',
        '[{"description":"nameless"}]',
        '[{"type":7}]',
        '{"tools":"none"}',
        "[[]]",
    ],
)
@both_apis
def test_tools_of_neither_shape_exit_8(server: Server, api: str, tools: str) -> None:
    refused(server, 8, "--api", api, "--tools", tools)


@pytest.mark.parametrize("option", ["--tools", "--body", "--schema"])
def test_json_that_is_broken_is_named_with_line_and_column(server: Server, tmp_path: Path, option: str) -> None:
    (tmp_path / "given.json").write_text('{\n  "name": }')
    message = refused(server, 8, option, str(tmp_path / "given.json")).message
    assert "given.json" in message
    assert "line 2, column 11" in message


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (["--api", "chat", "--body", '{"messages":5}'], "messages"),
        (["--api", "chat", "--body", '{"messages":{"role":"user"}}'], "messages"),
        (["--body", '{"reasoning":"high"}', "--reasoning-effort", "low"], "reasoning"),
        (["--body", '{"text":"json"}', "--schema", "name"], "text"),
        (["--body", '{"tools":7}', "--tool-choice", "f"], "tools"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_field_of_the_body_that_an_option_cannot_add_to_exits_8(server: Server, args: list[str], field: str) -> None:
    assert f"its {field} is" in refused(server, 8, *args).message


def test_stdin_may_be_any_options_file(server: Server) -> None:
    args = ["--base-url", server.url, "--tools", "-", "hello"]
    assert oastream(*args, stdin=json.dumps([BARE]).encode()).status == 0
    assert server.request.json["tools"] == [{**FLAT, "strict": False}]
    assert server.request.json["input"] == "hello"


def test_a_missing_system_file_exits_8(server: Server) -> None:
    refused(server, 8, "-s", "@/nonexistent/system")
