"""Runs the session in a folder that is gone afterwards, and writes the picture."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.picture.drawing import draw
from tests.picture.session import PICTURE, record_session


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        PICTURE.write_text(draw(record_session(Path(folder))))
    print(PICTURE)


main()
