"""What `oastream.cli.plain` knows of the options, as a module that is made from their declarations.

In: the declarations, which are Click's. Out: the text of `oastream/cli/plain_table.py`. An option of another kind than
those below is in no table of it, so that a command line with that option is left to Click.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from oastream.cli import types
from oastream.cli.option import Configured, Option
from oastream.cli.options_table import OPTIONAL_VALUE, OPTIONS, unset_values

HEADER = '''"""Each option as `plain` reads it. Made by `python -m tests.docs` from `options_table`; do not edit."""

from collections.abc import Callable
from typing import Any

from oastream.cli.values import (
    as_base_url,
    as_choice,
    as_header,
    as_number,
    as_outcomes,
    as_pair,
    as_whole_number,
)
'''
LEFT_TO_CLICK = ("provider",)
"""What decides about another option by where that came from."""


def plain_table() -> str:
    """The module's text."""
    plain = [option for group in OPTIONS.values() for option in group if _is_plain(option)]
    alone = {name: f'("{option.name}", True)' for option in plain if option.is_flag for name in option.opts}
    alone |= dict(_optional_values())
    valued = {
        name: f'("{option.name}", {reader})'
        for option in plain
        if (reader := _reader(option)) is not None
        for name in option.opts
    }
    defaults = {name: _literal(value) for name, value in unset_values().items()}
    return "\n".join(
        (
            HEADER,
            *_dictionary("ALONE: dict[str, tuple[str, Any]]", alone, "An option that takes no value, or none here"),
            *_dictionary("VALUED: dict[str, tuple[str, Callable[..., Any], tuple[Any, ...]]]", valued, "An option"),
            *_dictionary("UNSET: dict[str, Any]", defaults, "An option's name in `Options`"),
        )
    )


def _is_plain(option: Option) -> bool:
    """Whether it is a setting of the run like any other: --help and --profile are not."""
    return option.in_file and option.callback is None and option.name not in LEFT_TO_CLICK


def _optional_values() -> Iterator[tuple[str, str]]:
    declared = {name: option for group in OPTIONS.values() for option in group for name in option.opts}
    for word, expanded in OPTIONAL_VALUE.items():
        name, _, value = expanded.partition("=")
        yield word, f'("{declared[name].name}", {_literal(value)})'


def _reader(option: Option) -> str | None:
    """The function of `values` that reads the option's value, and what it is told; None where only Click can."""
    if option.is_flag or option.count or isinstance(option, Configured):
        return None
    match option.type:
        case types.FiniteNumber(least=least):
            return f"as_number, ({least},)"
        case types.WholeNumber(min=least):
            return f"as_whole_number, ({least},)"
        case types.Header():
            return "as_header, ()"
        case types.Pair(separator=separator):
            return f"as_pair, ({_literal(separator)},)"
        case types.Outcomes():
            return "as_outcomes, ()"
        case types.BaseUrl():
            return "as_base_url, ()"
        case click.Choice(choices=choices):
            return f"as_choice, ({', '.join(map(_literal, choices))})"
        case types.Suggested() | types.ResponseId() | click.types.StringParamType():
            return "str, ()"
    return None


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def _dictionary(declaration: str, entries: dict[str, str], key: str) -> Iterator[str]:
    yield f"{declaration} = {{"
    for name, entry in entries.items():
        yield f'    "{name}": {entry},'
    yield "}"
    yield f'"""{key} → {_MEANINGS[declaration.partition(":")[0]]}"""\n'


_MEANINGS = {
    "ALONE": "its name in `Options`, and the value that it has then.",
    "VALUED": "its name in `Options`, what reads its value, and what that is told.",
    "UNSET": "its value when nobody sets it.",
}
