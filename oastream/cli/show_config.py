"""--show-config: each option's value, and where it came from.

In: the values of all options, the context that knows their origins, the environment. Out: a text, a line for each
option, or one JSON object. No secret is in it: of a key it says only where it comes from. Knows nothing of files.
"""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from oastream.apis import api_named
from oastream.cli.option import DEFAULT, origin_of
from oastream.cli.types import Pair
from oastream.display import one_line
from oastream.redaction import REDACTED, SHORTEST, mask_text, redact, secrets_in

if TYPE_CHECKING:
    import click

    from oastream.cli.config import Origin

KEY = "api-key"
"""What the listing calls the key, which is no option."""
_KEY_VARIABLES = ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")
_WIDEST = 40
"""Columns that a name or a value may take before what follows it is no longer aligned."""

Row = tuple[str, Any, "Origin"]
"""An option, its value, fit to be shown, and its origin."""


def show_config(context: click.Context, values: Mapping[str, Any]) -> str:
    """The listing, in the form that --format asks for."""
    options = [param for param in context.command.params if param.param_type_name == "option" and param.name in values]
    values = {**values, "model": values["model"] or api_named(values["api"]).default_model}
    rows = [_row(context, option, values[option.name]) for option in options]
    rows.append(_key_row(context, values))
    if values["format"] == "json":
        return _as_json(rows)
    return _as_lines(rows)


def _row(context: click.Context, option: click.Parameter, value: Any) -> Row:
    shown = _without_secrets(_in_cli_form(option, value), os.environ)
    return option.name.replace("_", "-"), shown, origin_of(context, option.name)


def _in_cli_form(option: click.Parameter, value: Any) -> Any:
    if isinstance(option.type, Pair):
        return [option.type.as_text(pair) for pair in value]
    return value


def _key_row(context: click.Context, values: Mapping[str, Any]) -> Row:
    """Where the key comes from, never what it is."""
    for name in ("api_key_file", "api_key_cmd"):
        if values[name] is not None:
            return KEY, REDACTED, origin_of(context, name)
    if values["provider"] is None and os.environ.get("OPENAI_API_KEY", "").strip():
        return KEY, REDACTED, ("environment", "OPENAI_API_KEY")
    return KEY, None, DEFAULT


def _as_lines(rows: Iterable[Row]) -> str:
    """One line for each option: its name, its value, where it came from."""
    table = [(option, _as_words(value), " ".join(origin)) for option, value, origin in rows]
    first, second = (min(max(len(row[column]) for row in table), _WIDEST) for column in (0, 1))
    return "\n".join(f"{name:<{first}}  {value:<{second}}  {origin}".rstrip() for name, value, origin in table)


def _as_json(rows: Iterable[Row]) -> str:
    """One object: option → value, source, and the source's name."""
    shown = {option: {"value": value, "source": kind, "name": name or None} for option, value, (kind, name) in rows}
    return json.dumps(shown, ensure_ascii=False)


def _as_words(value: Any) -> str:
    match value:
        case None | []:
            return "-"
        case True:
            return "true"
        case False:
            return "false"
        case list():
            return one_line(", ".join(map(str, value)), 200)
        case float() if math.isfinite(value):
            return f"{value:g}"
    return one_line(str(value), 200) or '""'


def _without_secrets(value: Any, environ: Mapping[str, str]) -> Any:
    """A value as JSON has it, without passwords and secret fields in URLs, and what looks like a key."""
    if isinstance(value, list | tuple | frozenset):
        return [_without_secrets(item, environ) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if not isinstance(value, str):
        return value
    value = os.fsencode(value).decode("utf-8", "replace")  # Python hides bytes that are not UTF-8 in surrogates
    keys = (environ.get(name, "").strip() for name in _KEY_VARIABLES)
    secrets = (*(key for key in keys if len(key) >= SHORTEST), *secrets_in((), None, environ))
    return mask_text(redact(value, secrets))
