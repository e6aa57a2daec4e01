"""A reply that is no 2xx → the verdict: what its body says, what its status means, when to come back.

In: status, headers, the first bytes of the body, the request. Out: a `Verdict`. Does no I/O.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit, urlunsplit

import orjson

from oastream.attempts.retry_after import read_retry_after
from oastream.display import one_line
from oastream.events.api_error import ApiError, error_verdict, read_error
from oastream.events.json_body import page_title
from oastream.exits import Outcome, Verdict
from oastream.http.authority import is_loopback
from oastream.http.credentials import looks_unset
from oastream.http.request import Request
from oastream.lenient_json import parse_json
from oastream.redaction import credentials_in, mask_url

_SHOULD_RETRY = {"true": True, "false": False}
"""What x-should-retry may say: OpenAI's servers send it, and know better than the status."""


def http_error_verdict(status: int, headers: Mapping[str, str], body: bytes, request: Request) -> Verdict:
    """The verdict of a reply to `request` with an HTTP status that is not 2xx."""
    error = error_in_body(body, status)
    if 300 <= status < 400:
        error = ApiError(f"redirected to {_redirect_target(headers.get('location', ''))}; redirects are not followed")
    verdict = error_verdict(error or ApiError(f"HTTP {status}"), status)
    if status == 407:
        hint = "its URL needs them, or others than it has: http://USER:PASSWORD@HOST:PORT"
        verdict = verdict._replace(summary="the proxy requires credentials", hint=hint)
    if 300 <= status < 400:
        verdict = verdict._replace(hint=_redirect_hint(headers.get("location", ""), request.url))
    if status == 405:
        verdict = verdict._replace(hint=_address_hint(request.url))
    if verdict.outcome is Outcome.NOT_FOUND:
        verdict = verdict._replace(hint=_not_found_hint(error, request))
    if verdict.outcome is Outcome.AUTH:
        verdict = verdict._replace(hint=_key_hint(request))
    should_retry = _SHOULD_RETRY.get(headers.get("x-should-retry", "").lower())
    return verdict._replace(retry_after=read_retry_after(headers, time.time()), should_retry=should_retry)


# Hints -----------------------------------------------------------------------------------------------------------


def _key_hint(request: Request) -> str:
    """Where the key came from that is not accepted, and whether it was meant for another server."""
    host = request.url.hostname or ""
    is_foreign = not (host.endswith("openai.com") or is_loopback(host))
    if request.key_source and any(map(looks_unset, credentials_in(request.headers, request.url))):
        return f"the key came from {request.key_source}, and looks like the placeholder of an example or a file's name"
    if request.key_source and is_foreign:
        return f"the key came from {request.key_source}; is it one for {host}?"
    if request.key_source:
        return f"the key came from {request.key_source}"
    if not credentials_in(request.headers, request.url):
        return "no key was sent; set OPENAI_API_KEY or use --api-key-file"
    if is_foreign:
        return f"is the key one for {host}?"
    return ""


def _not_found_hint(error: ApiError | None, request: Request) -> str:
    """What a user may have meant: another model, where the error is about that, or another address."""
    model = _model_in(request.body)
    if error is not None and _is_about_model(error, model):
        return _model_hint(model)
    if error is not None and error.code and error.code.lower() not in _ABOUT_THE_ADDRESS:
        return ""
    hint = _address_hint(request.url)
    if not hint and model and request.url.path.endswith(_CHAT):
        return f"is there Chat Completions, and a model {model}? --api responses, --list-models"
    return hint or _model_hint(model)


_ABOUT_THE_ADDRESS = ("invalid_request_error", "unknown_url", "not_found", "not_found_error")
"""Codes and types of a 404 that say no more than its status."""
_CHAT = "/chat/completions"
_PATHS = (_CHAT, "/responses", "/models")


def _is_about_model(error: ApiError, model: str) -> bool:
    if "model" in (error.code or ""):
        return True
    return bool(model) and model in error.message


def _model_hint(model: str) -> str:
    if not model:
        return ""
    return f"the model was {model}; oastream --list-models lists the server's models"


def _model_in(body: bytes) -> str:
    """The model that a request asks for; "" for a request without a body, or with one that names none."""
    try:
        model = orjson.loads(body).get("model")
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    if not isinstance(model, str):
        return ""
    return one_line(model, 100)


def _address_hint(url: SplitResult) -> str:
    """What a user may have meant when there is nothing at the URL."""
    path = url.path
    api_path = next((end for end in _PATHS if path.endswith(end)), "")
    base = path.removesuffix(api_path)
    for given in _PATHS:
        if api_path and base.endswith(given):
            right = mask_url(urlunsplit(url._replace(path=base.removesuffix(given), query="")))
            chat = " --api chat" if given == _CHAT and api_path != _CHAT else ""
            return f"the base URL ends without {given}, which is added to it: --base-url {right}{chat}"
    if "/v1/" not in path:
        return "most base URLs end in /v1"
    if api_path == "/responses":
        return "a server without the Responses API needs --api chat"
    if api_path == "/models":
        return "the server has no list of models, or the base URL is not right"
    return ""


def _redirect_hint(location: str, url: SplitResult) -> str:
    """The base URL that a server sends a request to, where it is its own: no key goes to another by our advice."""
    try:
        target = urlsplit(location)
        is_same = target.hostname == url.hostname and not target.username
    except ValueError:
        return ""
    api_path = next((end for end in _PATHS if target.path.endswith(end)), "")
    if not is_same or not api_path or (target.scheme, target.path) == (url.scheme, url.path):
        return ""
    right = urlunsplit(target._replace(path=target.path.removesuffix(api_path), query="", fragment=""))
    return f"try --base-url {one_line(mask_url(right), 200)}"


# What the body says ----------------------------------------------------------------------------------------------


def error_in_body(body: bytes, status: int) -> ApiError | None:
    """The error in the body of an error reply: JSON in any shape, an event, a page, or plain text.

    A page and plain text come from what stands before the API: the HTTP status is the better part of what they say.
    """
    text = body.strip()
    if not text:
        return None
    for candidate in (text, *_event_data(text)):
        try:
            error = read_error(parse_json(candidate))
        except ValueError:
            continue
        if error is not None:
            return error
    words = _words_of(text)
    if str(status) in words:
        return ApiError(words)
    return ApiError(f"HTTP {status}: {words}")


def _event_data(text: bytes) -> list[bytes]:
    """The data of the events, where a body is a stream of them: some servers stream an error too."""
    return [line[5:] for line in text.splitlines() if line.startswith(b"data:")]


def _words_of(text: bytes) -> str:
    if text.startswith(b"<"):
        return page_title(text)
    return one_line(text.decode("utf-8", "replace"), 200)


def _redirect_target(location: str) -> str:
    """The host of a redirect; the rest of the URL may hold secrets."""
    try:
        return one_line(urlsplit(location).hostname or "another path", 100)
    except ValueError:
        return "another place"
