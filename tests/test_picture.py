"""The picture in the README shows what the programs print today, and is one that any page can have."""

from __future__ import annotations

import re
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.picture import COMMAND
from tests.picture.session import PICTURE, TOOLS, record_session
from tests.readme import README
from tests.support.program import ROOT

SVG = "{http://www.w3.org/2000/svg}"
DOCUMENT = PICTURE.read_text()
DRAWN = ET.fromstring(DOCUMENT)
TEXT = "\n".join("".join(line.itertext()) for line in DRAWN.iter(f"{SVG}text"))


@pytest.mark.skipif(sys.platform != "linux", reason="a shell of another system has other words for Killed")
def test_the_picture_shows_what_a_run_prints_today(tmp_path: Path) -> None:
    pytest.importorskip("pyte", reason="pyte, the terminal of the picture, is not installed")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    from tests.picture.drawing import screen_rows, screen_text

    assert screen_text(screen_rows(record_session(tmp_path, pace=0))) == TEXT, f"run: {COMMAND}"


def test_the_picture_can_stand_on_any_page() -> None:
    """A page shows it as an image: nothing in it may run, nothing is fetched, and it is small."""
    assert {element.tag for element in DRAWN.iter()} == {
        SVG + name for name in ("svg", "title", "desc", "style", "rect", "text", "tspan")
    }
    assert not re.search(r"url\(|@import|href|\son\w+=", DOCUMENT)
    assert len(DOCUMENT) < 20_000


def test_nothing_moves_for_those_who_want_no_motion() -> None:
    """What hides a word until its turn is in this one block of the style."""
    calm = re.sub(r"@media \(prefers-reduced-motion: no-preference\) \{.*?\n\}\n", "", DOCUMENT, flags=re.DOTALL)
    assert "animation:" in DOCUMENT
    assert "animation:" not in calm


def test_the_picture_is_told_to_those_who_do_not_see_it() -> None:
    assert DRAWN.findtext(f"{SVG}title")
    assert DRAWN.findtext(f"{SVG}desc") == TEXT
    alternative = re.search(rf"!\[(.*?)\]\({PICTURE.relative_to(ROOT)}[ )]", README.read_text(), re.DOTALL)
    assert alternative is not None
    assert len(alternative[1]) > 100


def test_every_picture_of_the_readme_is_there_and_has_words() -> None:
    pictures = re.findall(r"!\[(.*?)\]\((\S*?)(?: \"[^\"]*\")?\)", README.read_text(), re.DOTALL)
    assert len(pictures) >= 2
    for words, path in pictures:
        assert len(words) > 50, path
        assert ET.parse(ROOT / path).getroot().tag == f"{SVG}svg"
