"""The fields of a Chat chunk, in the ways that servers write them → what they mean.

In: parts of one chunk, as parsed. Out: its texts and the kind of each, the fragments of its calls, its finish_reasons,
its usage in the names of the Responses API. Refuses to know the stream: nothing here remembers an earlier chunk.
A field that is missing or of another type is passed over, since servers send both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from oastream.events.fields import Fields, dict_or_empty, int_or_zero, str_or_empty
from oastream.events.finish_reason import outcome_of_reason
from oastream.exits import Outcome

# Texts -----------------------------------------------------------------------------------------------------------


def texts_of_delta(delta: Fields) -> Iterator[tuple[str, str]]:
    """The texts of a delta, each after the kind of part that it belongs to; reasoning first, since it came first."""
    # DeepSeek, llama.cpp, Alibaba say reasoning_content; OpenRouter, Groq, vLLM >= 0.19 say reasoning. Some send both.
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield "reasoning_text", reasoning
    content = delta.get("content")
    if isinstance(content, list):
        yield from _texts_of_parts(content)
    elif isinstance(content, str) and content:
        yield "output_text", content
    refusal = delta.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield "refusal", refusal
    # A model that speaks sends its words beside the sound. They are the answer's text: there is nobody to listen.
    if "audio" in delta:
        transcript = str_or_empty(dict_or_empty(delta["audio"]).get("transcript"))
        if transcript:
            yield "output_text", transcript


def _texts_of_parts(parts: list[Any]) -> Iterator[tuple[str, str]]:
    """Content as a list of parts, as Mistral's thinking models send it."""
    for part in parts:
        if isinstance(part, str):
            kind, text = "output_text", part
        elif isinstance(part, dict) and part.get("type") == "thinking":
            kind, text = "reasoning_text", _thoughts(part.get("thinking"))
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            kind, text = "output_text", part["text"]
        else:
            continue
        # Empty thoughts must not open a reasoning item that nothing fills.
        if text:
            yield kind, text


def _thoughts(thinking: Any) -> str:
    """The text of a thinking part: again a list of parts, or the text itself."""
    if not isinstance(thinking, list):
        thinking = [thinking]
    texts: list[str] = []
    for piece in thinking:
        if isinstance(piece, str):
            texts.append(piece)
        elif piece:
            texts.append(piece.get("text") or "")
    return "".join(texts)


def lone_text(chunk: Fields, choice_number: int | None) -> str:
    """The text of a chunk that says nothing else, "" for any other chunk. `choice_number` None takes any choice.

    Nearly all chunks of an answer are such, so they take a short way. None of the other rules sees them then, which is
    why every field with a rule of its own is ruled out here: errors, usage, a finish_reason, logprobs, and any second
    field of the delta. A new rule for a field of the chunk must be ruled out here, too.
    """
    entry = _lone_entry(chunk)
    if entry is None or (choice_number is not None and entry.get("index") != choice_number):
        return ""
    delta = entry.get("delta")
    if type(delta) is not dict or len(delta) != 1:
        return ""
    text = delta.get("content")
    if type(text) is not str:
        return ""
    return text


def _lone_entry(chunk: Fields) -> Fields | None:
    """The choice of a chunk that has one, and nothing beside it that any rule is for."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or "error" in chunk or "x_groq" in chunk or chunk.get("usage"):
        return None
    if chunk.get("object") == "error" or chunk.get("type") == "error" or "base_resp" in chunk:
        return None
    entry = choices[0]
    if type(entry) is not dict or entry.get("finish_reason") or "error" in entry or entry.get("logprobs"):
        return None
    if entry.get("native_finish_reason") or entry.get("usage"):
        return None
    return entry


def lone_delta(chunk: Fields) -> tuple[str, str] | None:
    """The field and the text of the one piece in a chunk that says nothing else; None for any other chunk.

    As strict as `lone_text`, for the same reason, but a text of any kind counts, and so does a piece of a call's
    arguments. A fragment with a name does not: where calls have no index, each begins a call.
    """
    entry = _lone_entry(chunk)
    if entry is None:
        return None
    delta = entry.get("delta")
    if type(delta) is not dict:
        return None
    said = {name: value for name, value in delta.items() if value not in (None, "", []) and name != "role"}
    if len(said) != 1:
        return None
    field, value = said.popitem()
    if field == "tool_calls":
        return _lone_arguments(value)
    if field in ("content", "refusal", "reasoning_content", "reasoning") and type(value) is str:
        return field, value
    return None


def _lone_arguments(fragments: Any) -> tuple[str, str] | None:
    if type(fragments) is not list or len(fragments) != 1 or type(fragments[0]) is not dict:
        return None
    function = fragments[0].get("function")
    if type(function) is not dict or len(function) != 1 or "custom" in fragments[0]:
        return None
    arguments = function.get("arguments")
    if type(arguments) is not str or not arguments:
        return None
    return "arguments", arguments


# Calls -----------------------------------------------------------------------------------------------------------


CallHead = tuple[int | None, str, str]
"""The index, id and name of a call, as one fragment has them: None or "" where it has none, or something else there.

