"""A response that the server makes in the background: its id, how much of it was seen, how to ask for the rest.

In: events with their sequence numbers, polled responses. Out: whether an event is new; the requests that resume, poll
and cancel. No I/O.
"""

from __future__ import annotations

import enum
import math
from typing import Any
from urllib.parse import SplitResult, quote

from oastream.attempts.retry import Remains
from oastream.display import one_line
from oastream.events.api_error import error_verdict, event_error
from oastream.exits import Failure, Outcome, Verdict, failure_of
from oastream.http.request import Request
from oastream.lenient_json import dumps

_TERMINAL = {"completed": "completed", "incomplete": "incomplete", "failed": "failed", "cancelled": "failed"}
"""The status of a response that has ended -> the event that says so."""
_GOING_ON = ("queued", "in_progress")
_TERMINAL_EVENTS = tuple(f"response.{kind}" for kind in _TERMINAL)
_NOT_RUNNING = ("response.created", "response.queued", "response.failed")


class Promise(enum.Enum):
    """What the server makes of `"background": true`."""

    UNKNOWN = "unknown"
    """No response has come yet."""
    KEPT = "kept"
    """The response goes on without us."""
    IGNORED = "ignored"
    """It is a response like any other, and ends with its connection."""


class Job:
    """One background response, from the request that makes it, or (`response_id`) known from an earlier run.

    `detaches` is --detach: the run leaves it as soon as somebody could take it up again.
    """

    def __init__(self, created_by: Request, response_id: str | None = None, detaches: bool = False) -> None:
        self._created_by = created_by
        self.detaches = detaches
        self.id = response_id
        """None until the server has named it."""
        self.promise = Promise.UNKNOWN if response_id is None else Promise.KEPT
        self.last_number = -1
        """Sequence number of the last event that was passed on."""
        self.progress = 0
        """How many of its events came, and polls that found it going on: each starts the count of failures anew."""
        self.is_running = False
        """Whether it has left the queue."""
        self.has_ended = False
        """Whether its terminal event has come, or nobody knows what has become of it."""
        self.is_garbled = False
        """Whether one of its events made no sense, so that what was made of the others may be wrong."""
        self.leave_by = math.inf
        """The moment at which --detach leaves it, running or not: infinite until its id is written, without which
        nobody could take it up again."""
        self._has_numbers = True
        self._can_replay = True
        self._is_resumed = False

    @property
    def can_be_taken_up(self) -> bool:
        """Whether the server has a response that this run, or another one, could go on with."""
        return self.remains is not Remains.NOTHING

    @property
    def is_ignored(self) -> bool:
        """Whether the server answers as if `background` had not been asked for."""
        return self.promise is Promise.IGNORED

    @property
    def may_leave(self) -> bool:
        """Whether --detach has done its work: the job runs."""
        return self.detaches and self.is_running

    @property
    def is_id_written(self) -> bool:
        return self.leave_by < math.inf

    @property
    def remains(self) -> Remains:
        """What the server still has of it that this run can ask for."""
        if self.id is None or self.promise is not Promise.KEPT or self.has_ended:
            return Remains.NOTHING
        if self._can_replay and self._has_numbers:
            return Remains.STREAM
        return Remains.RESPONSE

    def stop_replay(self) -> None:
        """Its stream cannot be opened again: from now on it is polled."""
        self._can_replay = False

    # Events ------------------------------------------------------------------------------------------------------

    def accept(self, event: dict[str, Any]) -> bool:
        """Whether an event is new. Raises `Failure` malformed for a gap, which another stream may fill."""
        if self.promise is Promise.UNKNOWN:
            self._read_promise(event.get("response"))
        if self.promise is Promise.IGNORED:
            return True
        number = event.get("sequence_number")
        if type(number) is int:
            return self._accept_numbered(event["type"], number)
        if event["type"].startswith("response."):
            self._check_unnumbered(event["type"])
            self._advance(event["type"])
        return True  # a ping, or an error of the server in between: it is not in the sequence

    def _accept_numbered(self, kind: str, number: int) -> bool:
        if self.promise is Promise.UNKNOWN:  # no response has shown yet whose numbers these could be
            self.last_number = max(self.last_number, number)
            return True
        if kind != "response.created" and self._repeats_first(number):
            self._has_numbers = False
        if self._has_numbers:
            if number <= self.last_number:
                return False  # from a server that does not heed `starting_after` and begins at the start
            if number > self.last_number + 1:
                raise failure_of(Outcome.MALFORMED, "a gap in the answer", f"event {self.last_number + 1} is missing")
            self.last_number = number
        self._advance(kind)
        return True

    def refuse(self) -> None:
        """An event that was accepted makes no sense: its stream is not to be trusted, and is not opened again."""
        self.is_garbled = True
        self._can_replay = False

    def _read_promise(self, response: Any) -> None:
        """The first response that the server shows tells whether it works in the background."""
        if not isinstance(response, dict) or not isinstance(response.get("id"), str) or not response["id"]:
            return
        if response.get("background") is True or response.get("status") == "queued":
            self.promise, self.id = Promise.KEPT, response["id"]
        else:
            self.promise, self.id = Promise.IGNORED, None

    def _check_unnumbered(self, kind: str) -> None:
        """Gateways leave the numbers out.

        In a stream that goes on with an earlier one nobody knows then what is new, but for the end, which has it all.
        """
        self._has_numbers = False
        if self._is_resumed and kind not in _TERMINAL_EVENTS:
            raise failure_of(Outcome.MALFORMED, "the answer cannot be continued", "its events have no sequence numbers")

    def _repeats_first(self, number: int) -> bool:
        """Whether the server sends 0 with every event (LiteLLM #28899)."""
        return number == 0 and self.last_number == 0 and self.progress == 1

    def _advance(self, kind: str) -> None:
        if self.id is None:
            return
        self.has_ended = self.has_ended or kind in _TERMINAL_EVENTS
        if kind != "error":  # its stream says so, and the response may go on all the same
            self.progress += 1
            self.is_running = self.is_running or (kind.startswith("response.") and kind not in _NOT_RUNNING)

    # Polls -------------------------------------------------------------------------------------------------------

    def take_poll(self, response: Any) -> dict[str, Any] | None:
        """The terminal event of a response that was polled, None while it goes on.

        Raises `Failure`: the error that came instead, or malformed for what is no response or has a status that nobody
        knows.
        """
        if not isinstance(response, dict):
            raise self._unknown_response("the response is not a JSON object", dumps(response).decode())
        status = response.get("status")
        if isinstance(status, str) and status in _TERMINAL:
            kind = _TERMINAL[status]
            self._note_poll(is_running=kind != "failed")
            self.has_ended = True
            return {"type": f"response.{kind}", "response": response}
        if status in _GOING_ON:
            self._note_poll(is_running=status != "queued")
            return None
        if isinstance(status, str):
            raise self._unknown_response("the response has an unknown status", status)
        error = event_error(response)
        if error is None:
            raise self._unknown_response("the server sent JSON that is not a response", dumps(response).decode())
        raise Failure(error_verdict(error))

    def _note_poll(self, is_running: bool) -> None:
        self.progress += 1
        self.is_running = is_running

    def _unknown_response(self, summary: str, shown: str) -> Failure:
        """Asking again would bring the same: nobody knows what has become of it."""
        self.has_ended = True
        return Failure(Verdict(Outcome.MALFORMED, summary, one_line(shown, 80), should_retry=False))

    # Requests ----------------------------------------------------------------------------------------------------

    def stream_request(self) -> Request:
        """The rest of the stream."""
        self._is_resumed = self.last_number >= 0
        if self._is_resumed:
            return self._make_request("GET", query=f"stream=true&starting_after={self.last_number}")
        return self._make_request("GET", query="stream=true")

    def poll_request(self) -> Request:
        """The response as far as it is."""
        return self._make_request("GET")

    def cancel_request(self) -> Request:
        return self._make_request("POST", below="/cancel")

    def _make_request(self, method: str, below: str = "", query: str = "") -> Request:
        """A request for the response. Its id is the server's word: nothing in it may end the line or begin a path."""
        made = self._created_by
        name = quote((self.id or "").encode("utf-8", "surrogatepass"), safe="")
        queries = [text for text in (made.url.query, query) if text]
        url: SplitResult = made.url._replace(path=f"{made.url.path}/{name}{below}", query="&".join(queries))
        # There is no body that it could be the type of.
        headers = tuple((name, value) for name, value in made.headers if name.lower() != "content-type")
        return made._replace(method=method, url=url, headers=headers, body=b"")

    # Words -------------------------------------------------------------------------------------------------------

    @property
    def shown_id(self) -> str:
        """The id as a part of a message."""
        return one_line(self.id or "")

    @property
    def resume_command(self) -> str:
        """What a user types to take it up again."""
        import shlex  # 3 ms that only a run that ends badly needs

        return f"oastream --resume {shlex.quote(self.shown_id)}"
