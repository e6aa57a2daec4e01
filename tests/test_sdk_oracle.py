"""The openai SDK as an oracle: the same request on the wire, the same assembled answer wherever its accumulators work.

In: one call, made through the SDK and through the program, to a server that records requests or plays a stream of ours.
Out: both requests, both answers, compared. What the program does differently on purpose is in `DIFFERENT`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import ContentFilterFinishReasonError, LengthFinishReasonError, OpenAI

from tests.support import streams
from tests.support.program import CANARY, Result, oastream
from tests.support.wire import Request, Server, serve, sse_response

PROMPT = 'Grüße, 世界 😀\n"quoted" \\ and\ttabs'
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "Weather in a city", "parameters": PARAMETERS}
TOOLS = json.dumps([{"type": "function", **FUNCTION}])
NUMBERS = ["--max-output-tokens", "9", "--temperature", "1.5", "--top-p", "1"]
NUMBERS += ["--reasoning-effort", "high", "--tool-choice", "auto"]

DIFFERENT = {
    "accept",  # the SDK says application/json even when it asks for a stream
    "accept-encoding",  # a compressor would hold events back
    "connection",  # the SDK keeps connections for its next call; the program has none
    "content-length",  # the same JSON may be written with other escapes
    "host",  # each call has a server of its own
    "user-agent",
}
"""Headers that may differ. The SDK's x-stainless-* describe the SDK."""


def kept(request: Request) -> dict[str, str]:
    return {
        name: value
        for name, value in request.headers.items()
        if name not in DIFFERENT and not name.startswith("x-stainless-")
    }


def shown(request: Request) -> dict[str, Any]:
    return {"line": (request.method, request.path), "body": request.json, "headers": kept(request)}


@pytest.fixture
def responses_server() -> Iterator[Server]:
    with serve(sse_response(streams.responses_body(streams.message("ok")))) as server:
        yield server


@pytest.fixture
def chat_server() -> Iterator[Server]:
    with serve(sse_response(streams.chat_body("ok"))) as server:
        yield server


def client(server: Server, **options: Any) -> OpenAI:
    return OpenAI(base_url=server.url, api_key=CANARY, max_retries=0, timeout=20, **options)


