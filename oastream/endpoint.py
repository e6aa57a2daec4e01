"""Where a request goes and with which headers: base URL, key, and the rules that protect the key.

In: options, environment, the key. Out: a `Request`, ready for the wire, and its form without secrets.
Sends nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from oastream import __version__
from oastream.exits import Failure, Outcome, failure
from oastream.options import Options
from oastream.text import REDACTED, redacted

MODELS = "/models"
PATHS = {"responses": "/responses", "chat": "/chat/completions"}
_SECRET_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie", "x-goog-api-key", "x-amz-security-token"}
)
_LOOPBACK = r"127(\.\d{1,3}){3}|::1|localhost"

Headers = tuple[tuple[str, str], ...]


class Request(NamedTuple):
    """One HTTP request. `secrets` are the texts that must never be shown."""

    method: str
    url: SplitResult
    headers: Headers
    body: bytes
    secrets: tuple[str, ...] = ()

    @property
    def shown_url(self) -> str:
        return urlunsplit(self.url)

    def shown_headers(self) -> dict[str, str]:
        """The headers with every secret masked."""
        return {name: shown_header(name, value, self.secrets) for name, value in self.headers}


def is_secret(header: str) -> bool:
    """Whether the header of this name carries credentials."""
    return header.lower() in _SECRET_HEADERS


def shown_header(name: str, value: str, secrets: tuple[str, ...] = ()) -> str:
    """The value of a header with every secret masked."""
    if not is_secret(name):
        return redacted(value, secrets)
    scheme, _, credentials = value.partition(" ")
    return f"{scheme} {REDACTED}" if credentials and scheme in ("Bearer", "Basic") else REDACTED


def is_loopback(host: str) -> bool:
    """Whether the text of a URL's host names this machine: 127.0.0.0/8, ::1 or localhost."""
    return re.fullmatch(_LOOPBACK, host, re.IGNORECASE) is not None


def endpoint(base_url: str, path: str) -> SplitResult:
    """The URL of `path` below the base URL, whose query is kept."""
    try:
        base = urlsplit(base_url)
        _ = base.port
    except ValueError as error:
        raise _bad_url(base_url, error) from error
    if base.scheme not in ("http", "https") or not base.hostname:
        raise _bad_url(base_url, "it must begin with http:// or https:// and name a host")
    if base.username or base.password:
        raise failure(Outcome.USAGE, "bad --base-url", "it must not hold credentials; --api-key-file takes a key")
    if not base_url.isascii() or any(c.isspace() for c in base_url):
        raise _bad_url(base_url, "it has characters that a URL cannot have")
    return base._replace(path=base.path.rstrip("/") + path, fragment="")


def _bad_url(base_url: str, why: object) -> Failure:
    return failure(Outcome.USAGE, f"bad --base-url {base_url!r}", why)


def request_headers(options: Options, environ: Mapping[str, str], url: SplitResult, key: str | None) -> Headers:
    """The headers of a request that streams; those of --header replace ours of the same name."""
    headers = {
        "Host": url.netloc,
        "User-Agent": f"oastream/{__version__}",
        "Accept": "text/event-stream, application/json",
        # Compressed events would wait in the compressor for more (faults 29).
        "Accept-Encoding": "identity",
    }
    if not options.list_models:
        headers["Content-Type"] = "application/json"
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    for variable, name in (("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project")):
        if environ.get(variable):
            headers[name] = environ[variable]
    chosen = {name.lower() for name, _ in options.header}
    kept = [(name, value) for name, value in headers.items() if name.lower() not in chosen]
    return (*kept, *options.header)


def build_request(options: Options, environ: Mapping[str, str], base_url: str, body: bytes, key: str | None) -> Request:
    """The request as it will be sent. Raises `Failure` with outcome config when the key is missing or unsafe."""
    url = endpoint(base_url, MODELS if options.list_models else PATHS[options.api])
    headers = request_headers(options, environ, url, key)
    if not options.dry_run and options.replay is None:
        check_key(options, url, credentials_in(headers))
    method, body = ("GET", b"") if options.list_models else ("POST", body)
    return Request(method, url, headers, body, secrets_in(headers))


def credentials_in(headers: Headers) -> tuple[str, ...]:
    """The values of the headers that carry credentials."""
    return tuple(value for name, value in headers if is_secret(name))


def secrets_in(headers: Headers) -> tuple[str, ...]:
    """The texts that must never be shown, with and without the scheme before them."""
    credentials = credentials_in(headers)
    bare = tuple(value.removeprefix("Bearer ").removeprefix("Basic ") for value in credentials)
    return tuple(filter(None, (*bare, *credentials)))


def check_key(options: Options, url: SplitResult, credentials: tuple[str, ...]) -> None:
    """Refuse a request without a key where one is needed, and a key on an open line."""
    if is_loopback(url.hostname or ""):
        return
    if not credentials:
        raise failure(
            Outcome.CONFIG, "no API key", f"{url.hostname} needs one", "set OPENAI_API_KEY or use --api-key-file"
        )
    if url.scheme == "http" and not options.insecure_http:
        raise failure(
            Outcome.CONFIG,
            "the key would travel in clear",
            f"{url.hostname} is another machine and the URL is plain http",
            "use https, or --insecure-http if the network is yours",
        )
