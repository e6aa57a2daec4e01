"""argv → `BatchOptions`. The options of requests, servers and time are those of `oastream`, declared there, once.

In: the words of the command line and the environment. Out: `BatchOptions`, or the text of --help and --version.
Never prints or exits by itself.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import Any

import click

from oastream.batch.engines import NAMES as ENGINES
from oastream.batch.input import INPUT_FORMATS, TEXT_FIELD
from oastream.batch.options import BatchOptions
from oastream.batch.records import LAYOUTS
from oastream.batch.shard import PLACEHOLDER, Shard, read_shard
from oastream.cli.clashes import in_cli_form
from oastream.cli.help import GroupedCommand, describe_usage_error, show_all_help
from oastream.cli.option import DEFAULT, OPENAI_BASE_URL, Configured, Option, config_error_of, origin_of
from oastream.cli.options_table import CONFIGURATION, CONFIGURED, HELP, OPENAI_URL, OPTIONS, leave_out, unset_values
from oastream.cli.parse import expand_bare_options, settle_key_source
from oastream.cli.types import BaseUrl, FiniteNumber, Outcomes, Seconds, WholeNumber
from oastream.exits import Outcome, failure_of
from oastream.options import Options

PROGRAM = "oastream-batch"
RETRIES = 5
_MOST_DIGITS = 18
_SHARED = (
    *("model", "system", "max_output_tokens", "temperature", "top_p", "reasoning_effort", "tools", "tool_choice"),
    *("schema", "set", "body", "header", "api", "api_key_file", "provider", "insecure_http", "ok", "keep_partial"),
    *("connect_timeout", "first_event_timeout", "idle_timeout", "max_time", "retry_delay", "max_event_bytes"),
    *("dry_run", "stats", "verbose", "quiet"),
)
"""The options that mean for each item what they mean for the single run."""
_HELP_OF_BATCH = {
    "keep_partial": "Add what arrived of an answer that broke off to its error, as partial.",
    "dry_run": "Print the request of the first item as JSON, secrets redacted, and send nothing.",
}
"""Help of those that do it in another place."""

USAGE = """Send each item of INPUT to a language model and write one record for each.

The answers file is also the journal: run the same command again to continue where it stopped."""

END = """\
--no-FLAG turns a flag off, as in --no-insecure-http, wherever it was set.

Examples:
  oastream-batch requests.jsonl -o answers.jsonl
  oastream-batch -l prompts.txt -m gpt-5-mini --format text -o answers.jsonl
  oastream-batch data.csv --input-format csv --template 'Sum up: {text}' --format row -o rows.jsonl
  jq -c '{custom_id:.id,body:{model:"gpt-5-mini",input:.text}}' in.jsonl | oastream-batch - > answers.jsonl

Exit status: 0 every item has a plain answer; 50 some do not; 51 none does, or the run
was aborted; 52 the answers file cannot be continued. All others are as in oastream."""


def _is_number(text: str) -> bool:
    """Whether these are digits of a number that a size or a count may be: `int` takes other scripts', and 4,300."""
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


