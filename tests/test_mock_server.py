"""The mock server over real sockets: both APIs as OpenAI speaks them, and every way to go wrong."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import OpenAI
from pydantic import BaseModel

from oastream.mock.endings import ENDS
from oastream.mock.exchange import Request
from oastream.mock.routes import Routes
from oastream.mock.script import plan_from_url
from oastream.mock.server import Server
from tests.support.waiting import wait_until

PATIENCE = 20.0
"""Seconds after which a test gives up on a server that should have answered."""
TEXT = "one two three four five six"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CHAT_WEATHER = {"type": "function", "function": {key: value for key, value in WEATHER.items() if key != "type"}}

FIELDS = (
    *("input", "messages", "model", "stream", "tools", "tool_choice", "role", "content", "type", "name", "function"),
    *(
        "parameters",
        "properties",
        "required",
        "enum",
        "anyOf",
        "items",
        "$ref",
        "text",
        "format",
        "schema",
        "n",
        "stop",
    ),
    *("response_format", "json_schema", "reasoning", "background", "stream_options", "include_usage", "metadata"),
    *("max_output_tokens", "max_tokens", "instructions", "include", "logprobs", "top_logprobs", "output", "stop"),
    *("custom", "tool_calls", "tool_call_id", "effort", "max_completion_tokens", "previous_response_id"),
)
"""Names that a request gives a meaning to, at the top or below it."""

Start = Callable[..., Server]


@pytest.fixture
def start(mock: Callable[[str], Server]) -> Start:
    """Starts a server: by options of a mock URL, and faults, one an attempt."""

    def start_mock(*faults: str, **options: object) -> Server:
        pairs = [*options.items(), *(("fault", fault) for fault in faults)]
        return mock("mock:?" + "&".join(f"{name}={quote(str(value))}" for name, value in pairs))

    return start_mock


@dataclass
class Got:
    """What a client saw: the head, the body as far as it came, and how it ended: "", "timeout", "reset", "cut"."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: str = ""

    @property
    def blocks(self) -> list[str]:
        """The finished events, as they came."""
        return self.body.decode().split("\n\n")[:-1]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The payloads of the finished events that are JSON."""
        lines = [line for block in self.blocks for line in block.split("\n") if line.startswith("data: {")]
        return [json.loads(line.removeprefix("data: ")) for line in lines]

    @property
    def types(self) -> list[str]:
        """The short types of a Responses stream."""
        return [event["type"].removeprefix("response.") for event in self.events]

    @property
    def text(self) -> str:
        """The text of a stream of either API."""
        deltas = [e["delta"] for e in self.events if e.get("type") == "response.output_text.delta"]
        chunks = [c["delta"].get("content") for e in self.events for c in e.get("choices") or () if c["index"] == 0]
        return "".join(delta or "" for delta in deltas + chunks)

    @property
    def json(self) -> Any:
        """The body as one JSON value."""
        return json.loads(self.body)


def ask(server: Server, path: str, body: object = None, patience: float = PATIENCE, after: int = 0) -> Got:
    """One request, read as far as the answer comes. `patience` (seconds) runs from the `after`-th event on."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE if after else patience)
    payload = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    got = Got()
    try:
        connection.request("GET" if body is None else "POST", f"/v1{path}", payload)
        wire, deadline = connection.sock, time.monotonic() + PATIENCE
        reply = connection.getresponse()
        got.status, got.headers = reply.status, {k.lower(): v for k, v in reply.getheaders()}
        while piece := reply.read1():
            got.body += piece
            if after and got.body.count(b"\n\n") >= after:
                after, deadline = 0, time.monotonic() + patience
                wire.settimeout(patience)
            if time.monotonic() >= deadline:
                raise TimeoutError
    except TimeoutError:
        got.ended = "timeout"
    except http.client.RemoteDisconnected:
        got.ended = "closed"
    except http.client.HTTPException:
        got.ended = "cut"
    except ConnectionResetError:
        got.ended = "reset"
    finally:
        connection.close()
    return got


def respond(server: Server, patience: float = PATIENCE, after: int = 0, **body: Any) -> Got:
    """A streamed response; the prompt is TEXT."""
    return ask(server, "/responses", {"model": "m", "input": TEXT, "stream": True, **body}, patience, after)


def chat(server: Server, patience: float = PATIENCE, after: int = 0, **body: Any) -> Got:
    """A streamed chat completion; the prompt is TEXT."""
    messages = [{"role": "user", "content": TEXT}]
    return ask(
        server, "/chat/completions", {"model": "m", "messages": messages, "stream": True, **body}, patience, after
    )


