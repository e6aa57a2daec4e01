"""One shard on the node that an engine has chosen: runs it, and leaves a note of how it ended.

In: which shard, the path of its answers, the words of the batch. Out: a status beside the answers; to the engine 0,
unless the shard was killed: only what is lost is run again, and not what came to an end that another try would not
change. Asks nothing and reads no answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from oastream.batch.options import errors_beside
from oastream.batch.shard import PLACEHOLDER, read_shard, status_beside
from oastream.watch import ENDING_SIGNALS

_LOST = 75
"""For the engine: run it again. EX_TEMPFAIL of sysexits.h."""
_LOOK = 0.2
"""Seconds in which an interrupt may be overlooked."""


def read_status(part: str) -> int | None:
    """The status that the shard ended with; None for one that was lost."""
    try:
        with open(status_beside(part), encoding="ascii") as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def command_of(which: str, part: str, words: Sequence[str]) -> list[str]:
    """What a node runs to have a shard run."""
    return [sys.executable, "-m", "oastream.batch.engines.shard", which, part, *words]


def run_shard(which: str, part: str, words: Sequence[str], folder: str) -> int:
    """Run the shard to its end, here; 0, or `_LOST`. A KeyboardInterrupt lets it finish what is in flight."""
    part = part.replace(PLACEHOLDER, str(read_shard(which, os.environ).number))
    _await_predecessor(part)
    own = (f"--shard={which}", f"--output={part}", f"--errors={errors_beside(part)}")
    with subprocess.Popen([sys.executable, "-m", "oastream.batch", *own, *words], cwd=folder) as process:
        try:
            status = _await_end(process)
        except KeyboardInterrupt:
            process.terminate()
            status = process.wait()
    if status < 0:
        return _LOST
    with open(status_beside(part), "w", encoding="ascii") as file:
        file.write(str(status))
    return 0


def _await_end(process: subprocess.Popen[bytes]) -> int:
    """Its status. Ray interrupts by a flag, which is not looked at within a system call."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK)


def _await_predecessor(part: str) -> None:
    """Wait for a run of the same shard that its engine takes for lost, and that is still at work behind a dead link."""
    try:
        with open(part, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return


def main() -> None:
    """The process of a shard. An engine that ends a job signals all of it: the shard decides, and is waited for."""
    which, part, *words = sys.argv[1:]
    for number in ENDING_SIGNALS:
        signal.signal(number, lambda number, frame: None)  # not SIG_IGN, which the shard would inherit
    sys.exit(run_shard(which, part, words, os.getcwd()))


if __name__ == "__main__":
    main()
