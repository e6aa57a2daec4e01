"""A response that the server makes in the background: its id, how much of it was seen, how to ask for the rest.

In: events with their sequence numbers. Out: whether each is new; the requests that resume, poll and cancel. No I/O.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult

from oastream.endpoint import Request
from oastream.exits import Outcome, failure
from oastream.text import one_line

_FINAL = {"completed": "completed", "incomplete": "incomplete", "failed": "failed", "cancelled": "failed"}
_NOT_RUNNING = ("response.created", "response.queued", "")


class Job:
    """One background response. `id` is None until the server has named it."""

    def __init__(self, created_by: Request, response_id: str | None = None) -> None:
        self._created_by = created_by
        self.id = response_id
        self.last = -1
        """Sequence number of the last event that was passed on."""
        self.accepted = 0
        """How many signs of progress there were: each starts the count of failures anew."""
        self.running = False
        self.replayable = True
        """Whether its stream can be opened again; else it is polled."""

    def accept(self, event: dict[str, Any]) -> bool:
        """Whether an event is new. Raises `Failure` malformed for a gap, which another stream may fill."""
        response = event.get("response")
        if isinstance(response, dict) and isinstance(response.get("id"), str):
            self.id = self.id or response["id"]
        self.running = self.running or event.get("type") not in _NOT_RUNNING
        number = event.get("sequence_number")
        if self.replayable and self._does_not_count(number):
            self.replayable = False
        if self.replayable and isinstance(number, int):
            if number <= self.last:
                return False
            if number > self.last + 1:
                raise failure(Outcome.MALFORMED, "a gap in the answer", f"event {self.last + 1} is missing")
            self.last = number
        self.accepted += 1
        return True

    def _does_not_count(self, number: Any) -> bool:
        """Gateways leave the numbers out, or send 0 with every event (LiteLLM #28899)."""
        return not isinstance(number, int) or (number == 0 and self.last == 0 and self.accepted == 1)

    # Requests ----------------------------------------------------------------------------------------------------

    def stream_request(self) -> Request:
        """The rest of the stream."""
        query = "stream=true" if self.last < 0 else f"stream=true&starting_after={self.last}"
        return self._request("GET", "", query)

    def poll_request(self) -> Request:
        """The response as far as it is."""
        return self._request("GET", "")

    def cancel_request(self) -> Request:
        return self._request("POST", "/cancel")

    def _request(self, method: str, below: str, query: str = "") -> Request:
        made = self._created_by
        url: SplitResult = made.url._replace(path=f"{made.url.path}/{self.id}{below}")
        url = url._replace(query="&".join(filter(None, (url.query, query))))
        headers = tuple((name, value) for name, value in made.headers if name.lower() != "content-type")
        return made._replace(method=method, url=url, headers=headers, body=b"")


def final_event(response: Any) -> dict[str, Any] | None:
    """The terminal event of a response that was polled, None while it is not at its end.

    Raises `Failure` malformed for what is no response.
    """
    if not isinstance(response, dict):
        raise failure(Outcome.MALFORMED, "the response is not a JSON object", one_line(str(response), 80))
    kind = _FINAL.get(str(response.get("status")))
    return None if kind is None else {"type": f"response.{kind}", "response": response}
