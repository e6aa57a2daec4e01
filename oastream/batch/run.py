"""The way of one batch, on one page: options → what is to be asked → the answers → how it ended.

In: `BatchOptions`, the environment, what stdin is. Out: a `Verdict`; raises `Failure` for what keeps the run from
beginning. Someone who reads only this knows the program. Before the first request and after the last a signal kills at
once: the journal is good at any moment.

    setup      the command line      → how items are read, what is asked about each, the servers
    backlog    journal, errors       → what is left to ask           (until here nothing has been sent)
    sending    items, servers        → lines in the answers and in the errors, figures
    finish     figures, failures     → the verdict
    report     all of these          → a page about them, with --report
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from oastream.batch.backlog import find_backlog, open_journal, refuse_running_batches
from oastream.batch.finish import finish
from oastream.batch.lines import write_stdout
from oastream.batch.options import BatchOptions
from oastream.batch.recorder import Figures
from oastream.batch.sending import send_all
from oastream.batch.servers import serve_own
from oastream.batch.setup import Setup, describe_first_request, read_setup
from oastream.batch.summary import Sent
from oastream.exits import Verdict
from oastream.input.prompt import InputReader
from oastream.output.stderr import Reporter, Stderr
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.batch.report.report import Report


def run_batch(
    options: BatchOptions,
    environ: Mapping[str, str],
    stdin_is_terminal: bool,
    watch: Watch,
    stderr: Stderr,
    reporter: Reporter,
) -> Verdict:
    """From the first line of the input to the last of the answers."""
    if options.merge:
        from oastream.batch.merge import merge  # a run of another kind

        return merge(options, InputReader(watch, "utf-8", lambda: None).file, reporter)
    if options.shards is not None and not options.request.dry_run:
        from oastream.batch.launch import launch  # as is this one

        return launch(options, InputReader(watch, "utf-8", lambda: None).file, watch, reporter)
    with serve_own(options, environ, watch) as options:
        return _run_batch(options, environ, stdin_is_terminal, watch, stderr, reporter)


def _run_batch(
    options: BatchOptions,
    environ: Mapping[str, str],
    stdin_is_terminal: bool,
    watch: Watch,
    stderr: Stderr,
    reporter: Reporter,
) -> Verdict:
    began = time.monotonic()
    setup = read_setup(options, environ, stdin_is_terminal, watch, stderr)
    if options.request.dry_run:
        return write_stdout(describe_first_request(setup))
    refuse_running_batches(options)
    if options.via is not None and not setup.input.is_file:
        setup.input.spool(setup.chunks)  # its items are looked up again when their answers come
    report = open_report(options, setup, began, stderr)
    with open_journal(options, setup.layout) as opened:
        backlog = find_backlog(options, setup, opened)
        if options.via is not None:
            from oastream.batch.via.send import send_via  # no other run needs it

            sent = send_via(options, setup, backlog, environ, watch, stderr, reporter)
        elif backlog.is_empty:
            backlog.open_errors(options.errors_path)
            sent = Sent(Figures())
        else:
            sent = send_all(options, setup, backlog, stderr, reporter, report)
        seconds = time.monotonic() - began
        verdict = finish(options, setup.layout, backlog, sent, seconds, stderr, reporter)
        return verdict if report is None else report.finish(backlog, sent, seconds, verdict)


def open_report(options: BatchOptions, setup: Setup, began: float, stderr: Stderr) -> Report | None:
    """What makes the page of --report, if that is asked for; its file can be written."""
    if options.report is None:
        return None
    from oastream.batch.report.report import Report  # 12 modules that no other run needs

    return Report(options, setup, began, stderr.secrets)
