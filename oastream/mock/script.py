"""What the server shall do: options, a file of faults, or a `mock:` URL, read into a `Plan`.

In: texts that a user wrote. Out: a frozen `Plan`, or a ValueError of one clear line. Reads the files that are named
with `@FILE` and `--script`; knows nothing of events and sockets.

A script is a TOML file. Its top level may hold `reply`, `pace`, `delay`, `end`, `cycle` and the names of
`SETTINGS`, which mean what the options of those names mean (an option wins), and one `[[attempt]]` table per
attempt, in order; the last one repeats (with `cycle = true`: they start over):

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

Events count from 0 as they are sent; `half` is the place after the middle piece of the text. `keys.KEYS` has the keys
of an attempt, and `oastream-mock --help` prints them.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from oastream.exits import Outcome
from oastream.mock import batches, limits
from oastream.mock.batches import BatchRules
from oastream.mock.endings import ENDS
from oastream.mock.faults import DEADLINE_PACE, AttemptKind, Fault, Framing
from oastream.mock.keys import KEYS, parse_named, read_fields, read_value
from oastream.mock.limits import Limits, Setting, read_settings
from oastream.mock.values import check_names, parse_flag, read_file

COMMON_KEYS = ("reply", "pace", "delay", "end")
"""Keys that may stand at the top, for every attempt that has none of its own; each is an option too."""
SETTINGS = {**limits.SETTINGS, **batches.SETTINGS}
"""What concerns all requests together, by name: limits, and what becomes of batches."""
NEEDS: dict[str, tuple[str, ...]] = {
    "limit_window": ("rpm", "tpm"),
    "limit_refill": ("rpm", "tpm"),
    "limit_headers": ("rpm", "tpm"),
    "gone_after": ("gone",),
    "gone_status": ("gone",),
}
"""A setting → the others of which it needs one, to do anything at all."""
_TOP_LEVEL = (*COMMON_KEYS, "cycle", *SETTINGS, "attempt")
_URL_NAMES = (*COMMON_KEYS, "script", "cycle", *SETTINGS, "fault")
_ENDS_BY_ITSELF = frozenset({"end", "status", "body", "raw", "error"})


class Plan(NamedTuple):
    """What the server does with each attempt, for each kind of request, and with all of them together.

    The last attempt repeats; with `cycle` they start over.
    """

    attempts: Mapping[AttemptKind, tuple[Fault, ...]]
    cycle: bool = False
    limits: Limits = Limits()
    batches: BatchRules = BatchRules()

    def attempt(self, on: AttemptKind, number: int) -> Fault:
        """The fault of the attempt of that kind and number, from 0."""
        faults = self.attempts.get(on) or (Fault(on),)
        if self.cycle:
            return faults[number % len(faults)]
        return faults[min(number, len(faults) - 1)]


def plan_from_options(
    *,
    reply: str | None = None,
    pace: object = None,
    delay: object = None,
    end: str | None = None,
    script: str | None = None,
    faults: Iterable[str] = (),
    cycle: object = None,
    **settings: object,
) -> Plan:
    """The plan of a command line. A text of `faults` is one attempt; `script` is the path of a TOML file.

    `settings` are those of `SETTINGS`.
    """
    top: dict[str, Any] = {}
    tables: list[dict[str, Any]] = []
    if script is not None:
        top, tables = _read_script(script)
    texts = list(faults)
    if texts and tables:
        raise ValueError("--fault and the attempts of --script: give one of them")
    given = {"reply": reply, "pace": pace, "delay": delay, "end": end}
    options = {key: read_value(key, value, "--") for key, value in given.items() if value is not None}
    in_file = {key: value for key, value in top.items() if key in COMMON_KEYS}
    common = {**read_fields(in_file, f"{script}: "), **options}
    attempts = tables or [_read_fault(text) for text in texts] or [{}]
    if cycle is None:
        cycle = top.get("cycle", False)
    plan = _make_plan(common, attempts, parse_named(parse_flag, cycle, "cycle"))

    def read(table: Mapping[str, Setting]) -> dict[str, Any]:
        return {**read_settings(table, top, f"{script}: "), **read_settings(table, settings, "--")}

    plan = plan._replace(limits=Limits(**read(limits.SETTINGS)), batches=BatchRules(**read(batches.SETTINGS)))
    _reject_idle(settings, {**top, **settings})
    return plan


def _reject_idle(typed: Mapping[str, object], given: Mapping[str, object]) -> None:
    """Raise `ValueError` for a setting that was typed, and lacks what it is about."""
    for name, others in NEEDS.items():
        if typed.get(name) is not None and all(given.get(other) is None for other in others):
            needed = " or ".join(f"--{other}" for other in others)
            raise ValueError(f"--{name.replace('_', '-')} needs {needed}")


@functools.cache  # it is checked with the options and used later: what it names is read once
def plan_from_url(url: str) -> Plan:
    """The plan of a `mock:` URL, such as `mock:?end=length&pace=0.05`: the command line's options by name."""
    scheme, _, query = url.partition("?")
    if scheme != "mock:":
        raise ValueError("a mock URL is mock: or mock:?NAME=VALUE, with & before each further NAME")
    pairs = parse_qsl(query, keep_blank_values=True)
    check_names((name for name, _ in pairs), _URL_NAMES, "in a mock URL")
    given: dict[str, Any] = {name: value for name, value in pairs if name != "fault"}
    return plan_from_options(**given, faults=[value for name, value in pairs if name == "fault"])


