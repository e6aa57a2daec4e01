"""POST /responses, POST /chat/completions, POST /responses/input_tokens: a request in, an answer out.

In: a request for an answer. Out: the answer in the API's shape, streamed, whole, or begun in the background; with what
the plan has for this attempt. A response is stored, for `stored` to find.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from oastream.mock import chat, responses
from oastream.mock.answer import Answer, Turn, answer_to
from oastream.mock.background import Job
from oastream.mock.checks import CHAT_FIELDS, RESPONSES_FIELDS, check_body
from oastream.mock.endpoints import Call
from oastream.mock.errors import BadRequest, ErrorShape
from oastream.mock.events import Event, EventSequence, Json
from oastream.mock.exchange import Reply
from oastream.mock.faults import AttemptKind, BackgroundReply, ErrorEvents, Fault, end_in_error, resolve_half
from oastream.mock.replies import early_reply, error_in_events, json_reply, object_reply, stream_reply
from oastream.mock.state import State, StoredResponse


class Api(Protocol):
    """What the modules `responses` and `chat` have in common."""

    def answer_events(self, turn: Turn) -> list[Event]: ...
    def finished_object(self, turn: Turn) -> Json: ...
    def error_events(self, turn: Turn, error: Json, shape: ErrorShape, number: int) -> list[Event]: ...


def create_completion(call: Call) -> Reply:
    fault = call.state.next_attempt(AttemptKind.STREAM)
    if early := early_reply(fault):
        return early
    body = check_body(call.request.body, CHAT_FIELDS, required=("model", "messages"))
    return _send_answer(chat, _take_turn(call, body, fault), fault)


def create_response(call: Call) -> Reply:
    # The attempt is counted before the body is looked at, as a server that is overloaded looks at nothing.
    fault = call.state.next_attempt(AttemptKind.STREAM)
    if early := early_reply(fault):
        return early
    body = check_body(call.request.body, RESPONSES_FIELDS, required=("model", "input"))
    _check_previous(call.state, body)
    if fault.background is BackgroundReply.IGNORED:
        body = {**body, "background": False}
    turn = _take_turn(call, body, fault)
    if body.get("background"):
        return _begin_job(call.state, turn, fault)
    if body.get("store", True):
        _store(call.state, turn, responses.finished_object(turn))
    return _send_answer(responses, turn, fault)


def count_input_tokens(call: Call) -> Reply:
    body = check_body(call.request.body, RESPONSES_FIELDS)  # which needs no model
    return json_reply(responses.input_tokens(Turn(body, Answer(), call.number, int(time.time()))))


def error_events_of(api: Api, turn: Turn, fault: Fault) -> ErrorEvents:
    """How the API reports the fault's error, from a sequence number on."""
    error = error_in_events(fault)
    shape = fault.error or ErrorShape.FAILED

    def events(number: int) -> list[Event]:
        return api.error_events(turn, error, shape, number)

    return events


def _take_turn(call: Call, body: Json, fault: Fault) -> Turn:
    return Turn(body, answer_to(body, fault.reply, fault.end), call.number, int(time.time()))


def _check_previous(state: State, body: Mapping[str, Any]) -> None:
    previous = body.get("previous_response_id")
    if previous is not None and previous not in state.responses:
        why = f"Previous response with id '{previous}' not found."
        raise BadRequest(why, "previous_response_id", "previous_response_not_found")


def _store(state: State, turn: Turn, response: Job | Json) -> None:
    state.responses.keep(turn.make_id("resp_"), StoredResponse(turn, response))


def _send_answer(api: Api, turn: Turn, fault: Fault) -> Reply:
    if not turn.body.get("stream"):
        return object_reply(api.finished_object(turn), fault)
    sequence = EventSequence(tuple(api.answer_events(turn)), fault.endless)
    return stream_reply(sequence, sequence.play(fault.pace), fault, error_events_of(api, turn, fault))


# --- in the background


def _begin_job(state: State, turn: Turn, fault: Fault) -> Reply:
    """Begins a job. Its answer's error is part of the job; the other faults are those of this connection."""
    sequence = EventSequence(tuple(responses.answer_events(turn)), fault.endless)
    final = responses.finished_object(turn)
    if fault.error is not None:
        fault = resolve_half(fault, sequence.events)  # before those behind the error are gone
        sequence = _end_in_error(turn, sequence, fault)
        final = responses.failed_response(turn, error_in_events(fault))
        fault = fault._replace(error=None)
    is_streamed = bool(turn.body.get("stream")) and fault.background is not BackgroundReply.QUEUED
    is_replayable = is_streamed and fault.replay
    job = Job(turn, sequence, final, fault.pace, is_replayable, state.clock)
    _store(state, turn, job)
    if is_streamed:
        return stream_reply(job.sequence, job.follow(-1), fault, error_events_of(responses, turn, fault))
    return object_reply(responses.empty_response(turn, "queued"), fault)


def _end_in_error(turn: Turn, sequence: EventSequence, fault: Fault) -> EventSequence:
    items = end_in_error(sequence.events, fault.after, error_events_of(responses, turn, fault))
    return EventSequence(tuple(item for item in items if isinstance(item, Event)))
