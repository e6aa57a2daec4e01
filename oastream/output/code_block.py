"""--extract: the answer's first fenced code block, and nothing else.

In: the text of an answer that is complete. Out: the content of its first block, or of the first in one language. What a
fence is, in a list or a quotation too, is CommonMark's to say: https://spec.commonmark.org/0.31.2/#fenced-code-blocks.
Refuses to know what becomes of an answer without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from oastream.display import one_line
from oastream.exits import Outcome, Verdict
from oastream.options import ANY_LANGUAGE
from oastream.output.formats import Format

if TYPE_CHECKING:
    from oastream.events.reply import Reply


class CodeBlock(NamedTuple):
    """A fenced code block. `language` is the first word behind the fence, empty where there is none."""

    language: str
    content: str


class CodeBlockFormat(Format):
    """The first block of `language`, or of any."""

    prints_deltas = False

    def __init__(self, sanitized: bool, language: str) -> None:
        super().__init__(sanitized)
        self._language = language
        self._blocks: list[CodeBlock] = []

    def complete(self, reply: Reply) -> None:
        self._blocks = read_blocks(reply.text)  # up to 6 µs a character: once
        block = self._choose_block()
        if block is not None:
            self._pending.append(self._encode(block.content))

    def find_lack(self, reply: Reply) -> Verdict | None:
        if self._choose_block() is not None:
            return None
        languages = [block.language for block in self._blocks]
        if not languages:
            return Verdict(Outcome.NO_CODE, "no code block", "the answer has none")
        named = ", ".join(dict.fromkeys(language or "one without a language" for language in languages))
        return Verdict(Outcome.NO_CODE, f"no code block in {self._language}", f"the answer has {one_line(named)}")

    def _choose_block(self) -> CodeBlock | None:
        for block in self._blocks:
            if self._language in (ANY_LANGUAGE, block.language):
                return block
        return None


def read_blocks(text: str) -> list[CodeBlock]:
    """The fenced code blocks of a text, in its order. One that is still open at the end ends there."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.disable(["inline", "text_join"])  # what is within a paragraph is no fence, and takes longest
    return [
        CodeBlock(_language(each.info), _whole_lines(each.content))
        for each in parser.parse(text)
        if each.type == "fence"
    ]


def _whole_lines(content: str) -> str:
    """The last line of a block that the end of the text closes may lack its newline."""
    if content and not content.endswith("\n"):
        return f"{content}\n"
    return content


def _language(info: str) -> str:
    """The first word of an info string, in lower case; the rest is for whoever renders it."""
    words = info.split(maxsplit=1)
    if not words:
        return ""
    return words[0].lower()