def _read_script(path: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The top level of a script, and the fields of its attempts."""
    try:
        top = tomllib.loads(read_file(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not TOML: {error}") from None
    except ValueError as error:
        raise ValueError(f"--script: not {error}") from None
    check_names(top, _TOP_LEVEL, f"in {path}")
    tables = top.get("attempt", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{path}: attempt: write [[attempt]], once for each")
    return top, [read_fields(table, f"{path}: attempt {number}: ") for number, table in enumerate(tables, 1)]


_FLAGS = "|".join(name for name, key in KEYS.items() if key.parse is parse_flag)
# A key is recognised by its form and not by its name, so that a misspelt one is told, and not part of a value.
_NEXT_KEY = re.compile(rf",(?=\s*(?:[a-z_]+=|(?:{_FLAGS})\s*(?:,|$)))")


def _read_fault(text: str) -> dict[str, Any]:
    """One --fault. A comma parts two keys only where `name=` or a flag follows, so a value may hold commas."""
    if not text.strip():
        raise ValueError("--fault: the value is empty; ok is an attempt without a fault")
    if text.strip() == "ok":
        return {}
    table: dict[str, str] = {}
    for part in re.split(_NEXT_KEY, text):
        key, equals, value = part.strip().partition("=")
        if not equals:
            value = "true"
        if key in table:  # a list, in the form in which its parser splits it
            separator = "\n" if key == "headers" else "+"
            value = f"{table[key]}{separator}{value}"
        table[key] = value
    return read_fields(table, "--fault: ")


def _make_plan(common: Mapping[str, Any], attempts: Iterable[dict[str, Any]], cycle: bool) -> Plan:
    faults = [_make_fault(common, attempt) for attempt in attempts]
    if not any(fault.on is AttemptKind.STREAM for fault in faults):
        faults.append(_make_fault(common, {}))  # those for polls and cancels say nothing of the answer itself
    return Plan({kind: tuple(fault for fault in faults if fault.on is kind) for kind in AttemptKind}, cycle)


def _make_fault(common: Mapping[str, Any], attempt: dict[str, Any]) -> Fault:
    """The fault of an attempt, from the weakest to the strongest: the top level, what its end means, its own keys."""
    if attempt.get("on", AttemptKind.STREAM) is not AttemptKind.STREAM:
        common = {}
    end = _choose_end(common, attempt)
    fields = {**common, **ENDS[end], **attempt, "end": end}
    if fields.get("endless") and not fields.get("pace"):
        fields["pace"] = DEADLINE_PACE  # without a pace it would fill the client's memory
    if fields.get("endless") and fields.get("framing") is Framing.LENGTH:
        raise ValueError("framing: an endless answer has no length")
    return Fault(**fields)


def _choose_end(common: Mapping[str, Any], attempt: Mapping[str, Any]) -> Outcome:
    if "end" in attempt:
        end: Outcome = attempt["end"]
    elif _ENDS_BY_ITSELF & set(attempt):
        end = Outcome.STOP
    else:
        end = common.get("end", Outcome.STOP)
    return end
