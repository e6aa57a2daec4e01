"""Chat Completions chunks → the Responses API's streaming events, provider quirks included.

In: chunks as dicts, in order. Out: events as dicts, so that everything after this module knows one vocabulary.
Does no I/O, keeps no more of the answer than the events to come must repeat. Each rule for a quirk names the servers
that need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from oastream.events.finish_reason import outcome_of_reason, outranks
from oastream.events.text_buffer import TextBuffer
from oastream.exits import Outcome
from oastream.surrogates import SurrogateJoiner

Event = dict[str, Any]
Fragment = dict[str, Any]


class _Item:
    """One output item: a message, the reasoning, or a tool call."""

    def __init__(self, kind: str, prefix: str, index: int, choice: int) -> None:
        self.kind = kind
        self.index = index
        self.id = f"{prefix}_{index}"
        self.choice = choice
        self.done = False

    def location(self) -> Event:
        """The fields that tie an event to this item."""
        return {"item_id": self.id, "output_index": self.index}

    def with_choice_index(self, item: Event) -> Event:
        """Items of a further choice say so: their text is not the answer's."""
        return item if self.choice == 0 else {**item, "choice_index": self.choice}


class _TextRun:
    """A run of text inside an item: output text, a refusal or reasoning."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.delta_type = f"response.{kind}.delta"
        self.joiner = SurrogateJoiner()
        self.kept = TextBuffer()

    def content(self) -> Event:
        text = self.kept.text()
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        if self.kind == "output_text":
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        return {"type": self.kind, "text": text}


class _Message(_Item):
    def __init__(self, kind: str, prefix: str, index: int, choice: int) -> None:
        super().__init__(kind, prefix, index, choice)
        self.parts: list[_TextRun] = []

    def item(self, status: str) -> Event:
        content = [part.content() for part in self.parts]
        if self.kind == "reasoning":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status}
        return self.with_choice_index(
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
        return self.with_choice_index({**item, self.payload_field: self.payload()})


class _Choice:
    """What has come of one choice."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.message: _Message | None = None
        self.reasoning: _Message | None = None
        self.last_call: _Call | None = None
        self.by_index: dict[int, _Call] = {}  # the latest at each index
        self.by_id: dict[str, _Call] = {}  # the latest of each id
        self.by_index_and_id: dict[tuple[int, str], _Call] = {}
        self.finish: Outcome | None = None
        self.finish_word = ""

    @property
    def is_empty(self) -> bool:
        return self.message is None and self.last_call is None

    def note_finish(self, word: str) -> None:
        """Take a finish_reason in; of several the one with the lowest exit status that is not 0 counts."""
        finish = outcome_of_reason(word)
        if self.finish is None or outranks(finish, self.finish):
            self.finish, self.finish_word = finish, word

    def add_call(self, call: _Call, index: int | None) -> None:
        self.last_call = call
        if index is not None:
            self.by_index[index] = call
        self.register_id(call, index)

    def register_id(self, call: _Call, index: int | None) -> None:
        if call.call_id:
            self.by_id[call.call_id] = call
            if index is not None:
                self.by_index_and_id[index, call.call_id] = call

    def find_call(self, index: int | None, call_id: str, name: str) -> _Call | None:
        """The call that a fragment goes on with, or None when it begins a new one.

        An index names a call. Index, id and name are each missing, repeated or wrong somewhere, though.
        """
        if index is None:
            return self._find_without_index(call_id, name)
        at_index = self.by_index.get(index)
        if at_index is not None:
            return self._find_at_index(at_index, index, call_id, name)
        if name:
            return None  # also under an id that is known: Gemini behind OpenRouter gives two calls one id
        if call_id:
            return self.by_id.get(call_id)
        return self.last_call  # SGLang #6310 heads a call at one index and goes on at another

    def _find_without_index(self, call_id: str, name: str) -> _Call | None:
        """Gemini, Mistral and Ollama < 0.4.7 send no index, nor did the API before tools."""
        if call_id in self.by_id:
            return self.by_id[call_id]
        return None if name else self.last_call

    def _find_at_index(self, at_index: _Call, index: int, call_id: str, name: str) -> _Call | None:
        """Alibaba and vLLM go on with id ""; Baseten and OpenRouter repeat id and name in each chunk."""
        if not call_id:
            begins_anew = bool(name and at_index.name and name != at_index.name and at_index.arguments)
            return None if begins_anew else at_index
        same = self.by_index_and_id.get((index, call_id))
        if same is not None:
            return same
        # Older Ollama and LiteLLM send index 0 for every call. Poolside and mlx-openai-server change the id on the
        # way, but name the tool once.
        return None if name and at_index.call_id else at_index


