"""Runs `oastream-batch`, and reads what it has written.

In: a folder, items, options. Out: a `Result`; records by their ids. Knows nothing of servers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from tests.support.program import NOTHING, TIMEOUT, Environment, Result, check_files, command, run

BATCH_COMMAND = [sys.executable, "-m", "oastream.batch"]
Record = dict[str, Any]


def batch(
    *args: str | Path,
    stdin: bytes | int | IO[bytes] | None = None,
    env: Environment = NOTHING,
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
    stdout: int | IO[bytes] = -1,
    shell: str | None = None,
) -> Result:
    """Run the program to its end; for `shell` see `program.command`."""
    words = [str(arg) for arg in args]
    line = command(words, shell, BATCH_COMMAND)
    result = run(line, stdin=stdin, env=env, cwd=cwd, timeout=timeout, stdout=stdout)
    check_files(tuple(words), cwd)
    return result


def item(custom_id: str, prompt: str | None = None, **body: Any) -> Record:
    """A Batch API line for the Responses API; the prompt is the id by default."""
    return {"custom_id": custom_id, "body": {"model": "m", "input": prompt or custom_id, **body}}


def write_lines(path: Path, records: Iterable[Record]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def numbered(path: Path, count: int) -> Path:
    """An input of this many items, whose ids are q0, q1, …"""
    return write_lines(path, (item(f"q{number}") for number in range(count)))


def read_records(path: Path) -> list[Record]:
    """All lines of a file, which must be whole; none of one that is not there."""
    if not path.exists():
        return []
    text = path.read_text()
    assert text.endswith("\n") or not text, f"the last line of {path} has no end"
    return [json.loads(line) for line in text.split("\n")[:-1]]


def ids(records: Iterable[Record]) -> list[str]:
    return [record["custom_id"] for record in records]


def by_id(records: Sequence[Record]) -> dict[str, Record]:
    """Records by their ids, which must differ."""
    table = {record["custom_id"]: record for record in records}
    assert len(table) == len(records), f"an id came twice: {sorted(ids(records))}"
    return table


def text_of(record: Record) -> str:
    """The text of an answer in the format `batch`."""
    body = record["response"]["body"]
    if body["object"] == "response":
        return "".join(part["text"] for item in body["output"] for part in item.get("content", ()))
    return str(body["choices"][0]["message"]["content"])
