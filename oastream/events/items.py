"""The pieces of a response while they come: runs of text, and output items with what they are called with.

In: deltas, and the whole texts and items that repeat them. Out: what of a text is new, an item as far as it is known,
which item of the final output is which streamed one. Does no I/O. Of text only its length, its checksum and its
beginning are kept, so that memory stays flat; that is enough to tell whether a later `done` goes on with it or
contradicts it.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from typing import Any

from oastream.events.text_buffer import TextBuffer
from oastream.exits import Failure, Outcome, failure_of
from oastream.lenient_json import dumps, parse_exactly
from oastream.surrogates import SurrogateJoiner, join_surrogates

Event = dict[str, Any]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""Tool calls that the client runs, and the field with what they are called with."""
_TEXT_PARTS = frozenset({"output_text", "text", "refusal", "output_audio", None})
"""Parts of a message that are the answer; vLLM puts reasoning among them."""
_COUNT_AT = 4096
"""So many characters of deltas are counted at once: one checksum a delta took a tenth of the time of an event."""
_OPENING = 1 << 16
"""So many bytes of a text are kept, to tell a shorter text that it is only its beginning."""
_CANDIDATES = 64
"""So many of the streamed messages are compared with a final one that nothing names: more would be quadratic."""


class StreamedText:
    """One run of text that is printed as it comes: length and checksum of what was, and whether more may follow.

    `in_answer` says that it belongs to the answer's text, `printed` that its deltas cannot be taken back.
    """

    __slots__ = (
        "_core",
        "_crc",
        "_joiner",
        "_kept",
        "_lead",
        "_new",
        "_new_size",
        "_opening",
        "_printed",
        "_size",
        "done",
        "in_answer",
    )

    def __init__(self, in_answer: bool, printed: bool, kept: bool) -> None:
        self.in_answer = in_answer
        self.done = False
        """Whether the server has repeated it whole."""
        self._kept = TextBuffer() if kept else None
        self._printed = printed
        self._new: list[str] = []  # not counted yet
        self._new_size = 0
        self._size = 0
        self._crc = 0
        self._core: tuple[int, int] | None = None  # size and checksum without the white space at the end
        self._lead = (0, 0)  # size and checksum of the white space that it began with
        self._opening = b""
        self._joiner = SurrogateJoiner()

    def add(self, delta: str) -> str:
        """A delta came; what of it can be printed."""
        text = self._joiner.feed(delta)
        if text:
            self._new.append(text)
            self._new_size += len(text)
            if self._new_size >= _COUNT_AT:
                self._count()
        return text

    def complete(self, full: str) -> str:
        """The server repeats the whole text; what of it is new. Raises `Failure` if it contradicts what was printed."""
        self.done = True
        left = self._joiner.close()
        self._new.append(left)
        data = _encoded(full)
        if not data:
            return left
        self._count()
        rest = self._rest(data)
        if rest is None and not self._printed:
            self._kept = None if self._kept is None else TextBuffer(data.decode())
            return ""
        if rest is None:
            raise failure_of(Outcome.MALFORMED, "the answer contradicts itself", "a final text differs from its deltas")
        text = rest.decode()
        self._new.append(text)
        return left + text

    @property
    def began(self) -> bool:
        """Whether something of it has come."""
        return self._size > 0 or any(self._new)

    def text(self) -> str:
        """The text so far, when it was to be kept."""
        self._count()
        return "" if self._kept is None else self._kept.text()

    def mark(self) -> tuple[int, int]:
        """What tells this text from another: its length and checksum."""
        self._count()
        return self._size, self._crc

    def trimmed_mark(self) -> tuple[int, int]:
        """The same without the white space at its end."""
        self._count()
        return self._core or (self._size, self._crc)

    def agrees_with(self, full: str) -> bool:
        """Whether `full` repeats this text, goes on with it, or is a beginning of it."""
        self._count()
        return self._size > 0 and self._rest(_encoded(full)) is not None

    def _count(self) -> None:
        text = "".join(self._new)
        self._new.clear()
        self._new_size = 0
        if not text:
            return
        if self._kept is not None:
            self._kept.add(text)
        data = text.encode()
        if self._size < _OPENING:
            self._opening += data[: _OPENING - self._size]
        if self._size == self._lead[0]:  # nothing but white space so far
            space = data[: len(data) - len(data.lstrip())]
            self._lead = self._size + len(space), zlib.crc32(space, self._crc)
        if data[-1] > 32:
            self._core = None
        else:
            self._mark_core(data)
        self._size += len(data)
        self._crc = zlib.crc32(data, self._crc)

    def _mark_core(self, data: bytes) -> None:
        """`data` ends in white space: what is before that may be all that the server repeats."""
        kept = data.rstrip()
        if kept:
            self._core = (self._size + len(kept), zlib.crc32(kept, self._crc))
        elif self._core is None:
            self._core = (self._size, self._crc)

    def _rest(self, data: bytes) -> bytes | None:
        """What `data` has beyond what was printed; None when it is another text.

        It is the same when it lacks white space at its ends, and when it only repeats less.
        """
        for lead in dict.fromkeys(((0, 0), self._lead)):
            if self._agrees(data, lead, (self._size, self._crc)):
                return data[self._size - lead[0] :]
            if self._repeats_core(data, lead):
                return b""
            if self._is_beginning(data, lead[0]):
                return b""
        return None

    def _repeats_core(self, data: bytes, lead: tuple[int, int]) -> bool:
        """Whether `data` is what was printed but for white space at the end."""
        core = self._core
        return core is not None and self._agrees(data, lead, core) and not data[core[0] - lead[0] :].strip()

    def _agrees(self, data: bytes, lead: tuple[int, int], printed: tuple[int, int]) -> bool:
        """Whether `data`, behind the white space it lacks, begins with what was printed up to some place."""
        size = printed[0] - lead[0]
        return 0 <= size <= len(data) and zlib.crc32(memoryview(data)[:size], lead[1]) == printed[1]

    def _is_beginning(self, data: bytes, lead: int) -> bool:
        """Whether `data` is a beginning of what was printed, as far as that was kept."""
        data = data.rstrip()
        if not data or len(data) >= self._size - lead:
            return False
        opening = self._opening[lead : lead + len(data)]
        return bool(opening) and data.startswith(opening)


