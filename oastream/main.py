"""The process of `oastream`: its streams, its signals, its status. No other module of a run ends it.

In: argv, the environment, file descriptors 0 to 2. Out: an exit status, or death by a signal.
Knows nothing of APIs.
"""

from __future__ import annotations

import gc
import signal

gc.disable()  # until everything is loaded: what that makes stays, and a look through it takes 3.5 % of a short run

# Until the run catches signals itself, they kill as in a C program: no KeyboardInterrupt while modules load.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import os
import sys
from typing import TYPE_CHECKING

from oastream.lazy_imports import defer

defer("inspect")
defer("ipaddress")
defer("platform", system=lambda: os.uname().sysname)  # what uuid asks, which orjson imports

from oastream.exits import Failure, Outcome, Verdict, exit_status, internal_error
from oastream.watch import Watch, die_of_signal, release_signals

if TYPE_CHECKING:
    from oastream.options import Options


def main() -> None:
    """`oastream`: never returns."""
    is_open = [_is_open(fd) for fd in range(3)]
    for fd in range(3):
        if not is_open[fd]:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, so that no socket becomes stdout
    watch = Watch()
    _end(_run(sys.argv[1:], is_open[0], is_open[1], watch), watch)


def _run(words: list[str], stdin_open: bool, stdout_open: bool, watch: Watch) -> tuple[Verdict, frozenset[Outcome]]:
    from oastream.cli.print_and_exit import PrintAndExit
    from oastream.output.stderr import Reporter, Stderr

    stderr = Stderr(watch)
    accepted: frozenset[Outcome] = frozenset()
    try:
        options = _parse(words)
        accepted = options.ok
        from oastream.input.prompt import stdin_kind
        from oastream.pipeline import Run

        run = Run(options, os.environ, stdin_kind(stdin_open), stdout_open, watch, stderr)
        gc.freeze()
        gc.enable()
        return run.run(), accepted
    except PrintAndExit as wanted:
        verdict = _show(str(wanted), stdout_open, watch)
    except Failure as failed:
        verdict = failed.verdict
    except Exception as error:
        verdict = internal_error(error).verdict
    Reporter(stderr).verdict(verdict)
    return verdict, accepted


def _parse(words: list[str]) -> Options:
    from oastream.cli.plain import parse_plain

    options = parse_plain(words, os.environ)
    if options is None:
        from oastream.cli.parse import parse  # Click: a quarter of the start of a run

        options = parse(words)
    return options


def _show(text: str, stdout_open: bool, watch: Watch) -> Verdict:
    """Print a text that was asked for, --help or --version: written with the same error handling as an answer."""
    from oastream.output.destination import open_stdout

    try:
        output = open_stdout(stdout_open, watch)
        output.write(f"{text}\n".encode())
        output.deliver()
    except Failure as failed:
        return failed.verdict
    return Verdict(Outcome.STOP)


def _end(ending: tuple[Verdict, frozenset[Outcome]], watch: Watch) -> None:
    verdict, accepted = ending
    release_signals()
    number = verdict.signal
    if number is None and verdict.outcome is not Outcome.OUTPUT:
        number = watch.pending_signal  # one that came within the last fsync or rename
    if number is not None:
        die_of_signal(number)
    # Not sys.exit: its last flush may turn 0 into 120, and threads that still connect would be waited for.
    os._exit(exit_status(verdict, accepted))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
