"""Chat Completions chunks → the Responses API's streaming events, provider quirks included.

In: chunks as dicts, in order. Out: events as dicts, so that everything after this module knows one vocabulary.
Does no I/O, keeps no more of the answer than the events to come must repeat. Each rule for a quirk names the servers
that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from oastream.text import Gathered, Joiner

Event = dict[str, Any]
Fragment = dict[str, Any]

STOPPED = frozenset({"stop", "tool_calls", "function_call", "eos", "eos_token", "end_turn", "stop_sequence"})
CUT = frozenset({"length", "max_tokens", "model_length"})
FAILED = frozenset({"error", "insufficient_system_resource"})


class _Item:
    """One output item: a message, the reasoning, or a tool call."""

    def __init__(self, kind: str, prefix: str, index: int, choice: int) -> None:
        self.kind = kind
        self.index = index
        self.id = f"{prefix}_{index}"
        self.choice = choice
        self.done = False

    def place(self) -> Event:
        """The fields that tie an event to this item."""
        return {"item_id": self.id, "output_index": self.index}

    def marked(self, item: Event) -> Event:
        """Items of a further choice say so: their text is not the answer's."""
        return item if self.choice == 0 else {**item, "choice_index": self.choice}


class _Part:
    """A run of text inside an item: output text, a refusal or reasoning."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.delta_type = f"response.{kind}.delta"
        self.joiner = Joiner()
        self.kept = Gathered()

    def content(self) -> Event:
        text = self.kept.text()
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": self.kind, "text": text} | ({"annotations": []} if self.kind == "output_text" else {})


class _Message(_Item):
    def __init__(self, kind: str, prefix: str, index: int, choice: int) -> None:
        super().__init__(kind, prefix, index, choice)
        self.parts: list[_Part] = []

    def item(self, status: str) -> Event:
        content = [part.content() for part in self.parts]
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status}
        return self.marked(
            {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}
        )


class _Call(_Item):
    def __init__(self, kind: str, prefix: str, index: int, choice: int) -> None:
        super().__init__(kind, prefix, index, choice)
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []

    @property
    def payload_field(self) -> str:
        return "arguments" if self.kind == "function_call" else "input"

    def payload(self) -> str:
        return "".join(self.arguments)

    def item(self, status: str) -> Event:
        call_id = self.call_id or f"call_{self.index}"
        item = {"id": self.id, "type": self.kind, "status": status, "call_id": call_id, "name": self.name}
        return self.marked({**item, self.payload_field: self.payload()})


class _Choice:
    """What has come of one choice."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.message: _Message | None = None
        self.reasoning: _Message | None = None
        self.calls: list[_Call] = []
        self.by_index: dict[int, _Call] = {}
        self.finish: str | None = None

    def call_for(self, index: int | None, call_id: str, name: str) -> _Call | None:
        """The call that a fragment goes on with, or None when it begins a new one.

        Index, id and name are each missing, repeated or wrong somewhere: Gemini, Mistral and Ollama < 0.4.7 send no
        index; older Ollama and LiteLLM send index 0 for every call; SGLang #6310 heads a call at one index and goes
        on at another; Alibaba and vLLM go on with id ""; Baseten and OpenRouter repeat id and name in each chunk.
        """
        last = self.calls[-1] if self.calls else None
        if call_id:
            same = next((call for call in reversed(self.calls) if call.call_id == call_id), None)
            at_index = None if index is None else self.by_index.get(index)
            return same or (at_index if at_index is not None and not at_index.call_id else None)
        if index is None:
            return None if name else last
        known = self.by_index.get(index)
        if known is None:
            return None if name else last
        begins_anew = bool(name and known.name and name != known.name and known.arguments)
        return None if begins_anew else known


