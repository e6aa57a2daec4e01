"""The configuration file: TOML → layers of defaults below the command line.

In: the file's path, the name of a profile, the options by name and kind. Out: layers, the strongest first, with values
that are checked for their kind, each layer with its origin. Knows nothing of Click, and takes no key as text.
"""

from __future__ import annotations

import enum
import json
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from oastream.exits import Failure, Outcome, failure_of
from oastream.redaction import is_secret

PROFILES = "profile"
"""The table that holds the profiles, each a table of its own."""
_KEYS_AS_TEXT = ("api_key", "openai_api_key")
"""What people try first. A configuration file is copied, shown and committed, so a key is only named there."""


class Kind(enum.Enum):
    """What a key of the file takes. The value says so to the user."""

    FLAG = "true or false"
    INTEGER = "a whole number"
    NUMBER = "a number"
    TEXT = "a text"
    TEXTS = "a text or a list of texts"  # an option that may be repeated
    HEADERS = "a list of texts or a table of texts"  # --header
    FIELDS = "a list of texts or a table"  # --set
    NAMES = "a text or a list of names and numbers"  # --ok


class Setting(NamedTuple):
    """An option as the file may set it. `is_path` tells that it names a file."""

    name: str
    kind: Kind
    is_path: bool = False


Origin = tuple[str, str]
"""Where a value came from: command line, environment, profile, file or default; and the name of that, or ""."""
Layer = tuple[Origin, Mapping[str, Any]]
"""Values for some of the options, all from one place."""


def read_layers(path: str, profile: str | None, settings: Mapping[str, Setting]) -> list[Layer]:
    """The file's layers, the profile's first. Raises `Failure` with outcome config for an invalid file."""
    content = _read_file(path)
    if content is None:
        if profile is not None:
            raise config_failure(f"no such profile: {profile}", f"there is no {path}")
        return []
    table = _parse_toml(content, path)
    profiles = table.pop(PROFILES, {})
    if not isinstance(profiles, dict):
        why = f"it must be a table of profiles, not {_describe_kind(profiles)}"
        raise config_failure(f"bad {PROFILES} in {path}", why)
    file: Layer = ("file", path), _read_table(table, path, settings)
    if profile is None:
        return [file]
    if not isinstance(profiles.get(profile), dict):
        raise config_failure(f"no such profile: {profile}", f"{path} has {_list_profiles(profiles)}")
    chosen = _read_table(profiles[profile], f"{path}, profile {profile}", settings)
    return [(("profile", profile), chosen), file]


def config_failure(what: str, why: object = "", hint: str = "") -> Failure:
    """A configuration that cannot be used."""
    return failure_of(Outcome.CONFIG, what, why, hint)


# The file --------------------------------------------------------------------------------------------------------


def _read_file(path: str) -> bytes | None:
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # opening it would wait for a writer
            raise config_failure(f"cannot read {path}", "it is not a regular file")
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        from oastream.system_errors import describe_error  # only to say what went wrong

        raise config_failure(f"cannot read {path}", describe_error(error)) from error


