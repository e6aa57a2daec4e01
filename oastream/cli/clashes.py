"""Options that would have no effect where they stand, or that exclude each other: tables, and what follows from them.

In: the values of the options, and for each one that was given, where it came from. Out: what to say of the first that
stands in vain on the command line. One from a variable or from the file is dropped without a word: it is a default for
other runs. Knows neither Click nor files, and looks only at options that were given.

An option stands in vain when what it asks for does not happen. One that asks for what happens anyway (`--background`
beside `--detach`, `--hold` beside `-o`) is no mistake, nor is one that only permits or limits something. --dry-run and
--show-config tell of any command line, so they are in no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

COMMAND_LINE = "command line"
NEAREST_FIRST = (COMMAND_LINE, "environment", "profile", "file")
"""The places that an option may come from, the strongest first."""

# An option → the other one without which it does nothing, and the value that this must have, None for any.
NEEDS: dict[str, tuple[str, str | None]] = {
    "keep_partial": ("output", None),
    "eager": ("format", "tools"),
    "realtime": ("replay", None),
    "no_wait": ("history", None),
    "attach_type": ("attach", None),
    "background": ("api", "responses"),
    "detach": ("api", "responses"),
    "resume": ("api", "responses"),
    "previous_response_id": ("api", "responses"),
}

# What makes a request, beyond those that a run without a request of its own still looks at: --max-output-tokens tells a
# cut answer, --schema checks one.
_QUESTION = ("prompt", "file", "attach", "tool_output", "input_encoding", "previous_response_id", "history", "body")
_SETTINGS = ("model", "system", "temperature", "top_p", "reasoning_effort", "tools", "tool_choice", "set")

# An option that makes another kind of run → those that such a run does not look at.
LEAVES_OUT: dict[str, tuple[str, ...]] = {
    "list_models": (
        *_QUESTION,
        *_SETTINGS,
        *("max_output_tokens", "schema", "background", "detach", "resume", "replay", "reasoning"),
    ),
    "replay": (*_QUESTION, *_SETTINGS, "base_url", "api_key_file", "provider", "header", "record"),
    "resume": (*_QUESTION, *_SETTINGS),
    "detach": ("history", "format", "reasoning"),
}

LISTED_AS = ("text", "json", "ndjson")
"""The formats that --list-models has."""

EXCLUSIVE = (("history", "previous_response_id"), ("detach", "resume"), ("eager", "hold"))
"""Pairs of which only one can have its way: the nearer, and from one place the first."""


def settle(values: dict[str, Any], given: dict[str, str], unset: Mapping[str, Any]) -> str | None:
    """Drop what has no effect from `values` and `given`; the first that stands in vain on the command line, in words.

    `given` has the kind of place that each option came from; `unset` the value of each when nobody sets it.
    """
    for name, complaint in _in_vain(values, given):
        if complaint is not None:
            return complaint
        del given[name]
        values[name] = unset[name]
    return None


def names_stdin(values: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """Whether the command line itself says where stdin goes: a -n from elsewhere gives way to that."""
    named = (values[name] for name, place in given.items() if place == COMMAND_LINE)
    texts = [text for value in named for text in (value if isinstance(value, tuple) else (value,))]
    return any((text[1] if isinstance(text, tuple) else text) in ("-", "@-") for text in texts)


def _in_vain(values: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """Each option that has no effect, and what to say of it, None where it did not come from the command line."""
    for mode, names in LEAVES_OUT.items():
        if mode in given:
            for name in names:
                if name in given:
                    both = given[mode] == given[name] == COMMAND_LINE
                    yield name, _left_out(name, mode) if both else None
    if "list_models" in given and "format" in given and values["format"] not in LISTED_AS:
        has_not = f"--list-models has no --format {values['format']}"
        yield "format", has_not if given["format"] == COMMAND_LINE else None
    for first, second in EXCLUSIVE:
        if first in given and second in given:
            both = given[first] == given[second] == COMMAND_LINE
            yield weaker(first, second, given), _opposed(first, second) if both else None
    for name, (other, value) in NEEDS.items():
        if name in given and not (values[other] if value is None else values[other] == value):
            needs = f"{spelled(name)} needs {spelled(other)}" + (f" {value}" if value else "")
            yield name, needs if given[name] == COMMAND_LINE else None


def _left_out(name: str, mode: str) -> str:
    return (
        f"{spelled(mode)} takes no prompt"
        if name == "prompt"
        else f"{spelled(name)} has no effect with {spelled(mode)}"
    )


def _opposed(first: str, second: str) -> str:
    return f"{spelled(first)} and {spelled(second)} exclude each other"


def weaker(first: str, second: str, given: Mapping[str, str]) -> str:
    """Of two options that exclude each other, the one from farther away; from the same place, the second."""
    places = [NEAREST_FIRST.index(given[name]) for name in (first, second)]
    return first if places[0] > places[1] else second


def spelled(name: str) -> str:
    """An option's name as it is typed."""
    return f"--{name.replace('_', '-')}"