class Translator:
    """Translates one stream. `choices` is how many the request asked for; if one, every choice is that one.

    `keep_text` says whether done events and the last response repeat the text; without it memory stays flat.
    `asked` are the fields of a response that repeat the request.
    """

    def __init__(self, choices: int = 1, keep_text: bool = True, asked: Event | None = None) -> None:
        self._expected = choices
        self._keep_text = keep_text
        self._number = -1
        self._choices: dict[int, _Choice] = {}
        self._unfinished = 0
        self._output: list[_Message | _Call | Event] = []  # an image is an event's item as it is
        identity = {"id": "", "object": "response", "created_at": 0, "model": ""}
        self._response: Event = {**(asked or {}), **identity}
        self._usage: Event | None = None
        self._current_text: tuple[_Choice, _Message, _TextRun] | None = None
        """The choice, the item and the part that text belongs to when a chunk says nothing else."""
        self._named = False
        self._started = False
        self._content_followed = False

    @property
    def is_complete(self) -> bool:
        """Whether each choice that came has its finish_reason: the answer is complete, whatever the wire does now."""
        return bool(self._choices) and not self._unfinished

    @property
    def is_settled(self) -> bool:
        """Whether nothing but usage and [DONE] is to be expected.

        Content after a finish_reason takes that back: some servers say `stop` in every chunk, or at the end of the
        reasoning.
        """
        return self.is_complete and not self._content_followed and len(self._choices) >= self._expected

    def feed(self, chunk: Event) -> list[Event]:
        """The events of one chunk. A chunk without choices (keep-alives, filter results) may have none."""
        self._read_metadata(chunk)
        choices = chunk.get("choices")
        events: list[Event] = []
        if not self._started and (choices or self._response["id"]):
            self._start(events)
        for position, choice in enumerate(choices if isinstance(choices, list) else ()):
            if isinstance(choice, dict):
                self._choice(choice, position, events)
        return events

    def text_only_events(self, chunk: Event) -> list[Event] | None:
        """The events of a chunk that goes on with a text and says nothing else, as nearly all do; None for others."""
        if self._current_text is None:
            return None
        choice, item, part = self._current_text
        text = _nothing_but_text(chunk, choice.number if self._expected > 1 else None)
        if not text:
            return None
        if choice.finish is not None:
            self._content_followed = True
        events: list[Event] = []
        self._text_delta(item, part, part.joiner.feed(text), None, events)
        return events

    def close(self) -> list[Event]:
        """The events that end the answer: what is still open is done, then the terminal event."""
        events: list[Event] = []
        if not self._started:
            self._start(events)
        first = self._choices.get(0) or next(iter(self._choices.values()), None)
        finish = first.finish if first is not None else None
        status, details = _ENDINGS[finish or Outcome.STOP]  # none: [DONE] without any, a weaker proof
        for item in self._output:
            if not isinstance(item, dict):
                self._close_item(item, events, status != "completed")
        ending = self._event(f"response.{status}", response=self._snapshot(status) | details)
        if finish in (Outcome.OTHER, Outcome.FAILED) and first is not None:
            # The API's own types have no place for the word.
            ending["finish_reason"] = first.finish_word
            if finish is Outcome.FAILED:
                ending["response"]["error"] = {"code": "server_error", "message": f"finish_reason {first.finish_word}"}
        events.append(ending)
        return events

    def failed(self, error: Event) -> list[Event]:
        """The event of an error, which is the last: the API's own."""
        events: list[Event] = []
        if not self._started:
            self._start(events)
        events.append(self._event("error", **error))
        return events

    # What a chunk says about the whole response ------------------------------------------------------------------

    def _read_metadata(self, chunk: Event) -> None:
        if "usage" in chunk or "x_groq" in chunk:
            self._read_usage(chunk)
        if not self._named:
            self._read_identity(chunk)

    def _read_identity(self, chunk: Event) -> None:
        response = self._response
        if not response["id"] and chunk.get("id"):
            response["id"] = str(chunk["id"])
        if not response["model"] and chunk.get("model"):
            response["model"] = str(chunk["model"])
        if not response["created_at"] and isinstance(chunk.get("created"), (int, float)):
            response["created_at"] = chunk["created"]
        self._named = bool(response["id"] and response["model"] and response["created_at"])

    def _read_usage(self, chunk: Event) -> None:
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
        output = [] if status == "in_progress" else [_final_item(item) for item in self._output]
        fields = {"status": status, "error": None, "incomplete_details": None, "output": output, "usage": self._usage}
        return self._response | fields

    def _event(self, kind: str, **fields: Any) -> Event:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}

    # One choice of a chunk ---------------------------------------------------------------------------------------

    def _choice(self, given: Event, position: int, events: list[Event]) -> None:
        choice = self._choice_of(given, position)
        delta = given.get("delta")
        if delta is None and choice.is_empty:
            # The whole answer in one chunk: a server that ignored `stream`, or buffered it (Lemonade).
            delta = given.get("message")
        was_finished, before = choice.finish is not None, len(events)
        if isinstance(delta, dict):
            self._delta(choice, delta, given.get("logprobs"), events)
        if isinstance(given.get("usage"), dict):
            self._read_usage(given)  # Kimi
        words = _finish_words(given)
        if was_finished and len(events) > before:
            self._content_followed = True
        elif words:
            self._content_followed = False
        for word in words:
            choice.note_finish(word)
        if choice.finish is not None and not was_finished:
            self._unfinished -= 1

    def _choice_of(self, given: Event, position: int) -> _Choice:
        """The choice that an entry belongs to. Foundry Local counts the index up with each chunk of the only one."""
        number = given.get("index")
        number = number if isinstance(number, int) else position
        number = number if self._expected > 1 else 0
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _Choice(number)
            self._unfinished += 1
        return choice

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
            self._current_text = choice, item, part
        self._text_delta(item, part, part.joiner.feed(text), logprobs, events)

    def _text_delta(self, item: _Message, part: _TextRun, text: str, logprobs: Any, events: list[Event]) -> None:
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
                choice.reasoning = _Message("reasoning", "rs", len(self._output), choice.number)
                self._add(choice.reasoning, events)
            return choice.reasoning
        if choice.message is None:
            choice.message = _Message("message", "msg", len(self._output), choice.number)
            self._add(choice.message, events)
        return choice.message

    def _add(self, item: _Message | _Call, events: list[Event]) -> None:
        self._output.append(item)
        events.append(self._event("response.output_item.added", output_index=item.index, item=item.item("in_progress")))

    def _part(self, item: _Message, kind: str, events: list[Event]) -> _TextRun:
        part = _TextRun(kind, len(item.parts))
        item.parts.append(part)
        self._current_text = None
        location = {**item.location(), "content_index": part.index}
        events.append(self._event("response.content_part.added", **location, part=part.content()))
        return part

    # Tool calls --------------------------------------------------------------------------------------------------

    def _fragment(self, choice: _Choice, fragment: Fragment, events: list[Event]) -> None:
        custom = isinstance(fragment.get("custom"), dict)
        function = fragment.get("custom" if custom else "function")
        function = function if isinstance(function, dict) else {}
        name = str(function.get("name") or "")
        call_id = str(fragment.get("id") or "")
        index = fragment.get("index") if isinstance(fragment.get("index"), int) else None
        call = choice.find_call(index, call_id, name)
        if call is None:
            call = self._new_call(choice, custom, index, call_id, name, events)
        elif _merge_call_head(call, call_id, name):
            choice.register_id(call, index)
        self._arguments(call, function.get(call.payload_field), events)

    def _new_call(
        self, choice: _Choice, custom: bool, index: int | None, call_id: str, name: str, events: list[Event]
    ) -> _Call:
        if choice.last_call is not None and _is_whole(choice.last_call):
            self._close_item(choice.last_call, events, False)
        kind, prefix = ("custom_tool_call", "ctc") if custom else ("function_call", "fc")
        call = _Call(kind, prefix, len(self._output), choice.number)
        call.call_id, call.name = call_id, name
        choice.add_call(call, index)
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
        events.append(self._event(f"response.{kind}.delta", **call.location(), delta=piece))

    def _image(self, image: Any, events: list[Event]) -> None:
        index = len(self._output)
        given = image.get("image_url") if isinstance(image, dict) else None
        url = given.get("url") if isinstance(given, dict) else given
        result = url if isinstance(url, str) else None
        item = {"id": f"ig_{index}", "type": "image_generation_call", "status": "completed", "result": result}
        self._output.append(item)
        events.append(self._event("response.output_item.added", output_index=index, item=item))
        events.append(self._event("response.output_item.done", output_index=index, item=item))

    # Endings -----------------------------------------------------------------------------------------------------

    def _close_item(self, item: _Message | _Call, events: list[Event], cut: bool) -> None:
        if item.done:
            return
        if isinstance(item, _Call):
            item.done = not cut or _parsed_object(item.payload()) is not None or item.kind == "custom_tool_call"
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
        events.append(self._event(f"response.{kind}.done", **call.location(), **done))

    def _part_done(self, item: _Message, part: _TextRun, events: list[Event]) -> None:
        self._text_delta(item, part, part.joiner.close(), None, events)
        location = {**item.location(), "content_index": part.index}
        content = part.content()
        field = "refusal" if part.kind == "refusal" else "text"
        logprobs: Event = {"logprobs": []} if part.kind == "output_text" else {}
        events.append(self._event(f"response.{part.kind}.done", **location, **{field: content[field]}, **logprobs))
        events.append(self._event("response.content_part.done", **location, part=content))


