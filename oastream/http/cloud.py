"""A request as OpenAI's own API has it → the same request as a cloud accepts it, made by the openai SDK's own client.

In: an unsigned request. Out: its response. The SDK signs in, finds the URL, sets the headers and signs; it sends
through an httpx2 transport that hands the finished request to `transport`, since the SDK's own waits know nothing of
our deadlines, of signals, or of a reader that has gone. Loaded only with --provider: `import openai` takes 0.6 s.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import orjson

from oastream.apis import api_named
from oastream.display import one_line
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.request import (
    STREAM_HEADERS,
    Headers,
    Request,
    account_headers,
    check_key,
    is_header_value,
)
from oastream.http.transport import Response, open_response
from oastream.options import Options
from oastream.packages import install_command
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
        url = SplitResult("", "", _ROOT + api_named(self._options.api).path, "", "")
        return Request("POST", url, self._options.header, body)

    def open(self, request: Request, connect_deadline: float, deadline: float) -> Response:
        """Sign the request, send it, wait for the head of its response. The sign-in is no part of connecting."""
        began = self._watch.now()
        signed = self.sign(request, deadline)
        connect_deadline = min(connect_deadline + self._watch.now() - began, deadline)  # --connect-timeout begins now
        return open_response(signed, self._environ, self._watch, connect_deadline, deadline)

    def sign(self, request: Request, deadline: float) -> Request:
        """The request as it goes over the wire. Raises `Failure`, or `TimeoutError` for a sign-in that takes long."""
        return self._sign_checked(request, lambda: call_in_thread(lambda: self._sign(request), self._watch, deadline))

    def sign_here(self, request: Request) -> Request:
        """The same in the thread that calls, which blocks. The first of all is for `sign`: it makes the client."""
        return self._sign_checked(request, lambda: self._sign(request))

    def _sign_checked(self, request: Request, sign: Callable[[], Request]) -> Request:
        account_headers(self._environ)  # which the SDK would take unchecked
        try:
            signed = sign()
        except (Failure, TimeoutError):
            raise
        except Exception as error:
            raise _as_failure(error, str(self._options.provider)) from error
        signed = signed._replace(secrets=secrets_in(signed.headers, signed.url, self._environ))
        self._secrets.texts = signed.secrets  # a sign-in brings tokens that nobody has named
        # What the SDK has put into headers, from variables of its own, has been through no check of ours.
        for name, value in signed.headers:
            if not is_header_value(value):
                raise failure_of(Outcome.CONFIG, f"bad {name}", "it has characters that a header cannot carry")
        if not self._options.dry_run:
            check_key(self._options, signed.url, credentials_in(signed.headers, signed.url))
        return signed

    def _sign(self, request: Request) -> Request:
        """In a thread of its own: sign-ins block, and some ask a metadata server, or start a program."""
        if self._client is None:
            _silence_libraries()
            self._client = _CLIENTS[str(self._options.provider)](self._options, self._base_url, self._key)
        import httpx2

        arguments: dict[str, Any] = {
            "cast_to": httpx2.Response,
            "options": {"headers": _streaming_headers(request.headers), "params": dict(parse_qsl(request.url.query))},
        }
        if request.body:
            arguments["body"] = orjson.loads(request.body)
        send = self._client.get
        if request.method == "POST":
            send = self._client.post
        try:
            send(request.url.path.removeprefix(_ROOT), **arguments)
        except _RequestReady as ready:
            return ready.request
        raise AssertionError("the SDK sent nothing")


class _RequestReady(Exception):
    """The SDK has made its request. An exception, since that is the one way out of its own loop of retries."""

    def __init__(self, request: Request) -> None:
        self.request = request


def _http_client() -> Any:
    """The HTTP client that the SDK sends through: a request that gets there has been signed."""
    import httpx2

    class Outbox(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            raise _RequestReady(_as_request(request))

    return httpx2.Client(transport=Outbox(), follow_redirects=False)


def _as_request(request: Any) -> Request:
    """An httpx2 request as ours; its Content-Length, which may be signed, is the one that `transport` sets."""
    decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    headers = tuple((name, value) for name, value in decoded if name.lower() != "content-length")
    return Request(request.method, urlsplit(str(request.url)), headers, request.read())


def _streaming_headers(chosen: Headers) -> dict[str, str]:
    """What a stream needs, unless the user has chosen another value."""
    headers = dict(chosen)
    names = {name.lower() for name in headers}
    for name, value in STREAM_HEADERS.items():
        if name.lower() not in names:
            headers[name] = value
    return headers


def _silence_libraries() -> None:
    """Sign-in libraries warn and log on stderr, which is ours to write: what matters comes as an exception."""
    warnings.simplefilter("ignore")
    logging.lastResort = None


# The clients -----------------------------------------------------------------------------------------------------


def _azure_client(options: Options, base_url: str, key: str | None) -> Any:
    """A resource's address takes Azure's URLs with deployments; one that ends in /v1 takes OpenAI's own."""
    import openai

    url = urlsplit(base_url)
    query = dict(parse_qsl(url.query))
    root = base_url.partition("?")[0].rstrip("/")
    credentials = _azure_credentials(options, key)
    if url.path.rstrip("/").endswith("/v1"):
        # OpenAI's own client calls a key whatever goes into the header: a key, a token, or what brings one.
        (any_credential,) = credentials.values()
        return openai.OpenAI(base_url=root, api_key=any_credential, default_query=query, **_client_options())
    version = query.pop("api-version", None)
    address: dict[str, Any] = {"azure_endpoint": root or None}
    if url.path.strip("/"):
        address = {"base_url": root}
    return openai.AzureOpenAI(**address, **credentials, api_version=version, default_query=query, **_client_options())