class Size(click.ParamType[int]):
    """Bytes, with K, M or G for powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits, factor = str(value).upper().removesuffix("IB").removesuffix("B"), 1
        if digits[-1:] in ("K", "M", "G"):
            factor, digits = 1024 ** ("KMG".index(digits[-1]) + 1), digits[:-1]
        if not _is_number(digits):
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
    """I/N, counted from 0, or the engine that says it."""

    name = "i/n|slurm|k8s/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        if isinstance(value, Shard):
            return value
        try:
            return read_shard(str(value), os.environ)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _option(*names: str, help: str, **more: Any) -> Option:
    return Option([*names], help=help, allow_from_autoenv=False, **more)


def _switch(*names: str, help: str) -> Option:
    return _option(*names, help=help, is_flag=True, default=False)


OWN: dict[str, list[Option]] = {
    "Input": [
        _option(
            "--input-format", type=click.Choice(INPUT_FORMATS), help="Format of the input; batch or body by default."
        ),
        _switch("-l", "--lines", help="Each line is a prompt; same as --input-format text."),
        _switch("-0", "--null", help="With -l: prompts end with NUL and may span lines."),
        _option("--id-key", metavar="NAME", help="Field that holds the id of an item."),
        _option("--prompt-key", metavar="NAME", default=TEXT_FIELD, help="Field that holds the prompt of an item."),
        _option("--template", metavar="TEXT|@FILE", help="Prompt to build from an item; {name} is one of its fields."),
        _switch("--skip-bad", help="Write an error record for each invalid line and continue."),
    ],
    "Output": [
        _option("-o", "--output", metavar="FILE", help="Write answers to FILE, which is also the journal."),
        _option("--errors", metavar="FILE", help="Write the errors to FILE; by default beside the answers."),
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
            help="With --format row: field to hold the answer.",
        ),
        _option(
            "--order",
            type=click.Choice(["completion", "input"]),
            default="completion",
            show_default=True,
            help="Order of the records.",
        ),
        _option(
            "--order-buffer", type=Size(), default=256 * 1024**2, help="Maximum size of what --order input holds back."
        ),
        _option("--output-dir", metavar="DIR", help="Also write the text of each answer to DIR/ID.txt."),
        _option("--report", metavar="FILE", help="Write a page with charts of the run to FILE, as HTML."),
    ],
    "Journal": [
        _option(
            "--sync",
            type=AutoOr("off", Seconds(0.0)),
            metavar="SECONDS|off",
            default="1",
            show_default=True,
            help="Seconds between syncs of the journal; 0 syncs after each line.",
        ),
        _switch("--repair", help="Move invalid lines of the journal to the errors."),
        _switch("--retry-failed", help="Also retry what failed permanently."),
        _option("--redo", type=Redo(), help="Redo items with these outcomes; changed: items whose request changed."),
    ],
    "Merging": [
        _option("--merge", metavar="FILE", help="Merge the answers of shards, named in place of INPUT."),
        _option(
            "--input",
            "merge_input",
            metavar="FILE",
            help="With --merge: the input, for its order and what it lacks.",
        ),
    ],
    "Speed": [
        _option(
            "-j",
            "--concurrency",
            type=AutoOr("auto", WholeNumber(min=1)),
            metavar="N|auto",
            default="auto",
            show_default=True,
            help="Maximum number of requests in flight, per server.",
        ),
        _option("--rpm", type=FiniteNumber(1e-3), help="Maximum requests per minute, per server."),
        _option("--tpm", type=FiniteNumber(1e-3), help="Maximum tokens per minute, per server."),
        _option("--max-tokens-total", type=FiniteNumber(1.0), help="Maximum tokens for the whole batch."),
        _option(
            "--retry",
            "batch_retry",
            metavar="N",
            type=WholeNumber(min=0),
            default=RETRIES,
            show_default=True,
            help="Maximum number of retries per item.",
        ),
        _option(
            "--outage-max",
            type=Seconds(0.0),
            default=600.0,
            show_default=True,
            help="Give up on a server that has been down for this long.",
        ),
        _option(
            "--base-url",
            "base_urls",
            metavar="URL",
            type=BaseUrl(),
            multiple=True,
            help="Base URL of a server; several servers share the work.",
        ),
        _option(
            "--shard",
            type=ShardType(),
            metavar="I/N|slurm|k8s/N",
            help="Process only part I of N of the input, or the part that the engine says.",
        ),
        _option(
            "--shards", metavar="N", type=WholeNumber(min=1), help="Run N shards with --on, and merge them into -o."
        ),
        _option("--on", type=click.Choice(ENGINES), help="Engine that runs the shards of --shards."),
        _option("--on-args", metavar="ARGS", help="Arguments for the engine, quoted as in a shell."),
        _option("--drain", type=Seconds(0.0), help="Seconds to let requests in flight finish after a signal."),
        _option(
            "--via",
            type=click.Choice(["batch-api"]),
            help="Send through the Batch API of the server: cheaper, within 24 hours.",
        ),
        _option(
            "--poll",
            type=FiniteNumber(1e-3),
            metavar="SECONDS",
            help="With --via: seconds between looks at the batches; by default 2, growing to 60.",
        ),
        _switch("--cancel", help="With --via: cancel the running batches, and fetch what they have finished."),
        _option("--progress", type=Seconds(0.0), metavar="SECONDS", help="Log progress to stderr at this interval."),
    ],
}


_CONFIGURED_URL = Configured(
    ["base_url", "--configured-base-url"], type=BaseUrl(), default=OPENAI_URL, help="Base URL without --base-url."
)
"""The variable and the file name one server. To Click it is not the option, which may be repeated; no word sets it."""

_HELP = [
    Option(
        ["-h", "--help"],
        is_flag=True,
        action=True,
        is_eager=True,
        expose_value=False,
        callback=show_all_help,
        allow_from_autoenv=False,
        help="Show this help.",
    ),
    *leave_out(HELP, "verbose", "quiet", "help", "help_all"),
]


def option_groups() -> dict[str, list[Option]]:
    """All options under their headings."""
    configuration = leave_out(CONFIGURATION, "show_config")
    return {**OWN, "Requests": _shared_options(), "Configuration": configuration, "Help": _HELP}


def _shared_options() -> list[Option]:
    declared = {option.name: option for group in OPTIONS.values() for option in group}
    return [_with_help_of_batch(declared[name]) for name in _SHARED]


def _with_help_of_batch(option: Option) -> Option:
    if option.name not in _HELP_OF_BATCH:
        return option
    changed = copy.copy(option)
    changed.help = _HELP_OF_BATCH[option.name]
    return changed


def command() -> GroupedCommand:
    """The Click command: it parses, and does nothing else."""
    words = click.Argument(["input"], nargs=-1, metavar="[INPUT]")
    hidden = (*CONFIGURED, _CONFIGURED_URL)
    return GroupedCommand(PROGRAM, USAGE, words, option_groups(), hidden, end_of_all=END)


def parse(words: list[str]) -> BatchOptions:
    """The words of the command line as `BatchOptions`.

    Raises `PrintAndExit` for --help and --version, and `Failure` with outcome usage for words that are wrong.
    """
    try:
        words = expand_bare_options(words)
        with command().make_context(PROGRAM, words, obj=tuple(words), auto_envvar_prefix="OASTREAM") as context:
            return _options(context)
    except click.UsageError as error:
        detail = _describe_usage_error(error)
        raise failure_of(Outcome.USAGE, "bad usage", detail, f"try '{PROGRAM} --help'") from error


def _describe_usage_error(error: click.UsageError) -> str:
    """What is wrong; in words of its own where a user of the single run does here what works there."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _names_of_single_run():
        return f"{error.option_name} has no meaning for a batch"
    return describe_usage_error(error)