def requests_of(server: Server, result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the SDK and then the program sent."""
    assert result.status == 0, result
    by_sdk, by_program = server.requests
    return shown(by_sdk), shown(by_program)


RESPONSES_CALLS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "prompt": ([], {}),
    "instructions": (["--system", "Be brief. 🙂"], {"instructions": "Be brief. 🙂"}),
    "max_output_tokens": (["--max-output-tokens", "99"], {"max_output_tokens": 99}),
    "temperature": (["--temperature", "0.5"], {"temperature": 0.5}),
    "temperature 0": (["--temperature", "0"], {"temperature": 0}),
    "top_p": (["--top-p", "0.25"], {"top_p": 0.25}),
    "reasoning effort": (["--reasoning-effort", "low"], {"reasoning": {"effort": "low"}}),
    "tools": (["--tools", TOOLS], {"tools": [{"type": "function", **FUNCTION}]}),
    "tool_choice": (
        ["--tools", TOOLS, "--tool-choice", "required"],
        {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "required"},
    ),
    "named tool_choice": (
        ["--tools", TOOLS, "--tool-choice", "get_weather"],
        {
            "tools": [{"type": "function", **FUNCTION}],
            "tool_choice": {"type": "function", "name": "get_weather"},
        },
    ),
    "previous_response_id": (["--previous-response-id", "resp_0"], {"previous_response_id": "resp_0"}),
    "anything": (
        ["--set", "store=false", "--set", "metadata.job=a", "--set", 'include=["reasoning.encrypted_content"]'],
        {"store": False, "metadata": {"job": "a"}, "include": ["reasoning.encrypted_content"]},
    ),
    "everything": (
        ["--tools", TOOLS, "--system", "s", "--previous-response-id", "resp_9", *NUMBERS],
        {
            "instructions": "s",
            "max_output_tokens": 9,
            "temperature": 1.5,
            "top_p": 1,
            "reasoning": {"effort": "high"},
            "tools": [{"type": "function", **FUNCTION}],
            "tool_choice": "auto",
            "previous_response_id": "resp_9",
        },
    ),
}


@pytest.mark.parametrize("call", RESPONSES_CALLS)
def test_a_responses_request_is_the_sdks(responses_server: Server, call: str) -> None:
    args, fields = RESPONSES_CALLS[call]
    with client(responses_server) as sdk:
        list(sdk.responses.create(model="gpt-x", input=PROMPT, stream=True, **fields))
    result = oastream("--base-url", responses_server.url, "-m", "gpt-x", *args, "--", PROMPT)
    expected, got = requests_of(responses_server, result)
    assert got == expected


CHAT_CALLS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "prompt": ([], {}),
    "system": (["--system", "Be brief. 🙂"], {}),
    "max_completion_tokens": (["--max-output-tokens", "99"], {"max_completion_tokens": 99}),
    "temperature": (["--temperature", "0.5"], {"temperature": 0.5}),
    "top_p": (["--top-p", "0.25"], {"top_p": 0.25}),
    "reasoning effort": (["--reasoning-effort", "low"], {"reasoning_effort": "low"}),
    "tools": (["--tools", TOOLS], {"tools": [{"type": "function", "function": FUNCTION}]}),
    "tool_choice": (
        ["--tools", TOOLS, "--tool-choice", "none"],
        {"tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "none"},
    ),
    "named tool_choice": (
        ["--tools", TOOLS, "--tool-choice", "get_weather"],
        {
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        },
    ),
    "anything": (["--set", "seed=7", "--set", "stop.0=END"], {"seed": 7, "stop": ["END"]}),
    "everything": (
        ["--tools", TOOLS, "--system", "s", *NUMBERS],
        {
            "max_completion_tokens": 9,
            "temperature": 1.5,
            "top_p": 1,
            "reasoning_effort": "high",
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": "auto",
        },
    ),
}


@pytest.mark.parametrize("call", CHAT_CALLS)
def test_a_chat_request_is_the_sdks(chat_server: Server, call: str) -> None:
    args, fields = CHAT_CALLS[call]
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    if "--system" in args:
        messages.insert(0, {"role": "system", "content": args[args.index("--system") + 1]})
    with client(chat_server) as sdk:
        list(
            sdk.chat.completions.create(
                model="gpt-x", messages=messages, stream=True, stream_options={"include_usage": True}, **fields
            )
        )
    result = oastream("--base-url", chat_server.url, "--api", "chat", "-m", "gpt-x", *args, "--", PROMPT)
    expected, got = requests_of(chat_server, result)
    assert got == expected


def test_organisation_and_project_are_sent_as_the_sdk_sends_them(responses_server: Server) -> None:
    names = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj_1"}
    with client(responses_server, organization="org-1", project="proj_1") as sdk:
        list(sdk.responses.create(model="gpt-x", input="hi", stream=True))
    result = oastream("--base-url", responses_server.url, "-m", "gpt-x", "hi", env=names)
    expected, got = requests_of(responses_server, result)
    assert got == expected
    assert got["headers"]["openai-organization"] == "org-1"
    assert got["headers"]["openai-project"] == "proj_1"
    assert got["headers"]["authorization"] == f"Bearer {CANARY}"


def test_a_header_of_ones_own_is_sent_as_the_sdk_sends_it(responses_server: Server) -> None:
    with client(responses_server, default_headers={"X-Team": "blue", "OpenAI-Beta": "a=b"}) as sdk:
        list(sdk.responses.create(model="gpt-x", input="hi", stream=True))
    own = ("--header", "X-Team: blue", "--header", "OpenAI-Beta: a=b")
    result = oastream("--base-url", responses_server.url, "-m", "gpt-x", *own, "hi")
    expected, got = requests_of(responses_server, result)
    assert got == expected


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("path", ["", "/openai/v1", "/a%20b/v1"])
def test_a_base_url_is_joined_as_the_sdk_joins_it(responses_server: Server, path: str, end: str) -> None:
    url = responses_server.url.removesuffix("/v1") + path + end
    with OpenAI(base_url=url, api_key=CANARY, max_retries=0) as sdk:
        list(sdk.responses.create(model="gpt-x", input="hi", stream=True))
    expected, got = requests_of(responses_server, oastream("--base-url", url, "-m", "gpt-x", "hi"))
    assert got["line"] == expected["line"]


ANSWERS: dict[str, list[streams.Item]] = {
    "text": [streams.message("Grüße, 世界 😀👩‍👩‍👧 and\nlines\n")],
    "no text": [streams.message("")],
    "several messages": [streams.message("one "), streams.message("two"), streams.message(" three")],
    "reasoning, then text": [streams.reasoning("let me think…"), streams.message("so")],
    "a call": [streams.call("get_weather", '{"city":"北京","n":[1,2.5,null]}')],
    "a call without arguments": [streams.call("now", "{}")],
    "text, then calls": [
        streams.message("Let me see."),
        streams.call("get_weather", '{"city": "Oslo"}', "call_a"),
        streams.call("get_weather", '{"city": "\\u00e9\\ud83d\\ude00"}', "call_b"),
    ],
    "a custom call": [streams.custom_call("sql", "select 1;\n-- 'é'")],
    "calls and reasoning in turn": [
        streams.reasoning("a"),
        streams.call("f", "{}", "call_a"),
        streams.reasoning("b"),
        streams.custom_call("g", "x", "call_b"),
        streams.message("c"),
    ],
}


def without_parsed(value: Any) -> Any:
    """The SDK adds the parsed form of structured output and arguments; no server sends these."""
    if isinstance(value, dict):
        return {k: without_parsed(v) for k, v in value.items() if k not in ("parsed", "parsed_arguments")}
    return [without_parsed(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_assembled_response_is_the_sdks(answer: str) -> None:
    body = streams.responses_body(*ANSWERS[answer], piece=3)
    with serve(sse_response(body, pieces=7)) as server, client(server) as sdk:
        with sdk.responses.stream(model="gpt-x", input="hi") as stream:
            expected = stream.get_final_response()
        result = oastream("--base-url", server.url, "-m", "gpt-x", "--format", "json", "hi")
        text = oastream("--base-url", server.url, "-m", "gpt-x", "hi")
    assert json.loads(result.out) == without_parsed(expected.to_dict(mode="json"))
    assert text.text.removesuffix("\n") == expected.output_text.removesuffix("\n")


def test_every_event_is_the_sdks_event() -> None:
    """ndjson is the server's own JSON; read into the SDK's types and written again it is still that."""
    items = [item for answer in ANSWERS.values() for item in answer]
    with serve(sse_response(streams.responses_body(*items))) as server, client(server) as sdk:
        events = list(sdk.responses.create(model="gpt-x", input="hi", stream=True))
        result = oastream("--base-url", server.url, "-m", "gpt-x", "--format", "ndjson", "hi")
    assert result.records[:-1] == [event.to_dict(mode="json") for event in events]


CALLS = [("call_a", "get_weather", '{"city":"北京 😀"}'), ("call_b", "now", "{}")]

CHAT_ANSWERS: dict[str, dict[str, Any]] = {
    "text": {"text": "Grüße, 世界 😀👩‍👩‍👧 and\nlines\n"},
    "no text": {},
    "reasoning, then text": {"reasoning": "let me think…", "text": "so"},
    "a call": {"calls": CALLS[:1], "finish": "tool_calls"},
    "text, then calls": {"text": "Let me see.", "calls": CALLS, "finish": "tool_calls"},
    "calls that end with stop": {"calls": CALLS, "finish": "stop"},
    "a refusal": {"refusal": "I cannot do that."},
    "cut at the length limit": {"text": "Once upon a", "finish": "length"},
    "cut by the content filter": {"text": "Once", "finish": "content_filter"},
    "no usage": {"text": "ok", "usage": None},
    "usage with details": {
        "text": "ok",
        "usage": {
            **streams.CHAT_USAGE,
            "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
        },
    },
}


def sdk_chat(sdk: OpenAI) -> Any:
    """The SDK's own assembly. Its get_final_completion() raises for a cut answer, so the snapshot before that."""
    with sdk.chat.completions.stream(
        model="gpt-x", messages=[{"role": "user", "content": "hi"}], stream_options={"include_usage": True}
    ) as stream:
        with contextlib.suppress(LengthFinishReasonError, ContentFilterFinishReasonError):
            stream.until_done()
        return stream.current_completion_snapshot


def parts(response: dict[str, Any], kind: str, field: str) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part[field] for item in messages for part in item["content"] if part["type"] == kind)


