"""Where else the program must run, for `tests/elsewhere`: with `lowest` it prints requirements, else a Python's path.

In: pyproject.toml, the Pythons on PATH and those of pyenv. Out: `name==version` for each lower bound; or the newest
Python that is newer than this one, and nothing if there is none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.program import ROOT

_ASK = "import sys; print(*sys.version_info[:3], sys.version_info.releaselevel)"


def lowest_versions(pyproject: str) -> list[str]:
    """Each dependency at its lower bound. Raises `ValueError` for one that has none."""
    return [_pin(requirement) for requirement in tomllib.loads(pyproject)["project"]["dependencies"]]


def _pin(requirement: str) -> str:
    name, bound, version = requirement.partition(">=")
    if not bound or not re.fullmatch(r"[\d.]+", version):
        raise ValueError(f"{requirement} has no lower bound")
    return f"{name}=={version}"


def newest_python() -> str:
    """The path of the newest released Python here, if that is newer than this one."""
    found = [(version, path) for path in _find_pythons() if (version := _ask_version(path)) > sys.version_info[:3]]
    return max(found, default=((), ""))[1]


def _find_pythons() -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [*map(Path, os.get_exec_path()), *pyenv.glob("3.*/bin")]
    yield from {str(path) for folder in folders for path in folder.glob("python3.*") if path.name[8:].isdecimal()}


def _ask_version(path: str) -> tuple[int, ...]:
    """The version that a Python says it has; empty for one that cannot say so, or is not released."""
    try:
        done = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    *numbers, level = done.stdout.split() or [""]
    return tuple(map(int, numbers)) if level == "final" else ()


if __name__ == "__main__":
    if sys.argv[1:] == ["lowest"]:
        print(*lowest_versions((ROOT / "pyproject.toml").read_text()), sep="\n")
    else:
        print(newest_python())
