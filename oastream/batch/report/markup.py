"""HTML that is well formed and says what it was given: text from anywhere stays text.

In: texts, and markup that was made here. Out: markup. Only what is `Markup` is taken as such; anything else is escaped,
and what would be invisible in it or turn its order around is shown.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from oastream.display import escape_controls
from oastream.surrogates import join_surrogates

_INVISIBLE = {
    code: f"\\u{code:04x}"
    for code in (*range(0x200B, 0x2010), 0x2028, 0x2029, *range(0x2060, 0x2066), 0x061C, 0xFEFF, *range(0xFFF9, 0xFFFC))
}
"""Besides controls and overrides: marks of direction, joiners, separators. On a page nothing else shows them."""
_VOID = frozenset({"br", "col", "meta", "path", "line", "rect"})
"""Elements without content. Those of SVG are closed as XML wants it, which HTML allows."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """`text` as HTML, safe in content and in quoted attributes."""
    shown = escape_controls(join_surrogates(text)).translate(_INVISIBLE)
    return Markup(html.escape(shown))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """The parts one after the other; those that are no markup are escaped."""
    return Markup(escape(between).join(part if isinstance(part, Markup) else escape(part) for part in parts))


def tag(name: str, /, *content: str, **attributes: str | int | float | None) -> Markup:
    """One element. Attributes that are None are left out; `class_` is `class`, and `_` in a name is `-`."""
    words = [name]
    for attribute, value in attributes.items():
        if value is not None:
            words.append(f'{attribute.rstrip("_").replace("_", "-")}="{escape(str(value))}"')
    if name in _VOID:
        return Markup(f"<{' '.join(words)}/>")
    return Markup(f"<{' '.join(words)}>{join(content)}</{name}>")
