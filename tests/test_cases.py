"""Golden cases: a folder of plain files under tests/cases is a claim.

    args              one argument a line; {url} is the server's, --base-url is added when it is not named
    reply.sse         the body of a 200 text/event-stream, or
    reply.http        the whole answer, sent as it is
    stdin             what the program reads (else /dev/null)
    stdout, status    what must come out (else nothing; else 0)
    stderr            a regular expression for each line, a hint may follow (else: nothing at status 0, else a message)
    contains          JSON Lines: each must be part of a line of stdout, in this order; instead of stdout

A suffix names a format and asks for another run: `stdout.tools`, `status.tools`, `contains.ndjson`, …
`pytest tests/test_cases.py --rewrite` writes stdout, stderr and status anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oastream.exits import TABLE
from tests.support.program import Result, oastream
from tests.support.wire import Reply, serve, sse_response

CASES = Path(__file__).parent / "cases"
EXPECTATIONS = ("stdout", "stderr", "status", "contains")
NAMES = {number: outcome.value for outcome, (number, _) in TABLE.items()}


def runs() -> Iterator[Any]:
    """Each folder with each format that it speaks of; the empty name is the format in `args`, or the default."""
    for folder in sorted(CASES.iterdir()):
        names = {file.name.partition(".") for file in folder.iterdir()}
        formats = {suffix for stem, _, suffix in names if stem in EXPECTATIONS}
        for format in sorted({"", *formats}):
            yield pytest.param(folder, format, id=f"{folder.name}-{format}" if format else folder.name)


@pytest.mark.parametrize(("folder", "format"), list(runs()))
def test_case(folder: Path, format: str, request: pytest.FixtureRequest) -> None:
    result = run(folder, format)
    if request.config.getoption("--rewrite"):
        rewrite(folder, format, result)
    status = int(read(folder, "status", format) or read(folder, "status", "") or 0)
    assert result.status == status, f"status {result.status}, not {status}: {result}"
    compare_stdout(folder, format, result)
    compare_stderr(folder, format, result)
    if (format or "text") == "ndjson":
        assert result.end["exit"] == status
        assert result.end["outcome"] == NAMES[status] or "--ok" in arguments(folder)


def arguments(folder: Path) -> list[str]:
    return (folder / "args").read_text().splitlines()


def reply(folder: Path) -> Reply:
    whole = folder / "reply.http"
    return whole.read_bytes() if whole.exists() else sse_response((folder / "reply.sse").read_bytes())


def run(folder: Path, format: str) -> Result:
    stdin = folder / "stdin"
    with serve(reply(folder)) as server:
        args = [arg.replace("{url}", server.url) for arg in arguments(folder)]
        base = [] if "--base-url" in args else ["--base-url", server.url]
        form = ["--format", format] if format else []
        return oastream(
            *base, "--retry", "0", *form, *args, stdin=stdin.read_bytes() if stdin.exists() else None, timeout=20
        )


def expected_file(folder: Path, stem: str, format: str) -> Path:
    return folder / (f"{stem}.{format}" if format else stem)


def read(folder: Path, stem: str, format: str) -> str | None:
    file = expected_file(folder, stem, format)
    return file.read_bytes().decode() if file.exists() else None


def steady(out: str) -> str:
    """Without what differs from run to run."""
    return re.sub(r'("\w+_ms":)[0-9.]+', r"\g<1>0", out)


def compare_stdout(folder: Path, format: str, result: Result) -> None:
    contains = read(folder, "contains", format)
    if contains is None:
        assert steady(result.out.decode()) == (read(folder, "stdout", format) or ""), f"stdout of {result}"
        return
    records = iter(result.records)
    for line in contains.splitlines():
        wanted = json.loads(line)
        assert any(is_part(wanted, record) for record in records), f"no {line} (in this order) in {result}"


def is_part(wanted: Any, found: Any) -> bool:
    """Objects may hold more than is wanted, lists may not."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(name in found and is_part(value, found[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(is_part, wanted, found))
    return bool(wanted == found)


def compare_stderr(folder: Path, format: str, result: Result) -> None:
    default = "" if result.status == 0 else "oastream: .+\n"
    patterns = (read(folder, "stderr", format) or read(folder, "stderr", "") or default).splitlines()
    lines = result.err.splitlines()
    hints = lines[len(patterns) :] if patterns else []
    assert len(hints) <= 1, f"more than a message and a hint: {result}"
    assert len(lines) - len(hints) == len(patterns), f"stderr of {result}"
    for pattern, line in zip(patterns, lines, strict=False):
        assert re.search(pattern, line), f"{pattern!r} does not match {line!r}"


def stderr_matches(folder: Path, format: str, result: Result) -> bool:
    """A pattern that still matches is kept: it says less, and on purpose."""
    try:
        compare_stderr(folder, format, result)
    except AssertionError:
        return False
    return True


def rewrite(folder: Path, format: str, result: Result) -> None:
    default_status = read(folder, "status", "") or "0"
    write(expected_file(folder, "status", format), str(result.status), default_status if format else "0")
    if read(folder, "contains", format) is None:
        write(expected_file(folder, "stdout", format), steady(result.out.decode()), "")
    if read(folder, "stderr", format) is not None and not stderr_matches(folder, format, result):
        write(expected_file(folder, "stderr", format), "".join(f"^{re.escape(x)}$\n" for x in result.err.splitlines()))


def write(file: Path, content: str, default: str = "") -> None:
    """A file that would only say the default is left out, unless it asks for a run."""
    if content.strip("\n") == default.strip("\n") and not (file.suffix and file.exists()):
        file.unlink(missing_ok=True)
        return
    file.write_bytes(content.encode() if file.name.startswith("stdout") else f"{content.rstrip()}\n".encode())
