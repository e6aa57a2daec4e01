"""Rows → a plot: a group of bars for each row that the README shows. SVG, by hand: it is a few rectangles.

It has its own ground, light or dark as the reader's machine is, so that it can be read on any page.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tests.bench.peers import US
from tests.bench.report import COLUMNS, show_figure
from tests.bench.rows import Row

WIDTH, BAR, GAP, LABEL, FIGURE, MARGIN = 720, 16, 26, 160, 90, 16
_STYLE = """\
text { font: 12px sans-serif; fill: #1f2328 }
.title { font-weight: bold }
.ground { fill: #ffffff }
.ours { fill: #0b7285 }
.theirs { fill: #a5adb6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .ground { fill: #0d1117 }
  .ours { fill: #3bc9db }
  .theirs { fill: #59636e }
}"""


def bars(rows: Iterable[Row], place: str) -> str:
    """An SVG document; each group is scaled to its largest, oastream's bars are coloured. Less is better in all."""
    shown = [row for row in rows if row.figure.is_short]
    parts = [_text(0, 2, f"{place}; less is better")]
    y = 2 + GAP
    for row in shown:
        parts.append(_text(0, y, row.figure.what, "title"))
        medians = {name: value for name, value in row.medians().items() if name in COLUMNS}
        for name, value in medians.items():
            y += BAR
            parts += _bar(y, name, value / max(medians.values()), show_figure(row, value))
        y += GAP + BAR // 2
    return _document(y, f"{US} beside its peers", _describe(shown), parts)


def _bar(y: float, name: str, share: float, figure: str) -> list[str]:
    length = max(1.0, share * (WIDTH - 2 * MARGIN - LABEL - FIGURE))
    kind = "ours" if name == US else "theirs"
    x = MARGIN + LABEL
    bar = f'<rect class="{kind}" x="{x}" y="{MARGIN + y - 8}" width="{length:.1f}" height="{BAR - 3}"/>'
    return [_text(8, y + 3, name), bar, _text(LABEL + length + 6, y + 3, figure)]


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{MARGIN + x:.0f}" y="{MARGIN + y:.0f}"{name}>{escape(text)}</text>'


def _describe(rows: Iterable[Row]) -> str:
    """What the plot says, for those who do not see it."""
    return ". ".join(
        f"{row.figure.what}: "
        + ", ".join(f"{name} {show_figure(row, value)}" for name, value in row.medians().items() if name in COLUMNS)
        for row in rows
    )


def _document(height: float, title: str, description: str, parts: Iterable[str]) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="description">{escape(description)}</desc>',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
        *parts,
        "</svg>\n",
    ]
    return "\n".join(lines)
