"""A request as OpenAI's own API has it → the same request as a cloud accepts it, made by the openai SDK's own client.

In: an unsigned request. Out: its response. The SDK signs in, finds the URL, sets the headers and signs; it sends
through an httpx2 transport that hands the finished request to `transport`, since the SDK's own waits know nothing of
our deadlines, of signals, or of a reader that has gone. Loaded only with --provider: `import openai` takes 0.6 s.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import orjson

from oastream.display import one_line
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.request import (
    PATHS,
    Headers,
    Request,
    account_headers,
    check_key,
    is_header_value,
)
from oastream.http.transport import Response, open_response
from oastream.options import Options
from oastream.redaction import REDACTED, KnownSecrets, credentials_in, secrets_in
from oastream.threads import call_in_thread
from oastream.watch import Watch

_ROOT = "/v1"
"""Where unsigned requests stand: OpenAI's own paths. The SDK puts the cloud's root in its place."""
_ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"


class Cloud:
    """Opens sources at a cloud. The client is made once; each request is signed when it is sent."""

    def __init__(
        self,
        options: Options,
        environ: Mapping[str, str],
        base_url: str,
        watch: Watch,
        secrets: KnownSecrets,
        key: str | None,
    ) -> None:
        """`key` is the key or token that the options name."""
        assert options.provider is not None
        self._options = options
        self._environ = environ
        self._base_url = base_url
        self._watch = watch
        self._secrets = secrets
        self._key = key
        self._client: Any = None

    def request(self, body: bytes) -> Request:
        """The request before it is signed."""
        url = SplitResult("", "", _ROOT + PATHS[self._options.api], "", "")
        return Request("POST", url, self._options.header, body)

    def open(self, request: Request, connect_deadline: float, deadline: float) -> Response:
        """Sign the request, send it, wait for the head of its response. The sign-in is no part of connecting."""
        began = self._watch.now()
        signed = self.signed(request, deadline)
        connect_deadline = min(connect_deadline + self._watch.now() - began, deadline)
        return open_response(signed, self._environ, self._watch, connect_deadline, deadline)

    def signed(self, request: Request, deadline: float) -> Request:
        """The request as it goes over the wire. Raises `Failure`, or `TimeoutError` for a sign-in that takes long."""
        account_headers(self._environ)  # which the SDK would take unchecked
        try:
            made = call_in_thread(lambda: self._sign(request), self._watch, deadline)
        except (Failure, TimeoutError):
            raise
        except Exception as error:
            raise _translated(error, str(self._options.provider)) from error
        made = made._replace(secrets=secrets_in(made.headers, made.url, self._environ))
        self._secrets.texts = made.secrets
        for name, value in made.headers:
            if not is_header_value(value):
                raise failure_of(Outcome.CONFIG, f"bad {name}", "it has characters that a header cannot carry")
        if not self._options.dry_run:
            check_key(self._options, made.url, credentials_in(made.headers, made.url))
        return made

    def _sign(self, request: Request) -> Request:
        """In a thread of its own: sign-ins block, and some ask a metadata server, or start a program."""
        if self._client is None:
            _silence()
            self._client = _CLIENTS[str(self._options.provider)](self._options, self._base_url, self._key)
        import httpx2

        arguments: dict[str, Any] = {
            "cast_to": httpx2.Response,
            "options": {"headers": _streaming(request.headers), "params": dict(parse_qsl(request.url.query))},
        }
        if request.body:
            arguments["body"] = orjson.loads(request.body)
        call = self._client.post if request.method == "POST" else self._client.get
        try:
            call(request.url.path.removeprefix(_ROOT), **arguments)
        except _Finished as finished:
            return finished.request
        raise AssertionError("the SDK sent nothing")


class _Finished(Exception):
    """The SDK has made its request."""

    def __init__(self, request: Request) -> None:
        self.request = request


def _http_client() -> Any:
    """The HTTP client that the SDK sends through: a request that gets there has been signed."""
    import httpx2

    class Outbox(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            raise _Finished(_taken(request))

    return httpx2.Client(transport=Outbox(), follow_redirects=False)


def _taken(request: Any) -> Request:
    """An httpx2 request as ours; its Content-Length, which may be signed, is the one that `transport` sets."""
    decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    headers = tuple((name, value) for name, value in decoded if name.lower() != "content-length")
    return Request(request.method, urlsplit(str(request.url)), headers, request.read())


def _streaming(chosen: Headers) -> dict[str, str]:
    """What a stream needs, below the headers that the user has chosen."""
    ours = {"Accept": "text/event-stream, application/json", "Accept-Encoding": "identity"}
    names = {name.lower() for name, _ in chosen}
    return {**{name: value for name, value in ours.items() if name.lower() not in names}, **dict(chosen)}


def _silence() -> None:
    """Sign-in libraries warn and log on stderr, which is ours to write: what matters comes as an exception."""
    warnings.simplefilter("ignore")
    logging.lastResort = None


# The clients -----------------------------------------------------------------------------------------------------


def _azure(options: Options, base_url: str, named: str | None) -> Any:
    """A resource's address takes Azure's URLs with deployments; one that ends in /v1 takes OpenAI's own."""
    import openai

    where = urlsplit(base_url)
    query = dict(parse_qsl(where.query))
    root = base_url.partition("?")[0].rstrip("/")
    key, token, provider = _azure_credentials(options, named)
    if where.path.rstrip("/").endswith("/v1"):
        return openai.OpenAI(base_url=root, api_key=key or token or provider, default_query=query, **_common())
    version = query.pop("api-version", None)
    place = {"base_url": root} if where.path.strip("/") else {"azure_endpoint": root or None}
    signs: Any = {"api_key": key, "azure_ad_token": token, "azure_ad_token_provider": provider}
    return openai.AzureOpenAI(**place, **signs, api_version=version, default_query=query, **_common())


