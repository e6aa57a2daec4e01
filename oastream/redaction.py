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
    *cut, rest = re.sub(_any_of((REDACTED, *_longest_first(secrets))), REDACTED, text).split(CUT)
    return CUT.join([*(_without_beginning(part, secrets) for part in cut), rest])


def _without_beginning(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without the beginning of a secret at its end."""
    begun = max((_begun(text, secret) for secret in secrets), default=0)
    return text[:-begun] + REDACTED if begun > MIN_REVEALING else text


def _begun(text: Any, secret: Any, start: int = 0) -> int:
    """How much of the end of `text`, from `start` on, may be the beginning of the secret; all of it does not count."""
    longest = min(len(text) - start, len(secret) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(secret[:size])), 0)


def _longest_first(secrets: Iterable[Any]) -> list[Any]:
    """So that no part of one is masked where all of it stands."""
    return sorted(secrets, key=len, reverse=True)


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(map(re.escape, texts))


def mask_header(name: str, value: str, secrets: tuple[str, ...] = ()) -> str:
    """The value of a header with every secret masked."""
    if not is_secret(name):
        return redact(mask_url(value), secrets)
    scheme, _, credentials = value.partition(" ")
    return f"{scheme} {REDACTED}" if credentials and scheme.lower() in ("bearer", "basic") else REDACTED


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
        text = re.sub(r"([?&;]([^\s=&;#]+)=)([^\s&;#]+)", _shown_field, text)
    return text


def _shown_field(match: re.Match[str]) -> str:
    from urllib.parse import unquote  # not for --help

    return match[1] + (REDACTED if is_secret(unquote(match[2])) else match[3])


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
    return {name: _shown_member(name, member) for name, member in value.items()}


def _shown_member(name: str, member: Any) -> Any:
    if name == "authorization" and isinstance(member, str):
        return REDACTED
    if name == "headers" and isinstance(member, dict):
        return {name: mask_header(name, text) if isinstance(text, str) else text for name, text in member.items()}
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
        if not self._secrets:
            return data
        data = self._held + data
        out, at = [], 0
        end = self._sure(data, at)
        while (match := self._pattern.search(data, at)) and match.start() < end:
            out += [data[at : match.start()], REDACTED.encode()]
            at = match.end()
            if at > end:
                end = self._sure(data, at)
        self._held = data[end:]
        return b"".join([*out, data[at:end]])

    def close(self) -> bytes:
        """What is left: the beginning of a secret that did not go on, which may hold a shorter one."""
        left, self._held = self._held, b""
        return self._pattern.sub(REDACTED.encode(), left) if self._secrets else left

    def _sure(self, data: bytes, start: int) -> int:
        """Up to where it is known, whatever follows, which secrets begin; not before `start`."""
        return len(data) - max(_begun(data, secret, start) for secret in self._secrets)


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
    elif bare and len(bare) < SHORTEST and scheme.lower() in ("bearer", "basic"):
        return
    elif bare:
        yield bare.strip()
    yield value


def _secret_fields(url: SplitResult | None) -> Iterator[str]:
    from urllib.parse import unquote  # not for --help

    fields = (field.partition("=") for field in re.split("[&;]", url.query)) if url is not None else ()
    return (value for name, _, value in fields if value and is_secret(unquote(name)))


def _of_proxies(environ: Mapping[str, str]) -> Iterator[str]:
    """Passwords of proxies, as they stand in the URL, as they are meant, and as they go over the wire."""
    urls = (value for name, value in environ.items() if name.lower().endswith("_proxy") and "@" in value)
    for url in urls:
        userinfo = url.partition("//")[2].rpartition("@")[0] or url.rpartition("@")[0]
        import base64  # only behind a proxy that wants a password
        from urllib.parse import unquote

        user, _, password = userinfo.partition(":")
        yield from (userinfo, password, unquote(password))
        yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode(errors="replace")).decode()
