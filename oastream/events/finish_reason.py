"""The words that servers use for why an answer ended → the outcome that each stands for.

In: a finish_reason of Chat, or the reason of an incomplete response. Out: an `Outcome`. The words are those of OpenAI,
Anthropic, Gemini, Mistral, DeepSeek, Zhipu and the gateways in front of them.
"""

from __future__ import annotations

from oastream.exits import TABLE, Outcome

_WORDS = {
    Outcome.STOP: "stop tool_calls function_call tool_use tool_call eos eos_token end_turn stop_sequence",
    Outcome.LENGTH: "length max_tokens max_output_tokens model_length",
    Outcome.CONTENT_FILTER: "content_filter sensitive safety recitation blocklist prohibited_content",
    Outcome.FAILED: "error abort network_error insufficient_system_resource",
}
_OUTCOMES = {word: outcome for outcome, words in _WORDS.items() for word in words.split()}


def outcome_of_reason(word: str) -> Outcome:
    """The outcome of a word in any case: stop, length, content_filter, failed, or other for an unknown one."""
    return _OUTCOMES.get(word.lower(), Outcome.OTHER)


def outranks(outcome: Outcome, other: Outcome) -> bool:
    """Whether the first of two endings of one answer counts: it has the lower exit status that is not 0."""
    return _rank(outcome) < _rank(other)


def _rank(outcome: Outcome) -> float:
    return TABLE[outcome][0] or float("inf")
