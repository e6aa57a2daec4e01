"""What real servers sent, against what an independent program read from it.

The recordings lie beside the repository and never become part of it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Result, oastream
from tests.support.streams import sse
from tests.support.wire import Reply, http_response, serve, sse_response

STREAMS = Path(__file__).parents[2] / "shared" / "streams"
TEXT_DELTAS = ("response.output_text.delta", "response.audio.transcript.delta")
FORMATS = ["text", "tools", "ndjson"]

pytestmark = pytest.mark.skipif(not STREAMS.is_dir(), reason=f"no recorded streams in {STREAMS}")


def entries() -> Iterator[dict[str, Any]]:
    if STREAMS.is_dir():
        for line in (STREAMS / "EXPECTED.jsonl").read_text().splitlines():
            yield json.loads(line)


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
    assert result.status == entry["exit_tools" if format == "tools" else "exit_text"], result
    if format == "text":
        assert result.text == printed_text(entry)
    elif format == "tools":
        assert result.records == (entry["tool_calls"] if result.status == 0 else [])
    else:
        check_events(entry, result)


def printed_text(entry: dict[str, Any]) -> str:
    """What stdout holds: the text or the refusal, with the newline that a complete answer ends in."""
    text: str = entry["text"] + entry["refusal"]
    if entry["exit_text"] >= 20 or not text or text.endswith("\n"):
        return text
    return f"{text}\n"


def check_events(entry: dict[str, Any], result: Result) -> None:
    """NDJSON: the end record, the server's own events byte for byte, and deltas that are the text as far as they go.

    A text that only a done event or the terminal one completes is not in the deltas.
    """
    assert result.end["exit"] == result.status
    if entry["api"] == "responses" and entry["path"].endswith(".jsonl"):
        verbatim(entry, result)
    deltas = [record for record in result.records if record["type"] in TEXT_DELTAS]
    if entry["api"] == "chat":
        assert "".join(record["delta"] for record in deltas) == entry["text"]
    place = 0
    for _, run in itertools.groupby(deltas, lambda record: (record.get("output_index"), record.get("content_index"))):
        text = "".join(record["delta"] for record in run)
        place = entry["text"].find(text, place) + len(text)
        assert place >= len(text), f"{text} is not in the text, or not in its place"


def verbatim(entry: dict[str, Any], result: Result) -> None:
    """Each line is a payload of the server's, in its order, byte for byte."""
    sent = [line for line in (STREAMS / entry["path"]).read_text().split("\n") if line.strip()]
    printed = result.text.split("\n")[:-2]
    assert printed == sent[: len(printed)]