def _encoded(text: str) -> bytes:
    """A whole text in UTF-8; it may be as long as the answer, and is copied no more than it must."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return join_surrogates(text).encode()


class Item:
    """One output item, as far as it has come."""

    __slots__ = ("_judged", "arguments", "closed", "fields", "final", "kind", "parts", "printed", "whole")

    def __init__(self, kind: str, fields: Event) -> None:
        self.kind = kind
        self.fields = fields
        self.parts: dict[Any, StreamedText] = {}
        self.arguments: list[str] = []
        self._judged: tuple[str | None, bool] = None, False
        self.whole = False
        """Whether nothing of it is missing, by the server's word."""
        self.closed = False
        """Whether its own `done` event has come."""
        self.final = False
        """Whether the final output has it too."""
        self.printed = False
        """Whether it was printed, and can no longer be taken back."""

    @property
    def in_answer(self) -> bool:
        """Whether it belongs to the first choice: what is printed and judged is that one's."""
        return not self.fields.get("choice_index")

    def is_named_in(self, fields: Event) -> bool:
        """Whether `fields` may be of this item: the call_id decides, else the id, where both have one."""
        for name in ("call_id", "id"):
            ours, theirs = nonempty_str(self.fields.get(name)), nonempty_str(fields.get(name))
            if ours and theirs:
                return ours == theirs
        return True

    def agrees_with(self, fields: Event) -> bool:
        """Whether what has come of it is what `fields` hold, or a beginning of that."""
        if self.kind in CALLS:
            return bool(self.arguments) and self.payload() == _given(self.kind, fields)
        texts = zip(self.parts.values(), text_parts(fields), strict=False)
        return any(text.agrees_with(part_text(part) or "") for text, part in texts)

    def payload(self) -> str:
        """What a tool is called with, as the server wrote it."""
        return "".join(self.arguments) or _given(self.kind, self.fields)

    def assembled(self) -> Event:
        """The item with the text and arguments that only its deltas had."""
        if self.kind in CALLS:
            payload = self.payload()
            same = payload == _given(self.kind, self.fields)
            return self.fields if same else {**self.fields, CALLS[self.kind]: payload}
        if self.kind != "message" or self.fields.get("content"):
            return self.fields
        content = [{"type": "output_text", "text": text.text(), "annotations": []} for text in self.parts.values()]
        return {**self.fields, "content": content}

    def replace(self, fields: Event) -> None:
        """The server's last word on the item: what it says counts, and what it leaves out of a call's head stays."""
        kept = {name: self.fields[name] for name in ("call_id", "name", "choice_index") if self.fields.get(name)}
        self.set_arguments(fields)
        self.fields = fields | {name: value for name, value in kept.items() if not fields.get(name)}

    def set_arguments(self, fields: Event) -> None:
        """The whole of what a tool is called with, instead of its pieces, unless the pieces say more."""
        said, known = _given(self.kind, fields), self.payload()
        if not said or (known and not self._is_better(said, known)):
            said = known
        if self.printed and not _means_the_same(said, known):
            raise differs_from_printed()
        self.arguments = [said] if said else []

    def _is_better(self, said: str, known: str) -> bool:
        """Whether the whole counts more than its pieces: what is JSON does, then what does not only repeat less."""
        if said == known:
            return False
        if self.kind == "function_call":
            if _is_object(said):
                return True
            if not known.startswith(said) and self._is_sound(known):
                return False
        return not known.startswith(said)

    def _is_sound(self, known: str) -> bool:
        """Whether the pieces are an object. Asked once of the same ones: a server may repeat a wrong whole for ever."""
        if known is not self._judged[0]:
            self._judged = known, _is_object(known)
        return self._judged[1]


def differs_from_printed() -> Failure:
    return failure_of(Outcome.MALFORMED, "the answer contradicts itself", "a call differs from the printed one")


