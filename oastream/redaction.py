"""What must never be shown, and how it is masked. The one owner of that question.

In: headers, URLs and texts on their way to somebody's eyes or into a file. Out: the same with `[redacted]` for each
secret, and the texts that are secrets. A header or a query field is one by its name; elsewhere a text is masked that
equals one. Does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from oastream.display import CUT

if TYPE_CHECKING:
    from urllib.parse import SplitResult

REDACTED = "[redacted]"
SHORTEST = 8
"""Characters below which a secret is masked in headers and URLs alone: `ollama`, `none` and `x`, the keys of servers
that want none, are words of any text."""

_SECRET_WORDS = ("key", "token", "secret", "auth", "password", "cookie", "credential", "sig")
_COUNTS = ("ratelimit", "rate-limit", "token-count")
"""Reply headers that count tokens: what they say is what somebody asks -v for."""
MIN_REVEALING = 4
"""This many characters of a secret are as good as none of it."""
_SHOWN_SCHEMES = ("bearer", "basic")
"""What may stand before a credential and is none: anything else might be the credential's own first word."""

Headers = Iterable[tuple[str, str]]


def is_secret(name: str) -> bool:
    """Whether the header or query field of this name carries a secret."""
    name = name.lower()
    return any(word in name for word in _SECRET_WORDS)


class KnownSecrets:
    """The secrets of this run, as far as they are known: a key command's or a sign-in's come late."""

    def __init__(self) -> None:
        self.texts: tuple[str, ...] = ()

    def mask(self, text: str) -> str:
        return redact(text, self.texts)


# Masking ---------------------------------------------------------------------------------------------------------


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without any of the secrets, nor the beginning of one that `one_line` cut. Twice is the same as once."""
    if CUT not in text and not any(secret in text for secret in secrets):
        return text
    # What is redacted already matches first, or a secret like `redacted` would be masked within its own mask.
    masked = re.sub(_any_of((REDACTED, *_longest_first(secrets))), REDACTED, text)
    *before_cuts, rest = masked.split(CUT)
    return CUT.join([*(_without_beginning(part, secrets) for part in before_cuts), rest])


def _without_beginning(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without the beginning of a secret at its end."""
    size = max((_size_of_beginning(text, secret) for secret in secrets), default=0)
    if size <= MIN_REVEALING:
        return text
    return text[:-size] + REDACTED


def _size_of_beginning(text: Any, secret: Any, start: int = 0) -> int:
    """How much of the end of `text`, from `start` on, may be the beginning of the secret; all of it does not count."""
    longest = min(len(text) - start, len(secret) - 1)
    for size in range(longest, 0, -1):
        if text.endswith(secret[:size]):
            return size
    return 0


def _longest_first(secrets: Iterable[Any]) -> list[Any]:
    """So that no part of one is masked where all of it stands."""
    return sorted(secrets, key=len, reverse=True)


def _any_of(texts: Iterable[str]) -> str:
    """A pattern that matches each of the texts; of two that match at one place the first counts."""
    return "|".join(map(re.escape, texts))


def mask_header(name: str, value: str, secrets: tuple[str, ...] = ()) -> str:
    """The value of a header with every secret masked."""
    if not is_secret(name):
        return redact(mask_url(value), secrets)
    scheme, _, credentials = value.partition(" ")
    if credentials and scheme.lower() in _SHOWN_SCHEMES:
        return f"{scheme} {REDACTED}"
    return REDACTED


def mask_reply_header(name: str, value: str, secrets: tuple[str, ...] = ()) -> str:
    """The same for a header of a reply, which may also say how many tokens are left."""
    if any(word in name.lower() for word in _COUNTS):
        return redact(value, secrets)
    return mask_header(name, value, secrets)


def mask_url(text: str) -> str:
    """A URL, or a text with URLs in it, without credentials, and without the values of secret query fields."""
    if "@" in text:
        text = re.sub(r"(?<=://)[^\s/?#]*@", f"{REDACTED}@", text)
    if "=" in text:
        text = re.sub(r"([?&;]([^\s=&;#]+)=)([^\s&;#]+)", _mask_field, text)
    return text


def _mask_field(match: re.Match[str]) -> str:
    from urllib.parse import unquote  # not for --help

    before, name, value = match.groups()
    if is_secret(unquote(name)):
        return f"{before}{REDACTED}"
    return f"{before}{value}"


def mask_text(text: str) -> str:
    """What a user gave for a URL and may be none: without what may be a password, or looks like a key."""
    text = re.sub(r"(?<=//)\S*@", f"{REDACTED}@", mask_url(text))
    return re.sub(r"\b(?:sk|pk|gsk|xai|AIza|hf|key|ghp)[-_]?[A-Za-z0-9_-]{12,}", REDACTED, text)


