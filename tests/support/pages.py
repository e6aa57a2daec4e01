"""An HTML page, read as a browser does, and strictly: every element that was opened must be closed.

In: a page. Out: its elements, their texts, its data. Knows nothing of what is on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_VOID = frozenset({"meta", "link", "br", "col", "path"})


@dataclass
class Element:
    """An element with its attributes and all text within it."""

    name: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """A page that was read."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {[element.name for element in self._open]}"

    @property
    def data(self) -> Any:
        """What the page holds for programs."""
        return json.loads(self.by_id("data").text)

    def by_id(self, name: str) -> Element:
        (element,) = [element for element in self.elements if element.attributes.get("id") == name]
        return element

    def all(self, name: str) -> list[Element]:
        return [element for element in self.elements if element.name == name]

    def meta(self, kind: str) -> str | None:
        """The content of the meta element that stands for this header; None if there is none."""
        for element in self.all("meta"):
            if element.attributes.get("http-equiv") == kind:
                return element.attributes["content"]
        return None

    def figures(self) -> dict[str, str | None]:
        """The values of the figures shown, by their names."""
        return {
            (each.attributes["id"] or "").removeprefix("stats."): each.attributes["value"] for each in self.all("data")
        }

    def rows(self, kind: str) -> list[list[str]]:
        """The cells of each row of the body of the table of this class."""
        rows: list[list[str]] = []
        for element in self.elements:
            if kind in element.inside and "tbody" in element.inside:
                if element.name == "tr":
                    rows.append([])
                elif element.name in ("td", "th"):
                    rows[-1].append(element.text)
        return rows

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = [word for element in self._open for word in (element.name, element.attributes.get("class") or "")]
        element = Element(tag, dict(attrs), inside=inside)
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _VOID, f"<{tag}/> is not closed in HTML"
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop().name == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data


def read_page(path: Path) -> Page:
    return Page(path.read_text())
