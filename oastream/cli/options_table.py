"""Every option of `oastream`, declared once: its names, its kind, its default, its words of help.

Out: `OPTIONS`, the groups that help, man page and completions show, and the command that they make up. Knows nothing of
what an option does, but for those that choose the configuration file or print help.

A group is a list of its own, so that a second program can offer it too: `leave_out` drops what it has no use for,
`with_defaults` gives it other defaults, and `GroupedCommand` makes a command of any groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from oastream.apis import API_NAMES
from oastream.cli.help import PLACES, GroupedCommand, show_all_help, show_companion, show_help, show_version
from oastream.cli.option import Configured, Option, Profile
from oastream.cli.types import (
    BaseUrl,
    Encoding,
    FiniteNumber,
    Header,
    MediaType,
    Outcomes,
    Pair,
    ResponseId,
    Seconds,
    Suggested,
    WholeNumber,
)
from oastream.options import ANY_LANGUAGE
from oastream.output.formats import FORMATS

OPENAI_URL = "https://api.openai.com/v1"
PROVIDERS = ("azure", "bedrock", "vertex")

# Defaults in seconds; the man page promises them.
CONNECT_TIMEOUT = 10.0
FIRST_EVENT_TIMEOUT = 600.0
IDLE_TIMEOUT = 120.0
RETRIES = 2
RETRY_DELAY = 0.5
RETRY_MAX_TIME = 120.0
MAX_EVENT_BYTES = 16 * 1024 * 1024


def _flag(*names: str, help: str, **more: Any) -> Option:
    return Option(names, is_flag=True, default=False, help=help, **more)


def _action(*names: str, help: str, **more: Any) -> Option:
    """A flag that says what to do instead of a run: for this command line only, and not to be taken back."""
    return Option(names, is_flag=True, default=False, help=help, action=True, allow_from_autoenv=False, **more)


def _value(*names: str, help: str, **more: Any) -> Option:
    return Option(names, help=help, **more)


PROMPT: list[Option] = [
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
]

REQUEST: list[Option] = [
    _value("-m", "--model", metavar="NAME", help="Model to use."),
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
        type=WholeNumber(min=1),
        metavar="N",
        help="Maximum length of the answer, in tokens.",
    ),
    _value("--temperature", type=FiniteNumber(), metavar="X", help="Sampling temperature."),
    _value("--top-p", type=FiniteNumber(), metavar="X", help="Nucleus sampling."),
    _value(
        "--reasoning-effort",
        type=Suggested("none", "minimal", "low", "medium", "high", "xhigh"),
        metavar="LEVEL",
        help="minimal, low, medium, high, or any level the model supports.",
    ),
    _value("--tools", metavar="FILE|JSON", help="Tools the model may call, in either API's shape."),
    _value(
        "--tool-choice",
        type=Suggested("auto", "none", "required"),
        metavar="NAME",
        help="auto, none, required, the name of a tool, or JSON.",
    ),
    _value(
        "--schema",
        metavar="FILE|JSON|FIELDS",
        help="JSON Schema the answer must match, or FIELDS such as 'name, age int'.",
    ),
    _value(
        "--schema-multi",
        metavar="FILE|JSON|FIELDS",
        help="Schema of one item: ask for many, and print each on a line as it arrives.",
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
]

SERVER: list[Option] = [
    _value(
        "--base-url",
        type=BaseUrl(),
        default=OPENAI_URL,
        show_default=True,
        metavar="URL",
        help="Base URL of the API; local: answers from a model on this machine, mock: without one.",
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
]

BACKGROUND: list[Option] = [
    _flag("--background", help="Run the response in background mode; a dropped stream is resumed."),
    _flag("--detach", help="Start in the background, print the response's id, and exit once it runs."),
    _value("--resume", type=ResponseId(), metavar="ID", help="Resume a response started with --detach."),
]

OUTPUT: list[Option] = [
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
    _value(
        "-x",
        "--extract",
        metavar="LANG",
        help="Print only the first fenced code block; --extract=LANG: the first one of that language.",
    ),
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
]

TIME: list[Option] = [
    _value(
        "--connect-timeout",
        type=Seconds(0),
        default=CONNECT_TIMEOUT,
        help="Timeout for connecting: DNS, TCP, proxy and TLS.",
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
    _value("--max-time", type=Seconds(0), default=0.0, help="Timeout for the whole run; 0 for none."),
    _value(
        "--retry",
        type=WholeNumber(min=0),
        default=RETRIES,
        metavar="N",
        help="Maximum number of retries.",
        show_default=True,
    ),
    _value(
        "--retry-delay",
        type=Seconds(0),
        default=RETRY_DELAY,
        help="Base delay of the exponential backoff.",
        show_default=True,
    ),
    _value(
        "--retry-max-time",
        type=Seconds(0),
        default=RETRY_MAX_TIME,
        help="Time limit for all attempts and waits.",
        show_default=True,
    ),
    _value(
        "--max-event-bytes",
        type=WholeNumber(min=1),
        default=MAX_EVENT_BYTES,
        metavar="N",
        help="Maximum event size in bytes.",
        show_default=True,
    ),
]

RECORDINGS: list[Option] = [
    _value("--record", metavar="FILE", help="Record the server's reply, with timing."),
    _value("--replay", metavar="FILE", help="Play a recording instead of asking a server."),
    _flag("--realtime", help="With --replay: play at the recorded speed."),
]


def configurable_options() -> list[Option]:
    """Where the configuration file finds what it may set: every option that there is, and what is no option."""
    return [option for group in (*OPTIONS.values(), CONFIGURED) for option in group]


CONFIGURATION: list[Option] = [
    Profile(
        ["--profile"],
        settings=configurable_options,
        metavar="NAME",
        help="Use the defaults of profile NAME in config.toml.",
    ),
    _flag("--no-config", help="Ignore config.toml.", allow_from_autoenv=False, in_file=False),
    _action("--show-config", help="Print each option's value and where it came from.", in_file=False),
]

HELP: list[Option] = [
    Option(
        ["-v", "--verbose"], count=True, type=WholeNumber(min=0), help="Log progress to stderr; -vv logs each event."
    ),
    _flag("-q", "--quiet", help="Print only errors to stderr: no notices, no status line."),
    _action(
        "-h",
        "--help",
        help="Show the common options.",
        is_eager=True,
        expose_value=False,
        callback=show_help,
    ),
    _action("--help-all", help="Show all options.", is_eager=True, expose_value=False, callback=show_all_help),
    _value(
        "--generate",
        type=click.Choice(tuple(PLACES)),
        help="Print the man page, or completions for a shell.",
        is_eager=True,
        expose_value=False,
        callback=show_companion,
        allow_from_autoenv=False,
    ),
    _action("--version", help="Show the version.", is_eager=True, expose_value=False, callback=show_version),
]

OPTIONS: dict[str, list[Option]] = {
    "Prompt": PROMPT,
    "Request": REQUEST,
    "Server": SERVER,
    "Background": BACKGROUND,
    "Output": OUTPUT,
    "Time and retries": TIME,
    "Recordings": RECORDINGS,
    "Configuration": CONFIGURATION,
    "Help": HELP,
}
"""The groups under the headings that help, man page and completions show, in their order."""

CONFIGURED: list[Option] = [Configured(["--api-key-cmd"], help="Read the key from a command's output.")]
"""A command line may hold text that others wrote (a prompt that begins with a dash): it never names a command."""

HELP_OPTIONS = ("model", "system", "file", "no_stdin", "api", "base_url", "format", "output", "ok", "verbose")
"""What --help shows first: the options that most command lines are made of."""

OPTIONAL_VALUE = {
    "--stats": "--stats=text",
    "--extract": f"--extract={ANY_LANGUAGE}",
    "-x": f"--extract={ANY_LANGUAGE}",
}
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

OPPOSITES = """--no-FLAG turns a flag off, as in --no-hold, wherever it was set. Everything
after -- is the prompt, even if it begins with a dash."""

HELP_FOOTER = """
oastream --help-all lists all options; man oastream explains them, and every
exit status."""


def build_command() -> GroupedCommand:
    """The Click command of `oastream`: it parses, and does nothing else."""
    return GroupedCommand(
        "oastream",
        usage=USAGE,
        argument=click.Argument(["prompt"], nargs=-1, metavar="[PROMPT]..."),
        groups=OPTIONS,
        hidden=CONFIGURED,
        common=HELP_OPTIONS,
        end=f"{EXAMPLES}\n{HELP_FOOTER}",
        end_of_all=f"{OPPOSITES}\n\n{EXAMPLES}",
    )


def unset_values() -> dict[str, Any]:
    """The value of each option that nobody sets, and of the prompt: what a program has that does not offer it."""
    values = {option.name: option.unset_value for option in configurable_options() if option.in_file}
    return {"prompt": (), **values}


def leave_out(group: Iterable[Option], *names: str) -> list[Option]:
    """A group without some of its options, each given by the name of its parameter."""
    options = {option.name: option for option in group}
    for name in names:
        del options[name]  # a name that is in no group is a mistake of the table that says it
    return list(options.values())


def with_defaults(group: Iterable[Option], **defaults: Any) -> list[Option]:
    """A group under other defaults, for a program whose runs are of another kind. The group itself stays as it is."""
    import copy  # no part of the run of `oastream`

    options = {option.name: copy.copy(option) for option in group}
    for name, default in defaults.items():
        options[name].default = default
    return list(options.values())