A bare tuple, since a call has one fragment per token: a class for it took 2,400 instructions more, of 36,000.
"""


def fragments_of_delta(delta: Fields) -> list[Any]:
    """The fragments of calls in a delta, in order."""
    fragments = delta.get("tool_calls")
    if isinstance(fragments, dict):
        fragments = [fragments]
    elif not isinstance(fragments, list):
        fragments = []
    function_call = delta.get("function_call")  # what the API had before tools, in 2023
    if isinstance(function_call, dict):
        fragments = [*fragments, {"function": function_call}]
    return fragments


def split_fragment(fragment: Fields) -> tuple[CallHead, bool, Fields]:
    """A fragment's head, whether it is of a custom tool, and the object that holds its piece of the arguments."""
    function = fragment.get("custom")
    is_custom = isinstance(function, dict)
    if not is_custom:
        function = fragment.get("function")
    if not isinstance(function, dict):
        function = {}
    index = fragment.get("index")
    if not isinstance(index, int):
        index = None
    return (index, str(fragment.get("id") or ""), str(function.get("name") or "")), is_custom, function


def arguments_text(value: Any) -> str:
    """A piece of a call's arguments that is not a string: some servers send the object itself."""
    if value is None:
        return ""
    return orjson.dumps(value).decode()


def image_url(image: Any) -> str | None:
    """The URL of an image in OpenRouter's `images`, mostly a data: URL; None when the entry has none."""
    url = dict_or_empty(image).get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    return url if isinstance(url, str) else None


# The end, and what it cost ---------------------------------------------------------------------------------------


def finish_reasons(entry: Fields) -> list[str]:
    """The finish_reasons that an entry of `choices` has: its own, and the provider's where that says more."""
    reasons = []
    reason, native = entry.get("finish_reason"), entry.get("native_finish_reason")
    if reason and str(reason).lower() != "null":  # "null" as text is no reason
        reasons.append(str(reason))
    if isinstance(native, str) and outcome_of_reason(native) is Outcome.LENGTH:
        reasons.append(native)  # OpenRouter says stop where Gemini said MAX_TOKENS
    return reasons


def usage_of_chunk(chunk: Fields) -> Fields | None:
    """The usage that a chunk, or one entry of its choices, has; Groq wraps it in a field of its own."""
    usage = dict_or_empty(chunk.get("usage") or dict_or_empty(chunk.get("x_groq")).get("usage"))
    if usage:
        return _as_responses_usage(usage)
    return None


def _as_responses_usage(usage: Fields) -> Fields:
    """Usage in the names of the Responses API: what the server counted, and 0 where that API's type needs a number.

    A count of the wrong type is 0: usage is no reason for an answer to fail.
    """
    input_tokens, output_tokens = int_or_zero(usage.get("prompt_tokens")), int_or_zero(usage.get("completion_tokens"))
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": _details(usage.get("prompt_tokens_details"), "cached_tokens", "cache_write_tokens"),
        "output_tokens": output_tokens,
        "output_tokens_details": _details(usage.get("completion_tokens_details"), "reasoning_tokens"),
        "total_tokens": int_or_zero(usage.get("total_tokens")) or input_tokens + output_tokens,
    }


def _details(details: Any, *needed: str) -> Fields:
    """Details of usage: the server's own, and 0 for those that the type needs and the server has not counted."""
    given = dict_or_empty(details)
    return {**given, **{name: int_or_zero(given.get(name)) for name in needed}}
