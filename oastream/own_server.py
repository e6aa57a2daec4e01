"""mock: and local: — a server that a run starts for itself, on loopback, and that ends with it.

In: the base URL that the options name. Out: one that can be asked. Loads what it starts, and nothing for other URLs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

from oastream.watch import Watch

MOCK, LOCAL = "mock:", "local:"


def is_own_server(base_url: str) -> bool:
    """Whether what answers there ends with the run."""
    return base_url.startswith((MOCK, LOCAL))


@contextlib.contextmanager
def server_for(
    base_url: str, environ: Mapping[str, str], watch: Watch, deadline: float = math.inf, slots: int = 1
) -> Iterator[str]:
    """The base URL to use. `slots` is how many answers at once a model on this machine is to give.

    Raises `Failure`: usage for a bad `mock:` URL, config where there is no model, or what ended the wait for one.
    """
    if base_url.startswith(MOCK):
        from oastream.mock.embedded import serve_embedded

        with serve_embedded(base_url) as url:
            yield url
    elif base_url.startswith(LOCAL):
        from oastream.local.server import LocalServer

        with contextlib.closing(LocalServer(base_url.removeprefix(LOCAL), slots, environ, watch, deadline)) as local:
            yield local.url
    else:
        yield base_url
