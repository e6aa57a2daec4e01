"""The way of one batch, on one page: options → what is to be asked → the answers → how it ended.

In: `BatchOptions`, the environment, what stdin is. Out: a `Verdict`; raises `Failure` for what keeps the run from
beginning. Someone who reads only this knows the program. Before the first request and after the last a signal kills at
once: the journal is good at any moment.

    setup      the command line      → how items are read, what is asked about each, the servers
    backlog    journal, errors       → what is left to ask           (until here nothing has been sent)
    sending    items, servers        → lines in the answers and in the errors, figures
    finish     figures, failures     → the verdict
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from oastream.batch.backlog import find_backlog, open_journal
from oastream.batch.finish import finish
from oastream.batch.lines import write_stdout
from oastream.batch.options import BatchOptions
from oastream.batch.recorder import Figures
from oastream.batch.sending import Sent, send_all
from oastream.batch.setup import describe_first_request, read_setup
from oastream.exits import Verdict
from oastream.output.stderr import Reporter, Stderr
from oastream.watch import Watch


def run_batch(
    options: BatchOptions,
    environ: Mapping[str, str],
    stdin_is_terminal: bool,
    watch: Watch,
    stderr: Stderr,
    reporter: Reporter,
) -> Verdict:
    """From the first line of the input to the last of the answers."""
    began = time.monotonic()
    setup = read_setup(options, environ, stdin_is_terminal, watch, stderr)
    if options.request.dry_run:
        return write_stdout(describe_first_request(setup))
    with open_journal(options, setup.layout) as opened:
        backlog = find_backlog(options, setup, opened)
        if backlog.is_empty:
            backlog.open_errors(options.errors_path)
            sent = Sent(Figures())
        else:
            sent = send_all(options, setup, backlog, stderr, reporter)
        return finish(options, setup.layout, backlog, sent, time.monotonic() - began, stderr, reporter)
