"""Options that would have no effect where they stand, or that exclude each other: tables, and what follows from them.

In: the values of the options, and for each one that was given, where it came from. Out: what to say of the first that
stands in vain on the command line. One from a variable or from the file is dropped without a word: it is a default for
other runs. Knows neither Click nor files, and looks only at options that were given.

An option stands in vain when what it asks for does not happen. One that asks for what happens anyway (`--background`
beside `--detach`, `--hold` beside `-o`) is no mistake, nor is one that only permits or limits something. --dry-run and
--show-config tell of any command line, so they are in no table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

COMMAND_LINE, ENVIRONMENT = "command line", "environment"
NEAREST_FIRST = (COMMAND_LINE, ENVIRONMENT, "profile", "file")
"""The places that an option may come from, the strongest first."""

# An option → the other one without which it does nothing, and the value that this must have, None for any.
NEEDS: dict[str, tuple[str, str | None]] = {
    "keep_partial": ("output", None),
    "eager": ("format", "tools"),
    "extract": ("format", "text"),
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
        *(
            "max_output_tokens",
            "schema",
            "schema_multi",
            "background",
            "detach",
            "resume",
            "replay",
            "reasoning",
            "stats",
            "extract",
        ),
    ),
    "replay": (*_QUESTION, *_SETTINGS, "base_url", "api_key_file", "provider", "header", "record"),
    "resume": (*_QUESTION, *_SETTINGS),
    "detach": ("history", "format", "reasoning", "extract"),
}

LISTED_AS = ("text", "json", "ndjson")
"""The formats that --list-models has."""

EXCLUSIVE = (
    ("history", "previous_response_id"),
    ("detach", "resume"),
    ("eager", "hold"),
    ("schema", "extract"),
    ("schema", "schema_multi"),
    ("schema_multi", "extract"),
)
"""Pairs of which only one can have its way: the nearer, and from one place the first."""


def settle(values: dict[str, Any], given: dict[str, str], unset: Callable[[], Mapping[str, Any]]) -> str | None:
    """Drop what has no effect from `values` and `given`; the first that stands in vain on the command line, in words.

    `given` has the kind of place that each option came from; `unset` tells the value of each when nobody sets it.
    """
    # Each table looks at what the ones before it left: an option that was dropped excludes nothing, and needs nothing.
    for name, complaint, is_mistake in _find_idle(values, given):
        if is_mistake and given[name] == COMMAND_LINE:
            return complaint
        del given[name]
        values[name] = unset()[name]
    return None


def names_stdin(values: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """Whether the command line itself says where stdin goes: a -n from elsewhere gives way to that."""
    named = (values[name] for name, place in given.items() if place == COMMAND_LINE)
    return any(text in ("-", "@-") for value in named for text in _texts_of(value))


def _texts_of(value: Any) -> Iterator[Any]:
    """The value of an option that may be given once; each of one that may be repeated; of a pair, its second half."""
    if not isinstance(value, tuple):
        yield value
        return
    for text in value:
        if isinstance(text, tuple):  # `--tool-output ID=@-`
            _, text = text
        yield text


_Idle = tuple[str, str, bool]
"""An option without effect; what to say of it; and whether that is a mistake on the command line, which it is not where
the other option came from elsewhere: nobody typed the two together."""


def _find_idle(values: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[_Idle]:
    yield from _left_out_by_mode(given)
    if "list_models" in given and "format" in given and values["format"] not in LISTED_AS:
        yield "format", f"--list-models has no --format {values['format']}", True
    yield from _excluded_by_another(given)
    yield from _without_what_they_need(values, given)


def _left_out_by_mode(given: Mapping[str, str]) -> Iterator[_Idle]:
    for mode, names in LEAVES_OUT.items():
        for name in names:
            if mode in given and name in given:
                complaint = f"{in_cli_form(name)} has no effect with {in_cli_form(mode)}"
                if name == "prompt":
                    complaint = f"{in_cli_form(mode)} takes no prompt"
                yield name, complaint, given[mode] == COMMAND_LINE


def _excluded_by_another(given: Mapping[str, str]) -> Iterator[_Idle]:
    for first, second in EXCLUSIVE:
        if first in given and second in given:
            complaint = f"{in_cli_form(first)} and {in_cli_form(second)} exclude each other"
            both_typed = given[first] == given[second] == COMMAND_LINE
            yield lower_precedence(first, second, given), complaint, both_typed


def _without_what_they_need(values: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[_Idle]:
    for name, (other, wanted) in NEEDS.items():
        if name not in given:
            continue
        if wanted is None and not values[other]:
            yield name, f"{in_cli_form(name)} needs {in_cli_form(other)}", True
        elif wanted is not None and values[other] != wanted:
            yield name, f"{in_cli_form(name)} needs {in_cli_form(other)} {wanted}", True


def lower_precedence(first: str, second: str, given: Mapping[str, str]) -> str:
    """Of two options that exclude each other, the one from farther away; from the same place, the second."""
    if NEAREST_FIRST.index(given[first]) > NEAREST_FIRST.index(given[second]):
        return first
    return second


def in_cli_form(name: str) -> str:
    """An option's name as it is typed."""
    return f"--{name.replace('_', '-')}"
