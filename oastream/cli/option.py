"""One option: how it takes its value, and where that value came from.

In: what Click's parser found, variables, the configuration file. Out: for each option a converted value and its origin.
The nearest place wins: the command line, then `OASTREAM_…`, then the profile, then the file. Knows by name only the
options that choose the file, so that every program can build its table of these.

What is wrong with the command line is raised at once. What is wrong with a variable or the file is kept until the
output is open: whoever reads records gets it as one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from oastream.cli.clashes import COMMAND_LINE as ON_COMMAND_LINE
from oastream.cli.config_path import config_path
from oastream.cli.help import lowercase_sentence
from oastream.cli.types import FiniteNumber, Header, Outcomes, Pair
from oastream.exits import Failure, Outcome, failure_of

if TYPE_CHECKING:
    from click.parser import _OptionParser
    from click.types import OptionHelpExtra

    from oastream.cli.config import Kind, Layer, Origin, Setting

COMMAND_LINE: Origin = (ON_COMMAND_LINE, "")
DEFAULT: Origin = ("default", "")
OPENAI_BASE_URL: Origin = ("environment", "OPENAI_BASE_URL")

# Keys of Click's context.meta.
_LAYERS = "oastream.layers"
_CONFIG_ERROR = "oastream.config_error"
_NO_CONFIG = "oastream.no_config"


class Option(click.Option):
    """An option that may also be set by a variable or the configuration file, and whose help is for people.

    A flag can be taken back with its --no-FLAG, unless it is an `action` or begins with no- itself. One about the
    configuration cannot be set in it.
    """

    def __init__(
        self,
        names: Sequence[str],
        help: str,
        action: bool = False,
        in_file: bool = True,
        show_default: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(names, **more)
        # Click would load `inspect` to take off an indentation that this does not have, and to show a default.
        self.help = help
        self._default_is_shown = show_default
        self.in_file = in_file and self.expose_value
        self.unset_value = _unset_value(self, more.get("default"))
        long = self.opts[-1]
        is_switch = (self.is_flag or self.count) and not action and not long.startswith("--no-")
        self.opposite: str | None = None
        if is_switch:
            self.opposite = f"--no-{long.removeprefix('--')}"

    def add_to_parser(self, parser: _OptionParser, ctx: click.Context) -> None:
        """Click's own `--hold/--no-hold` would fill the help with both, and knows none for an option that counts."""
        super().add_to_parser(parser, ctx)
        if self.opposite is None or self.opposite not in (ctx.obj or ()):  # 3 % of the start-up for all of them
            return
        nothing: int | bool = False
        if self.count:
            nothing = 0
        parser.add_option(obj=self, opts=[self.opposite], dest=self.name, action="store_const", const=nothing)

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Show 10 rather than 10.0, and hide Click's range: the option's name implies it."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if self._default_is_shown:
            extra["default"] = str(self.default).removesuffix(".0")
        return extra

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable of an option that may be repeated has one value per line: values hold spaces."""
        if not self.multiple:
            return super().value_from_envvar(ctx)
        text = self.resolve_envvar_value(ctx)
        if text is None:
            return None
        return [line for line in text.splitlines() if line.strip()]

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert a value. One that is bad is the command line's mistake, or the configuration's, kept for later."""
        try:
            if value == "" or (self.multiple and isinstance(value, list | tuple) and "" in value):
                raise click.BadParameter("the value is empty", ctx, self)
            origin = origin_of(ctx, self.name)
            if origin == COMMAND_LINE:
                self._reject_equals_sign(ctx, value)
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            origin = origin_of(ctx, self.name)
            mistake = self._with_suggestion(error, value)
            if origin in (COMMAND_LINE, DEFAULT):
                raise mistake from error
            _remember_config_error(ctx, self._as_config_failure(mistake, value, origin))
            if ctx.default_map is not None:
                ctx.default_map.pop(self.name, None)
            return super().process_value(ctx, self.get_default(ctx))

    def _with_suggestion(self, error: click.BadParameter, value: Any) -> click.BadParameter:
        """The mistake, with the choice that a misspelt one is near to."""
        if not isinstance(self.type, click.Choice) or not isinstance(value, str):
            return error
        from oastream.suggestions import did_you_mean, nearest  # for the message only

        near = did_you_mean(nearest(value, self.type.choices, 1))
        return click.BadParameter(error.message.rstrip(".") + near, error.ctx, error.param)

    def _reject_equals_sign(self, ctx: click.Context, value: Any) -> None:
        """`-m=NAME` and `--model = NAME` would name a model `=NAME`, or `=`. A text may begin with one and a space."""
        values = (value,)
        if isinstance(value, list | tuple):
            values = tuple(value)
        for text in values:
            if isinstance(text, str) and text.startswith("=") and not text[1:2].isspace():
                raise click.BadParameter(
                    f"it begins with an equals sign; write {_spellings(self, text[1:])}, without spaces around =",
                    ctx,
                    self,
                )

    def _as_config_failure(self, error: click.BadParameter, value: Any, origin: Origin) -> Failure:
        what = f"bad {self.name.replace('_', '-')} from {' '.join(origin)}"
        if self.is_flag:
            return failure_of(Outcome.CONFIG, what, f"it must be 1 or 0, not {value!r}")
        return failure_of(Outcome.CONFIG, what, lowercase_sentence(error.message))


