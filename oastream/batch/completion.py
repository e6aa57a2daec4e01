"""Chat Completions chunks → the `chat.completion` that the server would have sent without `stream`.

In: chunks as dicts, in order, and at the end the tool calls as the reply has put them together. Out: one object, equal
to what the openai SDK accumulates (openai.lib.streaming.chat) wherever that works: it joins the ids, names and roles of
servers that repeat them in each chunk, takes a usage back that a later chunk does not repeat, and fails on fragments
without an index. Does no I/O, and judges nothing.
"""

from __future__ import annotations

from typing import Any

from oastream.surrogates import join_surrogates

Event = dict[str, Any]

_ONCE = frozenset({"role", "id", "type", "name", "index", "object", "format"})
"""Fields that say what something is: a server that repeats one does not mean it to grow."""
_OF_CHUNKS_ALONE = frozenset({"choices", "obfuscation"})
"""Fields that an unstreamed completion does not have; obfuscation is padding against listeners on the wire."""
_GROWING_PARTS = frozenset({"text", "thinking"})
"""Parts without an index that one delta after another goes on with (Mistral)."""
_JOINED_AT = 128
"""Characters in short pieces that are joined to one."""
_LONG = 2048
"""Characters of a piece that no others are joined to any more."""
_OF_LAST_CHUNK = ("usage", "system_fingerprint", "service_tier", "moderation")


class CompletionBuilder:
    """Puts one completion together. Text is kept in pieces until the end: joining it at each chunk is quadratic."""

    __slots__ = ("_choices", "_head")

    def __init__(self) -> None:
        self._head: Event | None = None
        self._choices: dict[int, _Choice] = {}

    def add(self, chunk: Event) -> None:
        """Take a chunk in. What has an unexpected type is passed over: whether it is an answer is not decided here."""
        if self._head is None:
            self._head = {name: value for name, value in chunk.items() if name not in _OF_CHUNKS_ALONE}
        else:
            for name in _OF_LAST_CHUNK:
                if chunk.get(name) is not None:
                    self._head[name] = chunk[name]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choice_of(choice).add(choice)

    def build(self, calls: list[Event]) -> Event:
        """The completion. `calls` are the output items of its tool calls, those of another choice marked so."""
        head = dict(self._head or {})
        head["object"] = "chat.completion"
        choices = [choice.build(index, _calls_of(index, calls)) for index, choice in sorted(self._choices.items())]
        return {**head, "choices": choices}

    def _choice_of(self, choice: Event) -> _Choice:
        index = choice.get("index")
        number = index if isinstance(index, int) else 0
        if number not in self._choices:
            self._choices[number] = _Choice()
        return self._choices[number]


class _Choice:
    """What has come of one choice."""

    __slots__ = ("_fields", "_logprobs", "_message")

    def __init__(self) -> None:
        self._fields: Event = {}
        self._message: Event = {}
        self._logprobs: Event | None = None

    def add(self, choice: Event) -> None:
        for name, value in choice.items():
            if name not in ("delta", "message", "logprobs", "finish_reason"):
                self._fields.setdefault(name, value)
        if choice.get("finish_reason") or "finish_reason" not in self._fields:
            self._fields["finish_reason"] = choice.get("finish_reason")
        if isinstance(choice.get("logprobs"), dict):
            self._add_logprobs(choice["logprobs"])
        delta = choice.get("delta", choice.get("message"))
        if isinstance(delta, dict):
            _accumulate(self._message, delta)

    def build(self, index: int, calls: list[Event]) -> Event:
        message = _join_pieces(self._message)
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        if calls:
            message["tool_calls"] = calls
        return {**self._fields, "index": index, "logprobs": self._logprobs, "message": message}

    def _add_logprobs(self, logprobs: Event) -> None:
        if self._logprobs is None:
            self._logprobs = {}
        for name, value in logprobs.items():
            before = self._logprobs.get(name)
            if isinstance(before, list) and isinstance(value, list):
                before.extend(value)
            elif before is None:
                self._logprobs[name] = list(value) if isinstance(value, list) else value


