"""Before anything is sent, first: how items are read, what is asked about each, and where their lines go.

In: `BatchOptions`, the environment, what stdin is. Out: a `Setup`, which does not change any more. Reads the files that
options name and the first line of the input; knows nothing of earlier runs (`backlog`), and connects to nothing. Raises
`Failure`: usage, input, config.

Each part needs those before it: the form of the input decides which records go with it; a body is made of the options,
the files that they name and a schema; the key is asked for last, since the command that prints it may ask the user.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from oastream.batch.input import BadLine, InputForm, read_items
from oastream.batch.options import BatchOptions
from oastream.batch.prepare import Preparer
from oastream.batch.reading import Reader
from oastream.batch.records import LAYOUTS, Layout
from oastream.batch.servers import Origin
from oastream.batch.source import Input, bad_line_failure, choose_form, prepare
from oastream.batch.template import Template
from oastream.events.answer import Limits
from oastream.exits import Failure, Outcome, failure_of
from oastream.files import is_same_file
from oastream.http.credentials import find_key
from oastream.http.request import build_request
from oastream.http.route import route_to
from oastream.input.body import ReadText, base_body, read_body_settings, text_or_file
from oastream.input.prompt import InputReader, count_stdin_uses
from oastream.input.schema import Schema, read_schema
from oastream.lenient_json import dumps, parse_json
from oastream.output.stderr import Stderr
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.batch.cloud_origin import CloudOrigin


class Setup(NamedTuple):
    """What is settled before the first item. `chunks` are the bytes of the input, from its first."""

    input: Input
    chunks: Iterable[bytes]
    form: InputForm
    layout: Layout
    schema: Schema | None
    preparer: Preparer
    origins: Sequence[Origin | CloudOrigin]


def read_setup(
    options: BatchOptions, environ: Mapping[str, str], stdin_is_terminal: bool, watch: Watch, stderr: Stderr
) -> Setup:
    """Everything that the command line says, read and checked. `stderr` learns which secrets to mask."""
    if options.request.misconfigured is not None:
        raise Failure(options.request.misconfigured)
    check_paths(options)
    _check_stdin(options)
    read_text = InputReader(watch, "utf-8", lambda: None).file
    input = Input(_input_path(options, stdin_is_terminal))
    form, chunks = choose_form(read_form(options, read_text), input.chunks())
    layout = _choose_layout(options, form)
    schema = None if options.request.schema is None else read_schema(options.request.schema, read_text)
    preparer = _make_preparer(options, schema, read_text)
    origins = _find_origins(options, environ, watch, stderr)
    return Setup(input, chunks, form, layout, schema, preparer, origins)


def describe_first_request(setup: Setup) -> bytes:
    """--dry-run: the request of the first item as a line, secrets masked."""
    for item in read_items(setup.chunks, setup.form):
        if isinstance(item, BadLine):
            raise bad_line_failure(item)
        prepared = prepare(setup.preparer, item)
        _, request = setup.origins[0].serialize(prepared)
        return dumps(request.describe(parse_json(prepared.body))) + b"\n"
    raise empty_failure(setup.input)


def empty_failure(input: Input) -> Failure:
    """An input without a single line is a mistake: what should have written it has failed."""
    return failure_of(Outcome.INPUT, f"{input.name} is empty")


def check_paths(options: BatchOptions) -> None:
    """No file of this run may be another one of it: it would be replaced, or read as what it is not."""
    paths = {"INPUT": options.input, "-o": options.output, "--errors": options.errors_path, "--report": options.report}
    if options.via is not None:
        paths["FILE.via"] = options.via_path
    named = [(name, path) for name, path in paths.items() if path not in (None, "-")]
    for (name, path), (other_name, other) in itertools.combinations(named, 2):
        if path is not None and other is not None and is_same_file(path, other):
            raise failure_of(Outcome.USAGE, "bad usage", f"{name} and {other_name} are the same file")


def _check_stdin(options: BatchOptions) -> None:
    uses = count_stdin_uses(options.request) + (options.template == "@-")
    if uses + (options.input in (None, "-")) > 1:
        raise failure_of(Outcome.USAGE, "bad usage", "stdin can be used only once", "name a file as INPUT")


def _input_path(options: BatchOptions, stdin_is_terminal: bool) -> str | None:
    """Where the input is; None for stdin."""
    if options.input not in (None, "-"):
        return options.input
    if options.input is None and stdin_is_terminal:
        raise failure_of(Outcome.USAGE, "bad usage", "no input", "name a file, or pipe lines in")
    return None


def read_form(options: BatchOptions, read_text: ReadText) -> InputForm:
    """How lines become items, as far as the options say it. Raises `Failure` with outcome usage for a bad template."""
    template = None
    if options.template is not None:
        text = text_or_file("--template", options.template, read_text)
        try:
            template = Template(text)
        except ValueError as error:
            raise failure_of(Outcome.USAGE, "bad --template", error) from error
    name = options.input_format or ""
    added = (options.answer_key, "oastream") if options.format == "row" else ()
    return InputForm(name, options.id_key, options.prompt_key, template, options.ends_in_nul, added)


def _choose_layout(options: BatchOptions, form: InputForm) -> Layout:
    if options.id_key is not None and form.name == "batch":
        why = "--id-key has no effect: the input has the form batch, where custom_id is the id"
        raise failure_of(Outcome.USAGE, "bad usage", why)
    if options.format == "row" and form.name in ("batch", "body"):
        why = f"--format row needs rows, and the input has the form {form.name}"
        raise failure_of(Outcome.USAGE, "bad usage", why)
    return LAYOUTS[options.format](form, options.answer_key)


def _make_preparer(options: BatchOptions, schema: Schema | None, read_text: ReadText) -> Preparer:
    request = options.request
    limits = Limits(request.first_event_timeout, request.idle_timeout)
    base = base_body(request, read_text)
    settings = read_body_settings(request, read_text, schema)
    needs_text = None if options.format == "batch" else options.format
    reader = Reader(limits, request.max_event_bytes)
    return Preparer(settings, base, request.api, reader, needs_text, never_streams=options.via is not None)


def _find_origins(
    options: BatchOptions, environ: Mapping[str, str], watch: Watch, stderr: Stderr
) -> Sequence[Origin | CloudOrigin]:
    """What each server is asked with, but for the body. Raises `Failure` with outcome config for a missing key."""
    request_options = options.request
    if request_options.provider is not None:
        from oastream.batch.cloud_origin import CloudOrigin  # with it comes the SDK

        return [CloudOrigin(request_options, environ, url, watch, stderr.secrets) for url in options.base_urls]
    key = find_key(request_options.api_key_file, request_options.api_key_cmd, environ, watch, math.inf)
    origins = []
    for base_url in options.base_urls or (request_options.base_url,):
        request = build_request(request_options, environ, base_url, b"", key)
        stderr.secrets.texts = (*stderr.secrets.texts, *request.secrets)
        origins.append(Origin(base_url, request, route_to(request.url, environ)))
    return origins
