"""argv → `Options`: every option is declared here, once. No other module of a run imports Click.

In: the words of the command line and the environment. Out: `Options`, or the text of --help and --version.
Refuses to know that there is a network, and never prints or exits by itself.
"""

from __future__ import annotations

import codecs
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from oastream import __version__
from oastream.apis import API_NAMES, api_named
from oastream.cli.clashes import COMMAND_LINE as ON_COMMAND_LINE
from oastream.cli.clashes import names_stdin, settle, weaker
from oastream.exits import TABLE, Failure, Outcome, failure_of
from oastream.options import Options
from oastream.output.formats import FORMATS

if TYPE_CHECKING:
    from click.parser import _OptionParser
    from click.types import OptionHelpExtra

    from oastream.cli.config import Kind, Layer, Origin, Row, Setting

OPENAI_URL = "https://api.openai.com/v1"
PROVIDERS = ("azure", "bedrock", "vertex")
GENERATED = ("man", "complete-bash", "complete-zsh", "complete-fish")

# Defaults in seconds; the man page promises them.
CONNECT_TIMEOUT = 10.0
FIRST_EVENT_TIMEOUT = 600.0
IDLE_TIMEOUT = 120.0
RETRIES = 2
RETRY_DELAY = 0.5
RETRY_MAX_TIME = 120.0
MAX_EVENT_BYTES = 16 * 1024 * 1024


class Finite(click.ParamType[float]):
    """A number that JSON can carry: NaN and infinity are refused."""

    name = "number"

    def __init__(self, least: float | None = None) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not math.isfinite(number) or (self.least is not None and number < self.least):
            wanted = "a finite number" if self.least is None else f"a number of at least {self.least:g}"
            self.fail(f"{value!r} is not {wanted}", param, ctx)
        return number


class Seconds(Finite):
    name = "seconds"


class Whole(click.IntRange):
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

    def joined(self, pair: tuple[str, str]) -> str:
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

    def joined(self, pair: tuple[str, str]) -> str:
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
    """An http URL with a host and without credentials, or the embedded server's."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from oastream.http.request import join_url  # not for --help

        try:
            if value.startswith("mock:"):
                self._check_plan(value, param, ctx)
            else:
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


class Usual(click.ParamType[str]):
    """Any text; `values` are those that are worth offering when Tab is pressed."""

    name = "text"

    def __init__(self, *values: str) -> None:
        self.values = values


class Option(click.Option):
    """An option that may also be set by a variable or the configuration file, and whose help is for people.

    A flag can be taken back with its --no-FLAG, unless it is an `action` or begins with no- itself.
    """

    def __init__(self, names: Sequence[str], help: str, action: bool = False, **more: Any) -> None:
        super().__init__(names, **more)
        self.help = help  # Click would load `inspect` to take off an indentation that it does not have
        long = self.opts[-1]
        is_switch = (self.is_flag or self.count) and not action and not long.startswith("--no-")
        self.opposite = f"--no-{long.removeprefix('--')}" if is_switch else None

    def add_to_parser(self, parser: _OptionParser, ctx: click.Context) -> None:
        """Click's own `--hold/--no-hold` would fill the help with both, and knows none for an option that counts."""
        super().add_to_parser(parser, ctx)
        if self.opposite is not None and self.opposite in (ctx.obj or ()):  # 3 % of the start-up for all of them
            nothing = 0 if self.count else False
            parser.add_option(obj=self, opts=[self.opposite], dest=self.name, action="store_const", const=nothing)

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """10, not 10.0, and no range that the option's name implies."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra:
            extra["default"] = extra["default"].removesuffix(".0")
        return extra

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Where an option may be repeated its variable has a value a line: values hold spaces."""
        if not self.multiple:
            return super().value_from_envvar(ctx)
        text = self.resolve_envvar_value(ctx)
        return None if text is None else [line for line in text.splitlines() if line.strip()]

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """A value that is bad is the command line's mistake, or the configuration's, which is kept for later."""
        try:
            if value == "" or (self.multiple and isinstance(value, list | tuple) and "" in value):
                raise click.BadParameter("the value is empty", ctx, self)
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            origin = origin_of(ctx, self.name)
            if origin in (COMMAND_LINE, DEFAULT):
                raise
            what = f"bad {self.name.replace('_', '-')} from {' '.join(origin)}"
            why = f"it must be 1 or 0, not {value!r}" if self.is_flag else _said(error.message)
            _misconfigured(ctx, failure_of(Outcome.CONFIG, what, why))
            if ctx.default_map is not None:
                ctx.default_map.pop(self.name, None)
            return super().process_value(ctx, self.get_default(ctx))


