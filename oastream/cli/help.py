"""What Click says to a person, in our layout and our words: pages of help, and what is wrong with a command line.

In: a command with its options in groups; Click's errors. Out: texts, which `PrintAndExit` carries to the process. Knows
no option by name and no program, so that all of them share it. Click's own pages have no headings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import click

from oastream import __version__
from oastream.cli.print_and_exit import PrintAndExit

Groups = Mapping[str, Sequence[click.Option]]
"""A heading → the options below it."""

PLACES = {
    "man": "man/{}.1",
    "complete-bash": "completions/{}.bash",
    "complete-zsh": "completions/_{}",
    "complete-fish": "completions/{}.fish",
}
"""What --generate takes → its file, below the package's own copy and below the root of the source tree."""


class GroupedCommand(click.Command):
    """A command that only parses, and whose help has the options under headings.

    `common` names the options that --help shows; `hidden` are settings that no page names. `end` and `end_of_all` close
    the short page and the long one, as they are.
    """

    def __init__(
        self,
        name: str,
        usage: str,
        argument: click.Argument,
        groups: Groups,
        hidden: Sequence[click.Option] = (),
        common: Sequence[str] = (),
        end: str = "",
        end_of_all: str = "",
    ) -> None:
        declared = [option for options in groups.values() for option in options]
        super().__init__(name, params=[argument, *declared, *hidden], help=usage, add_help_option=False)
        self.groups = groups
        self._common = common
        self._end = end
        self._end_of_all = end_of_all

    def common_options(self) -> list[click.Option]:
        """The options that --help shows, in its order."""
        declared = {option.name: option for options in self.groups.values() for option in options}
        return [declared[name] for name in self._common]

    def short_help_page(self, context: click.Context) -> str:
        """What --help prints."""
        return self._page(context, {"Common options": self.common_options()}, self._end)

    def full_help_page(self, context: click.Context) -> str:
        """What --help-all prints."""
        return self._page(context, self.groups, self._end_of_all)

    def _page(self, context: click.Context, groups: Groups, end: str) -> str:
        formatter = click.HelpFormatter(width=_page_width(os.environ))
        self.format_usage(context, formatter)
        formatter.write_paragraph()
        with formatter.indentation():  # Click's own way to here loads `inspect`
            formatter.write_text(self.help or "")
        for heading, options in groups.items():
            with formatter.section(heading):
                formatter.write_dl(_help_records(context, options), col_max=28)
        return f"{formatter.getvalue()}\n{end}"


def _page_width(environ: Mapping[str, str]) -> int:
    """Columns of a page: those of the terminal less a margin, within what is good to read. Click asks `shutil`."""
    columns = environ.get("COLUMNS", "")
    if not (columns.isdecimal() and int(columns) > 0):
        try:
            columns = str(os.get_terminal_size(1).columns)
        except OSError:  # no terminal
            columns = "80"
    return max(min(int(columns), 80) - 2, 50)


def _help_records(context: click.Context, options: Iterable[click.Option]) -> list[tuple[str, str]]:
    """For each option its names and its words; Click has none for a hidden one."""
    records = [option.get_help_record(context) for option in options]
    return [record for record in records if record is not None]


# What these options do ends the run, so their callbacks raise. Click calls each of them, given or not. --------------