@pytest.fixture
def client() -> Iterator[Callable[[Server], OpenAI]]:
    """The openai SDK, as somebody else's idea of a client."""
    clients: list[OpenAI] = []

    def made(server: Server) -> OpenAI:
        clients.append(OpenAI(base_url=server.url, api_key="sk-x", max_retries=0, timeout=PATIENCE))
        return clients[-1]

    yield made
    for each in clients:
        each.close()


Client = Callable[[Server], OpenAI]

# --- as OpenAI speaks


def test_a_response_streams_openais_events_in_order(start: Start) -> None:
    got = respond(start())
    assert got.types == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 6,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in got.events] == list(range(14))
    assert all(
        block.startswith(f"event: {event['type']}\n") for block, event in zip(got.blocks, got.events, strict=True)
    )
    assert got.text == TEXT
    assert "[DONE]" not in got.body.decode()
    usage = got.events[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (6, 6, 12)


def test_a_completion_streams_openais_chunks_in_order(start: Start) -> None:
    got = chat(start(), stream_options={"include_usage": True})
    assert got.blocks[-1] == "data: [DONE]"
    head, *deltas, finish, usage = got.events
    assert head["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert got.text == TEXT
    assert len(deltas) == 6
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert all(chunk["usage"] is None for chunk in (head, *deltas, finish))
    assert usage["choices"] == []
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (6, 6)


def test_a_completion_has_no_usage_unless_it_is_wanted(start: Start) -> None:
    assert not any("usage" in chunk for chunk in chat(start()).events)


def test_the_head_is_openais(start: Start) -> None:
    got = respond(start())
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.headers["transfer-encoding"] == "chunked"
    assert got.headers["x-request-id"].startswith("req_")
    assert got.headers["openai-processing-ms"].isdigit()


def test_one_chunk_is_one_event(start: Start) -> None:
    wire = raw_reply(start(), b'{"model":"m","input":"a b","stream":true}')
    _, _, body = wire.partition(b"\r\n\r\n")
    while body != b"0\r\n\r\n":
        size, _, rest = body.partition(b"\r\n")
        event, body = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        assert event.startswith(b"event: ")
        assert event.endswith(b"\n\n")
        assert event.count(b"\n\n") == 1


def raw_reply(server: Server, body: bytes) -> bytes:
    """Every byte of a reply, until the server is silent for 0.2 s."""
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=0.2) as connection:
        connection.sendall(b"POST /v1/responses HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except TimeoutError:
            pass
        return got


def test_several_choices_interleave_by_index(start: Start) -> None:
    got = chat(start(), n=2)
    assert [chunk["choices"][0]["index"] for chunk in got.events] == [0, 1] * 8


def test_without_stream_the_answer_is_one_object(start: Start) -> None:
    response = respond(start(), stream=False).json
    assert (response["status"], response["output"][0]["content"][0]["text"]) == ("completed", TEXT)
    completion = chat(start(), stream=False).json
    assert (completion["object"], completion["choices"][0]["message"]["content"]) == ("chat.completion", TEXT)


def test_the_address_works_with_and_without_v1_and_lists_models(start: Start) -> None:
    server = start()
    assert ask(server, "/models").json["data"][0]["id"] == "mock"
    assert ask(server, "/../models").status == 404
    server.url = server.url.removesuffix("/v1")
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    connection.request("GET", "/models")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_connection_serves_many_requests_and_all_are_recorded(start: Start) -> None:
    server = start()
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
    for word in ("a", "b"):
        connection.request("POST", "/v1/responses", json.dumps({"model": "m", "input": word}), {"X-Test": word})
        assert json.loads(connection.getresponse().read())["output"][0]["content"][0]["text"] == word
    connection.close()
    assert [(r.method, r.path, r.headers["x-test"], r.body) for r in server.requests] == [
        ("POST", "/v1/responses", word, {"model": "m", "input": word}) for word in ("a", "b")
    ]


PREVIOUS = "previous_response_not_found"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/responses", {}, 400, "missing_required_parameter"),
        ("/responses", {"model": "m"}, 400, "missing_required_parameter"),
        ("/responses", {"input": "x"}, 400, "missing_required_parameter"),
        ("/responses", {"model": "m", "input": 3}, 400, "invalid_type"),
        ("/responses", {"model": "m", "input": "x", "temperature": "hot"}, 400, "invalid_type"),
        ("/responses", {"model": "m", "input": "x", "temperature": 3}, 400, "decimal_above_max_value"),
        ("/responses", {"model": "m", "input": "x", "max_output_tokens": 0}, 400, "integer_below_min_value"),
        ("/responses", {"model": "m", "input": "x", "previous_response_id": "resp_0"}, 400, PREVIOUS),
        ("/chat/completions", {"model": "m", "messages": "x"}, 400, "invalid_type"),
        ("/chat/completions", {"model": "m", "messages": [{"role": 3}]}, 400, "invalid_type"),
        ("/responses/input_tokens", {"input": 3}, 400, "invalid_type"),
        ("/responses", b"{nonsense", 400, None),
        ("/nothing", {}, 404, "unknown_url"),
        ("/chat/completions", None, 405, "method_not_supported"),
        ("/responses/resp_unknown", None, 404, None),
        ("/responses/resp_unknown/cancel", {}, 404, None),
    ],
)
def test_a_bad_request_gets_openais_error(start: Start, path: str, body: object, status: int, code: str | None) -> None:
    got = ask(start(), path, body)
    assert (got.status, got.json["error"]["code"]) == (status, code)
    assert set(got.json["error"]) == {"message", "type", "param", "code"}


