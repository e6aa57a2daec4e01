"""Packages that need not be there: whether one is, and what a user types to get it.

In: names. Out: an answer without importing anything, and the beginning of a command line. Only for messages and extras.
"""

from __future__ import annotations

import shlex
import sys


def is_installed(module: str) -> bool:
    """Whether a module of the top level can be imported."""
    from importlib.util import find_spec

    return find_spec(module) is not None


def install_command() -> str:
    """What installs a package where this program runs; a place that `uv tool` made has no pip."""
    python = shlex.quote(sys.executable)
    if is_installed("pip"):
        return f"{python} -m pip install"
    return f"uv pip install --python {python}"
