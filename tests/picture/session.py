"""Commands, typed into bash on a pseudo-terminal → what its screen was sent, piece by piece.

In: an empty folder to work in. Out: a list of `Piece`. The programs are the real ones, and so is the server: `mock:`, a
different one for each command, so that the answers are the same for everybody. Knows nothing of pictures.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import signal
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.program import Environment, program_path, start
from tests.support.terminal import PATIENCE, Terminal, open_terminal
from tests.support.waiting import wait_until

PICTURE = Path(__file__).with_name("session.svg")
COLUMNS, LINES = 66, 40
"""Few columns, so that it can be read on a phone; more lines than are used, so that nothing is scrolled away."""
PACE = 0.1
"""Seconds from one event of the server to the next."""


class Step(NamedTuple):
    """A command; a line that goes on has a newline. `server` is a script of the mock.

    With `killed_after` the command is killed, with SIGKILL, when that many answers are in the answers file.
    """

    command: str
    server: str = ""
    killed_after: int = 0


ANSWERS = "answers.jsonl"
QUESTIONS = 100
_SKY = """
reply = "Because air scatters blue light more than red,\\nso it reaches us from all over the sky."
[[attempt]]
headers = { x-request-id = "req_7b1" }
"""
_CALL = 'end = "tool_calls"'
_SILENT_AFTER_40 = "[[attempt]]\n" * 40 + "[[attempt]]\ndelay = inf\n"

STEPS = (
    Step("echo 'Why is the sky blue?' | oastream", _SKY),
    Step("echo 'Why is the sky blue?' | oastream --max-tokens 6; echo $?", _SKY),
    Step("oastream --format tools --tools clock.json 'Time in Tokyo?' |\n    jq -r '.name, .arguments.zone'", _CALL),
    Step(f"oastream-batch -q -l questions.txt -o {ANSWERS}  # kill -9", _SILENT_AFTER_40, killed_after=40),
    Step(f"wc -l < {ANSWERS}"),
    Step(f"oastream-batch -q -l questions.txt -o {ANSWERS}; echo $?"),
    Step(f"wc -l < {ANSWERS}"),
)
TOOLS = ("bash", "jq", "wc")

_CLOCK = '[{"name": "clock", "parameters": {"type": "object", "properties": {"zone": {"enum": ["Asia/Tokyo"]}}}}]'
_SERVER = "server.toml"
_PROMPT, _MORE = b"$ ", b"> "


class Kind(enum.Enum):
    """Who sent a piece: the shell, that it is ready; the keyboard; or the commands."""

    PROMPT = "prompt"
    TYPED = "typed"
    PRINTED = "printed"


class Piece(NamedTuple):
    """What came to the screen at once."""

    kind: Kind
    data: bytes


def record_session(folder: Path, pace: float = PACE) -> list[Piece]:
    """All that was on the screen. It takes as long as the servers do, with `pace` seconds from event to event."""
    (folder / "clock.json").write_text(_CLOCK)
    (folder / "questions.txt").write_text("".join(f"Question {number}\n" for number in range(1, QUESTIONS + 1)))
    pieces = []
    with _open_shell(folder) as terminal:
        for number, step in enumerate(STEPS, 1):
            (folder / _SERVER).write_text(f"pace = {pace}\n{step.server}")
            pieces.append(Piece(Kind.PROMPT, _PROMPT))
            pieces += _type(terminal, number, step.command)
            began = len(terminal.screen)
            terminal.type(b"\n")
            if step.killed_after:
                _kill_program(terminal, folder / ANSWERS, step.killed_after)
            next_prompt = _mark(number + 1)
            terminal.read_until(next_prompt + _PROMPT)
            pieces += [Piece(Kind.PRINTED, data) for data in _cut(terminal, began, next_prompt)]
    return pieces


@contextlib.contextmanager
def _open_shell(folder: Path) -> Iterator[Terminal]:
    """A bash that has a terminal to itself, and is at its first prompt."""
    bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    with contextlib.closing(open_terminal()) as terminal:
        termios.tcsetwinsize(terminal.theirs, (LINES, COLUMNS))
        name = os.ttyname(terminal.theirs)
        # The leader of a session owns the terminal that it opens: bash needs that to know what runs in the foreground.
        shell = f'exec "$@" < {name} > {name} 2>&1'
        with start(program=bash, shell=shell, cwd=folder, env=_environment(folder), new_session=True):
            terminal.read_until(_mark(1) + _PROMPT)
            yield terminal


def _environment(folder: Path) -> Environment:
    """The prompts say to terminals, and so to us, where they begin (OSC 133); nobody sees that."""
    return {
        "PATH": program_path(folder),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
        "OPENAI_API_KEY": None,
        "OPENAI_BASE_URL": f"mock:?script={folder / _SERVER}",
        "PS1": r"\e]133;A;n=\#\a" + _PROMPT.decode(),
        "PS2": r"\e]133;P;n=\#\a" + _MORE.decode(),
    }


def _mark(number: int, kind: str = "A") -> bytes:
    return f"\x1b]133;{kind};n={number}\a".encode()


def _type(terminal: Terminal, number: int, command: str) -> Iterator[Piece]:
    """Its words, each with the space before it. A further line is typed when the shell asks for it."""
    prompt = _mark(number) + _PROMPT
    for line in command.encode().splitlines():
        if prompt.endswith(_MORE):
            terminal.type(b"\n")
            terminal.read_until(prompt)
            yield Piece(Kind.PROMPT, b"\r\n" + _MORE)
        terminal.type(line)
        terminal.read_until(prompt + line)
        yield from (Piece(Kind.TYPED, word) for word in re.findall(rb"\s*\S+", line))
        prompt = _mark(number, "P") + _MORE


def _kill_program(terminal: Terminal, answers: Path, count: int) -> None:
    """SIGKILL to what runs in the foreground, once the file has so many lines."""
    has_enough = wait_until(lambda: answers.exists() and answers.read_bytes().count(b"\n") >= count, PATIENCE)
    assert has_enough, f"no {count} answers in {answers}"
    os.killpg(os.tcgetpgrp(terminal.ours), signal.SIGKILL)


def _cut(terminal: Terminal, began: int, mark: bytes) -> Iterator[bytes]:
    """What was printed between a place on the screen and a mark: as it was read, and each line by itself.

    White space goes with what follows it: whether a newline arrives with the word before it is up to chance.
    """
    end = terminal.screen.index(mark)
    printed = terminal.screen[began:end]
    lines = {found.end() for found in re.finditer(rb"\n", printed)}
    reads = {place - began for place in terminal.ends}
    last = len(printed.rstrip())
    cut = 0
    for place in sorted(lines | reads):
        if 0 < place < last and printed[cut:place].strip():
            yield printed[cut:place]
            cut = place
    yield printed[cut:]
