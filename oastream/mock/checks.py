"""Whether a request can be answered: the types and ranges of its fields, as OpenAI's APIs hold to them.

In: a request's JSON body, which may be anything, and a table of fields. Out: the body, or a `BadRequest` that names the
field. What passes here the rest of the mock may trust. Sources: the OpenAPI description of both APIs; fields that are
not in the tables are for newer clients and pass. Knows nothing of replies or sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from oastream.mock.errors import BadRequest
from oastream.mock.events import Json


class FieldType(NamedTuple):
    """What a value must be: its name in a message, whether a value is one, and a check of what is inside."""

    name: str
    matches: Callable[[Any], bool]
    inside: Callable[[Any, str], None] | None = None


def check_body(body: Any, fields: dict[str, FieldType], required: tuple[str, ...] = ()) -> Json:
    """The body, once every field of the table has its type, and the required ones are there. Raises `BadRequest`."""
    checked = _check_object(body)
    for name in required:
        if checked.get(name) is None:
            raise BadRequest(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
    _check_fields(checked, fields, "")
    return checked


def _check_object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise BadRequest("The body of the request is not a JSON object.")
    return body


def _check_fields(value: Json, fields: dict[str, FieldType], prefix: str) -> None:
    """Every field of the table that is there and not null: SDKs send null for what was not set."""
    for name, field_type in fields.items():
        if value.get(name) is not None:
            _check_value(value[name], field_type, f"{prefix}{name}")


def _check_value(value: Any, field_type: FieldType, path: str) -> None:
    if not field_type.matches(value):
        raise BadRequest(f"Invalid type for '{path}': it must be {field_type.name}.", path, "invalid_type")
    if field_type.inside is not None:
        field_type.inside(value, path)


# --- types


def _is_number(value: Any) -> bool:
    # In Python true is an int; in JSON it is no number.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


TEXT = FieldType("a string", lambda value: isinstance(value, str))
FLAG = FieldType("a boolean", lambda value: isinstance(value, bool))
NUMBER = FieldType("a number", _is_number)
INTEGER = FieldType("an integer", _is_integer)
OBJECT = FieldType("an object", lambda value: isinstance(value, dict))
LIST = FieldType("an array", lambda value: isinstance(value, list))


def number_between(low: float, high: float, field_type: FieldType) -> FieldType:
    def check_range(value: Any, path: str) -> None:
        if low <= value <= high:
            return
        code = "decimal_above_max_value" if value > high else "integer_below_min_value"  # NaN is neither, and no number
        raise BadRequest(f"Invalid '{path}': it must be from {low:g} to {high:g}.", path, code)

    return FieldType(field_type.name, field_type.matches, check_range)


def either(*types: FieldType) -> FieldType:
    """One of several types, which must differ in JSON's own: what is inside is checked by the first that matches."""

    def check_match(value: Any, path: str) -> None:
        for field_type in types:
            if field_type.matches(value):
                _check_value(value, field_type, path)
                return

    name = " or ".join(field_type.name for field_type in types)
    return FieldType(name, lambda value: any(field_type.matches(value) for field_type in types), check_match)


def list_of(field_type: FieldType) -> FieldType:
    def check_entries(value: list[Any], path: str) -> None:
        for number, entry in enumerate(value):
            _check_value(entry, field_type, f"{path}[{number}]")

    return FieldType(LIST.name, LIST.matches, check_entries)


def object_with(**fields: FieldType) -> FieldType:
    return FieldType(OBJECT.name, OBJECT.matches, lambda value, path: _check_fields(value, fields, f"{path}."))


# --- the fields of each API

_COUNT = number_between(1, float("inf"), INTEGER)
_PROBABILITIES = number_between(0, 20, INTEGER)
_PENALTY = number_between(-2, 2, NUMBER)
_PART = object_with(type=TEXT, text=TEXT)
_CONTENT = either(TEXT, list_of(_PART))
_FUNCTION = object_with(name=TEXT, description=TEXT, parameters=OBJECT, strict=FLAG)
_TOOL = object_with(
    type=TEXT,
    name=TEXT,
    description=TEXT,
    parameters=OBJECT,
    strict=FLAG,
    function=_FUNCTION,
    custom=object_with(name=TEXT),
)
_CHOICE = either(TEXT, object_with(type=TEXT, name=TEXT, function=_FUNCTION, custom=object_with(name=TEXT)))
_FORMAT = object_with(type=TEXT, name=TEXT, schema=OBJECT, json_schema=object_with(name=TEXT, schema=OBJECT))

_COMMON_FIELDS: dict[str, FieldType] = {
    "model": TEXT,
    "stream": FLAG,
    "temperature": number_between(0, 2, NUMBER),
    "top_p": number_between(0, 1, NUMBER),
    "metadata": OBJECT,
    "user": TEXT,
    "store": FLAG,
    "parallel_tool_calls": FLAG,
    "tools": list_of(_TOOL),
    "tool_choice": _CHOICE,
    "stream_options": object_with(include_usage=FLAG),
    "top_logprobs": _PROBABILITIES,
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "safety_identifier": TEXT,
    "prompt_cache_key": TEXT,
}
RESPONSES_FIELDS: dict[str, FieldType] = {
    **_COMMON_FIELDS,
    "input": either(TEXT, list_of(object_with(type=TEXT, role=TEXT, content=_CONTENT))),
    "instructions": TEXT,
    "max_output_tokens": _COUNT,
    "max_tool_calls": INTEGER,
    "previous_response_id": TEXT,
    "reasoning": object_with(effort=TEXT, summary=TEXT),
    "text": object_with(format=_FORMAT, verbosity=TEXT),
    "truncation": TEXT,
    "include": list_of(TEXT),
    "background": FLAG,
}
CHAT_FIELDS: dict[str, FieldType] = {
    **_COMMON_FIELDS,
    "messages": list_of(object_with(role=TEXT, content=_CONTENT, tool_calls=list_of(OBJECT), tool_call_id=TEXT)),
    "max_completion_tokens": _COUNT,
    "max_tokens": _COUNT,
    "n": number_between(1, 128, INTEGER),
    "stop": either(TEXT, list_of(TEXT)),
    "logprobs": FLAG,
    "response_format": _FORMAT,
    "reasoning_effort": TEXT,
    "seed": INTEGER,
}
