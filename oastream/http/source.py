"""What bytes come from, whatever stands behind it: a server, a cloud's sign-in, a recording.

In: a request and the deadlines to connect and for the head of the reply. Out: its status, its headers, its body piece
by piece. Nothing but the two types is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from oastream.http.request import Request


class Source(Protocol):
    """A reply whose head has arrived; leaving it as a context ends the request."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]: ...
    def read(self, deadline: float) -> bytes | None: ...
    def __enter__(self) -> Source: ...
    def __exit__(self, *_: Any) -> None: ...


OpenSource = Callable[[Request, float, float], Source]
"""Opens a source: the request, the deadline to connect, the deadline for the head of the reply."""
