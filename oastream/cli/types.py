"""The kinds of value that options take, as Click knows them: what `values` makes of a text, under a name for messages.

In: the text that a person, a variable or the file gave. Out: the value that `Options` holds, or Click's error. Knows
nothing of which option it is.
"""

from __future__ import annotations

import codecs
from typing import Any

import click

from oastream.cli.values import as_base_url, as_header, as_number, as_outcomes, as_pair
from oastream.exits import Outcome


class FiniteNumber(click.ParamType[float]):
    """A number that JSON can carry: NaN and infinity are refused."""

    name = "number"

    def __init__(self, least: float | None = None) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return as_number(value, self.least)
        except ValueError as error:
            from oastream.suggestions import as_plain_number  # for the message only

            self.fail(str(error) + as_plain_number(str(value)), param, ctx)


class Seconds(FiniteNumber):
    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return as_number(value, self.least)
        except ValueError as error:
            from oastream.suggestions import as_plain_seconds  # for the message only

            text = str(error).replace("is not a number", "is not a number of seconds")
            self.fail(text + as_plain_seconds(str(value)), param, ctx)


class WholeNumber(click.IntRange):
    """Click's own calls it "a valid integer range"."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            from oastream.suggestions import as_plain_number  # for the message only

            what = f"{value!r} is not a whole number of at least {self.min}"
            self.fail(what + as_plain_number(str(value)), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """Two texts with a separator between them."""

    def __init__(self, name: str, separator: str) -> None:
        self.name = name
        self.separator = separator

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        try:
            return self._split(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def _split(self, text: str) -> tuple[str, str]:
        try:
            return as_pair(text, self.separator)
        except ValueError as error:
            raise ValueError(f"{text!r} is not of the form {self.name}") from error

    def as_text(self, pair: tuple[str, str]) -> str:
        """The pair as one text."""
        return self.separator.join(pair)


class Header(Pair):
    """A request header."""

    def __init__(self) -> None:
        super().__init__("'Name: value'", ":")

    def _split(self, text: str) -> tuple[str, str]:
        return as_header(text)

    def as_text(self, pair: tuple[str, str]) -> str:
        """The header as --show-config shows it."""
        from oastream.redaction import mask_header  # not for --help

        return f"{pair[0]}: {mask_header(*pair)}"


class Encoding(click.ParamType[str]):
    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            found = codecs.lookup(value)
        except (LookupError, ValueError):
            found = None
        # Python's registry has rot13 and base64 too, which are none of text; its own `open` asks the same.
        if found is not None and getattr(found, "_is_text_encoding", True):
            return found.name
        self.fail(f"{value!r} is not an encoding of text that Python knows", param, ctx)
        return None


class Outcomes(click.ParamType[frozenset[Outcome]]):
    """Names or numbers of outcomes, with commas between them."""

    name = "name[,name…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Outcome]:
        if isinstance(value, frozenset):
            return value
        try:
            return as_outcomes(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
        try:
            return as_base_url(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