def _given(kind: str, fields: Event) -> str:
    """What an event or an item says that a tool is called with; some servers send the object itself."""
    given = fields.get(CALLS.get(kind, ""))
    if isinstance(given, (dict, list)):
        return dumps(given).decode()
    return given if isinstance(given, str) else ""


def text_parts(fields: Event) -> list[Event]:
    """The parts of a message that are text of the answer; as in a request, the content may be the text itself."""
    content = fields.get("content")
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    parts = content if isinstance(content, list) else ()
    return [part for part in parts if isinstance(part, dict) and part.get("type") in _TEXT_PARTS]


def part_text(part: Event) -> str | None:
    """The text of a part or of a `done` event, whatever kind of text it is."""
    for name in ("refusal", "text", "transcript"):
        text = part.get(name)
        if isinstance(text, str) and text:
            return text
    return None


def nonempty_str(value: Any) -> str | None:
    """A field that should be a name, None when it is empty or something else."""
    return value if isinstance(value, str) and value else None


def arguments_of(payload: str) -> Event:
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


def _means_the_same(said: str, known: str) -> bool:
    try:
        return said == known or arguments_of(said) == arguments_of(known)
    except (ValueError, RecursionError):
        return False


# The final output ------------------------------------------------------------------------------------------------


def streamed_items(finals: list[Event], items: Iterable[Item]) -> list[Item | None]:
    """For each item of the final output the streamed one that it completes, None for one that never was streamed.

    Matched by id, then call_id, then equal text or a beginning of it, then order among what is left of the
    kind. Each pass goes over all of them, else an early guess would take what a later item names.
    """
    pairs = _Pairs(finals, items)
    pairs.match_keys(lambda item: nonempty_str(item.fields.get("id")), lambda fields: nonempty_str(fields.get("id")))
    pairs.match_keys(
        lambda item: nonempty_str(item.fields.get("call_id")), lambda fields: nonempty_str(fields.get("call_id"))
    )
    pairs.match_keys(_content_key, _final_content_key)
    pairs.match_keys(_trimmed_key, _final_trimmed_key)
    pairs.match_beginnings()
    pairs.match_order()
    return pairs.found


class _Pairs:
    """The items of the final output with those of the stream, as far as they are matched."""

    def __init__(self, finals: list[Event], items: Iterable[Item]) -> None:
        self._finals = finals
        self._left = dict.fromkeys(items)  # in order
        self.found: list[Item | None] = [None] * len(finals)

    def match_keys(self, item_key: Callable[[Item], Hashable], final_key: Callable[[Event], Hashable]) -> None:
        """Match what has the same kind and key."""
        known: dict[tuple[Any, Hashable], list[Item]] = {}
        for item in reversed(self._left):
            if key := item_key(item):
                known.setdefault((item.kind, key), []).append(item)
        for place, fields in self._unmatched():
            key = final_key(fields)
            same = known.get((kind_of(fields), key)) if key else None
            if same:
                self._match(place, same.pop())

    def match_beginnings(self) -> None:
        """Match messages of which one is the beginning of the other."""
        messages = dict.fromkeys(item for item in self._left if item.kind == "message")
        for place, fields in self._unmatched():
            if kind_of(fields) != "message":
                continue
            for item in islice(messages, _CANDIDATES):
                if item.agrees_with(fields):
                    self._match(place, item)
                    del messages[item]
                    break

    def match_order(self) -> None:
        """Match what is left of a kind in its order. A whole call with another call_id is another call."""
        queues: dict[str, deque[Item]] = {}
        for item in self._left:
            queues.setdefault(item.kind, deque()).append(item)
        for place, fields in self._unmatched():
            queue = queues.get(kind_of(fields))
            if queue and (queue[0].kind not in CALLS or not queue[0].whole or queue[0].is_named_in(fields)):
                self._match(place, queue.popleft())

    def _unmatched(self) -> list[tuple[int, Event]]:
        return [(place, fields) for place, fields in enumerate(self._finals) if self.found[place] is None]

    def _match(self, place: int, item: Item) -> None:
        self.found[place] = item
        del self._left[item]


def kind_of(fields: Event) -> str:
    return nonempty_str(fields.get("type")) or ""


def _content_key(item: Item) -> Hashable:
    """What two items that have no name in common are the same by."""
    if item.kind in CALLS:
        return (item.fields.get("name"), item.payload()) if item.arguments else None
    text = next(iter(item.parts.values()), None)
    return text.mark() if text is not None else None


def _final_content_key(fields: Event) -> Hashable:
    kind = kind_of(fields)
    if kind in CALLS:
        return fields.get("name"), _given(kind, fields)
    return _mark(_final_text(fields))


def _trimmed_key(item: Item) -> Hashable:
    """The same for messages without the white space at their end, which servers trim."""
    text = next(iter(item.parts.values()), None)
    return text.trimmed_mark() if text is not None else None


def _final_trimmed_key(fields: Event) -> Hashable:
    return _mark(_final_text(fields).rstrip())


def _final_text(fields: Event) -> bytes:
    parts = text_parts(fields) if kind_of(fields) == "message" else []
    return _encoded(part_text(parts[0]) or "") if parts else b""


def _mark(data: bytes) -> Hashable:
    return (len(data), zlib.crc32(data)) if data else None
