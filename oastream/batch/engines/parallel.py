"""GNU parallel: shards on the hosts of --sshloginfile, or on this machine.

In: a `Job`. Out: its process. `--on-args` are options of parallel(1). A host's environment is that of its ssh: nothing
of ours goes there, since parallel would put it on a command line.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess

from oastream.batch.engines import Job
from oastream.batch.engines.shard import command_of

_OPTIONS = (
    *("--will-cite", "--retries", "3", "--line-buffer", "--null"),
    *("--tagstring", "shard {= $_ = $job->seq() - 1 =}:"),
    *("--termseq", "TERM,86400000,KILL"),  # milliseconds: a shard ends by itself, after its --drain
)


def start(job: Job) -> subprocess.Popen[bytes]:
    """Each command is a line of the input, where parallel looks for no {} to replace.

    Without `exec` the host's shell dies of SIGTERM at once, and parallel kills what it takes for its leftovers.
    """
    options = (*_OPTIONS, f"-j{job.total}", "--workdir", job.folder, *job.engine_words)
    process = subprocess.Popen(["parallel", *options], stdin=subprocess.PIPE, stdout=2, start_new_session=True)
    commands = [
        f"exec {shlex.join(command_of(f'{number}/{job.total}', job.part, job.words))}" for number in range(job.total)
    ]
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:  # it has ended, and says why
        process.stdin.write("\0".join(commands).encode(errors="surrogateescape"))
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """At the first SIGTERM parallel starts no more, at the second it passes it on."""
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)


def has_shards_left() -> bool:
    """The process has waited for all of them."""
    return False