def _show_help(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        raise Shown(_help(context, {"Common options": common_options()}, f"{EXAMPLES}\n{MORE}"))


def _show_all_help(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        raise Shown(_help(context, OPTIONS, f"{OPPOSITES}\n\n{EXAMPLES}"))


def _help(context: click.Context, groups: Mapping[str, Iterable[click.Option]], end: str) -> str:
    """Usage, what the program does, its options under headings, and a text as it is."""
    formatter = context.make_formatter()
    context.command.format_usage(context, formatter)
    context.command.format_help_text(context, formatter)
    for heading, options in groups.items():
        with formatter.section(heading):
            formatter.write_dl([r for o in options if (r := o.get_help_record(context)) is not None], col_max=28)
    return f"{formatter.getvalue()}\n{end}"


def _show_version(_context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        raise Shown(f"oastream {__version__}")


def _generate(_context: click.Context, _option: click.Parameter, kind: str | None) -> None:
    if kind is not None:
        from oastream.cli.companions import companion

        raise Shown(companion("oastream", kind).removesuffix("\n"))


def _load_profile(context: click.Context, _option: click.Parameter, profile: str | None) -> str | None:
    """Put the defaults of the file below the command line and the environment, before any other option is read."""
    layers: list[Layer] = []
    path = config_path(os.environ)
    if context.meta[_NO_CONFIG]:
        if profile is not None and origin_of(context, "profile") == COMMAND_LINE:
            raise click.UsageError("--profile has no effect with --no-config", context)
        profile = None
    elif profile is not None or os.path.lexists(path):
        from oastream.cli.config import read_layers  # 5 ms that a run without a file need not pay

        try:
            layers = read_layers(path, profile, settings())
        except Failure as failed:
            _misconfigured(context, failed)
    if url := os.environ.get("OPENAI_BASE_URL"):  # not oastream's own: a profile knows better
        layers.append((OPENAI_BASE_URL, {"base_url": url}))
    context.meta[_LAYERS] = layers
    context.default_map = {name: value for _, values in reversed(layers) for name, value in values.items()}
    return profile


class Profile(Option):
    """--profile: it loads the file, unless --no-config stands anywhere on the command line."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        ctx.meta[_NO_CONFIG] = "no_config" in opts
        return super().handle_parse_result(ctx, opts, args)


def _flag(*names: str, help: str, **more: Any) -> Option:
    return Option(names, is_flag=True, default=False, help=help, **more)


def _action(*names: str, help: str, **more: Any) -> Option:
    """A flag that says what to do instead of a run: for this command line only, and not to be taken back."""
    return Option(names, is_flag=True, default=False, help=help, action=True, allow_from_autoenv=False, **more)


def _value(*names: str, help: str, **more: Any) -> Option:
    return Option(names, help=help, **more)


OPTIONS: dict[str, list[Option]] = {
    "Prompt": [
        _value("-f", "--file", multiple=True, metavar="FILE", help="Add a text file to the prompt; - is stdin."),
        _value(
            "-a",
            "--attach",
            multiple=True,
            metavar="PATH|URL",
            help="Add an image, PDF, audio or other file; - is stdin.",
        ),
        _value(
            "--attach-type",
            multiple=True,
            type=MediaType(),
            metavar="TYPE",
            help="Media type of the attachments: one for all, or one for each.",
        ),
        _flag("-n", "--no-stdin", help="Never read stdin; use it in loops fed by a pipe."),
        _value(
            "--input-encoding",
            type=Encoding(),
            default="utf-8",
            show_default=True,
            metavar="NAME",
            help="Encoding of stdin and files.",
        ),
    ],
    "Request": [
        _value("-m", "--model", metavar="NAME", help="The model that answers."),
        _value("-s", "--system", "--instructions", "system", metavar="TEXT|@FILE", help="System message."),
        _value(
            "--api",
            type=click.Choice(API_NAMES),
            default=API_NAMES[0],
            show_default=True,
            help="API to use.",
        ),
        _value(
            "--max-output-tokens",
            "--max-tokens",
            "max_output_tokens",
            type=Whole(min=1),
            metavar="N",
            help="Maximum length of the answer, in tokens.",
        ),
        _value("--temperature", type=Finite(), metavar="X", help="Sampling temperature."),
        _value("--top-p", type=Finite(), metavar="X", help="Nucleus sampling."),
        _value(
            "--reasoning-effort",
            type=Usual("none", "minimal", "low", "medium", "high", "xhigh"),
            metavar="LEVEL",
            help="minimal, low, medium, high, or any level the model supports.",
        ),
        _value("--tools", metavar="FILE|JSON", help="Tools the model may call, in either API's shape."),
        _value(
            "--tool-choice",
            type=Usual("auto", "none", "required"),
            metavar="NAME",
            help="auto, none, required, the name of a tool, or JSON.",
        ),
        _value(
            "--schema",
            metavar="FILE|JSON|FIELDS",
            help="JSON Schema of the answer, which is checked against it; FIELDS is like 'name, age int'.",
        ),
        _value("--history", metavar="FILE", help="Continue the conversation in FILE and append this turn."),
        _flag("--no-wait", help="With --history: fail at once when another run has locked FILE."),
        _value(
            "--tool-output",
            multiple=True,
            type=Pair("CALL_ID=TEXT|@FILE", "="),
            metavar="CALL_ID=TEXT|@FILE",
            help="Provide the result of a tool call.",
        ),
        _value("--previous-response-id", metavar="ID", help="Continue from a response stored on the server."),
        _value(
            "--set",
            multiple=True,
            type=Pair("PATH=VALUE", "="),
            metavar="PATH=VALUE",
            help="Set any field of the body; the value is JSON, else text.",
        ),
        _value("--body", metavar="FILE|JSON", help="Base request body; options override its fields."),
        _value("--header", multiple=True, type=Header(), metavar="'NAME: VALUE'", help="Add a request header."),
        _flag("--dry-run", help="Print the request as JSON, secrets redacted, and send nothing."),
    ],
    "Server": [
        _value(
            "--base-url",
            type=BaseUrl(),
            default=OPENAI_URL,
            show_default=True,
            metavar="URL",
            help="Base URL of the API; mock: uses the built-in server.",
        ),
        _value("--api-key-file", metavar="FILE", help="Read the key from a file."),
        _value("--provider", type=click.Choice(PROVIDERS), help="Sign in through a cloud provider."),
        _flag("--insecure-http", help="Allow sending the API key over plain HTTP to a remote host."),
        Option(
            ["--list-models"],
            is_flag=True,
            default=False,
            action=True,
            help="List the server's models; --format text, json or ndjson.",
        ),
    ],
    "Background": [
        _flag("--background", help="Run the response in background mode; a dropped stream is resumed."),
        _flag("--detach", help="Start in the background, print the id of the response, and exit once it runs."),
        _value("--resume", type=ResponseId(), metavar="ID", help="Resume a response started with --detach."),
    ],
    "Output": [
        _value("--format", type=click.Choice(FORMATS), default="text", show_default=True, help="Output format."),
        _value(
            "-o",
            "--output",
            metavar="FILE",
            help="Write to FILE, atomically, when the run exits 0.",
        ),
        _flag("--keep-partial", help="With -o: leave FILE.part when FILE is not written."),
        _flag("--hold", help="Print nothing until the answer is complete and the run exits 0."),
        _flag("--eager", help="With --format tools: print each call as it completes."),
        _flag("--reasoning", help="Show the model's reasoning on stderr."),
        _value(
            "--stats",
            type=click.Choice(["text", "json"]),
            metavar="",
            help="Print a summary line to stderr at the end; --stats=json as JSON.",
        ),
        _value(
            "--sanitize",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            help="Show control characters as text; auto: on a terminal.",
        ),
        _value(
            "--ok",
            type=Outcomes(),
            default=frozenset(),
            metavar="NAME[,NAME…]",
            help="Exit 0 for these outcomes too, without a message.",
        ),
    ],
    "Time and retries": [
        _value(
            "--connect-timeout",
            type=Seconds(0),
            default=CONNECT_TIMEOUT,
            help="Limit for DNS, TCP, proxy and TLS together.",
            show_default=True,
        ),
        _value(
            "--first-event-timeout",
            type=Seconds(0),
            default=FIRST_EVENT_TIMEOUT,
            help="Timeout for the first event.",
            show_default=True,
        ),
        _value(
            "--idle-timeout",
            type=Seconds(0),
            default=IDLE_TIMEOUT,
            help="Timeout between events.",
            show_default=True,
        ),
        _value("--max-time", type=Seconds(0), default=0.0, help="Limit for the whole run; 0 is none."),
        _value(
            "--retry",
            type=Whole(min=0),
            default=RETRIES,
            metavar="N",
            help="Maximum number of retries.",
            show_default=True,
        ),
        _value(
            "--retry-delay",
            type=Seconds(0),
            default=RETRY_DELAY,
            help="Base of the growing wait between tries.",
            show_default=True,
        ),
        _value(
            "--retry-max-time",
            type=Seconds(0),
            default=RETRY_MAX_TIME,
            help="Limit for all tries and waits.",
            show_default=True,
        ),
        _value(
            "--max-event-bytes",
            type=Whole(min=1),
            default=MAX_EVENT_BYTES,
            metavar="N",
            help="Maximum event size in bytes.",
            show_default=True,
        ),
    ],
    "Recordings": [
        _value("--record", metavar="FILE", help="Record the server's reply, with timing."),
        _value("--replay", metavar="FILE", help="Play a recording instead of asking a server."),
        _flag("--realtime", help="With --replay: play at the recorded speed."),
    ],
    "Configuration": [
        Profile(
            ["--profile"],
            is_eager=True,
            callback=_load_profile,
            metavar="NAME",
            help="Use the defaults of profile NAME in config.toml.",
        ),
        _flag("--no-config", help="Ignore config.toml.", allow_from_autoenv=False),
        _action("--show-config", help="Print each option's value and where it came from."),
    ],
    "Help": [
        Option(["-v", "--verbose"], count=True, type=Whole(min=0), help="Log progress to stderr; -vv logs each event."),
        _flag("-q", "--quiet", help="No status line and no notices on stderr, only errors."),
        _action(
            "-h",
            "--help",
            help="Show the common options.",
            is_eager=True,
            expose_value=False,
            callback=_show_help,
        ),
        _action("--help-all", help="Show all options.", is_eager=True, expose_value=False, callback=_show_all_help),
        _value(
            "--generate",
            type=click.Choice(GENERATED),
            help="Print the man page, or the completions of a shell.",
            is_eager=True,
            expose_value=False,
            callback=_generate,
            allow_from_autoenv=False,
        ),
        _action("--version", help="Show the version.", is_eager=True, expose_value=False, callback=_show_version),
    ],
}


class Configured(Option):
    """A setting of the configuration file or its variable that is no option: no word of a command line sets it."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """The parser does not know it."""


CONFIGURED: list[Option] = [Configured(["--api-key-cmd"], help="Read the key from a command's output.")]
"""A command line may hold text that others wrote (a prompt that begins with a dash): it never names a command."""

COMMON = ("model", "system", "file", "no_stdin", "api", "base_url", "format", "output", "ok", "verbose")
"""What --help shows first: the options that most command lines are made of."""

OPTIONAL_VALUE = {"--stats": "text"}
"""Options that may stand without their value, and what that means; a value needs the equals sign."""

USAGE = """Send PROMPT, stdin, or both to a language model and stream its answer to stdout.

The exit status says how the answer ended: 0 complete; 1x an answer, but not a plain one; 2x fix something;
3x try again later; 4x the answer broke off."""

EXAMPLES = """\
Examples:
  oastream 'Why is the sky blue?'
  git diff | oastream -s 'You review code' 'Is this change correct?'
  oastream -f notes.txt -o summary.txt 'Summarise these notes'
  oastream --format json 'Why is the sky blue?' | jq .usage
  oastream --base-url mock: 'Try it without a key or a network'"""

OPPOSITES = """--no-FLAG takes a flag back, as in --no-hold, wherever it was set. What follows
-- is the prompt, whatever it looks like."""

MORE = """
oastream --help-all lists all options; man oastream explains them, and every
exit status."""


DASH_HINT = "a prompt that begins with a dash stands after --, as in: oastream -- '- item'; try 'oastream --help'"


class Shown(Exception):
    """Ends parsing with a text for stdout: --help, --version, a man page."""


def common_options() -> list[Option]:
    """The options of `COMMON`, in that order."""
    declared = {option.name: option for group in OPTIONS.values() for option in group}
    return [declared[name] for name in COMMON]


def parse(words: list[str]) -> Options:
    """The words of the command line, without the program's name, as `Options`.

    Raises `Shown` for --help and its like, and `Failure` with outcome usage for words that are off.
    """
    try:
        given = _spelled_out(words)
        with command().make_context("oastream", given, obj=tuple(given), auto_envvar_prefix="OASTREAM") as context:
            options = _checked(_options(context))
            if options.prompt and (options.file or options.attach):
                _check_words(context, options, words)
            return options
    except click.NoSuchOption as error:
        raise failure_of(Outcome.USAGE, "bad usage", _no_such_option(error.option_name), DASH_HINT) from error
    except click.UsageError as error:
        raise failure_of(Outcome.USAGE, "bad usage", _one_line(error), "try 'oastream --help'") from error


def _no_such_option(name: str) -> str:
    """What is wrong with an option that there is not, and which ones begin like it, or look like it."""
    text = f"no such option: {name}"
    typed = name.replace("_", "-")
    known = [long for group in OPTIONS.values() for option in group for long in option.opts if long.startswith("--")]
    near = [long for long in known if long.startswith(typed)] if typed.startswith("--") and len(typed) > 3 else []
    if not near:
        import difflib  # for the message only

        near = difflib.get_close_matches(typed, known) if typed.startswith("--") else []
    if not near:
        return text
    *others, last = near
    return f"{text}; is it {', '.join(others)} or {last}?" if others else f"{text}; is it {last}?"


def _check_words(context: click.Context, options: Options, words: Sequence[str]) -> None:
    """`-f *.txt` gives -f the first file, and makes words of the names of all others. Words after -- are meant."""
    option = next((name for name in ("file", "attach") if origin_of(context, name) == COMMAND_LINE), None)
    if option is None:
        return
    meant = len(words) - 1 - words.index("--") if "--" in words else 0
    for word in options.prompt[: len(options.prompt) - meant]:
        if os.path.exists(word) and not os.path.isdir(word):
            short = "-f" if option == "file" else "-a"
            raise failure_of(
                Outcome.USAGE,
                "bad usage",
                f"{word} is a file, and stands among the words of the prompt; each file needs a {short} of its own",
                f"if it is a word: oastream … -- {word}",
            )


def config_path(environ: Mapping[str, str]) -> str:
    """The configuration file. The XDG specification has a relative XDG_CONFIG_HOME ignored."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/.config")
    return os.path.join(base, "oastream", "config.toml")


def settings() -> dict[str, Setting]:
    """What the configuration file may set: every option that is not about configuration or help, by all its names."""
    from oastream.cli.config import Setting

    options = [o for heading, group in OPTIONS.items() if heading != "Configuration" for o in group if o.expose_value]
    options += CONFIGURED
    return {
        name.removeprefix("--").replace("-", "_"): Setting(option.name, _kind(option), "FILE" in (option.metavar or ""))
        for option in options
        for name in option.opts
        if name.startswith("--")
    }


def _kind(option: click.Option) -> Kind:
    from oastream.cli.config import Kind

    kinds = ((Header, Kind.HEADERS), (Pair, Kind.FIELDS), (Outcomes, Kind.NAMES), (Finite, Kind.NUMBER))
    if option.is_flag:
        return Kind.FLAG
    if option.count or isinstance(option.type, click.types.IntParamType):
        return Kind.WHOLE
    special = next((kind for cls, kind in kinds if isinstance(option.type, cls)), None)
    return special or (Kind.TEXTS if option.multiple else Kind.TEXT)


COMMAND_LINE: Origin = (ON_COMMAND_LINE, "")
DEFAULT: Origin = ("default", "")
OPENAI_BASE_URL: Origin = ("environment", "OPENAI_BASE_URL")

# Keys of Click's context.meta.
_LAYERS = "oastream.layers"
_MISCONFIGURED = "oastream.misconfigured"
_NO_CONFIG = "oastream.no_config"


def _misconfigured(context: click.Context, failed: Failure) -> None:
    context.meta.setdefault(_MISCONFIGURED, failed)


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


def _options(context: click.Context) -> Options:
    params = {name: _plain(value) for name, value in context.params.items()}
    problem: Failure | None = context.meta.get(_MISCONFIGURED)
    del params["no_config"]
    if params["api_key_file"] is not None and params["api_key_cmd"] is not None:
        params[_weaker(context, "api_key_file", "api_key_cmd")] = None
    if params.pop("show_config"):
        if problem is not None:
            raise problem
        raise Shown(_shown_config(context, params))
    del params["profile"]
    given = _given(context, params)
    complaint = settle(params, given, _DEFAULTS)
    if complaint is not None:
        raise failure_of(Outcome.USAGE, "bad usage", complaint)
    if given.get("no_stdin", ON_COMMAND_LINE) != ON_COMMAND_LINE and names_stdin(params, given):
        params["no_stdin"] = False
    if params["provider"] is not None and origin_of(context, "base_url") in (DEFAULT, OPENAI_BASE_URL):
        params["base_url"] = ""
    return Options(**params, misconfigured=None if problem is None else problem.verdict)


KEY = "api-key"
"""What --show-config calls the key, which is no option."""

_DEFAULTS = {"format": "text", "base_url": OPENAI_URL, "input_encoding": "utf-8"}


def _given(context: click.Context, params: Mapping[str, Any]) -> dict[str, str]:
    """The options that ask for something, each with the kind of place it came from."""
    asking = [name for name, value in params.items() if value is not None and value is not False and value != ()]
    places = {name: origin_of(context, name)[0] for name in asking}
    return {name: place for name, place in places.items() if place != "default"}


def _weaker(context: click.Context, first: str, second: str) -> str:
    """Of two options that say the same, the one from farther away; from the same place, the second."""
    places = {name: origin_of(context, name)[0] for name in (first, second)}
    return weaker(first, second, places)


def _as_typed(option: click.Option, value: Any) -> Any:
    return [option.type.joined(pair) for pair in value] if isinstance(option.type, Pair) else value


def _shown_config(context: click.Context, params: Mapping[str, Any]) -> str:
    from oastream.cli.config import listing, listing_json, without_secrets

    def row(name: str) -> Row:
        value = params[name]
        if name == "model" and value is None:
            value = api_named(params["api"]).default_model
        shown = without_secrets(_as_typed(declared[name], value), os.environ)
        return name.replace("_", "-"), shown, origin_of(context, name)

    groups = (*OPTIONS.values(), CONFIGURED)
    declared = {option.name: option for group in groups for option in group if option.name in params}
    rows = [*map(row, declared), _key_row(context, params)]
    return (listing_json if params["format"] == "json" else listing)(rows)


def _key_row(context: click.Context, params: Mapping[str, Any]) -> Row:
    """Where the key comes from, never what it is."""
    from oastream.redaction import REDACTED

    for name in ("api_key_file", "api_key_cmd"):
        if params[name] is not None:
            return KEY, REDACTED, origin_of(context, name)
    if params["provider"] is None and os.environ.get("OPENAI_API_KEY", "").strip():
        return KEY, REDACTED, ("environment", "OPENAI_API_KEY")
    return KEY, None, DEFAULT


def command() -> click.Command:
    """The Click command: it parses, and does nothing else."""
    words = click.Argument(["prompt"], nargs=-1, metavar="[PROMPT]...")
    declared = [option for group in OPTIONS.values() for option in group]
    return click.Command("oastream", params=[words, *declared, *CONFIGURED], help=USAGE, add_help_option=False)


def _checked(options: Options) -> Options:
    """What no single option can tell, and `clashes` does not know."""
    if len(options.attach_type) > 1 and len(options.attach_type) != len(options.attach):
        what = f"got {len(options.attach_type)} --attach-type for {len(options.attach)} --attach"
        raise failure_of(Outcome.USAGE, "bad usage", what)
    return options


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _spelled_out(words: list[str]) -> list[str]:
    """`--stats` alone means `--stats=text`: Click would take the next word, the prompt, for its value."""
    end = words.index("--") if "--" in words else len(words)
    meant = {name: f"{name}={value}" for name, value in OPTIONAL_VALUE.items()}
    return [meant.get(word, word) for word in words[:end]] + words[end:]


def _one_line(error: click.UsageError) -> str:
    return _said(error.format_message())


def _said(message: str) -> str:
    """A sentence of Click's as a part of ours."""
    text = " ".join(message.split())
    return (text[:1].lower() + text[1:]).rstrip(".")
