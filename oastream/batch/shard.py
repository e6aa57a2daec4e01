"""--shard: which part of the input a run is about, as it is told or as the engine that started it says.

In: the word behind --shard, and for an engine its environment variables. Out: a `Shard`. Nothing is read from the
environment unless the word asks for it: an array of jobs may have an input for each task.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from oastream.batch.keys import shard_number

PLACEHOLDER = "{shard}"
"""What stands for the shard's number in the names of files."""
_MOST_DIGITS = 9


class Shard(NamedTuple):
    """One of `total` parts of the input, by the hash of the ids. `number` counts from 0."""

    number: int
    total: int

    def has(self, custom_id: str) -> bool:
        return shard_number(custom_id) % self.total == self.number


def status_beside(part: str) -> str:
    """The file that says how the shard with these answers ended, where an engine runs it."""
    return f"{os.path.splitext(part)[0]}.status"


def log_beside(part: str) -> str:
    """The file that such a shard writes stderr to, where its engine keeps that in files."""
    return f"{os.path.splitext(part)[0]}.log"


def read_shard(word: str, environ: Mapping[str, str]) -> Shard:
    """The shard that I/N, `slurm` or k8s/N names. Raises `ValueError` that says what is wrong."""
    if word == "slurm":
        return _read_slurm(environ)
    number, _, total = word.partition("/")
    if number == "k8s":
        return _read_kubernetes(total, environ)
    if not (_is_number(number) and _is_number(total) and int(number) < int(total)):
        raise ValueError(f"{word!r} is not of the form I/N, with I from 0 to N-1, nor slurm, nor k8s/N")
    return Shard(int(number), int(total))


def _read_slurm(environ: Mapping[str, str]) -> Shard:
    """A task of a job array counts from the array's first: https://slurm.schedmd.com/job_array.html."""
    found = {name: environ.get(f"SLURM_ARRAY_TASK_{name}", "") for name in ("ID", "MIN", "MAX", "COUNT")}
    for name, value in found.items():
        if not _is_number(value):
            raise ValueError(f"SLURM_ARRAY_TASK_{name} is not set to a number: this is no task of a job array")
    first, last = int(found["MIN"]), int(found["MAX"])
    if last - first + 1 != int(found["COUNT"]):
        raise ValueError(f"the array has gaps ({found['COUNT']} tasks from {first} to {last}); use --array=0-N")
    number = int(found["ID"])
    if not first <= number <= last:
        raise ValueError(f"SLURM_ARRAY_TASK_ID is {number}, and the array goes from {first} to {last}")
    return Shard(number - first, int(found["COUNT"]))


def _read_kubernetes(total: str, environ: Mapping[str, str]) -> Shard:
    """A pod of an Indexed Job: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode."""
    if not _is_number(total) or int(total) == 0:
        raise ValueError("k8s needs the number of completions, as in k8s/8")
    index = environ.get("JOB_COMPLETION_INDEX", "")
    if not _is_number(index):
        raise ValueError("JOB_COMPLETION_INDEX is not set to a number: this is no pod of an Indexed Job")
    if int(index) >= int(total):
        raise ValueError(f"JOB_COMPLETION_INDEX is {index}, and there are only {total} shards")
    return Shard(int(index), int(total))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
