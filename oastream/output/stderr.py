"""What stderr gets: one line an error, notices, reasoning, figures. Always sanitised, never with a secret.

In: words from anywhere. Out: lines on stderr; a stderr that is closed or full is no reason to stop, and one that blocks
keeps nobody beyond the deadline, a signal, or the end of stdout's reader: those end the run, in its next wait or at its
end.
"""

from __future__ import annotations

import contextlib
import math
import os
from typing import Protocol

from oastream.exits import Failure, Outcome, Verdict
from oastream.output.status_line import StatusLine
from oastream.redaction import redacted
from oastream.text import Joiner, visible, whole
from oastream.watch import Watch
from oastream.writer import Writer

STDERR = 2
PROGRAM = "oastream"


class Answer(Protocol):
    """Where the answer goes, as far as messages stand between its lines."""

    in_line: bool


class Messages:
    """Writes to stderr. `secrets` may be added to while the run learns them."""

    def __init__(self, watch: Watch) -> None:
        self.verbose = 0
        self.status: StatusLine | None = None
        """The line that waits are shown in, where somebody watches."""
        self.secrets: tuple[str, ...] = ()
        self.deadline = math.inf
        """When to give up a stderr that blocks."""
        self.interrupted: Verdict | None = None
        """The signal that came, or the reader of stdout that went, while stderr blocked."""
        self.answer: Answer | None = None
        """The output, where it goes to the same file as stderr: no message runs on in a line of it."""
        self._watch = watch
        self._stderr: Writer | None = None
        self._joiner = Joiner()
        self._in_line = False
        self._withheld: list[str] = []
        self._said_once: set[str] = set()

    def line(self, text: str) -> None:
        """One line, with the program's name."""
        self._end_line()
        self._write(f"{PROGRAM}: {_on_one_line(text)}\n")

    def once(self, text: str) -> None:
        """One line, the first time that it would be said."""
        if text not in self._said_once:
            self._said_once.add(text)
            self.line(text)

    def raw(self, text: str) -> None:
        """One line for a program to read, without the program's name."""
        self._end_line()
        self._write(f"{_on_one_line(text)}\n")

    def trace(self, mark: str, text: str, level: int = 1) -> None:
        """A line for those who asked with -v, marked as curl does: > sent, < received, * what goes on."""
        if self.verbose >= level:
            self.raw(f"{mark} {text}")

    def phase(self, words: str, until: float | None = None) -> None:
        """What the run waits for now, for the status line."""
        if self.status is not None:
            self.status.phase(words, until)

    def tick(self) -> None:
        """A wait goes on."""
        if self.status is not None:
            self.status.tick()

    def begin_text(self) -> None:
        """The answer begins: whoever watches has something better to look at than a status line."""
        self.end_reasoning()
        if self.status is not None:
            self.status.erase()
            self.status = None

    def progress(self, text: str) -> None:
        """A line for those who asked with -v or who watch, and for all if the run ends badly."""
        if self.verbose or _is_terminal():
            self.line(text)
        else:
            self._withheld.append(text)

    def verdict(self, verdict: Verdict) -> None:
        """The line of a run that did not end plainly, and its hint. A signal needs no words."""
        if verdict.outcome in (Outcome.STOP, Outcome.SIGNAL):
            return
        for text in () if verdict.answered else self._withheld:
            self.line(text)
        self.line(verdict.message or verdict.outcome.value)
        for line in verdict.more_lines:
            self.line(line)
        if verdict.hint:
            self.line(f"hint: {verdict.hint}")

    def reasoning(self, delta: str) -> None:
        """A piece of the model's reasoning, as it comes."""
        text = self._joiner.feed(delta)
        if text:
            if not self._in_line:
                self._end_line()
            self._write(text)
            self._in_line = not text.endswith("\n")

    def end_reasoning(self) -> None:
        """What follows the reasoning begins a line of its own."""
        if self._in_line:
            self._in_line = False
            self._write("\n")

    def offer(self, data: bytes) -> None:
        """Something to look at that is not worth waiting for."""
        with contextlib.suppress(Failure, OSError):
            self._writer().offer(data)

    def _end_line(self) -> None:
        self.end_reasoning()
        if self.answer is not None and self.answer.in_line:
            self.answer.in_line = False
            self._write("\n")

    def _write(self, text: str) -> None:
        text = whole(os.fsencode(text).decode("utf-8", "replace") if _hides_bytes(text) else text)
        text = redacted(text, self.secrets)
        if self.status is not None:
            self.status.erase()
        try:
            self._writer().write(visible(text).encode(), self.deadline)
        except Failure as failed:
            self.interrupted = failed.verdict
        except OSError:
            pass  # among them a deadline that has passed, which is still there for the next wait

    def _writer(self) -> Writer:
        if self._stderr is None:
            self._stderr = Writer(STDERR, self._watch)
        return self._stderr


def _on_one_line(text: str) -> str:
    """What a server says may not look like another message."""
    return text.replace("\n", " ") if "\n" in text else text


def _hides_bytes(text: str) -> bool:
    """Whether the text came from a command line that is not UTF-8: Python hides such bytes in surrogates."""
    return any("\udc80" <= c <= "\udcff" for c in text)


def _is_terminal() -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(STDERR)
    return False