def _is_whole(call: _Call) -> bool:
    """Whether a call may be called whole although the answer goes on: more of its arguments could still come.

    Fragments of several calls may alternate (SGLang, gateways), so that `{}` and "" are only beginnings.
    """
    return call.kind == "function_call" and bool(_parsed_object(call.payload()))


def _merge_call_head(call: _Call, call_id: str, name: str) -> bool:
    """Take what a later fragment adds to a call's head, and tell whether that is an id.

    Repeated ids and names add nothing; an id that changes on the way stays the first.
    """
    adds_id = bool(call_id and not call.call_id)
    if adds_id:
        call.call_id = call_id
    if name and not call.name:
        call.name = name
    elif name and name != call.name and not call_id and not call.arguments:
        call.name += name  # a name that streams in pieces
    return adds_id


def _final_item(item: _Message | _Call | Event) -> Event:
    if isinstance(item, dict):
        return item
    return item.item("completed" if item.done else "incomplete")


def _finish_words(given: Event) -> list[str]:
    """The finish_reasons that an entry of `choices` has: its own, and the provider's where that says more."""
    word, native = given.get("finish_reason"), given.get("native_finish_reason")
    words = [str(word)] if word and str(word).lower() != "null" else []
    if isinstance(native, str) and outcome_of_reason(native) is Outcome.LENGTH:
        words.append(native)  # OpenRouter says stop where Gemini said MAX_TOKENS
    return words


