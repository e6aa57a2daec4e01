"""Chat Completions as its many servers speak it: what each quirk means for text, calls and status.

The rules live in `oastream.events.chat`; chunks are fed to it and to the parts behind it without a socket. Whether each
translated event is one of the Responses API's is for the SDK to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from oastream.apis.response_fields import response_fields
from oastream.events.chat import ChatTranslator
from oastream.events.chat_dialect import ChatDialect
from oastream.events.decode import Decoder
from oastream.events.reply import Reply
from oastream.exits import Outcome
from oastream.output.formats import EagerToolsFormat, TextFormat, ToolsFormat
from tests.support.program import oastream
from tests.support.reading import LIMIT, read_body
from tests.support.streams import Event, chat_chunks, chunk, sse
from tests.support.wire import head, send, serve, sleep, sse_response

STREAM_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class Read(NamedTuple):
    """What a stream says: its outcome, the text, the calls."""

    outcome: Outcome
    text: str
    calls: list[tuple[str, str, Any]]


def said(chunks: Sequence[Event | str], choices: int = 1, done: bool = True, limit: int | None = None) -> Read:
    """What a stream of chunks says."""
    body = sse(chunks, done=done)
    outcome, text = read_body(body, TextFormat(False), ChatDialect(choices), limit)
    with_calls, lines = read_body(body, ToolsFormat(False), ChatDialect(choices), limit)
    calls = [json.loads(line) for line in b"".join(lines).splitlines()]
    found = [(call["call_id"], call["name"], call.get("arguments", call.get("input"))) for call in calls]
    return Read(with_calls if found else outcome, b"".join(text).decode(), found)


def piece(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: str | None = None
) -> Event:
    """A chunk with one fragment of a call; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fragment = {key: value for key, value in (("index", index), ("id", call_id)) if value is not None}
    return chunk({"tool_calls": [{**fragment, "function": function}]})


END = chunk({}, "tool_calls")
A = ("a", "f", {"x": 1})
B = ("b", "g", {"y": 2})

# Which call a fragment belongs to ---------------------------------------------------------------------------------

