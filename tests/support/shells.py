"""Real shells on a pseudo-terminal, where Tab is pressed.

`offered` types a command line, lets the shell insert everything that it offers for the last word, and runs it. The
command is a function that prints its words: nothing but the shell runs. fish says itself what it would insert.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
_END = b"<END>"

# Each ends with a prompt, and a key that inserts all that is offered: M-* in bash, a widget of compsys in zsh.
_BASH = r"""
PS1='READY> '; bind 'set bell-style none' 'set enable-bracketed-paste off'; bind '"\C-t": insert-completions'
for name in oastream oastream-mock; do eval "$name() { printf '<%s>\n' \"\$@\"; echo '<'END'>'; }"; done
. {root}/completions/oastream.bash; . {root}/completions/oastream-mock.bash
"""
_ZSH = r"""
PS1='READY> '; unsetopt zle_bracketed_paste beep prompt_sp; unset zle_bracketed_paste; fpath=({root}/completions $fpath)
autoload -Uz compinit; compinit -D -u
zstyle ':completion:*' completer _all_matches _complete; zstyle ':completion:*' insert true
zle -C everything complete-word _generic; bindkey '^T' everything
for name in oastream oastream-mock; do eval "$name() { printf '<%s>\n' \"\$@\"; echo '<'END'>'; }"; done
"""


def offered(shell: str, line: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    """What stands in place of the last word of `line` once the shell has completed it; nothing if it offers nothing."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    everything = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(cwd), "LC_ALL": "C.UTF-8", **env}
    if shell == "fish":
        return _asked(line, cwd, everything)
    *_, last = line.split(" ")
    words = _typed(shell, line, cwd, everything)[line.count(" ") - 1 :]
    return [] if words in ([], [last]) else words


def _asked(line: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    script = f"source {ROOT}/completions/{line.split()[0]}.fish; complete -C $argv[1]"
    command = ["fish", "--no-config", "-c", script, line]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert not done.stderr, done.stderr
    return [row.split("\t")[0] for row in done.stdout.splitlines()]


def _typed(shell: str, line: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    setup = {"bash": _BASH, "zsh": _ZSH}[shell].replace("{root}", str(ROOT))
    start = cwd / f"start.{shell}"
    start.write_text(setup)
    command = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    terminal, its_end = pty.openpty()
    with subprocess.Popen(command, cwd=cwd, env=env, stdin=its_end, stdout=its_end, stderr=its_end) as process:
        os.close(its_end)
        try:
            os.write(terminal, f". {start}\n".encode())
            _read_until(terminal, b"READY> ", "the shell did not start")
            os.write(terminal, f"{line}\x14\n".encode())
            screen = _read_until(terminal, _END, f"{line} was not completed")
        finally:
            process.kill()
            os.close(terminal)
    rows = screen.decode().replace("\r", "").split("\n")
    return [row[1:-1] for row in rows if row.startswith("<") and row.endswith(">") and row != _END.decode()]


def _read_until(terminal: int, mark: bytes, complaint: str) -> bytes:
    seen = b""
    until = time.monotonic() + PATIENCE
    while mark not in seen:
        if not select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
            pytest.fail(f"{complaint}: {seen!r}")
        with contextlib.suppress(OSError):
            seen += os.read(terminal, 1 << 16)
    return seen


def program_path(folder: Path) -> str:
    """A PATH on which the programs are found, as they are in this tree."""
    programs = folder / "bin"
    programs.mkdir()
    for name, module in (("oastream", "oastream"), ("oastream-mock", "oastream.mock.cli")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"\n')
        program.chmod(0o755)
    return f"{programs}:/usr/local/bin:/usr/bin:/bin"
