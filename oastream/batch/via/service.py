"""The provider's files and batches, through the openai SDK's own client; each call a wait that signals end.

In: an origin with its headers, files to upload, ids. Out: ids, batches, downloaded files. Raises `Failure`: what the
provider says as the verdict that a single request would get, signal for a signal, aborted for --max-time. Tries nothing
twice, and decides nothing about batches. `import openai` takes 0.6 s, and is done here, at the first call.
"""

from __future__ import annotations

import math
import ssl
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote_from_bytes

from oastream.attempts.http_error import http_error_verdict
from oastream.batch.servers import Origin
from oastream.display import one_line
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.authority import bracket_host, is_loopback
from oastream.http.proxy import Proxy, proxy_for
from oastream.http.trust import shared_trust
from oastream.output.stderr import Trace
from oastream.redaction import mask_url
from oastream.threads import call_in_thread
from oastream.watch import Watch

if TYPE_CHECKING:
    import httpx2
    import openai
    from openai.types import Batch

T = TypeVar("T")
_READ_TIMEOUT = 600.0
_PAGE = 100
_CLOCK_SKEW = 86400
"""Seconds by which the provider's clock may be off: older batches than the run are not looked at."""
_OWN_HEADERS = frozenset({"host", "content-type", "content-length", "accept", "accept-encoding"})
"""Headers of a request that streams; the SDK has its own."""


