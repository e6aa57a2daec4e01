"""Fields of JSON that may be missing or of any type → a value of the type that they should have.

In: a value as parsed. Out: the value, or the empty one of its type. Refuses to complain: servers leave fields out, or
send null or something else, and an answer does not fail because of a field that nobody needs.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]
"""A JSON object: a chunk, an item, a part, an error."""
Event = Fields
"""An event of the Responses API, or a chunk of Chat."""


def dict_or_empty(value: Any) -> Fields:
    return value if isinstance(value, dict) else {}


def list_or_empty(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def dicts_in(value: Any) -> list[Fields]:
    """The objects in what should be a list of them."""
    return [each for each in list_or_empty(value) if isinstance(each, dict)]


def str_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""


def nonempty_str(value: Any) -> str | None:
    """A field that should be a name; None when it is empty or something else."""
    return value if isinstance(value, str) and value else None


def int_or_zero(value: Any) -> int:
    return value if isinstance(value, int) else 0
