"""What the server shall do: options, a file of faults, or a `mock:` URL, read into a `Plan`.

In: texts that a user wrote. Out: a frozen `Plan`, or a ValueError of one clear line. Reads the files that are named
with `@FILE` and `--script`; knows nothing of events and sockets.

A script is a TOML file. Its top level may hold `reply`, `pace`, `delay`, `end` and `cycle`, which mean what the options
of those names mean (an option wins), and one `[[attempt]]` table for each attempt, in order; the last one repeats
(with `cycle = true`: they start over):

    reply = "The answer is 42."

    [[attempt]]                       # first: too many requests
    status = 429
    headers = { Retry-After = "1" }

    [[attempt]]                       # second: breaks off in the middle of the text
    cut_events = "half"
    cut = "rst"

    [[attempt]]                       # from the third on: all is well

An attempt is a request that is answered with the answer: POST of either API, or GET of a background response's stream.
Polls and cancels are counted on their own, with the tables that say `on = "poll"` or `on = "cancel"`.
The same on the command line: `--fault 'status=429,headers=Retry-After: 1' --fault cut_events=half,cut=rst --fault ok`.
An attempt without `end`, `status`, `body`, `raw` or `error` of its own ends as the top level says.

Events count from 0 as they are sent; `half` is the place after the middle piece of the text. The keys:

    on, end, reply, pace, delay                                   which attempt, what is said, how fast
    status, headers, body, raw                                    another reply than the answer
    stall_after, stall, comments, drip                            silence, keep-alive comments, single bytes
    cut_events, cut_bytes, cut, framing, keep_open                the connection's end
    duplicate, skip, reorder, malformed, huge, sequence           wrong events
    error, after, code, type, message                             an error event, or the words of an error body
    no_done, no_finish, endless                                   wrong ends of the stream
    replay, background                                            what becomes of a background response

`KEYS` says what each means, and `oastream-mock --help` prints it.
"""

from __future__ import annotations

import functools
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from oastream.exits import Outcome
from oastream.mock.answer import USAGE_KEYS, Answer, ToolCall
from oastream.mock.faults import DEADLINE_PACE, HALF, Fault
from oastream.mock.frames import json_text

HTML = "<!doctype html>\n<html><head><title>Welcome</title></head><body><h1>Please sign in</h1></body></html>\n"

ENDS: dict[Outcome, dict[str, Any]] = {
    Outcome.STOP: {},
    Outcome.LENGTH: {},
    Outcome.CONTENT_FILTER: {},
    Outcome.REFUSAL: {},
    Outcome.TOOL_CALLS: {},
    Outcome.SCHEMA: {},
    Outcome.OTHER: {},
    Outcome.EMPTY: {},
    Outcome.NO_TOOL_CALLS: {},
    Outcome.BAD_REQUEST: {"status": 400, "code": "unsupported_parameter", "message": "Unsupported parameter."},
    Outcome.AUTH: {"status": 401, "code": "invalid_api_key", "message": "Incorrect API key provided."},
    Outcome.CONFIG: {"status": 407, "message": "Proxy authentication required."},
    Outcome.FORBIDDEN: {"status": 403, "code": "unsupported_country_region_territory", "message": "Not supported."},
    Outcome.NOT_FOUND: {"status": 404, "code": "model_not_found", "message": "The model does not exist."},
    Outcome.QUOTA: {
        "status": 429,
        "type": "insufficient_quota",
        "code": "insufficient_quota",
        "message": "You exceeded your current quota, please check your plan and billing details.",
    },
    Outcome.REJECTED: {"status": 410, "message": "This endpoint is gone."},
    Outcome.NOT_API: {"status": 200, "body": HTML},
    Outcome.RATE_LIMITED: {"status": 429, "code": "rate_limit_exceeded", "message": "Rate limit reached."},
    Outcome.SERVER_ERROR: {"status": 500, "message": "The server had an error while processing your request."},
    Outcome.UNREACHABLE: {"raw": ""},
    Outcome.TIMEOUT: {"delay": math.inf},
    Outcome.INTERRUPTED: {"cut_events": HALF, "cut": "drop"},
    Outcome.IDLE: {"stall_after": HALF},
    Outcome.FAILED: {"error": "nested", "after": HALF, "message": "The model failed while it was answering."},
    Outcome.MALFORMED: {"malformed": HALF},
    Outcome.DEADLINE: {"endless": True},
}
"""Each end that a server can bring about, and the faults that do it; `answer` knows those that have none."""

