"""The files that the examples of a man page name, in a folder of their own: an example is run as it stands there.

In: an empty folder, which is also the home. Out: the files. Knows nothing of examples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.streams import message, responses_body

_BOOKS = "id,title\n1,Emma\n2,Ulysses\n"
_PENDING_CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
_TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
_PROFILE = '[profile.reviewer]\nsystem = "You review code."\n'


def write_example_files(folder: Path) -> None:
    """Write every file that an example reads."""
    for name, content in _contents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def _contents() -> dict[str, str | bytes]:
    return {
        ".config/oastream/config.toml": _PROFILE,
        ".keys/openai": "sk-of-an-example\n",
        "books.csv": _BOOKS,
        "faults.toml": "[[attempt]]\nstatus = 503\n\n[[attempt]]\n",
        "diagram.png": b"\x89PNG\r\n\x1a\n",
        "main.c": "int main(void) { return 0; }\n",
        "more.txt": "More of it.\n",
        "names.txt": "Ada\nAlan\n",
        "notes.txt": "Some notes.\n",
        "old.rec": _recording(responses_body(message("An old answer."))),
        "letter.old": "Grüße\n".encode("latin-1"),
        "prime.json": json.dumps({"text": "No.", "reasoning": "7 times 13."}),
        "prompts.txt": "Say one\nSay two\nSay three\n",
        "request.json": json.dumps({"input": "Name a colour", "store": False}),
        "requests.jsonl": "".join(
            json.dumps({"custom_id": name, "body": {"model": "m", "input": f"Say {name}"}}) + "\n"
            for name in "abcdefgh"
        ),
        "script.md": "Here it is:\n```sh\ndate\n```\n",
        "tools.json": json.dumps([_TOOL]),
        "weather.jsonl": json.dumps({"role": "user", "content": "How is it?"}) + f"\n{json.dumps(_PENDING_CALL)}\n",
    }


def _request(name: str) -> dict[str, Any]:
    return {"custom_id": name, "body": {"model": "m", "input": f"Say {name}"}}


def _recording(body: bytes) -> str:
    head = {"ms": 0, "status": 200, "headers": {"content-type": "text/event-stream"}}
    return "".join(f"{json.dumps(line)}\n" for line in (head, {"ms": 5, "data": body.decode()}, {"ms": 6, "end": ""}))
