"""The input of a batch → items, one a line, each with an id.

In: the lines of a file or a pipe, as bytes, and which form they have. Out: `Item`s and `BadLine`s in the order of the
input; memory holds one line at a time. What is asked of the model about an item, and whether it has an answer already,
is not known here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from oastream.apis import api_of_body
from oastream.batch.template import Template, field_text
from oastream.lenient_json import parse_exactly

Row = dict[str, Any]
Body = dict[str, Any]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
VERSION = "/v1"
"""What a Batch API line puts before a path; base URLs end in it already."""
TEXT_FIELD = "prompt"
"""What the field of a line of text is called, in a template and in the rows of `--format row`."""


class Item(NamedTuple):
    """One request of the input.

    `line` is the physical line it begins on, from 1. Either `body` is there, a request body as the line brings it, or
    `prompt`. `url` is the path that a Batch API line names, empty elsewhere. `row` is the object that `--format row`
    adds the answer to.
    """

    custom_id: str
    line: int
    url: str = ""
    body: Body | None = None
    prompt: str | None = None
    row: Row | None = None


class BadLine(NamedTuple):
    """A line that is no item, and why, as the end of a message. `hint` is what may help.

    Nothing can be read behind one that `is_fatal`: the header of a table.
    """

    line: int
    why: str
    hint: str = ""
    is_fatal: bool = False


class NotJson(ValueError):
    """A line that is no JSON."""


class NotUtf8(ValueError):
    """A line in another encoding."""


class InputForm(NamedTuple):
    """How lines become items: `name` as --input-format calls it, `id_key` and `prompt_key` as the options name them."""

    name: str
    id_key: str | None = None
    prompt_key: str = TEXT_FIELD
    template: Template | None = None
    ends_in_nul: bool = False
    added_fields: tuple[str, ...] = ()
    """What the output adds to a row, which therefore may not have it already."""
    is_guessed: bool = False
    """Whether nobody has named it."""


def read_items(chunks: Iterable[bytes], form: InputForm) -> Iterator[Item | BadLine]:
    """The items of the input, in its order. Blank lines are passed over, and counted."""
    if form.name in ("csv", "tsv"):
        yield from _read_table(split_lines(chunks), form)
        return
    read_line = _LINE_READERS[form.name]
    terminator = b"\0" if form.ends_in_nul else b"\n"
    is_first = True
    for number, line in enumerate(split_lines(chunks, terminator), 1):
        if not line or line.isspace():
            continue
        try:
            yield read_line(line, number, form)
        except ValueError as error:
            yield BadLine(number, str(error), _hint_for(error, form.is_guessed and is_first))
        is_first = False


def _hint_for(error: ValueError, may_be_text: bool) -> str:
    if isinstance(error, NotUtf8):
        return "iconv -t utf-8 converts it"
    if isinstance(error, NotJson) and may_be_text:
        return "-l reads each line as a prompt, --input-format csv a table"
    return ""


def split_lines(chunks: Iterable[bytes], terminator: bytes = b"\n") -> Iterator[bytes]:
    """Lines without their terminator, the byte order mark at the very beginning left out.

    A line may be as long as memory allows; one that arrives in many chunks is put together once, not at each of them.
    """
    pieces: list[bytes] = []
    at_start = True
    for chunk in chunks:
        if at_start and chunk:
            chunk, at_start = chunk.removeprefix(BYTE_ORDER_MARK), False
        first, *others = chunk.split(terminator)
        pieces.append(first)
        if others:
            yield b"".join(pieces)
            pieces = [others.pop()]
            yield from others
    last = b"".join(pieces)
    if last:
        yield last


def guess_form(first_line: bytes) -> str:
    """`body` where the line has `input` or `messages` and no `body`, else `batch`: the only thing that is guessed."""
    try:
        value = parse_exactly(first_line)
    except ValueError:
        return "batch"
    if not isinstance(value, dict) or "body" in value:
        return "batch"
    return "body" if "input" in value or "messages" in value else "batch"


def id_text(value: object) -> str | None:
    """An id as text: a number is one too. None for what is no id; null is none, and so is an empty text.

    Raises `ValueError` for half a character, which no file can hold: the next run would not know the id again.
    """
    if isinstance(value, str):
        _check_characters("id", value)
        return value or None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return None


def _check_characters(what: str, text: str) -> None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"its {what} has a lone surrogate, which is no character")


def line_id(number: int) -> str:
    """The id of an item that brings none."""
    return f"line-{number}"


# A line -----------------------------------------------------------------------------------------------------------


def _batch_item(line: bytes, number: int, form: InputForm) -> Item:
    """A line of OpenAI's Batch API: https://platform.openai.com/docs/guides/batch."""
    value = _object(line)
    custom_id = id_text(value.get("custom_id"))
    if custom_id is None:
        raise ValueError("it has no custom_id")
    body = value.get("body")
    if not isinstance(body, dict):
        raise ValueError("it has no body, which must be an object")
    method = value.get("method") or "POST"
    if method != "POST":
        raise ValueError(f"its method is {method}, not POST")
    url = value.get("url") or ""
    if not isinstance(url, str) or (url and not url.startswith("/")):
        raise ValueError("its url is no path, such as /v1/responses")
    _check_path(url)
    if not url and _guessed_url(body) is None:
        raise ValueError("it has no url, and its body neither input nor messages")
    return Item(custom_id, number, url or str(_guessed_url(body)), body)