_END_NAMES = {outcome.value: outcome for outcome in ENDS}
_HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110 5.6.2
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_OWN_ENDING = frozenset({"end", "status", "body", "raw", "error"})
_TOP_LEVEL = ("reply", "pace", "delay", "end", "cycle", "attempt")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the server does with each attempt, for each kind of request (keys: stream, poll, cancel).

    The last attempt repeats; with `cycle` they start over.
    """

    attempts: Mapping[str, tuple[Fault, ...]]
    cycle: bool = False

    def attempt(self, on: str, number: int) -> Fault:
        """The fault of the attempt of that kind and number, from 0."""
        faults = self.attempts.get(on) or (Fault(on),)
        return faults[number % len(faults) if self.cycle else min(number, len(faults) - 1)]


# --- values: each parser takes what TOML or the command line gives


def _seconds(value: object) -> float:
    number = _float(value)
    if math.isnan(number) or number < 0:
        raise ValueError("seconds, 0 or more, or inf")
    return number


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a number of seconds")
    try:
        return float(value)
    except ValueError:
        raise ValueError("a number of seconds") from None


def _period(value: object) -> float:
    seconds = _seconds(value)
    if not seconds:
        raise ValueError("more than 0 seconds")
    return seconds


def _count(value: object) -> int:
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise ValueError("a whole number, 0 or more")
    return int(text)


def _place(value: object) -> int:
    if value == "half":
        return HALF
    try:
        return _count(value)
    except ValueError:
        raise ValueError("the number of an event, or half") from None


def _places(value: object) -> tuple[int, ...]:
    parts = re.split(r"[+ ]+", value) if isinstance(value, str) else value if isinstance(value, list) else [value]
    return tuple(_count(part) for part in parts)


def _status(value: object) -> int:
    number = _count(value)
    if not 200 <= number <= 599:
        raise ValueError("an HTTP status, 200 to 599")
    return number


def _flag(value: object) -> bool:
    if value in (True, "true", "yes", "1"):
        return True
    if value in (False, "false", "no", "0"):
        return False
    raise ValueError("true or false")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return _file_text(value[1:]) if value.startswith("@") else value


def _file_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"a readable file: {path}: {getattr(error, 'strerror', None) or error}") from None


def _headers(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        pairs = [(str(name), str(text)) for name, text in value.items()]
    else:
        lines = [line.partition(":") for line in str(value).splitlines()]
        if not all(colon for _, colon, _ in lines):
            raise ValueError("HTTP headers, Name: value")
        pairs = [(name, text.strip()) for name, _, text in lines]
    if not all(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(text) for name, text in pairs):
        raise ValueError("HTTP headers, Name: value")
    return dict(pairs)


def _one_of(*names: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return str(value)

    return parse


def _reply(value: object) -> Answer:
    """A text, `@FILE`, or an Answer object (in TOML a table, in a file named .json an object)."""
    if isinstance(value, str) and value.startswith("@") and value.endswith(".json"):
        value = _json(_text(value))
    return _answer(value) if isinstance(value, dict) else Answer(_text(value))


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"a JSON file: {error}") from None


def _answer(value: dict[str, Any]) -> Answer:
    _known(value, ("text", "reasoning", "refusal", "tool_calls", "usage"), "in a reply")
    texts = {key: value.get(key, "") for key in ("text", "reasoning", "refusal")}
    usage = value.get("usage")
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(usage, (dict, type(None))):
        raise ValueError("an object with text, reasoning, refusal (texts), tool_calls (a list) and usage (an object)")
    return Answer(**texts, calls=tuple(map(_call, value.get("tool_calls", ()))), usage=usage and _usage(usage))


def _usage(value: dict[str, Any]) -> dict[str, int]:
    _known(value, USAGE_KEYS, "in usage")
    return {key: _count(number) for key, number in value.items()}


def _call(value: object) -> ToolCall:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("tool_calls as a list of {name, arguments} or {name, input}")
    _known(value, ("name", "arguments", "input"), "in a tool call")
    if "input" in value:
        return ToolCall(value["name"], str(value["input"]), custom=True)
    arguments = value.get("arguments", {})
    return ToolCall(value["name"], arguments if isinstance(arguments, str) else json_text(arguments))


def _end(value: object) -> str:
    if value not in _END_NAMES:
        raise ValueError(f"one of {', '.join(_END_NAMES)}")
    return str(value)


# --- keys


@dataclass(frozen=True, slots=True)
class Key:
    """A key of an attempt: how its value is read, and what it does."""

    parse: Callable[[object], object]
    help: str


KEYS: dict[str, Key] = {
    "on": Key(_one_of("stream", "poll", "cancel"), "stream | poll | cancel: which requests this is for (stream)"),
    "end": Key(_end, "how the answer ends, as --end"),
    "reply": Key(_reply, "what is said, as --reply"),
    "pace": Key(_seconds, "seconds between events"),
    "delay": Key(_seconds, "seconds before the head of the reply (inf: it never comes)"),
    "status": Key(_status, "HTTP status of a reply that is no answer, with `body` or an error as OpenAI words it"),
    "headers": Key(_headers, "headers of the reply, over the usual ones: Name: value (repeat the key for more)"),
    "body": Key(_text, "the reply's body, as it is, or @FILE"),
    "raw": Key(_text, "text or @FILE sent instead of any HTTP, then the end (empty: closes without a reply)"),
    "stall_after": Key(_place, "goes silent after so many events"),
    "stall": Key(_seconds, "for so many seconds (inf)"),
    "comments": Key(_period, "a `: keep-alive` comment every so many seconds, in every wait of the body"),
    "drip": Key(_seconds, "from `stall_after` on (0) one byte every so many seconds"),
    "cut_events": Key(_place, "the connection ends after so many events"),
    "cut_bytes": Key(_count, "the connection ends after so many bytes of the body"),
    "cut": Key(
        _one_of("fin", "drop", "rst", "chunk"),
        "how: fin (the body ends in good order), drop (FIN without the last chunk), rst, chunk (FIN inside a chunk)",
    ),
    "framing": Key(_one_of("chunked", "length", "close"), "how the body's end is told: chunked, length, close"),
    "keep_open": Key(_flag, "the body does not end after its last event"),
    "duplicate": Key(_places, "numbers of events that are sent twice: 3 or 3+5"),
    "skip": Key(_places, "numbers of events that are left out"),
    "reorder": Key(_places, "numbers of events that are sent after the one that follows them"),
    "malformed": Key(_place, "number of an event whose data is broken JSON"),
    "huge": Key(_count, "bytes of data in the first delta, by padding"),
    "sequence": Key(_one_of("none", "constant"), "none (no sequence numbers) or constant (all 0)"),
    "error": Key(
        _one_of("nested", "flat", "string", "event", "field", "choice", "failed"),
        "an error event, then the end: nested ({error: {...}}), flat, string ({error: text}), event (event: error),"
        " field (error: line), choice (Chat: in a choice), failed (Responses: response.failed)",
    ),
    "after": Key(_place, "after so many events (0)"),
    "code": Key(_text, "the error's code, in an event or in the body of a `status`"),
    "type": Key(_text, "the error's type"),
    "message": Key(_text, "the error's message"),
    "no_done": Key(_flag, "no [DONE] (Chat)"),
    "no_finish": Key(_flag, "no terminal event (Chat: no chunk with a finish_reason)"),
    "endless": Key(_flag, "the text begins anew, for ever"),
    "replay": Key(_flag, "false: a background response made by this attempt can be polled, not streamed again"),
    "background": Key(
        _one_of("queued", "ignored"),
        "queued (a request for a background response is answered with one JSON object whose status is queued, to be"
        " polled, even if it asks for a stream), ignored (it is answered as if it did not ask for the background)",
    ),
}


def _known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"no such key {where}: {name} (there are {', '.join(known)})")


def _read(key: str, value: object, where: str) -> Any:
    """A value by its key's parser; an error names the place, the key and the value."""
    try:
        return KEYS[key].parse(value)
    except ValueError as error:
        raise ValueError(f"{where}{key}: {_shown(value)} is not {error}") from None


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.replace("\n", " ")
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _fields(table: Mapping[str, object], where: str) -> dict[str, Any]:
    _known(table, KEYS, f"in {where.rstrip(': ')}")
    return {key: _read(key, value, where) for key, value in table.items()}


