"""Where the key comes from: a file, the output of a command, else a variable.

In: the names of a file and of a command, the environment, a deadline. Out: a key that a header can carry. Knows nothing
of options or requests, nor whether a key is needed: whoever asks several servers asks for the key of each.
Every way it can be missing or wrong is a `Failure` with outcome config that names the source, not the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from oastream.exits import Failure, Outcome, failure_of
from oastream.reading import TooLarge, read_file
from oastream.watch import Watch

MAX_KEY_BYTES = 1 << 16
"""Longest key; tokens of clouds have a few thousand bytes."""
_VARIABLE = "OPENAI_API_KEY"


def find_key(
    file: str | None, command: str | None, environ: Mapping[str, str], watch: Watch, deadline: float
) -> str | None:
    """The key that the user has named a source for, else the one in the variable."""
    # A source that is named and empty is an error, and not passed over: another key might be billed to somebody else.
    named = read_key(file, command, watch, deadline)
    if named is not None:
        return named
    key = environ.get(_VARIABLE, "").strip()
    if not key:
        return None
    return _validate_key(key, _VARIABLE)


def read_key(file: str | None, command: str | None, watch: Watch, deadline: float) -> str | None:
    """The key in the file, else the one that the command prints; None where neither is named."""
    if file is not None:
        return _validate_key(_as_text(_read_key_file(file, watch, deadline)), f"--api-key-file {file}")
    if command is not None:
        return _validate_key(_as_text(_run_key_command(command, watch, deadline)), "the output of api-key-cmd")
    return None


def describe_key_source(
    headers: Iterable[tuple[str, str]], file: str | None, command: str | None, environ: Mapping[str, str]
) -> str:
    """Where the key is from, in words for a message; nothing where there is none. A header of the user's own counts."""
    for name, _ in headers:
        if name.lower() == "authorization":
            return f"--header {name}"
    if file is not None:
        return f"the key file {file}"
    if command is not None:
        return "the output of api-key-cmd"
    if environ.get(_VARIABLE, "").strip():
        return _VARIABLE
    return ""


def _as_text(data: bytes) -> str:
    """What is there but for the white space around it, and the byte order mark that some editors put before it."""
    return data.decode("utf-8-sig", "replace").strip()


def _validate_key(key: str, source: str) -> str:
    """The key, if a header can carry it."""
    if not key:
        raise failure_of(Outcome.CONFIG, "no API key", f"{source} is empty")
    # A line feed in it would begin another header; a blank is most often a second word that is no part of it.
    if not key.isascii() or not key.isprintable() or " " in key or key[0] in _NO_BEGINNING or _sets_variable(key):
        raise failure_of(Outcome.CONFIG, "bad API key", f"{source} {_describe_fault(key)}")
    return key


_NO_BEGINNING = "\"'`{<"
"""No key begins with one of these; what begins with them is a key in quotes, JSON, or <your key>."""


def _describe_fault(key: str) -> str:
    """What is wrong with a key, without a part of it."""
    first, *others = key.split(None, 1)
    if first.lower() == "bearer" and others:
        return "begins with Bearer, which is no part of the key"
    if key[0] in "\"'`“‘":
        return "has quotes around the key"
    if _sets_variable(key.removeprefix("export ")):
        return "sets a variable; only the key itself is wanted, without NAME= before it"
    if key[0] in "{<":
        return "is not a key alone"
    lines = len(key.splitlines())
    if lines > 1:
        return f"has {lines} lines; only the key is wanted"
    if not key.isascii():
        position = next(place for place, character in enumerate(key, 1) if not character.isascii())
        return f"has a character that no key has, at position {position}; was the key copied whole?"
    if " " in key:
        return "has a space within the key"
    return "has a control character within the key"


def _sets_variable(key: str) -> bool:
    """Whether it is a line of a .env file. A key itself may end in equals signs, as base64 does."""
    name, _, value = key.partition("=")
    return name.endswith(("KEY", "TOKEN")) and name.isupper() and value.strip("=") != ""


def looks_unset(key: str) -> bool:
    """Whether a key is what stands for one in an example, or names where it is. A server of one's own may take it."""
    return key.endswith("...") or key.startswith(("$", "~", "/")) or "your" in key.lower()


def _read_key_file(path: str, watch: Watch, deadline: float) -> bytes:
    try:
        return read_file(path, watch, deadline, MAX_KEY_BYTES)
    except (OSError, ValueError, TooLarge) as error:
        from oastream.path_hints import missing_path_hint, printable_path  # only to say what went wrong

        hint = missing_path_hint(path) if isinstance(error, FileNotFoundError) else ""
        raise _unreadable(f"the key file {printable_path(path)}", error, hint) from error


def _run_key_command(command: str, watch: Watch, deadline: float) -> bytes:
    from oastream.commands import run_command  # few runs ask one

    try:
        result = run_command(command, watch, deadline, MAX_KEY_BYTES)
    except (OSError, ValueError, TooLarge) as error:
        raise _unreadable("the output of api-key-cmd", error) from error
    if result.status < 0:
        raise failure_of(Outcome.CONFIG, "no API key", f"api-key-cmd was killed by signal {-result.status}")
    if result.status > 0:
        raise failure_of(Outcome.CONFIG, "no API key", f"api-key-cmd ended with status {result.status}")
    return result.output


def _unreadable(what: str, error: OSError | ValueError | TooLarge, hint: str = "") -> Failure:
    from oastream.system_errors import describe_error  # only to say what went wrong

    why = str(error)
    if not isinstance(error, TooLarge):
        why = describe_error(error)
    return failure_of(Outcome.CONFIG, f"cannot read {what}", why, hint)
