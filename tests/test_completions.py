"""What bash, zsh and fish offer when Tab is pressed, in the real shells."""

from __future__ import annotations

from pathlib import Path

import pytest

from oastream.output.formats import FORMATS
from tests.docs.declared import STATUSES, oastream
from tests.support.shells import press_tab

SHELLS = ["bash", "zsh", "fish"]
MODELS = "gpt-5\nft:gpt-4o:me@org\n$(touch pwned)\n`touch pwned`\nno such; touch pwned\n"
CONFIG = 'model = "gpt-5"\n[profile.work]\nformat = "json"\n[ profile."home-2" ] # quoted\n[profile]\n'

OFFERS: list[tuple[str, list[str]]] = [
    ("oastream --form", ["--format"]),
    ("oastream hello --form", ["--format"]),
    ("oastream --base-url mock: --hol", ["--hold"]),
    ("oastream --format ", sorted(FORMATS)),
    ("oastream --format=nd", ["--format=ndjson"]),
    ("oastream --api c", ["chat"]),
    ("oastream --reasoning-effort h", ["high"]),
    ("oastream --sanitize al", ["always"]),
    ("oastream --stats=j", ["--stats=json"]),
    ("oastream --ok le", ["length"]),
    ("oastream --ok length,re", ["length,refusal", "length,rejected"]),
    ("oastream --ok=refusal,le", ["--ok=refusal,length"]),
    ("oastream -m ", ["ft:gpt-4o:me@org", "gpt-5"]),
    ("oastream -m ft:gpt-4o:", ["ft:gpt-4o:me@org"]),
    ("oastream --model=ft:", ["--model=ft:gpt-4o:me@org"]),
    ("oastream --file no", ["notes one.txt"]),
    ("oastream --output=no", ["--output=notes one.txt"]),
    ("oastream -nf no", ["notes one.txt"]),
    ("oastream -nqm ft", ["ft:gpt-4o:me@org"]),
    ("oastream --no-h", ["--no-hold"]),
    ("oastream --generate complete-b", ["complete-bash"]),
    ("oastream --tools to", ["tools.json"]),
    ("oastream -s @no", ["@notes one.txt"]),
    ("oastream-batch no", ["notes one.txt"]),
    ("oastream-batch -j 4 --output-dir an", ["answers"]),
    ("oastream-batch --redo le", ["length"]),
    ("oastream-batch --redo ch", ["changed"]),
    ("oastream-mock --end inter", ["interrupted"]),
    ("oastream-mock --script to", ["tools.json"]),
    ("oastream-mock --fault status=429,dri", ["status=429,drip="]),
]
SILENCES = [
    "oastream no",  # the prompt is no file
    "oastream -s no",  # neither is a text
    "oastream -nv no",  # flags alone take no word
    "oastream -fx no",  # this file is x
    "oastream --stats js",  # this word is the prompt
    "oastream -- --form",
    "oastream --format zz",
    "oastream-batch --output-dir no",  # this is no folder
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files to complete, and programs that leave a trace if a shell starts them."""
    for name, text in {
        "work/notes one.txt": "",
        "work/tools.json": "",
        "cache/oastream/models": MODELS,
        "config/oastream/config.toml": CONFIG,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "work/answers").mkdir()
    (tmp_path / "bin").mkdir()
    for name in ("oastream", "oastream-batch", "oastream-mock", "python", "python3"):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/started\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def completed(shell: str, line: str, folder: Path) -> list[str]:
    env = {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PATH": f"{folder}/bin:/usr/local/bin:/usr/bin:/bin",
    }
    words = press_tab(shell, line, folder / "work", env)
    assert not (folder / "started").exists(), "a program was started"
    assert not (folder / "work/pwned").exists(), "the name of a model was run"
    return words


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "words"), OFFERS)
def test_tab_offers(shell: str, line: str, words: list[str], folder: Path) -> None:
    assert [word.rstrip("/") for word in completed(shell, line, folder)] == words  # some shells mark a folder


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("line", SILENCES)
def test_tab_offers_nothing(shell: str, line: str, folder: Path) -> None:
    assert completed(shell, line, folder) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_a_cache_that_is_missing_offers_no_models(shell: str, folder: Path) -> None:
    (folder / "cache/oastream/models").unlink()
    assert completed(shell, "oastream -m ", folder) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_ok_offers_every_status(shell: str, folder: Path) -> None:
    assert set(completed(shell, "oastream --ok ", folder)) == {status.text for status in STATUSES}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_dash_offers_every_long_option(shell: str, folder: Path) -> None:
    names = {name for option in oastream().options for name in option.long} | set(oastream().opposites)
    assert {word.rstrip("=") for word in completed(shell, "oastream --", folder)} == names


@pytest.mark.skipif(
    not any("--profile" in option.names for option in oastream().options), reason="there is no --profile yet"
)
@pytest.mark.parametrize("shell", SHELLS)
def test_profiles_come_from_the_configuration(shell: str, folder: Path) -> None:
    assert completed(shell, "oastream --profile ", folder) == ["home-2", "work"]
