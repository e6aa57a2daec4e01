"""Agents that others wrote, over the mock: a loop over a tool comes to its end, on either API."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oastream.mock.script import plan_from_url
from oastream.mock.server import Server, serve
from tests.support.program import environment

CLIENTS = Path(__file__).parent / "clients"
NODE_FOLDER = Path(sys.prefix) / "node"
"""Where tests/run puts the packages of npm."""


@pytest.fixture
def mock() -> Iterator[Server]:
    server = serve(plan_from_url("mock:?end=tool_calls"))
    yield server
    server.close()


@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize(
    ("script", "package"),
    [
        ("agents_loop.py", "agents"),
        ("langchain_loop.py", "langchain_openai"),
        ("sdk_loop.mjs", "openai"),
        ("ai_loop.mjs", "ai"),
    ],
)
def test_a_loop_over_a_tool_ends(mock: Server, script: str, package: str, api: str) -> None:
    command = python_command(script, package) if script.endswith(".py") else node_command(script, package)
    done = subprocess.run(
        [*command, mock.url, api],
        env=environment({"OPENAI_API_KEY": None, "PYTHONPATH": None}),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"How is it?\n"), done.stderr.decode()
    assert len(mock.requests) == 2


def python_command(script: str, package: str) -> list[str]:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return [sys.executable, str(CLIENTS / script)]


def node_command(script: str, package: str) -> list[str]:
    node = shutil.which("node")
    if node is None or not (NODE_FOLDER / "node_modules" / package).is_dir():
        pytest.skip(f"node or npm's {package} is not installed")
    beside_the_packages = NODE_FOLDER / script  # node looks for packages from where the importing file is
    beside_the_packages.write_bytes((CLIENTS / script).read_bytes())
    return [node, str(beside_the_packages)]
