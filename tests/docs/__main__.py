"""Writes what `generated` returns, and says what changed."""

from __future__ import annotations

from tests.docs.generated import ROOT, generated


def main() -> None:
    for path, text in generated().items():
        file = ROOT / path
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            print(path)


main()
