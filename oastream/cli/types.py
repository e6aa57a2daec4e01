"""The kinds of value that options take, as Click knows them.

In: the text that a person, a variable or the file gave. Out: the value that `Options` holds, or what is wrong with the
text, in words that read well after the option's name. Knows nothing of which option it is; what one kind needs of the
rest of the program is imported when a value is converted, never for --help.
"""

from __future__ import annotations

import codecs
import math
from typing import Any

import click

from oastream.exits import TABLE, Failure, Outcome


class FiniteNumber(click.ParamType[float]):
    """A number that JSON can carry: NaN and infinity are refused."""

    name = "number"

    def __init__(self, least: float | None = None) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if self.least is not None and not self.least <= number < math.inf:
            self.fail(f"{value!r} is not a number of at least {self.least:g}", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Seconds(FiniteNumber):
    name = "seconds"


class WholeNumber(click.IntRange):
    """Click's own calls it "a valid integer range"."""

    name = "whole number"


class Pair(click.ParamType[tuple[str, str]]):
    """Two texts with a separator between them."""

    def __init__(self, name: str, separator: str) -> None:
        self.name = name
        self.separator = separator

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        left, separator, right = str(value).partition(self.separator)
        if not separator or not left.strip():
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        return left.strip(), right

    def as_text(self, pair: tuple[str, str]) -> str:
        """The pair as one text."""
        return self.separator.join(pair)


_FRAMING_HEADERS = ("content-length", "transfer-encoding")


class Header(Pair):
    """A request header: a token, a colon, and a value on one line of ASCII. It is not repeated: it may be a key."""

    def __init__(self) -> None:
        super().__init__("'Name: value'", ":")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        from oastream.http.request import is_header_value  # not for --help

        if isinstance(value, tuple):
            return value
        name, colon, text = (part.strip() for part in str(value).partition(":"))
        if not colon or not name:
            self.fail(f"it is not of the form {self.name}", param, ctx)
        if not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name):
            self.fail("what is before the colon is not a header name", param, ctx)
        if name.lower() in _FRAMING_HEADERS:
            self.fail(f"{name} says where the body ends, and oastream sets it itself", param, ctx)
        if not is_header_value(text):
            self.fail(f"the value of {name} has characters that a header cannot carry", param, ctx)
        return name, text

    def as_text(self, pair: tuple[str, str]) -> str:
        """The header as --show-config shows it."""
        from oastream.redaction import mask_header  # not for --help

        return f"{pair[0]}: {mask_header(*pair)}"


class Encoding(click.ParamType[str]):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return codecs.lookup(value).name
        except (LookupError, ValueError):
            self.fail(f"{value!r} is not an encoding that Python knows", param, ctx)


class Outcomes(click.ParamType[frozenset[Outcome]]):
    """Names or numbers of outcomes, with commas between them."""

    name = "name[,name…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Outcome]:
        if isinstance(value, frozenset):
            return value
        known = {outcome.value: outcome for outcome in TABLE}
        known |= {str(number): outcome for outcome, (number, _) in TABLE.items()}
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        for word in words:
            if word not in known:
                self.fail(f"{word!r} is neither the name nor the number of an exit status", param, ctx)
        return frozenset(known[word] for word in words)


class ResponseId(click.ParamType[str]):
    """The id of a stored response, whatever characters its server uses."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("it is empty", param, ctx)
        return str(value)


class BaseUrl(click.ParamType[str]):
    """An http URL with a host and without credentials, or mock: or local: for a server of the run's own."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from oastream.http.request import join_url  # not for --help
        from oastream.own_server import LOCAL, MOCK

        try:
            if value.startswith(MOCK):
                self._check_plan(value, param, ctx)
            elif not value.startswith(LOCAL):
                join_url(value, "")
        except Failure as error:
            from oastream.redaction import mask_text

            self.fail(f"{mask_text(value)!r}: {error.verdict.detail}", param, ctx)
        return str(value)

    def _check_plan(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        """Here it is known whether the mistake is the command line's or that of a variable."""
        from oastream.mock.script import plan_from_url

        try:
            plan_from_url(value)
        except (ValueError, OSError) as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class MediaType(click.ParamType[str]):
    """A type and a subtype, RFC 9110 8.3.1, without parameters."""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        main, _, sub = str(value).partition("/")
        if not all(
            part and part.isascii() and part.replace("-", "").replace("+", "").replace(".", "").isalnum()
            for part in (main, sub)
        ):
            self.fail(f"{value!r} is not a media type like image/png", param, ctx)
        return str(value)


class Suggested(click.ParamType[str]):
    """Any text; `values` are those that are worth offering when Tab is pressed."""

    name = "text"

    def __init__(self, *values: str) -> None:
        self.values = values