def _check_path(url: str) -> None:
    """Raise for what would say more than which path is asked: a line feed would begin a header of the line's own."""
    if not url.isascii() or not url.isprintable() or " " in url or "#" in url:
        raise ValueError("its url has characters that a path cannot have")
    if ".." in url.partition("?")[0].split("/"):
        raise ValueError("its url leads out of the base URL")


def _body_item(line: bytes, number: int, form: InputForm) -> Item:
    body = _object(line)
    custom_id = _row_id(body, number, form.id_key, ())
    if form.id_key is not None:
        del body[form.id_key]
    url = _guessed_url(body)
    if url is None:
        raise ValueError("it is no request body: it has neither input nor messages")
    return Item(custom_id, number, url, body)


def _json_item(line: bytes, number: int, form: InputForm) -> Item:
    return _row_item(_object(line), number, form)


def _text_item(line: bytes, number: int, form: InputForm) -> Item:
    text = _decode(line) if form.ends_in_nul else _decode(line.removesuffix(b"\r"))
    row = {TEXT_FIELD: text}
    prompt = text if form.template is None else form.template.fill(row)
    return Item(line_id(number), number, prompt=prompt, row=row)


_LINE_READERS: dict[str, Callable[[bytes, int, InputForm], Item]] = {
    "batch": _batch_item,
    "body": _body_item,
    "json": _json_item,
    "text": _text_item,
}
INPUT_FORMATS = (*_LINE_READERS, "csv", "tsv")


def _guessed_url(body: Body) -> str | None:
    """Where a body goes that says it by its fields alone."""
    api = api_of_body(body)
    return None if api is None else VERSION + api.path


def _row_item(row: Row, number: int, form: InputForm) -> Item:
    for name in form.added_fields:
        if name in row:
            raise ValueError(f"it has a field {name!r} already, which the output would add")
    custom_id = _row_id(row, number, form.id_key, ("custom_id", "id"))
    return Item(custom_id, number, prompt=_prompt(row, form), row=row)


def row_id(row: Row, number: int, form: InputForm) -> str:
    """The id of a row that stood on this line of the input, as `read_items` finds it. Raises `ValueError`."""
    if form.name == "text":
        return line_id(number)
    return _row_id(row, number, form.id_key, ("custom_id", "id"))


def _row_id(row: Row, number: int, id_key: str | None, usual_keys: tuple[str, ...]) -> str:
    if id_key is not None:
        named = id_text(row.get(id_key))
        if named is None:
            raise ValueError(f"it has no id in {id_key!r}")
        return named
    for key in usual_keys:
        found = id_text(row.get(key))
        if found is not None:
            return found
    return line_id(number)


def _prompt(row: Row, form: InputForm) -> str:
    if form.template is not None:
        prompt = form.template.fill(row)
    elif form.prompt_key in row:
        prompt = field_text(row[form.prompt_key])
    else:
        raise ValueError(f"it has no {form.prompt_key!r}; --prompt-key names the field with the prompt")
    if not prompt.strip():
        raise ValueError("its prompt is empty")
    _check_characters("prompt", prompt)
    return prompt


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = parse_exactly(line)
    except UnicodeDecodeError as error:
        raise _not_utf8(line) from error
    except ValueError as error:
        raise NotJson("it is not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(line) from error


def _not_utf8(line: bytes) -> NotUtf8:
    name = "UTF-16, not UTF-8" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else "not UTF-8"
    return NotUtf8(f"it is {name}")


# A table ----------------------------------------------------------------------------------------------------------


class _CountedLines:
    """Lines for `csv.reader`, decoded, their newlines kept, since a quoted field may hold them.

    `number` is that of the last one. The reader's own count leaves out a line that could not be decoded.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.number = 0
        self.have_ended = False

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.have_ended = True
            raise StopIteration
        self.number += 1
        return _decode(line) + "\n"


def _read_table(lines: Iterable[bytes], form: InputForm) -> Iterator[Item | BadLine]:
    csv.field_size_limit(sys.maxsize)  # a prompt of 131,073 characters is no mistake
    delimiter = "\t" if form.name == "tsv" else ","
    counted = _CountedLines(lines)
    reader = csv.reader(counted, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        number = counted.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad = BadLine(counted.number, f"it is no row: {error}")
            if counted.have_ended:
                bad = BadLine(number, "a quoted field begins there, and nothing ends it")
            yield bad._replace(is_fatal=header is None)
            continue
        except NotUtf8 as error:
            yield BadLine(counted.number, str(error), _hint_for(error, False), is_fatal=header is None)
            continue
        if not any(cells):
            continue
        if header is None:
            header = cells
            problem = _header_problem(header, form)
            if problem:
                yield BadLine(number, problem, is_fatal=True)
            continue
        yield _table_item(header, cells, number, form)


def _header_problem(header: list[str], form: InputForm) -> str:
    if len(set(header)) < len(header):
        return "two columns of the header have the same name"
    for name in form.added_fields:
        if name in header:
            return f"the header has a column {name!r} already, which the output would add"
    return ""


def _table_item(header: list[str], cells: list[str], number: int, form: InputForm) -> Item | BadLine:
    if len(cells) != len(header):
        fields = "1 field" if len(cells) == 1 else f"{len(cells)} fields"
        return BadLine(number, f"it has {fields} where the header has {len(header)}")
    try:
        return _row_item(dict(zip(header, cells, strict=True)), number, form)
    except ValueError as error:
        return BadLine(number, str(error))