# --- plans


def plan(
    *,
    reply: str | None = None,
    pace: object = None,
    delay: object = None,
    end: str | None = None,
    script: str | None = None,
    faults: Iterable[str] = (),
    cycle: object = None,
) -> Plan:
    """The plan of a command line. A text of `faults` is one attempt; `script` is the path of a TOML file."""
    top, tables = _script(script) if script is not None else ({}, [])
    texts = list(faults)
    if texts and tables:
        raise ValueError("--fault and the attempts of --script: give one of them")
    given = {"reply": reply, "pace": pace, "delay": delay, "end": end}
    options = {key: _read(key, value, "--") for key, value in given.items() if value is not None}
    common = {**_fields({k: v for k, v in top.items() if k in given}, f"{script}: "), **options}
    attempts = tables or [_fault_fields(text) for text in texts] or [{}]
    return _assembled(common, attempts, _cycle(top.get("cycle", False) if cycle is None else cycle))


def _cycle(value: object) -> bool:
    try:
        return _flag(value)
    except ValueError as error:
        raise ValueError(f"cycle: {_shown(value)} is not {error}") from None


@functools.cache  # it is checked with the options and used later: what it names is read once
def plan_from_url(url: str) -> Plan:
    """The plan of a `mock:` URL, such as `mock:?end=length&pace=0.05`: the command line's options by name."""
    scheme, _, query = url.partition("?")
    if scheme != "mock:":
        raise ValueError("a mock URL is mock: or mock:?NAME=VALUE, with & before each further NAME")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = ("reply", "pace", "delay", "end", "script", "cycle")
    _known((name for name, _ in pairs), (*names, "fault"), "in a mock URL")
    given = {name: value for name, value in pairs if name != "fault"}
    return plan(**given, faults=[value for name, value in pairs if name == "fault"])


