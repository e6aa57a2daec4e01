"""What the user is told: stderr, which is always safe for a terminal and never shows a secret.

In: words from anywhere, and the verdict on the run. Out: lines on stderr. A stderr that is closed or full is no reason
to stop, and one that blocks keeps nobody beyond the deadline, a signal, or the end of stdout's reader: those end the
run, in its next wait or at its end.
Refuses to know what the run is doing: whoever has something to say calls. `Stderr` is the one way to the file;
`Reporter` (messages), `Reasoning`, `Trace` (-v) and `StatusLine` each say their own kind of thing through it.
"""

from __future__ import annotations

import contextlib
import enum
import math
import os
from typing import TYPE_CHECKING

from oastream.display import escape_controls
from oastream.exits import Failure, Outcome, Verdict
from oastream.redaction import KnownSecrets
from oastream.surrogates import SurrogateJoiner, join_surrogates
from oastream.watch import Watch
from oastream.writer import Writer

if TYPE_CHECKING:
    from typing import Protocol

    class SharedOutput(Protocol):
        """The answer's output, as far as it shares a terminal or a file with stderr."""

        is_mid_line: bool


STDERR = 2
PROGRAM = "oastream"
_ERASE_LINE = b"\r\x1b[K"


class _Cursor(enum.Enum):
    """What the last line of stderr holds."""

    NOTHING = "nothing: what comes next begins a line"
    TEXT = "text that may go on: a message begins a line of its own below it"
    STATUS = "the status line: whatever comes next takes its place"


class Stderr:
    """The one way to file descriptor 2."""

    def __init__(self, watch: Watch) -> None:
        self.secrets = KnownSecrets()
        self.deadline = math.inf
        """When to give up a stderr that blocks."""
        self.interrupted: Verdict | None = None
        """The signal that came, or the reader of stdout that went, while stderr blocked."""
        self.answer: SharedOutput | None = None
        """The output, where it goes to the same file as stderr: no message runs on in a line of it."""
        self._watch = watch
        self._writer: Writer | None = None
        self._cursor = _Cursor.NOTHING

    def write_line(self, text: str) -> None:
        """Write a line of its own."""
        self._end_open_lines()
        self._write(text.replace("\n", " ") + "\n")  # what a server says must not look like another message

    def write_text(self, text: str) -> None:
        """Write text that may go on with the next call."""
        if self._cursor is not _Cursor.TEXT:
            self._end_open_lines()
        self._write(text)
        if not text.endswith("\n"):
            self._cursor = _Cursor.TEXT

    def end_text(self) -> None:
        """End the line of a text that was going on."""
        if self._cursor is _Cursor.TEXT:
            self._write("\n")

    def draw_status(self, text: str) -> None:
        """Show a line that is there until anything else is written. Dropped where the terminal has no room for it.

        Not shown while text may go on: to draw it would erase the part of a line that is there.
        """
        if self._cursor is _Cursor.TEXT:
            return
        self._cursor = _Cursor.STATUS
        self._offer(_ERASE_LINE + text.encode())

    def erase_status(self) -> None:
        """Take the status line away, if it is there."""
        if self._cursor is _Cursor.STATUS:
            self._cursor = _Cursor.NOTHING
            self._offer(_ERASE_LINE)

    def _end_open_lines(self) -> None:
        self.end_text()
        if self.answer is not None and self.answer.is_mid_line:
            self.answer.is_mid_line = False
            self._write("\n")

    def _write(self, text: str) -> None:
        """Write all of the text, with every secret masked: the last thing that happens to it but for escaping."""
        self.erase_status()
        self._cursor = _Cursor.NOTHING
        text = self.secrets.mask(join_surrogates(_reveal_bytes(text)))
        try:
            self._open_writer().write(escape_controls(text).encode(), self.deadline)
        except Failure as failed:
            self.interrupted = failed.verdict
        except OSError:
            pass  # among them a deadline that has passed, which is still there for the next wait

    def _offer(self, data: bytes) -> None:
        """Write what is not worth waiting for."""
        with contextlib.suppress(Failure, OSError):
            self._open_writer().offer(data)

    def _open_writer(self) -> Writer:
        """Most runs say nothing, and never look at what stderr is. Raises `OSError` where it is closed."""
        if self._writer is None:
            self._writer = Writer(STDERR, self._watch)
        return self._writer


def _reveal_bytes(text: str) -> str:
    """Text of a command line that is not UTF-8: Python hides such bytes in surrogates, here they become U+FFFD."""
    if any("\udc80" <= c <= "\udcff" for c in text):
        return os.fsencode(text).decode("utf-8", "replace")
    return text


class Reporter:
    """Messages: one line each, with the program's name. `verbose` is how often -v was given."""

    def __init__(self, stderr: Stderr, verbose: int = 0, program: str = PROGRAM) -> None:
        self._program = program
        self._stderr = stderr
        self._verbose = verbose
        self._said_once: set[str] = set()
        self._withheld: list[str] = []
        """Lines that only matter if the run fails: cron sends a mail for every line of a run that went well."""

    def line(self, text: str) -> None:
        """Print a line for everybody."""
        self._stderr.write_line(f"{self._program}: {text}")

    def line_once(self, text: str) -> None:
        """Print a line, unless it was printed before."""
        if text not in self._said_once:
            self._said_once.add(text)
            self.line(text)

    def line_if_watched(self, text: str) -> None:
        """Print a line if -v was given or a terminal is there to show it; else only if the run fails."""
        if self._verbose or _is_terminal():
            self.line(text)
        else:
            self._withheld.append(text)

    def verdict(self, verdict: Verdict) -> None:
        """Print how a run ended that did not end plainly, and a hint. A signal needs no words."""
        if verdict.outcome in (Outcome.STOP, Outcome.SIGNAL):
            return
        if not verdict.has_answer:
            for text in self._withheld:
                self.line(text)
        self.line(verdict.message or verdict.outcome.value)
        for text in verdict.more_lines:
            self.line(text)
        if verdict.hint:
            self.line(f"hint: {verdict.hint}")


class Reasoning:
    """The model's reasoning, in lines of its own, as it comes."""

    def __init__(self, stderr: Stderr) -> None:
        self._stderr = stderr
        self._joiner = SurrogateJoiner()

    def write(self, delta: str) -> None:
        """Print a piece of it; half a character waits for its other half."""
        if text := self._joiner.feed(delta):
            self._stderr.write_text(text)

    def end(self) -> None:
        """Let whatever follows begin a line of its own."""
        self._stderr.end_text()


class Trace:
    """What -v shows, marked as curl does: > sent, < received, * what goes on. `verbose` is how often it was given."""

    def __init__(self, stderr: Stderr, verbose: int) -> None:
        self._stderr = stderr
        self.is_on = verbose > 0
        self.shows_events = verbose > 1

    def sent(self, text: str) -> None:
        self._show(">", text)

    def received(self, text: str) -> None:
        self._show("<", text)

    def note(self, text: str) -> None:
        self._show("*", text)

    def event(self, kind: str) -> None:
        """Name an event, for -vv."""
        if self.shows_events:
            self._show("*", kind)

    def _show(self, mark: str, text: str) -> None:
        if self.is_on:
            self._stderr.write_line(f"{mark} {text}")


def _is_terminal() -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(STDERR)
    return False
