"""A line of a batch's output or error file → what came of its item, as the recorder takes it.

In: a line, the item's work. Out: a `FetchedAnswer` with its verdict, by the rules of any answer that comes in one
piece. Raises `ValueError` for a line that is none. Writes nothing.
"""

from __future__ import annotations

from typing import Any

from oastream.attempts.http_error import http_error_verdict
from oastream.batch.reading import Reading
from oastream.batch.runner import Work
from oastream.events.api_error import ApiError, error_verdict
from oastream.exits import Failure, Outcome, Verdict
from oastream.http.request import Request
from oastream.lenient_json import dumps, parse_exactly

_NOT_EXECUTED = ("batch_expired", "batch_cancelled")
"""Codes of items that the batch did not come to."""


class FetchedAnswer:
    """What a batch has for one item. There are no times: nobody knows when it was asked."""

    first_event_ms = None

    def __init__(self, reading: Reading, verdict: Verdict) -> None:
        self.reading = reading
        self.verdict = verdict
        self.http_status: int | None = None
        self.request_id: str | None = None
        self.error_body: bytes | None = None


def read_record(line: bytes) -> tuple[str, dict[str, Any]]:
    """The id of a line and all that it says. Raises `ValueError`."""
    record = parse_exactly(line)
    if not isinstance(record, dict) or not isinstance(record.get("custom_id"), str):
        raise ValueError("it has no custom_id")
    return record["custom_id"], record


def read_answer(record: dict[str, Any], work: Work, request: Request, tools_wanted: bool) -> FetchedAnswer:
    """What the record says of its item. `request` is where it was asked, for hints in messages."""
    reading = work.prepared.new_reading(0.0)
    response = record.get("response")
    if not isinstance(response, dict) or not isinstance(response.get("status_code"), int):
        return FetchedAnswer(reading, _verdict_without_response(record.get("error")))
    body = dumps(response.get("body"))
    status, request_id = response["status_code"], response.get("request_id")
    if status // 100 == 2:
        answer = FetchedAnswer(reading, _read_whole(reading, body, tools_wanted))
    else:
        answer = FetchedAnswer(reading, http_error_verdict(status, {}, body, request))
        answer.error_body = body
    answer.http_status = status
    if isinstance(request_id, str):
        answer.request_id = request_id
        answer.verdict = answer.verdict._replace(request_id=request_id)
    return answer


def _read_whole(reading: Reading, body: bytes, tools_wanted: bool) -> Verdict:
    """The verdict on an answer in one piece, as on one that came over a connection."""
    if reading.document is not None:
        reading.document += body
    answer = reading.answer
    try:
        for _ in answer.feed(body):
            pass  # the reply keeps what the record needs
        if not answer.reply.has_ended:
            for _ in answer.end():
                pass
    except Failure as failed:
        return failed.verdict
    return answer.verdict(tools_wanted)


def _verdict_without_response(error: Any) -> Verdict:
    fields = error if isinstance(error, dict) else {}
    code, message = fields.get("code"), fields.get("message")
    if code in _NOT_EXECUTED:
        return Verdict(Outcome.TIMEOUT, "not executed", str(message or ""), code=code)
    code = code if isinstance(code, str) else None
    return error_verdict(ApiError(str(message or "the batch has no answer to it"), code))
