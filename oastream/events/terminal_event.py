"""How a response ended, by its terminal event.

In: the event. Out: its response, the outcome that it stands for, and the verdict when the answer failed. Refuses to
know the rest of the stream: whether there is text, and whether calls wait for the client (`reply`).

======================================  ============================  ====================================
event                                   status of its response        how the answer ended
======================================  ============================  ====================================
error, response.failed                  any                           failed, as its error says
response.completed, .incomplete         failed                        the same
response.completed, .incomplete         cancelled                     failed, and must not be retried
response.incomplete                     any other                     by the reason that is given
response.completed                      incomplete                    the same
response.completed                      any other                     complete
======================================  ============================  ====================================
"""

from __future__ import annotations

from oastream.display import one_line
from oastream.events.api_error import ApiError, error_verdict, event_error, read_error
from oastream.events.fields import Event, Fields, dict_or_empty, dicts_in, nonempty_str
from oastream.events.finish_reason import outcome_of_reason
from oastream.exits import Outcome, Verdict


class TerminalEvent:
    """A terminal event, as far as it says how the answer ended."""

    __slots__ = ("_error", "_event", "_type", "response", "status")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._type: str = event["type"]
        self.response = dict_or_empty(event.get("response"))
        """The response in its final state; empty if the event is an error."""
        self.status = nonempty_str(self.response.get("status"))
        self._error: ApiError | None = None
        if self.is_error_event:
            self._error = event_error(event)
        elif self.is_failure:
            self._error = read_error(event.get("response"))

    @property
    def is_error_event(self) -> bool:
        return self._type == "error"

    @property
    def is_failure(self) -> bool:
        return self._type in ("error", "response.failed") or self.status in ("failed", "cancelled")

    def output(self) -> list[Fields]:
        """The items of the final output."""
        return dicts_in(self.response.get("output"))

    def reason(self) -> str:
        """Why the answer is incomplete, in the server's word; "" if there is none."""
        details = dict_or_empty(self.response.get("incomplete_details"))
        # From Chat, a finish_reason for which this API has no word is beside the response.
        reason = nonempty_str(details.get("reason")) or nonempty_str(self._event.get("finish_reason"))
        if reason is None or reason.lower() == "null":
            return ""
        return one_line(reason, 80)

    def outcome(self) -> Outcome:
        """How the answer ended, unless it failed: stop, length, content_filter, or other.

        Failed, too, where the server gives a word for it as the reason that the answer is incomplete.
        """
        if self._type != "response.incomplete" and self.status != "incomplete":
            return Outcome.STOP
        return outcome_of_reason(self.reason())

    def failure(self, after_output: bool) -> Verdict:
        """The verdict on a failed answer; `after_output` when part of it was received."""
        if self.status == "cancelled":
            return Verdict(Outcome.FAILED, "the answer failed", "the response was cancelled", should_retry=False)
        # On Chat a finish_reason may say that the answer failed. Without an error that says why there is nothing that
        # a retry could depend on: it counts as a failed answer, output or not.
        by_finish_reason = "finish_reason" in self._event
        return error_verdict(self._error or ApiError("no reason given"), after_output=after_output or by_finish_reason)