class Service:
    """One provider. Nothing waits longer than `max_time` seconds from now, if that is not 0."""

    def __init__(
        self,
        origin: Origin,
        environ: Mapping[str, str],
        connect_timeout: float,
        watch: Watch,
        max_time: float,
        trace: Trace,
    ) -> None:
        self._origin = origin
        self._environ = environ
        self._connect_timeout = connect_timeout
        self._watch = watch
        self._trace = trace
        self._max_time = max_time
        self._deadline = watch.now() + (max_time or math.inf)
        self._client: openai.OpenAI | None = None

    def upload(self, name: str, file: BinaryIO) -> str:
        """The id of the file that is uploaded under this name."""

        def call(client: openai.OpenAI) -> str:
            file.seek(0)
            return _check_id(client.files.create(file=(name, file), purpose="batch"))

        return self._ask(call)

    def find_file(self, name: str) -> str | None:
        """The id of the file that was uploaded under this name, if there is one."""

        def call(client: openai.OpenAI) -> str | None:
            for file in client.files.list(purpose="batch"):
                if file.filename == name:
                    return file.id
            return None

        return self._ask(call)

    def create(self, file_id: str, endpoint: Any, metadata: dict[str, str]) -> Batch:
        """A new batch. A `Failure` does not say that there is none."""
        return self._ask(
            lambda client: _check_batch(
                client.batches.create(
                    input_file_id=file_id, endpoint=endpoint, completion_window="24h", metadata=metadata
                )
            )
        )

    def find_batch(self, metadata: dict[str, str], since: int) -> Batch | None:
        """The batch that was created with this metadata, no earlier than `since` (Unix time)."""

        def call(client: openai.OpenAI) -> Batch | None:
            for batch in client.batches.list(limit=_PAGE):
                if metadata.items() <= (batch.metadata or {}).items():
                    return batch
                if batch.created_at < since - _CLOCK_SKEW:  # the newest come first
                    return None
            return None

        return self._ask(call)

    def retrieve(self, batch_id: str) -> Batch:
        return self._ask(lambda client: _check_batch(client.batches.retrieve(batch_id)))

    def cancel(self, batch_id: str) -> Batch:
        return self._ask(lambda client: _check_batch(client.batches.cancel(batch_id)))

    def download(self, file_id: str) -> BinaryIO:
        """The content of a file, in one without a name, at its beginning."""

        def call(client: openai.OpenAI) -> BinaryIO:
            kept: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  whoever asked for it reads it
            with client.files.with_streaming_response.content(file_id) as response:
                for chunk in response.iter_bytes():
                    kept.write(chunk)
            kept.seek(0)
            return kept

        return self._ask(call)

    def sleep(self, seconds: float) -> None:
        """Wait between two requests."""
        self._watch.sleep(min(self._watch.now() + seconds, self._deadline))
        if self._watch.now() >= self._deadline:
            raise self._out_of_time()

    def _out_of_time(self) -> Failure:
        return failure_of(Outcome.ABORTED, "the run was broken off", f"--max-time {self._max_time:g} s passed")

    # --- the way there

    def _ask(self, call: Callable[[openai.OpenAI], T]) -> T:
        try:
            return call_in_thread(lambda: self._translate(call), self._watch, self._deadline)
        except TimeoutError as error:
            raise self._out_of_time() from error

    def _translate(self, call: Callable[[openai.OpenAI], T]) -> T:
        """In the thread: what the SDK raises as a `Failure`."""
        import httpx2
        import openai

        try:
            if self._client is None:
                self._client = self._open_client()
            return call(self._client)
        except openai.APIStatusError as error:
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            verdict = http_error_verdict(error.status_code, headers, _body_of(error), self._origin.request)
            raise Failure(verdict._replace(request_id=error.request_id)) from error
        except openai.APITimeoutError as error:
            raise failure_of(Outcome.TIMEOUT, "no answer in time", self._origin.route.server) from error
        except (openai.APIConnectionError, httpx2.HTTPError) as error:  # the latter while a body comes
            raise self._connection_failure(error) from error
        except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
            # The SDK passes on whatever JSON has come, or a page as its text.
            why = "its reply is none of the Batch API's"
            raise failure_of(Outcome.NOT_API, f"{self._origin.route.server} has no Batch API", why) from error
        except ImportError as error:  # httpx2 needs another package for SOCKS
            raise failure_of(Outcome.CONFIG, "the Batch API cannot be reached through this proxy", error) from error
        except OSError as error:
            raise failure_of(Outcome.OUTPUT, "a temporary file cannot be written", error.strerror or error) from error

    def _connection_failure(self, error: Exception) -> Failure:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            return failure_of(Outcome.TLS, f"TLS with {self._origin.route.server} failed", one_line(str(cause)))
        why = one_line(str(error.__cause__ or error))
        return failure_of(Outcome.UNREACHABLE, f"cannot reach {self._origin.route.server}", why)

    def _open_client(self) -> openai.OpenAI:
        """The SDK's client with our headers and our trust. It retries nothing: two creates would be two bills."""
        import httpx2
        import openai

        given = {name: value for name, value in self._origin.request.headers if name.lower() not in _OWN_HEADERS}
        hooks: list[Callable[[httpx2.Request], None]] = [self._show_request]
        if not any(name.lower() == "authorization" for name in given):
            hooks.append(_take_key_off)
        timeout = httpx2.Timeout(_READ_TIMEOUT, connect=self._connect_timeout or None)
        http_client = httpx2.Client(
            verify=self._trust(),
            proxy=self._proxy_url(),
            trust_env=False,
            follow_redirects=False,
            timeout=timeout,
            event_hooks={"request": hooks, "response": [self._show_reply]},
        )
        return openai.OpenAI(
            base_url=self._origin.base_url,
            api_key="in the headers",
            default_headers=given,
            max_retries=0,
            timeout=timeout,
            http_client=http_client,
        )

    # For -v, from the thread that asks: the other one waits for it, and writes nothing meanwhile.

    def _show_request(self, request: httpx2.Request) -> None:
        self._trace.sent(f"{request.method} {mask_url(str(request.url))}")

    def _show_reply(self, response: httpx2.Response) -> None:
        self._trace.received(f"{response.status_code} {response.reason_phrase}")

    def _trust(self) -> Any:
        if not self._origin.route.has_tls:
            return False
        return shared_trust().read_file()  # httpx2 would not know to begin anew

    def _proxy_url(self) -> str | None:
        url = self._origin.request.url
        proxy = None
        if not is_loopback(url.hostname or ""):
            proxy = proxy_for(url, self._environ)
        return None if proxy is None else _as_url(proxy)


def _take_key_off(request: httpx2.Request) -> None:
    """The SDK takes no server without a key for one, and none of its own ways to leave it out are for all requests."""
    del request.headers["Authorization"]


def _as_url(proxy: Proxy) -> str:
    user = ""
    if proxy.user is not None:
        user = f"{quote_from_bytes(proxy.user, safe='')}:{quote_from_bytes(proxy.password, safe='')}@"
    return f"{proxy.scheme}://{user}{bracket_host(proxy.host)}:{proxy.port}"


def _body_of(error: openai.APIStatusError) -> bytes:
    try:
        return error.response.content
    except Exception:  # of a reply that streams, which broke off while its error was read: the status says enough
        return b""


def _check_id(thing: Any) -> str:
    """Its id, if the reply was the object that the SDK promises. Raises `ValueError` for any other."""
    if not isinstance(thing.id, str):
        raise ValueError(thing)
    return thing.id


def _check_batch(thing: Batch) -> Batch:
    """The same for a batch."""
    _check_id(thing)
    if not isinstance(thing.status, str):
        raise ValueError(thing)
    return thing
