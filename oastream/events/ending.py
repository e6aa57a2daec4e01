"""How a response ended, by its terminal event.

In: the event. Out: its response, the outcome that it stands for, the verdict when it says that the answer failed.
Refuses to know the rest of the stream: whether there is text, whether calls wait (`reply`).

======================================  ============================  ====================================
event                                   status of its response        how the answer ended
======================================  ============================  ====================================
error, response.failed                  any                           failed, as its error says
response.completed, .incomplete         failed                        the same
response.completed, .incomplete         cancelled                     failed, and not asked for again
response.incomplete                     any other                     by the reason that it gives
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


class Ending:
    """What a terminal event says."""

    __slots__ = ("_error", "_event", "_type", "response", "status")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._type: str = event["type"]
        self.response = dict_or_empty(event.get("response"))
        """The response as it is now; empty where the event is an error."""
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
        """Why the answer is incomplete, in the server's word; "" where it gives none."""
        details = dict_or_empty(self.response.get("incomplete_details"))
        # A finish_reason for which the API has no word stands beside the response (Chat).
        reason = nonempty_str(details.get("reason")) or nonempty_str(self._event.get("finish_reason"))
        if reason is None or reason.lower() == "null":
            return ""
        return one_line(reason, 80)

    def outcome(self) -> Outcome:
        """What it says of the end: stop, length, content_filter, failed or other."""
        if self._type != "response.incomplete" and self.status != "incomplete":
            return Outcome.STOP
        return outcome_of_reason(self.reason())

    def failure(self, after_output: bool) -> Verdict:
        """The verdict of a failed answer; `after_output` when something of it had come."""
        if self.status == "cancelled":
            return Verdict(Outcome.FAILED, "the answer failed", "the response was cancelled", should_retry=False)
        # On Chat a finish_reason may say that it failed, without an error that would tell why: that is a failed answer.
        by_finish_reason = "finish_reason" in self._event
        return error_verdict(self._error or ApiError("no reason given"), after_output=after_output or by_finish_reason)
