"""Whether a request can be answered: the types and ranges of its fields, as OpenAI's APIs hold to them.

In: a request's JSON body, which may be anything. Out: nothing, or a `BadRequest` that names the field. What passes here
the rest of the mock may trust. Sources: the OpenAPI description of both APIs; fields that are not in the tables are for
newer clients and pass. Knows nothing of replies or sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oastream.mock.frames import Json


class BadRequest(Exception):
    """The body is no request that can be answered; `param` is the path of the field that is wrong."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value must be: its name in a message, whether a value is one, and a check of what is inside."""

    name: str
    matches: Callable[[Any], bool]
    inside: Callable[[Any, str], None] | None = None


def check_responses(body: Any) -> Json:
    """The body of POST /responses. Raises `BadRequest`."""
    return _check_request(body, "input", _RESPONSES)


def check_chat(body: Any) -> Json:
    """The body of POST /chat/completions. Raises `BadRequest`."""
    return _check_request(body, "messages", _CHAT)


def check_input(body: Any) -> Json:
    """The body of POST /responses/input_tokens, which needs no model. Raises `BadRequest`."""
    checked = _check_object(body)
    _check_fields(checked, _RESPONSES, "")
    return checked


def _check_request(body: Any, source: str, fields: dict[str, Kind]) -> Json:
    checked = _check_object(body)
    for name in ("model", source):
        if checked.get(name) is None:
            raise BadRequest(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    _check_fields(checked, fields, "")
    return checked


def _check_object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise BadRequest("The body of the request is not a JSON object.")
    return body


def _check_fields(value: Json, fields: dict[str, Kind], path: str) -> None:
    """Every field of the table that is there and not null."""
    for name, kind in fields.items():
        if value.get(name) is not None:
            _check(value[name], kind, f"{path}.{name}" if path else name)


def _check(value: Any, kind: Kind, path: str) -> None:
    if not kind.matches(value):
        raise BadRequest(f"Invalid type for '{path}': it must be {kind.name}.", path, "invalid_type")
    if kind.inside is not None:
        kind.inside(value, path)


# Kinds -----------------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TEXT = Kind("a string", lambda value: isinstance(value, str))
FLAG = Kind("a boolean", lambda value: isinstance(value, bool))
NUMBER = Kind("a number", _is_number)
INTEGER = Kind("an integer", _is_integer)
OBJECT = Kind("an object", lambda value: isinstance(value, dict))
LIST = Kind("an array", lambda value: isinstance(value, list))


def _between(low: float, high: float, kind: Kind) -> Kind:
    def check_range(value: Any, path: str) -> None:
        if not low <= value <= high:
            why = f"Invalid '{path}': it must be from {low:g} to {high:g}."
            raise BadRequest(why, path, "decimal_above_max_value" if value > high else "integer_below_min_value")

    return Kind(kind.name, kind.matches, check_range)


def _either(*kinds: Kind) -> Kind:
    def check_match(value: Any, path: str) -> None:
        matching = next(kind for kind in kinds if kind.matches(value))
        if matching.inside is not None:
            matching.inside(value, path)

    name = " or ".join(kind.name for kind in kinds)
    return Kind(name, lambda value: any(kind.matches(value) for kind in kinds), check_match)


def _list_of(kind: Kind) -> Kind:
    def check_entries(value: list[Any], path: str) -> None:
        for at, entry in enumerate(value):
            _check(entry, kind, f"{path}[{at}]")

    return Kind(LIST.name, LIST.matches, check_entries)


def _object_with(**fields: Kind) -> Kind:
    return Kind(OBJECT.name, OBJECT.matches, lambda value, path: _check_fields(value, fields, path))


_COUNT = _between(1, float("inf"), INTEGER)
_PROBABILITIES = _between(0, 20, INTEGER)
_PENALTY = _between(-2, 2, NUMBER)
_PART = _object_with(type=TEXT, text=TEXT)
_CONTENT = _either(TEXT, _list_of(_PART))
_FUNCTION = _object_with(name=TEXT, description=TEXT, parameters=OBJECT, strict=FLAG)
_TOOL = _object_with(
    type=TEXT,
    name=TEXT,
    description=TEXT,
    parameters=OBJECT,
    strict=FLAG,
    function=_FUNCTION,
    custom=_object_with(name=TEXT),
)
_CHOICE = _either(TEXT, _object_with(type=TEXT, name=TEXT, function=_FUNCTION, custom=_object_with(name=TEXT)))
_FORMAT = _object_with(type=TEXT, name=TEXT, schema=OBJECT, json_schema=_object_with(name=TEXT, schema=OBJECT))

_BOTH: dict[str, Kind] = {
    "model": TEXT,
    "stream": FLAG,
    "temperature": _between(0, 2, NUMBER),
    "top_p": _between(0, 1, NUMBER),
    "metadata": OBJECT,
    "user": TEXT,
    "store": FLAG,
    "parallel_tool_calls": FLAG,
    "tools": _list_of(_TOOL),
    "tool_choice": _CHOICE,
    "stream_options": _object_with(include_usage=FLAG),
    "top_logprobs": _PROBABILITIES,
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "safety_identifier": TEXT,
    "prompt_cache_key": TEXT,
}
_RESPONSES: dict[str, Kind] = {
    **_BOTH,
    "input": _either(TEXT, _list_of(_object_with(type=TEXT, role=TEXT, content=_CONTENT))),
    "instructions": TEXT,
    "max_output_tokens": _COUNT,
    "max_tool_calls": INTEGER,
    "previous_response_id": TEXT,
    "reasoning": _object_with(effort=TEXT, summary=TEXT),
    "text": _object_with(format=_FORMAT, verbosity=TEXT),
    "truncation": TEXT,
    "include": _list_of(TEXT),
    "background": FLAG,
}
_CHAT: dict[str, Kind] = {
    **_BOTH,
    "messages": _list_of(_object_with(role=TEXT, content=_CONTENT, tool_calls=_list_of(OBJECT), tool_call_id=TEXT)),
    "max_completion_tokens": _COUNT,
    "max_tokens": _COUNT,
    "n": _between(1, 128, INTEGER),
    "stop": _either(TEXT, _list_of(TEXT)),
    "logprobs": FLAG,
    "response_format": _FORMAT,
    "reasoning_effort": TEXT,
    "seed": INTEGER,
}
