"""What a user is told to type to get a package: it works where the program was installed, whatever installed it."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support.program import ROOT, Environment, run

ASK = "from oastream.packages import install_command; print(install_command())"


def command_of(python: Path | str, tree: Path | None, env: Environment) -> str:
    """What a program says that this Python runs, from a tree or from where Python finds it."""
    path = None
    if tree is not None:
        path = str(tree)
    result = run([python, "-P", "-c", ASK], env={"PYTHONPATH": path, **env})
    assert (result.status, result.err) == (0, "")
    return result.text.rstrip("\n")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment without pip, as uv and pipx make them."""
    place = tmp_path / "my tools"
    venv.create(place, symlinks=True)
    return place


def test_an_environment_with_pip_is_asked_itself() -> None:
    assert command_of(sys.executable, ROOT, {}) == f"{shlex.quote(sys.executable)} -m pip install"


def test_without_pip_uv_is_told_where_to_install(environment: Path) -> None:
    python = environment / "bin/python"
    assert command_of(python, ROOT, {}) == f"uv pip install --python '{python}'"


def test_an_environment_of_pipx_is_left_to_pipx(environment: Path) -> None:
    (environment / "pipx_metadata.json").write_text("{}")
    assert command_of(environment / "bin/python", ROOT, {}) == f"pipx runpip '{environment.name}' install"


def test_what_was_installed_for_a_user_is_added_to_for_that_user(tmp_path: Path) -> None:
    base = os.path.realpath(sys.executable)
    paths = sysconfig.get_paths("posix_user", vars={"userbase": str(tmp_path)})
    site = Path(paths["purelib"])
    site.mkdir(parents=True)
    (site / "oastream").symlink_to(ROOT / "oastream")
    env = {"PYTHONUSERBASE": str(tmp_path), "PYTHONNOUSERSITE": None}
    if run([base, "-c", "import pip"], env={**env, "PYTHONPATH": None}).status != 0:
        pytest.skip("the Python that this environment is made of has no pip")
    wanted = f"{base} -m pip install --user"
    if Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        wanted += " --break-system-packages"
    assert command_of(base, None, env) == wanted
