"""Errors as the APIs word them: the object in a body or an event, and the exception that ends the work on a request.

In: a status, a message, the names of fields. Out: OpenAI's error object. Knows nothing of replies or events.
"""

from __future__ import annotations

import enum

from oastream.mock.events import Json


class ErrorShape(enum.StrEnum):
    """How a stream reports an error; the values are those of the key `error`."""

    NESTED = "nested"  # {"error": {…}}
    FLAT = "flat"  # the error's fields beside the event's type
    STRING = "string"  # {"error": "text"}
    EVENT = "event"  # an `event: error` line over a bare message
    FIELD = "field"  # an `error:` line instead of `data:`, as llama.cpp sent it until 2025-09
    CHOICE = "choice"  # on Chat inside a choice whose finish_reason is `error`; on Responses as FAILED
    FAILED = "failed"  # on Responses as response.failed alone; on Chat as CHOICE


class ApiError(Exception):
    """The client gets this status and error object instead of what it asked for."""

    def __init__(self, status: int, message: str, **fields: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.error = error_object(status, message, **fields)


class BadRequest(ApiError):
    """The body is no request that can be answered; `param` is the path of the field that is wrong."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, param=param, code=code)


def error_object(status: int, message: str, **fields: str | None) -> Json:
    """All four fields are always there, null where nothing is known, as OpenAI sends them."""
    return {"message": message, "type": _error_type(status), "param": None, "code": None, **fields}


def _error_type(status: int) -> str:
    if status == 429:
        return "requests"
    if status < 500:
        return "invalid_request_error"
    return "server_error"
