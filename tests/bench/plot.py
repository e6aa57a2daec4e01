"""Figures → a plot: one group of bars for each row that compares times. SVG, by hand: it is a few rectangles."""

from __future__ import annotations

from html import escape

WIDTH, BAR, GAP, LABEL = 720, 16, 26, 190
_COLOURS = ("#0b7285", "#adb5bd")


def bars(rows: dict[str, dict[str, float]]) -> str:
    """An SVG document; each group is scaled to its slowest, oastream's bars are coloured."""
    parts: list[str] = []
    y = 10
    for what, found in rows.items():
        parts.append(_text(0, y + 12, what, bold=True))
        y += GAP
        most = max(found.values()) or 1
        for name, value in found.items():
            length = max(1.0, value / most * (WIDTH - LABEL - 80))
            colour = _COLOURS[0] if name.startswith("oastream") else _COLOURS[1]
            parts.append(_text(8, y + 12, name))
            parts.append(f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(_text(LABEL + length + 6, y + 12, f"{value:.3g}"))
            y += BAR
        y += GAP // 2
    style = "font-family:sans-serif;font-size:12px"
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" style="{style}">\n{body}\n</svg>\n'


def _text(x: float, y: float, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{weight}>{escape(text)}</text>'
