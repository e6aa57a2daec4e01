"""What real servers sent, against what an independent program read from it by the contract.

The recordings lie beside the repository and never become part of it. Where EXPECTED.jsonl had a doubt, `settled` says
what the contract has decided since, and which results it leaves open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.program import Result, oastream
from tests.streams import Event, sse
from tests.wire import Reply, http_response, serve, sse_response

STREAMS = Path(__file__).parents[2] / "shared" / "streams"
FORMATS = ["text", "tools", "ndjson"]
WAITING = ("mcp_approval_request", "local_shell_call", "shell_call", "apply_patch_call", "computer_call")

pytestmark = pytest.mark.skipif(not STREAMS.is_dir(), reason=f"no recorded streams in {STREAMS}")


@dataclass(frozen=True, slots=True)
class Expected:
    """One acceptable result."""

    text: str
    exit_text: int
    exit_tools: int
    calls: list[Event]
    joined_deltas: str

    @property
    def stdout(self) -> str:
        """With the newline that a complete answer ends in."""
        if self.exit_text >= 20 or not self.text or self.text.endswith("\n"):
            return self.text
        return f"{self.text}\n"


def entries() -> Iterator[dict[str, Any]]:
    if STREAMS.is_dir():
        for line in (STREAMS / "EXPECTED.jsonl").read_text().splitlines():
            yield json.loads(line)


def settled(entry: dict[str, Any]) -> list[Expected]:
    """The results that the contract accepts."""
    text = entry["text"] + entry["refusal"]
    main = Expected(text, entry["exit_text"], entry["exit_tools"], entry["tool_calls"], entry["text"])
    doubt = entry.get("doubt", "")
    if doubt.startswith("the client has to act on"):
        items = waiting_items(entry)
        if items:
            return [replace(main, exit_text=13, exit_tools=0, calls=some) for some in items]
        return [  # tool_search_call: a finished item is not empty, an item that waits for the client is a call
            replace(main, exit_text=0, exit_tools=17),
            *(replace(main, exit_text=13, exit_tools=0, calls=some) for some in items_of(entry, ("tool_search_call",))),
        ]
    if "image" in doubt:  # an image or another finished item is not empty
        return [replace(main, exit_text=0, exit_tools=17)]
    if "transcript" in doubt:  # a transcript of audio is text
        return [replace(main, text="Hello", exit_text=0, exit_tools=17, joined_deltas="Hello")]
    if "abridged" in doubt:
        whole = entry["also_text"][0]["text"]
        if is_continued(entry):  # a done text that goes beyond its deltas completes them
            return [replace(main, text=whole)]
        return [replace(main, exit_text=43, exit_tools=code) for code in (43, 17)]  # one that contradicts them is 43
    if "run itself" in doubt:
        return [main, *(replace(main, exit_text=also["exit"], exit_tools=17, calls=[]) for also in entry["also_text"])]
    if entry["path"] == "HTTP_ERRORS.jsonl#9":  # `invalid_model` may be an unknown model
        return [main, replace(main, exit_text=23, exit_tools=23)]
    if entry["provider"] == "http-error" and doubt:  # an error's type and code count before its HTTP status
        return [replace(main, exit_text=23, exit_tools=23)]
    return [main]


def waiting_items(entry: dict[str, Any]) -> list[list[Event]]:
    return items_of(entry, WAITING)


def items_of(entry: dict[str, Any], types: tuple[str, ...]) -> list[list[Event]]:
    """Items of these types, as they were done, and as they stand in the terminal response."""
    events = payloads(entry)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    terminal = events[-1]["response"]["output"]
    return [some for some in ([item for item in items if item["type"] in types] for items in (done, terminal)) if some]


def is_continued(entry: dict[str, Any]) -> bool:
    """Whether every done text begins with its deltas."""
    deltas: dict[int, str] = {}
    for event in payloads(entry):
        if event["type"] == "response.output_text.delta":
            deltas[event["output_index"]] = deltas.get(event["output_index"], "") + event["delta"]
        elif event["type"] == "response.output_text.done" and not event["text"].startswith(
            deltas.get(event["output_index"], "")
        ):
            return False
    return True


def payloads(entry: dict[str, Any]) -> list[Event]:
    """The events of a recording that is payloads only."""
    assert entry["path"].endswith(".jsonl") or entry["path"].endswith(".sse")
    raw = (STREAMS / entry["path"]).read_text()
    if entry["path"].endswith(".sse"):
        lines = [line.removeprefix("data:").strip() for line in raw.splitlines() if line.startswith("data:")]
    else:
        lines = [line for line in raw.splitlines() if line.strip()]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def reply(entry: dict[str, Any]) -> Reply:
    """The recording as its server would have sent it, framed as README.md of the recordings says."""
    path, _, number = entry["path"].partition("#")
    if number:
        recorded = json.loads((STREAMS / path).read_text().splitlines()[int(number)])
        kept = {name: value for name, value in recorded["headers"].items() if name.startswith(("x-", "retry"))}
        kind = recorded["headers"].get("content-type", "application/json")
        return http_response(recorded["body"], f"{recorded['status']} Recorded", kind, kept)
    if path.endswith(".sse"):
        return sse_response((STREAMS / path).read_bytes())
    return sse_response(framed(entry))


def framed(entry: dict[str, Any]) -> bytes:
    chat = entry["api"] == "chat"
    lines = [line for line in (STREAMS / entry["path"]).read_text().split("\n") if line.strip()]
    if chat:
        return sse(lines, done=True)
    return b"".join(f"{event_line(line)}data: {line}\n\n".encode() for line in lines)


def event_line(line: str) -> str:
    try:
        return f"event: {json.loads(line)['type']}\n"
    except ValueError:  # one recording has a line that is no JSON
        return ""


@pytest.mark.parametrize("entry", list(entries()), ids=lambda entry: entry["path"].rpartition("/")[2])
@pytest.mark.parametrize("format", FORMATS)
def test_a_recorded_stream(entry: dict[str, Any], format: str) -> None:
    with serve(reply(entry)) as server:
        args = ["--base-url", server.url, "--api", entry["api"], "--retry", "0", "--format", format]
        result = oastream(*args, "hello")
    accepted = settled(entry)
    assert any(matches(expected, result, format) for expected in accepted), f"{result}\nis none of {accepted}"
    if format == "ndjson":
        assert result.end["exit"] == result.status
        if entry["api"] == "responses" and entry["path"].endswith(".jsonl"):
            verbatim(entry, result)


def matches(expected: Expected, result: Result, format: str) -> bool:
    if format == "text":
        return (result.status, result.text) == (expected.exit_text, expected.stdout)
    if format == "tools":
        calls = expected.calls if expected.exit_tools == 0 else []
        return (result.status, result.records) == (expected.exit_tools, calls)
    deltas = "".join(
        record["delta"]
        for record in result.records
        if record["type"] == "response.output_text.delta" and record.get("output_index") is not None
    )
    if expected.exit_text == 43 and result.status == 0:
        return deltas == expected.joined_deltas  # nothing was printed that the done text contradicts
    return (result.status, deltas) == (expected.exit_text, expected.joined_deltas)


def verbatim(entry: dict[str, Any], result: Result) -> None:
    """Each line is a payload of the server's, in its order, byte for byte."""
    sent = [line for line in (STREAMS / entry["path"]).read_text().split("\n") if line.strip()]
    printed = result.text.split("\n")[:-2]
    assert printed == sent[: len(printed)]
