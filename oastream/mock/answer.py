"""What is said: the answer to a request, before it has the shape of either API.

In: a request's JSON body, the reply that the script gives, how the answer shall end. Out: an `Answer`.
A token is a word with the blanks before it. Knows nothing of events, faults or sockets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from oastream.exits import Outcome
from oastream.mock import body as request_body
from oastream.mock.events import Json, json_text
from oastream.mock.sample import sample_value

REFUSAL = "I'm sorry, but I can't help with that."
REASONING = "Let me think about this for a moment."
NOT_JSON = "This is not JSON."

TOKEN_LOGPROB = -0.1
"""The log probability of every token."""

USAGE_KEYS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")

_WORD = re.compile(r"\s*\S+|\s+")
_ARGUMENT_PIECE = re.compile(r"\W*\w+|\W+")  # JSON often has no blanks, and as one word would be one delta


class ToolCall(NamedTuple):
    """A call: `payload` is the arguments' JSON text, or a custom tool's free input."""

    name: str
    payload: str
    custom: bool = False


class Answer(NamedTuple):
    """What the model says. `end` is how it ends; `usage` replaces counted numbers (keys: USAGE_KEYS)."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Mapping[str, int] | None = None
    end: Outcome = Outcome.STOP


class Turn(NamedTuple):
    """One request and its answer. `number` counts the server's replies and makes the ids; `created` is Unix time."""

    body: Json
    answer: Answer
    number: int
    created: int

    @property
    def model(self) -> str:
        """The model's name, as the client asked for it."""
        return str(self.body.get("model") or "mock")

    def make_id(self, prefix: str, part: int = 0) -> str:
        """An id in OpenAI's form. It is made from numbers, so that two runs of a test see the same ids."""
        return f"{prefix}{self.number:024x}{part:024x}"

    def count_usage(self) -> dict[str, int]:
        """Tokens by USAGE_KEYS: counted, or as the reply states them."""
        counted = {
            "input_tokens": sum(len(split_words(text)) for text in request_body.prompt_texts(self.body)),
            "output_tokens": count_tokens(self.answer),
            "reasoning_tokens": len(split_words(self.answer.reasoning)),
            "cached_tokens": 0,
        }
        return {**counted, **(self.answer.usage or {})}


# --- pieces: a delta of a stream is one piece, and counts as one token


def split_words(text: str) -> list[str]:
    """The pieces of a text; joined they are the text."""
    return _WORD.findall(text)


def argument_pieces(call: ToolCall) -> list[str]:
    """The pieces of a call's payload; joined they are the payload."""
    return _ARGUMENT_PIECE.findall(call.payload)


def count_tokens(answer: Answer) -> int:
    """How many pieces the answer has."""
    in_texts = sum(len(split_words(text)) for text in (answer.reasoning, answer.text, answer.refusal))
    return in_texts + sum(len(argument_pieces(call)) for call in answer.calls)


def describe_logprob(piece: str, alternatives: object) -> Json:
    """The entry of a token for a client that asked for logprobs; `alternatives` is the request's top_logprobs."""
    entry: Json = {"token": piece, "logprob": TOKEN_LOGPROB, "bytes": list(piece.encode("utf-8", "replace"))}
    # The token itself is its own only alternative, however many were asked for.
    top = [entry] if alternatives else []
    return {**entry, "top_logprobs": top}


# --- the answer


def answer_to(body: Json, reply: Answer | None, end: Outcome) -> Answer:
    """The answer to a request of either API; without a reply, its last user message comes back."""
    answer = reply or Answer(_default_text(body))
    answer = _with_ending(body, answer, end)
    answer = _before_stop_sequence(body, answer)
    # The limit comes last, as in a server that generates: it may cut what was to end in another way.
    limit = request_body.token_limit(body)
    if limit is not None and limit < count_tokens(answer):
        return shorten(answer, limit)
    return answer


