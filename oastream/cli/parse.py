"""argv → `Options`. What a run asks for is settled here, once; no module after it asks Click.

In: the words of the command line and the environment. Out: `Options`, or the text of --help and its like.
Refuses to know that there is a network, and never prints or exits by itself.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from oastream.cli.clashes import COMMAND_LINE as ON_COMMAND_LINE
from oastream.cli.clashes import lower_precedence, names_stdin, settle
from oastream.cli.help import describe_usage_error
from oastream.cli.option import COMMAND_LINE, DEFAULT, OPENAI_BASE_URL, config_error_of, origin_of
from oastream.cli.options_table import OPTIONAL_VALUE, OPTIONS, build_command, unset_values
from oastream.cli.plain import DASHES
from oastream.cli.print_and_exit import PrintAndExit
from oastream.exits import Failure, Outcome, failure_of
from oastream.options import Options

if TYPE_CHECKING:
    from oastream.exits import Verdict

HELP_HINT = "try 'oastream --help'"
DASH_HINT = f"put a prompt that begins with a dash after --, as in: oastream -- '- item'; {HELP_HINT}"


def parse(words: list[str]) -> Options:
    """The words of the command line, without the program's name, as `Options`.

    Raises `PrintAndExit` for --help and its like, and `Failure` with outcome usage for invalid arguments.
    """
    try:
        given = expand_bare_options(words)
        with build_command().make_context(
            "oastream", given, obj=tuple(words), auto_envvar_prefix="OASTREAM"
        ) as context:
            options = _read_options(context)
            _reject_conflicts(context, options, words)
            return options
    except click.NoSuchOption as error:
        raise _usage_failure(describe_usage_error(error), DASH_HINT) from error
    except click.UsageError as error:
        raise _usage_failure(describe_usage_error(error), HELP_HINT) from error


def _usage_failure(why: str, hint: str = "") -> Failure:
    return failure_of(Outcome.USAGE, "bad usage", why, hint)


def expand_bare_options(words: list[str]) -> list[str]:
    """The words, with what an option means that stands without its value: `--stats` is `--stats=text`.

    Click would take the next word, the prompt, for its value. Raises `UsageError` for a word that is plainly another
    one misspelt, and that Click would take for a value or a prompt.
    """
    count = len(words) - _count_behind_dashes(words)
    expanded = []
    _reject_detached_value(words[:count])
    for word in words[:count]:
        _reject_misspelt(word)
        if word.endswith("x") and _is_cluster(word[:-1]):
            expanded += [word[:-1], OPTIONAL_VALUE["-x"]]
        elif word.startswith("-x="):  # the equals sign of the long form, where getopt has none
            expanded.append(f"--extract={word[3:]}")
        else:
            expanded.append(OPTIONAL_VALUE.get(word, word))
    return [*expanded, *words[count:]]


def _reject_misspelt(word: str) -> None:
    """`-model gpt-5` would be the model odel; --model with a dash of typography would be sent as a prompt."""
    name = word.partition("=")[0]
    bare = name.lstrip("-" + DASHES)
    long = f"--{bare}"
    if name == f"-{bare}" and len(bare) > 2 and long in _names():
        raise click.NoSuchOption(name, possibilities=[long])
    if not word.startswith(tuple(DASHES)):
        return
    for meant in (long, f"-{bare}"):
        if meant in _names():
            raise click.UsageError(f"{name} begins with a dash that is no hyphen; did you mean {meant}?")


def _reject_detached_value(words: Sequence[str]) -> None:
    """`--stats json` would print text, and send the word json."""
    for word, following in itertools.pairwise(words):
        if word == "--stats" and following in ("text", "json"):
            raise click.UsageError(f"the value of --stats needs an equals sign: --stats={following}")


def _names() -> set[str]:
    return {name for group in OPTIONS.values() for option in group for name in option.opts}


def _is_cluster(word: str) -> bool:
    """Whether a word is a dash and letters that are flags each, such as `-nv`."""
    if len(word) < 2 or word[0] != "-":
        return False
    flags = {
        name for group in OPTIONS.values() for option in group if option.is_flag or option.count for name in option.opts
    }
    return all(f"-{letter}" in flags for letter in word[1:])


def _count_behind_dashes(words: Sequence[str]) -> int:
    """The number of words behind `--`, which are prompt whatever they look like."""
    if "--" not in words:
        return 0
    return len(words) - 1 - words.index("--")


def _read_options(context: click.Context) -> Options:
    """The values that Click converted, less those without effect."""
    values = {name: _as_tuple(value) for name, value in context.params.items()}
    config_error = config_error_of(context)
    del values["no_config"]
    settle_key_source(context, values)
    if values.pop("show_config"):
        _show_config(context, values, config_error)
    del values["profile"]
    _settle_ineffective(context, values)
    if values["provider"] is not None and origin_of(context, "base_url") in (DEFAULT, OPENAI_BASE_URL):
        values["base_url"] = ""  # the provider's own: neither of the two was meant for it
    misconfigured: Verdict | None = None
    if config_error is not None:  # not raised here: its record goes to an output that is not open yet
        misconfigured = config_error.verdict
    return Options(**values, misconfigured=misconfigured)


def _as_tuple(value: Any) -> Any:
    """Click gives a list only where `Option.value_from_envvar` or the file made one."""
    if isinstance(value, list):
        return tuple(value)
    return value


def _show_config(context: click.Context, values: Mapping[str, Any], config_error: Failure | None) -> None:
    if config_error is not None:
        raise config_error
    from oastream.cli.show_config import show_config  # the masking of secrets costs as much as half of a start

    raise PrintAndExit(show_config(context, values))


def _settle_ineffective(context: click.Context, values: dict[str, Any]) -> None:
    """Set back what other options leave without effect. Raises `Failure` where the command line has it."""
    given = _given_options(context, values)
    complaint = settle(values, given, unset_values)
    if complaint is not None:
        raise _usage_failure(complaint)
    if given.get("no_stdin", ON_COMMAND_LINE) != ON_COMMAND_LINE and names_stdin(values, given):
        values["no_stdin"] = False


def _given_options(context: click.Context, values: Mapping[str, Any]) -> dict[str, str]:
    """The options that ask for something, each with the kind of place it came from."""
    asking = [name for name, value in values.items() if value is not None and value is not False and value != ()]
    places = {name: origin_of(context, name)[0] for name in asking}
    return {name: place for name, place in places.items() if place != "default"}


def settle_key_source(context: click.Context, values: dict[str, Any]) -> None:
    """Let one place say where the key is: the nearer of a file and a command."""
    if values["api_key_file"] is not None and values["api_key_cmd"] is not None:
        values[_farther_option(context, "api_key_file", "api_key_cmd")] = None


def _farther_option(context: click.Context, first: str, second: str) -> str:
    """Of two options that say the same, the one from farther away; from the same place, the second."""
    places = {name: origin_of(context, name)[0] for name in (first, second)}
    return lower_precedence(first, second, places)


def _reject_conflicts(context: click.Context, options: Options, words: Sequence[str]) -> None:
    """What no single option can tell, and `clashes` does not know."""
    if len(options.attach_type) > 1 and len(options.attach_type) != len(options.attach):
        raise _usage_failure(f"got {len(options.attach_type)} --attach-type for {len(options.attach)} --attach")
    if options.prompt and (options.file or options.attach):
        _reject_file_names(context, options.prompt, words)


def _reject_file_names(context: click.Context, prompt: Sequence[str], words: Sequence[str]) -> None:
    """`-f *.txt` gives -f the first file, and makes words of the names of all others. Words after -- are meant."""
    if origin_of(context, "file") == COMMAND_LINE:
        short = "-f"
    elif origin_of(context, "attach") == COMMAND_LINE:
        short = "-a"
    else:
        return
    for word in prompt[: len(prompt) - _count_behind_dashes(words)]:
        if os.path.exists(word) and not os.path.isdir(word):
            what = f"{word} is a file, but stands among the words of the prompt; each file needs its own {short}"
            raise _usage_failure(what, f"if it is a word: oastream … -- {word}")
