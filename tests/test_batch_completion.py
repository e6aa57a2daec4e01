"""The object that a batch writes for a stream is the one that the API sends without `stream`.

In: streams of ours, cut anywhere, and recorded ones. Out: what a batch makes of them, compared with what the openai SDK
accumulates, and for the Responses API with the response of the terminal event.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from oastream.batch.reading import Reader
from oastream.events.answer import Limits
from oastream.events.reply import Reply
from oastream.exits import Failure, Verdict
from tests.support.reading import feed_pieces
from tests.support.streams import (
    call,
    chat_body,
    chat_chunks,
    chunk,
    custom_call,
    message,
    reasoning,
    refusal,
    response_object,
    responses_body,
    sse,
)

STREAMS = Path(__file__).parents[2] / "shared" / "streams"
READER = Reader(Limits(), 1 << 24)
LOGPROB = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def read(pieces: list[bytes], api: str) -> tuple[dict[str, Any], Verdict]:
    """What a batch makes of a body that comes in these pieces, and how it ended."""
    reply = Reply(prints_deltas=False, keep_text=True)
    reading = READER.chat(0.0, reply, 1, False) if api == "chat" else READER.responses(0.0, reply, False)
    answer = reading.answer
    feed_pieces(answer, pieces)
    return json.loads(reading.body()), answer.verdict()


def accumulate(body: bytes) -> dict[str, Any]:
    """The completion that the SDK makes of a body, less `parsed`, and less what only chunks have."""
    state: Any = ChatCompletionStreamState()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydantic, about fields that a server left out
        for line in body.decode().split("\n"):
            if line.startswith("data: {"):
                state.handle_chunk(ChatCompletionChunk.construct(**json.loads(line[6:])))
        completion: dict[str, Any] = without_nulls(state.current_completion_snapshot.to_dict())
    for choice in completion["choices"]:
        choice["message"].pop("parsed", None)
        for tool_call in choice["message"].get("tool_calls", ()):
            tool_call.pop("index", None)
            tool_call.get("function", {}).pop("parsed_arguments", None)
    return completion


def without_nulls(value: Any) -> Any:
    """The SDK's objects say null where the stream said nothing."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(member) for member in value]
    return value


CHAT_STREAMS = {
    "text": chat_body("Hello, 世界 😀"),
    "empty": chat_body(""),
    "refusal": chat_body(refusal="I would rather not"),
    "reasoning": chat_body("4", reasoning="two and two"),
    "calls": chat_body(calls=[("call_1", "f", '{"a":1}'), ("call_2", "g", "{}")], finish="tool_calls"),
    "text and calls": chat_body("Let me see", calls=[("call_1", "f", '{"a":[1,2]}')], finish="tool_calls"),
    "length": chat_body("cut", finish="length"),
    "logprobs": sse(
        [
            {
                **chunk(None),
                "choices": [
                    {"index": 0, "delta": {"role": role, "content": text}, "finish_reason": end, "logprobs": odds}
                ],
            }
            for role, text, end, odds in [
                ("assistant", "a", None, {"content": [LOGPROB], "refusal": None}),
                (None, "a", None, {"content": [LOGPROB, LOGPROB], "refusal": None}),
                (None, "", "stop", None),
            ]
        ],
        done=True,
    ),
    "fingerprints": sse(
        [{**each, "system_fingerprint": "fp_1", "service_tier": "default"} for each in chat_chunks("hi")], done=True
    ),
    "padding": sse([{**each, "obfuscation": "xyz"} for each in chat_chunks("hi")], done=True),
}


@pytest.mark.parametrize("name", CHAT_STREAMS)
def test_a_completion_is_the_sdks(name: str) -> None:
    body, verdict = read([CHAT_STREAMS[name]], "chat")
    assert verdict.has_answer
    expected = accumulate(CHAT_STREAMS[name])
    expected.pop("obfuscation", None)
    assert without_nulls(body) == expected
    assert body["object"] == "chat.completion"
    assert set(body["choices"][0]) >= {"index", "message", "finish_reason", "logprobs"}


def test_several_choices_are_the_sdks() -> None:
    deltas = [chunk({"role": "assistant", "content": text}, index=index) for index, text in [(0, "a"), (1, "b")]]
    deltas += [chunk({"content": "c"}, index=1), chunk({}, "stop", index=1), chunk({}, "stop", index=0)]
    stream = sse(deltas, done=True)
    reading = READER.chat(0.0, Reply(prints_deltas=False, keep_text=True), 2, False)
    for _ in reading.answer.feed(stream):
        pass
    assert without_nulls(json.loads(reading.body())) == accumulate(stream)


def test_what_a_server_repeats_does_not_grow() -> None:
    """Perplexity and OpenRouter repeat the role in every chunk: the SDK makes `assistantassistant` of it."""
    stream = sse([chunk({"role": "assistant", "content": text}) for text in "abc"] + [chunk({}, "stop")], done=True)
    assert read([stream], "chat")[0]["choices"][0]["message"] == {"role": "assistant", "content": "abc"}


def test_thinking_that_comes_in_parts_is_one_part() -> None:
    """Mistral's reasoning models: `content` is a list of parts while they think, and a text from then on."""
    thoughts = [[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}] for text in ("2+2", " is 4")]
    deltas: list[Any] = ["", *thoughts, "The answer", " is 4."]
    stream = sse([chunk({"role": "assistant", "content": delta}) for delta in deltas] + [chunk({}, "stop")], done=True)
    body, _ = read([stream], "chat")
    assert body["choices"][0]["message"]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "2+2 is 4"}]},
        {"type": "text", "text": "The answer is 4."},
    ]


