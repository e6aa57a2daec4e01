"""argv → `BatchOptions`. The options of requests, servers and time are those of `oastream`, declared there, once.

In: the words of the command line and the environment. Out: `BatchOptions`, or the text of --help and --version.
Never prints or exits by itself.
"""

from __future__ import annotations

import math
from typing import Any

import click

from oastream import __version__
from oastream.batch.input import INPUT_FORMATS, TEXT_FIELD
from oastream.batch.options import BatchOptions
from oastream.batch.plan import Shard
from oastream.batch.records import LAYOUTS
from oastream.cli.parse import (
    GENERATED,
    OPTIONAL_VALUE,
    OPTIONS,
    Finite,
    Option,
    Outcomes,
    Seconds,
    Shown,
    Whole,
)
from oastream.exits import Outcome, failure_of
from oastream.options import Options

PROGRAM = "oastream-batch"
RETRIES = 5
_SHARED = (
    *("model", "system", "max_output_tokens", "temperature", "top_p", "reasoning_effort", "tools", "tool_choice"),
    *("schema", "set", "body", "header", "api", "api_key_file", "insecure_http", "ok", "keep_partial"),
    *("connect_timeout", "first_event_timeout", "idle_timeout", "max_time", "retry_delay", "max_event_bytes"),
    *("dry_run", "verbose", "quiet"),
)
"""The options that mean for each item what they mean for the single run."""

USAGE = """Send each item of INPUT to a language model and write one record for each.

The answers file is the journal: the same command run again goes on with what has no answer."""

END = """\
Examples:
  oastream-batch requests.jsonl -o answers.jsonl
  oastream-batch -l prompts.txt -m gpt-5-mini --format text -o answers.jsonl
  oastream-batch data.csv --input-format csv --template 'Sum up: {text}' --format row -o rows.jsonl
  jq -c '{custom_id:.id,body:{model:"gpt-5-mini",input:.text}}' in.jsonl | oastream-batch - > answers.jsonl

Exit status: 0 every item has a plain answer; 50 some have not; 51 none has, or the
run was broken off; 52 the answers file cannot be gone on with. Others as in oastream."""


class Size(click.ParamType[int]):
    """Bytes, with K, M or G for powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits, factor = str(value).upper().removesuffix("IB").removesuffix("B"), 1
        if digits[-1:] in ("K", "M", "G"):
            factor, digits = 1024 ** ("KMG".index(digits[-1]) + 1), digits[:-1]
        if not digits.isascii() or not digits.isdigit():
            self.fail(f"{value!r} is not a size such as 256M", param, ctx)
        return int(digits) * factor


class AutoOr(click.ParamType[Any]):
    """A number, or one word that stands for none."""

    def __init__(self, word: str, number: click.ParamType[Any]) -> None:
        self.name = f"{number.name}|{word}"
        self._word = word
        self._number = number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value is None or value == self._word else self._number.convert(value, param, ctx)


class Redo(Outcomes):
    """Outcomes, and `changed`."""

    name = "name[,name…]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",") if word.strip()]
        others = ",".join(word for word in words if word != "changed")
        return super().convert(others, param, ctx), "changed" in words


class ShardType(click.ParamType[Shard]):
    """I/N, counted from 0."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        if isinstance(value, Shard):
            return value
        number, _, total = str(value).partition("/")
        if not (number.isdigit() and total.isdigit() and int(number) < int(total)):
            self.fail(f"{value!r} is not of the form I/N, with I from 0 to N-1", param, ctx)
        return Shard(int(number), int(total))


def _option(*names: str, help: str, **more: Any) -> Option:
    return Option([*names], help=help, allow_from_autoenv=False, **more)


def _switch(*names: str, help: str) -> Option:
    return _option(*names, help=help, is_flag=True, default=False)


