"""Real shells on a pseudo-terminal, where Tab is pressed.

`press_tab` types a command line, lets the shell insert everything that it offers for the last word, and runs it. The
command is a function that prints its words: nothing but the shell runs. fish says itself what it would insert.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.program import ROOT, run, start
from tests.support.terminal import open_terminal

_END = b"<END>"

# Each ends with a prompt, and a key that inserts all that is offered: M-* in bash, a widget of compsys in zsh.
_BASH = r"""
PS1='READY> '; bind 'set bell-style none' 'set enable-bracketed-paste off'; bind '"\C-t": insert-completions'
for name in oastream oastream-batch oastream-mock; do
    eval "$name() { printf '<%s>\n' \"\$@\"; echo '<'END'>'; }"; . {root}/completions/$name.bash
done
"""
_ZSH = r"""
PS1='READY> '; unsetopt zle_bracketed_paste beep prompt_sp; unset zle_bracketed_paste; fpath=({root}/completions $fpath)
autoload -Uz compinit; compinit -D -u
zstyle ':completion:*' completer _all_matches _complete; zstyle ':completion:*' insert true
zle -C everything complete-word _generic; bindkey '^T' everything
for name in oastream oastream-batch oastream-mock; do eval "$name() { printf '<%s>\n' \"\$@\"; echo '<'END'>'; }"; done
"""


def press_tab(shell: str, line: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    """What stands in place of the last word of `line` once the shell has completed it; nothing if it offers nothing."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    everything = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(cwd), "LC_ALL": "C.UTF-8", **env}
    if shell == "fish":
        return _ask_fish(line, cwd, everything)
    *_, last = line.split(" ")
    words = _type_and_read(shell, line, cwd, everything)[line.count(" ") - 1 :]
    if words == [last]:  # it stands as it was typed
        return []
    return words


def _ask_fish(line: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    script = f"source {ROOT}/completions/{line.split()[0]}.fish; complete -C $argv[1]"
    command = ["fish", "--no-config", "-c", script, line]
    result = run(command, cwd=cwd, env=env)
    assert (result.status, result.err) == (0, "")
    return [row.split("\t")[0] for row in result.text.splitlines()]


def _type_and_read(shell: str, line: str, cwd: Path, env: Mapping[str, str]) -> list[str]:
    setup = cwd / f"setup.{shell}"
    setup.write_text({"bash": _BASH, "zsh": _ZSH}[shell].replace("{root}", str(ROOT)))
    command = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    with contextlib.closing(open_terminal()) as terminal:
        its_end = terminal.theirs
        with start(program=command, cwd=cwd, env=env, stdin=its_end, stdout=its_end, stderr=its_end):
            terminal.leave()
            terminal.type(f". {setup}\n".encode())
            terminal.read_until(b"READY> ")
            terminal.type(f"{line}\x14\n".encode())
            screen = terminal.read_until(_END)
    rows = screen.decode().replace("\r", "").split("\n")
    return [row[1:-1] for row in rows if row.startswith("<") and row.endswith(">") and row != _END.decode()]
