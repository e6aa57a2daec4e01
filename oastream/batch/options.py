"""What the user asked a batch for: one record, made at the edge and trusted inside."""

import os.path
from typing import NamedTuple

from oastream.batch.shard import Shard
from oastream.exits import Outcome
from oastream.options import Options


class BatchOptions(NamedTuple):
    """Every option of `oastream-batch`. `request` has those that both programs share. Times are in seconds."""

    request: Options
    # input
    input: str | None
    input_format: str | None
    id_key: str | None
    prompt_key: str
    template: str | None
    ends_in_nul: bool
    skip_bad: bool
    # output
    output: str | None
    errors: str | None
    format: str
    answer_key: str
    order: str
    order_buffer: int
    output_dir: str | None
    # journal
    sync: float | None
    repair: bool
    retry_failed: bool
    redo: frozenset[Outcome]
    redo_changed: bool
    # speed; None is auto or no limit
    concurrency: int | None
    rpm: float | None
    tpm: float | None
    max_tokens_total: float | None
    outage_max: float
    base_urls: tuple[str, ...]
    shard: Shard | None
    # through the provider's own batches; `poll` None is from 2 to 60 s
    via: str | None
    poll: float | None
    cancel: bool
    # ending and telling
    drain: float | None
    progress: float | None
    report: str | None
    # merging
    merge: bool
    parts: tuple[str, ...]
    names_format: bool
    """Whether --format was given, rather than left at its default."""
    # shards on other machines
    shards: int | None
    on: str | None
    on_args: tuple[str, ...]
    words: tuple[str, ...]
    """The command line for each of them, without what a launch decides."""

    @property
    def via_path(self) -> str | None:
        """Where the batches of --via are recorded: beside the answers."""
        return None if self.output is None else f"{self.output}.via"

    @property
    def errors_path(self) -> str | None:
        """Where errors go; None for stdout. FILE with `.errors` before its suffix where --errors names no other."""
        if self.errors is not None or self.output is None:
            return self.errors
        return errors_beside(self.output)


def errors_beside(path: str) -> str:
    """The file of errors that goes with a file of answers."""
    stem, suffix = os.path.splitext(path)
    return f"{stem}.errors{suffix}"
