"""Packages that need not be there: whether one is, and what a user types to get it.

In: names. Out: an answer without importing anything, and the beginning of a command line. Only for messages and extras.
"""

from __future__ import annotations

import os
import shlex
import site
import sys
import sysconfig


def is_installed(module: str) -> bool:
    """Whether a module of the top level can be imported."""
    from importlib.util import find_spec

    return find_spec(module) is not None


def install_command() -> str:
    """What installs a package where this program runs: options of pip and the package's name go after it.

    It works wherever the program was installed: a place that pipx or `uv tool` made need not have a pip.
    """
    if os.path.exists(os.path.join(sys.prefix, "pipx_metadata.json")):
        # `pipx inject` would keep more, but takes no package whose dependencies are left out: pipx 1.18 calls it a bug.
        return f"pipx runpip {shlex.quote(os.path.basename(sys.prefix))} install"
    python = shlex.quote(sys.executable)
    if not is_installed("pip"):
        return f"uv pip install --python {python}"
    return " ".join([python, "-m pip install", *_options_outside_environments()])


def _options_outside_environments() -> list[str]:
    """What pip must be told where no virtual environment is: with `pip install --user`, on Debian and its like."""
    if sys.prefix != sys.base_prefix:
        return []
    options = []
    if __file__.startswith(site.getusersitepackages() + os.sep):
        options.append("--user")
    if os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")):  # PEP 668
        options.append("--break-system-packages")
    return options
