"""What the answer must look like: a JSON Schema, from a file, from the command line, or from a shorthand.

In: the value of --schema; later the answer's text. Out: the field of the body that asks for it, what OpenAI's strict
mode will not like about it, and each place where an answer does not fit. Nothing is fetched: a schema must be whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from oastream.apis.api import Api, Body
from oastream.display import one_line
from oastream.exits import Outcome, Verdict, failure_of
from oastream.input.body import ReadText, read_json
from oastream.lenient_json import dumps, parse_json

Path = tuple[str | int, ...]
"""The steps from the root of a document to a place in it."""

MAX_ERRORS = 20
"""Places that are named when an answer does not fit; a wrong list may have thousands."""
DEFAULT_NAME = "answer"
_MAX_NAME = 64  # OpenAI: a-z, A-Z, 0-9, _ and -, at most 64
_MAX_DEPTH = 10  # levels of objects in OpenAI's strict mode

_TYPES = {
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
}
_TYPE_NAMES = "; types are string, integer, number, boolean, object, array and null"
# Structured Outputs, "Supported schemas": what strict mode does not take.
_NOT_STRICT = ("allOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas", "patternProperties")
_HOLDING_SCHEMAS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_HOLDING_A_SCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_HOLDING_A_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")


class Schema(NamedTuple):
    """A schema that is one. `validator` is jsonschema-rs's."""

    definition: dict[str, Any]
    head: dict[str, Any]
    validator: Any

    def request_field(self, api: Api, base: Body) -> Body:
        """The field of the request's body, laid over what `base` has there."""
        return api.answer_format({**self.head, "schema": self.definition}, base)

    def strict_mode_warnings(self) -> list[str]:
        """Where it breaks the rules of OpenAI's strict mode, by path; nothing when it does not ask for that mode."""
        if not self.head.get("strict"):
            return []
        return list(_strict_errors(self.definition))

    def verdict(self, text: str, hint: str = "") -> Verdict | None:
        """The verdict of an answer that does not fit, None for one that does; `hint` is what its reader may try."""
        errors = list(self._errors(text))
        if not errors:
            return None
        count = f"{len(errors)} errors"
        if len(errors) == 1:
            count = "1 error"
        lines = errors[:MAX_ERRORS]
        if len(errors) > MAX_ERRORS:
            lines.append(f"and {len(errors) - MAX_ERRORS} more")
        return Verdict(Outcome.SCHEMA, "the answer does not fit the schema", count, hint, more_lines=tuple(lines))

    def first_error(self, text: str) -> str | None:
        """The first place where a text does not fit, with the reason; None for one that fits."""
        return next(self._errors(text), None)

    def _errors(self, text: str) -> Iterator[str]:
        if not text.strip():
            yield "$: not JSON: the answer is empty"
            return
        try:
            value = _parse_answer(text)
        except ValueError as error:
            yield f"$: not JSON: {one_line(str(error), 100)}"
            return
        try:
            for mismatch in self.validator.iter_errors(value):
                yield f"{one_line(_json_path(mismatch.instance_path), 200)}: {one_line(mismatch.message, 200)}"
        except ValueError as error:  # the validator's own limit on depth, or on the digits of an integer
            yield f"$: cannot be checked: {one_line(str(error), 100)}"


def _parse_answer(text: str) -> Any:
    """The answer as JSON. Raises `ValueError`. An escaped surrogate that stands alone becomes U+FFFD, as in text."""
    value = parse_json(text.encode())
    if "\\ud" not in text.lower():
        return value
    return parse_json(dumps(value))


def read_schema(value: str, read: ReadText) -> Schema:
    """The schema that --schema gives. Raises `Failure` with outcome input for what is none."""
    definition, head = _unwrap(_read_given(value, read))
    validator = compile_schema(definition)
    # Strict unless the frame says otherwise: without it the schema is advice to the model, and no promise.
    head = {"strict": True, **head, "name": _name_of(definition, head)}
    return Schema(definition, head, validator)


def _read_given(value: str, read: ReadText) -> Any:
    if _is_shorthand(value):
        return _read_shorthand(value)
    return read_json("--schema", value, read)


def _unwrap(given: Any) -> tuple[Any, dict[str, Any]]:
    """A schema that stands in the frame of either API: its name, description and strictness count."""
    frame = given
    if isinstance(given, dict) and given.get("type") == "json_schema" and isinstance(given.get("json_schema"), dict):
        frame = given["json_schema"]
    if not (isinstance(frame, dict) and isinstance(frame.get("schema"), dict) and "name" in frame):
        return frame, {}
    return frame["schema"], {key: frame[key] for key in ("name", "description", "strict") if frame.get(key) is not None}


def _name_of(definition: dict[str, Any], head: dict[str, Any]) -> str:
    """The name that the API wants: the frame's, else the schema's title, in the characters that are allowed."""
    given = str(head.get("name") or definition.get("title") or "")
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", given).strip("_")
    return name[:_MAX_NAME] or DEFAULT_NAME


# The shorthand ---------------------------------------------------------------------------------------------------


def _is_shorthand(value: str) -> bool:
    """Whether it is `name` or `name, age int, bio: a text`: not JSON, not @FILE, and no file of that name."""
    if value.lstrip().startswith(("{", "[")) or value.startswith("@") or os.path.exists(value):
        return False
    if re.fullmatch(r"\w+", value):
        return True
    return any(c in value for c in ",: \n") and "/" not in value.split(":")[0]


