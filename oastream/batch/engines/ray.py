"""Ray: a task a shard, on the cluster of RAY_ADDRESS.

In: a `Job`. Out: the process of a driver. `--on-args` are options of a task, NAME=VALUE, the value as JSON. A node's
environment is that of its `ray start`: nothing of ours goes there, since the cluster shows it to whoever looks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

from oastream.batch.engines import Job
from oastream.batch.engines.shard import run_shard
from oastream.exits import Outcome, failure_of

_RETRIES = 3


def start(job: Job) -> subprocess.Popen[bytes]:
    """A process of its own: Ray has its threads, its signals and its own way to end."""
    if not os.environ.get("RAY_ADDRESS"):
        raise failure_of(Outcome.CONFIG, "RAY_ADDRESS is not set", "it names the cluster that runs the shards")
    process = subprocess.Popen(
        [sys.executable, "-m", "oastream.batch.engines.ray"], stdin=subprocess.PIPE, stdout=2, start_new_session=True
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(json.dumps(job).encode())
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """The driver cancels the tasks."""
    process.terminate()


def has_shards_left() -> bool:
    """The process has waited for all of them."""
    return False


def read_task_options(words: list[str]) -> dict[str, Any]:
    """NAME=VALUE → options of a task. What is no JSON is text."""
    options: dict[str, Any] = {"max_retries": _RETRIES}
    for word in words:
        name, _, value = word.partition("=")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def run_task(which: str, part: str, words: list[str], folder: str) -> int:
    """A shard as a task. A node started in the background of a script ignores SIGINT, and so `ray.cancel`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run_shard(which, part, words, folder)


def drive(job: Job) -> None:
    """Run the shards; on SIGTERM a KeyboardInterrupt in each, which lets it finish what is in flight."""
    import ray

    ray.init(logging_level="warning")
    task = ray.remote(run_task).options(**read_task_options([*job.engine_words]))
    shards = [task.remote(f"{number}/{job.total}", job.part, job.words, job.folder) for number in range(job.total)]

    def cancel(number: int, frame: object) -> None:
        for shard in shards:
            ray.cancel(shard, force=False)

    signal.signal(signal.SIGTERM, cancel)
    for shard in shards:
        try:
            ray.get(shard)
        except (ray.exceptions.RayError, KeyboardInterrupt) as error:
            sys.stderr.write(f"{type(error).__name__}: {str(error).splitlines()[0]}\n")


if __name__ == "__main__":
    drive(Job(*json.load(sys.stdin)))