def shorten(answer: Answer, budget: int, end: Outcome = Outcome.LENGTH) -> Answer:
    """The answer's first `budget` pieces, in the order in which they are sent."""
    tokens = iter(range(budget))
    reasoning = _spend(split_words(answer.reasoning), tokens)
    text = _spend(split_words(answer.text), tokens)
    refusal = _spend(split_words(answer.refusal), tokens)
    calls = [call._replace(payload=_spend(argument_pieces(call), tokens)) for call in answer.calls]
    begun_calls = tuple(call for call in calls if call.payload)
    return answer._replace(reasoning=reasoning, text=text, refusal=refusal, calls=begun_calls, end=end)


def _spend(pieces: list[str], tokens: Iterator[int]) -> str:
    """As many pieces as there are tokens left; those are gone then."""
    # zip asks for a piece first: the other way round, the end of a text would cost a token that nobody gets.
    return "".join(piece for piece, _ in zip(pieces, tokens, strict=False))


def _with_ending(body: Json, answer: Answer, end: Outcome) -> Answer:
    """The answer changed so that it ends as the script says. `end` itself is kept where the API reports it."""
    if end in _ENDINGS:
        return _ENDINGS[end](answer)
    if request_body.demands_call(body):
        return _call_tool(body, answer)
    if end is not Outcome.TOOL_CALLS:
        return answer._replace(end=end)
    # An agent's loop must come to its end: once the tools have run, the answer is text.
    if request_body.ends_in_tool_output(body):
        return answer._replace(text=answer.text or _default_text(body), calls=())
    return _call_tool(body, answer)


def _refuse(answer: Answer) -> Answer:
    return answer._replace(text="", refusal=answer.refusal or REFUSAL, calls=())


def _only_reason(answer: Answer) -> Answer:
    return answer._replace(text="", refusal="", calls=(), reasoning=answer.reasoning or REASONING)


def _violate_schema(answer: Answer) -> Answer:
    return answer._replace(text=NOT_JSON, calls=())


def _call_nothing(answer: Answer) -> Answer:
    return answer._replace(calls=())


def _stop_halfway(answer: Answer, end: Outcome) -> Answer:
    return shorten(answer, max(1, count_tokens(answer) // 2), end)


# How each end is brought about by what is said. An end that is not here changes nothing, or is up to a fault.
_ENDINGS: dict[Outcome, Callable[[Answer], Answer]] = {
    Outcome.REFUSAL: _refuse,
    Outcome.EMPTY: _only_reason,
    Outcome.SCHEMA: _violate_schema,
    Outcome.NO_TOOL_CALLS: _call_nothing,
    Outcome.LENGTH: lambda answer: _stop_halfway(answer, Outcome.LENGTH),
    Outcome.CONTENT_FILTER: lambda answer: _stop_halfway(answer, Outcome.CONTENT_FILTER),
}


def _before_stop_sequence(body: Json, answer: Answer) -> Answer:
    """The answer as far as the first stop sequence, which is not part of it."""
    places = [answer.text.find(sequence) for sequence in request_body.stop_sequences(body)]
    found = [place for place in places if place >= 0]
    if not found:
        return answer
    return answer._replace(text=answer.text[: min(found)])


def _default_text(body: Json) -> str:
    schema = request_body.output_schema(body)
    if schema is None:
        return request_body.last_user_text(body)
    return json_text(sample_value(schema))


def _call_tool(body: Json, answer: Answer) -> Answer:
    """The reply's own calls, or one call of the tool that the request names; calls come without text."""
    if answer.calls:
        return answer
    tool = request_body.chosen_tool(body) or {"name": "mock_tool"}
    return answer._replace(text="", calls=(_sample_call(tool),))


def _sample_call(tool: Json) -> ToolCall:
    if tool.get("type") == "custom":
        return ToolCall(tool["name"], "sample input", custom=True)
    parameters = tool.get("parameters") or {"type": "object"}
    return ToolCall(tool["name"], json_text(sample_value(parameters)))
