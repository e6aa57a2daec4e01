"""The output items of a response as they stream, and the fields by which an item says what it is.

In: deltas of arguments, and complete items that repeat or replace them. Out: an item as far as it is known. Refuses to
know which item an event belongs to (`item_table`), and what an item means for the answer (`tool_calls`, `reply`).
"""

from __future__ import annotations

from typing import Any

from oastream.events.fields import Fields, dicts_in, nonempty_str, str_or_empty
from oastream.events.streamed_text import StreamedText
from oastream.exits import Failure, Outcome, failure_of
from oastream.lenient_json import dumps, parse_exactly
from oastream.surrogates import join_surrogates

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Tool calls that the client runs, and the field that holds the call's payload: what the tool is called with."""
_TEXT_PARTS = frozenset({"output_text", "text", "refusal", "output_audio", None})
"""The parts of a message that are the answer's text; vLLM puts reasoning among the others."""


class Item:
    """One output item, as far as it is known."""

    __slots__ = ("_judged", "fields", "is_closed", "is_complete", "is_printed", "kind", "parts", "pieces")

    def __init__(self, kind: str, fields: Fields) -> None:
        self.kind = kind
        self.fields = fields
        self.parts: dict[Any, StreamedText] = {}
        """The texts of a message by content_index, in the order of their first deltas."""
        self.pieces: list[str] = []
        """The payload of a call, in pieces."""
        self._judged: tuple[str | None, bool] = None, False  # a payload, and whether it is a JSON object
        self.is_complete = False
        """Whether the server says that nothing is missing. It may still repeat the item, or take that back."""
        self.is_closed = False
        """Whether its own `output_item.done` was received. Later events without a name or place are not its own."""
        self.is_printed = False
        """Whether it was printed, and can no longer be taken back."""

    @property
    def in_answer(self) -> bool:
        """Whether it belongs to the first choice: only that one is printed and judged."""
        return not self.fields.get("choice_index")

    @property
    def is_empty(self) -> bool:
        return not self.parts and not self.pieces

    def agrees_by_name(self, fields: Fields) -> bool:
        """Whether `fields` may be this item: the call_id decides, else the id, where both have one."""
        for name in ("call_id", "id"):
            ours, theirs = nonempty_str(self.fields.get(name)), nonempty_str(fields.get(name))
            if ours and theirs:
                return ours == theirs
        return True

    def agrees_by_content(self, fields: Fields) -> bool:
        """Whether `fields` hold what is known of this item, or a continuation of it."""
        if self.kind in CALLS:
            return bool(self.pieces) and self.payload() == payload_of(self.kind, fields)
        texts = zip(self.parts.values(), text_parts(fields), strict=False)
        return any(text.agrees_with(part_text(part) or "") for text, part in texts)

    def payload(self) -> str:
        """What the tool is called with, as the server wrote it."""
        return "".join(self.pieces) or payload_of(self.kind, self.fields)

    def assemble(self) -> Fields:
        """The item, with the texts and the payload where only its deltas had them."""
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
        """Take the server's last word on the item: it counts, but what it leaves out of a call's head stays."""
        kept = {name: self.fields[name] for name in ("call_id", "name", "choice_index") if self.fields.get(name)}
        self.set_payload(fields)
        self.fields = fields | {name: value for name, value in kept.items() if not fields.get(name)}

    def set_payload(self, fields: Fields) -> None:
        """Take a call's payload in full instead of its pieces, unless the pieces say more."""
        full, pieces = payload_of(self.kind, fields), self.payload()
        if not full or (pieces and not self._outranks_pieces(full, pieces)):
            full = pieces
        if self.is_printed and not _means_the_same(full, pieces):
            raise differs_from_printed()
        self.pieces = [full] if full else []

    def _outranks_pieces(self, full: str, pieces: str) -> bool:
        """Whether a payload in full counts more than the pieces before it.

        Arguments that parse count more than those that do not, since they can be run. Otherwise the later word counts,
        unless it only repeats less.
        """
        if full == pieces:
            return False
        repeats_less = pieces.startswith(full)
        if self.kind != "function_call":
            return not repeats_less
        if _is_object(full):
            return True
        return not repeats_less and not self._are_object(pieces)

    def _are_object(self, pieces: str) -> bool:
        """Whether the pieces are a JSON object.

        Parsed once: a server may repeat a broken payload any number of times, however long the pieces are.
        """
        if pieces is not self._judged[0]:
            self._judged = pieces, _is_object(pieces)
        return self._judged[1]


def differs_from_printed() -> Failure:
    return failure_of(Outcome.MALFORMED, "the answer contradicts itself", "a call differs from the printed one")


# What fields say -------------------------------------------------------------------------------------------------


def kind_of(fields: Fields) -> str:
    return str_or_empty(fields.get("type"))


def text_parts(fields: Fields) -> list[Fields]:
    """The parts of a message that are the answer's text. As in a request, the content may be the text itself."""
    content = fields.get("content")
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    return [part for part in dicts_in(content) if part.get("type") in _TEXT_PARTS]


def part_text(part: Fields) -> str | None:
    """The text in a part or in a `done` event, of any kind."""
    for name in ("refusal", "text", "transcript"):
        text = nonempty_str(part.get(name))
        if text:
            return text
    return None


def payload_of(kind: str, fields: Fields) -> str:
    """The payload in an event or an item of that kind; some servers send the object itself instead of its JSON."""
    payload = fields.get(CALLS.get(kind, ""))
    if isinstance(payload, (dict, list)):
        return dumps(payload).decode()
    return str_or_empty(payload)


def arguments_of(payload: str) -> Fields:
    """A call's arguments as an object. Raises `ValueError` for anything else; nothing and null are `{}`."""
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
