"""The output items of a response as they stream, and the fields by which an item says what it is.

In: deltas of arguments, and whole items that repeat or replace them. Out: an item as far as it is known. Refuses to
know which item an event is of (`item_table`), and what an item means for the answer (`tool_calls`, `reply`).
Fields may be of any type: what is not what it should be counts as missing.
"""

from __future__ import annotations

from typing import Any

from oastream.events.fields import Fields, dicts_in, nonempty_str, str_or_empty
from oastream.events.streamed_text import StreamedText
from oastream.exits import Failure, Outcome, failure_of
from oastream.lenient_json import dumps, parse_exactly
from oastream.surrogates import join_surrogates

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Tool calls that the client runs, and the field with what they are called with: the call's payload."""
_TEXT_PARTS = frozenset({"output_text", "text", "refusal", "output_audio", None})
"""Parts of a message that are the answer; vLLM puts reasoning among them."""


class Item:
    """One output item, as far as it has come."""

    __slots__ = ("_judged", "fields", "is_closed", "is_complete", "is_printed", "kind", "parts", "pieces")

    def __init__(self, kind: str, fields: Fields) -> None:
        self.kind = kind
        self.fields = fields
        self.parts: dict[Any, StreamedText] = {}
        """The texts of a message by content_index, in the order in which they came."""
        self.pieces: list[str] = []
        """The payload of a call."""
        self._judged: tuple[str | None, bool] = None, False  # a payload, and whether it is an object
        self.is_complete = False
        """Whether nothing of it is missing, by the server's word."""
        self.is_closed = False
        """Whether its own `done` event has come."""
        self.is_printed = False
        """Whether it was printed, and can no longer be taken back."""

    @property
    def in_answer(self) -> bool:
        """Whether it belongs to the first choice: what is printed and judged is that one's."""
        return not self.fields.get("choice_index")

    @property
    def is_empty(self) -> bool:
        return not self.parts and not self.pieces

    def agrees_by_name(self, fields: Fields) -> bool:
        """Whether `fields` may be of this item: the call_id decides, else the id, where both have one."""
        for name in ("call_id", "id"):
            ours, theirs = nonempty_str(self.fields.get(name)), nonempty_str(fields.get(name))
            if ours and theirs:
                return ours == theirs
        return True

    def agrees_by_content(self, fields: Fields) -> bool:
        """Whether what has come of it is what `fields` hold, or a beginning of that."""
        if self.kind in CALLS:
            return bool(self.pieces) and self.payload() == payload_of(self.kind, fields)
        texts = zip(self.parts.values(), text_parts(fields), strict=False)
        return any(text.agrees_with(part_text(part) or "") for text, part in texts)

    def payload(self) -> str:
        """What a tool is called with, as the server wrote it."""
        return "".join(self.pieces) or payload_of(self.kind, self.fields)

    def assemble(self) -> Fields:
        """The item with the text and the payload that only its deltas had."""
        if self.kind in CALLS:
            payload = self.payload()
            if payload == payload_of(self.kind, self.fields):
                return self.fields
            return {**self.fields, CALLS[self.kind]: payload}
        if self.kind != "message" or self.fields.get("content"):
            return self.fields
        content = [{"type": "output_text", "text": text.text(), "annotations": []} for text in self.parts.values()]
        return {**self.fields, "content": content}

    def replace_fields(self, fields: Fields) -> None:
        """The server's last word on the item: what it says counts, and what it leaves out of a call's head stays."""
        kept = {name: self.fields[name] for name in ("call_id", "name", "choice_index") if self.fields.get(name)}
        self.set_payload(fields)
        self.fields = fields | {name: value for name, value in kept.items() if not fields.get(name)}

    def set_payload(self, fields: Fields) -> None:
        """Take the whole payload of a call instead of its pieces, unless the pieces say more."""
        whole, pieces = payload_of(self.kind, fields), self.payload()
        if not whole or (pieces and not self._outranks_pieces(whole, pieces)):
            whole = pieces
        if self.is_printed and not _means_the_same(whole, pieces):
            raise differs_from_printed()
        self.pieces = [whole] if whole else []

    def _outranks_pieces(self, whole: str, pieces: str) -> bool:
        """Whether the whole counts more than its pieces: what is JSON does, then what does not only repeat less."""
        if whole == pieces:
            return False
        repeats_less = pieces.startswith(whole)
        if self.kind != "function_call":
            return not repeats_less
        if _is_object(whole):
            return True
        return not repeats_less and not self._are_object(pieces)

    def _are_object(self, pieces: str) -> bool:
        """Whether the pieces are JSON. Asked once of the same ones: a server may repeat a wrong whole for ever."""
        if pieces is not self._judged[0]:
            self._judged = pieces, _is_object(pieces)
        return self._judged[1]


def differs_from_printed() -> Failure:
    return failure_of(Outcome.MALFORMED, "the answer contradicts itself", "a call differs from the printed one")


# What fields say -------------------------------------------------------------------------------------------------


def kind_of(fields: Fields) -> str:
    return str_or_empty(fields.get("type"))


def text_parts(fields: Fields) -> list[Fields]:
    """The parts of a message that are text of the answer; as in a request, the content may be the text itself."""
    content = fields.get("content")
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return [part for part in dicts_in(content) if part.get("type") in _TEXT_PARTS]


def part_text(part: Fields) -> str | None:
    """The text of a part or of a `done` event, whatever kind of text it is."""
    for name in ("refusal", "text", "transcript"):
        text = nonempty_str(part.get(name))
        if text:
            return text
    return None


def payload_of(kind: str, fields: Fields) -> str:
    """What an event or an item says that a tool is called with; some servers send the object itself."""
    payload = fields.get(CALLS.get(kind, ""))
    if isinstance(payload, (dict, list)):
        return dumps(payload).decode()
    return str_or_empty(payload)


def arguments_of(payload: str) -> Fields:
    """A call's arguments as an object; raises `ValueError`."""
    payload = join_surrogates(payload).strip()
    if payload in ("", "null"):
        return {}
    value = parse_exactly(payload)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _is_object(payload: str) -> bool:
    try:
        arguments_of(payload)
    except ValueError:
        return False
    return True


def _means_the_same(payload: str, other: str) -> bool:
    try:
        return payload == other or arguments_of(payload) == arguments_of(other)
    except (ValueError, RecursionError):
        return False
