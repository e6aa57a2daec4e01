"""The command lines that nearly everybody types, read without Click; all others are Click's.

In: the words and the environment. Out: the same `Options` that `parse` makes of them, or None: for a word that is not
plainly an option or a prompt, for a value that is wrong, for settings that a variable or the file brings. It never
complains, so what is wrong with a command line is said in one place. Its table is made from the declarations.

Why it is worth it: with Click a 20-event answer takes 231 million instructions, without it 178. A property test holds
both to the same result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oastream.cli.clashes import COMMAND_LINE, ENVIRONMENT, settle
from oastream.cli.config_path import config_path
from oastream.cli.plain_table import ALONE, UNSET, VALUED
from oastream.cli.values import as_base_url
from oastream.options import Options

DASHES = "–—−‐‑"
"""What word processors and web pages make of the hyphens of an option that is pasted from them."""


def parse_plain(words: Sequence[str], environ: Mapping[str, str]) -> Options | None:
    """The options, where the words alone say them all; None leaves them to `parse`."""
    if _is_configured(environ):
        return None
    try:
        values, given = _read_words(words, environ.get("OPENAI_BASE_URL"))
    except ValueError:
        return None
    if settle(values, given, lambda: UNSET) is not None or _has_a_word_of_an_option(values):
        return None
    return Options(**values)


def _is_configured(environ: Mapping[str, str]) -> bool:
    """Whether there are settings of oastream's own besides the words."""
    return any(name.startswith("OASTREAM_") for name in environ) or os.path.lexists(config_path(environ))


def _read_words(words: Sequence[str], base_url: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The value of each option, and for each that was given the kind of place it came from.

    Raises `ValueError` where a word is not plain."""
    values = dict(UNSET)
    given: dict[str, str] = {}
    if base_url:
        values["base_url"], given["base_url"] = as_base_url(base_url), ENVIRONMENT
    prompt: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            prompt += rest
        elif word and word[0] in DASHES:
            raise ValueError("it may be an option")
        elif word == "-" or not word.startswith("-"):
            prompt.append(word)
        else:
            _take_option(word, rest, values, given)
    if prompt:
        values["prompt"], given["prompt"] = tuple(prompt), COMMAND_LINE
    return values, given


def _take_option(word: str, rest: Iterator[str], values: dict[str, Any], given: dict[str, str]) -> None:
    """Set the option that this word names, to the next of the rest where it takes a value."""
    if word in ALONE:
        name, value = ALONE[word]
    else:
        name, value = _read_value(word, rest)
        if UNSET[name] == ():  # it may be repeated
            value = (*values[name], value)
    values[name] = value
    given[name] = COMMAND_LINE


def _read_value(word: str, rest: Iterator[str]) -> tuple[str, Any]:
    """An option's name in `Options`, and its value."""
    option, equals, text = word.partition("=")
    if option not in VALUED or (equals and not option.startswith("--")):
        raise ValueError("it is no option, or several in one word")
    if not equals:
        text = next(rest, "")
        if text.startswith("-") and text != "-":
            raise ValueError("it may be an option")
    if not text or text[0] == "=":
        raise ValueError("the value is empty, or begins with the equals sign of another form")
    name, read, told = VALUED[option]
    return name, read(text, *told)


def _has_a_word_of_an_option(values: Mapping[str, Any]) -> bool:
    """Whether a word of the prompt may be the value of --stats, or a file that was meant for -f or -a."""
    prompt: Sequence[str] = values["prompt"]
    if values["stats"] is not None and not {"text", "json"}.isdisjoint(prompt):
        return True
    return bool(values["file"] or values["attach"]) and any(map(os.path.exists, prompt))