def _parse_toml(content: bytes, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # editors on Windows begin a file with its mark
    except UnicodeDecodeError as error:
        why = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise config_failure(f"{path} is not UTF-8", why) from error
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits is a ValueError of Python's own
        text = str(error).partition("; use sys.")[0]
        hint = 'a text stands in quotes, as in model = "gpt-5"' if text.startswith("Invalid value") else ""
        raise config_failure(f"{path} is not TOML", text[:1].lower() + text[1:], hint) from error


def _read_table(table: Mapping[str, Any], where: str, settings: Mapping[str, Setting]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in table.items():
        setting = settings.get(key.replace("-", "_"))
        if setting is None:
            raise _unknown_key_failure(key, value, where, settings)
        if setting.name in values:
            raise config_failure(f"{where} sets {key} twice", f"it is another name of {_in_key_form(setting.name)}")
        try:
            values[setting.name] = _convert_value(setting, value)
        except ValueError as error:
            raise config_failure(f"bad {key} in {where}", error) from error
    return values


def _unknown_key_failure(key: str, value: Any, where: str, settings: Mapping[str, Setting]) -> Failure:
    if key.replace("-", "_").lower() in _KEYS_AS_TEXT:
        what, why = f"bad {key} in {where}", "keys are not stored in the file"
        return config_failure(what, why, "api_key_file names a file that holds it, api_key_cmd a command")
    from oastream.suggestions import nearest  # for the message only

    why = "no option that the file can set has this name"
    if near := nearest(key.replace("-", "_"), [PROFILES, *settings], 1):
        why = f"did you mean {_in_key_form(near[0])}?"
    elif isinstance(value, dict):
        why = f"a profile is a table [{PROFILES}.{key}]"
    return config_failure(f"unknown key {key!r} in {where}", why)


def _list_profiles(profiles: Mapping[str, Any]) -> str:
    names = sorted(name for name, table in profiles.items() if isinstance(table, dict))
    return ", ".join(names) or "none"


def _in_key_form(name: str) -> str:
    return name.replace("_", "-")


# Values ----------------------------------------------------------------------------------------------------------


def _convert_value(setting: Setting, value: Any) -> Any:
    """The value as the command line would have given it. Raises `ValueError` for one of another kind."""
    converted = _CONVERTERS[setting.kind](value)
    if converted is None:
        raise ValueError(f"it must be {setting.kind.value}, not {_describe_kind(value)}")
    if setting.kind is Kind.HEADERS:
        _reject_secret_headers(converted)
    if not setting.is_path:
        return converted
    if "\0" in "".join(converted):
        raise ValueError("a file name cannot contain a null byte")
    if isinstance(converted, list):
        return [_expand_home(path) for path in converted]
    return _expand_home(converted)


# Each takes a value of TOML, and gives None for one of another kind than its own.


def _as_flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return None


def _as_integer(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):  # to Python, true is a number
        return value
    return None


def _as_number(value: Any) -> float | None:
    if isinstance(value, float):
        return value
    return _as_integer(value)


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return None


def _as_texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    return None


def _as_names(value: Any) -> str | None:
    """Names and numbers of outcomes, which the command line takes with commas between them."""
    if isinstance(value, str | int):
        value = [value]
    if isinstance(value, list) and all(type(name) in (str, int) for name in value):  # a bool is an int too
        return ",".join(map(str, value))
    return None


def _as_headers(value: Any) -> list[str] | None:
    if not isinstance(value, dict):
        return _as_texts(value)
    if all(isinstance(text, str) for text in value.values()):
        return [f"{name}: {text}" for name, text in value.items()]
    return None


def _as_fields(value: Any) -> list[str] | None:
    if not isinstance(value, dict):
        return _as_texts(value)
    try:
        return [f"{path}={json.dumps(field, allow_nan=False)}" for path, field in value.items()]
    except (TypeError, ValueError) as error:
        raise ValueError("JSON cannot carry a date, a time, NaN or infinity") from error


_CONVERTERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.FLAG: _as_flag,
    Kind.INTEGER: _as_integer,
    Kind.NUMBER: _as_number,
    Kind.TEXT: _as_text,
    Kind.TEXTS: _as_texts,
    Kind.HEADERS: _as_headers,
    Kind.FIELDS: _as_fields,
    Kind.NAMES: _as_names,
}


def _reject_secret_headers(headers: Iterable[str]) -> None:
    for header in headers:
        name, colon, _ = header.partition(":")
        if not is_secret(name.strip()):
            continue
        named = ""
        if colon:  # without one, the secret itself may stand in what looks like the name
            named = f", also not in {name.strip()}"
        raise ValueError(f"keys are not stored in the file{named}; use api_key_file or api_key_cmd")


def _expand_home(path: str) -> str:
    """A path below the home directory, as a shell would have filled it in; the `@` of @FILE may stand before it."""
    sign, name = "", path
    if path.startswith("@"):
        sign, name = "@", path[1:]
    if name.startswith("~"):
        name = os.path.expanduser(name)
    return sign + name


def _describe_kind(value: Any) -> str:
    """What a value is, and what it holds, which may be the mistake."""
    members: Iterable[Any] = ()
    if isinstance(value, list):
        members = value
    elif isinstance(value, dict):
        members = value.values()
    kinds = dict.fromkeys(map(_name_kind, members))
    if not kinds:
        return _name_kind(value)
    return f"{_name_kind(value)} that holds {' and '.join(kinds)}"


def _name_kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")