def _names_of_single_run() -> set[str]:
    return {name for group in OPTIONS.values() for option in group for name in (*option.opts, *option.secondary_opts)}


def _options(context: click.Context) -> BatchOptions:
    params = dict(context.params)
    params |= _files_of(context, params)
    redo, redo_changed = params.pop("redo") or (frozenset(), False)
    input_format, ends_in_nul = _take_input_format(params)
    if params["output"] == "-":  # as in curl, and in oastream
        params["output"] = None
    if params["errors"] == "-" and params["output"] is None:  # among the answers, as without it
        params["errors"] = None
    _reject_idle(context, {**params, "input_format": input_format})
    if params["report"] == "-":
        raise click.UsageError("--report needs the name of a file: the page is replaced again and again")
    for name in ("profile", "no_config"):
        params.pop(name, None)
    problem = config_error_of(context)
    configured_url = params.pop("base_url")
    if params["provider"] is not None and origin_of(context, "base_url") in (DEFAULT, OPENAI_BASE_URL):
        configured_url = ""  # the provider's own: neither of the two was meant for it
    base_urls = params.pop("base_urls") or (configured_url,)
    settle_key_source(context, params)
    shared = {name: params.pop(name) for name in (*_SHARED, "api_key_cmd")}
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
        **params,
    )


def _take_input_format(params: dict[str, Any]) -> tuple[str | None, bool]:
    """The name of the format, None where the first line tells it, and whether prompts end in NUL."""
    input_format: str | None = params.pop("input_format")
    lines, ends_in_nul = params.pop("lines"), params.pop("null")
    if not (lines or ends_in_nul):
        return input_format, ends_in_nul
    if input_format not in (None, "text"):
        raise click.UsageError(f"-l reads prompts, --input-format {input_format} something else")
    return "text", ends_in_nul