def _script(path: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        top = tomllib.loads(_file_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    except ValueError as error:
        raise ValueError(f"--script: not {error}") from None
    _known(top, _TOP_LEVEL, f"in {path}")
    tables = top.get("attempt", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: attempt: write [[attempt]], once for each")
    return top, [_fields(table, f"{path}: attempt {n}: ") for n, table in enumerate(tables, 1)]


_FLAGS = "|".join(name for name, key in KEYS.items() if key.parse is _flag)
_NEXT_KEY = re.compile(rf",(?=\s*(?:[a-z_]+=|(?:{_FLAGS})\s*(?:,|$)))")


def _fault_fields(text: str) -> dict[str, Any]:
    """One --fault. A comma parts two keys only where `name=` or a flag follows, so a value may hold commas."""
    if text.strip() in ("", "ok"):
        return {}
    table: dict[str, str] = {}
    for part in re.split(_NEXT_KEY, text):
        key, equals, value = part.strip().partition("=")
        value = value if equals else "true"
        joined = "\n" if key == "headers" else "+"
        table[key] = f"{table[key]}{joined}{value}" if key in table else value
    return _fields(table, "--fault: ")


def _assembled(common: Mapping[str, Any], attempts: Iterable[dict[str, Any]], cycle: bool) -> Plan:
    faults = [_fault(common, attempt) for attempt in attempts]
    if not any(fault.on == "stream" for fault in faults):
        faults.append(_fault(common, {}))
    kinds = ("stream", "poll", "cancel")
    return Plan({kind: tuple(fault for fault in faults if fault.on == kind) for kind in kinds}, cycle)


def _fault(common: Mapping[str, Any], attempt: dict[str, Any]) -> Fault:
    if attempt.get("on", "stream") != "stream":
        common = {}
    end = attempt.get("end", "stop" if _OWN_ENDING & set(attempt) else common.get("end", "stop"))
    fields = {**common, **ENDS[_END_NAMES[end]], **attempt, "end": end}
    if fields.get("endless") and not fields.get("pace"):
        fields["pace"] = DEADLINE_PACE
    if fields.get("endless") and fields.get("framing") == "length":
        raise ValueError("framing: an endless answer has no length")
    return Fault(**fields)
