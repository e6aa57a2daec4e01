"""What a terminal must not see raw, and a text cut to fit one line.

In: any text from outside. Out: the same, safe to show. Does no I/O, and does not know what it is shown on.
"""

from __future__ import annotations

from oastream.surrogates import join_surrogates

# C0 but tab and newline, DEL, C1, and the overrides and isolates that reorder text (CWE-150; Unicode TR 9).
_UNSAFE = [
    *(c for c in range(0x20) if c not in (0x09, 0x0A)),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
_SHOWN = {code: f"\\u{code:04x}" for code in _UNSAFE}
_SHOWN.update((code, f"\\x{code:02x}") for code in _UNSAFE if code < 0x100)
_SHOWN_IN_JSON = {code: f"\\u{code:04x}" for code in _UNSAFE if code >= 0x7F}  # JSON itself escapes the others


def escape_controls(text: str) -> str:
    """`text` with control characters, escapes and bidi overrides shown as text."""
    return text.translate(_SHOWN)


def escape_json_controls(json_text: str) -> str:
    """The same for a JSON text, in JSON's own escapes: it stays valid and means the same."""
    return json_text.translate(_SHOWN_IN_JSON)


CUT = "…"
"""What stands where a line was cut."""


def one_line(text: str, longest: int = 500) -> str:
    """`text` as a part of one line of a message: no newlines, no control characters, not endless."""
    line = escape_controls(" ".join(join_surrogates(text).split()))
    if len(line) <= longest:
        return line
    return line[: longest - 1] + CUT
