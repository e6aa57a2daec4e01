"""A reply that is no 2xx → the verdict: what its body says, what its status means, when to come back.

In: status, headers, the first bytes of the body. Out: a `Verdict`. Does no I/O.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from oastream.api_error import ApiError, read_error
from oastream.decode import error_verdict, page_title
from oastream.endpoint import is_loopback
from oastream.exits import Outcome, Verdict
from oastream.lenient_json import parse_json
from oastream.text import one_line


def rejection(status: int, headers: Mapping[str, str], body: bytes, url: SplitResult) -> Verdict:
    """The verdict of a reply with an HTTP status that is not 2xx; `url` is the one that was asked for."""
    error = said(body)
    if 300 <= status < 400:
        error = ApiError(f"redirected to {_target(headers.get('location', ''))}, which is not followed")
    verdict = error_verdict(error or ApiError(f"HTTP {status}"), status)
    if status == 407:
        verdict = verdict._replace(what="the proxy wants credentials")
    if verdict.outcome is Outcome.NOT_FOUND and not (error and error.code):
        verdict = verdict._replace(hint=_where_else(url.path))
    host = url.hostname or ""
    if verdict.outcome is Outcome.AUTH and not (host.endswith("openai.com") or is_loopback(host)):
        verdict = verdict._replace(hint=f"is the key one for {host}?")
    may_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    return verdict._replace(retry_after=retry_after(headers), should_retry=may_retry)


def _where_else(path: str) -> str:
    """What a user may have meant when there is nothing at the path."""
    if "/v1/" not in path:
        return "most base URLs end in /v1"
    return "a server without the Responses API needs --api chat" if path.endswith("/responses") else ""


def said(body: bytes) -> ApiError | None:
    """The error in the body of an error reply: JSON in any shape, an event, a page, or plain text."""
    text = body.strip()
    if not text:
        return None
    for line in (text, *(line[5:] for line in text.splitlines() if line.startswith(b"data:"))):
        try:
            error = read_error(parse_json(line))
        except ValueError:
            continue
        if error is not None:
            return error
    if text.startswith(b"<"):
        return ApiError(page_title(text))
    return ApiError(one_line(text.decode("utf-8", "replace"), 200))


LONGEST_WAIT = 1e9
"""Seconds. A server that asks for more means never, and so long a wait is beyond any budget."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: retry-after-ms, Retry-After in seconds or as a date.

    From 0 to `LONGEST_WAIT`; None when it does not say, or nothing that can be understood.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * scale
        except ValueError:
            continue
        if not math.isnan(seconds):
            return min(max(0.0, seconds), LONGEST_WAIT)
    return _seconds_until(headers["retry-after"]) if headers.get("retry-after") else None


def _seconds_until(date: str) -> float | None:
    """Seconds until an HTTP date; None for one that no calendar has."""
    import email.utils  # 15 ms, for a date only

    try:
        parsed = email.utils.parsedate_to_datetime(date)
        return min(max(0.0, parsed.timestamp() - time.time()), LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _target(location: str) -> str:
    """The host of a redirect; the rest of the URL may hold secrets."""
    try:
        return one_line(urlsplit(location).hostname or "another path", 100)
    except ValueError:
        return "another place"
