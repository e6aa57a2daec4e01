"""How long a test waits for what must happen: until a condition holds, and no longer than only a hang takes.

In: a condition. Out: whether it came true. For what nothing announces; where an event can be set, that is better.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SOON = 10.0
"""Seconds; only a hang takes longer."""
_LOOK_AGAIN = 0.01


def wait_until(condition: Callable[[], bool], seconds: float = SOON) -> bool:
    """Whether the condition came true in time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(_LOOK_AGAIN)
    return True
