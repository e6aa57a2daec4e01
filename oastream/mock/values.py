"""The values of a script's keys: each parser takes what TOML or the command line gives.

In: a text, or a value of TOML's types. Out: the value that a `Fault` has, or a ValueError that says what it must be, in
words that go on from "… is not". Reads the files that are named with `@FILE`. Knows nothing of keys.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from oastream.exits import Outcome
from oastream.mock.answer import USAGE_KEYS, Answer, ToolCall
from oastream.mock.endings import ENDS
from oastream.mock.events import json_text
from oastream.mock.faults import HALF

_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110 5.6.2
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_END_NAMES = {outcome.value: outcome for outcome in ENDS}

Member = TypeVar("Member", bound=enum.Enum)


def check_names(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises ValueError for a name that is unknown, with those that are known."""
    for name in names:
        if name not in known:
            near = _suggest(name, known)
            raise ValueError(f"no such key {where}: {name}{near or ';'} known keys: {', '.join(known)}")


def _suggest(typed: str, known: Iterable[str]) -> str:
    """The name that a misspelt one is near to, as the end of a message."""
    from oastream.suggestions import did_you_mean, nearest  # for the message only

    return did_you_mean(nearest(typed, known, 1))


# --- numbers


def parse_seconds(value: object) -> float:
    number = _parse_number(value)
    if math.isnan(number) or number < 0:
        raise ValueError("seconds, 0 or more, or inf")
    return number


def _parse_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a number of seconds")
    try:
        return float(value)
    except ValueError:
        from oastream.suggestions import as_plain_seconds  # for the message only

        raise ValueError(f"a number of seconds{as_plain_seconds(str(value))}") from None


def parse_interval(value: object) -> float:
    seconds = parse_seconds(value)
    if not seconds:
        raise ValueError("more than 0 seconds")
    return seconds


def parse_count(value: object) -> int:
    # isdigit alone lets other scripts' digits pass, and int() blanks and underscores.
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise ValueError("a whole number, 0 or more")
    return int(text)


def parse_rate(value: object) -> int:
    try:
        number = parse_count(value)
    except ValueError:
        number = 0
    if not number:
        raise ValueError("a whole number, 1 or more")
    return number


def parse_status(value: object) -> int:
    number = parse_count(value)
    if not 200 <= number <= 599:
        raise ValueError("an HTTP status, 200 to 599")
    return number


def parse_port(value: object) -> int:
    try:
        number = parse_count(value)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ValueError("a port, 0 to 65535")
    return number


# --- places in the answer


def parse_place(value: object) -> int:
    if value == "half":
        return HALF
    try:
        return parse_count(value)
    except ValueError:
        raise ValueError("the number of an event, or half") from None


def parse_places(value: object) -> tuple[int, ...]:
    """One number, a list of them in TOML, or 3+5 on the command line, where a comma ends the value."""
    if isinstance(value, str):
        return tuple(parse_count(part) for part in re.split(r"[+ ]+", value))
    if isinstance(value, list):
        return tuple(parse_count(part) for part in value)
    return (parse_count(value),)


# --- words


def parse_flag(value: object) -> bool:
    if value in (True, "true", "yes", "1"):
        return True
    if value in (False, "false", "no", "0"):
        return False
    raise ValueError("true or false")


def member_of(members: type[Member]) -> Callable[[object], Member]:
    """A parser of the values of an enum."""
    by_name = {member.value: member for member in members}
    return lambda value: _look_up(value, by_name)


def parse_end(value: object) -> Outcome:
    return _look_up(value, _END_NAMES)


def _look_up(value: object, by_name: dict[str, Member]) -> Member:
    if not isinstance(value, str) or value not in by_name:
        raise ValueError(f"one of {', '.join(by_name)}{_suggest(str(value), by_name)}")
    return by_name[value]


def parse_text(value: object) -> str:
    """A text, or with @FILE that of a file."""
    if not isinstance(value, str):
        raise ValueError("a text")
    if value.startswith("@"):
        return read_file(value[1:])
    return value


def read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"a readable file: {path}: {why}") from None


def parse_headers(value: object) -> dict[str, str]:
    """A table in TOML; on the command line `Name: value`, one a line where the key was repeated."""
    headers = _split_headers(value)
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(text) for name, text in headers.items()):
        raise ValueError("HTTP headers, Name: value")
    return headers


def _split_headers(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): str(text) for name, text in value.items()}
    lines = [line.partition(":") for line in str(value).splitlines()]
    if not all(colon for _, colon, _ in lines):
        raise ValueError("HTTP headers, Name: value")
    return {name: text.strip() for name, _, text in lines}


# --- replies


def parse_reply(value: object) -> Answer:
    """A text, `@FILE`, or an answer as an object (in TOML a table, in a file named .json an object)."""
    if isinstance(value, str) and value.startswith("@") and value.endswith(".json"):
        value = _parse_json(parse_text(value))
    if isinstance(value, dict):
        return _parse_answer(value)
    return Answer(parse_text(value))


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"a JSON file: {error}") from None


def _parse_answer(value: dict[str, Any]) -> Answer:
    check_names(value, ("text", "reasoning", "refusal", "tool_calls", "usage"), "in a reply")
    texts = {key: value.get(key, "") for key in ("text", "reasoning", "refusal")}
    usage = value.get("usage")
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(usage, (dict, type(None))):
        raise ValueError("an object with text, reasoning, refusal (texts), tool_calls (a list) and usage (an object)")
    calls = tuple(_parse_call(call) for call in value.get("tool_calls", ()))
    return Answer(**texts, calls=calls, usage=usage and _parse_usage(usage))


def _parse_usage(value: dict[str, Any]) -> dict[str, int]:
    check_names(value, USAGE_KEYS, "in usage")
    return {key: parse_count(number) for key, number in value.items()}


def _parse_call(value: object) -> ToolCall:
    """A call of a function, whose arguments may be an object or its JSON text, or with `input` of a custom tool."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("tool_calls as a list of {name, arguments} or {name, input}")
    check_names(value, ("name", "arguments", "input"), "in a tool call")
    if "input" in value:
        return ToolCall(value["name"], str(value["input"]), custom=True)
    arguments = value.get("arguments", {})
    if not isinstance(arguments, str):
        arguments = json_text(arguments)
    return ToolCall(value["name"], arguments)