def _nothing_but_text(chunk: Event, choice: int | None) -> str:
    """The text of a chunk for one choice (None: for any), "" when the chunk says anything else too."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or "error" in chunk or "x_groq" in chunk or chunk.get("usage"):
        return ""
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return ""
    given = choices[0]
    if type(given) is not dict or given.get("finish_reason") or "error" in given:
        return ""
    if choice is not None and given.get("index") != choice:
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


# How the answer ends by its finish: the response's status, and its details.
_ENDINGS: dict[Outcome, tuple[str, Event]] = {
    Outcome.STOP: ("completed", {}),
    Outcome.LENGTH: ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}),
    Outcome.CONTENT_FILTER: ("incomplete", {"incomplete_details": {"reason": "content_filter"}}),
    Outcome.OTHER: ("incomplete", {"incomplete_details": {"reason": None}}),
    Outcome.FAILED: ("failed", {}),
}


def _usage(usage: Event) -> Event:
    """Chat's usage in the names of the Responses API: what the server counted, and 0 where the type must have a number.

    A number of the wrong type is not one: usage is no reason for an answer to fail.
    """
    into, out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens")) or into + out
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return {
        "input_tokens": into,
        "input_tokens_details": _counts(prompt, "cached_tokens", "cache_write_tokens"),
        "output_tokens": out,
        "output_tokens_details": _counts(completion, "reasoning_tokens"),
        "total_tokens": total,
    }


def _counts(details: Any, *needed: str) -> Event:
    """Details of usage: the server's own, with 0 for those that it has not counted."""
    given = details if isinstance(details, dict) else {}
    return {**given, **{name: _count(given.get(name)) for name in needed}}


def _count(value: Any) -> int:
    """A number of tokens, 0 for what is none."""
    return value if isinstance(value, int) else 0


def _parsed_object(text: str) -> Event | None:
    """The object that a call's arguments are, None while they are none."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
