"""What becomes of a batch of OpenAI's Batch API, by the clock: its statuses, its counts, the lines that it answers.

In: the lines of an input file, what a user asked for (`BatchRules`), moments. Out: OpenAI's batch object at a moment,
and which lines are answered in the end. Knows nothing of requests and replies, nor of how a line is answered; nothing
runs meanwhile, so a batch needs no thread. Sources: https://platform.openai.com/docs/guides/batch and the OpenAPI
description; codes of validation as users report them.
"""

from __future__ import annotations

import enum
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from oastream.mock.events import Json
from oastream.mock.limits import Setting
from oastream.mock.values import parse_seconds, parse_text

WINDOW = 86400
"""Seconds that a batch has: the only window there is, 24h."""
MOST_LINES = 50_000
MOST_CANCELLING = 1.0
"""Seconds that it takes to cancel a batch, at most."""
STEPS = ("upload", "create", "retrieve", "content", "list", "list-files", "cancel", "delete")
"""The requests that can be lost or stalled."""


class BatchEnd(enum.Enum):
    """How a batch ends. Those after `cancelled` are codes with which it fails at validation."""

    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    TOKEN_LIMIT = "token_limit_exceeded"
    MODEL_NOT_FOUND = "model_not_found"
    BILLING = "billing_hard_limit_reached"


_REFUSALS = {
    BatchEnd.TOKEN_LIMIT: "Enqueued token limit reached for {model} in organization oastream-mock. Limit: 0 enqueued "
    "tokens. Please try again once some in_progress batches have been completed.",
    BatchEnd.MODEL_NOT_FOUND: "The provided model '{model}' is not supported by the Batch API.",
    BatchEnd.BILLING: "Billing hard limit has been reached.",
}


def _split(value: object) -> list[str]:
    return [part.strip() for part in str(value).replace(" ", "+").split("+")]


def _parse_ends(value: object) -> tuple[BatchEnd, ...]:
    by_name = {end.value: end for end in BatchEnd}
    names = _split(value)
    if not all(name in by_name for name in names):
        raise ValueError(f"one or more of {', '.join(by_name)}")
    return tuple(by_name[name] for name in names)


def _parse_steps(*prefixes: str) -> Callable[[object], tuple[str, ...]]:
    known = [prefix + step for step in STEPS for prefix in prefixes]

    def parse(value: object) -> tuple[str, ...]:
        steps = _split(value)
        if not all(step in known for step in steps):
            raise ValueError(f"one or more of {', '.join(known)}")
        return tuple(steps)

    return parse


class BatchRules(NamedTuple):
    """What shall become of batches. `time` is in seconds."""

    time: float = 0.0
    ends: tuple[BatchEnd, ...] = (BatchEnd.COMPLETED,)
    invalid: str | None = None
    lost: tuple[str, ...] = ()
    stalled: tuple[str, ...] = ()


SETTINGS = {
    "batch_time": Setting("time", parse_seconds),
    "batch_end": Setting("ends", _parse_ends),
    "batch_invalid": Setting("invalid", parse_text),
    "batch_lose": Setting("lost", _parse_steps("")),
    "batch_stall": Setting("stalled", _parse_steps("before-", "after-")),
}
"""Names in a script and a `mock:` URL, and with hyphens as options → the field of `BatchRules`."""


class BatchScript:
    """Which end the next batch has, and which requests are still to be lost or stalled."""

    def __init__(self, rules: BatchRules) -> None:
        self.rules = rules
        self._lock = threading.Lock()
        self._created = 0
        self._lost = list(rules.lost)
        self._stalled = list(rules.stalled)

    def next_end(self) -> BatchEnd:
        with self._lock:
            number = min(self._created, len(self.rules.ends) - 1)
            self._created += 1
        return self.rules.ends[number]

    def loses(self, step: str) -> bool:
        """Whether the reply to this request gets lost. Each is, once."""
        return self._take(self._lost, step)

    def stalls(self, step: str) -> bool:
        """Whether this request is never replied to; `step` has `before-` or `after-`."""
        return self._take(self._stalled, step)

    def _take(self, steps: list[str], step: str) -> bool:
        with self._lock:
            if step not in steps:
                return False
            steps.remove(step)
            return True


class Line(NamedTuple):
    """A line of the input that can be answered."""

    custom_id: str
    body: Any


# --- validation


def read_lines(data: bytes, endpoint: str, invalid: str | None) -> tuple[list[Line], list[Json]]:
    """The lines of an input file, and what is wrong with the others, as the batch's `errors.data`."""
    lines: list[Line] = []
    errors: list[Json] = []
    ids: set[str] = set()
    models: set[str] = set()
    for number, text in enumerate(_text_lines(data), 1):
        found = _check_line(text, endpoint, ids, models)
        if invalid is not None and invalid.encode() in text:
            found = _problem("invalid_request", "This line is not valid.", None)
        if isinstance(found, Line):
            lines.append(found)
        else:
            errors.append({**found, "line": number})
    if not lines and not errors:
        errors.append({**_problem("empty_file", "The batch file is empty.", None), "line": None})
    if len(lines) > MOST_LINES:
        errors.append({**_problem("too_many_requests", f"More than {MOST_LINES} requests.", None), "line": None})
    return lines, errors


def _text_lines(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if line.strip())


def _problem(code: str, message: str, param: str | None) -> Json:
    return {"code": code, "message": message, "param": param}