OWN: dict[str, list[Option]] = {
    "Input": [
        _option(
            "--input-format", type=click.Choice(INPUT_FORMATS), help="Form of the lines; batch or body by default."
        ),
        _switch("-l", "--lines", help="Each line is a prompt; the same as --input-format text."),
        _switch("-0", "--null", help="With -l: prompts end in NUL and may have many lines."),
        _option("--id-key", metavar="NAME", help="Field of a line that is its id."),
        _option("--prompt-key", metavar="NAME", default=TEXT_FIELD, help="Field of a row that is its prompt."),
        _option("--template", metavar="TEXT|@FILE", help="Prompt of a row, with {name} for its fields."),
        _switch("--skip-bad", help="Write an error record for a line that cannot be read, and go on."),
    ],
    "Output": [
        _option("-o", "--output", metavar="FILE", help="Write answers to FILE, which is also the journal."),
        _option("--errors", metavar="FILE", help="Write what has no answer to FILE; by default FILE.errors."),
        _option(
            "--format",
            "batch_format",
            type=click.Choice([*LAYOUTS]),
            default="batch",
            show_default=True,
            help="Format of a record.",
        ),
        _option(
            "--answer-key",
            metavar="NAME",
            default="answer",
            show_default=True,
            help="With --format row: field that gets the answer.",
        ),
        _option(
            "--order",
            type=click.Choice(["completion", "input"]),
            default="completion",
            show_default=True,
            help="Order of the records.",
        ),
        _option("--order-buffer", type=Size(), default=256 * 1024**2, help="Most bytes held back for --order input."),
        _option("--output-dir", metavar="DIR", help="Write the text of each answer to DIR/ID.txt as well."),
    ],
    "Journal": [
        _option(
            "--sync",
            type=AutoOr("off", Seconds(0.0)),
            metavar="SECONDS|off",
            default="1",
            show_default=True,
            help="Seconds between syncs of the journal; 0 syncs each line.",
        ),
        _switch("--repair", help="Move broken lines of the journal to the errors."),
        _switch("--retry-failed", help="Try again also what failed for good."),
        _option("--redo", type=Redo(), help="Ask again what has these outcomes; changed: whose request has changed."),
    ],
    "Speed": [
        _option(
            "-j",
            "--concurrency",
            type=AutoOr("auto", Whole(min=1)),
            metavar="N|auto",
            default="auto",
            show_default=True,
            help="Most requests in flight, for each server.",
        ),
        _option("--rpm", type=Finite(1e-3), help="Most requests a minute, for each server."),
        _option("--tpm", type=Finite(1e-3), help="Most tokens a minute, for each server."),
        _option("--max-tokens-total", type=Finite(1.0), help="Most tokens of all answers together."),
        _option(
            "--retry",
            "batch_retry",
            metavar="N",
            type=Whole(min=0),
            default=RETRIES,
            show_default=True,
            help="Further tries of an item that fails by itself.",
        ),
        _option(
            "--outage-max",
            type=Seconds(0.0),
            default=600.0,
            show_default=True,
            help="Give up a server that answers nothing for this long.",
        ),
        _option(
            "--base-url",
            "base_urls",
            metavar="URL",
            multiple=True,
            help="Base URL of a server; several share the work.",
        ),
        _option("--shard", type=ShardType(), help="Take part I of N of the input, by the hash of the ids."),
        _option("--drain", type=Seconds(0.0), help="Seconds that requests in flight may take after a signal."),
        _option("--progress", type=Seconds(0.0), metavar="SECONDS", help="Print a line on stderr every so often."),
        _option(
            "--stats",
            type=click.Choice(["text", "json"]),
            metavar="",
            help="Print a summary line to stderr at the end; --stats=json as JSON.",
        ),
    ],
}


def _configuration() -> list[Option]:
    return [option for option in OPTIONS["Configuration"] if option.name in ("profile", "no_config")]


def option_groups() -> dict[str, list[Option]]:
    """All options under their headings."""
    return {**OWN, "Requests": _shared(), "Configuration": _configuration(), "Help": _HELP}


