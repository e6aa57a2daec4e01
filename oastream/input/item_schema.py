"""--schema-multi: the schema of one item → that of the answer, which is a list of them.

In: the value of the option. Out: what is asked for, and a check of one item. Strict mode takes no list at the root, so
the list stands in an object. Raises `Failure` with outcome input for what is no schema.
"""

from __future__ import annotations

from typing import Any

from oastream.exits import Failure
from oastream.input.body import ReadText
from oastream.input.schema import Schema, compile_schema, read_schema
from oastream.output.item_lines import LIST_KEY

_SHARED = ("$defs", "definitions", "$schema", "$id")
"""What a schema has at its root alone: what other parts refer to, and what it is called."""


class ItemSchema:
    """`asked` is the schema of the whole answer; items are checked against the one that was given."""

    def __init__(self, item: Schema) -> None:
        self._item = item
        definition = _with_root_moved(item.definition)
        shared = {key: definition.pop(key) for key in _SHARED if key in definition}
        wrapped = {
            "type": "object",
            "properties": {LIST_KEY: {"type": "array", "items": definition}},
            "required": [LIST_KEY],
            "additionalProperties": False,
            **shared,
        }
        self.asked = Schema(wrapped, item.head, compile_schema(wrapped))

    def find_error(self, text: str) -> str | None:
        """Where an item does not fit, as a path within it and why; None for one that does."""
        found = self._item.first_error(text)
        if found is None:
            return None
        return found.removeprefix("$")


def read_item_schema(value: str, read: ReadText) -> ItemSchema:
    """The schema that --schema-multi gives, in all the forms of --schema."""
    try:
        return ItemSchema(read_schema(value, read))
    except Failure as failed:  # in the words of --schema, whose name is a part of this one's
        verdict = failed.verdict
        raise Failure(verdict._replace(summary=verdict.summary.replace("--schema", "--schema-multi", 1))) from failed


def _with_root_moved(part: Any) -> Any:
    """A part of a schema, whose references to its root lead to where that is now. Those to `$defs` stay."""
    if isinstance(part, list):
        return [_with_root_moved(each) for each in part]
    if not isinstance(part, dict):
        return part
    moved = {key: _with_root_moved(value) for key, value in part.items()}
    if moved.get("$ref") == "#":
        moved["$ref"] = f"#/properties/{LIST_KEY}/items"
    return moved
