"""The prompt: words, files and stdin.

In: the words and files of the command line, and what stdin is. Out: the text of the user's message.
Reads stdin only when the rules say so, never beyond them, and never gives up a prompt for another.
"""

from __future__ import annotations

import contextlib
import enum
import math
import os
import stat
from collections.abc import Callable, Iterator

from oastream.exits import Failure, Outcome, failure_of
from oastream.options import Options
from oastream.reading import TooLarge, read_all, read_file
from oastream.watch import READ, Watch

STDIN = 0
NOTICE_AFTER = 2.0
"""Seconds without a byte on stdin before a line on stderr says what oastream is waiting for."""
MAX_INPUT_BYTES = 32 * 1024 * 1024
"""Largest stdin or file; no model takes a hundredth of it."""


class StdinKind(enum.Enum):
    """What stdin is when oastream starts."""

    CLOSED = "closed"
    TERMINAL = "a terminal"
    NULL = "/dev/null"
    LOOP_INPUT = "the input of a loop"
    SOURCE = "a pipe or file"


def stdin_kind(is_open: bool) -> StdinKind:
    """What stdin is; `is_open` is what main found before anything else could take the number."""
    if not is_open:
        return StdinKind.CLOSED
    if os.isatty(STDIN):
        return StdinKind.TERMINAL
    status = os.fstat(STDIN)
    if stat.S_ISCHR(status.st_mode) and os.path.exists(os.devnull) and status.st_rdev == os.stat(os.devnull).st_rdev:
        return StdinKind.NULL
    if stat.S_ISREG(status.st_mode) and os.lseek(STDIN, 0, os.SEEK_CUR) != 0:
        return StdinKind.LOOP_INPUT
    return StdinKind.SOURCE


class InputReader:
    """Reads stdin and text files to their end, within a deadline. `notice` says that nothing comes on stdin."""

    def __init__(self, watch: Watch, encoding: str, notice: Callable[[], None], deadline: float = math.inf) -> None:
        self._watch = watch
        self._encoding = encoding
        self._notice = notice
        self._deadline = deadline

    def stdin(self) -> str:
        """All of stdin as text, with the notice when nothing comes."""
        return decode_text(self._stdin(MAX_INPUT_BYTES), self._encoding, "stdin")

    def file(self, path: str) -> str:
        """All of a text file; - is stdin."""
        if path == "-":
            return self.stdin()
        return decode_text(self.data(path), self._encoding, path)

    def data(self, path: str, limit: int = MAX_INPUT_BYTES) -> bytes:
        """All bytes of a file that has no more than `limit`; - is stdin."""
        if path == "-":
            return self._stdin(limit)
        with _as_input_error(path):
            return read_file(path, self._watch, self._deadline, limit)

    def _stdin(self, limit: int) -> bytes:
        until = min(self._deadline, self._watch.now() + NOTICE_AFTER)
        if not self._watch.wait_for(STDIN, READ, until) and until < self._deadline:
            self._notice()
        with _as_input_error("stdin"):
            return read_all(STDIN, "stdin", self._watch, self._deadline, limit)