def _azure_credentials(options: Options, named: str | None) -> tuple[str | None, str | None, Callable[[], str] | None]:
    """The key, the token, or what brings a token: the first that is there, in the SDK's own order."""
    key = named
    token = None if key else os.environ.get("AZURE_OPENAI_AD_TOKEN")
    key = key or (None if token else os.environ.get("AZURE_OPENAI_API_KEY"))
    if options.dry_run:
        return (None, REDACTED, None) if token else (REDACTED, None, None)
    if key or token:
        return key, token, None
    from azure.identity import DefaultAzureCredential, get_bearer_token_provider

    return None, None, get_bearer_token_provider(DefaultAzureCredential(), _ENTRA_SCOPE)


def _bedrock(options: Options, base_url: str, key: str | None) -> Any:
    """A bearer token, else AWS's own chain of credentials, with which requests are signed (SigV4)."""
    import openai
    from openai.providers import bedrock

    signs: dict[str, Any] = {"api_key": key} if key else {}
    if options.dry_run:
        bearer = key or os.environ.get("AWS_BEARER_TOKEN_BEDROCK")
        names = ("api_key",) if bearer else ("access_key_id", "secret_access_key")
        signs = dict.fromkeys(names, REDACTED)
    place: Any = {"base_url": base_url} if base_url else {}
    return openai.OpenAI(provider=bedrock(**place, **signs), **_common())


def _vertex(options: Options, base_url: str, key: str | None) -> Any:
    """A token that the options name, else Google's Application Default Credentials."""
    import openai
    from openai.providers import vertex

    token = REDACTED if options.dry_run else key
    provider = vertex(base_url=base_url or None, token_provider=None if token is None else lambda: token)
    return openai.OpenAI(provider=provider, **_common())


_CLIENTS: dict[str, Callable[[Options, str, str | None], Any]] = {
    "azure": _azure,
    "bedrock": _bedrock,
    "vertex": _vertex,
}


def _common() -> dict[str, Any]:
    """Retries are decided in one place, and it is not the SDK."""
    return {"max_retries": 0, "http_client": _http_client()}


# Errors ----------------------------------------------------------------------------------------------------------

# Class names, since the libraries they belong to may not be there. The first that is found in the chain counts.
_NAMED = {
    "APITimeoutError": Outcome.TIMEOUT,
    "ConnectTimeoutError": Outcome.TIMEOUT,
    "ReadTimeoutError": Outcome.TIMEOUT,
    "ServiceRequestTimeoutError": Outcome.TIMEOUT,
    "EndpointConnectionError": Outcome.UNREACHABLE,
    "ServiceRequestError": Outcome.UNREACHABLE,
    "ServiceResponseError": Outcome.UNREACHABLE,
    "TransportError": Outcome.UNREACHABLE,
}
_SIGN_IN_LIBRARIES = ("azure", "msal", "botocore", "google", "openai", "httpx2")
EXTRAS = {
    "azure": ("azure-identity", "set AZURE_OPENAI_API_KEY"),
    "bedrock": ("openai[bedrock]", "set AWS_BEARER_TOKEN_BEDROCK"),
    "vertex": ("openai[vertex]", "set OASTREAM_API_KEY_CMD to a command that prints a token"),
}
"""What pip installs for each, as in pyproject.toml; and what does without it."""


def _translated(error: BaseException, provider: str) -> BaseException:
    """What kept the SDK from making the request, as a `Failure`; a bug stays what it is."""
    if isinstance(error, Failure):
        return error
    chain = list(_chain(error))
    if any(isinstance(link, ImportError) for link in chain):
        package, instead = EXTRAS[provider]
        what = f"--provider {provider} needs packages that are not installed"
        return failure_of(Outcome.CONFIG, what, package, f"{_installer()} '{package}', or {instead}")
    foreign = type(error).__module__.partition(".")[0] in _SIGN_IN_LIBRARIES
    if not foreign and not isinstance(error, ValueError):
        return error
    names = [cls.__name__ for link in chain for cls in type(link).__mro__]
    outcome = next((_NAMED[name] for name in names if name in _NAMED), Outcome.CONFIG)
    why = ": ".join(dict.fromkeys(one_line(str(link), 300).rstrip(".") for link in chain[:2] if str(link)))
    return failure_of(outcome, f"cannot sign in to {provider}", why or type(error).__name__)


def _installer() -> str:
    """What installs a package where this program runs; a place that `uv tool` made has no pip."""
    from importlib.util import find_spec

    python = shlex.quote(sys.executable)
    return f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
