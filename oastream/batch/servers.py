"""A base URL → a server that the runner can ask: its gate, its connections, the bytes of a request to it.

In: the base URL, the headers and the way there, once for the whole run; then prepared requests. Out: `Server`s. Which
item goes to which of them is the runner's to decide; nothing is connected here.
"""

from __future__ import annotations

from typing import NamedTuple

from oastream.batch.options import BatchOptions
from oastream.batch.pacing.gate import Gate, Settings
from oastream.batch.pool import Pool
from oastream.batch.prepare import Prepared
from oastream.batch.runner import Server
from oastream.http.http1 import serialize_request
from oastream.http.request import Request, join_url
from oastream.http.route import Route


class Origin(NamedTuple):
    """One server: its base URL, a request to it without a body, the way to it."""

    base_url: str
    request: Request
    route: Route

    def serialize(self, prepared: Prepared) -> tuple[bytes, Request]:
        """The bytes of an item's request, and the request itself."""
        request = self.request._replace(url=join_url(self.base_url, prepared.path), body=prepared.body)
        route = self.route.to(request.url)
        headers = (*request.headers, *route.proxy_headers)
        return serialize_request("POST", route.request_target, headers, prepared.body), request


def open_server(origin: Origin, options: BatchOptions) -> Server:
    """A server with the limits of the options, each for itself, and a pool without connections yet."""
    settings = Settings(
        options.rpm,
        options.tpm,
        1 if options.shard is None else options.shard.total,
        options.concurrency,
        options.outage_max,
    )
    return Server(Gate(settings), Pool(origin.route, options.request.connect_timeout), origin.serialize)