class Translator:
    """Translates one stream. `choices` is how many the request asked for.

    `keep_text` says whether done events and the last response repeat the text; without it memory stays flat.
    """

    def __init__(self, choices: int = 1, keep_text: bool = True) -> None:
        self._expected = choices
        self._keep_text = keep_text
        self._number = -1
        self._choices: dict[int, _Choice] = {}
        self._items: list[_Message | _Call] = []
        self._images: dict[int, Event] = {}
        self._response: Event = {"id": "", "object": "response", "created_at": 0, "model": ""}
        self._usage: Event | None = None
        self._going_on: tuple[int, _Message, _Part] | None = None
        """The choice, the item and the part that text belongs to when a chunk says nothing else."""
        self._named = False
        self._started = False
        self.finished = False
        """Whether every choice has its finish_reason: the answer is complete, whatever the wire does now."""

    def feed(self, chunk: Event) -> list[Event]:
        """The events of one chunk. A chunk without choices (keep-alives, filter results) may have none."""
        self._note(chunk)
        choices = chunk.get("choices")
        events: list[Event] = []
        if not self._started and (choices or self._response["id"]):
            self._start(events)
        for position, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                self._choice(choice, position, events)
        return events

    def go_on(self, chunk: Event) -> list[Event] | None:
        """The events of a chunk that goes on with a text and says nothing else, as nearly all do; None for others."""
        if self._going_on is None:
            return None
        choice, item, part = self._going_on
        text = _nothing_but_text(chunk, choice)
        if not text:
            return None
        events: list[Event] = []
        self._text_delta(item, part, part.joiner.feed(text), None, events)
        return events

    def close(self) -> list[Event]:
        """The events that end the answer: what is still open is done, then the terminal event."""
        events: list[Event] = []
        if not self._started:
            self._start(events)
        finish = self._finish_reason()
        status, details = _status(finish)
        for item in self._items:
            self._end(item, events, status != "completed")
        response = self._snapshot(status) | details
        events.append(self._event(f"response.{status}", response=response))
        return events

    def failed(self, error: Event) -> list[Event]:
        """The events of an error: the API's own, then the response that failed of it."""
        events: list[Event] = []
        if not self._started:
            self._start(events)
        events.append(self._event("error", **error))
        failed = self._snapshot("failed") | {"error": {"code": error.get("code"), "message": error.get("message")}}
        events.append(self._event("response.failed", response=failed))
        return events

    # What a chunk says about the whole response ------------------------------------------------------------------

    def _note(self, chunk: Event) -> None:
        if "usage" in chunk or "x_groq" in chunk:
            self._note_usage(chunk)
        if not self._named:
            self._note_name(chunk)

    def _note_name(self, chunk: Event) -> None:
        response = self._response
        if not response["id"] and chunk.get("id"):
            response["id"] = str(chunk["id"])
        if not response["model"] and chunk.get("model"):
            response["model"] = str(chunk["model"])
        if not response["created_at"] and isinstance(chunk.get("created"), (int, float)):
            response["created_at"] = chunk["created"]
        self._named = bool(response["id"] and response["model"] and response["created_at"])

    def _note_usage(self, chunk: Event) -> None:
        groq = chunk.get("x_groq")
        usage = chunk.get("usage") or (groq.get("usage") if isinstance(groq, dict) else None)
        if isinstance(usage, dict) and usage:
            self._usage = _usage(usage)

    def _start(self, events: list[Event]) -> None:
        self._started = True
        snapshot = self._snapshot("in_progress")
        events.append(self._event("response.created", response=snapshot))
        events.append(self._event("response.in_progress", response=snapshot))

    def _snapshot(self, status: str) -> Event:
        output = [] if status == "in_progress" else [self._final_item(i) for i in range(self._next_index)]
        fields = {"status": status, "error": None, "incomplete_details": None, "output": output, "usage": self._usage}
        return self._response | fields

    @property
    def _next_index(self) -> int:
        return len(self._items) + len(self._images)

    def _final_item(self, index: int) -> Event:
        if index in self._images:
            return self._images[index]
        item = next(item for item in self._items if item.index == index)
        return item.item("completed" if item.done else "incomplete")

    def _event(self, kind: str, **fields: Any) -> Event:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}

    def _finish_reason(self) -> str | None:
        finishes = [self._choices[number].finish for number in sorted(self._choices)]
        return next((finish for finish in finishes if finish), None)

    # One choice of a chunk ---------------------------------------------------------------------------------------

    def _choice(self, given: Event, position: int, events: list[Event]) -> None:
        number = given.get("index")
        number = number if isinstance(number, int) else position
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice(number)
            self.finished = False
        delta = given.get("delta")
        if delta is None and not choice.message and not choice.calls:
            # The whole answer in one chunk: a server that ignored `stream`, or buffered it (Lemonade).
            delta = given.get("message")
        if isinstance(delta, dict):
            self._delta(choice, delta, given.get("logprobs"), events)
        finish = given.get("finish_reason")
        if finish and choice.finish is None:
            choice.finish = str(finish)
            self.finished = len(self._choices) >= self._expected and all(c.finish for c in self._choices.values())

    def _delta(self, choice: _Choice, delta: Event, logprobs: Any, events: list[Event]) -> None:
        for kind, text in _texts(delta):
            self._text(choice, kind, text, logprobs, events)
        fragments = delta.get("tool_calls")
        for fragment in fragments if isinstance(fragments, list) else [fragments] if fragments else ():
            if isinstance(fragment, dict):
                self._fragment(choice, fragment, events)
        if isinstance(delta.get("function_call"), dict):  # the API before tools, 2023
            self._fragment(choice, {"function": delta["function_call"]}, events)
        for image in delta.get("images") or ():  # OpenRouter
            self._image(image, events)

    # Text --------------------------------------------------------------------------------------------------------

    def _text(self, choice: _Choice, kind: str, text: str, logprobs: Any, events: list[Event]) -> None:
        item = self._message(choice, kind, events)
        part = item.parts[-1] if item.parts and item.parts[-1].kind == kind else self._part(item, kind, events)
        if kind == "output_text" and self._named:
            self._going_on = choice.number, item, part
        self._text_delta(item, part, part.joiner.feed(text), logprobs, events)

    def _text_delta(self, item: _Message, part: _Part, text: str, logprobs: Any, events: list[Event]) -> None:
        if not text:
            return
        if self._keep_text:
            part.kept.add(text)
        self._number += 1
        event: Event = {
            "type": part.delta_type,
            "sequence_number": self._number,
            "item_id": item.id,
            "output_index": item.index,
            "content_index": part.index,
            "delta": text,
        }
        if part.kind == "output_text":
            event["logprobs"] = (logprobs.get("content") or []) if isinstance(logprobs, dict) else []
        events.append(event)

    def _message(self, choice: _Choice, kind: str, events: list[Event]) -> _Message:
        if kind == "reasoning_text":
            if choice.reasoning is None:
                choice.reasoning = _Message("reasoning", "rs", self._next_index, choice.number)
                self._add(choice.reasoning, events)
            return choice.reasoning
        if choice.message is None:
            choice.message = _Message("message", "msg", self._next_index, choice.number)
            self._add(choice.message, events)
        return choice.message

    def _add(self, item: _Message | _Call, events: list[Event]) -> None:
        self._items.append(item)
        events.append(self._event("response.output_item.added", output_index=item.index, item=item.item("in_progress")))

    def _part(self, item: _Message, kind: str, events: list[Event]) -> _Part:
        part = _Part(kind, len(item.parts))
        item.parts.append(part)
        self._going_on = None
        place = {**item.place(), "content_index": part.index}
        events.append(self._event("response.content_part.added", **place, part=part.content()))
        return part

    # Tool calls --------------------------------------------------------------------------------------------------

    def _fragment(self, choice: _Choice, fragment: Fragment, events: list[Event]) -> None:
        custom = isinstance(fragment.get("custom"), dict)
        function = fragment.get("custom" if custom else "function")
        function = function if isinstance(function, dict) else {}
        name = str(function.get("name") or "")
        call_id = str(fragment.get("id") or "")
        index = fragment.get("index") if isinstance(fragment.get("index"), int) else None
        call = choice.call_for(index, call_id, name)
        if call is None:
            call = self._new_call(choice, custom, index, call_id, name, events)
        else:
            _complete(call, call_id, name)
        self._arguments(call, function.get(call.payload_field), events)

    def _new_call(
        self, choice: _Choice, custom: bool, index: int | None, call_id: str, name: str, events: list[Event]
    ) -> _Call:
        if choice.calls:
            self._end(choice.calls[-1], events, False)
        kind, prefix = ("custom_tool_call", "ctc") if custom else ("function_call", "fc")
        call = _Call(kind, prefix, self._next_index, choice.number)
        call.call_id, call.name = call_id, name
        choice.calls.append(call)
        if index is not None:
            choice.by_index[index] = call
        self._add(call, events)
        return call

    def _arguments(self, call: _Call, given: Any, events: list[Event]) -> None:
        """Arguments are a string in pieces; some servers send the object itself."""
        piece = given if isinstance(given, str) else "" if given is None else orjson.dumps(given).decode()
        if not piece:
            return
        call.arguments.append(piece)
        call.done = False
        kind = "function_call_arguments" if call.kind == "function_call" else "custom_tool_call_input"
        events.append(self._event(f"response.{kind}.delta", **call.place(), delta=piece))

    def _image(self, image: Any, events: list[Event]) -> None:
        index = self._next_index
        url = (image.get("image_url") or {}).get("url") if isinstance(image, dict) else None
        item = {"id": f"ig_{index}", "type": "image_generation_call", "status": "completed", "result": url}
        self._images[index] = item
        events.append(self._event("response.output_item.added", output_index=index, item=item))
        events.append(self._event("response.output_item.done", output_index=index, item=item))

    # Endings -----------------------------------------------------------------------------------------------------

    def _end(self, item: _Message | _Call, events: list[Event], cut: bool) -> None:
        if item.done:
            return
        if isinstance(item, _Call):
            item.done = not cut or _is_object(item.payload()) or item.kind == "custom_tool_call"
            if item.done:
                self._call_done(item, events)
        else:
            item.done = not cut
            for part in item.parts:
                self._part_done(item, part, events)
        status = "completed" if item.done else "incomplete"
        events.append(self._event("response.output_item.done", output_index=item.index, item=item.item(status)))

    def _call_done(self, call: _Call, events: list[Event]) -> None:
        kind = "function_call_arguments" if call.kind == "function_call" else "custom_tool_call_input"
        done = {call.payload_field: call.payload(), "name": call.name}
        events.append(self._event(f"response.{kind}.done", **call.place(), **done))

    def _part_done(self, item: _Message, part: _Part, events: list[Event]) -> None:
        self._text_delta(item, part, part.joiner.close(), None, events)
        place = {**item.place(), "content_index": part.index}
        content = part.content()
        field = "refusal" if part.kind == "refusal" else "text"
        logprobs: Event = {"logprobs": []} if part.kind == "output_text" else {}
        events.append(self._event(f"response.{part.kind}.done", **place, **{field: content[field]}, **logprobs))
        events.append(self._event("response.content_part.done", **place, part=content))


