"""What is said: the answer to a request, before any API's shape.

In: the request's JSON body, the reply that the script gives, the name of the end. Out: an `Answer`.
A token is a word with the blanks before it. Knows nothing of events, faults or sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oastream.mock.frames import Json, json_text

REFUSAL = "I'm sorry, but I can't help with that."
REASONING = "Let me think about this for a moment."
NOT_JSON = "This is not JSON."
SCHEMA_DEPTH = 20
"""How deep a sample follows a schema that refers to itself."""

TOKEN_LOGPROB = -0.1
"""The log probability of every token."""

USAGE_KEYS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")

_WORD = re.compile(r"\s*\S+|\s+")
_TOKEN = re.compile(r"\W*\w+|\W+")
_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call: `payload` is the arguments' JSON text, or a custom tool's free input."""

    name: str
    payload: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. `end` is the name of its end; `usage` replaces counted numbers (keys: USAGE_KEYS)."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Mapping[str, int] | None = None
    end: str = "stop"


@dataclass(frozen=True, slots=True)
class Turn:
    """One request and its answer. `number` counts the server's replies and makes the ids; `created` is Unix time."""

    body: Json
    answer: Answer
    number: int
    created: int

    @property
    def model(self) -> str:
        """The model's name, as the client asked for it."""
        return str(self.body.get("model") or "mock")

    def ident(self, prefix: str, part: int = 0) -> str:
        """An id in OpenAI's form, the same for the same number and part."""
        return f"{prefix}{self.number:024x}{part:024x}"

    def usage(self) -> dict[str, int]:
        """Tokens: input_tokens, output_tokens, reasoning_tokens, cached_tokens."""
        counted = {
            "input_tokens": sum(len(words(text)) for text in _texts(self.body)),
            "output_tokens": tokens(self.answer),
            "reasoning_tokens": len(words(self.answer.reasoning)),
            "cached_tokens": 0,
        }
        return {**counted, **(self.answer.usage or {})}


def words(text: str) -> list[str]:
    """The pieces of a text; joined they are the text."""
    return _WORD.findall(text)


def morsels(call: ToolCall) -> list[str]:
    """The pieces of a call's payload; joined they are the payload."""
    return _TOKEN.findall(call.payload)


def tokens(answer: Answer) -> int:
    """How many pieces the answer has."""
    said = sum(len(words(text)) for text in (answer.reasoning, answer.text, answer.refusal))
    return said + sum(len(morsels(call)) for call in answer.calls)


def answer_to(body: Json, reply: Answer | None, end: str) -> Answer:
    """The answer to a request of either API; without a reply, its last user message comes back."""
    answer = _stopped(body, _ended(body, reply or Answer(_default_text(body)), end))
    limit = _limit(body)
    if limit is not None and limit < tokens(answer):
        return shortened(answer, limit)
    return answer


def shortened(answer: Answer, budget: int, end: str = "length") -> Answer:
    """The answer's first `budget` pieces, in the order in which they are sent."""
    purse = iter(range(budget))
    reasoning = _spend(words(answer.reasoning), purse)
    text = _spend(words(answer.text), purse)
    refusal = _spend(words(answer.refusal), purse)
    calls = [replace(call, payload=_spend(morsels(call), purse)) for call in answer.calls]
    return replace(
        answer, reasoning=reasoning, text=text, refusal=refusal, calls=tuple(c for c in calls if c.payload), end=end
    )


def _spend(pieces: list[str], purse: Iterator[int]) -> str:
    return "".join(piece for piece, _ in zip(pieces, purse, strict=False))


