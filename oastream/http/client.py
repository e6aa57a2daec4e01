"""How a run reaches its server: its request with the right key, and what opens the reply, recorded or replayed.

In: options, the base URL, a request's body. Out: a `Request`; `Sources`, which open one reply after another. Refuses to
know what is asked and what a reply means. Cloud, recorder and socket are each loaded by the runs that use them.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from oastream.http.credentials import find_key, read_key
from oastream.http.request import Request, build_request
from oastream.options import Options
from oastream.redaction import REDACTED, KnownSecrets
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.http.cloud import Cloud
    from oastream.http.source import OpenSource, Source


class Client:
    """Makes the run's request and opens its reply. `secrets` learns what must not be shown."""

    def __init__(
        self, options: Options, environ: Mapping[str, str], watch: Watch, secrets: KnownSecrets, deadline: float
    ) -> None:
        self._options = options
        self._environ = environ
        self._watch = watch
        self._secrets = secrets
        self._deadline = deadline
        self._cloud: Cloud | None = None

    def make_request(self, base_url: str, body: bytes) -> Request:
        """The request as it is sent, its key included. Raises `Failure`: config, input, or what ended a wait."""
        options = self._options
        if options.provider is not None:
            return self._make_cloud_request(base_url, body)
        request = build_request(options, self._environ, base_url, body, self._find_key(base_url))
        self._secrets.texts = request.secrets
        return request

    def open(self, request: Request, connect_deadline: float, deadline: float) -> Source:
        """Send the request, wait for the head of its reply. Raises `Failure`, and `TimeoutError` for `deadline`."""
        if self._cloud is not None:
            return self._cloud.open(request, connect_deadline, deadline)
        from oastream.http.transport import open_response  # not for a replay

        return open_response(request, self._environ, self._watch, connect_deadline, deadline)

    def _make_cloud_request(self, base_url: str, body: bytes) -> Request:
        from oastream.http.cloud import Cloud

        options = self._options
        self._cloud = Cloud(options, self._environ, base_url, self._watch, self._secrets, self._cloud_key())
        request = self._cloud.request(body)
        if options.dry_run:
            return self._cloud.sign(request, math.inf)  # others are signed as they are sent: a signature ages
        return request

    def _find_key(self, base_url: str) -> str | None:
        """None where none goes: to the embedded server, or with a recording."""
        options = self._options
        if base_url != options.base_url or options.replay is not None:
            return None
        return find_key(options.api_key_file, options.api_key_cmd, self._environ, self._watch, self._deadline)

    def _cloud_key(self) -> str | None:
        """Never OPENAI_API_KEY: it is not for another cloud. A dry run asks no command."""
        options = self._options
        if not options.dry_run:
            return read_key(options.api_key_file, options.api_key_cmd, self._watch, self._deadline)
        if options.api_key_file or options.api_key_cmd:
            return REDACTED
        return None


class Sources:
    """What opens one source after another, and whether it can do so again: a recording ends.

    `choices` is how many answers each of them was asked for.
    """

    def __init__(self, open: OpenSource, choices: int, can_reopen: Callable[[], bool] = lambda: True) -> None:
        self.open = open
        self.choices = choices
        self.can_reopen = can_reopen


@contextlib.contextmanager
def sources_for(
    options: Options, client: Client, choices: int, watch: Watch, secrets: KnownSecrets, deadline: float
) -> Iterator[Sources]:
    """The sources that the options name: the server, the server with a recorder beside it, or a recording.

    `choices` is how many answers the request asks for; a recording knows what its own asked for.
    """
    if options.replay is not None:
        from oastream.http.replay import Replay

        replay = Replay(options.replay, options.realtime, watch, deadline)
        yield Sources(replay.open, replay.choices, replay.can_reopen)
    elif options.record is not None and not options.dry_run:
        from oastream.http.recording import Recorder

        with Recorder(options.record, client.open, lambda: secrets.texts, watch, deadline, choices) as recorder:
            yield Sources(recorder.open, choices)
    else:
        yield Sources(client.open, choices)