class _Pieces(list[str]):
    """A text that may still grow. Short pieces are joined now and then: each takes fifty bytes more than its text."""

    __slots__ = ("_short_from", "_short_size")

    def __init__(self, text: str) -> None:
        super().__init__((text,))
        self._short_from = 0
        self._short_size = len(text)

    def grow(self, text: str) -> None:
        self.append(text)
        self._short_size += len(text)
        if self._short_size >= _JOINED_AT:
            self[self._short_from :] = ["".join(self[self._short_from :])]
            self._short_size = 0
            if len(self[-1]) >= _LONG:
                self._short_from = len(self)


def _accumulate(whole: Event, delta: Event) -> None:
    """Add the fields of a delta. Fragments of tool calls are the reply's: which call one belongs to is a rule of it."""
    for name, value in delta.items():
        before = whole.get(name)
        if name == "tool_calls":
            continue
        if isinstance(value, str):
            _add_text(whole, name, before, value)
        elif isinstance(before, _Pieces):
            _go_on_in_parts(whole, name, before, value)
        elif before is None:
            whole[name] = _growable(value)
        elif isinstance(before, dict) and isinstance(value, dict):
            _accumulate(before, value)
        elif isinstance(before, list) and isinstance(value, list):
            _add_entries(before, value)
        elif value is not None:
            whole[name] = value


def _add_text(whole: Event, name: str, before: Any, value: str) -> None:
    if isinstance(before, _Pieces):
        before.grow(value)
    elif before is None and name in _ONCE:
        whole[name] = value
    elif before is None:
        whole[name] = _Pieces(value)
    elif isinstance(before, list) and value:
        _add_text_part(before, value)


def _go_on_in_parts(whole: Event, name: str, before: _Pieces, value: Any) -> None:
    """A text that goes on as a list: Mistral's reasoning models send both as `content`."""
    if not isinstance(value, list):
        return
    parts: list[Any] = []
    if any(before):
        parts.append({"type": "text", "text": before})
    _add_entries(parts, value)
    whole[name] = parts


def _add_text_part(parts: list[Any], value: str) -> None:
    """The text behind the parts that came before it."""
    last = parts[-1] if parts else None
    if isinstance(last, dict) and isinstance(last.get("text"), _Pieces):
        last["text"].grow(value)
    else:
        parts.append({"type": "text", "text": _Pieces(value)})


def _growable(value: Any) -> Any:
    """A copy that later deltas may be added to."""
    if isinstance(value, dict):
        copy: Event = {}
        _accumulate(copy, value)
        return copy
    if isinstance(value, list):
        entries: list[Any] = []
        _add_entries(entries, value)
        return entries
    return value


def _add_entries(entries: list[Any], more: list[Any]) -> None:
    """Entries with an index go on with the one of that index, parts of a text with the last; all others are new."""
    for entry in more:
        known = _entry_before(entries, entry) if isinstance(entry, dict) else None
        if known is not None:
            _accumulate(known, entry)
        else:
            entries.append(_growable(entry))


def _entry_before(entries: list[Any], entry: Event) -> Event | None:
    """The entry that this one goes on with."""
    index = entry.get("index")
    if index is None:
        candidates, name, value = entries[-1:], "type", entry.get("type")
        if value not in _GROWING_PARTS:
            return None
    else:
        candidates, name, value = entries, "index", index
    for candidate in candidates:
        if isinstance(candidate, dict) and _join_pieces(candidate.get(name)) == value:
            return candidate
    return None


def _join_pieces(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return join_surrogates("".join(value))
    if isinstance(value, str) and not value.isascii():
        return join_surrogates(value)
    if isinstance(value, dict):
        return {name: _join_pieces(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_join_pieces(inner) for inner in value]
    return value


def _calls_of(choice: int, items: list[Event]) -> list[Event]:
    return [_call(item) for item in items if item.get("choice_index", 0) == choice]


def _call(item: Event) -> Event:
    if item["type"] == "custom_tool_call":
        custom = {"name": item.get("name"), "input": item.get("input")}
        return {"id": item.get("call_id"), "type": "custom", "custom": custom}
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}
