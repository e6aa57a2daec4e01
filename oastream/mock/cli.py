"""The `oastream-mock` program: options into a plan, a server, and the wait for a signal.

In: argv. Out: the server's URL as the one line on stdout; one line on stderr for an error. Click only parses: what a
value must be is for `values` to say, in the words that a script's mistakes have too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
import threading
from typing import Any, NoReturn

import click

from oastream import __version__
from oastream.cli.companions import companion
from oastream.cli.help import PLACES, describe_usage_error
from oastream.exits import TABLE, Failure, Outcome
from oastream.mock import script
from oastream.mock.batches import STEPS, BatchEnd
from oastream.mock.endings import ENDS
from oastream.mock.keys import KEYS, parse_named
from oastream.mock.values import parse_port

_EPILOG = """\b
An attempt is a request that gets the answer. Without --fault every attempt succeeds; each --fault applies to one
attempt, in order, and the last one repeats: --fault status=429 --fault cut_events=half,cut=rst --fault ok
Separate KEY=VALUE pairs with commas; flags need no value. --script FILE holds the same as TOML, one [[attempt]] table
per attempt, with reply, pace, delay, end and cycle at the top. Events count from 0; `half` is the place after the
middle piece of the text. The keys:

\b
"""


def _key_lines() -> str:
    return "\n".join(
        textwrap.fill(key.help, 100, initial_indent=f"  {name:12} ", subsequent_indent=" " * 15)
        for name, key in KEYS.items()
    )


def _print_companion(context: click.Context, _option: click.Parameter, kind: str | None) -> None:
    if kind is not None:
        click.echo(companion(PLACES[kind].format("oastream-mock")), nl=False)
        context.exit()


@click.command(
    epilog=_EPILOG + _key_lines(), context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="oastream-mock", message="%(prog)s %(version)s")
@click.option("--reply", metavar="TEXT|@FILE", help="What the answer says; by default it echoes the last user message.")
@click.option("--pace", metavar="SECONDS", help="Time between two events (0).")
@click.option("--delay", metavar="SECONDS", help="Time before the head of the reply (0; inf: it never comes).")
@click.option("--end", metavar="NAME", help=f"How each answer ends: {', '.join(outcome.value for outcome in ENDS)}.")
@click.option("--script", metavar="FILE", help="TOML file of faults, one [[attempt]] table per attempt.")
@click.option("--fault", "faults", multiple=True, metavar="KEY=VALUE,...", help="What goes wrong in one attempt.")
@click.option("--cycle/--no-cycle", default=None, help="Start over with the first attempt after the last.")
@click.option("--rpm", metavar="N", help="Requests per minute that are let through; more get 429.")
@click.option("--tpm", metavar="N", help="Tokens per minute: a quarter of the bytes, and the output limit or 512.")
@click.option(
    "--limit-window", metavar="NAME", help="Size of the buckets for --rpm and --tpm: minute (default), second."
)
@click.option("--limit-refill", metavar="NAME", help="How they are filled: continuous (default), at-once.")
@click.option(
    "--limit-headers",
    metavar="NAME",
    help="What replies tell of the limits: all (default), retry-after (with a 429 only), none.",
)
@click.option("--gone", metavar="SECONDS", help="Refuse connections for this long, and end those that are open.")
@click.option("--gone-after", metavar="SECONDS", help="Time from the first request until then (0).")
@click.option("--gone-status", metavar="STATUS", help="Answer with this HTTP status instead of refusing.")
@click.option("--batch-time", metavar="SECONDS", help="Time that a batch of the Batch API takes (0).")
@click.option(
    "--batch-end",
    metavar="NAME[+NAME...]",
    help=f"How each batch ends, in order; the last one repeats: {', '.join(end.value for end in BatchEnd)}.",
)
@click.option("--batch-invalid", metavar="TEXT", help="Fail batches at validation for each line that has this text.")
@click.option(
    "--batch-lose",
    metavar="STEP[+STEP...]",
    help=f"Do such a request, but reset the connection instead of replying, once: {', '.join(STEPS)}.",
)
@click.option(
    "--batch-stall",
    metavar="STEP[+STEP...]",
    help="Never reply to such a request, once; before-STEP: and do nothing, after-STEP: but do it.",
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", metavar="N", default="0", show_default=True, help="Port to listen on; 0 picks a free one.")
@click.option("-v", "--verbose/--no-verbose", default=False, help="Log each request to stderr.")
@click.option(
    "--generate",
    type=click.Choice(tuple(PLACES)),
    help="Print the man page, or completions for a shell.",
    is_eager=True,
    expose_value=False,
    callback=_print_companion,
)
def command(**options: Any) -> dict[str, Any]:
    """A server on loopback that speaks the Responses and the Chat Completions API as OpenAI does, without a model.

    Prints its base URL when it is ready, and serves until it gets a signal.
    """
    return options


def main() -> NoReturn:
    """The program."""
    options = _parse_options()
    if options is None:
        _leave(Outcome.STOP)
    _serve(options)
    threading.Event().wait()
    raise AssertionError("only a signal ends the wait")


def _parse_options() -> dict[str, Any] | None:
    """The options; None where --help or --version said all there is to say."""
    try:
        parsed = command.main(prog_name="oastream-mock", standalone_mode=False)
    except click.ClickException as error:
        why = describe_usage_error(error)
        if why.startswith("got unexpected extra"):
            why += "; it takes no words, only options, as in --port 8080"
        _fail(Outcome.USAGE, why)
    except Failure as failed:
        _fail(failed.verdict.outcome, failed.verdict.message)
    except OSError as error:
        _fail(Outcome.OUTPUT, f"cannot write to stdout: {error.strerror}")
    if isinstance(parsed, dict):
        return parsed
    return None  # Click wants to exit, and returns the status that it would exit with


def _serve(options: dict[str, Any]) -> None:
    host, port_text, verbose = (options.pop(name) for name in ("host", "port", "verbose"))
    try:
        port = parse_named(parse_port, port_text, "--port")
        plan = script.plan_from_options(**options)
    except ValueError as error:
        _fail(Outcome.USAGE, str(error))
    _die_of_signals()
    from oastream.mock.server import serve  # http.server costs more than --help may

    log = _log if verbose else None
    try:
        server = serve(plan, host, port, log)
    except OSError as error:
        why = error.strerror or str(error)
        if "//" in host or host.count(":") == 1:
            why += "; --host takes an address alone, --port the port"
        _fail(Outcome.CONFIG, f"cannot listen on {host}, port {port}: {why}")
    _print_url(server.url)


def _die_of_signals() -> None:
    """SIGINT ends the process at once, as SIGTERM does; one that was ignored at the start stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _print_url(url: str) -> None:
    # Past Python's buffer: scripts wait for this line, and on a pipe it would stay there until the end.
    try:
        os.write(1, f"{url}\n".encode())
    except OSError as error:
        _fail(Outcome.OUTPUT, f"cannot write to stdout: {error.strerror}")


def _log(line: str) -> None:
    """One write for each line, so that those of several threads do not mix; nobody is told of a log that is full."""
    with contextlib.suppress(OSError):
        os.write(2, f"oastream-mock: {line}\n".encode(errors="backslashreplace"))


def _fail(outcome: Outcome, message: str) -> NoReturn:
    _log(" ".join(message.split()))
    _leave(outcome)


def _leave(outcome: Outcome) -> NoReturn:
    """Ends the process; a flush that fails is an output error, and no traceback."""
    status = TABLE[outcome][0]
    try:
        sys.stdout.flush()
    except (OSError, AttributeError):  # a stdout that was closed at the start is None
        status = status or TABLE[Outcome.OUTPUT][0]
    os._exit(status)  # Python's own end would flush again, and complain on stderr with status 120


if __name__ == "__main__":
    main()