def _show_help(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if not asked:
        return
    formatter = context.make_formatter()
    context.command.format_usage(context, formatter)
    context.command.format_help_text(context, formatter)
    for heading, options in option_groups().items():
        with formatter.section(heading):
            records = [option.get_help_record(context) for option in options]
            formatter.write_dl([record for record in records if record is not None], col_max=28)
    raise Shown(f"{formatter.getvalue()}\n{END}")


def _show_version(_context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        raise Shown(f"{PROGRAM} {__version__}")


def _shared() -> list[Option]:
    declared = {option.name: option for group in OPTIONS.values() for option in group}
    return [declared[name] for name in _SHARED]


def _generate(_context: click.Context, _option: click.Parameter, kind: str | None) -> None:
    if kind is not None:
        from oastream.cli.companions import companion

        raise Shown(companion(PROGRAM, kind).removesuffix("\n"))


_HELP = [
    Option(
        ["--generate"],
        type=click.Choice(GENERATED),
        is_eager=True,
        expose_value=False,
        callback=_generate,
        allow_from_autoenv=False,
        help="Print the man page, or the completions of a shell.",
    ),
    Option(
        ["-h", "--help"],
        is_flag=True,
        action=True,
        is_eager=True,
        expose_value=False,
        callback=_show_help,
        allow_from_autoenv=False,
        help="Show this text.",
    ),
    Option(
        ["--version"],
        is_flag=True,
        action=True,
        is_eager=True,
        expose_value=False,
        callback=_show_version,
        allow_from_autoenv=False,
        help="Show the version.",
    ),
]


def command() -> click.Command:
    """The Click command: it parses, and does nothing else."""
    own = [option for group in OWN.values() for option in group]
    return click.Command(
        PROGRAM,
        params=[click.Argument(["input"], required=False), *_configuration(), *_shared(), *own, *_HELP],
        help=USAGE,
        add_help_option=False,
    )


def parse(words: list[str]) -> BatchOptions:
    """The words of the command line as `BatchOptions`.

    Raises `Shown` for --help and --version, and `Failure` with outcome usage for words that are wrong.
    """
    try:
        words = _with_optional_values(words)
        with command().make_context(PROGRAM, words, obj=tuple(words), auto_envvar_prefix="OASTREAM") as context:
            return _options(context)
    except click.UsageError as error:
        words_of_click = _message_of(error)
        detail = (words_of_click[:1].lower() + words_of_click[1:]).rstrip(".")
        raise failure_of(Outcome.USAGE, "bad usage", detail, f"try '{PROGRAM} --help'") from error


def _with_optional_values(words: list[str]) -> list[str]:
    """`--stats` alone means `--stats=text`: Click would take the next word for its value."""
    end = words.index("--") if "--" in words else len(words)
    meant = {name: f"{name}={value}" for name, value in OPTIONAL_VALUE.items()}
    return [meant.get(word, word) for word in words[:end]] + words[end:]


def _message_of(error: click.UsageError) -> str:
    """What Click says, in one line; in our words where a user of the single run does here what works there."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _names_of_single_run():
        return f"{error.option_name} has no meaning for a batch"
    message = " ".join(error.format_message().split())
    if message.startswith("Got unexpected extra argument"):
        return f"{message}: a batch has one INPUT, and its prompts are in there"
    return message


def _names_of_single_run() -> set[str]:
    return {name for group in OPTIONS.values() for option in group for name in (*option.opts, *option.secondary_opts)}


def _options(context: click.Context) -> BatchOptions:
    params = dict(context.params)
    redo, redo_changed = params.pop("redo") or (frozenset(), False)
    input_format = params.pop("input_format")
    lines, ends_in_nul = params.pop("lines"), params.pop("null")
    if lines or ends_in_nul:
        if input_format not in (None, "text"):
            raise click.UsageError(f"-l reads prompts, --input-format {input_format} something else")
        input_format = "text"
    if params["template"] is not None and input_format not in ("json", "csv", "tsv", "text"):
        raise click.UsageError("--template needs --input-format json, csv, tsv or text")
    for name in ("profile", "no_config"):
        params.pop(name, None)
    problem = context.meta.get("oastream.misconfigured")
    base_urls = params.pop("base_urls") or _configured_base_urls(context)
    shared = {name: params.pop(name) for name in _SHARED}
    retry, batch_format = params.pop("batch_retry"), params.pop("batch_format")
    request = Options(**{**_NEUTRAL, **{name: _as_tuple(value) for name, value in shared.items()}})
    request = request._replace(
        base_url=base_urls[0], retry=retry, misconfigured=None if problem is None else problem.verdict
    )
    return BatchOptions(
        request=request,
        input_format=input_format,
        ends_in_nul=ends_in_nul,
        format=batch_format,
        redo=redo,
        redo_changed=redo_changed,
        base_urls=tuple(base_urls),
        errors=params.pop("errors"),
        **params,
    )


def _configured_base_urls(context: click.Context) -> tuple[str, ...]:
    """The base URL of a variable or of the configuration file, else OpenAI's."""
    import os

    from oastream.cli.parse import OPENAI_URL

    configured = (context.default_map or {}).get("base_url")
    return (os.environ.get("OASTREAM_BASE_URL") or configured or OPENAI_URL,)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_NEUTRAL: dict[str, Any] = {
    "prompt": (), "no_stdin": True, "file": (), "input_encoding": "utf-8", "attach": (), "attach_type": (),
    "previous_response_id": None, "history": None, "no_wait": False, "tool_output": (), "background": False,
    "detach": False, "resume": None, "base_url": "", "api_key_cmd": None, "provider": None, "list_models": False,
    "format": "text", "output": None, "hold": False, "eager": False, "reasoning": False, "stats": None,
    "sanitize": "never", "retry": RETRIES, "retry_max_time": math.inf, "record": None, "replay": None,
    "realtime": False,
}  # fmt: skip
"""What the options of the single run are that a batch does not have."""
