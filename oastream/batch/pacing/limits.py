"""Rate limits as servers show them in the headers of a reply, in every spelling.

In: headers, names in lower case, and the wall clock's time for resets that are dates. Out: a `Limit` for each that is
shown with what is left of it. Knows of no server by name, remembers nothing, and has no clock of its own.

A header's name is taken apart into words, so that their order and the family's prefix do not matter:
`x-ratelimit-remaining-tokens-minute` (Cerebras, Mistral), `anthropic-ratelimit-input-tokens-remaining`,
`x-ratelimit-limit-req-minute`. A name with a word that is not known is passed over: it is another kind of limit.
"""

from __future__ import annotations

import enum
import functools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from oastream.attempts.retry_after import read_duration


class Resource(enum.Enum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input tokens"
    OUTPUT_TOKENS = "output tokens"


class Limit(NamedTuple):
    """One limit, as one reply shows it. Times are in seconds; None is what the server does not say.

    `name` tells it from others of its resource: the headers' words without the kind of value.
    """

    name: str
    resource: Resource
    limit: float
    remaining: float
    resets_in: float | None = None
    window: float | None = None


_FAMILIES = {
    "x-ratelimit": Resource.REQUESTS,
    "ratelimit": Resource.REQUESTS,
    "anthropic-ratelimit": Resource.REQUESTS,
    "x-tokenlimit": Resource.TOKENS,  # Together
    "ratelimitbysize": Resource.TOKENS,  # Mistral
    "x-ratelimitbysize": Resource.TOKENS,
}
"""Prefix of a family → what it counts when its names do not say."""

_RESOURCES = {
    "requests": Resource.REQUESTS,
    "request": Resource.REQUESTS,
    "req": Resource.REQUESTS,
    "tokens": Resource.TOKENS,
    "input": Resource.INPUT_TOKENS,
    "prompt": Resource.INPUT_TOKENS,
    "output": Resource.OUTPUT_TOKENS,
    "generated": Resource.OUTPUT_TOKENS,
}
_WINDOWS = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
    "month": 2592000.0,
    "prompt": 1.0,  # Fireworks counts these two by the second, and says so only in its documentation
    "generated": 1.0,
}
_VALUES = {"limit", "remaining", "reset", "renewalperiod"}
_OTHER_WORDS = {"project"}  # OpenAI: the project's share of the organization's limit

_NAME = re.compile(rf"({'|'.join(_FAMILIES)})-([a-z-]+)")
_FIRST_NUMBER = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*(?:[,;].*)?")

_EARLIEST_EPOCH = 1e9
"""A reset from here on is a moment: no wait of seconds lasts 30 years."""
_EARLIEST_EPOCH_MS = 1e12  # OpenRouter


def read_limits(headers: Mapping[str, str], wall_time: float) -> list[Limit]:
    """The limits that are shown with both their size and what is left."""
    groups: dict[_Group, dict[str, str]] = {}
    for header, value in headers.items():
        if "limit" not in header:  # most headers: not worth a look-up
            continue
        place = _place_of(header)
        if place is not None:
            group, kind = place
            groups.setdefault(group, {})[kind] = value
    limits = [_as_limit(group, values, wall_time) for group, values in groups.items()]
    return [limit for limit in limits if limit is not None]


_NAMED_LIMIT = re.compile(r"(requests|tokens) per (min|day)[^:]{0,20}: Limit:? (\d{1,15})(?:, Used:? (\d{1,15}))?")
_NAMES_TOKENS = re.compile(r"tokens? (?:per|rate)|(?:input|output) tokens|\bTPM\b|\"type\": ?\"tokens\"")


def read_named_limit(body: str) -> Limit | None:
    """The limit that the message of a 429 names, as OpenAI and Groq do, who need not show it in headers."""
    found = _NAMED_LIMIT.search(body)
    if found is None:
        return None
    size, used = float(found[3]), float(found[4] or found[3])
    window = _WINDOWS["minute"] if found[2] == "min" else _WINDOWS["day"]
    return Limit(found[0], _RESOURCES[found[1]], size, max(0.0, size - used), None, window)


def read_named_resource(body: str) -> Resource | None:
    """What a 429 says there was too much of."""
    return Resource.TOKENS if _NAMES_TOKENS.search(body) else None


class _Group(NamedTuple):
    """What the headers of one limit have in common."""

    name: str
    resource: Resource
    window: float | None


@functools.lru_cache(maxsize=256)  # the same dozen names come with each reply
def _place_of(header: str) -> tuple[_Group, str] | None:
    """The limit that a header is about, and which of its values it holds."""
    parts = _NAME.fullmatch(header)
    if parts is None:
        return None
    family, words = parts[1], set(parts[2].split("-"))
    kinds = words & _VALUES
    names = words - _VALUES
    if len(kinds) != 1 or not names <= {*_RESOURCES, *_WINDOWS, *_OTHER_WORDS}:
        return None
    window = next((_WINDOWS[word] for word in sorted(names) if word in _WINDOWS), None)
    name = " ".join([family, *sorted(names)])
    return _Group(name, _resource_of(family, names), window), kinds.pop()


def _resource_of(family: str, words: set[str]) -> Resource:
    """The narrowest one named (`input` before `tokens`), else the family's own."""
    named = {_RESOURCES[word] for word in words if word in _RESOURCES}
    for resource in (Resource.INPUT_TOKENS, Resource.OUTPUT_TOKENS, Resource.TOKENS, Resource.REQUESTS):
        if resource in named:
            return resource
    return _FAMILIES[family]


def _as_limit(group: _Group, values: Mapping[str, str], wall_time: float) -> Limit | None:
    limit, remaining = (_read_number(values.get(kind, "")) for kind in ("limit", "remaining"))
    if not limit or remaining is None:  # a limit of 0 is how some servers write that there is none
        return None
    resets_in = _read_reset(values.get("reset", ""), wall_time)
    window = group.window or _read_number(values.get("renewalperiod", "")) or None  # the latter is Azure's
    return Limit(group.name, group.resource, limit, remaining, resets_in, window)


def _read_number(text: str) -> float | None:
    """The number at the beginning; the IETF's draft lets policies follow it: `10, 10;w=1`."""
    found = _FIRST_NUMBER.fullmatch(text)
    return float(found[1]) if found else None


def _read_reset(text: str, wall_time: float) -> float | None:
    """Seconds until a reset: a duration with units, seconds, a moment in seconds or milliseconds, an RFC 3339 date."""
    text = text.strip()
    seconds = read_duration(text)
    if seconds is not None:
        return seconds
    number = _read_number(text)
    if number is not None and number < _EARLIEST_EPOCH:
        return number
    if number is not None:
        return max(0.0, (number / 1000 if number >= _EARLIEST_EPOCH_MS else number) - wall_time)
    return _seconds_until(text, wall_time)


def _seconds_until(date: str, wall_time: float) -> float | None:
    """Seconds until an RFC 3339 date (Anthropic)."""
    import datetime  # 2 ms, for a date only

    try:
        moment = datetime.datetime.fromisoformat(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        seconds = moment.timestamp() - wall_time
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
