"""The Chat Completions API: an answer as its chunks.

In: a `Turn`. Out: frames in OpenAI's order, without `event:` lines and with a closing `[DONE]`.
Reasoning goes by the name that most servers use, `reasoning_content`; OpenAI sends none here.
Knows nothing of faults or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator

from oastream.mock.answer import Answer, ToolCall, Turn, logprob, morsels, names_tool, words
from oastream.mock.frames import DELTA, DONE, FINISH, Frame, Json

_FINISH = {"length": "length", "content_filter": "content_filter", "other": "other"}
_DONE = Frame("[DONE]", kind=DONE)


def frames(turn: Turn) -> list[Frame]:
    """The whole stream."""
    chunks = [*_chunks(turn)]
    if _wants_usage(turn):
        chunks.append(Frame(_chunk(turn, [], _usage(turn))))
    return [*chunks, _DONE]


def whole(turn: Turn) -> Json:
    """The finished completion, as `stream: false` gives it."""
    logprobs = _logprobs(turn, words(turn.answer.text))
    choices = [
        {"index": index, "message": _message(turn), "logprobs": logprobs, "finish_reason": _finish_reason(turn)}
        for index in range(_choices(turn))
    ]
    return {**_frame_of(turn), "object": "chat.completion", "choices": choices, "usage": _usage(turn)}


def failure(turn: Turn, error: Json, shape: str, number: int) -> list[Frame]:
    """The events that report an error in a shape of the script. `[DONE]` follows, as vLLM and LiteLLM send it."""
    choice = {**_choice(0, {"content": ""}, "error"), "error": error}
    shapes: dict[str, Frame] = {
        "nested": Frame({"error": error}),
        "flat": Frame({"object": "error", **error}),
        "string": Frame({"error": error["message"]}),
        "event": Frame({"message": error["message"], "code": error["code"]}, "error"),
        "field": Frame(error, field="error"),
    }
    return [shapes.get(shape) or Frame(_chunk(turn, [choice])), _DONE]


def _chunks(turn: Turn) -> Iterator[Frame]:
    choices = range(_choices(turn))
    for index in choices:
        yield Frame(_chunk(turn, [_choice(index, _head(turn.answer))]))
    for delta, kind in _deltas(turn):
        logprobs = _logprobs(turn, [delta["content"]]) if "content" in delta else None
        for index in choices:
            yield Frame(_chunk(turn, [{**_choice(index, delta), "logprobs": logprobs}]), kind=kind)
    for index in choices:
        yield Frame(_chunk(turn, [_choice(index, {}, _finish_reason(turn))]), kind=FINISH)


def _logprobs(turn: Turn, pieces: list[str]) -> Json | None:
    if not turn.body.get("logprobs"):
        return None
    return {"content": [logprob(piece, turn.body.get("top_logprobs")) for piece in pieces], "refusal": None}


def _head(answer: Answer) -> Json:
    calls_only = answer.calls and not answer.text
    return {"role": "assistant", "content": None if calls_only else "", "refusal": None}


def _deltas(turn: Turn) -> Iterator[tuple[Json, str]]:
    answer = turn.answer
    for key, text in (("reasoning_content", answer.reasoning), ("content", answer.text), ("refusal", answer.refusal)):
        for piece in words(text):
            yield {key: piece}, "" if key == "reasoning_content" else DELTA
    for n, call in enumerate(answer.calls):
        yield {"tool_calls": [{"index": n, **_call(turn, n, call, "")}]}, DELTA
        for piece in morsels(call):
            yield {"tool_calls": [{"index": n, _kind(call): {_key(call): piece}}]}, DELTA


def _kind(call: ToolCall) -> str:
    return "custom" if call.custom else "function"


def _key(call: ToolCall) -> str:
    return "input" if call.custom else "arguments"


def _call(turn: Turn, n: int, call: ToolCall, payload: str) -> Json:
    inner = {"name": call.name, _key(call): payload}
    return {"id": turn.ident("call_", n), "type": _kind(call), _kind(call): inner}


def _message(turn: Turn) -> Json:
    answer = turn.answer
    message: Json = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal or None}
    if not (answer.calls or answer.refusal):
        message["content"] = answer.text
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = [_call(turn, n, call, call.payload) for n, call in enumerate(answer.calls)]
    return {**message, "annotations": []}


def _finish_reason(turn: Turn) -> str:
    """OpenAI says `stop`, not `tool_calls`, when the request named the tool."""
    if turn.answer.end in _FINISH:
        return _FINISH[turn.answer.end]
    named = names_tool(turn.body.get("tool_choice")) is not None
    return "tool_calls" if turn.answer.calls and not named else "stop"


def _choices(turn: Turn) -> int:
    wanted = turn.body.get("n")
    return wanted if isinstance(wanted, int) and wanted > 0 else 1


def _choice(index: int, delta: Json, finish: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def _frame_of(turn: Turn) -> Json:
    return {
        "id": turn.ident("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": turn.created,
        "model": turn.model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }


def _chunk(turn: Turn, choices: list[Json], usage: Json | None = None) -> Json:
    counts = {"usage": usage} if _wants_usage(turn) else {}
    return {**_frame_of(turn), "choices": choices, **counts}


def _wants_usage(turn: Turn) -> bool:
    options = turn.body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _usage(turn: Turn) -> Json:
    count = turn.usage()
    answered = count["output_tokens"] * _choices(turn)
    return {
        "prompt_tokens": count["input_tokens"],
        "completion_tokens": answered,
        "total_tokens": count["input_tokens"] + answered,
        "prompt_tokens_details": {"cached_tokens": count["cached_tokens"], "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": count["reasoning_tokens"],
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
