"""A base URL → a server that the runner can ask: its gate, its connections, the bytes of a request to it.

In: the base URL, the headers and the way there, once for the whole run; then prepared requests. Out: `Server`s. Which
item goes to which of them is the runner's to decide; nothing is connected here.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from oastream.batch.options import BatchOptions
from oastream.batch.pacing.gate import Gate, Settings
from oastream.batch.pool import Pool
from oastream.batch.prepare import Prepared
from oastream.batch.runner import Server
from oastream.http.http1 import serialize_opening, with_body
from oastream.http.request import Request, join_url
from oastream.http.route import Route


class Origin(NamedTuple):
    """One server: its base URL, a request to it without a body, the way to it."""

    base_url: str
    request: Request
    route: Route

    def serialize(self, prepared: Prepared) -> tuple[bytes, Request]:
        """The bytes of an item's request, and the request itself."""
        opening, request = _open_request(self, prepared.path)
        return with_body(opening, prepared.body), request._replace(body=prepared.body)


@functools.lru_cache(maxsize=64)  # a run asks few servers, each for few paths: 1 µs a request, not 10
def _open_request(origin: Origin, path: str) -> tuple[bytes, Request]:
    """What all requests to one path have in common, as bytes and without a body."""
    request = origin.request._replace(url=join_url(origin.base_url, path))
    route = origin.route.to(request.url)
    headers = (*request.headers, *route.proxy_headers)
    return serialize_opening("POST", route.request_target, headers), request


def open_server(origin: Origin, options: BatchOptions, new_gate: Callable[[Settings], Gate] = Gate) -> Server:
    """A server with the limits of the options, each for itself, and a pool without connections yet."""
    settings = Settings(
        options.rpm,
        options.tpm,
        1 if options.shard is None else options.shard.total,
        options.concurrency,
        options.outage_max,
        0 if options.shard is None else options.shard.number,
    )
    return Server(new_gate(settings), Pool(origin.route, options.request.connect_timeout), origin.serialize)


@contextlib.contextmanager
def serve_mocks(options: BatchOptions) -> Iterator[BatchOptions]:
    """The options with addresses only: each `mock:` is a server of its own, as long as the run lasts."""
    if not any(url.startswith("mock:") for url in options.base_urls):
        yield options
        return
    from oastream.mock.embedded import serve_embedded  # no other run needs a server

    with contextlib.ExitStack() as servers:
        urls = []
        for url in options.base_urls:
            if url.startswith("mock:"):
                url = servers.enter_context(serve_embedded(url))
            urls.append(url)
        yield options._replace(base_urls=tuple(urls))
