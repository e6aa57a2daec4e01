"""A base URL → a server that the runner can ask: its gate, its connections, the bytes of a request to it.

In: the base URL, the headers and the way there, once for the whole run; then prepared requests. Out: `Server`s. Which
item goes to which of them is the runner's to decide; nothing is connected here.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from oastream.batch.options import BatchOptions
from oastream.batch.pacing.gate import Gate, Settings
from oastream.batch.pool import Pool
from oastream.batch.prepare import Prepared
from oastream.batch.runner import Server
from oastream.http.http1 import serialize_opening, with_body
from oastream.http.request import Request, join_url
from oastream.http.route import Route
from oastream.own_server import is_own_server, server_for
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.batch.cloud_origin import CloudOrigin

LOCAL_SLOTS = 4
"""Answers at once of a model on this machine: more of them share the same cores, and take memory each."""


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


def open_server(
    origin: Origin | CloudOrigin, options: BatchOptions, new_gate: Callable[[Settings], Gate] = Gate
) -> Server:
    """A server with the limits of the options, each for itself, and a pool without connections yet."""
    settings = Settings(
        options.rpm,
        options.tpm,
        1 if options.shard is None else options.shard.total,
        options.concurrency,
        options.outage_max,
        0 if options.shard is None else options.shard.number,
    )
    pool = Pool(origin.route, options.request.connect_timeout)
    sign = None if isinstance(origin, Origin) else origin.sign
    return Server(new_gate(settings), pool, origin.serialize, sign)


@contextlib.contextmanager
def serve_own(options: BatchOptions, environ: Mapping[str, str], watch: Watch) -> Iterator[BatchOptions]:
    """The options with addresses only: each `mock:` or `local:` is a server of its own, as long as the run lasts."""
    if not any(map(is_own_server, options.base_urls)):
        yield options
        return
    slots = min(options.concurrency or LOCAL_SLOTS, LOCAL_SLOTS)
    with contextlib.ExitStack() as servers:
        urls = [servers.enter_context(server_for(url, environ, watch, slots=slots)) for url in options.base_urls]
        yield options._replace(base_urls=tuple(urls))
