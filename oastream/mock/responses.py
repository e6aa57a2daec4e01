"""The Responses API: an answer as its events.

In: a `Turn`. Out: events in OpenAI's order, with sequence numbers from 0 and an `event:` line each; no `[DONE]`.
Shapes as recorded from api.openai.com. Knows nothing of faults or sockets.
"""

from __future__ import annotations

from collections.abc import Iterator

from oastream.exits import Outcome
from oastream.mock.answer import Answer, ToolCall, Turn, argument_pieces, describe_logprob, split_words
from oastream.mock.errors import ErrorShape
from oastream.mock.events import Event, EventKind, Json

# The Answer's end → the reason of an incomplete response; an end that is not here completes.
_INCOMPLETE = {
    Outcome.LENGTH: "max_output_tokens",
    Outcome.CONTENT_FILTER: "content_filter",
    Outcome.OTHER: "other",
}
_KINDS = {
    "response.completed": EventKind.FINISH,
    "response.incomplete": EventKind.FINISH,
    "response.failed": EventKind.FINISH,
    "response.output_text.delta": EventKind.DELTA,
    "response.refusal.delta": EventKind.DELTA,
    "response.function_call_arguments.delta": EventKind.DELTA,
    "response.custom_tool_call_input.delta": EventKind.DELTA,
    # Not a summary's delta: `half` is the middle of what is answered, and reasoning comes before that.
}


def answer_events(turn: Turn) -> list[Event]:
    """The whole stream."""
    return [_event(payload, number) for number, payload in enumerate(_payloads(turn))]


def finished_object(turn: Turn) -> Json:
    """The finished response, as `stream: false` gives it."""
    response = empty_response(turn, "completed")
    if turn.answer.end in _INCOMPLETE:
        response = empty_response(turn, "incomplete")
        response["incomplete_details"] = {"reason": _INCOMPLETE[turn.answer.end]}
    response["output"] = [item for _, item in _items(turn)]
    response["usage"] = _usage(turn)
    return response


def failed_response(turn: Turn, error: Json) -> Json:
    """The response that ended in an error; `error` has code, message and more."""
    short = {"code": error["code"], "message": error["message"]}
    return {**empty_response(turn, "failed"), "error": short}


def error_events(turn: Turn, error: Json, shape: ErrorShape, number: int) -> list[Event]:
    """The events that report an error, from sequence number `number` on."""
    fields = {key: error[key] for key in ("code", "message", "param")}
    nested = _event({"type": "error", "error": error}, number)
    flat = _event({"type": "error", **fields}, number)
    last = _event({"type": "response.failed", "response": failed_response(turn, error)}, number)
    shapes = {
        # OpenAI sends this one and then `response.failed`, whatever its documentation says of a flat one.
        ErrorShape.NESTED: [nested, last.renumber(number + 1)],
        ErrorShape.FLAT: [flat],
        ErrorShape.STRING: [Event({"error": error["message"]})],
        ErrorShape.EVENT: [Event({"message": error["message"], "code": error["code"]}, "error")],
        ErrorShape.FIELD: [Event(error, field="error")],
        ErrorShape.CHOICE: [last],  # there are no choices here
        ErrorShape.FAILED: [last],
    }
    return shapes[shape]


def empty_response(turn: Turn, status: str) -> Json:
    """A response without output: what the request asked for, and a status."""
    body = turn.body
    return {
        "id": turn.make_id("resp_"),
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
        "tools": [_repeat_tool(tool) for tool in body.get("tools") or []],
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _repeat_tool(tool: Json) -> Json:
    """A function as the API repeats it: strict, unless the request says otherwise."""
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}


def input_items(turn: Turn) -> list[Json]:
    """What the response was asked for, as items with ids."""
    items = turn.body.get("input", [])
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    return [_input_item(turn.make_id("msg_in_", number), item) for number, item in enumerate(items)]


def _input_item(item_id: str, item: Json) -> Json:
    if item.get("type", "message") != "message":
        return {"id": item_id, "status": "completed", **item}
    content = item.get("content")
    if isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    return {"id": item_id, "type": "message", "status": "completed", **item, "content": content or []}


def input_tokens(turn: Turn) -> Json:
    """What POST /responses/input_tokens answers."""
    return {"object": "response.input_tokens", "input_tokens": turn.count_usage()["input_tokens"]}


def _event(payload: Json, number: int) -> Event:
    name = payload["type"]
    data = {"type": name, "sequence_number": number, **payload}
    return Event(data, name, _KINDS.get(name, EventKind.OTHER))


def _payloads(turn: Turn) -> Iterator[Json]:
    background = bool(turn.body.get("background"))
    first_status = "queued" if background else "in_progress"
    yield {"type": "response.created", "response": empty_response(turn, first_status)}
    if background:
        yield {"type": "response.queued", "response": empty_response(turn, "queued")}
    yield {"type": "response.in_progress", "response": empty_response(turn, "in_progress")}
    for index, (pieces, item) in enumerate(_items(turn)):
        yield {"type": "response.output_item.added", "output_index": index, "item": _empty_copy(item)}
        yield from _payloads_of_item(item, pieces, {"item_id": item["id"], "output_index": index})
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    response = finished_object(turn)
    yield {"type": f"response.{response['status']}", "response": response}


