"""A prompt with places for fields: `Translate into {language}: {text}`.

In: the text of --template, and the fields of a row. Out: the prompt, or a `ValueError` that names what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oastream.lenient_json import dumps

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{")
_BRACES = {"{{": "{", "}}": "}"}


class Template:
    """A template, taken apart once. Raises `ValueError` where a brace opens a field that nothing closes."""

    def __init__(self, text: str) -> None:
        self._parts: list[tuple[str, str | None]] = []
        """A text as it stands, and the name of the field that follows it, None at the end."""
        literal, end = "", 0
        for match in _PART.finditer(text):
            literal += text[end : match.start()]
            end = match.end()
            if match[0] in _BRACES:
                literal += _BRACES[match[0]]
            elif match[1]:
                self._parts.append((literal, match[1]))
                literal = ""
            else:
                raise ValueError(f"a brace at character {match.start() + 1} names no field; {{{{ is a brace")
        self._parts.append((literal + text[end:], None))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields, in order."""
        return tuple(name for _, name in self._parts if name is not None)

    def fill(self, row: Mapping[str, Any]) -> str:
        """The prompt for a row. Raises `ValueError` for a field that it does not have."""
        pieces: list[str] = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is None:
                continue
            if name not in row:
                raise ValueError(f"it has no field {name!r}, which the template names")
            pieces.append(field_text(row[name]))
        return "".join(pieces)


def field_text(value: object) -> str:
    """A field as a part of a prompt: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value).decode()
