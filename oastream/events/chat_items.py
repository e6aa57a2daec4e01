"""The output items that a Chat answer is translated into: messages, reasoning, tool calls.

In: texts and pieces of arguments. Out: items and their parts in the shapes of the Responses API, at any moment.
Refuses to know chunks and events. A text that no later event repeats is not kept, so that memory stays flat.
"""

from __future__ import annotations

import orjson

from oastream.events.fields import Fields
from oastream.events.text_buffer import TextBuffer
from oastream.surrogates import SurrogateJoiner

_ID_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
"""What OpenAI's own ids of such items begin with."""


class TextRun:
    """A run of text of one kind in an item: one part of its content.

    `kind` is the part's type: output_text, refusal or reasoning_text.
    """

    __slots__ = ("delta_type", "index", "joiner", "kept", "kind", "text_field")

    def __init__(self, kind: str, index: int, keep_text: bool) -> None:
        self.kind = kind
        self.index = index
        self.delta_type = f"response.{kind}.delta"
        self.text_field = "text"
        if kind == "refusal":
            self.text_field = "refusal"
        self.joiner = SurrogateJoiner()
        self.kept: TextBuffer | None = None
        if keep_text:
            self.kept = TextBuffer()

    def content(self) -> Fields:
        """The part in the API's shape."""
        text = ""
        if self.kept is not None:
            text = self.kept.text()
        content: Fields = {"type": self.kind, self.text_field: text}
        if self.kind == "output_text":
            content |= {"annotations": [], "logprobs": []}
        return content


class _OutputItem:
    """What every item has. `choice_number` is the choice that it belongs to."""

    __slots__ = ("choice_number", "id", "index", "is_done", "kind")

    def __init__(self, kind: str, index: int, choice_number: int) -> None:
        self.kind = kind
        self.index = index
        self.id = f"{_ID_PREFIXES[kind]}_{index}"  # Chat has no ids for items
        self.choice_number = choice_number
        self.is_done = False

    @property
    def status(self) -> str:
        return "completed" if self.is_done else "incomplete"

    def location(self) -> Fields:
        """The fields that tie an event to this item."""
        return {"item_id": self.id, "output_index": self.index}

    def with_choice_index(self, item: Fields) -> Fields:
        """Mark an item of a further choice: only the first choice is printed and judged."""
        if self.choice_number == 0:
            return item
        return {**item, "choice_index": self.choice_number}


class MessageItem(_OutputItem):
    """A message, or the reasoning before it: both are runs of text."""

    __slots__ = ("runs",)

    def __init__(self, kind: str, index: int, choice_number: int) -> None:
        super().__init__(kind, index, choice_number)
        self.runs: list[TextRun] = []

    def last_run_of(self, kind: str) -> TextRun | None:
        """The run that a text of this kind continues: the last one, if it is of that kind."""
        if self.runs and self.runs[-1].kind == kind:
            return self.runs[-1]
        return None

    def item(self, status: str) -> Fields:
        content = [run.content() for run in self.runs]
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status}
        return self.with_choice_index(
            {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}
        )


class CallItem(_OutputItem):
    """A tool call: of a function, whose arguments are JSON, or of a custom tool, whose input is any text."""

    __slots__ = ("call_id", "event_prefix", "name", "payload_field", "pieces")

    def __init__(self, is_custom: bool, index: int, choice_number: int, call_id: str, name: str) -> None:
        if is_custom:
            super().__init__("custom_tool_call", index, choice_number)
            self.payload_field, self.event_prefix = "input", "response.custom_tool_call_input"
        else:
            super().__init__("function_call", index, choice_number)
            self.payload_field, self.event_prefix = "arguments", "response.function_call_arguments"
        self.call_id = call_id
        self.name = name
        self.pieces: list[str] = []

    def payload(self) -> str:
        """The arguments or the input, as far as they are known."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]  # a piece takes fifty bytes more than its text
        return "".join(self.pieces)

    def item(self, status: str) -> Fields:
        call_id = self.call_id or f"call_{self.index}"  # the client must name the call in its answer
        item = {"id": self.id, "type": self.kind, "status": status, "call_id": call_id, "name": self.name}
        return self.with_choice_index({**item, self.payload_field: self.payload()})

    def is_complete_when_cut(self) -> bool:
        """Whether the call is complete although the answer was cut: its arguments are an object.

        A custom tool's input may be any text, so nothing can be missing from it by its looks.
        """
        return self.kind == "custom_tool_call" or _parsed_object(self.payload()) is not None

    def can_close_early(self) -> bool:
        """Whether the call may be closed when the next one begins, for --eager.

        Fragments of several calls may alternate (SGLang, gateways), so `{}` and "" may be only the beginning.
        """
        return self.kind == "function_call" and bool(_parsed_object(self.payload()))


def _parsed_object(text: str) -> Fields | None:
    """A call's arguments as the object that they must be, None while they are not."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
