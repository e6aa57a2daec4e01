"""Errors in every shape that servers give them → what they say, the outcome they stand for, and the verdict.

In: JSON from an error reply or an event, and the HTTP status if there is one. Out: an `ApiError`, its `Verdict`.
Does no I/O. Shapes and codes: OpenAI, Azure, llama.cpp, vLLM, Mistral, Groq, OpenRouter, Venice, FastAPI, Gemini.
"""

from __future__ import annotations

from typing import Any

from oastream.display import one_line
from oastream.events.fields import Fields, dict_or_empty, int_or_zero, nonempty_str
from oastream.exits import TRANSIENT, Outcome, Verdict
from oastream.lenient_json import dumps

# Statuses that do not mean what others of their hundred do (`outcome_of_status`).
_BY_STATUS = {
    400: Outcome.BAD_REQUEST,
    401: Outcome.AUTH,
    402: Outcome.QUOTA,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    407: Outcome.CONFIG,  # the proxy's: its credentials are missing or wrong
    408: Outcome.SERVER_ERROR,  # this and the next may pass, so the SDK retries them, too
    409: Outcome.SERVER_ERROR,
    413: Outcome.BAD_REQUEST,
    415: Outcome.BAD_REQUEST,
    422: Outcome.BAD_REQUEST,
    425: Outcome.SERVER_ERROR,
    429: Outcome.RATE_LIMITED,
    501: Outcome.NOT_API,
    505: Outcome.NOT_API,
}


def _table(words: dict[Outcome, str]) -> dict[str, Outcome]:
    return {word: outcome for outcome, text in words.items() for word in text.split()}


# Codes and types that say more than the HTTP status beside them: 429 insufficient_quota cannot be cured by waiting, and
# 400 model_not_found not by another prompt.
_OUTRANKS_STATUS = _table(
    {
        Outcome.QUOTA: """insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded
            project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached
            billing_not_active insufficient_credits insufficient_balance payment_required quota_exceeded
            exceeded_current_quota_error""",
        Outcome.RATE_LIMITED: """rate_limit_exceeded rate_limit_error rate_limited slow_down too_many_requests
            resource_exhausted""",
        Outcome.AUTH: "invalid_api_key authentication_error invalid_authentication unauthenticated",
        Outcome.FORBIDDEN: "permission_error permission_denied unsupported_country_region_territory",
        Outcome.NOT_FOUND: """model_not_found not_found_error previous_response_not_found deploymentnotfound
            invalid_model""",
        Outcome.BAD_REQUEST: "context_length_exceeded exceed_context_size_error",
        Outcome.SERVER_ERROR: "overloaded overloaded_error server_is_overloaded engine_overloaded_error",
    }
)

# Those that count only where there is no HTTP status: for an error in a 200 body, or in an event.
_WITHOUT_STATUS = _table(
    {
        Outcome.BAD_REQUEST: """invalid_request_error invalid_request bad_request bad_request_error badrequesterror
            validation_error invalid_argument invalid_prompt invalid_image invalid_image_format invalid_base64_image
            invalid_image_url image_too_large image_too_small image_parse_error image_content_policy_violation
            invalid_image_mode image_file_too_large unsupported_image_media_type empty_image_file
            failed_to_download_image image_file_not_found content_filter content_policy_violation
            data_residency_mismatch bio_policy misalignment_policy_violation""",
        Outcome.AUTH: "unauthorized",
        Outcome.FORBIDDEN: "forbidden access_denied",
        Outcome.NOT_FOUND: "not_found",
    }
)


class ApiError:
    """What went wrong, in the server's words. `status` is one in the error itself, like OpenRouter's code.

    Not a named tuple: to create its class takes 700,000 instructions of every start-up.
    """

    __slots__ = ("code", "message", "param", "status", "type")

    def __init__(
        self,
        message: str,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        status: int | None = None,
    ) -> None:
        self.message = message
        self.code = code
        self.type = type
        self.param = param
        self.status = status

    @property
    def name(self) -> str | None:
        """The error's own name: its code, else its type."""
        return self.code or self.type

    def outcome(self, http_status: int | None = None) -> Outcome:
        """The outcome it stands for. The order is the contract's: telling words, the status, any other words."""
        words = [word.lower() for word in (self.code, self.type) if word]
        for word in words:
            if word in _OUTRANKS_STATUS:
                return _OUTRANKS_STATUS[word]
        status = http_status or self.status
        if status is not None:
            return outcome_of_status(status)
        for word in words:
            if word in _WITHOUT_STATUS:
                return _WITHOUT_STATUS[word]
        return Outcome.SERVER_ERROR  # nothing better is known, and a retry may help


def error_verdict(error: ApiError, http_status: int | None = None, after_output: bool = False) -> Verdict:
    """The verdict on an error that a server reported; `after_output` when part of the answer was received before."""
    outcome = error.outcome(http_status)
    should_retry = None
    if after_output:
        if outcome not in TRANSIENT:
            should_retry = False  # FAILED may be retried, but this error would only come again: no credit, say
        outcome = Outcome.FAILED
    detail = error.message
    if error.param is not None and error.param not in detail:
        detail = f"{detail} ({error.param})"
    return Verdict(
        outcome,
        _SUMMARIES.get(outcome, "the server failed"),
        one_line(detail),
        http_status=http_status or error.status,
        code=error.name,
        should_retry=should_retry,
    )