def show_help(context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given:
        raise PrintAndExit(command_of(context).short_help_page(context))


def show_all_help(context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given:
        raise PrintAndExit(command_of(context).full_help_page(context))


def show_version(context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given:
        raise PrintAndExit(f"{context.command.name} {__version__}")


def show_companion(context: click.Context, _option: click.Parameter, kind: str | None) -> None:
    if kind is not None:
        from oastream.cli.companions import companion

        raise PrintAndExit(companion(PLACES[kind].format(context.command.name)).removesuffix("\n"))


def command_of(context: click.Context) -> GroupedCommand:
    """The command that a context is for. Click's annotation knows only that it is one of its own."""
    assert isinstance(context.command, GroupedCommand)
    return context.command


# Mistakes ---------------------------------------------------------------------------------------------------------


def describe_usage_error(error: click.ClickException) -> str:
    """What is wrong with a command line, as the part of a message that follows "bad usage: "."""
    if isinstance(error, click.NoSuchOption):
        return _describe_unknown_option(error)
    if isinstance(error, click.BadParameter) and isinstance(error.param, click.Option) and error.message:
        return f"invalid value for '{_as_typed(error.param, error.ctx)}': {' '.join(error.message.split()).rstrip('.')}"
    if isinstance(error, click.BadOptionUsage) and "does not take a value" in error.message:
        text = f"{error.option_name} is a flag and takes no value"
        if error.ctx is not None and isinstance(error.ctx.command, GroupedCommand):
            text += "; --no-FLAG turns a flag off"
        return text
    return lowercase_sentence(error.format_message())


def _as_typed(option: click.Option, context: click.Context | None) -> str:
    """Which of its names an option was typed by; the long one where the words do not tell."""
    words: Sequence[str] = ()
    if context is not None and context.obj:
        words = context.obj
    for word in reversed(words):
        if word.partition("=")[0] in option.opts:
            return str(word.partition("=")[0])
    for word in reversed(words):
        if word[:2] in option.opts:  # with its value in the same word
            return str(word[:2])
    return option.opts[-1]


def lowercase_sentence(sentence: str) -> str:
    """A sentence of Click's as a part of ours: on one line, without capital and full stop."""
    text = " ".join(sentence.split())
    return (text[:1].lower() + text[1:]).rstrip(".")


def _describe_unknown_option(error: click.NoSuchOption) -> str:
    """That there is no such option, and which ones begin like it, or look like it."""
    from oastream.suggestions import did_you_mean, in_place_of  # for the message only

    typed = error.option_name
    text = f"no such option: {typed.strip()}"
    if typed.startswith("-") and not any(c.isalnum() for c in typed[:3]):
        return f"{text}; a word that begins with a dash is an option"
    names = [option.opts for option in _options_of(error.ctx)]
    known = [name for opts in names for name in opts if name.startswith("--")]
    instead = ""
    if error.ctx is not None and isinstance(error.ctx.command, GroupedCommand):
        instead = in_place_of(typed, known)
    if instead:
        return text + instead
    if typed.startswith("--"):  # Click's own guesses know neither a margin nor another case
        return text + did_you_mean(_similar_options(typed.replace("_", "-"), known))
    if error.possibilities:
        return text + did_you_mean(list(error.possibilities))
    only_long = [opts[-1] for opts in names if opts[0].startswith("--")]
    return text + did_you_mean(_options_from_letter(typed, only_long))


def _options_of(context: click.Context | None) -> list[click.Parameter]:
    """The options that words can set; a group's command has settings besides that none sets."""
    if context is None:
        return []
    if isinstance(context.command, GroupedCommand):
        return [option for group in context.command.groups.values() for option in group]
    return [option for option in context.command.params if isinstance(option, click.Option)]


def _similar_options(typed: str, known: Sequence[str]) -> list[str]:
    from oastream.suggestions import nearest  # for the message only

    if " " in typed or not typed.strip("-"):  # it is the beginning of a text
        return []
    longer = [name for name in known if name.startswith(typed)]
    if longer and len(typed) > 3:  # every other option begins with "--n" or "--s"
        return longer
    bare = {name.removeprefix("--"): name for name in known}  # the dashes would be alike in all of them
    return [bare[name] for name in nearest(typed.removeprefix("--"), bare)]


_MOST_GUESSES = 3


def _options_from_letter(typed: str, known: Sequence[str]) -> list[str]:
    """What a short option that there is not may be short for, where few begin with its letter."""
    if not typed[1:].isalpha():
        return []
    found = [name for name in known if name[2] == typed[1].lower()]
    if len(found) > _MOST_GUESSES:
        return []
    return found