def _spellings(option: click.Option, value: str) -> str:
    """Each of an option's names with a value, as it may be typed; a value that may be a secret is not repeated."""
    shown = option.metavar or "VALUE"
    if value and value.isprintable() and len(value) < 20 and " " not in value and option.name != "api_key_file":
        shown = value
    forms = [f"{name}={shown}" if name.startswith("--") else f"{name} {shown}" for name in option.opts[:2]]
    return " or ".join(forms)


def _unset_value(option: click.Option, default: Any) -> Any:
    """What an option is that nobody has set, as Click would make it: it says so only once it has parsed something."""
    if option.multiple:
        return ()
    if option.count:
        return 0
    return default


class Configured(Option):
    """A setting of the configuration file or its variable that is no option: no word of a command line sets it."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """The parser does not know it."""


class Profile(Option):
    """--profile: it loads the file, unless --no-config stands anywhere on the command line.

    The file's defaults are put below the command line and the environment before any other option is read, so it is
    eager. `settings` gives the options that the file may set: those of `oastream`, whichever program reads it.
    """

    def __init__(self, names: Sequence[str], settings: Callable[[], Iterable[Option]], **more: Any) -> None:
        super().__init__(names, is_eager=True, in_file=False, callback=self._load_layers, **more)
        self._settings = settings

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        ctx.meta[_NO_CONFIG] = "no_config" in opts
        return super().handle_parse_result(ctx, opts, args)

    def _load_layers(self, context: click.Context, _option: click.Parameter, profile: str | None) -> str | None:
        layers = self._read_file(context, profile)
        if url := os.environ.get("OPENAI_BASE_URL"):  # not oastream's own: a profile knows better
            layers.append((OPENAI_BASE_URL, {"base_url": url}))
        context.meta[_LAYERS] = layers
        context.default_map = {name: value for _, values in reversed(layers) for name, value in values.items()}
        if context.meta[_NO_CONFIG]:
            return None
        return profile

    def _read_file(self, context: click.Context, profile: str | None) -> list[Layer]:
        """The layers of the file, none where it cannot be used."""
        if context.meta[_NO_CONFIG]:
            if profile is not None and origin_of(context, "profile") == COMMAND_LINE:
                raise click.UsageError("--profile has no effect with --no-config", context)
            return []
        path = config_path(os.environ)
        if profile is None and not os.path.lexists(path):
            return []
        from oastream.cli.config import read_layers  # 5 ms that a run without a file need not pay

        try:
            return read_layers(path, profile, _as_settings(self._settings()))
        except Failure as failed:
            _remember_config_error(context, failed)
            return []


# Where values come from -------------------------------------------------------------------------------------------


def origin_of(context: click.Context, name: str) -> Origin:
    """Where the value of a parameter came from."""
    match context.get_parameter_source(name):
        case click.core.ParameterSource.COMMANDLINE:
            return COMMAND_LINE
        case click.core.ParameterSource.ENVIRONMENT:
            return "environment", f"OASTREAM_{name.upper()}"
        case click.core.ParameterSource.DEFAULT_MAP:
            layers: list[Layer] = context.meta[_LAYERS]
            return next(origin for origin, values in layers if name in values)
    return DEFAULT


def config_error_of(context: click.Context) -> Failure | None:
    """The first thing that is wrong with a variable or the file."""
    failed: Failure | None = context.meta.get(_CONFIG_ERROR)
    return failed


def _remember_config_error(context: click.Context, failed: Failure) -> None:
    context.meta.setdefault(_CONFIG_ERROR, failed)


# What the file may set --------------------------------------------------------------------------------------------


def _as_settings(options: Iterable[Option]) -> dict[str, Setting]:
    """Each option that may be set in the file, by all its long names."""
    from oastream.cli.config import Setting

    return {
        name.removeprefix("--").replace("-", "_"): Setting(option.name, _kind_of(option), _is_path(option))
        for option in options
        if option.in_file
        for name in option.opts
        if name.startswith("--")
    }


def _is_path(option: click.Option) -> bool:
    return "FILE" in (option.metavar or "")


def _kind_of(option: click.Option) -> Kind:
    from oastream.cli.config import Kind

    if option.is_flag:
        return Kind.FLAG
    if option.count or isinstance(option.type, click.types.IntParamType):
        return Kind.INTEGER
    # A header is a pair too, so it comes first.
    kinds = ((Header, Kind.HEADERS), (Pair, Kind.FIELDS), (Outcomes, Kind.NAMES), (FiniteNumber, Kind.NUMBER))
    for parameter_type, kind in kinds:
        if isinstance(option.type, parameter_type):
            return kind
    if option.multiple:
        return Kind.TEXTS
    return Kind.TEXT
