"""What somebody meant who typed something else: other spellings, and the words of other tools.

In: what was typed, and what there is. Out: the end of a message, "" where nothing is near. Only for messages: nothing
imports it before one is needed. Knows no option but those in its table, each with what takes its place here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from oastream.http.authority import is_loopback

_NEAR = 0.65
"""Below it a name is no misspelling: --modle is as near to --hold as to nothing."""
_MARGIN = 0.1
"""What is farther from the typed word than the nearest name by this is not worth naming."""

_KEY = "keys are not typed, where others could see them: set OPENAI_API_KEY or use --api-key-file"
_BY_PROMPT = "the prompt is what is no option: oastream 'Hello'"
_BY_ORGANIZATION = "set OPENAI_ORG_ID"
_BY_SET = "any field of the request is set with --set"
ELSEWHERE = {
    "-H": "here it is --header",
    "-N": "nothing is buffered anyway",
    "-O": "here it is -o",
    "-V": "here it is --version",
    "-X": "the method is always POST",
    "-c": "here it is --history FILE",
    "-d": "here it is --body",
    "-g": _BY_PROMPT,
    "-i": "here it is --file or --attach",
    "-k": _KEY,
    "-l": "here it is --list-models",
    "-p": _BY_PROMPT,
    "-r": "the answer's text is always raw",
    "-t": "here it is --temperature, or --tools",
    "-u": _KEY,
    "--api-base": "here it is --base-url",
    "--api-key": _KEY,
    "--api-key-cmd": "set OASTREAM_API_KEY_CMD, or api_key_cmd in config.toml",
    "--attachment": "here it is --attach",
    "--chat": "here it is --history FILE, or --api chat",
    "--code": "here it is --extract",
    "--continue": "here it is --history FILE",
    "--conversation": "here it is --history FILE",
    "--data": "here it is --body",
    "--effort": "here it is --reasoning-effort",
    "--endpoint": "here it is --base-url",
    "--fragment": "here it is --file",
    "--functions": "here it is --tools, with their JSON Schemas",
    "--image": "here it is --attach",
    "--jobs": "here it is --concurrency",
    "--json": "here it is --format json",
    "--key": _KEY,
    "--message": _BY_PROMPT,
    "--no-stream": "here it is --hold",
    "--option": "any field of the request is set with --set, as in --set temperature=0.5",
    "--org": _BY_ORGANIZATION,
    "--organization": _BY_ORGANIZATION,
    "--prompt": _BY_PROMPT,
    "--proxy": "set HTTPS_PROXY",
    "--raw": "the answer's text is always raw",
    "--repl": "each run is one turn; --history FILE keeps the conversation",
    "--schema-file": "here it is --schema",
    "--seed": f"{_BY_SET}, as in --set seed=5",
    "--shell": "here it is --extract=sh; nothing is ever run",
    "--stop": f"{_BY_SET}, as in --set 'stop=[\"END\"]'",
    "--stream": "the answer always streams",
    "--timeout": "here it is --max-time for the whole run, --first-event-timeout or --idle-timeout",
    "--token": _KEY,
    "--url": "here it is --base-url",
    "--threads": "here it is --concurrency",
    "--workers": "here it is --concurrency",
    "--user": f"{_BY_SET}, as in --set user=ann",
}
"""Options of curl, llm, openai, sgpt and mods → what does here what they do there."""

_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SIZES = {"k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def nearest(typed: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names that a misspelling is near to, the nearest first, whatever the case."""
    lowered = {name.lower(): name for name in known}
    typed = typed.lower()
    found = difflib.get_close_matches(typed, lowered, most, _NEAR)
    if not found:
        return []
    least = _likeness(typed, found[0]) - _MARGIN
    return [lowered[name] for name in found if _likeness(typed, name) >= least]


def _likeness(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, second, first).ratio()


def did_you_mean(names: list[str]) -> str:
    """The names as the end of a message."""
    if not names:
        return ""
    *others, last = names
    if others:
        return f"; did you mean {', '.join(others)} or {last}?"
    return f"; did you mean {last}?"


def in_place_of(option: str, known: Collection[str]) -> str:
    """What does here what this option does in other tools, as the end of a message; "" where this program cannot."""
    words = ELSEWHERE.get(option, "")
    if not words or any(name not in known for name in re.findall(r"--[a-z][a-z-]*", words)):
        return ""
    return f"; {words}"


# Values ----------------------------------------------------------------------------------------------------------


def as_plain_seconds(text: str) -> str:
    """Seconds that somebody wrote with a unit, as the end of a message."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.lower())
    clock = re.fullmatch(r"(\d+):([0-5]\d)", text)
    if parts and parts[2] in _SECONDS:
        return f"; {text} is {float(parts[1]) * _SECONDS[parts[2]]:g}"
    if clock:
        return f"; {text} is {int(clock[1]) * 60 + int(clock[2])}"
    return ""


def as_plain_number(text: str) -> str:
    """A number that somebody wrote as people do, as the end of a message."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.lower())
    if parts and parts[2] in _SIZES:
        return f"; {text} is {float(parts[1]) * _SIZES[parts[2]]:.0f}"
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return f"; write {text.replace(',', '')}"
    if re.fullmatch(r"-?\d+,\d+", text):
        return f"; write {text.replace(',', '.')}"
    return ""


def as_whole_url(text: str) -> str:
    """The URL that a base URL without its scheme stands for, as the end of a message."""
    bare = text.strip(" \t\n\"'“”‘’<>")
    if bare in ("mock", "local"):
        return f"; did you mean {bare}:?"
    scheme, separator, rest = bare.partition(":/")
    if not separator:
        scheme, rest = "", bare
    if scheme.lower() not in ("http", "https"):
        scheme = (nearest(scheme, ("http", "https"), 1) or [""])[0]
    rest = rest.lstrip("/")
    try:
        parts = urlsplit(f"//{rest}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ""
    is_host = "." in host or ":" in rest or host == "localhost"
    if (separator and not scheme) or not is_host or parts.username or not re.fullmatch(r"[\w.-]+", host):
        return ""
    path = parts.path.rstrip("/") or "/v1"
    return f"; did you mean {scheme or _scheme_for(host)}://{parts.netloc.rstrip(':')}{path}?"


def _scheme_for(host: str) -> str:
    if is_loopback(host):
        return "http"
    return "https"
