"""Where the key comes from: a file or a command that the options name, else a variable.

In: options, environment, a deadline. Out: a key that a header can carry. Knows nothing of requests, nor whether one
is needed. Every way it can be missing or wrong is a `Failure` with outcome config that names the source, not the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from oastream.exits import Failure, Outcome, failure_of
from oastream.options import Options
from oastream.reading import TooLarge, read_file
from oastream.watch import Watch

MAX_KEY_BYTES = 1 << 16
"""Longest key; tokens of clouds have a few thousand bytes."""


def find_key(options: Options, environ: Mapping[str, str], watch: Watch, deadline: float) -> str | None:
    """The key that the options name, else the one in the variable."""
    named = named_key(options, watch, deadline)
    if named is not None:
        return named
    key = environ.get("OPENAI_API_KEY", "").strip()
    return _usable(key, "OPENAI_API_KEY") if key else None


def named_key(options: Options, watch: Watch, deadline: float) -> str | None:
    """The key that the options name: in a file, else from a command."""
    if options.api_key_file is not None:
        data = _read_key_file(options.api_key_file, watch, deadline)
        return _usable(_text(data), f"--api-key-file {options.api_key_file}")
    if options.api_key_cmd is not None:
        return _usable(_text(_ask_command(options.api_key_cmd, watch, deadline)), "the output of api-key-cmd")
    return None


def key_source(options: Options, environ: Mapping[str, str]) -> str:
    """Where the key is from, in words for a message; nothing where there is none."""
    given = next((name for name, _ in options.header if name.lower() == "authorization"), None)
    if given is not None:
        return f"--header {given}"
    if options.api_key_file is not None:
        return f"the key file {options.api_key_file}"
    if options.api_key_cmd is not None:
        return "the output of api-key-cmd"
    return "OPENAI_API_KEY" if environ.get("OPENAI_API_KEY", "").strip() else ""


def _text(data: bytes) -> str:
    """What is there but for the white space around it, and the byte order mark that some editors put before it."""
    return data.decode("utf-8-sig", "replace").strip()


def _usable(key: str, source: str) -> str:
    """A key that a header can carry."""
    if not key:
        raise failure_of(Outcome.CONFIG, "no API key", f"{source} is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise failure_of(Outcome.CONFIG, "bad API key", f"{source} has characters that a key cannot have")
    return key


def _read_key_file(path: str, watch: Watch, deadline: float) -> bytes:
    try:
        return read_file(path, watch, deadline, MAX_KEY_BYTES)
    except (OSError, ValueError, TooLarge) as error:
        raise _unreadable(f"the key file {path}", error) from error


def _ask_command(command: str, watch: Watch, deadline: float) -> bytes:
    from oastream.commands import run_command  # few runs ask one

    try:
        done = run_command(command, watch, deadline, MAX_KEY_BYTES)
    except (OSError, ValueError, TooLarge) as error:
        raise _unreadable("the output of api-key-cmd", error) from error
    if done.status < 0:
        raise failure_of(Outcome.CONFIG, "no API key", f"api-key-cmd was killed by signal {-done.status}")
    if done.status > 0:
        raise failure_of(Outcome.CONFIG, "no API key", f"api-key-cmd ended with status {done.status}")
    return done.output


def _unreadable(what: str, error: Exception) -> Failure:
    from oastream.files import reason  # only to say what went wrong

    why = reason(error) if isinstance(error, OSError | ValueError) else str(error)
    return failure_of(Outcome.CONFIG, f"cannot read {what}", why)
