"""How a run ends: the outcomes, their exit statuses, and the error that carries one.

In: what another module found out, by name. Out: a `Verdict`, and from it the number the shell sees.
Knows nothing of networks, APIs or formats. The tables of statuses in README and man page are made from here.
"""

import enum
from collections.abc import Collection
from typing import NamedTuple


class Outcome(enum.Enum):
    """How a run ended. The value is the name that users see; it never changes once shipped."""

    __hash__ = object.__hash__  # Enum's own is Python code; each look-up in a table by outcome would run it

    STOP = "stop"
    INTERNAL = "internal"
    USAGE = "usage"
    CONFIG = "config"
    INPUT = "input"
    OUTPUT = "output"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    TOOL_CALLS = "tool_calls"
    SCHEMA = "schema"
    OTHER = "other"
    EMPTY = "empty"
    NO_TOOL_CALLS = "no_tool_calls"
    NO_CODE = "no_code"
    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    QUOTA = "quota"
    REJECTED = "rejected"
    NOT_API = "not_api"
    TLS = "tls"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    IDLE = "idle"
    FAILED = "failed"
    MALFORMED = "malformed"
    DEADLINE = "deadline"
    SOME_FAILED = "some_failed"
    ABORTED = "aborted"
    JOURNAL = "journal"
    SIGNAL = "signal"


# Outcome -> (exit status, meaning). A signal has no number of its own: the process dies of it.
TABLE: dict[Outcome, tuple[int, str]] = {
    Outcome.STOP: (0, "complete answer, every byte written; with --format tools at least one call"),
    Outcome.INTERNAL: (1, "a bug in oastream"),
    Outcome.USAGE: (2, "bad options"),
    Outcome.CONFIG: (
        6,
        "no key, unreadable key or CA file, bad proxy or configuration value, a proxy that requires credentials (407)",
    ),
    Outcome.INPUT: (8, "stdin, prompt, history, schema, tools or attached file cannot be used; nothing sent"),
    Outcome.OUTPUT: (9, "stdout or the -o file cannot be written; outranks every other status"),
    Outcome.LENGTH: (10, "the answer was cut at the maximum number of tokens"),
    Outcome.CONTENT_FILTER: (11, "the answer was cut by the content filter"),
    Outcome.REFUSAL: (12, "the model declined; its words are the text"),
    Outcome.TOOL_CALLS: (13, "the model called a tool, and the format was not tools"),
    Outcome.SCHEMA: (14, "complete, but not valid against the schema"),
    Outcome.OTHER: (15, "ended for an unknown reason, named on stderr"),
    Outcome.EMPTY: (16, "complete, with nothing but reasoning"),
    Outcome.NO_TOOL_CALLS: (17, "--format tools, but the model answered in text"),
    Outcome.NO_CODE: (18, "--extract, but the answer has no such code block"),
    Outcome.BAD_REQUEST: (20, "the server rejects the request (400, 413, 415, 422), or the context is too long"),
    Outcome.AUTH: (21, "the key is not accepted (401)"),
    Outcome.FORBIDDEN: (22, "not permitted (403), by the server or by a proxy"),
    Outcome.NOT_FOUND: (23, "unknown model or address (404)"),
    Outcome.QUOTA: (24, "no credit left (402, 429 with a billing code)"),
    Outcome.REJECTED: (25, "any other 4xx"),
    Outcome.NOT_API: (26, "no such API there: redirect, HTML, not HTTP, 501, 505"),
    Outcome.TLS: (27, "the certificate is not trusted, or the TLS handshake fails"),
    Outcome.RATE_LIMITED: (30, "too many requests (429)"),
    Outcome.SERVER_ERROR: (31, "the server failed or is overloaded (5xx, 408, 409, 425)"),
    Outcome.UNREACHABLE: (32, "DNS, connection refused or reset, proxy unreachable, no reply"),
    Outcome.TIMEOUT: (33, "no connection, no first event in time, or --max-time before any output"),
    Outcome.INTERRUPTED: (40, "the stream ended without a terminal event"),
    Outcome.IDLE: (41, "no event for --idle-timeout"),
    Outcome.FAILED: (42, "the server reported an error after output began"),
    Outcome.MALFORMED: (43, "an event that is not a JSON object, too large, or contradicts what was printed"),
    Outcome.DEADLINE: (44, "--max-time passed after output began"),
    Outcome.SOME_FAILED: (50, "batch: some items have no plain answer"),
    Outcome.ABORTED: (51, "batch: no item has an answer, or the run was aborted; the same command resumes it"),
    Outcome.JOURNAL: (52, "batch: the answers file is in use, damaged, or belongs to other requests; nothing sent"),
}

