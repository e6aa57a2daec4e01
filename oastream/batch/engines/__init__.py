"""The engines that run shards on other machines: Slurm, Ray, GNU parallel.

In: a `Job`. Out: a process that lives until every shard has ended or is given up. Where a shard runs, how it gets there
and what follows from the death of a node is the engine's own; how a shard ended is in the file that `shard` leaves.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    import subprocess

NAMES = ("slurm", "ray", "parallel")


class Job(NamedTuple):
    """What each of `total` shards runs. `part` is the path of its answers, with {shard} for its number."""

    total: int
    part: str
    words: tuple[str, ...]
    """The options and the input, as they were typed, without those about shards and files of answers and errors."""
    folder: str
    """The working directory, which `words` count on."""
    engine_words: tuple[str, ...]
    """What is meant for the engine: --on-args."""


class Engine(Protocol):
    """A module of this folder. What shards say goes to its stderr, or to files that `shard.log_beside` names."""

    def start(self, job: Job) -> subprocess.Popen[bytes]:
        """Hand the shards over. Raises `OSError` where the engine is not installed."""

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Tell all shards to end as on SIGTERM: what is in flight may finish. The process ends after them."""

    def has_shards_left(self) -> bool:
        """Whether it will run a shard though its process has ended."""


def find_engine(name: str) -> Engine:
    """The engine of this name, loaded now."""
    return cast(Engine, importlib.import_module(f"oastream.batch.engines.{name}"))
