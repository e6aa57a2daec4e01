"""Events → the format → the output, each before anything else is read; and what stderr shows of them meanwhile.

In: events with the text they add. Out: bytes on the output, in one write where they came in one piece. Where events
come from, and whether others follow, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oastream.attempts.deadlines import Deadlines
from oastream.events.answer import NewEvent
from oastream.events.reply import Reply
from oastream.output.destination import Output
from oastream.output.formats import Format
from oastream.output.status_line import StatusLine
from oastream.output.stderr import Reasoning, Trace

_REASONING = frozenset(
    {"response.reasoning_text.delta", "response.reasoning_summary_text.delta", "response.reasoning.delta"}
)


class RunStats:
    """What a run counts and times; times in seconds of the run's clock, None for what has not happened."""

    __slots__ = ("attempts", "first_event", "first_text", "resumes", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.attempts = 0
        self.resumes = 0
        self.first_event: float | None = None
        self.first_text: float | None = None


class Delivery:
    """Hands on what the attempts of a run bring. `shows_reasoning` is --reasoning."""

    def __init__(
        self,
        output: Output,
        reasoning: Reasoning,
        status_line: StatusLine,
        trace: Trace,
        stats: RunStats,
        deadlines: Deadlines,
        shows_reasoning: bool,
        output_format: Format,
        reply: Reply,
    ) -> None:
        self.output = output
        self._reasoning = reasoning
        self.status_line = status_line
        self._trace = trace
        self.stats = stats
        self._deadlines = deadlines
        self._shows_reasoning = shows_reasoning
        self.begin(output_format, reply)

    def begin(self, output_format: Format, reply: Reply) -> None:
        """From here on it is another answer: nothing of it has been written."""
        self.format = output_format
        self.reply = reply
        self.has_written = False
        """Whether a part of the answer was handed to the output."""

    def deliver(self, events: Iterable[NewEvent]) -> None:
        """Write what the events bring. Those before one that makes no sense are written all the same."""
        output_format, reply, stats = self.format, self.reply, self.stats
        watches_events = self._watches_events()
        try:
            for event, raw, text in events:
                if stats.first_event is None:
                    stats.first_event = self._deadlines.now()
                if text and stats.first_text is None:
                    stats.first_text = self._deadlines.now()
                    self._begin_answer()
                output_format.add_event(event, raw, text, reply)
                if output_format.is_full:
                    self.write()
                if watches_events:
                    self._show_event(event)
        finally:
            self.write()

    def write(self) -> None:
        """Write what the format has ready. Raises `TimeoutError` when --max-time passes, and `Failure`."""
        data = self.format.take()
        if data:
            self.has_written = True
            if self._watches_events():
                self._begin_answer()
            self.output.write(data, self._deadlines.run)

    def _begin_answer(self) -> None:
        """Whoever watches has something better to look at than a status line; reasoning ends above the answer."""
        self._reasoning.end()
        self.status_line.stop()

    def _watches_events(self) -> bool:
        """Whether stderr has anything to say of single events."""
        return self._shows_reasoning or self._trace.shows_events or self.status_line.is_on

    def _show_event(self, event: dict[str, Any]) -> None:
        self._trace.event(event["type"])
        if event["type"] in _REASONING:
            self.status_line.show_phase("thinking")
            if self._shows_reasoning:
                self.write()  # stdout and stderr may be one terminal or file: in the order in which they came
                self._reasoning.write(str(event.get("delta") or ""))
