"""What came to a screen → an SVG of what it shows at the end, in which each word appears when it was printed.

In: the pieces of a session. Out: an SVG document, without scripts and fonts of its own. Where nothing may move, or
nothing can, the whole session is there from the start. Like the plot of the benchmarks it has its own ground, light
or dark as the reader's machine is. Knows nothing of the programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from html import escape
from typing import NamedTuple

import pyte

from tests.picture.session import COLUMNS, LINES, PACE, Kind, Piece

MARGIN, LINE, COLUMN, GAP, BASELINE = 18, 20, 8.5, 8, 14
"""Pixels. A column is that of 14 px in the widest of the fonts, 0.602 em; the gap is above each command."""
_TITLE = "A terminal session with oastream"
_STYLE = """\
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; fill: #1f2328 }
text { white-space: pre }
.prompt { fill: #0b7285 }
.typed { font-weight: 600 }
.ground { fill: #ffffff; stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .prompt { fill: #3bc9db }
  .ground { fill: #0d1117; stroke: #3d444d }
}
@media (prefers-reduced-motion: no-preference) {
  tspan { animation: wait 1ms backwards }
}
@keyframes wait { from { visibility: hidden } }"""

_TO_NEXT = {Kind.PROMPT: 0.0, Kind.TYPED: 0.05, Kind.PRINTED: PACE}
_TO_FIRST = {Kind.PROMPT: 0.1, Kind.TYPED: 0.4, Kind.PRINTED: 0.3}
"""Seconds until a piece, after one of its kind or of another. Measured ones would differ each time, and tell how busy
the machine was; an answer's words come at the pace of the server."""


class Run(NamedTuple):
    """Characters side by side that came at once, so many seconds after the start."""

    text: str
    kind: Kind
    since: float


class _Cell(NamedTuple):
    character: str
    kind: Kind
    since: float


_EMPTY = _Cell(" ", Kind.PROMPT, 0.0)


def draw(pieces: Iterable[Piece]) -> str:
    """The SVG document."""
    rows = screen_rows(pieces)
    y = MARGIN
    texts = []
    for before, row in itertools.pairwise([[], *rows]):
        if _begins_command(before, row):
            y += GAP
        texts.append(_draw_row(y + BASELINE, row))
        y += LINE
    return _document(y + MARGIN, screen_text(rows), texts)


def _begins_command(before: list[Run], row: list[Run]) -> bool:
    """Whether the line is the first of a command below the output of another."""
    return bool(before and row) and before[0].kind is Kind.PRINTED and row[0].kind is Kind.PROMPT


def _document(height: int, session: str, texts: Iterable[str]) -> str:
    width = round(COLUMNS * COLUMN + 2 * MARGIN)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title session">',
        f'<title id="title">{_TITLE}</title>',
        f'<desc id="session">{escape(session, quote=False)}</desc>',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
        *texts,
        "</svg>\n",
    ]
    return "\n".join(lines)


def screen_text(rows: Iterable[Iterable[Run]]) -> str:
    """What can be read on the screen at the end."""
    return "\n".join("".join(run.text for run in row) for row in rows)


def screen_rows(pieces: Iterable[Piece]) -> list[list[Run]]:
    """The lines that the screen shows at the end; each character since it is there for good."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    cells: dict[tuple[int, int], _Cell] = {}
    for since, piece in _timed(pieces):
        stream.feed(piece.data)
        for place, character in _characters(screen):
            if place not in cells or cells[place].character != character:
                cells[place] = _Cell(character, piece.kind, since)
    last = max(row for row, _ in cells)
    return [_runs([cells.get((row, column), _EMPTY) for column in range(COLUMNS)]) for row in range(last + 1)]


def _timed(pieces: Iterable[Piece]) -> Iterator[tuple[float, Piece]]:
    since = 0.0
    before = Kind.PROMPT
    for piece in pieces:
        waits = _TO_NEXT if piece.kind is before else _TO_FIRST
        since += waits[piece.kind]
        before = piece.kind
        yield since, piece


def _characters(screen: pyte.Screen) -> Iterator[tuple[tuple[int, int], str]]:
    """Those of the lines that have changed since the last time."""
    for row in screen.dirty:
        for column, cell in screen.buffer[row].items():
            yield (row, column), cell.data
    screen.dirty.clear()


def _runs(cells: list[_Cell]) -> list[Run]:
    """A line without the spaces at its end."""
    while cells and cells[-1].character == " ":
        cells.pop()
    groups = itertools.groupby(cells, key=lambda cell: (cell.kind, cell.since))
    return [Run("".join(cell.character for cell in group), *of) for of, group in groups]


def _draw_row(y: int, row: Iterable[Run]) -> str:
    runs = "".join(_draw_run(run) for run in row)
    return f'<text x="{MARGIN}" y="{y}" xml:space="preserve">{runs}</text>'


def _draw_run(run: Run) -> str:
    delay = f"animation-delay:{run.since:.2f}s"
    return f'<tspan class="{run.kind.value}" style="{delay}">{escape(run.text, quote=False)}</tspan>'