def _complete(call: _Call, call_id: str, name: str) -> None:
    """Take what a later fragment adds to a call's head; repeated ids and names add nothing."""
    if call_id and not call.call_id:
        call.call_id = call_id
    if name and not call.name:
        call.name = name
    elif name and name != call.name and not call_id and not call.arguments:
        call.name += name  # a name that streams in pieces


def _nothing_but_text(chunk: Event, choice: int) -> str:
    """The text of a chunk for one choice, "" when the chunk says anything else too."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or "error" in chunk or "x_groq" in chunk or chunk.get("usage"):
        return ""
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return ""
    given = choices[0]
    if type(given) is not dict or given.get("index") != choice or given.get("finish_reason") or "error" in given:
        return ""
    delta = given.get("delta")
    if type(delta) is not dict or len(delta) != 1 or given.get("logprobs"):
        return ""
    text = delta.get("content")
    return text if type(text) is str else ""


def _texts(delta: Event) -> Iterator[tuple[str, str]]:
    """The runs of text in a delta, with the kind of part that each belongs to, reasoning first."""
    # DeepSeek, llama.cpp, Alibaba say reasoning_content; OpenRouter, Groq, vLLM >= 0.19 say reasoning; some say both.
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield "reasoning_text", reasoning
    content = delta.get("content")
    if isinstance(content, str):
        if content:
            yield "output_text", content
    elif isinstance(content, list):
        yield from _listed(content)
    refusal = delta.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield "refusal", refusal
    audio = delta.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("transcript"), str) and audio["transcript"]:
        yield "output_text", audio["transcript"]


def _listed(parts: list[Any]) -> Iterator[tuple[str, str]]:
    """Content as a list of parts: Mistral's thinking models."""
    for part in parts:
        if isinstance(part, str) and part:
            yield "output_text", part
        elif isinstance(part, dict) and part.get("type") == "thinking":
            inner = part.get("thinking")
            thoughts = inner if isinstance(inner, list) else [inner]
            text = "".join(t if isinstance(t, str) else t.get("text") or "" for t in thoughts if t)
            if text:
                yield "reasoning_text", text
        elif isinstance(part, dict) and isinstance(part.get("text"), str) and part["text"]:
            yield "output_text", part["text"]


def _status(finish: str | None) -> tuple[str, Event]:
    """A finish_reason as the status of a response, with its details. None is [DONE] without any: a weaker proof."""
    reason = (finish or "stop").lower()
    if reason in STOPPED:
        return "completed", {}
    if reason in FAILED:
        return "failed", {"error": {"code": finish, "message": f"finish_reason {finish}"}}
    if reason in CUT:
        return "incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}
    return "incomplete", {"incomplete_details": {"reason": finish}}


def _usage(usage: Event) -> Event:
    """Chat's usage in the names of the Responses API, with what the server counted and no more."""
    into, out = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    translated = {"input_tokens": into, "output_tokens": out, "total_tokens": usage.get("total_tokens") or into + out}
    for name, given in (("input_tokens_details", "prompt"), ("output_tokens_details", "completion")):
        details = usage.get(f"{given}_tokens_details")
        if isinstance(details, dict):
            translated[name] = details
    return translated


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False
