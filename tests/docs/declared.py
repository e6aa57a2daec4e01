"""What the programs declare to Click, as plain records that know neither Click nor a shell.

What a value is follows from the option's type and metavar: FILE or PATH in it is a file, `@FILE` one after an @,
DIR a folder.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import click

from oastream.batch import cli as batch_cli
from oastream.cli import option as cli_option
from oastream.cli import options_table, types
from oastream.exits import TABLE
from oastream.mock import cli as mock_cli
from oastream.mock.endings import ENDS
from oastream.mock.keys import KEYS
from oastream.mock.limits import Refill, Shown, Window
from tests.docs.relations import NO_RELATIONS, RELATIONS, Relations


class Takes(enum.Enum):
    """What the value of an option is."""

    NOTHING = enum.auto()
    TEXT = enum.auto()
    FILE = enum.auto()
    FOLDER = enum.auto()
    TEXT_OR_AT_FILE = enum.auto()
    CHOICE = enum.auto()
    LIST = enum.auto()
    MODEL = enum.auto()
    PROFILE = enum.auto()


@dataclass(frozen=True, slots=True)
class Value:
    """A value that can be offered."""

    text: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """An option. `placeholder` names its value, `optional` says that it may go without; `opposite` takes it back.

    `ends_parsing` is one that prints something by itself; `relations` are to others.
    """

    names: tuple[str, ...]
    placeholder: str
    help: str
    default: str | None
    takes: Takes
    values: tuple[Value, ...] = ()
    optional: bool = False
    repeatable: bool = False
    opposite: str | None = None
    ends_parsing: bool = False
    relations: Relations = NO_RELATIONS

    @property
    def short(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if not name.startswith("--"))

    @property
    def long(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name.startswith("--"))


@dataclass(frozen=True, slots=True)
class Program:
    """A program and its options under their headings. `words` is what stands on its command line besides them."""

    name: str
    groups: dict[str, list[Option]]
    words: Takes

    @property
    def opposites(self) -> dict[str, Option]:
        """The names that take a flag back, and which."""
        return {option.opposite: option for option in self.options if option.opposite is not None}

    @property
    def options(self) -> list[Option]:
        return [option for group in self.groups.values() for option in group]


STATUSES = tuple(Value(outcome.value, help) for outcome, (_, help) in TABLE.items())

# Options whose values Click does not know: the cache and the configuration do, or the mock's own tables.
FOUND = {"model": Takes.MODEL, "profile": Takes.PROFILE}
LISTED: dict[str, tuple[Takes, tuple[Value, ...]]] = {
    "end": (Takes.CHOICE, tuple(Value(outcome.value) for outcome in ENDS)),
    "faults": (Takes.LIST, tuple(Value(f"{name}=", key.help) for name, key in KEYS.items())),
    "limit_window": (Takes.CHOICE, tuple(Value(window.value) for window in Window)),
    "limit_refill": (Takes.CHOICE, tuple(Value(refill.value) for refill in Refill)),
    "limit_headers": (Takes.CHOICE, tuple(Value(shown.value) for shown in Shown)),
}


def oastream() -> Program:
    return _program("oastream", options_table.build_command(), options_table.OPTIONS, Takes.TEXT)


def mock() -> Program:
    context = click.Context(mock_cli.command)
    options = [option for option in mock_cli.command.get_params(context) if isinstance(option, click.Option)]
    return _program("oastream-mock", mock_cli.command, {"Options": options}, Takes.NOTHING)


def batch() -> Program:
    return _program("oastream-batch", batch_cli.command(), batch_cli.option_groups(), Takes.FILE)


PROGRAMS: dict[str, Callable[[], Program]] = {"oastream": oastream, "oastream-batch": batch, "oastream-mock": mock}


def _program(name: str, command: click.Command, groups: Mapping[str, Sequence[click.Option]], words: Takes) -> Program:
    context = click.Context(command)
    relations = RELATIONS[name]()
    shown = {
        heading: [
            _option(option, context, relations.get(option.name or "", NO_RELATIONS))
            for option in options
            if not option.hidden
        ]
        for heading, options in groups.items()
    }
    return Program(name, shown, words)


def _option(option: click.Option, context: click.Context, relations: Relations) -> Option:
    names = tuple(sorted(option.opts, key=lambda name: name.startswith("--")))
    takes, values = _takes(option, context)
    return Option(
        names=names,
        placeholder="" if takes is Takes.NOTHING else option.metavar or option.make_metavar(context),
        help=option.help or "",
        default=option.get_help_extra(context).get("default"),
        takes=takes,
        values=values,
        optional=any(name in options_table.OPTIONAL_VALUE for name in names),
        repeatable=option.multiple or option.count,
        opposite=_opposite(option),
        ends_parsing=option.is_eager and not option.expose_value,
        relations=relations,
    )


def _opposite(option: click.Option) -> str | None:
    if isinstance(option, cli_option.Option):
        return option.opposite
    return next(iter(option.secondary_opts), None)  # Click's own, of the mock


def _takes(option: click.Option, context: click.Context) -> tuple[Takes, tuple[Value, ...]]:
    metavar = option.metavar or ""
    if option.is_flag or option.count:
        return Takes.NOTHING, ()
    if option.name in FOUND:
        return FOUND[option.name], ()
    if option.name in LISTED:
        return LISTED[option.name]
    if isinstance(option.type, batch_cli.Redo):
        return Takes.LIST, (*STATUSES, Value("changed", "the request has changed"))
    if isinstance(option.type, types.Outcomes):
        return Takes.LIST, STATUSES
    if isinstance(option.type, click.Choice):
        return Takes.CHOICE, _values(option.type.choices)
    if isinstance(option.type, types.Suggested):
        return Takes.CHOICE, _values(option.type.values)
    return _by_metavar(metavar), ()


def _by_metavar(metavar: str) -> Takes:
    words = metavar.split("|")
    if "FILE" in words or "PATH" in words:
        return Takes.FILE
    if "DIR" in words:
        return Takes.FOLDER
    return Takes.TEXT_OR_AT_FILE if metavar == "TEXT|@FILE" else Takes.TEXT


def _values(texts: Iterable[str]) -> tuple[Value, ...]:
    return tuple(Value(text) for text in texts)


def takes_back(option: Option) -> str:
    """The help of an option's opposite."""
    return f"Turn off {option.long[0]}"


def brief(text: str) -> str:
    """A help text as a completion shows it: one sentence without its full stop."""
    return text.removesuffix(".")
