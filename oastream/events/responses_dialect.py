"""The events of the Responses API, as they are.

In: the type and data of a raw event. Out: the event, and the server's own JSON of it. Refuses to know what an event
means, except for errors, which servers write in every shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from oastream.events.api_error import event_error
from oastream.events.decode import DecodedEvent, Dialect
from oastream.events.fields import Event
from oastream.events.json_body import is_done_marker, parse_event

if TYPE_CHECKING:
    from oastream.events.delta_runs import LoneDelta

OWN_RECORDS = "oastream:"
"""The prefix of our own records' types. A server that could send one could forge the end of the run."""
_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
    }
)
"""Events that add a piece to a text: several of one text add what one with all their pieces would."""


class ResponsesDialect(Dialect):
    """Reads the events of the Responses API. An answer is complete with its terminal event, and never before."""

    __slots__ = ("hint",)

    def __init__(self) -> None:
        self.hint = ""

    def feed(self, kind: bytes, data: bytes) -> Sequence[DecodedEvent]:
        if is_done_marker(data):
            return ()  # Open Responses and OpenRouter end with it; it proves nothing
        event, raw = parse_event(data, kind)
        own_type = event.get("type")
        if type(own_type) is str and own_type.startswith("response."):
            return ((event, raw),)  # as nearly all have; the stream's own name for it says the same
        name = kind.decode("utf-8", "replace")
        if event_error(event, name):
            event = _as_error(event)
            if type(own_type) is str and own_type.startswith(OWN_RECORDS):
                raw = None  # an error is passed on, but not under a type of ours
        elif name not in ("", "message") or type(own_type) is not str:
            event = {**event, "type": name}
        if event.get("object") == "chat.completion.chunk":
            self.hint = "these are chunks of Chat Completions; try --api chat"
        if event["type"].startswith(OWN_RECORDS):
            return ()
        return ((event, raw),)

    def lone_delta(self, event: Event) -> LoneDelta | None:
        delta = event.get("delta")
        # Without an index the item's state decides where the delta belongs, and each may change it.
        if event.get("type") in _DELTAS and type(event.get("output_index")) is int and type(delta) is str:
            return "delta", delta
        return None

    def decode_answer(self, answer: Event) -> Sequence[DecodedEvent] | None:
        if not isinstance(answer.get("choices"), list):
            return None
        from oastream.events.chat_dialect import ChatDialect  # of a server that has only Chat, and ignored `stream`

        return ChatDialect().decode_answer(answer)


def _as_error(event: Event) -> Event:
    """An event that is an error by its name or its fields, in the API's shape: its own type becomes the code."""
    code, own_type = event.get("code"), event.get("type")
    if not code and isinstance(own_type, str) and own_type != "error":
        code = own_type
    return {**event, "type": "error", "code": code}
