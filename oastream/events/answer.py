"""One stream from its first byte to its verdict: what has come, until when to wait for more, how it ended.

In: the body's bytes, and moments of `time.monotonic`. Out: events with the text that they add to the answer, the
deadline of the next wait, a `Verdict`. Refuses to know where bytes come from, who waits, and whether another attempt
follows: whoever has a connection feeds it, the blocking run as well as a loop with thousands of streams.

Whoever owns the connection does this, and nothing else decides how a stream went:

    while not answer.is_done:
        wait for bytes until answer.deadline
            bytes                     -> deliver answer.feed(bytes)
            the end of the body       -> deliver answer.end()
            the body is broken        -> deliver answer.end(why)
            nothing in time           -> answer.end() if answer.is_whole, else answer.late(now) is the verdict
            no more can be read       -> answer.end() if answer.is_whole, else that failure is the verdict
        answer.heard(now)
    answer.verdict()
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator
from typing import Any

from oastream.events.decode import DecodedEvent, Decoder
from oastream.events.reply import Reply
from oastream.exits import Outcome, Verdict

LINGER = 2.0
"""Seconds to wait, once the answer is complete, for the usage and `[DONE]` that may follow."""

NewEvent = tuple[dict[str, Any], bytes | None, str]
"""An event, the server's own JSON of it if it is that, and the text that it adds to the answer."""


class Limits:
    """How long a stream may take: seconds as in the options, 0 for no limit. All streams of a run share them.

    `run_deadline` is the moment at which --max-time ends the run.
    """

    def __init__(
        self, first_event: float = 0.0, idle: float = 0.0, max_time: float = 0.0, run_deadline: float = math.inf
    ) -> None:
        self.first_event = first_event
        self.idle = idle
        self.max_time = max_time
        self.run_deadline = run_deadline

    def deadline(self, now: float, seconds: float) -> float:
        """The moment `seconds` from now, but never later than the end of the run."""
        if seconds and now + seconds < self.run_deadline:
            return now + seconds
        return self.run_deadline


class Phase(enum.Enum):
    """How far a stream is: which deadline holds, and what it means when that passes or the body ends."""

    OPENING = "opening"
    """No event has come. --first-event-timeout; late is `timeout`, ended is `unreachable`."""
    STREAMING = "streaming"
    """Events come. --idle-timeout from the last sign of life; late is `idle`, ended is `interrupted`."""
    COMPLETE = "complete"
    """The answer is whole, though more of it may come. --idle-timeout; late and ended are both its end."""
    LINGERING = "lingering"
    """Only usage and `[DONE]` may still come. `LINGER`, not counted anew; late and ended are both its end."""
    DONE = "done"
    """Nothing more is read: the terminal event has come, or the body has ended."""


# Python 3.11 looks a member up through a property, a thousand instructions each time: too much for every chunk.
_OPENING, _STREAMING, _COMPLETE, _LINGERING, _DONE = Phase