def _usage(turn: Turn) -> Json:
    count = turn.count_usage()
    return {
        "input_tokens": count["input_tokens"],
        "input_tokens_details": {"cached_tokens": count["cached_tokens"]},
        "output_tokens": count["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": count["reasoning_tokens"]},
        "total_tokens": count["input_tokens"] + count["output_tokens"],
    }


# --- output items: the finished item beside the pieces that it is sent in


def _items(turn: Turn) -> list[tuple[list[str], Json]]:
    items = [*_complete_items(turn)]
    _, last = items[-1]
    # Only the last can be the one that was cut. Reasoning has no status, so nothing says it of that.
    if turn.answer.end in _INCOMPLETE and "status" in last:
        last["status"] = "incomplete"
    return items


def _complete_items(turn: Turn) -> Iterator[tuple[list[str], Json]]:
    answer = turn.answer
    if answer.reasoning:
        yield split_words(answer.reasoning), _reasoning_item(turn)
    if answer.text or answer.refusal or not (answer.calls or answer.reasoning):  # an empty answer is a message too
        yield split_words(answer.text or answer.refusal), _message_item(turn)
    for number, call in enumerate(answer.calls):
        yield argument_pieces(call), _call_item(turn, number, call)


def _reasoning_item(turn: Turn) -> Json:
    summary = [{"type": "summary_text", "text": turn.answer.reasoning}]
    return {"id": turn.make_id("rs_"), "type": "reasoning", "summary": summary}


def _message_item(turn: Turn) -> Json:
    content = [_content_part(turn.answer, _logprobs(turn))]
    return {
        "id": turn.make_id("msg_"),
        "type": "message",
        "status": "completed",
        "content": content,
        "role": "assistant",
    }


def _logprobs(turn: Turn) -> list[Json]:
    if "message.output_text.logprobs" not in (turn.body.get("include") or ()):
        return []
    return [describe_logprob(piece, turn.body.get("top_logprobs")) for piece in split_words(turn.answer.text)]


def _content_part(answer: Answer, logprobs: list[Json]) -> Json:
    if answer.refusal and not answer.text:
        return {"type": "refusal", "refusal": answer.refusal}
    return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": answer.text}


def _call_item(turn: Turn, number: int, call: ToolCall) -> Json:
    kind, prefix, payload_key = "function_call", "fc_", "arguments"
    if call.custom:
        kind, prefix, payload_key = "custom_tool_call", "ctc_", "input"
    item = {"id": turn.make_id(prefix, number), "type": kind, "status": "completed", payload_key: call.payload}
    return {**item, "call_id": turn.make_id("call_", number), "name": call.name}


def _empty_copy(item: Json) -> Json:
    """The item as `output_item.added` shows it: nothing in it yet. Reasoning items have no status."""
    copy = dict(item)
    for key in ("content", "summary", "arguments", "input"):
        if key in item:
            copy[key] = type(item[key])()  # an empty list, or an empty text
    if "status" in item:
        copy["status"] = "in_progress"
    return copy


# --- the events between an item's `added` and its `done`


def _payloads_of_item(item: Json, pieces: list[str], place: Json) -> Iterator[Json]:
    if item["type"] == "message":
        return _content_payloads(item["content"][0], pieces, {**place, "content_index": 0})
    if item["type"] == "reasoning":
        return _summary_payloads(item["summary"][0], pieces, {**place, "summary_index": 0})
    if item["type"] == "function_call":
        return _text_payloads("response.function_call_arguments", pieces, place, {"arguments": item["arguments"]})
    return _text_payloads("response.custom_tool_call_input", pieces, place, {"input": item["input"]})


def _content_payloads(part: Json, pieces: list[str], place: Json) -> Iterator[Json]:
    if part["type"] == "refusal":
        yield {"type": "response.content_part.added", **place, "part": {**part, "refusal": ""}}
        yield from _text_payloads("response.refusal", pieces, place, {"refusal": part["refusal"]})
    else:
        yield {"type": "response.content_part.added", **place, "part": {**part, "text": "", "logprobs": []}}
        for number, piece in enumerate(pieces):
            logprobs = part["logprobs"][number : number + 1]  # one entry, or none where they were not asked for
            yield {"type": "response.output_text.delta", **place, "logprobs": logprobs, "delta": piece}
        yield {"type": "response.output_text.done", **place, "logprobs": part["logprobs"], "text": part["text"]}
    yield {"type": "response.content_part.done", **place, "part": part}


def _summary_payloads(part: Json, pieces: list[str], place: Json) -> Iterator[Json]:
    yield {"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}}
    yield from _text_payloads("response.reasoning_summary_text", pieces, place, {"text": part["text"]})
    yield {"type": "response.reasoning_summary_part.done", **place, "part": part}


def _text_payloads(name: str, pieces: list[str], place: Json, finished: Json) -> Iterator[Json]:
    for piece in pieces:
        yield {"type": f"{name}.delta", **place, "delta": piece}
    yield {"type": f"{name}.done", **place, **finished}