@contextlib.contextmanager
def _as_input_error(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise unreadable(name, error) from error
    except TooLarge as error:
        raise failure_of(Outcome.INPUT, f"{name} is too large", error) from error


def waiting_notice(options: Options, kind: StdinKind) -> str:
    """What to say when nothing comes on stdin: how to do without it, where that is possible, or how to end it."""
    if kind is StdinKind.TERMINAL:
        return "waiting for stdin; Ctrl-D on a line of its own ends it"
    if _has_content(options) and not count_stdin_uses(options):
        return "waiting for stdin; use -n to run without it"
    return "waiting for stdin"


def unreadable(name: str, error: OSError | ValueError) -> Failure:
    """An input that cannot be read at all."""
    from oastream.path_hints import missing_path_hint, printable_path  # only to say what went wrong
    from oastream.system_errors import describe_error

    hint = missing_path_hint(name) if isinstance(error, FileNotFoundError) else ""
    return failure_of(Outcome.INPUT, f"cannot read {printable_path(name)}", describe_error(error), hint)


def decode_text(data: bytes, encoding: str, name: str) -> str:
    """Bytes as text, or a failure that names the offset of the first byte that is wrong."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise failure_of(Outcome.INPUT, f"{name} is not {_name_of(encoding)}", wrong, _encoding_hint(data)) from error


def _encoding_hint(data: bytes) -> str:
    """How to say which encoding it is. Windows begins UTF-16 with a byte order mark."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16: --input-encoding utf-16"
    if b"\0" in data:
        return "it looks like a binary file: -a attaches one"
    return "--input-encoding names another encoding"


def decode_argument(word: str, name: str) -> str:
    """A word of the command line as text: Python hides bytes that are not UTF-8 in surrogates."""
    return decode_text(os.fsencode(word), "utf-8", name)


def _name_of(encoding: str) -> str:
    """As people write it: codecs.lookup has it in lower case."""
    return "UTF-8" if encoding == "utf-8" else encoding


def read_prompt(options: Options, kind: StdinKind, reader: InputReader, required: bool = True) -> str | None:
    """The user's message, or None when there is none and none is required (--body brings its own).

    Raises `Failure`: usage when oastream was started without anything to say, input when the text is empty or broken.
    """
    words = [decode_argument(word, "the prompt") for word in options.prompt]
    named = count_stdin_uses(options)
    _check_usage(options, kind, named, required)
    files = [reader.file(path) for path in options.file]
    if "-" in words:
        words[words.index("-")] = reader.stdin()
    # An empty word among others is a variable that was empty, and leaves no second space.
    blocks = [" ".join(word for word in words if word or len(words) == 1), *files]
    if not named and not options.no_stdin and _reads_stdin(options, kind):
        blocks.append(reader.stdin())
    prompt = _join_blocks(blocks)
    if prompt:
        return prompt
    if not required and not _has_text_source(options):
        return None
    raise failure_of(Outcome.INPUT, "the prompt is empty", _why_empty(options, kind))


def _reads_stdin(options: Options, kind: StdinKind) -> bool:
    """Whether stdin is a part of the prompt although nothing names it.

    A pipe or a file that was made for us always is. The input of a loop is not ours to eat (`while read …`), unless
    there is nothing else to say.
    """
    if kind is StdinKind.SOURCE:
        return True
    return _has_input(kind) and not _has_content(options)


def _has_text_source(options: Options) -> bool:
    return bool(options.prompt or options.file)


def _has_content(options: Options) -> bool:
    return _has_text_source(options) or bool(options.attach or options.tool_output)


def count_stdin_uses(options: Options) -> int:
    """How many words and options name stdin."""
    texts = (options.system, *(value for _, value in options.tool_output))
    files = (options.tools, options.body, options.schema, options.schema_multi)
    named = [*options.prompt, *options.file, *options.attach].count("-") + texts.count("@-")
    return named + sum(value in ("-", "@-") for value in files)


def _has_input(kind: StdinKind) -> bool:
    return kind in (StdinKind.SOURCE, StdinKind.LOOP_INPUT)


def _check_usage(options: Options, kind: StdinKind, named: int, required: bool) -> None:
    if named > 1:
        raise failure_of(Outcome.USAGE, "bad usage", "stdin can be used only once")
    if named and kind is StdinKind.CLOSED:
        raise failure_of(Outcome.INPUT, "cannot read stdin", "it is closed")
    if named and options.no_stdin:
        raise failure_of(Outcome.USAGE, "bad usage", "-n conflicts with -, which reads stdin")
    if _has_text_source(options) or not required:
        return
    if options.no_stdin:
        raise failure_of(Outcome.USAGE, "no prompt", "-n does not read stdin, and there are no words")
    if kind is StdinKind.TERMINAL:
        raise failure_of(
            Outcome.USAGE, "no prompt", "try 'oastream WORDS', 'echo WORDS | oastream' or 'oastream --help'"
        )


def _join_blocks(blocks: list[str]) -> str:
    """Blocks with a blank line between them; each is taken as it is, its last newline included."""
    text = ""
    for block in filter(None, blocks):
        if text and not text.endswith("\n"):
            text += "\n"
        if text:
            text += "\n"
        text += block
    return text


def _why_empty(options: Options, kind: StdinKind) -> str:
    if _has_text_source(options):
        return "the arguments and files are empty"
    if _has_input(kind):
        return "stdin is empty"
    return f"no words, and stdin is {kind.value}"