_SUMMARIES = {
    Outcome.BAD_REQUEST: "bad request",
    Outcome.AUTH: "the key is not accepted",
    Outcome.FORBIDDEN: "not permitted",
    Outcome.NOT_FOUND: "not found",
    Outcome.QUOTA: "no credit left",
    Outcome.REJECTED: "the server rejects the request",
    Outcome.NOT_API: "no such API there",
    Outcome.RATE_LIMITED: "rate limited",
    Outcome.SERVER_ERROR: "the server failed",
    Outcome.FAILED: "the answer failed",
}
"""The summary of the message for each outcome that a server can report."""


def outcome_of_status(status: int) -> Outcome:
    """The outcome of an HTTP status that is not 2xx, where nothing says more."""
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 400:
        return Outcome.NOT_API
    if status < 500:
        return Outcome.REJECTED
    return Outcome.SERVER_ERROR


def event_error(event: Fields, name: str = "") -> ApiError | None:
    """The error that an event or a chunk is or holds, if any; `name` is the type that the stream gave the event."""
    own_type = event.get("type")
    if name == "error" or own_type == "error" or event.get("object") == "error":
        return read_error(event) or ApiError(_as_text(event.get("message") or "no reason given"))
    if isinstance(own_type, str) and own_type.startswith("response."):
        return None  # whatever fields it has: the type says how the answer fares
    if event.get("error") or "base_resp" in event:
        return read_error(event)
    choices = event.get("choices")
    if isinstance(choices, list):
        return _error_in_choices(choices)
    if "detail" in event or ("message" in event and "code" in event):
        return read_error(event)
    return None


def _error_in_choices(choices: list[Any]) -> ApiError | None:
    """OpenRouter puts a provider's error into the choice. Whichever choice it is, the answer has failed.

    Asked of every chunk that is not text alone, so it makes no list of its own.
    """
    for choice in choices:
        if isinstance(choice, dict) and choice.get("error"):
            return read_error(choice)
    return None


def read_error(body: Any) -> ApiError | None:
    """The error in a JSON value, None when there is none."""
    if isinstance(body, list) and body:  # Gemini
        return read_error(body[0])
    if not isinstance(body, dict):
        return None
    inner = body.get("error")
    if isinstance(inner, dict):
        return _error_of_fields(inner)
    if isinstance(inner, str) and inner:
        return _error_of_fields({**body, "message": body.get("message") or inner, "code": body.get("code")})
    if isinstance(body.get("base_resp"), dict):
        return _base_resp_error(body["base_resp"])
    if body.get("detail"):  # FastAPI, the ChatGPT backend
        return ApiError(_detail_text(body["detail"]))
    if body.get("message"):
        return _error_of_fields(body)
    return None


_MINIMAX_STATUSES = {1002: 429, 1004: 401, 1008: 402}


def _base_resp_error(fields: Fields) -> ApiError | None:
    """MiniMax reports a status with every reply, 0 for success: platform.minimax.io, error codes."""
    code = fields.get("status_code")
    if not code:
        return None
    status = _MINIMAX_STATUSES.get(int_or_zero(code))
    return ApiError(_as_text(fields.get("status_msg") or f"status_code {code}"), code=_as_text(code), status=status)


def _error_of_fields(fields: Fields) -> ApiError:
    """An error by its fields. Servers swap code, type and status; words are names, and numbers are statuses."""
    own_type = fields.get("type")
    if own_type == "error":
        own_type = None  # it says what the object is, not what went wrong
    names = [name for name in map(_as_name, (fields.get("code"), own_type, fields.get("status"))) if name]
    code, type_name = (*names, None, None)[:2]
    return ApiError(
        _as_text(fields.get("message") or code or "no reason given"),
        code=code,
        type=type_name,
        param=_as_name(fields.get("param")),
        status=_status_of_fields(fields),
    )


def _status_of_fields(fields: Fields) -> int | None:
    for name in ("code", "status_code", "status", "raw_status_code"):
        status = _as_http_status(fields.get(name))
        if status is not None:
            return status
    return None


def _as_name(value: Any) -> str | None:
    """A code or type that is a word, None when it is a number or missing."""
    name = nonempty_str(value)
    if name is None or name.isdigit():
        return None
    return name


def _as_http_status(value: Any) -> int | None:
    """An HTTP status of 4xx or 5xx, as a number or as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    text = str(value)
    if len(text) == 3 and text.isascii() and text.isdigit() and text[0] in "45":
        return int(text)
    return None


def _detail_text(detail: Any) -> str:
    """FastAPI's `detail`: words, an object with a message, or a list with an entry for each invalid field."""
    if isinstance(detail, list):
        return "; ".join(map(_field_error_text, detail))
    if isinstance(detail, dict):
        return _as_text(detail.get("message") or detail)
    return _as_text(detail)


def _field_error_text(error: Any) -> str:
    return _as_text(dict_or_empty(error).get("msg", error))


def _as_text(value: Any) -> str:
    """Text as it is, anything else as JSON: it can be shown, however deep it is."""
    return value if isinstance(value, str) else dumps(value).decode()
