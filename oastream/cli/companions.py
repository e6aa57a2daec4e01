"""The man page and the completions, as they were installed with the program: what --generate prints.

In: the path of such a file in the repository. Out: its text. Not every installer places these files where man and
the shells look for them (older pipx, `uv tool` and a venv do not); the package holds a copy that is always there.
Knows nothing of how they are made.
"""

from __future__ import annotations

import os

from oastream.exits import Outcome, failure_of


def companion(path: str) -> str:
    """The text of the file at this path below the root of the repository.

    Raises `Failure` with outcome config where an installation lacks it.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for folder in (os.path.join(package, "share"), os.path.dirname(package)):
        try:
            with open(os.path.join(folder, path), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            from oastream.system_errors import describe_error  # only to say what went wrong

            what = f"cannot read {os.path.join(folder, path)}"
            raise failure_of(Outcome.CONFIG, what, describe_error(error)) from error
    raise failure_of(Outcome.CONFIG, f"no {path} here", "oastream was installed without man pages and completions")
