"""A pseudo-terminal, and whoever sits in front of it: types keys, and reads the screen up to a mark.

In: bytes that are typed. Out: `theirs`, the file descriptor that a program gets, and all that the screen has shown.
Knows of no program; the line discipline is the kernel's, so Ctrl-C, Ctrl-D and the echo are real.
"""

from __future__ import annotations

import os
import pty
import select
import time

import pytest

PATIENCE = 20.0
"""Seconds; only a hang takes longer."""
_END_OF_SCREEN = b"<END>"


class Terminal:
    """`ours` is the end of whoever looks at the screen, `theirs` that of the program (-1: only the program has it)."""

    def __init__(self, ours: int, theirs: int = -1) -> None:
        self.ours = ours
        self.theirs = theirs
        self.screen = b""
        """All that was shown, and read, so far."""
        self.ends: list[int] = []
        """How long it was after each read."""

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def read_until(self, mark: bytes, patience: float = PATIENCE) -> bytes:
        """The screen, as soon as the mark is on it."""
        limit = time.monotonic() + patience
        while mark not in self.screen:
            if not select.select([self.ours], [], [], max(0.0, limit - time.monotonic()))[0]:
                pytest.fail(f"{mark!r} is not shown, only {self.screen!r}")
            if not self._read():
                pytest.fail(f"{mark!r} was not shown when all had left, only {self.screen!r}")
        return self.screen

    def read_rest(self) -> bytes:
        """The screen with all that was written to it until now: a mark of our own comes after that."""
        os.write(self.theirs, _END_OF_SCREEN)
        return self.read_until(_END_OF_SCREEN).removesuffix(_END_OF_SCREEN)

    def read_to_end(self) -> bytes:
        """The screen, once every program has left the terminal."""
        self.leave()
        while self._read():
            pass
        return self.screen

    def leave(self) -> None:
        """Close the program's end here: the programs that have it are alone with it now."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def close(self) -> None:
        self.leave()
        os.close(self.ours)

    def _read(self) -> bytes:
        try:
            piece = os.read(self.ours, 1 << 16)
        except OSError:  # Linux: EIO when the last process has closed the terminal
            return b""
        self.screen += piece
        self.ends.append(len(self.screen))
        return piece


def open_terminal() -> Terminal:
    return Terminal(*pty.openpty())
