"""A `mock:` URL → a server inside the program that asks it, for as long as that program's run lasts.

In: the URL. Out: a base URL that can be connected to. Raises `Failure` with outcome usage for a URL that describes no
server. Knows nothing of who asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from oastream.exits import Outcome, failure_of
from oastream.mock.script import plan_from_url
from oastream.mock.server import serve
from oastream.redaction import mask_text


@contextlib.contextmanager
def serve_embedded(mock_url: str) -> Iterator[str]:
    """Serve what the URL describes, at the base URL that this gives."""
    try:
        server = serve(plan_from_url(mock_url))
    except (ValueError, OSError) as error:
        raise failure_of(Outcome.USAGE, f"bad --base-url {mask_text(mock_url)!r}", error) from error
    try:
        yield server.url
    finally:
        server.close()
