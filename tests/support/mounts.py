"""File systems for the length of a test: small ones that fill up, mount points that nothing can be renamed over.

In: what mount(8) takes. Out: it is mounted; or the test is skipped, and the reason is what mount says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.program import run


@contextlib.contextmanager
def mount(*args: str) -> Iterator[None]:
    """A file system for the length of a test; the last argument is where it is."""
    result = run(["mount", *args])
    if result.status:
        pytest.skip(f"nothing can be mounted here: {result.err.strip()}")
    try:
        yield
    finally:
        assert run(["umount", args[-1]]).status == 0
