"""A value for a JSON schema: what the mock answers when structured output is asked for, and what it calls tools with.

In: a schema, which may be anything that a client sends. Out: a simple value of its shape, always the same.
Patterns, lengths and formats are not looked at, nor is what is no schema. Knows nothing of answers or APIs.
"""

from __future__ import annotations

from typing import Any

from oastream.mock.events import Json

MOST_LEVELS = 20
"""How deep a sample follows a schema that refers to itself; below that everything is null."""

_SCALARS: dict[str, Any] = {"string": "sample", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def sample_value(schema: Json) -> Any:
    """A simple value of a JSON schema's shape."""
    return _sample(schema, schema, MOST_LEVELS)


def _sample(schema: Any, root: Json, levels: int) -> Any:
    if not isinstance(schema, dict) or not levels:
        return None
    # What the schema itself offers comes before what its type suggests.
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0]
    alternatives = _alternatives(schema, root)
    if alternatives:
        return _sample(alternatives[0], root, levels - 1)
    return _sample_of_type(schema, root, levels)


def _alternatives(schema: Json, root: Json) -> list[Any]:
    """The schemas that may stand in place of this one; the first will do, also of an `allOf`."""
    if "$ref" in schema:
        return [_resolve(str(schema["$ref"]), root)]
    for key in ("anyOf", "oneOf", "allOf"):
        found = schema.get(key)
        if isinstance(found, list) and found:
            return found
    return []


def _resolve(reference: str, root: Json) -> Any:
    """The part of the root that a `#/a/b` names; a step that leads nowhere is an empty schema: anything will do."""
    place: Any = root
    for name in reference.removeprefix("#").split("/"):
        if name and isinstance(place, dict):
            place = place.get(name, {})
    return place


def _sample_of_type(schema: Json, root: Json, levels: int) -> Any:
    kind = _main_type(schema)
    if kind == "object":
        return _sample_object(schema, root, levels)
    if kind == "array" and "items" not in schema:
        return []
    if kind == "array":
        return [_sample(schema["items"], root, levels - 1)]
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    return _SCALARS.get(str(kind))


def _main_type(schema: Json) -> Any:
    """Its type, or the first of several; without one, what its other keys suggest."""
    kind = schema.get("type")
    if "type" not in schema:
        kind = "object" if "properties" in schema else "string"
    if isinstance(kind, list) and kind:
        return kind[0]
    return kind


def _sample_object(schema: Json, root: Json, levels: int) -> Json:
    """The required properties; all of them where none is required, as an empty object shows nothing."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required")
    if not isinstance(required, list) or not required:
        required = list(properties)
    return {name: _sample(inner, root, levels - 1) for name, inner in properties.items() if name in required}