def _ended(body: Json, answer: Answer, end: str) -> Answer:
    if end == "refusal":
        return replace(answer, text="", refusal=answer.refusal or REFUSAL, calls=())
    if end == "empty":
        return replace(answer, text="", refusal="", calls=(), reasoning=answer.reasoning or REASONING)
    if end == "schema":
        return replace(answer, text=NOT_JSON, calls=())
    if end == "no_tool_calls":
        return replace(answer, calls=())
    if end in ("length", "content_filter"):
        return shortened(answer, max(1, tokens(answer) // 2), end)
    if _demands_call(body):
        return _calling(body, answer)
    if end == "tool_calls" and not brings_tool_output(body):
        return _calling(body, answer)
    if end == "tool_calls":  # the tools have run: an agent's loop comes to its end
        return replace(answer, text=answer.text or _default_text(body), calls=())
    return replace(answer, end=end)


def _stopped(body: Json, answer: Answer) -> Answer:
    """The answer as far as the first of Chat's stop sequences, which is not part of it."""
    if "input" in body:
        return answer
    given = body.get("stop") or []
    sequences = [given] if isinstance(given, str) else given
    ends = [answer.text.find(sequence) for sequence in sequences if sequence and sequence in answer.text]
    return replace(answer, text=answer.text[: min(ends)]) if ends else answer


def _calling(body: Json, answer: Answer) -> Answer:
    """The reply's own calls, or one call of the tool that the request names; calls come without text."""
    if answer.calls:
        return answer
    return replace(answer, text="", calls=(_sample_call(_chosen_tool(body)),))


def logprob(piece: str, alternatives: object) -> Json:
    """The entry of a token for a client that asked for logprobs; `alternatives` is the request's top_logprobs."""
    entry: Json = {"token": piece, "logprob": TOKEN_LOGPROB, "bytes": list(piece.encode("utf-8", "replace"))}
    return {**entry, "top_logprobs": [entry] if alternatives else []}


# --- the request, in either API's shape


def _conversation(body: Json) -> str | list[Json]:
    """What is asked: the `input` of a Responses request, the `messages` of a Chat one."""
    found = [body[name] for name in ("input", "messages") if isinstance(body.get(name), (str, list))]
    return found[0] if found else []


def last_user_text(body: Json) -> str:
    """The text of the last user message; without one, of the last message."""
    source = _conversation(body)
    if isinstance(source, str):
        return source
    items = [item for item in source if isinstance(item, dict)]
    users = [item for item in items if item.get("role") == "user"]
    return "".join(_content_texts((users or items or [{}])[-1].get("content")))


def brings_tool_output(body: Json) -> bool:
    """Whether the request ends in the output of a tool."""
    source = _conversation(body)
    last = source[-1] if isinstance(source, list) and source else None
    return isinstance(last, dict) and (last.get("role") == "tool" or str(last.get("type")).endswith("_output"))


def _default_text(body: Json) -> str:
    schema = _output_schema(body)
    return last_user_text(body) if schema is None else json_text(sample(schema))


def _output_schema(body: Json) -> Json | None:
    text = body.get("text")
    shape = body.get("response_format") or (text.get("format") if isinstance(text, dict) else None) or {}
    if not isinstance(shape, dict) or shape.get("type") != "json_schema":
        return None
    schema = (shape.get("json_schema") or shape).get("schema")
    return schema if isinstance(schema, dict) else None


def _content_texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
            yield str(part.get("text", ""))


def _texts(body: Json) -> Iterator[str]:
    """Every text of the prompt: what input tokens are counted from."""
    source = _conversation(body)
    yield str(body.get("instructions") or "")
    if isinstance(source, str):
        yield source
    for item in source if isinstance(source, list) else ():
        if isinstance(item, dict):
            yield from _content_texts(item.get("content"))
            yield str(item.get("output") or item.get("arguments") or "")


def _limit(body: Json) -> int | None:
    for key in ("max_output_tokens", "max_completion_tokens", "max_tokens"):
        if isinstance(body.get(key), int):
            return int(body[key])
    return None


def _demands_call(body: Json) -> bool:
    choice = body.get("tool_choice")
    return bool(body.get("tools")) and (choice == "required" or names_tool(choice) is not None)


def names_tool(choice: object) -> str | None:
    """The tool that a `tool_choice` of either API names."""
    if not isinstance(choice, dict):
        return None
    inner = choice.get("function") or choice.get("custom") or choice
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def _chosen_tool(body: Json) -> Json:
    tools = [_flat(tool) for tool in body.get("tools") or () if isinstance(tool, dict)]
    named = names_tool(body.get("tool_choice"))
    callable_ones = [tool for tool in tools if isinstance(tool.get("name"), str)]
    wanted = [tool for tool in callable_ones if tool["name"] == named]
    return (wanted or callable_ones or [{"name": "mock_tool"}])[0]


def _flat(tool: Json) -> Json:
    """A tool in the Responses shape."""
    inner = tool.get("function") or tool.get("custom")
    return {"type": tool.get("type"), **inner} if isinstance(inner, dict) else tool


def _sample_call(tool: Json) -> ToolCall:
    if tool.get("type") == "custom":
        return ToolCall(tool["name"], "sample input", custom=True)
    return ToolCall(tool["name"], json_text(sample(tool.get("parameters") or {"type": "object"})))


# --- a value for a JSON schema

_SCALARS: dict[str, Any] = {"string": "sample", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def sample(schema: Json) -> Any:
    """A simple value of a JSON schema's shape. Patterns and lengths are not looked at, nor is what is no schema."""
    return _sample(schema, schema, SCHEMA_DEPTH)


def _sample(schema: Any, root: Json, depth: int) -> Any:
    if not isinstance(schema, dict) or not depth:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    alternatives = _alternatives(schema, root)
    return _sample(alternatives[0], root, depth - 1) if alternatives else _typed_sample(schema, root, depth)


def _alternatives(schema: Json, root: Json) -> list[Any]:
    if "$ref" in schema:
        return [_referred(str(schema["$ref"]), root)]
    lists = (schema.get(key) for key in ("anyOf", "oneOf", "allOf"))
    return next((found for found in lists if isinstance(found, list) and found), [])


def _referred(reference: str, root: Json) -> Any:
    place: Any = root
    for name in reference.removeprefix("#").split("/"):
        place = place.get(name, {}) if name and isinstance(place, dict) else place
    return place


def _typed_sample(schema: Json, root: Json, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        properties: Json = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
        required = schema["required"] if isinstance(schema.get("required"), list) else None
        needed = [name for name in properties if required is None or not required or name in required]
        return {name: _sample(properties[name], root, depth - 1) for name in needed}
    if kind == "array":
        return [_sample(schema["items"], root, depth - 1)] if "items" in schema else []
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    return _SCALARS.get(str(kind))
