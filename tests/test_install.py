"""The wheel and the sdist, each installed into a fresh environment: programs, man pages and completions are there.

What we depend on, hatchling too, comes from the environment that runs the tests: no registry is asked.
"""

from __future__ import annotations

import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path

import pytest

from oastream import __version__
from oastream.cli.help import PLACES
from tests.support.program import ROOT, run
from tests.support.versions import lowest_versions

SHARED = {
    "share/man/man1/oastream.1": "man/oastream.1",
    "share/man/man1/oastream-batch.1": "man/oastream-batch.1",
    "share/man/man1/oastream-mock.1": "man/oastream-mock.1",
    "share/bash-completion/completions/oastream": "completions/oastream.bash",
    "share/bash-completion/completions/oastream-batch": "completions/oastream-batch.bash",
    "share/bash-completion/completions/oastream-mock": "completions/oastream-mock.bash",
    "share/zsh/site-functions/_oastream": "completions/_oastream",
    "share/zsh/site-functions/_oastream-batch": "completions/_oastream-batch",
    "share/zsh/site-functions/_oastream-mock": "completions/_oastream-mock",
    "share/fish/vendor_completions.d/oastream.fish": "completions/oastream.fish",
    "share/fish/vendor_completions.d/oastream-batch.fish": "completions/oastream-batch.fish",
    "share/fish/vendor_completions.d/oastream-mock.fish": "completions/oastream-mock.fish",
}
IN_THE_SDIST = ["tests/docs/oastream.1.in", "tests/docs/generated.py", "README.md", "LICENSE", *SHARED.values()]

pytestmark = pytest.mark.slow


def run_without_tree(*command: str | Path) -> str:
    """What a command prints that finds nothing of this tree by itself."""
    result = run(command, cwd=ROOT, env={"PYTHONPATH": None, "OPENAI_BASE_URL": "mock:"}, timeout=300)
    assert result.status == 0, result.text + result.err
    return result.text


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, and the wheel that is built from it, as `build` does for a release."""
    out = tmp_path_factory.mktemp("dist")
    run_without_tree(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    return {"sdist": next(out.glob("*.tar.gz")), "wheel": next(out.glob("*.whl"))}


def installed(distribution: Path, place: Path) -> Path:
    """A fresh environment with the distribution in it."""
    venv.create(place, symlinks=True)
    (lib,) = place.glob("lib/python*/site-packages")
    (lib / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", place / "bin/python", "install", "--quiet")
    run_without_tree(*pip, "--ignore-installed", "--no-deps", "--no-build-isolation", "--no-index", distribution)
    return place


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_an_installation_has_programs_pages_and_completions(
    kind: str, distributions: dict[str, Path], tmp_path: Path
) -> None:
    place = installed(distributions[kind], tmp_path / "env")
    for path, source in SHARED.items():
        assert (place / path).read_text() == (ROOT / source).read_text()
    assert run_without_tree(place / "bin/oastream", "--version") == f"oastream {__version__}\n"
    assert run_without_tree(place / "bin/oastream-mock", "--version") == f"oastream-mock {__version__}\n"
    assert run_without_tree(place / "bin/oastream", "-n", "Hello", "there") == "Hello there\n"
    for program in ("oastream", "oastream-mock"):
        for kind_of_file, path in PLACES.items():
            text = run_without_tree(place / "bin" / program, "--generate", kind_of_file)
            assert text == (ROOT / path.format(program)).read_text()
    where = run_without_tree(place / "bin/python", "-I", "-c", "import oastream; print(oastream.__file__)")
    assert Path(where.strip()).is_relative_to(place)


def test_every_dependency_has_a_lower_bound() -> None:
    """`tests/elsewhere` installs them, and runs the core of the suite with them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = lowest_versions((ROOT / "pyproject.toml").read_text())
    assert [pin.replace("==", ">=") for pin in pins] == project["dependencies"]


def test_the_sdist_has_what_the_tree_has(distributions: dict[str, Path]) -> None:
    with tarfile.open(distributions["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(IN_THE_SDIST) <= names


def test_everything_that_is_installed_besides_modules_is_named_here() -> None:
    """A page or script that is new is installed too, or this fails."""
    made = {str(file.relative_to(ROOT)) for file in [*ROOT.glob("man/*.1"), *ROOT.glob("completions/*")]}
    assert made == set(SHARED.values())