def _check_line(text: bytes, endpoint: str, ids: set[str], models: set[str]) -> Line | Json:
    """The line, or what is wrong with it; `ids` and `models` are those of the lines before."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _problem("invalid_json_line", "This line is not parseable as valid JSON.", None)
    if not isinstance(value, dict):
        return _problem("invalid_json_line", "This line is not a JSON object.", None)
    custom_id, body = value.get("custom_id"), value.get("body")
    if not isinstance(custom_id, str) or not custom_id:
        return _problem("missing_required_parameter", "Missing required parameter: custom_id.", "custom_id")
    if custom_id in ids:
        return _problem("duplicate_custom_id", "The custom_id is a duplicate of another request.", "custom_id")
    if value.get("method") != "POST":
        return _problem("invalid_method", "The only supported method is POST.", "method")
    if value.get("url") != endpoint:
        return _problem("invalid_url", "The URL does not match the endpoint of the batch.", "url")
    if not isinstance(body, dict):
        return _problem("missing_required_parameter", "Missing required parameter: body.", "body")
    model = body.get("model")
    if not isinstance(model, str):
        return _problem("missing_required_parameter", "Missing required parameter: model.", "body.model")
    ids.add(custom_id)
    models.add(model)
    if len(models) > 1:
        return _problem("mismatched_model", "The model differs from that of other requests.", "body.model")
    return Line(custom_id, body)


# --- the batch


class Batch:
    """One batch. `created` is Unix time, `request` its id, metadata and the like: what the client said of it.

    A quarter of its time it is validated, for half of it items are answered, the rest is for its files.
    """

    def __init__(
        self,
        request: Json,
        lines: list[Line],
        errors: list[Json],
        end: BatchEnd,
        seconds: float,
        clock: Callable[[], float],
        created: int,
    ) -> None:
        self.lines = lines
        self.files: Json | None = None
        """Ids of its files, once they are made, and how many items have failed."""
        self.lock = threading.Lock()
        self._request = request
        self._end = end
        self._errors = errors or _refusal(end, lines)
        self._seconds = seconds
        self._clock = clock
        self._began = clock()
        self._created = created
        self._cancelled_at: float | None = None

    @property
    def batch_id(self) -> str:
        return str(self._request["id"])

    @property
    def status(self) -> str:
        """OpenAI's word for where it is now."""
        age = self._clock() - self._began
        if self._cancelled_at is not None:
            return "cancelled" if age >= self._cancelled_at + min(self._seconds / 4, MOST_CANCELLING) else "cancelling"
        if age < self._seconds / 4:
            return "validating"
        if self._errors:
            return "failed"
        if age < self._seconds * 3 / 4:
            return "in_progress"
        return "finalizing" if age < self._seconds else self._end.value

    @property
    def has_files(self) -> bool:
        """Whether it has ended in a way that leaves files."""
        return self.status in ("completed", "expired", "cancelled")

    def count_done(self) -> int:
        """How many of its lines are answered by now: all in the end, half if it expires or somebody cancels it."""
        total = len(self.lines)
        age = self._clock() - self._began
        if self._cancelled_at is not None:
            age = self._cancelled_at
        if self._errors or age < self._seconds / 4:
            return 0
        share = 1.0
        if self._seconds:
            share = min(1.0, (age - self._seconds / 4) / (self._seconds / 2))
        if self._end is not BatchEnd.COMPLETED:
            share /= 2
        return int(total * share)

    def cancel(self) -> bool:
        """Begin to cancel it. False if it has ended."""
        status = self.status
        if status not in ("validating", "in_progress", "finalizing"):
            return status in ("cancelling", "cancelled")
        self._cancelled_at = self._clock() - self._began
        return True

    def describe(self, status: str | None = None) -> Json:
        """The batch object now; or as it is created, when it is being validated whatever its time is."""
        status = status or self.status
        is_begun = status not in ("validating", "failed")
        files = self.files or {}
        failed = files.get("failed", 0)
        done = self.count_done() if is_begun else 0
        has_failed = status == "failed"
        return {
            "object": "batch",
            "errors": {"object": "list", "data": self._errors} if has_failed else None,
            "completion_window": "24h",
            "status": status,
            "output_file_id": files.get("output"),
            "error_file_id": files.get("errors"),
            "created_at": self._created,
            "expires_at": self._created + WINDOW,
            **self._moments(status),
            "request_counts": {
                "total": len(self.lines) if is_begun else 0,
                "completed": done - failed,
                "failed": failed,
            },
            "model": self.lines[0].body["model"] if self.lines else None,
            **self._request,
        }

    def _moments(self, status: str) -> Json:
        """When it came to what it has been; to the second, and for those that it has passed only."""
        reached = {
            "in_progress": ("in_progress", "finalizing", "completed", "expired"),
            "finalizing": ("finalizing", "completed"),
            "cancelling": ("cancelling", "cancelled"),
        }
        moments: Json = {}
        for name in ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"):
            is_reached = status in reached.get(name, (name,))
            moments[f"{name}_at"] = self._created + int(self._seconds) if is_reached else None
        return moments


def _refusal(end: BatchEnd, lines: list[Line]) -> list[Json]:
    """The error of a batch that is refused as a whole."""
    words = _REFUSALS.get(end)
    if words is None or not lines:
        return []
    return [{**_problem(end.value, words.format(model=lines[0].body["model"]), None), "line": None}]
