"""A request and its reply, as the server reads and sends them.

In and out: nothing; these are the words that `server` and the rest of the mock share. Knows no API.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from oastream.mock.events import CutKind, Wire
from oastream.mock.faults import Framing

_WITHOUT_BODY = (204, 304)  # RFC 9110 15.3.5 and 15.4.5


def merge_headers(usual: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Headers of which the reply's own win; a name is the same in any case (RFC 9110 5.1)."""
    replaced = {name.lower() for name in own}
    return {name: value for name, value in usual.items() if name.lower() not in replaced} | dict(own)


class Request(NamedTuple):
    """A request as it came. Header names are in lower case; `body` is the parsed JSON, or the text if it is none.

    `raw` has the bytes of a body that is neither: of an upload.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None
    raw: bytes = b""


class Reply(NamedTuple):
    """A reply: head, then the wire's items. `length` is the Content-Length where the framing is by length.

    With `raw`, these bytes are sent instead of any HTTP, then the connection ends by `cut`.
    """

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    wire: Iterable[Wire] = ()
    framing: Framing = Framing.LENGTH
    length: int = 0
    delay: float = 0.0
    raw: bytes | None = None
    cut: CutKind = CutKind.FIN

    @property
    def has_body(self) -> bool:
        return self.status not in _WITHOUT_BODY

    def framing_headers(self) -> dict[str, str]:
        """What tells the client where the body ends."""
        if not self.has_body:
            return {}
        return {
            Framing.CHUNKED: {"Transfer-Encoding": "chunked"},
            Framing.LENGTH: {"Content-Length": str(self.length)},
            Framing.CLOSE: {"Connection": "close"},
        }[self.framing]
