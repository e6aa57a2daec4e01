"""Agents that others wrote, over the mock: a loop over a tool comes to its end, on either API."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oastream.mock.server import Server
from tests.support.program import run

CLIENTS = Path(__file__).parent / "clients"
NODE_FOLDER = Path(sys.prefix) / "node"
"""Where tests/run puts the packages of npm."""


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
def test_a_loop_over_a_tool_ends(mock: Callable[[str], Server], script: str, package: str, api: str) -> None:
    command = python_command(script, package) if script.endswith(".py") else node_command(script, package)
    server = mock("mock:?end=tool_calls")
    result = run([*command, server.url, api], env={"OPENAI_API_KEY": None, "PYTHONPATH": None}, timeout=120)
    assert (result.status, result.out) == (0, b"How is it?\n"), result.err
    assert len(server.requests) == 2


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
