"""Slurm: shards are the tasks of a job array, put again into the queue when their node fails.

In: a `Job`. Out: the process of `sbatch --wait`. `--on-args` are options of sbatch(1), which passes our environment on.
The tasks write stderr to files beside the answers.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time

from oastream.batch.engines import Job
from oastream.batch.engines.shard import command_of
from oastream.batch.shard import PLACEHOLDER, log_beside

_LOOK = 1.0
"""Seconds between two looks at the queue."""


def start(job: Job) -> subprocess.Popen[bytes]:
    """The script goes through stdin: no shell and no length of a command line is in between."""
    log = log_beside(job.part).replace("%", "%%").replace(PLACEHOLDER, "%a")
    options = (
        *("--wait", "--requeue", f"--array=0-{job.total - 1}", f"--job-name={_job_name()}", f"--chdir={job.folder}"),
        *("--output=/dev/null", f"--error={log}", "--open-mode=append"),
    )
    command = shlex.join(command_of("slurm", job.part, job.words))
    process = subprocess.Popen(
        ["sbatch", *job.engine_words, *options], stdin=subprocess.PIPE, stdout=2, start_new_session=True
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(f"#!/bin/sh\nexec {command}\n".encode(errors="surrogateescape"))
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to each task, SIGKILL after the cluster's KillWait (30 s by default)."""
    subprocess.run(["scancel", f"--name={_job_name()}"], check=False)


def has_shards_left() -> bool:
    """`sbatch --wait` may take a task for ended whose node has failed, and which is about to be queued again."""
    time.sleep(_LOOK)
    words = ["squeue", "--noheader", f"--name={_job_name()}"]
    return bool(subprocess.run(words, stdout=subprocess.PIPE, check=False).stdout.strip())


def _job_name() -> str:
    """The array's name, by which it is known before `sbatch --wait` says its number."""
    return f"oastream-batch-{os.uname().nodename}-{os.getpid()}"