class Answer:
    """The answer of one stream. `is_resumed` says that an earlier stream has brought events of the same answer.

    `reply` is what its events make up; it may have begun before this stream.
    """

    __slots__ = (
        "_comments",
        "_decoder",
        "_end",
        "_limits",
        "_payloads",
        "deadline",
        "first_event",
        "is_resumed",
        "phase",
        "reply",
    )

    def __init__(self, decoder: Decoder, reply: Reply, limits: Limits, now: float, is_resumed: bool = False) -> None:
        self._decoder = decoder
        self._limits = limits
        self._payloads = 0  # of the decoder, when something was last heard
        self._comments = 0
        self._end: str | None = None  # how the body ended, once it has
        self.reply = reply
        self.phase = _OPENING
        self.deadline = limits.deadline(now, limits.first_event)
        """Until when to wait for the next bytes. Connecting counts too: it begins when the request is sent."""
        self.first_event: float | None = None
        """The moment at which the first event came."""
        self.is_resumed = is_resumed

    @property
    def is_done(self) -> bool:
        return self.phase is _DONE

    @property
    def is_whole(self) -> bool:
        """Whether the answer is complete, so that nothing that goes wrong from now on counts."""
        return self.phase in (_COMPLETE, _LINGERING)

    @property
    def is_unfinished(self) -> bool:
        """Whether the body was a background response as one JSON object, which the server calls queued or running."""
        return self._decoder.is_unfinished

    @property
    def has_body_ended(self) -> bool:
        return self._end is not None

    # What comes --------------------------------------------------------------------------------------------------

    def feed(self, chunk: bytes) -> Iterator[NewEvent]:
        """The events that `chunk` completes, up to the terminal one: what follows that is not looked at.

        Raises `Failure` when it is no answer, or contradicts what was said before.
        """
        return self._take(self._decoder.feed(chunk))

    def end(self, why: str = "") -> Iterator[NewEvent]:
        """The events that the end of the body completes; `why` says how the body broke, if it did.

        A deadline that passes while the answer `is_whole` is an end too.
        """
        self._end = why or "it ended without a terminal event"
        return self._take(self._decoder.close(truncated=bool(why)))

    def _take(self, decoded: Iterable[DecodedEvent]) -> Iterator[NewEvent]:
        reply = self.reply
        feed = reply.feed
        for event, raw in decoded:
            yield event, raw, feed(event)
            if reply.has_ended:
                return

    def heard(self, now: float) -> None:
        """What was fed since the last time has been delivered: the wait for more begins now.

        An event is a sign of life, and after the first one a comment is; a half-sent event is none. Counted from here
        and not from the bytes, so that the time in which stdout was blocked is not held against the server.
        """
        decoder = self._decoder
        payloads, comments = decoder.payloads, decoder.comments
        before, self.phase = self.phase, self._current_phase()
        if payloads and not self._payloads:
            self.first_event = now
        if self.phase is _LINGERING:
            if before is not _LINGERING:
                self.deadline = self._limits.deadline(now, LINGER)
        elif payloads > self._payloads or (comments > self._comments and self._payloads):
            self.deadline = self._limits.deadline(now, self._limits.idle)
        self._payloads, self._comments = payloads, comments

    def _current_phase(self) -> Phase:
        """A phase may go back: content after a finish_reason means that the answer was not complete (Decoder)."""
        decoder = self._decoder
        if self._end is not None or self.reply.has_ended:
            return _DONE
        if decoder.is_complete:
            return _LINGERING if decoder.is_settled else _COMPLETE
        if decoder.payloads:
            return _STREAMING
        return _OPENING

    # How it ended ------------------------------------------------------------------------------------------------

    def verdict(self, tools_wanted: bool = False) -> Verdict:
        """How the stream ended, once it is done. `tools_wanted` is --format tools."""
        if self.reply.has_ended:
            return self.reply.verdict(tools_wanted)
        if not self._decoder.payloads and not self.is_resumed:
            return Verdict(Outcome.UNREACHABLE, "no answer", "the reply ended before its first event")
        return Verdict(Outcome.INTERRUPTED, "the answer broke off", self._end or "", self._decoder.hint)

    def late(self, now: float) -> Verdict:
        """The verdict when the deadline has passed, and which one it was."""
        has_events = bool(self._decoder.payloads)
        return late_verdict(self._limits, now, self.reply.output_began, has_events, self.is_resumed)


def late_verdict(
    limits: Limits, now: float, has_output: bool, has_events: bool = False, is_resumed: bool = False
) -> Verdict:
    """Which deadline has passed, and what that means for the answer so far.

    `has_output` says that it has begun, `has_events` that this stream has brought some, `is_resumed` that an earlier
    one has.
    """
    if now >= limits.run_deadline:
        return run_over_verdict(limits.max_time, has_output)
    if has_events:
        return Verdict(Outcome.IDLE, "the answer broke off", f"no event within --idle-timeout {limits.idle:g} s")
    detail = f"no event within --first-event-timeout {limits.first_event:g} s"
    if has_output:
        return Verdict(Outcome.IDLE, "the answer broke off", detail)
    if is_resumed:
        return Verdict(Outcome.IDLE, "no answer in time", detail)
    return Verdict(Outcome.TIMEOUT, "no answer in time", detail)


def run_over_verdict(max_time: float, has_output: bool) -> Verdict:
    """--max-time has passed: no retry has any time left, whatever the outcome usually allows."""
    detail = f"--max-time {max_time:g} s passed"
    if has_output:
        return Verdict(Outcome.DEADLINE, "the answer broke off", detail, should_retry=False)
    return Verdict(Outcome.TIMEOUT, "no answer in time", detail, should_retry=False)
