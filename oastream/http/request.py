"""Where a request goes and with which headers: base URL, key, and the rules that protect the key.

In: options, environment, the key. Out: a `Request`, ready for the wire, and its form without secrets.
Sends nothing.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from oastream import __version__
from oastream.apis import api_named
from oastream.exits import Failure, Outcome, failure_of
from oastream.http.authority import bracket_host, is_loopback, public_host
from oastream.http.credentials import describe_key_source
from oastream.options import Options
from oastream.redaction import credentials_in, mask_body, mask_header, mask_text, mask_url, secrets_in

MODELS = "/models"
STREAM_HEADERS = {
    "Accept": "text/event-stream, application/json",
    # Compressed events would wait in the compressor for more (faults 29).
    "Accept-Encoding": "identity",
}
"""How every request asks for its answer, whoever signs it."""
_ACCOUNT_HEADERS = {"OPENAI_ORG_ID": "OpenAI-Organization", "OPENAI_PROJECT_ID": "OpenAI-Project"}

Headers = tuple[tuple[str, str], ...]


class Request(NamedTuple):
    """One HTTP request. `secrets` are the texts that must never be shown, `key_source` says where the key is from."""

    method: str
    url: SplitResult
    headers: Headers
    body: bytes
    secrets: tuple[str, ...] = ()
    key_source: str = ""

    @property
    def masked_url(self) -> str:
        """The URL with every secret masked."""
        return mask_url(urlunsplit(self.url))

    def masked_headers(self) -> dict[str, str]:
        """The headers with every secret masked; of one that is sent twice both values (RFC 9110, 5.3)."""
        masked: dict[str, str] = {}
        for name, value in self.headers:
            shown = mask_header(name, value, self.secrets)
            if name in masked:
                shown = f"{masked[name]}, {shown}"
            masked[name] = shown
        return masked

    def describe(self, body: dict[str, Any]) -> dict[str, Any]:
        """What --dry-run prints of the request: `body` is its body as an object. Every secret is masked."""
        return {
            "method": self.method,
            "url": self.masked_url,
            "headers": self.masked_headers(),
            "body": mask_body(body) or None,
        }


def join_url(base_url: str, path: str) -> SplitResult:
    """The URL of `path` below the base URL, whose query is kept."""
    try:
        base = urlsplit(base_url)
    except ValueError as error:
        raise _bad_url(base_url, "it is no URL") from error
    try:
        _ = base.port
    except ValueError as error:  # whose words may hold a part of a password
        raise _bad_url(base_url, "its port is not a number from 0 to 65535") from error
    if base.scheme not in ("http", "https") or not base.hostname:
        raise _bad_url(base_url, "it must begin with http:// or https:// and name a host")
    if base.username or base.password:
        raise _bad_url(base_url, "it must not hold credentials; --api-key-file takes a key")
    if not is_header_value(base_url) or " " in base_url:
        raise _bad_url(base_url, f"it has {_find_bad_character(base_url)}, which no URL can have")
    netloc = base.netloc
    if "[" in netloc:
        netloc = netloc.replace("%25", "%")  # a zone id, RFC 6874
    return base._replace(netloc=netloc, path=base.path.rstrip("/") + path, fragment="")


def _bad_url(base_url: str, why: str) -> Failure:
    return failure_of(Outcome.USAGE, f"bad --base-url {mask_text(base_url)!r}", why)


def _find_bad_character(base_url: str) -> str:
    wrong = next(c for c in base_url if not is_header_value(c) or c == " ")
    if wrong == " ":
        return "a space"
    return f"the character {wrong!a}"


def is_header_value(text: str) -> bool:
    """Whether a header can carry the text: on one line, in ASCII, so that every server reads the same."""
    return text.isascii() and text.isprintable()


def account_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """The organization and the project that are billed. Raises `Failure` with outcome config, naming the variable."""
    found = {}
    for variable, name in _ACCOUNT_HEADERS.items():
        value = environ.get(variable, "").strip()
        if not is_header_value(value):
            raise failure_of(Outcome.CONFIG, f"bad {variable}", "it has characters that a header cannot carry")
        if value:
            found[name] = value
    return found


def _host_header(url: SplitResult) -> str:
    """Host and port without the zone of an address, which means nothing to the other end (RFC 6874 3)."""
    host = bracket_host(public_host(url.hostname or ""))
    if url.port is None:
        return host
    return f"{host}:{url.port}"


def request_headers(options: Options, environ: Mapping[str, str], url: SplitResult, key: str | None) -> Headers:
    """The headers of a request that streams; those of --header replace ours of the same name."""
    headers = {
        "Host": _host_header(url),
        "User-Agent": f"oastream/{__version__}",
        **STREAM_HEADERS,
    }
    if not options.list_models:
        headers["Content-Type"] = "application/json"
    api = api_named(options.api)
    headers |= dict(api.headers)
    if key is not None:
        headers |= dict([api.key_header(key)])
    headers |= account_headers(environ)
    chosen = {name.lower() for name, _ in options.header}
    kept = [(name, value) for name, value in headers.items() if name.lower() not in chosen]
    return (*kept, *options.header)


def build_request(options: Options, environ: Mapping[str, str], base_url: str, body: bytes, key: str | None) -> Request:
    """The request as it will be sent. Raises `Failure` with outcome config when the key is missing or unsafe."""
    method, path = "POST", api_named(options.api).path
    if options.list_models:
        method, path, body = "GET", MODELS, b""
    url = join_url(base_url, path)
    headers = request_headers(options, environ, url, key)
    if not options.dry_run and options.replay is None:
        check_key(options, url, credentials_in(headers, url))
    source = describe_key_source(options.header, options.api_key_file, options.api_key_cmd, environ)
    return Request(method, url, headers, body, secrets_in(headers, url, environ), source)


def check_key(options: Options, url: SplitResult, credentials: tuple[str, ...]) -> None:
    """Refuse a request without a key where one is needed, and a key on an open line."""
    if is_loopback(url.hostname or ""):
        return
    if not credentials:
        raise failure_of(
            Outcome.CONFIG, "no API key", f"{url.hostname} needs one", "set OPENAI_API_KEY or use --api-key-file"
        )
    if url.scheme == "http" and not options.insecure_http:
        raise failure_of(
            Outcome.CONFIG,
            f"refusing to send the API key over plain http to {url.hostname}",
            hint="use https, or --insecure-http if you trust the network",
        )
