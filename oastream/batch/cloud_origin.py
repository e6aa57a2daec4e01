"""A cloud with a sign-in of its own as a server of a batch: each request is signed when it is sent.

In: the options and the base URL, then prepared requests. Out: the bytes of signed ones. Signing is `http.cloud`'s, the
openai SDK behind it; it blocks (a token may be fetched) and takes some milliseconds of the SDK's work, so it is done in
threads while the loop goes on. Loaded only with --provider.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from oastream.batch.prepare import Prepared
from oastream.http.cloud import Cloud
from oastream.http.credentials import read_key
from oastream.http.http1 import serialize_request
from oastream.http.request import Request, join_url
from oastream.http.route import Route, route_to
from oastream.options import Options
from oastream.redaction import REDACTED, KnownSecrets
from oastream.watch import Watch

_ROOT = "https://unsigned/v1"
_SECRETS_KEPT = 100
"""Signatures are new for each request, and a server may repeat one of those that are in flight."""


class CloudOrigin:
    """One cloud. `request` is a signed one without meaning: it shows where requests go, before any item is asked."""

    def __init__(
        self, options: Options, environ: Mapping[str, str], base_url: str, watch: Watch, secrets: KnownSecrets
    ) -> None:
        """Signs in. Raises `Failure`: config, or what kept the sign-in from its end."""
        self.base_url = base_url
        self._options = options
        self._secrets = secrets
        key = _find_cloud_key(options, watch)
        self._cloud = Cloud(options, environ, base_url, watch, KnownSecrets(), key)
        self.request = self._cloud.sign(self._cloud.request(b'{"model":"m"}'), math.inf)
        self.route: Route = route_to(self.request.url, environ)
        self._keep_secrets(self.request)

    def serialize(self, prepared: Prepared) -> tuple[bytes, Request]:
        """The bytes of an item's request, and the request itself. Blocks."""
        url = join_url(_ROOT, prepared.path)._replace(scheme="", netloc="")
        request = self._cloud.sign_here(Request("POST", url, self._options.header, prepared.body))
        self._keep_secrets(request)
        route = self.route.to(request.url)
        headers = (*request.headers, *route.proxy_headers)
        return serialize_request("POST", route.request_target, headers, request.body), request

    async def sign(self, prepared: Prepared) -> tuple[bytes, Request]:
        """The same, in a thread."""
        return await asyncio.to_thread(self.serialize, prepared)

    def _keep_secrets(self, request: Request) -> None:
        known = self._secrets.texts
        if not set(request.secrets) <= set(known):
            self._secrets.texts = tuple(dict.fromkeys((*known, *request.secrets)))[-_SECRETS_KEPT:]


def _find_cloud_key(options: Options, watch: Watch) -> str | None:
    """Never OPENAI_API_KEY: it is not for another cloud. A dry run asks no command."""
    if not options.dry_run:
        return read_key(options.api_key_file, options.api_key_cmd, watch, math.inf)
    if options.api_key_file or options.api_key_cmd:
        return REDACTED
    return None
