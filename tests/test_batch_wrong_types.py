"""Input lines and replies with fields of the wrong type: no batch of them is our bug, and each has one record.

Lines of the Batch API are spoilt at random places; replies are those of `test_wrong_types`. What each of them means is
for other tests; here none may end in status 1, and each record must be a line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from oastream.lenient_json import parse_json
from tests.support.batches import Record, batch, write_lines
from tests.support.origin import Asked, run_origin, say
from tests.support.wire import Reply, send
from tests.test_wrong_types import RAW, STRANGE, places, spoilt

SEEDS = int(os.environ.get("WRONG_TYPES_SEEDS", "150"))
"""How many lines; more for a search by hand."""

LINES: list[Record] = [
    {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/responses",
        "body": {
            "model": "m",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
            "tools": [{"type": "function", "name": "f", "parameters": {}}],
            "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}},
            "stream": True,
            "max_output_tokens": 5,
        },
    },
    {
        "custom_id": "a",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "n": 2,
            "stream_options": {"include_usage": True},
            "max_tokens": 5,
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    },
    {"custom_id": "a", "url": "/v1/embeddings", "body": {"model": "m", "input": "hi"}},
]
OPTIONS = [
    [],
    ["--set", "tools.0.name=q", "--max-output-tokens", "7"],
    ["--tools", '[{"name":"f"}]', "--tool-choice", "f", "--format", "tools"],
    ["--schema", '{"type":"object"}', "-s", "You"],
    ["--input-format", "json", "--prompt-key", "body", "--format", "row"],
]


def spoilt_line(seed: int) -> str:
    """A line with a field of another type; most have an id of their own."""
    chance = random.Random(seed)
    value: Any = json.loads(json.dumps(chance.choice(LINES)))
    value["custom_id"] = f"q{seed}"
    for _ in range(chance.choice([1, 1, 2])):
        container, key = chance.choice(list(places(value)))
        container[key] = chance.choice(STRANGE)
    text = json.dumps(value)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text


@pytest.mark.parametrize("options", OPTIONS, ids=lambda words: words[0] if words else "plain")
def test_no_line_is_a_bug_of_ours(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "in").write_text("".join(f"{spoilt_line(seed)}\n" for seed in range(SEEDS)))
    result = batch(tmp_path / "in", "--base-url", "mock:", "--skip-bad", "--retry", "0", *options)
    assert result.status in (2, 50, 51), result
    assert b'"internal"' not in result.out
    if result.status == 50:
        lines = result.out.split(b"\n")[:-1]
        assert len(lines) == SEEDS
        for line in lines:
            parse_json(line)


class Spoiling:
    """Answers each prompt, which is a seed, with a spoilt reply, but plainly from the third time on."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Reply:
        self.times[asked.prompt] += 1
        if self.times[asked.prompt] > 2:
            return say("again", asked)
        reply = spoilt(int(asked.prompt)).reply
        steps = [send(reply)] if isinstance(reply, bytes) else [*reply]
        return [*steps, lambda connection: connection.shutdown(socket.SHUT_RDWR)]


@pytest.mark.parametrize(
    "options", [["--format", "batch"], ["--format", "tools"], ["--format", "text", "--keep-partial"]], ids=" ".join
)
def test_no_reply_is_a_bug_of_ours(tmp_path: Path, options: list[str]) -> None:
    items = []
    seeds = [seed for seed in range(SEEDS) if b"slow" not in spoilt(seed).body]  # each 429 makes the run slower
    for seed in seeds:
        body: Record = {"model": "m", "input": str(seed)}
        if spoilt(seed).api == "chat":
            body = {"model": "m", "messages": [{"role": "user", "content": str(seed)}], "n": seed % 2 + 1}
        items.append({"custom_id": str(seed), "body": body})
    source, answers = write_lines(tmp_path / "in", items), tmp_path / "out"
    with run_origin(Spoiling()) as origin:
        words = ("-o", str(answers), "-j", "20", "--retry", "0", *options)
        result = batch(source, *words, "--base-url", origin.url)
    assert result.status == 50, result
    lines = [line for path in (answers, tmp_path / "out.errors") for line in path.read_bytes().split(b"\n")[:-1]]
    assert sorted(parse_json(line)["custom_id"] for line in lines) == sorted(map(str, seeds))
    assert not [line for line in lines if b'"internal"' in line]
    again = batch(source, *words, "--base-url", "mock:")  # what is recorded can be read again
    assert again.status == 50, again
