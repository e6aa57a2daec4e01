"""A batch that is all answered: what it takes to find that out, of a large input and its journal.

In: the folder of the programs, how many items. Out: seconds and CPU of the whole run, and its memory beside that of a
run of one item. No server is needed: nothing is connected, or the run fails.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.bench.measure import peak, run

NOWHERE = "http://127.0.0.1:9/v1"
Body = dict[str, Any]


class Answered(NamedTuple):
    """Of one run: seconds, seconds of CPU, megabytes more than a run of one item takes."""

    wall: float
    cpu: float
    memory: float


def measured_answered(program: Path, count: int, size: int, runs: int) -> Answered:
    """So many items, each line of the input and of the journal about so many bytes."""
    with tempfile.TemporaryDirectory() as place:
        one = [str(program), *write_answered(Path(place) / "one", 1, size), "--base-url", NOWHERE]
        many = [str(program), *write_answered(Path(place) / "many", count, size), "--base-url", NOWHERE]
        done = [run(many) for _ in range(runs)]
        memory = peak(many) - peak(one)
    return Answered(median(each.wall for each in done), median(each.cpu for each in done), memory)


def write_answered(path: Path, count: int, size: int) -> tuple[str, ...]:
    """An input and a journal that answers all of it; the words of the command line that name them."""
    source, out = path.with_suffix(".jsonl"), path.with_suffix(".out")
    with source.open("wb") as lines, out.open("wb") as records:
        for line, record in _lines(count, size):
            lines.write(line)
            records.write(record)
    return str(source), "-o", str(out)


def _lines(count: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    text = "some words of a prompt or of its answer, " * (size // 41)
    for number in range(count):
        custom_id = f"request-{number}"
        body: Body = {"model": "m", "input": f"{number} {text}"}
        yield _dump({"custom_id": custom_id, "url": "/v1/responses", "body": body}), _record(custom_id, body, text)


def _record(custom_id: str, body: Body, text: str) -> bytes:
    sent = json.dumps(body | {"stream": True}, separators=(",", ":")).encode()
    content = [{"type": "output_text", "annotations": [], "text": text}]
    message = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": content}
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [message]}
    about = {"request": blake2b(sent, digest_size=8).hexdigest(), "outcome": "stop", "exit": 0, "line": 1}
    answer = {"status_code": 200, "request_id": None, "body": response}
    return _dump({"id": custom_id, "custom_id": custom_id, "response": answer, "error": None, "oastream": about})


def _dump(value: Body) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