def test_the_field_that_is_wrong_is_named(start: Start) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": 1}]}]}
    error = ask(start(), "/chat/completions", body).json["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "messages[1].content[0].type")


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "function", "auto", "tool", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(["/responses", "/chat/completions", "/responses/input_tokens"]),
    end=st.sampled_from(["stop", "tool_calls", "length", "schema", "empty"]),
    body=st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=6),
)
def test_any_json_gets_an_answer_or_an_error_and_no_bug(path: str, end: str, body: dict[str, Any]) -> None:
    routes = Routes(plan_from_url(f"mock:?end={end}"))
    for whole in (body, {"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}], **body}):
        reply = routes.reply(Request("POST", path, {}, whole))
        assert reply.status in (200, 400)
        assert b"".join(piece for piece in reply.wire if isinstance(piece, bytes))


def test_a_pace_is_kept_and_events_are_not_held_back(start: Start) -> None:
    server = start(pace=0.02)
    begun = time.monotonic()
    assert respond(server, input="a").text == "a"
    assert time.monotonic() - begun >= 0.02 * 8
    early = respond(start(pace=0.5), patience=0.01, after=1)
    assert early.ended == "timeout"
    assert early.types == ["created"]


# --- as the SDK reads it


def test_the_sdks_responses_accumulator_accepts_every_answer(start: Start, client: Client) -> None:
    with client(start()).responses.stream(model="m", input=TEXT) as stream:
        assert "".join(event.delta for event in stream if event.type == "response.output_text.delta") == TEXT
        final = stream.get_final_response()
    assert final.output_text == TEXT
    assert final.usage
    assert final.usage.output_tokens == 6


def test_the_sdks_chat_accumulator_accepts_every_answer(start: Start, client: Client) -> None:
    messages: Any = [{"role": "user", "content": TEXT}]
    options: Any = {"include_usage": True}
    with client(start()).chat.completions.stream(model="m", messages=messages, stream_options=options) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == TEXT
    assert final.choices[0].finish_reason == "stop"
    assert final.usage
    assert final.usage.completion_tokens == 6


def test_the_sdk_reads_tool_calls_of_both_apis(start: Start, client: Client) -> None:
    server = start(end="tool_calls")
    tools: Any = [WEATHER]
    with client(server).responses.stream(model="m", input="x", tools=tools) as stream:
        item = stream.get_final_response().output[0]
    assert item.type == "function_call"
    assert (item.name, item.arguments) == ("get_weather", '{"city":"sample"}')
    chat_tools: Any = [CHAT_WEATHER]
    messages: Any = [{"role": "user", "content": "x"}]
    with client(server).chat.completions.stream(model="m", messages=messages, tools=chat_tools) as chat_stream:
        choice = chat_stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    assert choice.message.tool_calls[0].function.arguments == '{"city":"sample"}'


def test_the_sdk_parses_structured_output(start: Start, client: Client) -> None:
    class City(BaseModel):
        name: str
        people: int

    parsed = client(start()).responses.parse(model="m", input="x", text_format=City)
    assert parsed.output_parsed == City(name="sample", people=1)
    with client(start()).responses.stream(model="m", input="x", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(name="sample", people=1)


def test_the_sdk_finds_what_is_stored_and_deletes_it(start: Start, client: Client) -> None:
    sdk = client(start())
    asked: Any = [{"role": "user", "content": "one"}, {"role": "user", "content": TEXT}]
    first = sdk.responses.create(model="m", input=asked)
    items: list[Any] = sdk.responses.input_items.list(first.id, order="asc").data
    assert [item.content[0].text for item in items] == ["one", TEXT]
    assert sdk.responses.input_items.list(first.id).data[0] == items[-1]
    second = sdk.responses.create(model="m", input="go on", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    sdk.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.responses.create(model="m", input="go on", previous_response_id=first.id)
    assert refused.value.code == PREVIOUS


def test_the_sdk_counts_input_and_looks_a_model_up(start: Start, client: Client) -> None:
    sdk = client(start())
    assert sdk.responses.input_tokens.count(model="m", input=TEXT).input_tokens == 6
    assert sdk.models.retrieve("org/some-model").id == "org/some-model"


def test_the_sdk_reads_logprobs(start: Start, client: Client) -> None:
    sdk = client(start())
    messages: Any = [{"role": "user", "content": TEXT}]
    choice = sdk.chat.completions.create(model="m", messages=messages, logprobs=True, top_logprobs=1).choices[0]
    assert choice.logprobs is not None
    assert "".join(token.token for token in choice.logprobs.content or ()) == TEXT
    streamed = chat(start(), logprobs=True).events
    pieces = [chunk["choices"][0]["logprobs"] for chunk in streamed if chunk["choices"][0]["delta"].get("content")]
    assert "".join(entry["token"] for piece in pieces for entry in piece["content"]) == TEXT
    output: Any = sdk.responses.create(model="m", input=TEXT, include=["message.output_text.logprobs"]).output
    assert "".join(token.token for token in output[0].content[0].logprobs) == TEXT


@pytest.mark.parametrize(
    ("stop", "text"), [("three", "one two "), (["six", " four"], "one two three"), ("seven", TEXT)]
)
def test_a_stop_sequence_ends_the_text_before_it(start: Start, stop: object, text: str) -> None:
    choice = chat(start(), stop=stop, stream=False).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")


def test_a_response_says_all_that_open_responses_asks_for(start: Start) -> None:
    response = respond(start(), stream=False, tools=[WEATHER], presence_penalty=0.5).json
    assert response["completed_at"] >= response["created_at"]
    assert (response["presence_penalty"], response["frequency_penalty"]) == (0.5, 0.0)
    assert response["tools"] == [{**WEATHER, "description": None, "strict": True}]
    assert respond(start()).events[0]["response"]["completed_at"] is None


def test_an_agents_loop_comes_to_an_end(start: Start) -> None:
    """After the output of a tool the answer is text, on both APIs."""
    server = start(end="tool_calls")
    first = respond(server, stream=False, tools=[WEATHER]).json["output"][0]
    output = {"type": "function_call_output", "call_id": first["call_id"], "output": "sunny"}
    turns = [{"role": "user", "content": TEXT}, first, output]
    assert respond(server, stream=False, tools=[WEATHER], input=turns).json["output"][0]["type"] == "message"
    message = chat(server, stream=False, tools=[CHAT_WEATHER]).json["choices"][0]["message"]
    reply = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
    turns = [{"role": "user", "content": TEXT}, message, reply]
    choice = chat(server, stream=False, tools=[CHAT_WEATHER], messages=turns).json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (TEXT, "stop")


def test_the_sdk_resumes_polls_and_cancels(start: Start, client: Client) -> None:
    sdk = client(start(pace=0.01))
    stream = sdk.responses.create(model="m", input=TEXT, background=True, stream=True)
    first = next(iter(stream))
    assert first.type == "response.created"
    ident = first.response.id
    stream.close()
    rest = [*sdk.responses.retrieve(ident, stream=True, starting_after=0)]
    assert [event.sequence_number for event in rest] == list(range(1, 15))
    assert sdk.responses.retrieve(ident).output_text == TEXT
    assert sdk.responses.cancel(ident).status == "completed"


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("bad_request", openai.BadRequestError),
        ("auth", openai.AuthenticationError),
        ("forbidden", openai.PermissionDeniedError),
        ("not_found", openai.NotFoundError),
        ("rate_limited", openai.RateLimitError),
        ("quota", openai.RateLimitError),
        ("server_error", openai.InternalServerError),
        ("unreachable", openai.APIConnectionError),
    ],
)
def test_the_sdk_raises_its_own_error(start: Start, client: Client, end: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        client(start(end=end)).responses.create(model="m", input="x")


# --- every end


def test_length_ends_as_openai_says_it(start: Start) -> None:
    got = respond(start(end="length"))
    final = got.events[-1]["response"]
    assert (got.text, got.types[-1], final["status"]) == ("one two three", "incomplete", "incomplete")
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["output"][0]["status"] == "incomplete"
    assert chat(start(end="length")).events[-1]["choices"][0]["finish_reason"] == "length"


def test_a_limit_smaller_than_the_answer_cuts_it_there(start: Start) -> None:
    assert (got := respond(start(), max_output_tokens=2)).text == "one two"
    assert got.events[-1]["response"]["usage"]["output_tokens"] == 2
    for name in ("max_tokens", "max_completion_tokens"):
        completion = chat(start(), **{name: 2})
        assert (completion.text, completion.events[-1]["choices"][0]["finish_reason"]) == ("one two", "length")
    assert respond(start(), max_output_tokens=6).types[-1] == "completed"


def test_a_limit_cuts_inside_a_call(start: Start) -> None:
    got = respond(start(end="tool_calls"), tools=[WEATHER], max_output_tokens=2)
    item = got.events[-1]["response"]["output"][0]
    assert (item["arguments"], item["status"]) == ('{"city":"sample', "incomplete")


@pytest.mark.parametrize(
    ("end", "reason", "finish"),
    [("content_filter", "content_filter", "content_filter"), ("other", "other", "other")],
)
def test_other_ends_name_their_reason(start: Start, end: str, reason: str, finish: str) -> None:
    assert respond(start(end=end)).events[-1]["response"]["incomplete_details"] == {"reason": reason}
    assert chat(start(end=end)).events[-1]["choices"][0]["finish_reason"] == finish


def test_a_refusal_is_a_refusal(start: Start) -> None:
    got = respond(start(end="refusal"))
    assert "refusal.delta" in got.types
    assert got.events[-1]["response"]["output"][0]["content"][0]["type"] == "refusal"
    deltas = [chunk["choices"][0]["delta"].get("refusal") or "" for chunk in chat(start(end="refusal")).events]
    assert "".join(deltas) == "I'm sorry, but I can't help with that."


def test_empty_is_nothing_but_reasoning(start: Start) -> None:
    got = respond(start(end="empty"))
    assert [item["type"] for item in got.events[-1]["response"]["output"]] == ["reasoning"]
    assert got.events[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] == 8
    assert "reasoning_summary_text.delta" in got.types
    completion = chat(start(end="empty"))
    assert completion.text == ""
    assert completion.events[1]["choices"][0]["delta"] == {"reasoning_content": "Let"}


def test_a_named_tool_is_called_and_chat_then_says_stop(start: Start) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    got = chat(start(), tools=[CHAT_WEATHER], tool_choice=choice)
    head = got.events[1]["choices"][0]["delta"]["tool_calls"][0]
    assert (head["function"]["name"], head["index"], head["type"]) == ("get_weather", 0, "function")
    assert got.events[-1]["choices"][0]["finish_reason"] == "stop"


def test_an_answer_file_gives_reasoning_text_and_calls(start: Start, tmp_path: Any) -> None:
    calls = [{"name": "f", "arguments": {"x": 1}}, {"name": "sql", "input": "select 1"}]
    answer = {"reasoning": "hm so", "text": "look", "tool_calls": calls, "usage": {"output_tokens": 99}}
    (tmp_path / "a.json").write_text(json.dumps(answer))
    server = start(reply=f"@{tmp_path}/a.json")
    final = respond(server).events[-1]["response"]
    assert [item["type"] for item in final["output"]] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert (final["output"][3]["input"], final["usage"]["output_tokens"]) == ("select 1", 99)
    message = chat(server, stream=False).json["choices"][0]["message"]
    assert [call["type"] for call in message["tool_calls"]] == ["function", "custom"]
    assert (message["content"], message["reasoning_content"]) == ("look", "hm so")


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        ("bad_request", 400, "unsupported_parameter"),
        ("auth", 401, "invalid_api_key"),
        ("config", 407, None),
        ("forbidden", 403, "unsupported_country_region_territory"),
        ("not_found", 404, "model_not_found"),
        ("quota", 429, "insufficient_quota"),
        ("rejected", 410, None),
        ("rate_limited", 429, "rate_limit_exceeded"),
        ("server_error", 500, None),
    ],
)
def test_an_http_error_has_its_status_and_code(start: Start, end: str, status: int, code: str | None) -> None:
    for got in (respond(start(end=end)), chat(start(end=end), stream=False)):
        assert (got.status, got.json["error"]["code"]) == (status, code)


def test_not_api_is_a_web_page(start: Start) -> None:
    got = respond(start(end="not_api"))
    assert (got.status, got.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_unreachable_closes_without_a_reply(start: Start) -> None:
    assert respond(start(end="unreachable")) == Got(ended="closed")


def test_timeout_never_answers(start: Start) -> None:
    assert respond(start(end="timeout"), patience=0.1) == Got(ended="timeout")


@pytest.mark.parametrize("ask_it", [respond, chat])
def test_interrupted_idle_and_malformed_come_after_some_text(start: Start, ask_it: Callable[..., Got]) -> None:
    interrupted = ask_it(start(end="interrupted"))
    assert (interrupted.text, interrupted.ended) == ("one two three", "cut")
    idle = ask_it(start(end="idle"), patience=0.05, after=4)
    assert (idle.text, idle.ended) == ("one two three", "timeout")
    malformed = ask_it(start(end="malformed")).body.decode()
    assert malformed.count('data: {"type": "broken", "delta": \n\n') == 1


def test_failed_reports_an_error_after_some_text(start: Start) -> None:
    got = respond(start(end="failed"))
    assert got.text == "one two three"
    assert got.types[-2:] == ["error", "failed"]
    assert got.events[-2]["error"]["code"] == "server_error"
    assert got.events[-1]["response"]["error"]["message"] == "The model failed while it was answering."
    assert [event["sequence_number"] for event in got.events] == list(range(9))
    completion = chat(start(end="failed"))
    assert completion.text == "one two three"
    assert completion.events[-1]["error"]["type"] == "server_error"


def test_deadline_drips_for_ever(start: Start) -> None:
    got = respond(start(end="deadline", pace=0.001), patience=0.0, after=15, input="a b")
    assert got.ended == "timeout"
    assert got.text.startswith("a ba ba b")
    assert [event["sequence_number"] for event in got.events] == list(range(len(got.events)))
    again = background(start(end="deadline", pace=0.001), patience=0.0, after=15, input="a b")
    assert again.text.startswith("a ba ba b")


@pytest.mark.parametrize("end", [outcome.value for outcome in ENDS])
def test_no_end_is_mistaken_for_a_bug(start: Start, end: str, capfd: pytest.CaptureFixture[str]) -> None:
    server = start(end=end)
    for stream in (True, False):
        respond(server, patience=0.03, stream=stream, tools=[WEATHER])
        chat(server, patience=0.03, stream=stream, tools=[CHAT_WEATHER])
    server.close()
    assert capfd.readouterr().err == ""


# --- faults


def test_attempts_differ_and_the_last_repeats(start: Start) -> None:
    server = start("status=429,headers=Retry-After: 1,message=slow down", "status=503,body=<h1>busy</h1>", "ok")
    first, second, third, fourth = (respond(server) for _ in range(4))
    assert (first.status, first.headers["retry-after"], first.json["error"]["message"]) == (429, "1", "slow down")
    assert (second.status, second.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert third.text == fourth.text == TEXT


def test_a_header_replaces_the_usual_one(start: Start) -> None:
    got = respond(start("headers=content-type: text/plain,headers=X-Should-Retry: false"))
    assert (got.headers["content-type"], got.headers["x-should-retry"]) == ("text/plain", "false")
    assert got.text == TEXT


@pytest.mark.parametrize("name", ["Content-Type", "content-type", "Content-Length", "content-length"])
def test_a_header_is_sent_once_and_as_the_script_says(start: Start, name: str) -> None:
    """In any case, and also where it is wrong."""
    head, _, _ = raw_reply(start(f"status=500,headers={name}: 7"), b"{}").partition(b"\r\n\r\n")
    lines = [line for line in head.decode().split("\r\n") if line.lower().startswith(name.lower())]
    assert lines == [f"{name}: 7"]


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none(start: Start, status: int) -> None:
    got = respond(start(f"status={status}"))
    assert (got.status, got.body, got.ended) == (status, b"", "")


def test_raw_bytes_replace_http(start: Start) -> None:
    assert raw_reply(start("raw=SSH-2.0-x"), b"{}") == b"SSH-2.0-x"


def test_a_delay_comes_before_the_head(start: Start) -> None:
    begun = time.monotonic()
    assert respond(start(delay=0.1)).text == TEXT
    assert time.monotonic() - begun >= 0.1


def test_a_stall_ends_after_its_time(start: Start) -> None:
    begun = time.monotonic()
    assert respond(start("stall_after=6,stall=0.1")).text == TEXT
    assert time.monotonic() - begun >= 0.1


def test_comments_fill_a_stall(start: Start) -> None:
    got = respond(start("stall_after=5,comments=0.02"), patience=0.0, after=7)
    assert (got.text, got.ended) == ("one", "timeout")
    assert got.body.endswith(b": keep-alive\n\n: keep-alive\n\n")
    first = respond(start("stall_after=0,stall=0.1,comments=0.03"))
    assert first.body.startswith(b": keep-alive\n\n" * 3 + b"event:")
    assert first.text == TEXT


def test_comments_fill_the_pace(start: Start) -> None:
    got = respond(start("pace=0.02,comments=0.008"), input="a")
    assert got.body.count(b": keep-alive\n\n") >= 9
    assert got.text == "a"


def test_a_drip_sends_single_bytes(start: Start) -> None:
    got = chat(start("stall_after=1,drip=0.01"), patience=0.05, after=1)
    assert (len(got.events), got.ended) == (1, "timeout")
    rest = got.body[len(got.blocks[0]) + 2 :]
    assert len(rest) < 12
    assert b'data: {"id":'.startswith(rest)


@pytest.mark.parametrize(
    ("cut", "framing", "ended"),
    [
        ("fin", "chunked", ""),
        ("drop", "chunked", "cut"),
        ("chunk", "chunked", "cut"),
        ("rst", "chunked", "reset"),
        ("fin", "close", ""),
        ("rst", "close", "reset"),
    ],
)
def test_a_cut_after_events_ends_as_it_says(start: Start, cut: str, framing: str, ended: str) -> None:
    got = respond(start(f"cut_events=6,cut={cut},framing={framing}"))
    assert len(got.types) == 6
    assert got.text == "one two"
    assert got.ended == ended


@pytest.mark.parametrize("cut", ["fin", "drop", "chunk", "rst"])
def test_a_cut_after_bytes_sends_so_many(start: Start, cut: str) -> None:
    whole = chat(start()).body
    for count in (0, 1, 300, len(whole) - 1):
        got = chat(start(f"cut_bytes={count},cut={cut}"))
        assert len(got.body) == count
        assert got.ended == {"fin": "", "rst": "reset"}.get(cut, "cut")
    assert chat(start(f"cut_bytes={len(whole)},cut={cut}")).ended == ""


def test_a_body_can_be_told_by_length_or_by_close(start: Start) -> None:
    got = respond(start("framing=length"))
    assert int(got.headers["content-length"]) == len(got.body)
    assert got.text == TEXT
    closed = respond(start("framing=close"))
    assert closed.headers["connection"] == "close"
    assert "content-length" not in closed.headers
    assert closed.text == TEXT


def test_a_cut_body_is_shorter_than_its_length(start: Start) -> None:
    got = respond(start("framing=length,cut_events=6"))
    assert len(got.types) == 6
    assert int(got.headers["content-length"]) > len(got.body)


def test_events_can_be_skipped_doubled_and_swapped(start: Start) -> None:
    got = respond(start("skip=4,duplicate=5,reorder=6"))
    numbers = [event["sequence_number"] for event in got.events]
    assert numbers == [0, 1, 2, 3, 5, 5, 7, 6, 8, 9, 10, 11, 12, 13]


def test_an_event_can_be_huge_without_changing_the_answer(start: Start) -> None:
    got = respond(start("huge=100000"))
    assert got.text == TEXT
    assert len(got.blocks[4].split("data: ")[1]) == 100000


def test_sequence_numbers_can_be_missing_or_constant(start: Start) -> None:
    assert not any("sequence_number" in event for event in respond(start("sequence=none")).events)
    assert {event["sequence_number"] for event in respond(start("sequence=constant")).events} == {0}


def test_the_ends_of_a_stream_can_be_left_out(start: Start) -> None:
    assert respond(start("no_finish")).types[-1] == "output_item.done"
    unfinished = chat(start("no_finish"))
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in unfinished.events)
    assert unfinished.blocks[-1] == "data: [DONE]"
    assert chat(start("no_done")).events[-1]["choices"][0]["finish_reason"] == "stop"
    assert "[DONE]" not in chat(start("no_done")).body.decode()


def test_the_socket_can_stay_open_after_the_end(start: Start) -> None:
    got = respond(start("keep_open"), patience=0.05, after=14)
    assert (got.types[-1], got.ended) == ("completed", "timeout")


@pytest.mark.parametrize(
    ("shape", "responses_block", "chat_block"),
    [
        ("nested", 'event: error\ndata: {"type":"error","sequence_number":5,"error":{', 'data: {"error":{'),
        ("flat", 'event: error\ndata: {"type":"error","sequence_number":5,"code":"c"', 'data: {"object":"error"'),
        ("string", 'data: {"error":"oops"}', 'data: {"error":"oops"}'),
        ("event", 'event: error\ndata: {"message":"oops"', 'event: error\ndata: {"message":"oops"'),
        ("field", 'error: {"message":"oops"', 'error: {"message":"oops"'),
        ("choice", "event: response.failed\ndata: ", 'data: {"id":"chatcmpl-'),
        ("failed", "event: response.failed\ndata: ", 'data: {"id":"chatcmpl-'),
    ],
)
def test_an_error_event_comes_in_every_shape(start: Start, shape: str, responses_block: str, chat_block: str) -> None:
    fault = f"error={shape},after=5,code=c,type=t,message=oops"
    got = respond(start(fault))
    assert got.blocks[5].startswith(responses_block)
    assert "oops" in got.blocks[-1]
    completion = chat(start(fault))
    assert completion.blocks[5].startswith(chat_block)
    assert "oops" in completion.blocks[5]
    assert completion.blocks[6:] == ["data: [DONE]"]


def test_a_client_that_goes_is_noticed_while_nothing_flows(start: Start) -> None:
    server = start(end="idle")
    respond(server, patience=0.0, after=7)
    assert wait_until(lambda: not open_connections(server))


def open_connections(server: Server) -> int:
    return len(server._http.open)


def test_close_ends_every_connection_at_once(start: Start) -> None:
    server = start(end="timeout")
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE) as connection:
        connection.sendall(b'POST /v1/responses HTTP/1.1\r\nContent-Length: 24\r\n\r\n{"model":"m","input":""}')
        assert wait_until(lambda: bool(server.requests))
        server.close()
        assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((where.hostname, where.port), timeout=PATIENCE)


# --- background


def background(server: Server, **body: Any) -> Got:
    """A streamed background response."""
    return respond(server, background=True, **body)


def test_a_background_response_is_queued_first(start: Start) -> None:
    got = background(start())
    assert got.types[:3] == ["created", "queued", "in_progress"]
    assert got.events[0]["response"]["status"] == "queued"
    assert [event["sequence_number"] for event in got.events] == list(range(15))


@pytest.mark.parametrize("count", range(1, 16))
def test_a_background_response_is_resumed_after_every_event(start: Start, count: int) -> None:
    server = start(f"cut_events={count},cut=rst", "ok")
    first = background(server)
    ident = first.events[0]["response"]["id"]
    rest = ask(server, f"/responses/{ident}?stream=true&starting_after={count - 1}")
    assert [event["sequence_number"] for event in first.events + rest.events] == list(range(15))
    assert first.text + rest.text == TEXT
    assert ask(server, f"/responses/{ident}?stream=true").text == TEXT


def test_a_background_response_goes_on_when_the_client_has_gone(start: Start) -> None:
    server = start("cut_events=2,pace=0.01", "ok")
    ident = background(server).events[0]["response"]["id"]
    begun = ask(server, f"/responses/{ident}").json
    assert (begun["status"] in ("queued", "in_progress"), begun["output"]) == (True, [])
    rest = ask(server, f"/responses/{ident}?stream=true&starting_after=1")
    assert rest.text == TEXT
    done = ask(server, f"/responses/{ident}").json
    assert (done["status"], done["output"][0]["content"][0]["text"]) == ("completed", TEXT)


def test_a_background_response_is_cancelled(start: Start) -> None:
    server = start("cut_events=3,pace=0.02", "ok")
    ident = background(server).events[0]["response"]["id"]
    for _ in range(2):
        assert ask(server, f"/responses/{ident}/cancel", {}).json["status"] == "cancelled"
    assert ask(server, f"/responses/{ident}").json["status"] == "cancelled"
    rest = ask(server, f"/responses/{ident}?stream=true&starting_after=2")
    assert (rest.status, rest.ended) == (200, "")
    assert "completed" not in rest.types


def test_an_unstreamed_background_response_is_polled(start: Start) -> None:
    server = start(pace=0.005)
    first = background(server, stream=False).json
    assert first["status"] == "queued"
    until = time.monotonic() + PATIENCE
    while (polled := ask(server, f"/responses/{first['id']}").json)["status"] != "completed":
        assert time.monotonic() < until
    assert polled["output"][0]["content"][0]["text"] == TEXT
    assert ask(server, f"/responses/{first['id']}?stream=true").status == 400


def test_a_stream_that_is_not_replayable_can_still_be_polled(start: Start) -> None:
    server = start("cut_events=6,replay=false", "ok")
    ident = background(server).events[0]["response"]["id"]
    assert ask(server, f"/responses/{ident}?stream=true&starting_after=5").status == 400
    assert ask(server, f"/responses/{ident}").json["status"] == "completed"


def test_a_background_failure_is_the_jobs_own(start: Start) -> None:
    server = start(end="failed")
    got = background(server)
    ident = got.events[0]["response"]["id"]
    assert got.types[-1] == "failed"
    assert ask(server, f"/responses/{ident}").json["error"]["code"] == "server_error"


def test_polls_and_cancels_can_fail_on_their_own(start: Start) -> None:
    server = start("on=poll,status=503", "on=poll", "on=cancel,status=500")
    ident = background(server).events[0]["response"]["id"]
    assert [ask(server, f"/responses/{ident}").status for _ in range(2)] == [503, 200]
    assert ask(server, f"/responses/{ident}/cancel", {}).status == 500


def test_a_foreground_response_is_stored_but_neither_streamed_again_nor_cancelled(start: Start) -> None:
    server = start()
    ident = respond(server).events[0]["response"]["id"]
    assert ask(server, f"/responses/{ident}").json["status"] == "completed"
    assert ask(server, f"/responses/{ident}?stream=true").status == 400
    assert ask(server, f"/responses/{ident}/cancel", {}).status == 400
    hidden = respond(server, store=False).events[0]["response"]["id"]
    assert ask(server, f"/responses/{hidden}").status == 404


def test_a_resume_can_be_faulty_too(start: Start) -> None:
    server = start("cut_events=5", "skip=1", "ok")
    ident = background(server).events[0]["response"]["id"]
    gap = ask(server, f"/responses/{ident}?stream=true&starting_after=4")
    assert [event["sequence_number"] for event in gap.events][:3] == [5, 7, 8]
    assert ask(server, f"/responses/{ident}?stream=true&starting_after=x").status == 400