CALLS: dict[str, tuple[list[Event], list[tuple[str, str, Any]]]] = {
    "OpenAI: a head, then pieces by index": (
        [piece(0, "a", "f", ""), piece(0, arguments='{"x":'), piece(0, arguments="1}"), piece(1, "b", "g", '{"y":2}')],
        [A, B],
    ),
    "fragments of two calls alternate": (
        [piece(0, "a", "f", '{"x"'), piece(1, "b", "g", '{"y"'), piece(0, arguments=":1}"), piece(1, arguments=":2}")],
        [A, B],
    ),
    "no index (Gemini, Mistral)": ([piece(None, "a", "f", '{"x":1}'), piece(None, "b", "g", '{"y":2}')], [A, B]),
    "no index, in pieces": (
        [piece(None, "a", "f", '{"x":'), piece(None, arguments="1}"), piece(None, "b", "g", '{"y":2}')],
        [A, B],
    ),
    "no index, the id again in each piece": (
        [piece(None, "a", "f", '{"x":'), piece(None, "a", "f", "1}"), piece(None, "b", "g", '{"y":2}')],
        [A, B],
    ),
    "no index, pieces by id in turn": (
        [piece(None, "a", "f", '{"x":'), piece(None, "b", "g", '{"y":'), piece(None, "a", arguments="1}"),
         piece(None, "b", arguments="2}")],
        [A, B],
    ),
    "index 0 for every call (older Ollama, LiteLLM)": (
        [piece(0, "a", "f", '{"x":1}'), piece(0, "b", "g", '{"y":2}')],
        [A, B],
    ),
    "index 0 for every call, the same tool": (
        [piece(0, "a", "f", '{"x":1}'), piece(0, "b", "f", '{"x":1}')],
        [A, ("b", "f", {"x": 1})],
    ),
    "index 0 for every call, pieces by id in turn": (
        [piece(0, "a", "f", '{"x":'), piece(0, "b", "g", '{"y":'), piece(0, "a", "f", "1}"), piece(0, "b", "g", "2}")],
        [A, B],
    ),
    "index 0 for every call and no ids": (
        [piece(0, None, "f", '{"x":1}'), piece(0, None, "g", '{"y":2}')],
        [("call_0", "f", {"x": 1}), ("call_1", "g", {"y": 2})],
    ),
    "a head at one index, its arguments at another (SGLang)": (
        [piece(0, "a", "f", ""), piece(1, arguments='{"x":1}')],
        [A],
    ),
    "a head at one index, its arguments at another under its id": (
        [piece(0, "a", "f", ""), piece(1, "b", "g", ""), piece(2, "a", arguments='{"x":1}'),
         piece(1, arguments='{"y":2}')],
        [A, B],
    ),
    'further pieces have the id "" (Alibaba, vLLM)': ([piece(0, "a", "f", ""), piece(0, "", None, '{"x":1}')], [A]),
    "id and name again in each piece (Baseten, OpenRouter)": (
        [piece(0, "a", "f", '{"x":'), piece(0, "a", "f", "1}")],
        [A],
    ),
    "the id changes on the way (Poolside, mlx-openai-server)": (
        [piece(0, "a", "f"), piece(0, "b", None, '{"x":'), piece(0, "c", None, "1}")],
        [A],
    ),
    "the id comes after the name": ([piece(0, None, "f", ""), piece(0, "a", None, '{"x":1}')], [A]),
    "the id comes after the name, with it again": ([piece(0, None, "f", ""), piece(0, "a", "f", '{"x":1}')], [A]),
    "an id that came late is known": (
        [piece(0, None, "f", ""), piece(0, "a", None, '{"x":'), piece(1, "b", "g", '{"y":2}'),
         piece(7, "a", None, "1}")],
        [A, B],
    ),
    "two calls with one id at two indices (Gemini behind OpenRouter)": (
        [piece(0, "a", "f", '{"x":'), piece(1, "a", "g", '{"y":'), piece(0, "a", None, "1}"),
         piece(1, "a", None, "2}")],
        [A, ("a", "g", {"y": 2})],
    ),
    "a name in pieces": ([piece(0, "a", "get_"), piece(0, None, "weather"), piece(0, arguments="{}")],
                         [("a", "get_weather", {})]),
    "a name after the arguments have begun is another call without ids": (
        [piece(0, None, "f", '{"x":1}'), piece(0, None, "f2", '{"x":2}')],
        [("call_0", "f", {"x": 1}), ("call_1", "f2", {"x": 2})],
    ),
    "the first index is 1 (Anthropic behind gateways)": ([piece(1, "a", "f", '{"x":1}')], [A]),
    "arguments as an object": (
        [chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]})],
        [A],
    ),
    "the name comes after the id, with it again": ([piece(0, "a"), piece(0, "a", "f", '{"x":1}')], [A]),
    "another name under the same id adds nothing": ([piece(0, "a", "f"), piece(0, "a", "g", '{"x":1}')], [A]),
    "neither index nor ids": (
        [piece(None, None, "f", '{"x":1}'), piece(None, None, "g", '{"y":2}')],
        [("call_0", "f", {"x": 1}), ("call_1", "g", {"y": 2})],
    ),
    "fragments of other types": (
        [piece(0, "a", "f", '{"x":'), chunk({"tool_calls": [5, None, {"index": 0, "function": 5}]}),
         piece(0, None, None, "1}")],
        [A],
    ),
    "no arguments": ([piece(0, "a", "f")], [("a", "f", {})]),
    "null as arguments": ([piece(0, "a", "f", "null")], [("a", "f", {})]),
    "one fragment that is no list": (
        [chunk({"tool_calls": {"id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}})],
        [A],
    ),
    "the call of the API before tools": (
        [chunk({"function_call": {"name": "f", "arguments": '{"x":'}}), chunk({"function_call": {"arguments": "1}"}})],
        [("call_0", "f", {"x": 1})],
    ),
    "a custom tool": (
        [chunk({"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "sql", "input": "select"}}]}),
         chunk({"tool_calls": [{"index": 0, "custom": {"input": " 1"}}]})],
        [("a", "sql", "select 1")],
    ),
    "two custom tools": (
        [chunk({"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "sql", "input": "1"}}]}),
         chunk({"tool_calls": [{"index": 1, "id": "b", "custom": {"name": "sql", "input": "2"}}]})],
        [("a", "sql", "1"), ("b", "sql", "2")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("quirk", CALLS)
def test_calls_are_put_together(quirk: str) -> None:
    chunks, expected = CALLS[quirk]
    assert said([*chunks, END]).calls == expected


@pytest.mark.parametrize("arguments", ["", "{}", '{"x":1}'])
def test_a_call_without_a_name_is_broken(arguments: str) -> None:
    outcome, printed = read_body(
        sse([piece(0, "a", None, arguments), END], done=True), ToolsFormat(False), ChatDialect()
    )
    assert (outcome, b"".join(printed)) == (Outcome.MALFORMED, b"")


def eager(*chunks: Event) -> tuple[Outcome, list[Any]]:
    """What --eager prints, in order, and how it ends."""
    outcome, printed = read_body(sse(chunks, done=True), EagerToolsFormat(False), ChatDialect())
    return outcome, [json.loads(line) for line in b"".join(printed).splitlines()]


def printed_before(chunks: Sequence[Event], last: Event) -> list[str]:
    """The names of the calls that --eager has printed before the last chunk comes."""
    decoder, reply, output_format = Decoder(ChatDialect(), LIMIT), Reply(), EagerToolsFormat(False)
    for event, raw in decoder.feed(sse([*chunks, last])):
        output_format.add_event(event, raw, reply.feed(event), reply)
    return [json.loads(line)["name"] for line in output_format.take().splitlines()]


def test_an_eager_call_goes_out_when_the_next_one_begins() -> None:
    assert printed_before([piece(0, "a", "f", '{"x":1}')], piece(1, "b", "g", "")) == ["f"]


@pytest.mark.parametrize("begun", ["", "{}", '{"x"', "[1]", "1"])
def test_an_eager_call_waits_while_more_of_it_may_come(begun: str) -> None:
    assert printed_before([piece(0, "a", "f", begun)], piece(1, "b", "g", "")) == []


@pytest.mark.parametrize("first", ["", '{"x":'])
def test_eager_calls_whose_fragments_alternate_are_whole(first: str) -> None:
    rest = '{"x":1}'[len(first) :]
    heads = [piece(0, "a", "f", first), piece(1, "b", "g", "")]
    outcome, calls = eager(*heads, piece(0, arguments=rest), piece(1, arguments='{"y":2}'), END)
    assert outcome is Outcome.STOP
    assert [(call["call_id"], call["arguments"]) for call in calls] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_an_eager_call_that_goes_on_once_it_is_printed_is_broken() -> None:
    head = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}
    other = {"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"y":2}'}}
    late = {"index": 0, "function": {"arguments": ', "z":3}'}}
    chunks = [chunk({"tool_calls": [fragment]}) for fragment in (head, other, late)]
    outcome, printed = read_body(
        sse([*chunks, chunk({}, "tool_calls")], done=True), EagerToolsFormat(False), ChatDialect()
    )
    assert outcome is Outcome.MALFORMED
    assert [json.loads(line)["name"] for line in b"".join(printed).splitlines()] == ["f"]


def test_an_eager_custom_call_waits_for_the_finish() -> None:
    first = chunk({"tool_calls": [{"index": 0, "id": "a", "custom": {"name": "sql", "input": "select"}}]})
    assert printed_before([first], piece(1, "b", "g", "")) == []


# The end ----------------------------------------------------------------------------------------------------------

STOP_WORDS = [
    *("stop", "tool_calls", "function_call", "eos", "eos_token", "end_turn", "stop_sequence", "tool_use", "tool_call"),
    *("STOP", "End_Turn"),
]
CUT_WORDS = ["length", "max_tokens", "max_output_tokens", "model_length", "MAX_TOKENS"]
FILTER_WORDS = ["content_filter", "sensitive", "safety", "recitation", "blocklist", "prohibited_content", "SAFETY"]
FAILED_WORDS = ["error", "abort", "network_error", "insufficient_system_resource", "ERROR"]


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (STOP_WORDS, Outcome.STOP),
        (CUT_WORDS, Outcome.LENGTH),
        (FILTER_WORDS, Outcome.CONTENT_FILTER),
        (FAILED_WORDS, Outcome.FAILED),
        (["function_call_filter: MALFORMED_FUNCTION_CALL", "repetition"], Outcome.OTHER),
    ],
    ids=lambda value: value.name if isinstance(value, Outcome) else "",
)
def test_a_finish_reason_has_its_outcome(words: list[str], outcome: Outcome) -> None:
    for word in words:
        assert said(chat_chunks("Hi", finish=word)).outcome is outcome, word
        assert said([chunk({}, word)]).outcome in (outcome, Outcome.EMPTY), word


@pytest.mark.parametrize("word", [None, "", "null", "NULL"])
def test_no_finish_reason_is_no_end(word: str | None) -> None:
    chunks = [chunk({"content": "Hi"}, word)]
    assert said(chunks, done=False).outcome is Outcome.INTERRUPTED
    assert said(chunks, done=True).outcome is Outcome.STOP


def test_a_native_finish_reason_says_length() -> None:
    last = chunk({}, "stop")
    last["choices"][0]["native_finish_reason"] = "MAX_TOKENS"
    assert said([chunk({"content": "Hi"}), last]).outcome is Outcome.LENGTH
    last["choices"][0]["native_finish_reason"] = "SAFETY"
    assert said([chunk({"content": "Hi"}), last]).outcome is Outcome.STOP


@pytest.mark.parametrize(
    ("words", "outcome"),
    [
        (["stop", "length"], Outcome.LENGTH),
        (["length", "stop"], Outcome.LENGTH),
        (["content_filter", "length", "stop"], Outcome.LENGTH),
        (["stop", "weird", "content_filter"], Outcome.CONTENT_FILTER),
        (["error", "weird"], Outcome.OTHER),
        (["stop", "error"], Outcome.FAILED),
    ],
)
def test_of_several_finish_reasons_the_lowest_status_counts(words: list[str], outcome: Outcome) -> None:
    assert said([chunk({"content": "Hi"}), *(chunk({}, word) for word in words)]).outcome is outcome


def test_an_unknown_finish_reason_is_named() -> None:
    with serve(sse_response(sse(chat_chunks("Hi", finish="repetition"), done=True))) as server:
        result = oastream("--base-url", server.url, "--api", "chat", "hello")
    assert (result.status, "repetition" in result.message) == (15, True)


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_text_after_a_finish_reason_is_part_of_the_answer(pause: float) -> None:
    """Some servers say stop in every chunk, or at the end of the reasoning."""
    texts = ["one", " two", " three"]
    steps = [step for text in texts for step in (send(sse([chunk({"content": text}, "stop")])), sleep(pause))]
    with serve([send(head("close")), *steps]) as server:
        result = oastream("--base-url", server.url, "--api", "chat", "hello")
    assert (result.status, result.text) == (0, "one two three\n")


def decoder_after(*chunks: Event, choices: int = 1) -> Decoder:
    decoder = Decoder(ChatDialect(choices), LIMIT)
    list(decoder.feed(sse(chunks)))
    return decoder


def settled(*chunks: Event, choices: int = 1) -> tuple[bool, bool]:
    """Whether the answer is complete, and whether only its trailing data is waited for."""
    decoder = decoder_after(*chunks, choices=choices)
    return decoder.is_complete, decoder.is_settled


TEXT, FINISH, BOTH = chunk({"content": "x"}), chunk({}, "stop"), chunk({"content": "x"}, "stop")
USAGE = chunk(None, usage={"prompt_tokens": 1, "completion_tokens": 1})


def test_content_after_a_finish_reason_begins_the_waiting_anew() -> None:
    assert settled(TEXT) == (False, False)
    assert settled(TEXT, FINISH) == settled(BOTH) == settled(BOTH, USAGE) == settled(BOTH, FINISH) == (True, True)
    assert settled(TEXT, FINISH, TEXT) == settled(BOTH, BOTH) == (True, False)
    assert settled(TEXT, FINISH, TEXT, chunk({})) == settled(TEXT, FINISH, TEXT, USAGE) == (True, False)
    assert settled(BOTH, piece(0, "a", "f", "")) == settled(BOTH, chunk({"reasoning": "x"}, "stop")) == (True, False)
    assert settled(BOTH, BOTH, FINISH) == settled(BOTH, TEXT, FINISH) == (True, True)
    assert settled(BOTH, chunk({"role": "assistant", "content": ""}, "stop")) == (True, True)


NOISE = {
    "not JSON": "{oops",
    "not an object": "[1]",
    "usage of a wrong type": json.dumps(chunk(None, usage={"prompt_tokens": "many", "completion_tokens": [1]})),
    "an error": json.dumps({"error": {"message": "boom", "code": 500}}),
    "an error in a choice": json.dumps(chunk({}, "error") | {"choices": [{"index": 0, "error": {"message": "boom"}}]}),
    "a delta of a wrong type": json.dumps(chunk({"tool_calls": [{"function": {"name": {"a": 1}}}]})),
    "images of a wrong type": json.dumps(chunk({"images": 5})),
    "an event that is too large": json.dumps(chunk({"content": "x" * (LIMIT + 1)})),
    "[DONE] with blanks": " [DONE] ",
}


@pytest.mark.parametrize("noise", NOISE)
def test_a_complete_answer_stays_complete_whatever_follows(noise: str) -> None:
    assert said([TEXT, FINISH, NOISE[noise]], done=False).outcome is Outcome.STOP


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.lists(st.binary(max_size=40) | st.sampled_from([*NOISE.values()]).map(str.encode), max_size=4))
def test_a_complete_answer_stays_complete_whatever_bytes_follow(noise: list[bytes]) -> None:
    body = sse([TEXT, FINISH]) + b"".join(b"data: %b\n\n" % data for data in noise)
    for end in (body, body + b"".join(noise)):
        outcome, printed = read_body(end, TextFormat(False), ChatDialect())
        assert outcome in (Outcome.STOP, Outcome.LENGTH, Outcome.CONTENT_FILTER, Outcome.TOOL_CALLS, Outcome.OTHER)
        assert b"".join(printed).startswith(b"x")


@pytest.mark.parametrize("wrong", ["many", None, [1], {"a": 1}, 1.5])
def test_usage_of_a_wrong_type_is_no_reason_to_fail(wrong: object) -> None:
    assert said([TEXT, chunk({}, "stop", usage={"prompt_tokens": wrong, "completion_tokens": wrong})]).text == "x\n"
    assert said([TEXT, chunk({}, "stop", usage=wrong), USAGE]).outcome is Outcome.STOP


def test_usage_may_stand_in_the_choice() -> None:
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = {"prompt_tokens": 1, "completion_tokens": 50}
    assert said([TEXT, last], limit=50).outcome is Outcome.LENGTH


# Several choices ---------------------------------------------------------------------------------------------------


def of(index: int, delta: Event, finish: str | None = None) -> Event:
    return chunk(delta, finish, index)


def test_text_calls_and_status_are_those_of_the_first_choice() -> None:
    first = [
        of(0, {"content": "one"}),
        of(1, {"refusal": "no"}),
        of(2, piece(0, "a", "f", "{}")["choices"][0]["delta"]),
    ]
    ends = [of(0, {}, "stop"), of(1, {}, "content_filter"), of(2, {}, "length")]
    read = said([*first, *ends], choices=3)
    assert (read.outcome, read.text) == (Outcome.STOP, "one\n")
    assert (
        said([*first, of(0, {}, "length"), of(1, {}, "stop"), of(2, {}, "stop")], choices=3).outcome is Outcome.LENGTH
    )


def test_the_answer_is_complete_when_each_choice_that_came_is() -> None:
    begun, ended = of(1, {"content": "x"}), of(1, {}, "stop")
    assert settled(of(0, {"content": "x"}), begun, ended, choices=2) == (False, False)
    assert settled(BOTH, begun, ended, choices=2) == (True, True)
    assert settled(BOTH, choices=2) == (True, False), "the other may still come"
    assert said([BOTH, begun], choices=2, done=False).outcome is Outcome.INTERRUPTED


def test_an_error_counts_whichever_choice_it_names() -> None:
    broken = {**chunk({}), "choices": [{"index": 1, "error": {"message": "boom", "code": 500}, "delta": {}}]}
    assert said([TEXT, broken], choices=2).outcome is Outcome.FAILED


def test_the_used_up_limit_is_not_judged_with_several_choices() -> None:
    body = sse([BOTH, of(1, {"content": "y"}, "stop"), chunk(None, usage={"completion_tokens": 60})], done=True)
    for more, status in (([], 10), (["--set", "n=2"], 0)):
        with serve(sse_response(body)) as server:
            args = ["--base-url", server.url, "--api", "chat", "--max-tokens", "50", *more, "hello"]
            assert oastream(*args).status == status


def test_when_one_choice_was_asked_for_every_choice_is_that_one() -> None:
    """Foundry Local counts the index up with each chunk."""
    chunks = [of(at, {"content": text}) for at, text in enumerate(["one", " two", " three"])]
    assert said([*chunks, of(3, {}, "stop")]).text == "one two three\n"


# An answer in one piece --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["stop", None, "null"])
def test_a_whole_json_answer_is_complete(finish: str | None) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": finish}
    body = json.dumps({**chunk(None), "object": "chat.completion", "choices": [choice]}).encode()
    assert read_body(body, TextFormat(False), ChatDialect()) == (
        Outcome.STOP,
        [b""] * 4 + [b"Hi"] + [b""] * 4 + [b"\n"],
    )


def test_a_delta_may_be_null() -> None:
    assert (
        said([TEXT, {**chunk(None), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}]).text == "x\n"
    )


# As the Responses API has it ---------------------------------------------------------------------------------------

BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
    "temperature": 0.5,
    "max_completion_tokens": 100,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "metadata": {"k": "v"},
}
ODD_BODY = {"messages": 5, "tools": "x", "tool_choice": 7, "metadata": 1, "temperature": "hot", "max_tokens": "x"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}

STREAMS: dict[str, list[Event | str]] = {
    "text": [*chat_chunks("Hello there", reasoning="Let me see")],
    "cut": [*chat_chunks("Hello", finish="length", usage={"prompt_tokens": 3, "completion_tokens": None})],
    "filtered": [*chat_chunks("Hello", finish="safety")],
    "unknown": [*chat_chunks("Hello", finish="repetition")],
    "failed": [*chat_chunks("Hello", finish="abort")],
    "refusal": [*chat_chunks(refusal="No.")],
    "calls": [*chat_chunks(calls=[("a", "f", '{"x":1}'), ("b", "g", "{}")])],
    "a cut call": [*chat_chunks(calls=[("a", "f", '{"x":')], finish="length")],
    "a custom call": [*CALLS["a custom tool"][0], END],
    "an image": [chunk({"content": "See:", "images": [IMAGE]}), FINISH],
    "logprobs": [chunk({"content": "Hi"}), FINISH],
    "several choices": [BOTH, of(1, {"content": "y"}, "stop")],
    "an error": [TEXT, {"error": {"message": "boom", "type": "server_error", "code": 500}}],
    "nothing": ["[DONE]"],
    "no ids": [{"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}],
}


@pytest.mark.parametrize("body", [BODY, ODD_BODY, {}], ids=["request", "odd request", "no request"])
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("keep_text", [True, False])
def test_each_translated_event_is_whole_by_the_sdks_types(name: str, body: Event, keep_text: bool) -> None:
    choices = 2 if name == "several choices" else 1
    decoder = Decoder(ChatDialect(choices, keep_text, response_fields(body)), LIMIT)
    events = [event for event, _ in [*decoder.feed(sse(STREAMS[name], done=True)), *decoder.close()]]
    for number, event in enumerate(events):
        STREAM_EVENT.validate_python(event, strict=False)
        assert event["sequence_number"] == number
    assert events[0]["type"] == "response.created"


def test_a_response_repeats_what_was_asked_for() -> None:
    fields = response_fields(BODY)
    assert (fields["instructions"], fields["temperature"], fields["top_p"]) == ("Be brief.", 0.5, None)
    assert fields["tools"] == [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}]
    assert fields["tool_choice"] == {"type": "function", "name": "f"}
    assert (fields["parallel_tool_calls"], fields["metadata"], fields["max_output_tokens"]) == (True, {"k": "v"}, 100)
    with serve(sse_response(sse(chat_chunks("Hi"), done=True))) as server:
        args = ["--base-url", server.url, "--api", "chat", "--format", "ndjson", "-s", "Be brief.", "--top-p", "0.5"]
        records = oastream(*args, "hello").records
    for record in records:
        if "response" in record:
            assert (record["response"]["instructions"], record["response"]["top_p"]) == ("Be brief.", 0.5)


def test_usage_has_the_details_that_its_type_needs() -> None:
    chunks = [TEXT, chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9,
              "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 1}})]  # fmt: skip
    decoder = Decoder(ChatDialect(), LIMIT)
    usage = [*decoder.feed(sse(chunks, done=True))][-1][0]["response"]["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 2, "audio_tokens": 1, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert usage["total_tokens"] == 9


# Event by event ----------------------------------------------------------------------------------------------------


def translated(chunks: Sequence[Event], choices: int = 1, done: bool = True) -> list[Event]:
    """The events of a stream."""
    decoder = Decoder(ChatDialect(choices), LIMIT)
    return [event for event, _ in [*decoder.feed(sse(chunks, done=done)), *decoder.close()]]


def outline(item: Event) -> tuple[str, Any]:
    """What an item of the last response is, and what it holds."""
    if item["type"] == "function_call":
        return item["call_id"], (item["name"], item["arguments"], item["status"])
    if item["type"] == "image_generation_call":
        return "image", item["result"]
    parts = [(part["type"], part.get("text", part.get("refusal"))) for part in item["content"]]
    return item["type"], [*parts, item["status"]]


def content(*parts: Any) -> Event:
    return chunk({"content": list(parts)})


ERRORS = [
    {**TEXT, "error": {"message": "boom"}}, {**TEXT, "object": "error", "message": "boom"},
    {**TEXT, "type": "error", "message": "boom"},
    {**TEXT, "choices": [{**TEXT["choices"][0], "error": {"message": "boom"}}]},
]  # fmt: skip
LENGTH = chunk({}, "length")
TEXT_PART = {"type": "text", "text": "b"}
OUTPUTS: dict[str, tuple[list[Event], list[tuple[str, Any]]]] = {
    "text": ([TEXT, TEXT, TEXT, FINISH], [("message", [("output_text", "xxx"), "completed"])]),
    "text with log probabilities": (
        [TEXT, {**chunk(None), "choices": [{"index": 0, "delta": {"content": "y"}, "logprobs": {"content": [{}]}}]},
         TEXT, FINISH],
        [("message", [("output_text", "xyx"), "completed"])],
    ),
    "a role in each chunk": (
        [chunk({"role": "assistant", "content": "x"}), chunk({"role": "assistant", "content": "y"}), FINISH],
        [("message", [("output_text", "xy"), "completed"])],
    ),
    "reasoning, text, reasoning": (
        [chunk({"reasoning": "a"}), chunk({"reasoning_content": "b"}), TEXT, chunk({"reasoning": "c"}), TEXT, FINISH],
        [("reasoning", [("reasoning_text", "abc"), "completed"]), ("message", [("output_text", "xx"), "completed"])],
    ),
    "both words for reasoning": (
        [chunk({"reasoning": "a", "reasoning_content": "a"}), FINISH],
        [("reasoning", [("reasoning_text", "a"), "completed"])],
    ),
    "text, refusal, text": (
        [TEXT, chunk({"refusal": "no"}), TEXT, FINISH],
        [("message", [("output_text", "x"), ("refusal", "no"), ("output_text", "x"), "completed"])],
    ),
    "a transcript": (
        [chunk({"audio": {"transcript": "a"}}), chunk({"audio": {"transcript": ""}}), chunk({"audio": {"id": "x"}}),
         chunk({"audio": 5}), FINISH],
        [("message", [("output_text", "a"), "completed"])],
    ),
    "content in parts (Mistral)": (
        [content({"type": "thinking", "thinking": [{"type": "text", "text": "a"}, "b", {"text": None}, None]}),
         content({"type": "thinking", "thinking": "c"}), content({"type": "thinking", "thinking": []}),
         content(TEXT_PART, "d", "", 5, {"type": "text", "text": ""}, {"type": "text", "text": 5}, {"type": "x"}),
         FINISH],
        [("reasoning", [("reasoning_text", "abc"), "completed"]), ("message", [("output_text", "bd"), "completed"])],
    ),
    "texts of other types": (
        [chunk({"content": 5, "reasoning": 5, "refusal": 5}), chunk({"content": {}, "reasoning": {}}), TEXT, FINISH],
        [("message", [("output_text", "x"), "completed"])],
    ),
    "cut text": ([TEXT, LENGTH], [("message", [("output_text", "x"), "incomplete"])]),
    "cut calls": (
        [piece(0, "a", "f", '{"x":1}'), piece(1, "b", "g", '{"y"'), LENGTH],
        [("a", ("f", '{"x":1}', "completed")), ("b", ("g", '{"y"', "incomplete"))],
    ),
    "a cut call whose arguments are a list": ([piece(0, "a", "f", "[1]"), LENGTH], [("a", ("f", "[1]", "incomplete"))]),
    "the last call cut behind its arguments": (
        [piece(0, "a", "f", '{"x":1}'), LENGTH],
        [("a", ("f", '{"x":1}', "completed"))],
    ),
    "images": (
        [chunk({"images": [IMAGE, 5, {"image_url": "data:,x"}, {"image_url": {"url": 5}}, {}]}), FINISH],
        [("image", url) for url in ("data:image/png;base64,AA", None, "data:,x", None, None)],
    ),
    "choices": (
        [BOTH, of(1, {"content": "y"}, "stop")],
        [("message", [("output_text", "x"), "completed"]), ("message", [("output_text", "y"), "completed"])],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_last_response_has_each_item_once(name: str) -> None:
    chunks, expected = OUTPUTS[name]
    events = translated(chunks, 2 if name == "choices" else 1)
    assert [outline(item) for item in events[-1]["response"]["output"]] == expected
    for kind in ("added", "done"):
        places = [event["output_index"] for event in events if event["type"] == f"response.output_item.{kind}"]
        assert sorted(places) == list(range(len(expected))), kind
    texts = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    whole = [part for kind, parts in expected if kind == "message" for part in parts]
    assert texts == "".join(part[1] for part in whole if part[0] == "output_text")


@pytest.mark.parametrize("chunks", [[], [TEXT], [TEXT, TEXT, FINISH], [TEXT, ERRORS[0]], [ERRORS[0]], [FINISH]])
def test_an_answer_begins_once(chunks: list[Event]) -> None:
    kinds = [event["type"] for event in translated(chunks)]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert [kinds.count(kind) for kind in kinds[:2]] == [1, 1]


def test_thinking_without_words_is_no_reasoning() -> None:
    output = translated([content({"type": "thinking", "thinking": []}), TEXT, FINISH])[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message"]


def test_a_whole_call_has_its_done_events_and_a_cut_one_only_that_of_its_item() -> None:
    events = translated([piece(0, "a", "f", '{"x":1}'), piece(1, "b", "g", '{"y"'), LENGTH])
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["item_id"], event["name"], event["arguments"]) for event in done] == [("fc_0", "f", '{"x":1}')]
    events = translated([*CALLS["a custom tool"][0], END])
    done = [event for event in events if event["type"] == "response.custom_tool_call_input.done"]
    assert [event["input"] for event in done] == ["select 1"]


def test_each_piece_of_a_call_is_a_delta() -> None:
    events = translated([piece(0, "a", "f", '{"x"'), piece(0, arguments=""), piece(0, arguments=":1}"), END])
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert deltas == ['{"x"', ":1}"]


def test_a_call_that_goes_on_behind_its_end_is_done_again() -> None:
    more = piece(0, arguments=" ")
    events = translated([piece(0, "a", "f", '{"x":1}'), piece(1, "b", "g", "{}"), more, END])
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [event["arguments"] for event in done] == ['{"x":1}', '{"x":1} ', "{}"]


def test_empty_content_is_no_message() -> None:
    chunks = [chunk({"role": "assistant", "content": ""}), chunk({"reasoning": "r"}), FINISH]
    assert [item["type"] for item in translated(chunks)[-1]["response"]["output"]] == ["reasoning"]


def test_a_choice_whose_index_is_no_number_is_known_by_its_place() -> None:
    choices = [{"index": "x", "delta": {"content": text}, "finish_reason": "stop"} for text in ("a", "b")]
    assert said([{**chunk(None), "choices": choices}], choices=2).text == "a\n"


def test_log_probabilities_are_those_of_text() -> None:
    given = {**TEXT["choices"][0], "logprobs": {"content": [{"token": "x"}]}}
    events = translated([{**TEXT, "choices": [given]}, chunk({"refusal": "no"}), FINISH])
    deltas = [event for event in events if event["type"].endswith(".delta")]
    assert [event.get("logprobs") for event in deltas] == [[{"token": "x"}], None]


def test_a_message_beside_deltas_is_not_said_again() -> None:
    repeated = {"index": 0, "delta": None, "message": {"content": "x"}, "finish_reason": "stop"}
    assert said([TEXT, {**chunk(None), "choices": [repeated]}]).text == "x\n"
    assert said([{**chunk(None), "choices": [repeated]}]).text == "x\n"


def test_text_that_nobody_repeats_is_not_kept() -> None:
    translator = ChatTranslator(keep_text=False)
    translator.feed(BOTH)
    assert translator.close()[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_the_ending_is_the_first_choices_whichever_came_first() -> None:
    assert translated([of(1, {}, "stop"), of(0, {}, "length")], 2)[-1]["type"] == "response.incomplete"
    assert translated([of(1, {}, "length")], 2)[-1]["type"] == "response.incomplete"


def test_items_of_a_further_choice_say_so() -> None:
    output = translated([BOTH, of(1, {"content": "y"}, "stop")], 2)[-1]["response"]["output"]
    assert [item.get("choice_index") for item in output] == [None, 1]


def test_the_first_id_model_and_time_are_the_responses() -> None:
    bare = {"choices": TEXT["choices"]}
    first, second = {"id": "a", "created": 1}, {"id": "b", "model": "m", "created": 2}
    third = {"id": "c", "model": "n", "created": 3, "choices": FINISH["choices"]}
    last = translated([{**bare, **first}, {**bare, **second}, third])[-1]["response"]
    assert (last["id"], last["model"], last["created_at"]) == ("a", "m", 1)


@pytest.mark.parametrize(
    ("word", "status", "details", "error", "named"),
    [
        ("stop", "completed", None, None, None),
        ("length", "incomplete", {"reason": "max_output_tokens"}, None, None),
        ("safety", "incomplete", {"reason": "content_filter"}, None, None),
        ("steered", "incomplete", {"reason": None}, None, "steered"),
        ("abort", "failed", None, {"code": "server_error", "message": "finish_reason abort"}, "abort"),
    ],
)
def test_a_finish_reason_has_its_ending(word: str, status: str, details: Any, error: Any, named: str | None) -> None:
    last = translated([TEXT, chunk({}, word)])[-1]
    response = last["response"]
    assert (last["type"], response["status"]) == (f"response.{status}", status)
    assert (response["incomplete_details"], response["error"], last.get("finish_reason")) == (details, error, named)


COUNTED = {"usage": {"prompt_tokens": 1, "completion_tokens": 2}}


@pytest.mark.parametrize("more", [COUNTED, {"x_groq": COUNTED}], ids=["usage", "Groq"])
def test_usage_is_taken_from_any_chunk(more: Event) -> None:
    for chunks in ([TEXT, TEXT, {**TEXT, **more}, FINISH], [TEXT, {**FINISH, **more}], [{**TEXT, **more}, FINISH]):
        assert translated(chunks)[-1]["response"]["usage"]["total_tokens"] == 3


# The short way of a text that goes on ------------------------------------------------------------------------------

GOES_ON = [TEXT, {**TEXT, "usage": None}, of(5, {"content": "x"})]
SAYS_MORE = [
    FINISH, BOTH, USAGE, chunk(None), of(0, {"content": ""}), of(0, {"role": "assistant", "content": "x"}),
    chunk({"refusal": "no"}), chunk({"reasoning": "r"}), chunk({"content": [TEXT_PART]}), chunk({"content": None}),
    {**TEXT, "usage": {"completion_tokens": 1}}, {**TEXT, "x_groq": {"usage": {"completion_tokens": 1}}},
    {**TEXT, "choices": [*TEXT["choices"], *TEXT["choices"]]}, {**TEXT, "choices": TEXT["choices"][0]},
    {**TEXT, "choices": [{**TEXT["choices"][0], "logprobs": {"content": [{}]}}]}, {**TEXT, "choices": [5]},
    {**TEXT, "choices": [{"index": 0, "delta": 5}]}, piece(0, "a", "f", "{}"),
]  # fmt: skip


def begun(choices: int = 1) -> ChatTranslator:
    translator = ChatTranslator(choices)
    translator.feed(TEXT)
    return translator


def test_only_text_that_goes_on_goes_the_short_way() -> None:
    assert all(begun().text_only_events(each) for each in GOES_ON)
    assert [each for each in [*SAYS_MORE, *ERRORS] if begun().text_only_events(each) is not None] == []
    assert ChatTranslator().text_only_events(TEXT) is None
    assert begun(2).text_only_events(TEXT) is not None
    assert begun(2).text_only_events(of(1, {"content": "x"})) is None


@pytest.mark.parametrize("error", range(len(ERRORS)))
def test_an_error_beside_text_is_an_error(error: int) -> None:
    assert said([TEXT, TEXT, ERRORS[error]], done=False).outcome is Outcome.FAILED


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.lists(st.sampled_from([*GOES_ON * 4, *SAYS_MORE]), max_size=12), st.integers(1, 2))
def test_the_short_way_says_what_the_long_one_says(chunks: list[Event], choices: int) -> None:
    short, long = ChatTranslator(choices), ChatTranslator(choices)
    for each in chunks:
        went = short.text_only_events(each)
        assert (short.feed(each) if went is None else went) == long.feed(each)
        assert (short.is_complete, short.is_settled) == (long.is_complete, long.is_settled)
    assert short.close() == long.close()
