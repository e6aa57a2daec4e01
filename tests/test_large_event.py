"""An event of many megabytes takes memory for its bytes, for orjson's copy of them, and for the value: for no other.

What is measured is the peak of a whole run, above that of a run whose event is small.
"""

from __future__ import annotations

import functools

import pytest

from tests.bench.measure import Place, run_weighed
from tests.support.program import command, environment
from tests.support.streams import chat_body, message, response_object, responses_events, sse
from tests.support.wire import serve, sse_response

SIZE = 8
"""MiB of the event."""


def body_of(api: str, text: str) -> bytes:
    """An answer whose text comes in one delta, and is not repeated."""
    if api == "chat":
        return chat_body(text, piece=len(text))
    events = [event for event in responses_events(message(text), piece=len(text)) if "done" not in event["type"]]
    return sse([*events[:-1], {"type": "response.completed", "response": response_object()}])


@functools.cache
def peak_of(api: str, output_format: str, size: int) -> float:
    """MiB, of a run with events of that many."""
    text = "word " * max(1, (size << 20) // 5)
    with serve(sse_response(body_of(api, text), pieces=1 << 16)) as server:
        words = command(["--base-url", server.url, "--api", api, "--format", output_format, "hi"])
        return run_weighed(words, Place(environment())).memory / 2**20


@pytest.mark.parametrize(
    ("api", "output_format", "copies"),
    [("responses", "text", 3), ("responses", "sse", 3), ("responses", "ndjson", 4), ("chat", "text", 3)],
)
def test_a_large_event_is_there_few_times(api: str, output_format: str, copies: int) -> None:
    above = peak_of(api, output_format, SIZE) - peak_of("responses", "text", 0)
    assert above < (copies + 0.4) * SIZE