# An option → what it needs, in words; the parameter that this is, and the values without which it does nothing, none
# for any value. `None` is an input whose first line has to tell.
NEEDS: dict[str, tuple[str, str, tuple[str | None, ...]]] = {
    "prompt_key": ("--input-format json, csv or tsv", "input_format", ("json", "csv", "tsv")),
    "template": ("--input-format json, csv, tsv or text", "input_format", ("json", "csv", "tsv", "text")),
    "id_key": ("--input-format body, json, csv or tsv", "input_format", (None, "body", "json", "csv", "tsv")),
    "answer_key": ("--format row", "batch_format", ("row",)),
    "order_buffer": ("--order input", "order", ("input",)),
    "sync": ("-o: without it there is no journal", "output", ()),
    "repair": ("-o: without it there is no journal", "output", ()),
    "redo": ("-o: without it there are no answers to redo", "output", ()),
    "retry_failed": ("-o: without it no failures are known", "output", ()),
    "via": ("-o: without it nobody could fetch the answers later", "output", ()),
    "poll": ("--via batch-api", "via", ()),
    "cancel": ("--via batch-api", "via", ()),
}

# What the Batch API leaves no room for: it has its own pace, its own times, and whole answers only.
IDLE_WITH_VIA = (
    *("concurrency", "rpm", "tpm", "max_tokens_total", "drain", "sync", "report", "keep_partial", "order_buffer"),
    *("shards", "first_event_timeout", "idle_timeout", "retry_delay"),
)


def _reject_idle(context: click.Context, params: dict[str, Any]) -> None:
    """Raise for an option that would have no effect: whoever typed it expects one."""
    if params["input"] == "":
        raise click.UsageError("the name of INPUT is empty")
    for name, (needed, other, wanted) in NEEDS.items():
        is_typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        is_idle = params[other] not in wanted
        if not wanted:
            is_idle = params[other] is None
        if is_typed and is_idle:
            raise click.UsageError(f"{in_cli_form(name)} needs {needed}")
    if params["via"] is not None:
        _reject_idle_with_via(context, params)
    if params["batch_format"] == "row" and params["answer_key"] == "oastream":
        raise click.UsageError("--answer-key oastream is the field with what is known of the request; choose another")


BESIDE_MERGE = frozenset(
    (
        *("merge", "merge_input", "input", "errors", "batch_format", "answer_key", "ok", "verbose", "quiet"),
        *("input_format", "lines", "null", "id_key", "prompt_key", "template", "skip_bad", "profile", "no_config"),
    )
)
"""The options that a merge looks at."""


def _files_of(context: click.Context, params: dict[str, Any]) -> dict[str, Any]:
    """What the words and the options about files make up: what is read, and what is written.

    Raises `click.UsageError` for words that no run has a use for, and for options that this kind of run has none for.
    """
    words, out, merge_input = params["input"], params["merge"], params.pop("merge_input")
    names_format = _is_typed(context, "batch_format")
    if out is None:
        files = {**_files_of_run(words, merge_input, params), "merge": False, "parts": (), "names_format": names_format}
        return {**files, **_launch_of(context, params)}
    if out == "-":
        raise click.UsageError("--merge needs the name of a file: it is replaced in one step")
    if not words:
        raise click.UsageError("--merge needs the parts: the answers of each shard, after the options")
    for name in params:
        if name not in BESIDE_MERGE and _is_typed(context, name):
            raise click.UsageError(f"{_typed_name(context, name)} has no meaning with --merge")
    merged = {"merge": True, "output": out, "input": merge_input, "parts": tuple(words), "names_format": names_format}
    return {**merged, "on_args": (), "words": ()}


def _files_of_run(words: Sequence[str], merge_input: str | None, params: dict[str, Any]) -> dict[str, Any]:
    if len(words) > 1:
        extra = " ".join(words[1:])
        raise click.UsageError(f"unexpected words: {extra}; a batch has one INPUT, and its prompts are in there")
    if merge_input is not None:
        raise click.UsageError("--input is for --merge; the input of a run is named without it")
    return {"input": words[0] if words else None, **_with_shard(params)}


