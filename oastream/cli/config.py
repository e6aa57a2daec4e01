"""The configuration file: TOML → layers of defaults below the command line; and where each value came from.

In: the file's path, the name of a profile, the options by name and kind. Out: layers, the strongest first, with values
that are checked for their kind; and the listing of --show-config. Knows nothing of Click, and takes no key as text.
"""

from __future__ import annotations

import enum
import json
import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from oastream.exits import Failure, Outcome, failure_of
from oastream.redaction import is_secret

PROFILES = "profile"
"""The table that holds the profiles, each a table of its own."""
_KEYS_AS_TEXT = ("api_key", "openai_api_key")


class Kind(enum.Enum):
    """What a key of the file takes. The value says so to the user."""

    FLAG = "true or false"
    INTEGER = "a whole number"
    NUMBER = "a number"
    TEXT = "a text"
    TEXTS = "a text or a list of texts"
    HEADERS = "a list of texts or a table of texts"
    FIELDS = "a list of texts or a table"
    NAMES = "a text or a list of names and numbers"


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
    """The file's layers, the profile's first. Raises `Failure` with outcome config for a file that is off."""
    content = _read(path)
    if content is None:
        if profile is not None:
            raise bad(f"no such profile: {profile}", f"there is no {path}")
        return []
    table = _parsed(content, path)
    profiles = table.pop(PROFILES, {})
    if not isinstance(profiles, dict):
        raise bad(f"bad {PROFILES} in {path}", f"it must be a table of profiles, not {_kind_of(profiles)}")
    file: Layer = ("file", path), _values(table, path, settings)
    if profile is None:
        return [file]
    if not isinstance(profiles.get(profile), dict):
        raise bad(f"no such profile: {profile}", f"{path} has {_listed(profiles)}")
    chosen = _values(profiles[profile], f"{path}, profile {profile}", settings)
    return [(("profile", profile), chosen), file]


def bad(what: str, why: object = "", hint: str = "") -> Failure:
    """A configuration that cannot be used."""
    return failure_of(Outcome.CONFIG, what, why, hint)


# The file --------------------------------------------------------------------------------------------------------


def _read(path: str) -> bytes | None:
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):
            raise bad(f"cannot read {path}", "it is not a regular file")  # whose writer nobody would wait for
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        from oastream.system_errors import describe_error  # only to say what went wrong

        raise bad(f"cannot read {path}", describe_error(error)) from error


def _parsed(content: bytes, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise bad(f"{path} is not UTF-8", f"byte 0x{content[error.start]:02x} at offset {error.start}") from error
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits is a ValueError of Python's own
        text = str(error).partition("; use sys.")[0]
        raise bad(f"{path} is not TOML", text[:1].lower() + text[1:]) from error


def _values(table: Mapping[str, Any], where: str, settings: Mapping[str, Setting]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in table.items():
        setting = settings.get(key.replace("-", "_"))
        if setting is None:
            raise _unknown(key, where, settings)
        if setting.name in values:
            raise bad(f"{where} sets {key} twice", f"it is another name of {_spelled(setting.name)}")
        try:
            values[setting.name] = _checked(setting, value)
        except ValueError as error:
            raise bad(f"bad {key} in {where}", error) from error
    return values


def _unknown(key: str, where: str, settings: Mapping[str, Setting]) -> Failure:
    if key.replace("-", "_").lower() in _KEYS_AS_TEXT:
        why = "keys are not stored in the file"
        return bad(f"bad {key} in {where}", why, "api_key_file names a file that holds it, api_key_cmd a command")
    import difflib  # for the message only

    near = difflib.get_close_matches(key.replace("-", "_"), [PROFILES, *settings], 1)
    return bad(
        f"unknown key {key!r} in {where}", f"did you mean {_spelled(near[0])}?" if near else "no option has this name"
    )


def _listed(profiles: Mapping[str, Any]) -> str:
    names = sorted(name for name, table in profiles.items() if isinstance(table, dict))
    return ", ".join(names) if names else "none"


def _spelled(name: str) -> str:
    return name.replace("_", "-")


# Values ----------------------------------------------------------------------------------------------------------


def _checked(setting: Setting, value: Any) -> Any:
    """The value as the command line would have given it. Raises `ValueError` for one of another kind."""
    made = _converted(setting.kind, value)
    if made is None:
        raise ValueError(f"it must be {setting.kind.value}, not {_kind_of(value)}")
    if setting.kind is Kind.HEADERS:
        _check_headers(made)
    if setting.is_path:
        if "\0" in "".join(made):
            raise ValueError("a file name cannot contain a null byte")
        return [_expanded(text) for text in made] if isinstance(made, list) else _expanded(made)
    return made


def _converted(kind: Kind, value: Any) -> Any:
    """None for a value of another kind."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    match kind:
        case Kind.FLAG:
            return value if isinstance(value, bool) else None
        case Kind.INTEGER:
            return value if whole else None
        case Kind.NUMBER:
            return value if whole or isinstance(value, float) else None
        case Kind.TEXT:
            return value if isinstance(value, str) else None
        case Kind.NAMES:
            names = [value] if isinstance(value, str | int) else value
            fit = isinstance(names, list) and all(type(name) in (str, int) for name in names)
            return ",".join(map(str, names)) if fit else None
    if isinstance(value, dict) and kind is not Kind.TEXTS:
        return _pairs(kind, value)
    texts = [value] if isinstance(value, str) else value
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None


def _pairs(kind: Kind, table: Mapping[str, Any]) -> list[str] | None:
    """A table in the form that the command line has: `Name: value`, or `PATH=JSON`."""
    if kind is Kind.HEADERS:
        fit = all(isinstance(value, str) for value in table.values())
        return [f"{name}: {value}" for name, value in table.items()] if fit else None
    try:
        return [f"{path}={json.dumps(value, allow_nan=False)}" for path, value in table.items()]
    except (TypeError, ValueError) as error:
        raise ValueError("JSON cannot carry a date, a time, NaN or infinity") from error


def _check_headers(headers: Iterable[str]) -> None:
    for header in headers:
        name, colon, _ = header.partition(":")
        if is_secret(name.strip()):
            named = f", also not in {name.strip()}" if colon else ""  # without a colon the value may be in it
            raise ValueError(f"keys are not stored in the file{named}; use api_key_file or api_key_cmd")


def _expanded(path: str) -> str:
    """A path below the home directory, which a shell would have filled in; `@` may stand before it."""
    at = "@" if path.startswith("@") else ""
    rest = path.removeprefix("@")
    return at + (os.path.expanduser(rest) if rest.startswith("~") else rest)


def _kind_of(value: Any) -> str:
    """What a value is, and what it holds, which may be the mistake."""
    if isinstance(value, list | dict) and value:
        members = value.values() if isinstance(value, dict) else value
        kinds = dict.fromkeys(map(_kind_alone, members))
        return f"{_kind_alone(value)} that holds {' and '.join(kinds)}"
    return _kind_alone(value)


def _kind_alone(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")
