"""`Options` and the prompt → the JSON body, for either API.

In: options, the conversation's items, the texts of files that options name. Out: a dict that is the request's body.
Knows nothing of HTTP, nor where the items come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from oastream.apis import api_named
from oastream.apis.body_fields import Body, describe_kind, list_in, without_none
from oastream.apis.tools import parse_given_json, read_tool_choice, tools_for
from oastream.exits import Outcome, failure_of
from oastream.input.prompt import decode_argument
from oastream.lenient_json import dumps_exactly
from oastream.options import Options

DEFAULT_MODEL = "gpt-5-mini"

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
    if not parts:
        return [] if prompt is None else [{"type": "message", "role": "user", "content": prompt}]
    text = [] if prompt is None else [{"type": "input_text", "text": prompt}]
    return [{"type": "message", "role": "user", "content": [*text, *parts]}]


def build_body(
    options: Options, items: Sequence[Item], base: Body, read: ReadText, answer_format: Body | None = None
) -> Body:
    """The body of the request: `base`, the conversation and the options over it, --set last."""
    api = api_named(options.api)
    body = base | api.fields(options, items, base, _system(options, read)) | (answer_format or {})
    body.setdefault("model", DEFAULT_MODEL)
    body |= without_none(model=options.model, temperature=options.temperature, top_p=options.top_p)
    if options.tools is not None:
        body["tools"] = tools_for(api, read_json("--tools", options.tools, read))
    if options.tool_choice is not None:
        body["tool_choice"] = read_tool_choice(api, options.tool_choice, list_in(body, "tools"))
    body["stream"] = True
    if options.background or options.detach:
        body["background"] = True
    for path, value in options.set:
        _set(body, path, _json_or_text(decode_argument(value, "--set")))
    return body


def encoded(body: Body) -> bytes:
    """The body as JSON. Text that is not Unicode, from a command line that is not UTF-8, is the user's error."""
    try:
        return dumps_exactly(body)
    except ValueError as error:
        raise failure_of(Outcome.INPUT, "the request cannot be written as JSON", error) from error


def read_json(option: str, value: str, read: ReadText) -> Any:
    """JSON given in place (it begins with a brace or bracket) or in a file, which may be written @FILE."""
    in_place = value.lstrip().startswith(("{", "["))
    text = decode_argument(value, option) if in_place else read(value.removeprefix("@"))
    return parse_given_json(text, option if in_place else f"{option} {value}")


def text_or_file(option: str, value: str, read: ReadText) -> str:
    """TEXT as it is, @FILE's, or @@TEXT for a text that begins with @."""
    if value.startswith("@") and not value.startswith("@@"):
        return read(value[1:])
    return decode_argument(value.removeprefix("@"), option)


def _system(options: Options, read: ReadText) -> str | None:
    return None if options.system is None else text_or_file("--system", options.system, read)


def _json_or_text(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _set(body: Body, path: str, value: Any) -> None:
    """Put `value` at a dotted path; a number is a place in a list, one past its end appends."""
    here: Any = body
    steps = path.split(".")
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        inner = value if following is None else ([] if _is_position(following) else {})
        here = _put(here, step, inner, following is None, path)


def _is_position(step: str) -> bool:
    """Whether a step of a path is a place in a list. `str.isdigit` also holds for ², which no int is made of."""
    return step.isascii() and step.isdigit() and len(step) < 10


def _put(here: Any, step: str, inner: Any, last: bool, path: str) -> Any:
    if isinstance(here, list) and _is_position(step) and int(step) <= len(here):
        at = int(step)
        if at == len(here):
            here.append(inner)
        elif last or here[at] is None:
            here[at] = inner
        return here[at]
    if isinstance(here, dict):
        if last or here.get(step) is None:
            here[step] = inner
        return here[step]
    raise failure_of(Outcome.USAGE, "bad usage", f"--set {path}: no object or list at {step!r}")
