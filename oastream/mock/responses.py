"""The Responses API: an answer as its events.

In: a `Turn`. Out: frames in OpenAI's order, with sequence numbers from 0 and an `event:` line each; no `[DONE]`.
Shapes as recorded from api.openai.com. Knows nothing of faults or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator

from oastream.mock.answer import Answer, ToolCall, Turn, logprob, morsels, words
from oastream.mock.frames import DELTA, FINISH, Frame, Json

# The Answer's end -> the response's status and reason; an end that is not here completes.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter", "other": "other"}
_TERMINAL = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}
_DELTAS = (
    "response.output_text.delta",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
)


def frames(turn: Turn) -> list[Frame]:
    """The whole stream."""
    return [_frame(event, number) for number, event in enumerate(_events(turn))]


def whole(turn: Turn) -> Json:
    """The finished response, as `stream: false` gives it."""
    items = [item for _, item in _items(turn)]
    status = "incomplete" if turn.answer.end in _INCOMPLETE else "completed"
    reason = {"reason": _INCOMPLETE[turn.answer.end]} if status == "incomplete" else None
    return {**shell(turn, status), "incomplete_details": reason, "output": items, "usage": _usage(turn)}


def failed(turn: Turn, error: Json) -> Json:
    """The response that ended in an error; `error` has code, message and more."""
    short = {"code": error["code"], "message": error["message"]}
    return {**shell(turn, "failed"), "error": short}


def failure(turn: Turn, error: Json, shape: str, number: int) -> list[Frame]:
    """The events that report an error in a shape of the script, from sequence number `number` on.

    OpenAI sends the nested one and then `response.failed`, whatever its documentation says of a flat one.
    """
    last = _frame({"type": "response.failed", "response": failed(turn, error)}, number)
    nested = _frame({"type": "error", "error": error}, number)
    flat = _frame({"type": "error", **{key: error[key] for key in ("code", "message", "param")}}, number)
    shapes: dict[str, list[Frame]] = {
        "nested": [nested, last.numbered(number + 1)],
        "flat": [flat],
        "string": [Frame({"error": error["message"]})],
        "event": [Frame({"message": error["message"], "code": error["code"]}, "error")],
        "field": [Frame(error, field="error")],
    }
    return shapes.get(shape, [last])


def shell(turn: Turn, status: str) -> Json:
    """A response without output: what the request asked for, and a status."""
    body = turn.body
    return {
        "id": turn.ident("resp_"),
        "object": "response",
        "created_at": turn.created,
        "status": status,
        "background": bool(body.get("background")),
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": turn.model,
        "output": [],
        "completed_at": turn.created if status == "completed" else None,
        "presence_penalty": body.get("presence_penalty") or 0.0,
        "frequency_penalty": body.get("frequency_penalty") or 0.0,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.get("text") or {})},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": [_stated_tool(tool) for tool in body.get("tools") or []],
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _stated_tool(tool: Json) -> Json:
    """A function as the API repeats it: strict, unless the request says otherwise."""
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}


def input_items(turn: Turn) -> list[Json]:
    """What the response was asked for, as items with ids."""
    source = turn.body.get("input", [])
    items = [{"role": "user", "content": source}] if isinstance(source, str) else source
    return [_input_item(turn.ident("msg_in_", number), item) for number, item in enumerate(items)]


def _input_item(ident: str, item: Json) -> Json:
    if item.get("type", "message") != "message":
        return {"id": ident, "status": "completed", **item}
    content = item.get("content")
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    parts = [{"type": kind, "text": content}] if isinstance(content, str) else content
    return {"id": ident, "type": "message", "status": "completed", **item, "content": parts or []}


def input_tokens(turn: Turn) -> Json:
    """What POST /responses/input_tokens answers."""
    return {"object": "response.input_tokens", "input_tokens": turn.usage()["input_tokens"]}


def _frame(event: Json, number: int) -> Frame:
    name = event["type"]
    kind = DELTA if name in _DELTAS else FINISH if name in _TERMINAL.values() else ""
    return Frame({"type": name, "sequence_number": number, **event}, name, kind)


def _events(turn: Turn) -> Iterator[Json]:
    background = bool(turn.body.get("background"))
    opening = "queued" if background else "in_progress"
    yield {"type": "response.created", "response": shell(turn, opening)}
    if background:
        yield {"type": "response.queued", "response": shell(turn, "queued")}
    yield {"type": "response.in_progress", "response": shell(turn, "in_progress")}
    for index, (pieces, item) in enumerate(_items(turn)):
        yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
        yield from _inside(item, pieces, {"item_id": item["id"], "output_index": index})
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    response = whole(turn)
    yield {"type": _TERMINAL[response["status"]], "response": response}


def _usage(turn: Turn) -> Json:
    count = turn.usage()
    return {
        "input_tokens": count["input_tokens"],
        "input_tokens_details": {"cached_tokens": count["cached_tokens"]},
        "output_tokens": count["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": count["reasoning_tokens"]},
        "total_tokens": count["input_tokens"] + count["output_tokens"],
    }


# --- output items: the finished item beside the pieces that it is sent in


def _items(turn: Turn) -> Iterator[tuple[list[str], Json]]:
    answer = turn.answer
    cut = answer.end in _INCOMPLETE
    if answer.reasoning:
        yield words(answer.reasoning), _reasoning(turn.ident("rs_"), answer)
    if answer.text or answer.refusal or not (answer.calls or answer.reasoning):
        pieces = words(answer.text or answer.refusal)
        logprobs = _logprobs(turn, words(answer.text))
        yield pieces, _message(turn.ident("msg_"), answer, cut and not answer.calls, logprobs)
    for n, call in enumerate(answer.calls):
        last = n + 1 == len(answer.calls)
        yield morsels(call), _call(turn, n, call, cut and last)


def _status(cut: bool) -> str:
    return "incomplete" if cut else "completed"


def _reasoning(ident: str, answer: Answer) -> Json:
    return {"id": ident, "type": "reasoning", "summary": [{"type": "summary_text", "text": answer.reasoning}]}


def _logprobs(turn: Turn, pieces: list[str]) -> list[Json]:
    if "message.output_text.logprobs" not in (turn.body.get("include") or ()):
        return []
    return [logprob(piece, turn.body.get("top_logprobs")) for piece in pieces]


def _message(ident: str, answer: Answer, cut: bool, logprobs: list[Json]) -> Json:
    content = [_part(answer, logprobs)]
    return {"id": ident, "type": "message", "status": _status(cut), "content": content, "role": "assistant"}


def _part(answer: Answer, logprobs: list[Json]) -> Json:
    if answer.refusal and not answer.text:
        return {"type": "refusal", "refusal": answer.refusal}
    return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": answer.text}


def _call(turn: Turn, n: int, call: ToolCall, cut: bool) -> Json:
    kind, prefix, key = ("custom_tool_call", "ctc_", "input") if call.custom else ("function_call", "fc_", "arguments")
    item = {"id": turn.ident(prefix, n), "type": kind, "status": _status(cut), key: call.payload}
    return {**item, "call_id": turn.ident("call_", n), "name": call.name}


def _begun(item: Json) -> Json:
    """The item as `output_item.added` shows it: nothing in it yet. Reasoning items have no status."""
    empty: Json = {key: type(item[key])() for key in ("content", "summary", "arguments", "input") if key in item}
    return {**item, **empty, **({"status": "in_progress"} if "status" in item else {})}


def _inside(item: Json, pieces: list[str], place: Json) -> Iterator[Json]:
    if item["type"] == "message":
        return _part_events(item["content"][0], pieces, {**place, "content_index": 0})
    if item["type"] == "reasoning":
        return _summary_events(item["summary"][0], pieces, {**place, "summary_index": 0})
    if item["type"] == "function_call":
        return _text_events("response.function_call_arguments", pieces, place, {"arguments": item["arguments"]})
    return _text_events("response.custom_tool_call_input", pieces, place, {"input": item["input"]})


def _part_events(part: Json, pieces: list[str], place: Json) -> Iterator[Json]:
    if part["type"] == "refusal":
        yield {"type": "response.content_part.added", **place, "part": {**part, "refusal": ""}}
        yield from _text_events("response.refusal", pieces, place, {"refusal": part["refusal"]})
    else:
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": "", "logprobs": []}}
        for number, piece in enumerate(pieces):
            logprobs = part["logprobs"][number : number + 1]
            yield {"type": "response.output_text.delta", **place, "logprobs": logprobs, "delta": piece}
        yield {"type": "response.output_text.done", **place, "logprobs": part["logprobs"], "text": part["text"]}
    yield {"type": "response.content_part.done", **place, "part": part}


def _summary_events(part: Json, pieces: list[str], place: Json) -> Iterator[Json]:
    yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
    yield from _text_events("response.reasoning_summary_text", pieces, place, {"text": part["text"]})
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _text_events(name: str, pieces: list[str], place: Json, finished: Json) -> Iterator[Json]:
    for piece in pieces:
        yield {"type": f"{name}.delta", **place, "delta": piece}
    yield {"type": f"{name}.done", **place, **finished}
