"""What a run imports is a promise about its start-up: counted in modules, which do not depend on the machine's mood."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.program import environment
from tests.streams import message, responses_body
from tests.wire import serve, sse_response

HEAVY = {"openai", "httpx2", "httpcore2", "asyncio", "anyio", "pydantic", "jsonschema", "tomllib"}
NEVER_FOR_HELP = HEAVY | {"ssl", "socket", "httptools", "orjson", "http.client", "email"}
NEVER_FOR_HTTP = HEAVY | {"ssl", "http.client", "http.server", "email", "random", "subprocess", "base64"}
MOST_FOR_HELP = 130
MOST_FOR_AN_ANSWER = 165


def imported(*args: str) -> set[str]:
    """The modules that a run imports."""
    command = [sys.executable, "-X", "importtime", "-m", "oastream", *args]
    done = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60
    )
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip() for line in lines[1:]}


@pytest.mark.parametrize("option", ["--help", "--help-all", "--version"])
def test_help_imports_nothing_of_the_network(option: str) -> None:
    modules = imported(option)
    assert not modules & NEVER_FOR_HELP
    assert len(modules) <= MOST_FOR_HELP


def test_a_text_answer_over_http_imports_nothing_it_does_not_use() -> None:
    with serve(sse_response(responses_body(message("hi")))) as server:
        modules = imported("--base-url", server.url, "hi")
    assert not modules & NEVER_FOR_HTTP
    assert len(modules) <= MOST_FOR_AN_ANSWER
