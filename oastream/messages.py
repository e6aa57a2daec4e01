"""What stderr gets: one line an error, notices, reasoning, figures. Always sanitised, never with a secret.

In: words from anywhere. Out: lines on stderr; a stderr that is closed or full is no reason to stop.
"""

from __future__ import annotations

import contextlib
import os

from oastream.exits import Outcome, Verdict
from oastream.status_line import StatusLine
from oastream.text import Joiner, redacted, visible, whole

STDERR = 2
PROGRAM = "oastream"


class Messages:
    """Writes to stderr. `secrets` may be added to while the run learns them."""

    def __init__(self) -> None:
        self.verbose = 0
        self.status: StatusLine | None = None
        """The line that waits are shown in, where somebody watches."""
        self.secrets: tuple[str, ...] = ()
        self.shares_terminal = False
        """Whether the answer goes to the terminal that stderr is."""
        self._joiner = Joiner()
        self._in_line = False
        self._in_answer = False
        self._withheld: list[str] = []

    def line(self, text: str) -> None:
        """One line, with the program's name."""
        self._end_line()
        self._write(f"{PROGRAM}: {text}\n")

    def raw(self, text: str) -> None:
        """One line for a program to read, without the program's name."""
        self._end_line()
        self._write(f"{text}\n")

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

    def wrote(self, data: bytes) -> None:
        """What stdout got: where it shares a terminal with stderr, a message must not run on in the answer's line."""
        if self.shares_terminal:
            self._in_answer = not data.endswith(b"\n")

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
        for detail in verdict.details:
            self.line(detail)
        if verdict.hint:
            self.line(f"hint: {verdict.hint}")

    def reasoning(self, delta: str) -> None:
        """A piece of the model's reasoning, as it comes."""
        text = self._joiner.feed(delta)
        if text:
            self._write(text)
            self._in_line = not text.endswith("\n")

    def end_reasoning(self) -> None:
        """What follows the reasoning begins a line of its own."""
        if self._in_line:
            self._in_line = False
            self._write("\n")

    def _end_line(self) -> None:
        self.end_reasoning()
        if self._in_answer:
            self._in_answer = False
            self._write("\n")

    def _write(self, text: str) -> None:
        text = whole(os.fsencode(text).decode("utf-8", "replace") if _hides_bytes(text) else text)
        text = redacted(text, self.secrets)
        if self.status is not None:
            self.status.erase()
        with contextlib.suppress(OSError):
            os.write(STDERR, visible(text).encode())


def _hides_bytes(text: str) -> bool:
    """Whether the text came from a command line that is not UTF-8: Python hides such bytes in surrogates."""
    return any("\udc80" <= c <= "\udcff" for c in text)


def _is_terminal() -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(STDERR)
    return False