def _with_shard(params: dict[str, Any]) -> dict[str, Any]:
    """The files that are written, the shard's number put into their names."""
    shard, written = params["shard"], {}
    for name in ("output", "errors", "output_dir", "report"):
        path = params[name]
        if path is None or PLACEHOLDER not in path:
            continue
        if shard is None and params["shards"] is not None and name in ("output_dir", "report"):
            continue  # each shard replaces its own
        if shard is None:
            raise click.UsageError(f"{path} has {PLACEHOLDER} in its name, and there is no --shard")
        written[name] = path.replace(PLACEHOLDER, str(shard.number))
    return written


NOT_IN_LAUNCH = {
    "shard": "--shards hands out each part of the input",
    "repair": "repair FILE by a run without --shards",
    "stats": "each shard would have figures of its own",
    "order_buffer": "the answers of shards are put in order on disk",
}
_OF_LAUNCH = frozenset(("shards", "on", "on_args", "output", "errors", "redo", "retry_failed", "max_tokens_total"))
"""What a launch decides for its shards: some of these are done before it, or are shared among them."""


def _launch_of(context: click.Context, params: dict[str, Any]) -> dict[str, Any]:
    """What --shards needs, checked."""
    total, words = params["shards"], params["input"]
    if total is None:
        if params["on"] is not None or params["on_args"] is not None:
            raise click.UsageError("--on and --on-args need --shards N")
        return {"on_args": (), "words": ()}
    if params["on"] is None:
        raise click.UsageError(f"--shards needs --on: one of {', '.join(ENGINES)}")
    for name, why in NOT_IN_LAUNCH.items():
        if _is_typed(context, name):
            raise click.UsageError(f"{_typed_name(context, name)} has no meaning with --shards: {why}")
    if params["output"] in (None, "-"):
        raise click.UsageError("--shards needs -o: the answers of the shards are merged into it")
    if not words or words[0] == "-" or (os.path.exists(words[0]) and not os.path.isfile(words[0])):
        raise click.UsageError("--shards needs INPUT to be a file: each shard reads it")
    if params["report"] is not None and PLACEHOLDER not in params["report"]:
        raise click.UsageError(f"--report needs {PLACEHOLDER} in its name with --shards: each shard has its own")
    import shlex  # which no other run needs

    try:
        on_args = tuple(shlex.split(params["on_args"] or ""))
    except ValueError as error:
        raise click.UsageError(f"--on-args: {str(error).lower()}") from error
    return {"on_args": on_args, "words": (*_words_of_shard(context, total, params), "--", words[0])}


def _words_of_shard(context: click.Context, total: int, params: dict[str, Any]) -> list[str]:
    """The options as they were typed, in their long form, without those of the launch."""
    typed, _, _ = context.command.make_parser(context).parse_args(list(context.obj))
    words = []
    for option in context.command.params:
        if isinstance(option, Option) and option.name in typed and option.name not in _OF_LAUNCH:
            words += _as_words(option, typed[option.name])
    if params["max_tokens_total"] is not None:
        words.append(f"--max-tokens-total={max(1.0, params['max_tokens_total'] / total)}")
    if params["redo"] is not None and params["redo"][1]:
        words.append("--redo=changed")
    return words


def _as_words(option: Option, value: Any) -> list[str]:
    """An option with what Click's parser found for it."""
    name = option.opts[-1]
    if option.is_flag or option.count:
        return [name] * int(value) if value else [f"{option.opposite}"]
    values = value if isinstance(value, list) else [value]
    return [f"{name}={each}" for each in values]


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _typed_name(context: click.Context, name: str) -> str:
    return next(option.opts[-1] for option in context.command.params if option.name == name)


def _reject_idle_with_via(context: click.Context, params: dict[str, Any]) -> None:
    for name in IDLE_WITH_VIA:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{in_cli_form(name)} has no effect with --via {params['via']}")
    if len(params["base_urls"] or ()) > 1:
        raise click.UsageError(f"--via {params['via']} takes one --base-url")
    if params["provider"] is not None:
        raise click.UsageError(f"--via {params['via']} is for OpenAI's API, not for --provider {params['provider']}")


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_NEUTRAL: dict[str, Any] = {
    **unset_values(),
    "no_stdin": True,
    "base_url": "",
    "sanitize": "never",
    "retry": RETRIES,
    "retry_max_time": math.inf,
}
"""What the options of the single run are that a batch does not have."""
