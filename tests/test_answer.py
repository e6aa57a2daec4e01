"""One stream without a connection: bytes and moments in, events, deadlines and verdicts out.

Bodies that end at any offset are in `test_every_cut`, for every format.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from oastream.events.answer import LINGER, Answer, Delivered, Limits, Phase
from oastream.events.chat_dialect import ChatDialect
from oastream.events.decode import Decoder
from oastream.events.reply import Reply
from oastream.events.responses_dialect import ResponsesDialect
from oastream.exits import Failure, Outcome, Verdict
from tests.support.streams import (
    call,
    chat_body,
    chat_chunks,
    chunk,
    message,
    responses_body,
    responses_events,
    responses_start,
    sse,
)
from tests.test_any_cut import STREAMS

LIMITS = Limits(first_event=20.0, idle=5.0)
START = 1000.0
CREATED = sse(responses_events()[:1])
DELTA = sse([{"type": "response.output_text.delta", "delta": "Hello"}])
USAGE = sse([chunk(None, usage={"prompt_tokens": 1, "completion_tokens": 1})])
COMMENT = b": still here\n\n"


def answer(api: str = "responses", limits: Limits = LIMITS, choices: int = 1, is_resumed: bool = False) -> Answer:
    dialect = ChatDialect(choices) if api == "chat" else ResponsesDialect()
    return Answer(Decoder(dialect, 1 << 20), Reply(), limits, START, is_resumed)


def hear(made: Answer, data: bytes, seconds: float) -> list[Delivered]:
    """Feed bytes that are delivered this many seconds after the start."""
    events = list(made.feed(data))
    made.heard(START + seconds)
    return events


def hear_end(made: Answer, why: str = "") -> list[Delivered]:
    events = list(made.end(why))
    made.heard(START)
    return events


def outcomes(*verdicts: Verdict) -> list[Outcome]:
    return [verdict.outcome for verdict in verdicts]


# Phases


def test_a_stream_opens_and_waits_for_its_first_event() -> None:
    made = answer()
    assert (made.phase, made.deadline) == (Phase.OPENING, START + 20)
    for sign in (COMMENT, b"\n\n", b'data: {"type":"resp'):
        assert hear(made, sign, 3) == []
        assert (made.phase, made.deadline, made.first_event) == (Phase.OPENING, START + 20, None)
        assert not made.is_whole


def test_the_first_event_starts_the_wait_for_the_next_from_the_moment_it_is_delivered() -> None:
    made = answer()
    assert len(hear(made, CREATED, 7)) == 1
    assert (made.phase, made.deadline, made.first_event) == (Phase.STREAMING, START + 12, START + 7)
    hear(made, DELTA, 8)
    assert (made.deadline, made.first_event) == (START + 13, START + 7)


@pytest.mark.parametrize("sign", [DELTA, COMMENT, b":\n", sse(["{}"])], ids=["event", "comment", "half", "unknown"])
def test_an_event_and_a_comment_are_signs_of_life(sign: bytes) -> None:
    made = answer()
    hear(made, CREATED, 0)
    hear(made, sign, 4)
    assert made.deadline == START + 9


@pytest.mark.parametrize("sign", [b"data: {", b"\n", b"\n\n", b"event: x\n", b"id: 1\n\n"])
def test_what_completes_no_event_is_no_sign_of_life(sign: bytes) -> None:
    made = answer()
    hear(made, CREATED, 0)
    hear(made, sign, 4)
    assert (made.phase, made.deadline) == (Phase.STREAMING, START + 5)


def test_the_terminal_event_is_the_end_whatever_follows_it() -> None:
    made = answer()
    events = hear(made, responses_body(message("Hello")) + b"data: nonsense\n\n", 1)
    assert (made.phase, made.is_done, made.has_body_ended) == (Phase.DONE, True, False)
    assert events[-1][0]["type"] == "response.completed"
    assert "".join(text for *_, text in events) == "Hello"
    assert made.verdict() == Verdict(Outcome.STOP)


def test_a_finish_reason_leaves_a_while_for_usage_that_no_event_prolongs() -> None:
    made = answer("chat")
    hear(made, sse(chat_chunks("Hello", usage=None)), 1)
    assert (made.phase, made.is_whole, made.is_done) == (Phase.LINGERING, True, False)
    assert made.deadline == START + 1 + LINGER
    hear(made, USAGE, 2)
    hear(made, COMMENT, 2)
    assert (made.phase, made.deadline) == (Phase.LINGERING, START + 1 + LINGER)
    assert len(hear(made, b"data: [DONE]\n\n", 2.5)) > 0
    assert made.phase is Phase.DONE
    assert made.verdict() == Verdict(Outcome.STOP)
    assert made.reply.usage is not None


def test_an_answer_that_is_whole_may_still_have_another_choice() -> None:
    made = answer("chat", choices=2)
    hear(made, sse(chat_chunks("Hello", usage=None)), 1)
    assert (made.phase, made.is_whole, made.deadline) == (Phase.COMPLETE, True, START + 6)
    hear(made, sse([chunk({"content": "Another"}, index=1)]), 2)
    assert (made.phase, made.is_whole, made.deadline) == (Phase.STREAMING, False, START + 7)


def test_content_after_a_finish_reason_ends_the_lingering() -> None:
    made = answer("chat")
    hear(made, sse([chunk({"content": "Hel"}, "stop")]), 1)
    assert (made.phase, made.deadline) == (Phase.LINGERING, START + 1 + LINGER)
    hear(made, sse([chunk({"content": "lo"}, "stop")]), 2)
    assert (made.phase, made.deadline) == (Phase.COMPLETE, START + 7)


# Deadlines that pass


def test_no_first_event_is_a_timeout_and_of_a_resumed_answer_a_silence() -> None:
    fresh, resumed = answer().late(START + 20), answer(is_resumed=True).late(START + 20)
    assert outcomes(fresh, resumed) == [Outcome.TIMEOUT, Outcome.IDLE]
    assert fresh.message == "no answer in time: no event within --first-event-timeout 20 s"


@pytest.mark.parametrize("data", [CREATED, CREATED + DELTA], ids=["before-text", "after-text"])
def test_silence_after_an_event_is_idle(data: bytes) -> None:
    made = answer()
    hear(made, data, 0)
    assert made.late(START + 5).outcome is Outcome.IDLE
    assert made.late(START + 5).message == "the answer broke off: no event within --idle-timeout 5 s"


def test_the_end_of_the_run_comes_before_any_other_deadline() -> None:
    limits = Limits(first_event=20.0, idle=5.0, max_time=6.0, run_deadline=START + 6)
    made = answer(limits=limits)
    assert made.deadline == START + 6
    before = made.late(START + 6)
    hear(made, CREATED, 1)
    hear(made, DELTA, 3)
    assert made.deadline == START + 6
    after = made.late(START + 6)
    assert outcomes(before, after) == [Outcome.TIMEOUT, Outcome.DEADLINE]
    for verdict in (before, after):
        assert "--max-time 6 s" in verdict.message
        assert not verdict.retryable


def test_the_lingering_is_never_longer_than_the_run() -> None:
    made = answer("chat", Limits(run_deadline=START + 2))
    hear(made, sse(chat_chunks("Hello", usage=None)), 1)
    assert (made.phase, made.deadline) == (Phase.LINGERING, START + 2)


def test_a_limit_of_0_is_none() -> None:
    made = answer(limits=Limits())
    assert made.deadline == math.inf
    hear(made, CREATED, 1)
    assert made.deadline == math.inf


# Bodies that end


def test_a_body_that_ends_before_its_first_event_is_no_answer() -> None:
    made = answer()
    hear(made, COMMENT, 1)
    assert hear_end(made) == []
    assert (made.is_done, made.has_body_ended) == (True, True)
    assert made.verdict().message == "no answer: the reply ended before its first event"
    assert made.verdict().outcome is Outcome.UNREACHABLE


def test_a_resumed_answer_whose_stream_brings_nothing_is_interrupted() -> None:
    made = answer(is_resumed=True)
    hear_end(made)
    assert made.verdict().outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize("why", ["", "the connection was reset"])
def test_a_body_that_ends_within_the_answer_is_interrupted_and_says_how(why: str) -> None:
    made = answer()
    hear(made, responses_start("Hello"), 1)
    hear_end(made, why)
    assert made.verdict().outcome is Outcome.INTERRUPTED
    assert made.verdict().detail == (why or "it ended without a terminal event")


@pytest.mark.parametrize("why", ["", "the connection was reset"])
@pytest.mark.parametrize("choices", [1, 2])
def test_a_whole_answer_takes_any_end(choices: int, why: str) -> None:
    made = answer("chat", choices=choices)
    hear(made, sse(chat_chunks("Hello", usage=None)), 1)
    hear_end(made, why)
    assert made.verdict() == Verdict(Outcome.STOP)


def test_an_event_without_its_blank_line_counts_if_it_is_whole() -> None:
    made = answer()
    body = responses_body(message("Hello"))
    hear(made, body.rstrip(b"\n"), 1)
    assert not made.is_done
    assert [event["type"] for event, *_ in hear_end(made)] == ["response.completed"]
    assert made.verdict() == Verdict(Outcome.STOP)


def test_chunks_of_the_other_api_are_a_hint() -> None:
    made = answer()
    hear(made, sse([chunk({"content": "Hello"})]), 1)
    hear_end(made)
    assert "--api chat" in made.verdict().hint


CALLS = {"responses": responses_body(call("f", "{}")), "chat": chat_body(calls=[("call_1", "f", "{}")])}


@pytest.mark.parametrize("api", CALLS)
def test_the_verdict_of_a_whole_answer_is_the_replys(api: str) -> None:
    made = answer(api)
    hear(made, CALLS[api], 1)
    assert outcomes(made.verdict(), made.verdict(tools_wanted=True)) == [Outcome.TOOL_CALLS, Outcome.STOP]


def test_a_response_that_is_only_queued_says_so() -> None:
    made = answer()
    hear(made, b'{"object":"response","status":"queued","output":[],"id":"r"}', 1)
    with pytest.raises(Failure):
        hear_end(made)
    assert made.is_unfinished


# Events that make no sense


def test_the_events_before_a_broken_one_are_given() -> None:
    events = answer().feed(CREATED + DELTA + b"data: nonsense\n\n" + DELTA)
    assert [next(events)[2], next(events)[2]] == ["", "Hello"]
    with pytest.raises(Failure) as caught:
        next(events)
    assert caught.value.verdict.outcome is Outcome.MALFORMED


# Any cut


def played(api: str, pieces: Iterable[bytes]) -> tuple[list[Delivered], Phase, Verdict]:
    """Everything that a stream gives when its pieces come one by one, each a second after the one before."""
    made = answer(api)
    events: list[Delivered] = []
    for second, piece in enumerate(pieces):
        if not made.is_done:
            events += hear(made, piece, second)
    if not made.is_done:
        events += hear_end(made)
    return events, made.phase, made.verdict()


@pytest.mark.parametrize("name", STREAMS)
def test_any_two_pieces_give_the_same_events_and_the_same_verdict(name: str) -> None:
    stream = STREAMS[name]
    whole = played(stream.api, [stream.body])
    assert whole[1] is Phase.DONE
    for offset in range(len(stream.body) + 1):
        assert played(stream.api, [stream.body[:offset], stream.body[offset:]]) == whole, f"cut at {offset}"


@pytest.mark.parametrize("name", STREAMS)
def test_single_bytes_give_the_same_events_and_the_same_verdict(name: str) -> None:
    stream = STREAMS[name]
    single = (stream.body[at : at + 1] for at in range(len(stream.body)))
    assert played(stream.api, single) == played(stream.api, [stream.body])


@pytest.mark.parametrize("name", STREAMS)
def test_the_phase_goes_through_its_order_wherever_bytes_are_cut(name: str) -> None:
    stream = STREAMS[name]
    made = answer(stream.api)
    phases = []
    for at in range(len(stream.body)):
        if made.is_done:
            break
        hear(made, stream.body[at : at + 1], 0)
        phases.append(made.phase)
    order = [phase for phase in Phase if phase in phases]
    assert sorted(set(phases), key=phases.index) == order
    assert order[0] is Phase.OPENING
    assert order[-1] is Phase.DONE