RESPONSES_STREAMS = {
    "text": responses_body(message("Hello, 世界 😀")),
    "reasoning": responses_body(reasoning("hm"), message("4")),
    "calls": responses_body(message("Let me see"), call("f", '{"a":1}'), custom_call("g", "raw", "call_2")),
    "refusal": responses_body(refusal("no")),
    "incomplete": responses_body(
        message("cut"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    ),
    "extra": responses_body(message("hi"), metadata={"a": "b"}, temperature=0.5, tools=[], service_tier="flex"),
}


@pytest.mark.parametrize("name", RESPONSES_STREAMS)
def test_a_response_is_that_of_the_terminal_event(name: str) -> None:
    stream = RESPONSES_STREAMS[name]
    last = [line for line in stream.decode().split("\n") if line.startswith("data: ")][-1]
    assert read([stream], "responses")[0] == json.loads(last[6:])["response"]


@pytest.mark.parametrize("name", ["text", "calls"])
def test_a_response_whose_terminal_event_leaves_the_output_out_has_it_all_the_same(name: str) -> None:
    events = RESPONSES_STREAMS[name].decode().split("\n\n")
    full = json.loads(events[-2].split("data: ")[1])
    bare = {**full, "response": response_object(usage=full["response"]["usage"])}
    events[-2] = f"event: response.completed\ndata: {json.dumps(bare)}"
    assert read(["\n\n".join(events).encode()], "responses")[0]["output"] == full["response"]["output"]


@given(st.data())
def test_where_a_stream_is_cut_changes_nothing(data: st.DataObject) -> None:
    api, streams = data.draw(st.sampled_from([("chat", CHAT_STREAMS), ("responses", RESPONSES_STREAMS)]))
    stream = streams[data.draw(st.sampled_from(sorted(streams)))]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read([piece for piece in pieces if piece], api) == read([stream], api)


# Recorded streams -------------------------------------------------------------------------------------------------


def recorded(api: str) -> Iterator[tuple[str, bytes]]:
    """The recordings with an answer, as bodies."""
    lines = (STREAMS / "EXPECTED.jsonl").read_text().splitlines() if STREAMS.is_dir() else []
    for entry in map(json.loads, lines):
        path = entry["path"]
        if entry["api"] == api and "#" not in path and entry["exit_text"] < 20:
            data = (STREAMS / path).read_bytes()
            if not path.endswith(".sse"):
                rows = [row for row in data.decode().split("\n") if row.strip()]
                data = sse(rows, done=api == "chat")
            yield path, data


@pytest.mark.skipif(not STREAMS.is_dir(), reason=f"no recorded streams in {STREAMS}")
def test_recorded_completions_are_the_sdks_wherever_it_makes_sense_of_them() -> None:
    equal, seen = 0, 0
    for path, stream in recorded("chat"):
        body, _ = read([stream], "chat")
        seen += 1
        try:
            expected = accumulate(stream)
        except (RuntimeError, TypeError, IndexError, KeyError, AttributeError, ValueError):
            continue
        ours = without_nulls(body)
        if not makes_sense(expected, ours):
            continue
        expected.pop("obfuscation", None)
        for name in ("usage", "service_tier"):  # of a chunk that is not the last: the SDK forgets it
            if name not in expected:
                ours.pop(name, None)
        for choice, own in zip(expected["choices"], ours["choices"], strict=True):
            for name in own.keys() - choice.keys():
                assert name not in ("message", "logprobs", "finish_reason"), path
                del own[name]  # a vendor's own field that only the last chunk has: the SDK does not take it in
        assert ours == expected, path
        equal += 1
    assert equal > seen / 2


def makes_sense(expected: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether the SDK's completion is one that a server could have sent: it joins what servers repeat."""
    text = json.dumps([expected["choices"], expected.get("id"), expected.get("model")])
    if "assistantassistant" in text or "anthropic-claude-v1anthropic" in text:
        return False
    for choice, own in zip(expected["choices"], ours["choices"], strict=False):
        if "role" not in choice["message"] or "text" in own:
            return False
        if type(choice["message"].get("content")) is not type(own["message"].get("content")):
            return False  # it loses the parts that came before a text
        own_ids = {tool_call["id"] for tool_call in own["message"].get("tool_calls", ())}
        for tool_call in choice["message"].get("tool_calls", ()):
            if "type" not in tool_call or tool_call.get("id") not in own_ids:
                return False
    return len(expected["choices"]) == len(ours["choices"])


@pytest.mark.skipif(not STREAMS.is_dir(), reason=f"no recorded streams in {STREAMS}")
def test_recorded_responses_are_those_of_their_terminal_events() -> None:
    seen = 0
    for path, stream in recorded("responses"):
        last = terminal_response(stream)
        if last is None or not last.get("output"):
            continue
        try:
            body, _ = read([stream], "responses")
        except Failure:
            continue
        assert {**body, "output": None} == {**last, "output": None}, path
        assert len(body["output"]) >= len(last["output"]), path
        seen += 1
    assert seen > 100


def terminal_response(stream: bytes) -> dict[str, Any] | None:
    for line in reversed(stream.decode("utf-8", "replace").splitlines()):
        if line.startswith("data:") and '"response.' in line[:60]:
            event = json.loads(line[5:])
            if event["type"] in ("response.completed", "response.incomplete"):
                response: dict[str, Any] = event["response"]
                return response
    return None
