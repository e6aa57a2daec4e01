"""The process of `oastream-batch`: its streams, its signals, its status.

In: argv, the environment, file descriptors 0 to 2. Out: an exit status, or death by a signal.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from oastream.batch.cli import PROGRAM, parse
from oastream.batch.run import run_batch
from oastream.cli.print_and_exit import PrintAndExit
from oastream.exits import Failure, Outcome, Verdict, exit_status, internal_error
from oastream.output.stderr import Reporter, Stderr
from oastream.watch import Watch, die_of_signal


def main() -> None:
    """`oastream-batch`: never returns."""
    is_open = [_is_open(fd) for fd in range(3)]
    for fd in range(3):
        if not is_open[fd]:
            # Takes the lowest free number, so that no socket becomes stdout; what is written there fails.
            os.open(os.devnull, os.O_RDONLY)
    _raise_descriptor_limit()
    watch = Watch()
    stderr = Stderr(watch)
    reporter = Reporter(stderr, program=PROGRAM)
    verdict = _run(sys.argv[1:], is_open[0], watch, stderr, reporter)
    if verdict.signal is not None:
        die_of_signal(verdict.signal)
    reporter.verdict(verdict)
    os._exit(exit_status(verdict))  # threads that still read the input would be waited for


def _run(words: list[str], stdin_open: bool, watch: Watch, stderr: Stderr, reporter: Reporter) -> Verdict:
    try:
        options = parse(words)
        return run_batch(options, os.environ, not stdin_open or os.isatty(0), watch, stderr, reporter)
    except PrintAndExit as wanted:
        return _show(str(wanted))
    except Failure as failed:
        return failed.verdict
    except Exception as error:
        return internal_error(error).verdict


def _show(text: str) -> Verdict:
    try:
        os.write(1, f"{text}\n".encode())
    except BrokenPipeError:
        return Verdict(Outcome.SIGNAL, signal=signal.SIGPIPE)
    except OSError as error:
        return Verdict(Outcome.OUTPUT, "stdout cannot be written", (error.strerror or "").lower())
    return Verdict(Outcome.STOP)


def _raise_descriptor_limit() -> None:
    """As many files as the system allows this process: each request in flight has one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
