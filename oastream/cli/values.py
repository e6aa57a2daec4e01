"""What the text of an option's value means: one function a kind, shared by everything that reads a command line.

In: the text that a person, a variable or the file gave. Out: the value that `Options` holds, or a `ValueError` that
says what is wrong with the text, in words that read well after the option's name. Knows neither Click nor which option
it is; what one kind needs of the rest of the program is imported when a value is converted, never for --help.
"""

from __future__ import annotations

import math

from oastream.exits import TABLE, Failure, Outcome

_FRAMING_HEADERS = ("content-length", "transfer-encoding")


def as_number(text: str | float, least: float | None = None) -> float:
    """A number that JSON can carry: NaN and infinity are refused."""
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a number") from error
    if least is not None and not least <= number < math.inf:
        raise ValueError(f"{text!r} is not a number of at least {least:g}")
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


def as_whole_number(text: str, least: int) -> int:
    """A whole number that is not below the least."""
    number = int(text)
    if number < least:
        raise ValueError(f"{text!r} is not a whole number of at least {least}")
    return number


def as_choice(text: str, *choices: str) -> str:
    """One of a few words."""
    if text not in choices:
        raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
    return text


def as_pair(text: str, separator: str) -> tuple[str, str]:
    """Two texts with a separator between them: a name, and what it is for."""
    name, found, content = text.partition(separator)
    if not found or not name.strip():
        raise ValueError(f"it has no {separator!r} after a name")
    return name.strip(), content


def as_header(text: str) -> tuple[str, str]:
    """A request header: a token, a colon, and a value on one line of ASCII. It is not repeated: it may be a key."""
    from oastream.http.request import is_header_value  # not for --help

    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not name:
        raise ValueError("it is not of the form 'Name: value'")
    if not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name):
        raise ValueError("what is before the colon is not a header name")
    if name.lower() in _FRAMING_HEADERS:
        raise ValueError(f"{name} says where the body ends, and oastream sets it itself")
    if not is_header_value(value):
        raise ValueError(f"the value of {name} has characters that a header cannot carry")
    return name, value


def as_outcomes(text: str) -> frozenset[Outcome]:
    """Names or numbers of outcomes, with commas between them."""
    known = {outcome.value: outcome for outcome in TABLE}
    known |= {str(number): outcome for outcome, (number, _) in TABLE.items()}
    words = [word.strip() for word in text.split(",") if word.strip()]
    if text and not words:
        raise ValueError("it names no exit status")
    for word in words:
        if word not in known:
            from oastream.suggestions import did_you_mean, nearest  # for the message only

            near = did_you_mean(nearest(word, known, 1))
            raise ValueError(f"{word!r} is neither the name nor the number of an exit status{near}")
    return frozenset(known[word] for word in words)


def as_base_url(text: str) -> str:
    """An http URL with a host and without credentials, or mock: or local: for a server of the run's own."""
    from oastream.http.request import join_url  # not for --help
    from oastream.own_server import LOCAL, MOCK

    if text.startswith(MOCK):
        return _as_mock_url(text)
    if text.startswith(LOCAL):
        return text
    try:
        join_url(text, "")
    except Failure as error:
        from oastream.redaction import mask_text
        from oastream.suggestions import as_whole_url  # for the message only

        near = as_whole_url(text)
        raise ValueError(f"{mask_text(text)!r}: {error.verdict.detail}{mask_text(near)}") from error
    return text


def _as_mock_url(text: str) -> str:
    """Here it is known whether the mistake is the command line's or that of a variable."""
    from oastream.mock.script import plan_from_url

    try:
        plan_from_url(text)
    except (ValueError, OSError) as error:
        raise ValueError(f"{text!r}: {error}") from error
    return text
