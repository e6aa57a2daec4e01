"""A conversation in a file: JSON Lines of the Responses API's input items, one a line.

In: a path; later what was said and the items of the answer. Out: the items so far; a file that holds the old
conversation or the whole new one, never half of it. Runs on one file take turns. Knows nothing of APIs but the items.

The new file is written beside the old one and renamed over it where that is possible, see `files`.
So the lock is on a file that may have been replaced by the time it is ours; then the lock is taken again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from oastream.display import one_line
from oastream.events.items import CALLS
from oastream.exits import Failure, Outcome, failure_of
from oastream.files import Replacement
from oastream.lenient_json import dumps, parse_exactly
from oastream.output.destination import output_failure
from oastream.threads import call_in_thread
from oastream.watch import Watch

MAX_HISTORY_BYTES = 256 * 1024 * 1024
"""Largest conversation; attachments are in it, in base64."""
_NEW_MODE = 0o600
"""A conversation is private; one that its owner has opened to others stays open."""
_OUTPUT_ONLY = frozenset({"choice_index", "created_by", "parsed_arguments"})
"""Fields that a server sends but takes back from nobody."""
_OUTPUTS = {kind: f"{kind}_output" for kind in CALLS}
"""A call → the item that answers it."""

Item = dict[str, Any]


class History:
    """One conversation's file, locked for as long as the run lasts. `items` is what it held at the start."""

    def __init__(self, path: str) -> None:
        self.items: list[Item] = []
        self._name = path
        with self._as_input_error():  # the folder that the run began in may be gone
            self._path = os.path.realpath(path)
        self._fd: int | None = None
        self._created = False
        self._staged: Replacement | None = None

    def read_only(self) -> None:
        """Read the items and change nothing, not even by creating the file."""
        with self._as_input_error():
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError:
                return
            self.items = parse_items(self._content(self._fd), self._name)

    def open(self, watch: Watch, deadline: float, wait: bool, notice: Callable[[str], None]) -> None:
        """Lock the file, create it if it is not there, and read the items.

        Raises `Failure`: input when it cannot be used, or is in use and `wait` is false; timeout at the deadline.
        """
        with self._as_input_error():
            self._check_writable()
            while not self._is_ours():  # the run that had the lock may have put another file under the name
                self._reopen()
                assert self._fd is not None
                if self._try_lock(self._fd):
                    continue
                if not wait:
                    raise failure_of(Outcome.INPUT, f"{self._name} is in use", "another run has locked it")
                notice(f"waiting for {self._name}: another run has locked it")
                if not _lock_in_time(self._fd, watch, deadline):
                    raise failure_of(
                        Outcome.TIMEOUT, "no answer in time", f"--max-time passed, waiting for {self._name}"
                    )
            assert self._fd is not None
            self.items = parse_items(self._content(self._fd), self._name)

    def stage(self, said: Iterable[Item], output: Iterable[Item]) -> None:
        """Write the conversation with what was said and the answer's items beside the file: it is there with `commit`.

        The file is read once more: someone who knows no lock, an editor, may have added to it.
        """
        with self._as_output_error():
            old = self._present()
            if old and not old.endswith(b"\n"):  # an editor that ends the last line without one
                old += b"\n"
            new = b"".join(_line(item) for item in (*said, *answer_items(output)))
            self._staged = Replacement(self._path, _NEW_MODE)
            self._staged.write(old + new)
            self._staged.seal()

    def commit(self) -> None:
        """Put what was staged in the file's place, if all of it was."""
        if self._staged is not None:
            with self._as_output_error():
                self._staged.put()

    def close(self) -> None:
        """Release the lock and discard anything staged, and an empty file that was not there before."""
        if self._staged is not None:
            self._staged.discard()
        with contextlib.suppress(OSError):
            # Under the lock: another run may wait for this very file, and opens it anew when it is gone.
            if self._created and self._is_ours() and os.stat(self._path).st_size == 0:
                os.unlink(self._path)
        self._close()

    # The lock ----------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        """Check now what would otherwise fail after the answer."""
        folder = os.path.dirname(self._path)
        if os.path.isdir(folder) and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, f"its folder {folder} cannot be written")
        if os.path.exists(self._path) and not os.access(self._path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def _is_ours(self) -> bool:
        """Whether we hold the lock of the file that has the name now."""
        if self._fd is None or not self._try_lock(self._fd):
            return False
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):  # it was only read
                os.close(fd)

    def _reopen(self) -> None:
        self._close()
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO without a writer would keep us in open(2)
        self._created = False
        try:
            self._fd = os.open(self._path, flags)
        except FileNotFoundError:
            self._fd = os.open(self._path, flags | os.O_CREAT, _NEW_MODE)
            self._created = True
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")

    def _try_lock(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    # The file ----------------------------------------------------------------------------------------------------

    def _content(self, fd: int) -> bytes:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if status.st_size > MAX_HISTORY_BYTES:
            raise failure_of(Outcome.INPUT, f"{self._name} is too large", f"over {MAX_HISTORY_BYTES} bytes")
        with open(fd, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()

    def _present(self) -> bytes:
        """What the file holds now."""
        try:
            with open(self._path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    @contextlib.contextmanager
    def _as_input_error(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise _unusable(self._name, error) from error

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        """Nothing may be put in place after an error: a part of a conversation is none."""
        try:
            yield
        except OSError as error:
            if self._staged is not None:
                self._staged.discard()
            self._staged = None
            raise output_failure(self._name, error) from error


def _unusable(name: str, error: OSError | ValueError) -> Failure:
    from oastream.system_errors import describe_error  # only to say what went wrong

    hint = ""
    if isinstance(error, FileNotFoundError):
        from oastream.path_hints import missing_folder_hint

        hint = missing_folder_hint(name)
    return failure_of(Outcome.INPUT, f"cannot use {name} as a history", describe_error(error), hint)


def _lock_in_time(fd: int, watch: Watch, deadline: float) -> bool:
    """Wait for the lock, open to signals and to a reader that goes; False when the deadline has passed first.

    A thread that is left waiting for the lock does no harm: the run is at its end.
    """

    def lock() -> None:
        with contextlib.suppress(OSError):  # whether it worked is found out by locking once more
            fcntl.flock(fd, fcntl.LOCK_EX)

    try:
        call_in_thread(lock, watch, deadline)
    except TimeoutError:
        return False
    return True


# Items -----------------------------------------------------------------------------------------------------------


def parse_items(content: bytes, name: str) -> list[Item]:
    """The items of a file. Raises `Failure` with the number of the first line that is none."""
    lines = enumerate(content.split(b"\n"), 1)
    return [_parse_item(line, name, number) for number, line in lines if line.strip()]


def _parse_item(line: bytes, name: str, number: int) -> Item:
    try:
        item = _parse_line(line)
    except orjson.JSONDecodeError as error:
        why = f"line {number}, column {error.colno}: {error.msg}"
        hint = "one item a line is wanted; jq -c '.[]' makes that of a list, jq -c '.messages[]' of a request's body"
        if number > 1 or not line.strip().endswith((b"{", b"[")):
            hint = ""
        raise failure_of(Outcome.INPUT, f"{name} is not JSON Lines", why, hint) from error
    if isinstance(item, dict) and _is_item(item):
        return item
    hint = ""
    if isinstance(item, list):
        hint = "the line is a list, and one item a line is wanted: jq -c '.[]' makes that of it"
    raise failure_of(Outcome.INPUT, f"{name} has a line that is not an input item", f"line {number}", hint)


def _parse_line(line: bytes) -> Any:
    """A line, also one with numbers that orjson does not read: what a server sent was written down as it was."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return parse_exactly(line.decode())
        except ValueError:
            raise error from None  # it says where


def _is_item(item: Item) -> bool:
    """Whether it says what it is, and a message's content is text or parts."""
    kind, role, content = (item.get(field) for field in ("type", "role", "content"))
    if kind not in (None, "message"):
        return isinstance(kind, str)
    if isinstance(content, list):
        return isinstance(role, str) and all(isinstance(part, dict) for part in content)
    return isinstance(role, str) and isinstance(content, str)


def _line(item: Any) -> bytes:
    """An item as a line that can be read again."""
    return dumps(item) + b"\n"


def waiting_calls(items: Iterable[Item]) -> dict[str, str]:
    """The calls without an output yet: call_id → type. Servers without ids of their own use some again."""
    waiting: dict[str, str] = {}
    for item in items:
        call_id, kind = str(item.get("call_id")), str(item.get("type"))
        if kind in CALLS:
            waiting[call_id] = kind
        elif kind in _OUTPUTS.values():
            waiting.pop(call_id, None)
    return waiting


def output_items(outputs: Iterable[tuple[str, str]], earlier: Iterable[Item], name: str | None) -> list[Item]:
    """An item for each output: call_id and text. `name` is the file that must have the call; without it no one knows.

    Raises `Failure` for a call that does not wait for an output.
    """
    waiting = waiting_calls(earlier)
    items = []
    for call_id, text in outputs:
        kind: str | None = "function_call"  # of a response that the server has stored nothing is known here
        if name is not None:
            kind = waiting.pop(call_id, None)
        if kind is None:
            raise failure_of(Outcome.INPUT, f"{name} has no pending call {call_id!r}", _name_pending(waiting))
        items.append({"type": _OUTPUTS[kind], "call_id": call_id, "output": text})
    return items


def _name_pending(calls: Iterable[str]) -> str:
    """The calls that the user may have meant, for a message."""
    names = ", ".join(calls)
    if not names:
        return "no call is pending"
    return one_line(f"the pending calls are {names}")


def answer_items(output: Iterable[Item]) -> list[Item]:
    """The items of an answer, in a form the server accepts as input, whether or not it has stored them.

    Messages keep their words. Ids of calls go: with one, OpenAI looks for the reasoning that it stored before it.
    Reasoning stays only if it carries its content (include=["reasoning.encrypted_content"]) and something follows it:
    else the server cannot know it, or refuses it. Calls that were cut go: nobody can answer them.
    """
    kept = [item for item in map(_as_input, output) if item is not None]
    while kept and kept[-1]["type"] == "reasoning":  # OpenAI: "reasoning … without its required following item"
        kept.pop()
    return kept


def _as_input(item: Any) -> Item | None:
    """None for what could not be read again: servers send items without a type, and things that are no items."""
    if not isinstance(item, dict) or not isinstance(kind := item.get("type"), str):
        return None
    if item.get("choice_index"):
        return None  # a further choice: the conversation goes on with the first
    fields = {name: value for name, value in item.items() if value is not None and name not in _OUTPUT_ONLY}
    if kind == "message":
        return _message(fields)
    if kind in CALLS:
        return _call(fields)
    if kind == "reasoning":
        return _reasoning(fields)
    return fields


def _reasoning(fields: Item) -> Item | None:
    """Reasoning that the server can read again: what is encrypted; its words and its status are refused."""
    if not fields.get("encrypted_content"):
        return None
    fields.pop("content", None)
    fields.pop("status", None)
    return fields


def _message(fields: Item) -> Item | None:
    """What was said, as text: content in parts needs an id and a status (vLLM, openai-python #3544)."""
    text = _text(fields.get("content"))
    if not text:
        return None
    message = {"type": "message", "role": "assistant", "content": text}
    if "phase" in fields:  # commentary, or the final answer: the model reads it again
        message["phase"] = fields["phase"]
    return message


def _text(content: Any) -> str:
    """The words of a message's content, which some servers send as one string."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    words = (part.get("text") or part.get("refusal") for part in content if isinstance(part, dict))
    return "".join(word for word in words if isinstance(word, str))


def _call(fields: Item) -> Item | None:
    fields.pop("id", None)
    if fields.get("status") == "incomplete" or not fields.get("call_id"):
        return None
    if fields["type"] != "function_call":
        return fields
    arguments = fields.get("arguments") or "{}"
    if not isinstance(arguments, str):  # Ollama and others send the object itself
        arguments = dumps(arguments).decode()
    if not _is_json(arguments):  # broken or cut: the server would refuse the whole conversation
        return None
    return fields | {"arguments": arguments}


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
