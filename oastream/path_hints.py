"""Why a path that a user typed may not be there: what a shell left in it, or what was never a path.

In: the path. Out: a hint, "" where none is near. Only for messages: nothing imports it before one is needed.
"""

from __future__ import annotations

import os
import re

from oastream.redaction import mask_text


def missing_path_hint(path: str) -> str:
    """What to do about a path that is not there."""
    if mask_text(path) != path and "/" not in path:
        return "that looks like a key, and a file that holds one is wanted"
    if path.startswith(("http://", "https://")):
        return f"it is no file; curl -s {mask_text(path)} | oastream … reads it"
    if path.startswith("file://"):
        return f"write it without file://, as {path.removeprefix('file://')}"
    if path.startswith("~"):
        return "the shell has not expanded ~, which it does only at the beginning of a word and outside quotes"
    if variable := re.search(r"\$\{?\w+\}?", path):
        return f"the shell has not expanded {variable[0]}, which it does not within '…'"
    if any(c in path for c in "*?["):
        return "the shell has not expanded the pattern: it is quoted, or no file matches it"
    if path.strip(" \t\r\n'\"“”‘’") != path:
        return f"the name has spaces or quotes around it: {path!r}"
    return ""


def missing_folder_hint(path: str) -> str:
    """The command that makes the folder of a file which is to be written, where only that is missing."""
    folder = os.path.dirname(path)
    if not folder or os.path.lexists(folder) or path.startswith("~"):
        return missing_path_hint(path)
    import shlex

    return missing_path_hint(path) or f"there is no such folder; mkdir -p {shlex.quote(folder)}"


def printable_path(path: str) -> str:
    """The path as a message names it: quoted where it could not be told from the words around it, no key in it."""
    shown = mask_text(path)
    if shown.strip() != shown or not shown:
        return repr(shown)
    return shown