ANSWERED = frozenset(o for o, (number, _) in TABLE.items() if number == 0 or 10 <= number < 20)
"""Outcomes that bring a whole answer, plain or not."""

TRANSIENT = frozenset(o for o, (number, _) in TABLE.items() if 30 <= number < 44)
"""Outcomes after which the same request may do better."""


BROKEN_OFF = frozenset(o for o, (number, _) in TABLE.items() if 40 <= number < 50)
"""Outcomes of an answer that began and is not whole."""


class Verdict(NamedTuple):
    """How a run ended and why, in words.

    `summary` and `detail` make the line on stderr; `more_lines` follow it, `hint` is the last. The rest is what the
    server said: `http_status` its status, `code` the error's own code or type, `retry_after` in seconds,
    `should_retry` its word on a retry. `signal` is the number of the signal that ended the run.
    """

    outcome: Outcome
    summary: str = ""
    detail: str = ""
    hint: str = ""
    http_status: int | None = None
    code: str | None = None
    more_lines: tuple[str, ...] = ()
    request_id: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None
    signal: int | None = None

    @property
    def has_answer(self) -> bool:
        """Whether there is a whole answer, plain or not."""
        return self.outcome in ANSWERED

    @property
    def retryable(self) -> bool:
        """Whether the same request may do better later, by the outcome and by the server's own word."""
        if self.should_retry is not None and self._retry_is_the_servers_to_say():
            return self.should_retry
        return self.outcome in TRANSIENT and self.should_retry is not False

    def _retry_is_the_servers_to_say(self) -> bool:
        """`x-should-retry` may allow a retry for these statuses; never for one that only money changes."""
        status = self.http_status or 0
        return self.outcome is not Outcome.QUOTA and (status >= 500 or status in (408, 409, 429))

    @property
    def message(self) -> str:
        """The line for stderr, without the program's name."""
        words = ": ".join(part for part in (self.summary, self.detail) if part)
        if self.request_id:
            return f"{words} [{self.request_id}]"
        return words

    def with_hint(self, hint: str) -> "Verdict":
        """The same, with a hint after the one it has."""
        return self._replace(hint="; ".join(filter(None, (self.hint, hint))))


class Failure(Exception):
    """Ends the run, or one attempt of it, with a verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


def failure_of(outcome: Outcome, summary: str, detail: object = "", hint: str = "") -> Failure:
    """A `Failure` from its words alone."""
    return Failure(Verdict(outcome, summary, str(detail), hint))


def internal_error(error: Exception) -> Failure:
    """What no part of the program expects."""
    detail = f"{type(error).__name__}: {error}"
    return failure_of(Outcome.INTERNAL, "internal error", detail, "this is a bug in oastream; please report it")


def error_fields(verdict: Verdict) -> dict[str, str | int | float | bool | None]:
    """What went wrong, for a program to read: `error` in the records of a run."""
    return {
        "kind": verdict.outcome.value,
        "message": verdict.message,
        "status": verdict.http_status,
        "code": verdict.code,
        "request_id": verdict.request_id,
        "retryable": verdict.retryable,
        "retry_after": verdict.retry_after,
    }


def exit_status(verdict: Verdict, accepted: Collection[Outcome] = ()) -> int:
    """The number that the shell shows; `accepted` are the outcomes named with --ok."""
    if verdict.signal is not None:
        return 128 + verdict.signal
    if verdict.outcome in accepted:
        return 0
    return TABLE[verdict.outcome][0]
