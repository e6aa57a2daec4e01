"""The Chat Completions API: an answer as its chunks.

In: a `Turn`. Out: events in OpenAI's order, without `event:` lines and with a closing `[DONE]`.
Reasoning has the name that most servers give it, `reasoning_content`; OpenAI sends none here.
Knows nothing of faults or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator

from oastream.exits import Outcome
from oastream.mock.answer import Answer, ToolCall, Turn, argument_pieces, describe_logprob, split_words
from oastream.mock.body import named_tool
from oastream.mock.errors import ErrorShape
from oastream.mock.events import Event, EventKind, Json

# The Answer's end → the finish_reason; an end that is not here stops, or calls tools.
_FINISH_REASONS = {
    Outcome.LENGTH: "length",
    Outcome.CONTENT_FILTER: "content_filter",
    Outcome.OTHER: "other",
}
_DONE = Event("[DONE]", kind=EventKind.DONE)


def answer_events(turn: Turn) -> list[Event]:
    """The whole stream."""
    chunks = [*_chunks(turn)]
    if _wants_usage(turn):
        chunks.append(Event(_chunk(turn, [], _usage(turn))))
    return [*chunks, _DONE]


def finished_object(turn: Turn) -> Json:
    """The finished completion, as `stream: false` gives it."""
    logprobs = _logprobs(turn, split_words(turn.answer.text))
    choices = [
        {"index": index, "message": _message(turn), "logprobs": logprobs, "finish_reason": _finish_reason(turn)}
        for index in range(_choice_count(turn))
    ]
    return {**_common_fields(turn), "object": "chat.completion", "choices": choices, "usage": _usage(turn)}


def error_events(turn: Turn, error: Json, shape: ErrorShape, number: int) -> list[Event]:
    """The events that report an error. `[DONE]` follows, as vLLM and LiteLLM send it; nothing has a number here."""
    in_choice = Event(_chunk(turn, [{**_choice(0, {"content": ""}, "error"), "error": error}]))
    shapes = {
        ErrorShape.NESTED: Event({"error": error}),
        ErrorShape.FLAT: Event({"object": "error", **error}),
        ErrorShape.STRING: Event({"error": error["message"]}),
        ErrorShape.EVENT: Event({"message": error["message"], "code": error["code"]}, "error"),
        ErrorShape.FIELD: Event(error, field="error"),
        ErrorShape.CHOICE: in_choice,
        ErrorShape.FAILED: in_choice,  # there is no response.failed here
    }
    return [shapes[shape], _DONE]


def _chunks(turn: Turn) -> Iterator[Event]:
    """Choices take turns by index, as OpenAI interleaves them; here they all say the same."""
    choices = range(_choice_count(turn))
    for index in choices:
        yield Event(_chunk(turn, [_choice(index, _first_delta(turn.answer))]))
    for delta, kind in _deltas(turn):
        logprobs = None
        if "content" in delta:  # only text has them
            logprobs = _logprobs(turn, [delta["content"]])
        for index in choices:
            yield Event(_chunk(turn, [{**_choice(index, delta), "logprobs": logprobs}]), kind=kind)
    for index in choices:
        yield Event(_chunk(turn, [_choice(index, {}, _finish_reason(turn))]), kind=EventKind.FINISH)


def _logprobs(turn: Turn, pieces: list[str]) -> Json | None:
    if not turn.body.get("logprobs"):
        return None
    return {"content": [describe_logprob(piece, turn.body.get("top_logprobs")) for piece in pieces], "refusal": None}


def _first_delta(answer: Answer) -> Json:
    content: str | None = ""
    if answer.calls and not answer.text:
        content = None  # no text follows
    return {"role": "assistant", "content": content, "refusal": None}


def _deltas(turn: Turn) -> Iterator[tuple[Json, EventKind]]:
    answer = turn.answer
    for piece in split_words(answer.reasoning):
        yield {"reasoning_content": piece}, EventKind.OTHER  # `half` is the middle of what is answered
    for piece in split_words(answer.text):
        yield {"content": piece}, EventKind.DELTA
    for piece in split_words(answer.refusal):
        yield {"refusal": piece}, EventKind.DELTA
    for number, call in enumerate(answer.calls):
        yield {"tool_calls": [{"index": number, **_call(turn, number, call, "")}]}, EventKind.DELTA
        kind, payload_key = _call_keys(call)
        for piece in argument_pieces(call):
            yield {"tool_calls": [{"index": number, kind: {payload_key: piece}}]}, EventKind.DELTA


def _call_keys(call: ToolCall) -> tuple[str, str]:
    """A call's type, which is the key of its fields too, and the key of its payload among those."""
    return ("custom", "input") if call.custom else ("function", "arguments")


def _call(turn: Turn, number: int, call: ToolCall, payload: str) -> Json:
    kind, payload_key = _call_keys(call)
    return {"id": turn.make_id("call_", number), "type": kind, kind: {"name": call.name, payload_key: payload}}


def _message(turn: Turn) -> Json:
    answer = turn.answer
    message: Json = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal or None}
    if not (answer.calls or answer.refusal):
        message["content"] = answer.text  # an empty answer is "", and null only beside something else
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        calls = enumerate(answer.calls)
        message["tool_calls"] = [_call(turn, number, call, call.payload) for number, call in calls]
    return {**message, "annotations": []}


def _finish_reason(turn: Turn) -> str:
    """OpenAI says `stop`, not `tool_calls`, when the request named the tool."""
    if turn.answer.end in _FINISH_REASONS:
        return _FINISH_REASONS[turn.answer.end]
    was_named = named_tool(turn.body.get("tool_choice")) is not None
    if turn.answer.calls and not was_named:
        return "tool_calls"
    return "stop"


def _choice_count(turn: Turn) -> int:
    return int(turn.body.get("n") or 1)


def _choice(index: int, delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _common_fields(turn: Turn) -> Json:
    """What every chunk of a completion repeats."""
    return {
        "id": turn.make_id("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": turn.created,
        "model": turn.model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }


def _chunk(turn: Turn, choices: list[Json], usage: Json | None = None) -> Json:
    chunk = {**_common_fields(turn), "choices": choices}
    if _wants_usage(turn):
        chunk["usage"] = usage  # null in all but the last, as OpenAI sends it
    return chunk


def _wants_usage(turn: Turn) -> bool:
    options = turn.body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _usage(turn: Turn) -> Json:
    count = turn.count_usage()
    output_tokens = count["output_tokens"] * _choice_count(turn)
    return {
        "prompt_tokens": count["input_tokens"],
        "completion_tokens": output_tokens,
        "total_tokens": count["input_tokens"] + output_tokens,
        "prompt_tokens_details": {"cached_tokens": count["cached_tokens"], "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": count["reasoning_tokens"],
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
