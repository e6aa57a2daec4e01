"""The program oastream-mock, as a process."""

from __future__ import annotations

import signal
import subprocess
import urllib.request
from typing import IO

import pytest

from oastream.mock.keys import KEYS
from tests.support.program import MOCK_COMMAND, Result, finish, run, run_python, start

PATIENCE = 20


def mock(*args: str, stdout: int | IO[bytes] = subprocess.PIPE) -> Result:
    return run([*MOCK_COMMAND, *args], stdout=stdout)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_url_serves_and_dies_of_the_signal(number: signal.Signals) -> None:
    with start(program=MOCK_COMMAND) as process:
        assert process.stdout
        url = process.stdout.readline().decode().rstrip("\n")
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        with urllib.request.urlopen(f"{url}/models", timeout=PATIENCE) as reply:
            assert reply.status == 200
        process.send_signal(number)
        result = finish(process)
    assert (result.status, result.out, result.err) == (-number, b"", "")


def test_verbose_logs_requests_on_stderr() -> None:
    with start("-v", program=MOCK_COMMAND) as process:
        assert process.stdout
        with urllib.request.urlopen(process.stdout.readline().decode().strip() + "/models", timeout=PATIENCE):
            process.terminate()
        result = finish(process)
    assert result.err == 'oastream-mock: "GET /v1/models HTTP/1.1" 200 -\n'


def test_version_and_help() -> None:
    assert mock("--version").text == "oastream-mock 0.1.0\n"
    page = mock("--help")
    assert (page.status, page.err) == (0, "")
    assert mock("-h").text == page.text
    assert all(f"\n    {name} " in page.text for name in KEYS)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--end", "nope"], 2, "--end: 'nope' is not one of stop,"),
        (["--fault", "colour=red"], 2, "no such key in --fault: colour"),
        (["--fault", "status=x"], 2, "--fault: status: 'x' is not a whole number"),
        (["--script", "/no/such"], 2, "--script: not a readable file: /no/such: No such file or directory"),
        (["--nope"], 2, "no such option: --nope"),
        (["--port", "x"], 2, "--port: 'x' is not a port, 0 to 65535"),
        (["--port", "65536"], 2, "--port: '65536' is not a port, 0 to 65535"),
        (["--host", "203.0.113.1"], 6, "cannot listen on 203.0.113.1, port 0: "),
    ],
)
def test_a_mistake_is_one_line_and_a_status(arguments: list[str], status: int, line: str) -> None:
    result = mock(*arguments)
    assert (result.status, result.out) == (status, b"")
    assert result.err.startswith(f"oastream-mock: {line}")
    assert result.err.count("\n") == 1


def test_a_url_that_cannot_be_printed_is_an_output_error() -> None:
    with open("/dev/full", "wb") as full:
        result = mock(stdout=full)
    assert result.status == 9
    assert result.err == "oastream-mock: cannot write to stdout: No space left on device\n"


def test_help_imports_neither_http_nor_the_client() -> None:
    code = (
        "import sys, oastream.mock.cli\n"
        "assert not {'http', 'asyncio', 'ssl', 'httpx2', 'openai', 'orjson'} & set(sys.modules)\n"
        "import oastream.mock.server\n"
        "assert not {'asyncio', 'httpx2', 'openai', 'orjson'} & set(sys.modules)\n"
    )
    result = run_python(code)
    assert (result.status, result.err) == (0, "")