def _read_shorthand(text: str) -> dict[str, Any]:
    """Fields with commas, or lines, between them, as in `llm --schema`: NAME [TYPE][: DESCRIPTION], or NAME:TYPE."""
    separator = ","
    if "\n" in text:
        separator = "\n"
    fields = [_read_property(field.strip()) for field in text.split(separator) if field.strip()]
    properties = dict(fields)
    if len(properties) < len(fields):
        raise failure_of(Outcome.INPUT, "--schema has two fields of one name", repr(text))
    if not properties:
        raise failure_of(Outcome.INPUT, "--schema has no fields", repr(text))
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _read_property(field: str) -> tuple[str, dict[str, str]]:
    head, _, description = field.partition(":")
    name, *types = head.split() or [""]
    description = description.strip()
    if not types and description in _TYPES:
        types, description = [description], ""
    kind = _TYPES.get((types or ["str"])[0])
    if not name or len(types) > 1 or kind is None:
        from oastream.suggestions import did_you_mean, nearest  # for the message only

        why = f"{field!r} is not of the form NAME, NAME TYPE or NAME:TYPE with a type of str, int, float, bool"
        why += did_you_mean(nearest((types or [""])[-1], _TYPES, 1))
        raise failure_of(Outcome.INPUT, "--schema is not a schema", why)
    made = {"type": kind}
    if description:
        made["description"] = description
    return name, made


# Whether it is a schema ------------------------------------------------------------------------------------------


def compile_schema(definition: Any) -> Any:
    """jsonschema-rs's validator. Raises `Failure` for what is no schema, or refers to something that is not in it."""
    if not isinstance(definition, dict):
        raise failure_of(Outcome.INPUT, "--schema is not a schema", "it is not a JSON object")
    import jsonschema_rs  # 20 ms that only --schema pays

    if _has_endless_reference(definition):
        raise failure_of(Outcome.INPUT, "--schema is not a schema", "infinite $ref recursion")
    try:
        return jsonschema_rs.validator_for(definition, retriever=_refuse_to_fetch)
    except jsonschema_rs.ValidationError as error:
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
            why = f"{one_line(error.message, 200)} (references outside the schema are not fetched)"
            raise failure_of(Outcome.INPUT, "--schema has an unresolved reference", why) from error
        why = f"{_json_path(error.instance_path)}: {one_line(error.message, 200)}"
        if error.instance_path and error.instance_path[-1] == "type":
            why = f"{_json_path(error.instance_path)}: {one_line(str(error.instance), 50)} is no type{_TYPE_NAMES}"
        raise failure_of(Outcome.INPUT, "--schema is not a schema", why) from error
    except ValueError as error:  # nested too deeply, or with a lone surrogate
        raise failure_of(Outcome.INPUT, "--schema is not a schema", one_line(str(error), 200)) from error


def _refuse_to_fetch(_uri: str) -> Any:
    """Without it the validator would fetch what the schema refers to, a file of this machine too."""
    raise LookupError("not fetched")


def _has_endless_reference(definition: dict[str, Any]) -> bool:
    """Whether a reference within the schema leads back to itself without going into the answer: it says nothing."""
    references = {_pointer(path): str(part["$ref"]) for path, part in _schemas_in(definition) if "$ref" in part}
    for start in references:
        place, steps = start, 0
        while place in references:
            place, steps = references[place], steps + 1
            if steps > len(references):  # more than there are: some place was passed twice
                return True
    return False


def _pointer(path: Path) -> str:
    """A place in the schema as a reference to it: RFC 6901, in a URI's fragment."""
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _json_path(path: Sequence[str | int]) -> str:
    """A place as `$.names[1]`, the form of RFC 9535."""
    steps = map(_path_step, path)
    return "".join(["$", *steps])


def _path_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}"


def _schemas_in(definition: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The schema and every schema in it, with their paths, each before those in it."""
    # A list of those to come, and no recursion: a schema may nest deeper than Python calls.
    waiting: list[tuple[Path, Any]] = [((), definition)]
    while waiting:
        path, schema = waiting.pop()
        if isinstance(schema, dict):
            yield path, schema
            waiting += reversed(list(_inner_schemas(path, schema)))


def _inner_schemas(path: Path, schema: dict[str, Any]) -> Iterator[tuple[Path, Any]]:
    for key in _HOLDING_SCHEMAS:
        if isinstance(schema.get(key), dict):
            for name, inner in schema[key].items():
                yield (*path, key, name), inner
    for key in _HOLDING_A_SCHEMA:
        yield (*path, key), schema.get(key)
    for key in _HOLDING_A_LIST:
        if isinstance(schema.get(key), list):
            for position, inner in enumerate(schema[key]):
                yield (*path, key, position), inner


# OpenAI's strict mode --------------------------------------------------------------------------------------------


def _strict_errors(definition: dict[str, Any]) -> Iterator[str]:
    if definition.get("type") != "object" or "anyOf" in definition:
        yield "$: the root must be an object, and not anyOf"
    for path, schema in _schemas_in(definition):
        where = _json_path(path)
        for keyword in _NOT_STRICT:
            if keyword in schema:
                yield f"{where}: {keyword} is not supported"
        if path.count("properties") == _MAX_DEPTH:
            yield f"{where}: deeper than {_MAX_DEPTH} levels"
        if schema.get("type") == "object" or "properties" in schema:
            yield from _strict_object_errors(where, schema)


def _strict_object_errors(path: str, schema: dict[str, Any]) -> Iterator[str]:
    if schema.get("additionalProperties") is not False:
        yield f"{path}: additionalProperties must be false"
    optional = [name for name in schema.get("properties") or {} if name not in (schema.get("required") or ())]
    if optional:
        yield f"{path}: every property must be required, and {optional[0]} is not"
