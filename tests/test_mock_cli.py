"""The program oastream-mock, as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import pytest

from oastream.mock.script import KEYS

PATIENCE = 20
PROGRAM = [sys.executable, "-m", "oastream.mock.cli"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_url_serves_and_dies_of_the_signal(number: signal.Signals) -> None:
    with subprocess.Popen(PROGRAM, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().rstrip("\n")
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        with urllib.request.urlopen(f"{url}/models", timeout=PATIENCE) as reply:
            assert reply.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (-number, "", "")


def test_verbose_logs_requests_on_stderr() -> None:
    with subprocess.Popen([*PROGRAM, "-v"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        with urllib.request.urlopen(process.stdout.readline().strip() + "/models", timeout=PATIENCE):
            process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert err == 'oastream-mock: "GET /v1/models HTTP/1.1" 200 -\n'


def test_version_and_help() -> None:
    assert run("--version").stdout == "oastream-mock 0.1.0\n"
    page = run("--help")
    assert (page.returncode, page.stderr) == (0, "")
    assert run("-h").stdout == page.stdout
    assert all(f"\n    {name} " in page.stdout for name in KEYS)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--end", "nope"], 2, "--end: 'nope' is not one of stop,"),
        (["--fault", "colour=red"], 2, "no such key in --fault: colour"),
        (["--fault", "status=x"], 2, "--fault: status: 'x' is not a whole number"),
        (["--script", "/no/such"], 2, "--script: not a readable file: /no/such: No such file or directory"),
        (["--nope"], 2, "No such option"),
        (["--port", "x"], 2, "Invalid value for '--port'"),
        (["--host", "203.0.113.1"], 6, "cannot listen on 203.0.113.1, port 0: "),
    ],
)
def test_a_mistake_is_one_line_and_a_status(arguments: list[str], status: int, line: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.startswith(f"oastream-mock: {line}")
    assert result.stderr.count("\n") == 1


def test_a_url_that_cannot_be_printed_is_an_output_error() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(PROGRAM, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert result.returncode == 9
    assert result.stderr == "oastream-mock: cannot write to stdout: No space left on device\n"


def test_help_imports_neither_http_nor_the_client() -> None:
    code = (
        "import sys, oastream.mock.cli\n"
        "assert not {'http', 'asyncio', 'ssl', 'httpx2', 'openai', 'orjson'} & set(sys.modules)\n"
        "import oastream.mock.server\n"
        "assert not {'asyncio', 'httpx2', 'openai', 'orjson'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)