@pytest.mark.parametrize("answer", CHAT_ANSWERS)
def test_text_calls_and_usage_of_a_chat_answer_are_the_sdks(answer: str) -> None:
    body = streams.chat_body(**CHAT_ANSWERS[answer], piece=3)
    with serve(sse_response(body, pieces=7)) as server, client(server) as sdk:
        expected = sdk_chat(sdk)
        result = oastream("--base-url", server.url, "--api", "chat", "-m", "gpt-x", "--format", "json", "hi")
    got = json.loads(result.out)
    message = expected.choices[0].message
    assert parts(got, "output_text", "text") == (message.content or "")
    assert parts(got, "refusal", "refusal") == (message.refusal or "")
    calls = [item for item in got["output"] if item["type"] == "function_call"]
    assert [(call["call_id"], call["name"], call["arguments"]) for call in calls] == [
        (call.id, call.function.name, call.function.arguments) for call in message.tool_calls or []
    ]
    assert (got["id"], got["model"]) == (expected.id, expected.model)
    if expected.usage is None:
        assert got["usage"] is None
        return
    usage = got["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (
        expected.usage.prompt_tokens,
        expected.usage.completion_tokens,
        expected.usage.total_tokens,
    )
    if expected.usage.completion_tokens_details:
        reasoning = expected.usage.completion_tokens_details.reasoning_tokens
        assert usage["output_tokens_details"]["reasoning_tokens"] == reasoning
        assert usage["input_tokens_details"]["cached_tokens"] == expected.usage.prompt_tokens_details.cached_tokens
