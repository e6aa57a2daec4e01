"""`Options` and the prompt → the JSON body, for either API.

In: options, the conversation's items, the texts of files that options name. Out: a dict that is the request's body.
Files are read once (`read_body_settings`); what follows (`build_body`) is a pure function, for as many bodies as share
the options, whichever API each is for. Knows nothing of HTTP, nor where the items come from.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from oastream.apis.api import Api
from oastream.apis.body_fields import Body, describe_kind, list_in, without_none
from oastream.exits import Failure, Outcome, failure_of
from oastream.input.prompt import decode_argument
from oastream.lenient_json import dumps_exactly
from oastream.options import Options

if TYPE_CHECKING:
    from typing import Protocol

    class AnswerForm(Protocol):
        """What --schema asks of the answer, as far as a request says it."""

        def request_field(self, api: Api, base: Body) -> Body: ...


ReadText = Callable[[str], str]
"""A path → the text of that file."""

Item = dict[str, Any]


def base_body(options: Options, read: ReadText) -> Body:
    """What --body gives: the object that everything else is laid over."""
    if options.body is None:
        return {}
    body = read_json("--body", options.body, read)
    if not isinstance(body, dict):
        raise failure_of(Outcome.INPUT, "--body is not a JSON object", f"it is {describe_kind(body)}")
    return body


def brings_input(body: Body) -> bool:
    """Whether the body holds a message of its own, so that no prompt is needed."""
    return bool(body.get("input") or body.get("messages") or body.get("prompt"))


def user_message(prompt: str | None, parts: Sequence[Item]) -> list[Item]:
    """The user's message as an input item: text, or text and attachments. Without either there is none."""
    if not parts and prompt is None:
        return []
    content: str | list[Item] | None = prompt
    if parts:
        content = [*_text_parts(prompt), *parts]
    return [{"type": "message", "role": "user", "content": content}]


def _text_parts(prompt: str | None) -> list[Item]:
    if prompt is None:
        return []
    return [{"type": "input_text", "text": prompt}]


class BodySettings:
    """What the options lay over a body, with the files that they name read, in no API's shape yet.

    `tools` is the JSON that --tools gives, None where it is not given; `assignments` are the paths and values of --set.
    """

    # A plain class: what a NamedTuple generates for itself takes 0.8 million instructions of each start.
    def __init__(
        self,
        options: Options,
        system: str | None,
        tools: Any,
        assignments: tuple[tuple[str, Any], ...],
        form: AnswerForm | None,
    ) -> None:
        self.options = options
        self.system = system
        self.tools = tools
        self.assignments = assignments
        self.form = form
        self.common = without_none(model=options.model, temperature=options.temperature, top_p=options.top_p)
        """The fields that are alike in all APIs."""


def read_body_settings(options: Options, read: ReadText, form: AnswerForm | None = None) -> BodySettings:
    """The settings of every body that these options are for. Raises `Failure` with outcome input."""
    system = tools = None
    if options.system is not None:
        system = text_or_file("--system", options.system, read)
    if options.tools is not None:
        tools = read_json("--tools", options.tools, read)
    assignments = tuple((path, _json_or_text(decode_argument(value, "--set"))) for path, value in options.set)
    return BodySettings(options, system, tools, assignments, form)


def build_body(api: Api, settings: BodySettings, items: Sequence[Item], base: Body) -> Body:
    """The body of the request: `base`, the conversation and the options over it, --set last. Changes none of them."""
    options = settings.options
    body = base | api.fields(options, items, base, settings.system)
    if settings.form is not None:
        body |= settings.form.request_field(api, base)
    body.setdefault("model", api.default_model)
    body |= settings.common
    if options.tools is not None:
        from oastream.apis.tools import tools_for  # few requests have any

        body["tools"] = tools_for(api, settings.tools)
    if options.tool_choice is not None:
        from oastream.apis.tools import read_tool_choice

        body["tool_choice"] = read_tool_choice(api, options.tool_choice, list_in(body, "tools"))
    # A --body written for another client may say otherwise; only --set, which comes last, can have it so here.
    body["stream"] = True
    if options.background or options.detach:
        body["background"] = True
    for path, value in settings.assignments:
        _set(body, path, value)
    return body


def encode_body(body: Body) -> bytes:
    """The body as JSON. Text that is not Unicode, from a command line that is not UTF-8, is the user's error."""
    try:
        return dumps_exactly(body)
    except ValueError as error:
        raise failure_of(Outcome.INPUT, "the request cannot be written as JSON", error) from error


def read_json(option: str, value: str, read: ReadText) -> Any:
    """JSON given in place (it begins with a brace or bracket) or in a file, which may be written @FILE."""
    from oastream.apis.tools import parse_given_json  # few command lines hold any

    if value.lstrip().startswith(("{", "[")):
        return parse_given_json(decode_argument(value, option), option)
    text = _read_named(option, value.removeprefix("@"), read)
    return parse_given_json(text.removeprefix("\ufeff"), f"{option} {value}")


def _read_named(option: str, path: str, read: ReadText) -> str:
    """The text of a file that an option names where it could also take JSON."""
    try:
        return read(path)
    except Failure as failed:
        import os

        is_path = "/" in path or "." in path
        if failed.verdict.hint or is_path or os.path.lexists(path):
            raise
        hint = f"{option} takes a file, or JSON that begins with {{ or ["
        raise Failure(failed.verdict.with_hint(hint)) from failed


def text_or_file(option: str, value: str, read: ReadText) -> str:
    """TEXT as it is, @FILE's, or @@TEXT for a text that begins with @."""
    if value == "@":
        raise failure_of(Outcome.INPUT, f"{option} names no file after @", hint="@@ begins a text with @")
    if value.startswith("@") and not value.startswith("@@"):
        return read(value[1:])
    return decode_argument(value.removeprefix("@"), option)


def _json_or_text(text: str) -> Any:
    """A value of --set. One that is no JSON is a text: nobody wants to write `--set user='"ann"'`."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _set(body: Body, path: str, value: Any) -> None:
    """Put `value` at a dotted path; a number is a place in a list, one past its end appends."""
    container: Any = body
    steps = path.split(".")
    if "" in steps:
        raise failure_of(Outcome.USAGE, "bad usage", f"--set {path}: a name between the dots is empty")
    if "[" in path:
        raise failure_of(Outcome.USAGE, "bad usage", f"--set {path}: a place in a list is written as in tools.0.name")
    for step, following in itertools.pairwise(steps):
        key = _key_in(container, step, path)
        inner = _open_container(container[key], following)
        container[key] = inner
        container = inner
    container[_key_in(container, steps[-1], path)] = value


def _key_in(container: Any, step: str, path: str) -> Any:
    """The key or the position that a step stands for. The container has it then, None where nothing was there."""
    if isinstance(container, dict):
        container.setdefault(step, None)
        return step
    if isinstance(container, list) and _is_position(step) and int(step) <= len(container):
        position = int(step)
        if position == len(container):
            container.append(None)
        return position
    raise failure_of(Outcome.USAGE, "bad usage", f"--set {path}: no object or list at {step!r}")


def _open_container(value: Any, step: str) -> Any:
    """What holds the next step: a copy of what is there, since other bodies may share it, or one that is new."""
    if isinstance(value, (dict, list)):
        return value.copy()
    if value is not None:
        return value  # it holds nothing, and the next step says so with the path
    if _is_position(step):
        return []
    return {}


def _is_position(step: str) -> bool:
    """Whether a step of a path is a place in a list. `str.isdigit` also holds for ², which no int is made of."""
    return step.isascii() and step.isdigit() and len(step) < 10
