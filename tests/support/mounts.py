"""File systems for the length of a test: small ones that fill up, mount points that nothing can be renamed over.

In: what mount(8) takes. Out: it is mounted; or the test is skipped, and the reason is what mount says.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def mounted(*args: str) -> Iterator[None]:
    """A file system for the length of a test; the last argument is where it is."""
    done = subprocess.run(["mount", *args], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", args[-1]], check=True)
