"""Rows → a plot: a group of bars for each row that is a time. SVG, by hand: it is a few rectangles."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tests.bench.measure import Row
from tests.bench.peers import US

WIDTH, BAR, GAP, LABEL, FIGURE = 720, 16, 26, 190, 80
_OURS, _THEIRS = "#0b7285", "#adb5bd"


def bars(rows: Iterable[Row], place: str) -> str:
    """An SVG document; each group is scaled to its slowest, oastream's bars are coloured."""
    parts = [_text(0, 18, place)]
    y = 2 * GAP
    for row in rows:
        if not row.is_time:
            continue
        parts.append(_text(0, y, f"{row.what}, {row.unit}", bold=True))
        medians = row.medians()
        most = max(medians.values()) or 1
        for name, value in medians.items():
            y += BAR
            length = max(1.0, value / most * (WIDTH - LABEL - FIGURE))
            colour = _OURS if name.startswith(US) else _THEIRS
            parts.append(_text(8, y + 3, name))
            parts.append(f'<rect x="{LABEL}" y="{y - 9}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(_text(LABEL + length + 6, y + 3, f"{value:.{row.digits}f}"))
        y += GAP + BAR // 2
    style = "font-family:sans-serif;font-size:12px;background:#fff"
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" style="{style}">\n{body}\n</svg>\n'


def _text(x: float, y: float, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{weight}>{escape(text)}</text>'