_URL_FIELDS = ("url", "image_url", "file_url", "server_url")


def mask_body(value: Any) -> Any:
    """A request's body as --dry-run shows it: tools on other servers (MCP) bring headers and keys of their own."""
    if isinstance(value, list):
        return [mask_body(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _mask_member(name, member) for name, member in value.items()}


def _mask_member(name: str, member: Any) -> Any:
    if name == "authorization" and isinstance(member, str):
        return REDACTED
    if name == "headers" and isinstance(member, dict):
        texts = {header: mask_header(header, text) for header, text in member.items() if isinstance(text, str)}
        return {**member, **texts}
    if name in _URL_FIELDS and isinstance(member, str) and not member.startswith("data:"):
        return mask_url(member)
    return mask_body(member)


class StreamMask:
    """Masks bytes that come in pieces. A secret may be cut anywhere: what may be the beginning of one is held back."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = [secret.encode() for secret in _longest_first(secrets)]
        self._pattern = re.compile(b"|".join(map(re.escape, self._secrets)))
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be told of `data`, and of what was held back before it."""
        if not self._secrets:  # an empty pattern would match everywhere
            return data
        data = self._held + data
        masked, at = [], 0
        end = self._sure_end(data, at)
        while (match := self._pattern.search(data, at)) and match.start() < end:
            masked += [data[at : match.start()], REDACTED.encode()]
            at = match.end()
            # What looked like the beginning of one may have been a part of this one.
            if at > end:
                end = self._sure_end(data, at)
        self._held = data[end:]
        return b"".join([*masked, data[at:end]])

    def close(self) -> bytes:
        """What is left: the beginning of a secret that did not go on, which may hold a shorter one."""
        left, self._held = self._held, b""
        if not self._secrets:
            return left
        return self._pattern.sub(REDACTED.encode(), left)

    def _sure_end(self, data: bytes, start: int) -> int:
        """Up to where it is known, whatever follows, which secrets begin; not before `start`."""
        return len(data) - max(_size_of_beginning(data, secret, start) for secret in self._secrets)


# What is a secret ------------------------------------------------------------------------------------------------


def credentials_in(headers: Headers, url: SplitResult | None = None) -> tuple[str, ...]:
    """The values of the headers and query fields that carry secrets, as they stand there."""
    in_headers = [value for name, value in headers if is_secret(name)]
    return (*in_headers, *_secret_fields(url))


def secrets_in(
    headers: Headers, url: SplitResult | None = None, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The texts that must never be shown: of headers, of a URL's query, of the proxies in the environment."""
    from urllib.parse import unquote_plus  # not for --help

    found: list[str] = []
    for name, value in headers:
        if is_secret(name):
            found += _texts_of(name, value)
    for value in _secret_fields(url):
        found += [value, unquote_plus(value)]
    found += _of_proxies(environ or {})
    return tuple(dict.fromkeys(text for text in found if len(text) >= SHORTEST))


def _texts_of(name: str, value: str) -> Iterator[str]:
    """A credential with and without the scheme before it; each value of a cookie."""
    scheme, _, bare = value.partition(" ")
    if "cookie" in name.lower():
        yield from (pair.partition("=")[2].strip() for pair in value.split(";"))
    elif bare and len(bare) < SHORTEST and scheme.lower() in _SHOWN_SCHEMES:
        return  # with its scheme it would be long enough, and `Bearer none` be masked in any text
    elif bare:
        yield bare.strip()
    yield value


def _secret_fields(url: SplitResult | None) -> Iterator[str]:
    if url is None or not url.query:
        return
    from urllib.parse import unquote  # not for --help

    for field in re.split("[&;]", url.query):
        name, _, value = field.partition("=")
        if value and is_secret(unquote(name)):
            yield value


def _of_proxies(environ: Mapping[str, str]) -> Iterator[str]:
    """Passwords of proxies, as they stand in the URL, as they are meant, and as they go over the wire."""
    for variable, url in environ.items():
        if not variable.lower().endswith("_proxy") or "@" not in url:
            continue
        import base64  # only behind a proxy that wants a password
        from urllib.parse import unquote

        # A value that is no URL, a bare user:password@host, is one all the same to whoever parses it.
        userinfo = url.partition("//")[2].rpartition("@")[0] or url.rpartition("@")[0]
        user, _, password = userinfo.partition(":")
        yield from (userinfo, password, unquote(password))
        yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode(errors="replace")).decode()