def _azure_credentials(options: Options, key: str | None) -> dict[str, Any]:
    """A key, a token, or what brings a token, by the client's own name for it."""
    found = _find_azure_credential(key)
    if options.dry_run:
        return dict.fromkeys(found or ("api_key",), REDACTED)
    if found:
        return found
    from azure.identity import DefaultAzureCredential, get_bearer_token_provider

    return {"azure_ad_token_provider": get_bearer_token_provider(DefaultAzureCredential(), _ENTRA_SCOPE)}


def _find_azure_credential(key: str | None) -> dict[str, Any]:
    """The first that is there, in the SDK's own order."""
    if key:
        return {"api_key": key}
    if token := os.environ.get("AZURE_OPENAI_AD_TOKEN"):
        return {"azure_ad_token": token}
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        return {"api_key": key}
    return {}


def _bedrock_client(options: Options, base_url: str, key: str | None) -> Any:
    """A bearer token, else AWS's own chain of credentials, with which requests are signed (SigV4)."""
    import openai
    from openai.providers import bedrock

    arguments: dict[str, Any] = {}
    if base_url:
        arguments["base_url"] = base_url
    if options.dry_run:
        arguments |= _redacted_bedrock_credentials(key)
    elif key:
        arguments["api_key"] = key
    return openai.OpenAI(provider=bedrock(**arguments), **_client_options())


def _redacted_bedrock_credentials(key: str | None) -> dict[str, str]:
    """What a request would be signed with, so that it has the headers of a real one, and asks AWS nothing."""
    if key or os.environ.get("AWS_BEARER_TOKEN_BEDROCK"):
        return {"api_key": REDACTED}
    return {"access_key_id": REDACTED, "secret_access_key": REDACTED}


def _vertex_client(options: Options, base_url: str, key: str | None) -> Any:
    """A token that the options name, else Google's Application Default Credentials."""
    import openai
    from openai.providers import vertex

    token = key
    if options.dry_run:
        token = REDACTED
    arguments: dict[str, Any] = {"base_url": base_url or None}
    if token is not None:
        arguments["token_provider"] = lambda: token
    return openai.OpenAI(provider=vertex(**arguments), **_client_options())


_CLIENTS: dict[str, Callable[[Options, str, str | None], Any]] = {
    "azure": _azure_client,
    "bedrock": _bedrock_client,
    "vertex": _vertex_client,
}


def _client_options() -> dict[str, Any]:
    """Retries are decided in one place, and it is not the SDK."""
    return {"max_retries": 0, "http_client": _http_client()}


# Errors ----------------------------------------------------------------------------------------------------------

# Class names, since the libraries they belong to may not be there. The first that is found in the chain counts.
_OUTCOMES = {
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


def _as_failure(error: BaseException, provider: str) -> BaseException:
    """What kept the SDK from making the request, as a `Failure`; a bug stays what it is."""
    if isinstance(error, Failure):
        return error
    chain = list(_chain_of_causes(error))
    if any(isinstance(link, ImportError) for link in chain):
        return _missing_packages(provider)
    is_of_a_library = type(error).__module__.partition(".")[0] in _SIGN_IN_LIBRARIES
    if not is_of_a_library and not isinstance(error, ValueError):
        return error
    # The cause of the error says what happened, the error itself what it happened to; often both say the same.
    words = [one_line(str(link), 300).rstrip(".") for link in chain[:2] if str(link)]
    why = ": ".join(dict.fromkeys(words)) or type(error).__name__
    return failure_of(_outcome_of(chain), f"cannot sign in to {provider}", why)


def _outcome_of(chain: list[BaseException]) -> Outcome:
    for link in chain:
        for cls in type(link).__mro__:
            if cls.__name__ in _OUTCOMES:
                return _OUTCOMES[cls.__name__]
    return Outcome.CONFIG


def _missing_packages(provider: str) -> Failure:
    package, instead = EXTRAS[provider]
    what = f"--provider {provider} needs packages that are not installed"
    return failure_of(Outcome.CONFIG, what, package, f"{install_command()} '{package}', or {instead}")


def _chain_of_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
