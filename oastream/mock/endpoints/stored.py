"""GET, DELETE and cancel below /responses/{id}: what becomes of a response after it was asked for.

In: the id of a response that `answers` has stored. Out: its state, its events from a number on, its input.
Polls and cancels have attempts of their own; a resumed stream counts as an answer.
"""

from __future__ import annotations

from oastream.mock import responses
from oastream.mock.background import Job
from oastream.mock.endpoints import Call
from oastream.mock.endpoints.answers import error_events_of
from oastream.mock.errors import ApiError
from oastream.mock.events import EventSequence
from oastream.mock.exchange import Reply
from oastream.mock.faults import AttemptKind
from oastream.mock.replies import early_reply, json_reply, object_reply, stream_reply


def retrieve(call: Call, response_id: str) -> Reply:
    if call.parameter("stream", "false").lower() in ("true", "1"):
        return _resume(call, response_id)
    fault = call.state.next_attempt(AttemptKind.POLL)
    response = call.state.responses.find(response_id).response
    if early := early_reply(fault):
        return early
    if isinstance(response, Job):
        response = response.response()
    return object_reply(response, fault)


def _resume(call: Call, response_id: str) -> Reply:
    fault = call.state.next_attempt(AttemptKind.STREAM)
    if early := early_reply(fault):
        return early
    job = call.state.responses.find(response_id).response
    if not isinstance(job, Job) or not job.is_replayable:
        raise ApiError(400, "This response cannot be streamed: it was not created with background and stream.")
    after = _starting_after(call)
    rest = EventSequence(job.sequence.events[after + 1 :])
    return stream_reply(rest, job.follow(after), fault, error_events_of(responses, job.turn, fault))


def _starting_after(call: Call) -> int:
    """The number of the last event that the client has; -1 for none."""
    value = call.parameter("starting_after", "-1")
    if value != "-1" and not (value.isascii() and value.isdigit()):
        raise ApiError(400, "Invalid type for 'starting_after': an integer.", param="starting_after")
    return int(value)


def cancel(call: Call, response_id: str) -> Reply:
    fault = call.state.next_attempt(AttemptKind.CANCEL)
    if early := early_reply(fault):
        return early
    job = call.state.responses.find(response_id).response
    if not isinstance(job, Job):
        raise ApiError(400, "Cannot cancel a synchronous response.")
    job.cancel()
    return object_reply(job.response(), fault)


def delete(call: Call, response_id: str) -> Reply:
    call.state.responses.find(response_id)  # which says so where there is none
    call.state.responses.forget(response_id)
    return json_reply({"id": response_id, "object": "response", "deleted": True})


def list_input_items(call: Call, response_id: str) -> Reply:
    items = responses.input_items(call.state.responses.find(response_id).turn)
    if call.parameter("order", "desc") != "asc":  # the newest first, unless asked otherwise
        items.reverse()
    page = {"object": "list", "data": items, "has_more": False}
    if items:
        page |= {"first_id": items[0]["id"], "last_id": items[-1]["id"]}
    return json_reply(page)
