"""Counts what runs cost; what an event costs is the difference between two lengths of an answer.

In: nothing but the program. Out: instructions, bytecodes, modules. Each run is a process of its own with a fixed hash
seed, in an empty directory, since a checkout there would be listed and searched.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.program import ROOT, imported_modules, run
from tests.support.streams import chat_body, message, responses_body
from tests.support.wire import serve, sse_response

HELP, ANSWER = "--help", "a 20-event answer"
"""The runs that a start-up is measured by."""
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
DELTAS = 20
LENGTHS = {"alone": (20, 120), "in a burst": (2000, 4000)}
"""Answers whose difference is the cost of an event: fewer than are ever read as one, and many of those."""
FORMATS = {
    "responses, text": ("--api", "responses", "--format", "text"),
    "responses, ndjson": ("--api", "responses", "--format", "ndjson"),
    "chat, text": ("--api", "chat", "--format", "text"),
    "chat, ndjson": ("--api", "chat", "--format", "ndjson"),
}
"""The ways of an event that are measured → their options. The first is also the one of `ANSWER`."""
_FIRST = next(iter(FORMATS))
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENAI_API_KEY": None}


Bytecodes = Mapping[str, float]
"""How many of them each module executes."""


def has_valgrind() -> bool:
    return shutil.which("valgrind") is not None


def count_instructions(*command: str) -> int:
    """The instructions of a process, by cachegrind without its caches."""
    options = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    result = _run_in_empty_folder("valgrind", *options, *command)
    found = re.search(r"I +refs: +([\d,]+)", result)
    assert found, result
    return int(found[1].replace(",", ""))


def count_bytecodes(*words: str) -> Bytecodes:
    """The bytecodes of a run of oastream, likewise."""
    _run_in_empty_folder(sys.executable, "-m", "oastream", *words)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bytecodes.json"
        _run_in_empty_folder(sys.executable, "-m", "tests.budgets.bytecodes", str(file), *words)
        counts: dict[str, int] = json.loads(file.read_text())
        return counts


def instructions_of_pass() -> int:
    """What any program of Python costs: the unit of the start-up's budgets."""
    return count_instructions(sys.executable, "-c", "pass")


def instructions_of(*words: str) -> int:
    """The instructions of a run of oastream, which ran before, so that none of its modules is compiled."""
    command = (sys.executable, "-c", "from oastream.main import main; main()", *words)
    _run_in_empty_folder(*command)
    return count_instructions(*command)


def _run_in_empty_folder(*command: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        result = run(command, env={**_ENVIRONMENT, "PYTHONPATH": str(ROOT)}, cwd=folder, timeout=120)
    assert result.status == 0, result
    return result.err


@contextlib.contextmanager
def answering(name: str, deltas: int) -> Iterator[tuple[str, ...]]:
    """The words of a run by one of `FORMATS`, with a server that answers it with so many deltas, once and again."""
    text = "word " * deltas
    body = responses_body(message(text), piece=5)
    if name.startswith("chat"):
        body = chat_body(text, piece=5)
    with serve(*[sse_response(body)] * 2) as server:
        yield (*FORMATS[name], "--base-url", server.url, "hi")


def instructions_of_answer(name: str, deltas: int) -> int:
    with answering(name, deltas) as words:
        return instructions_of(*words)


def bytecodes_of_answer(name: str, deltas: int) -> Bytecodes:
    with answering(name, deltas) as words:
        return count_bytecodes(*words)


def bytecodes_of_event(name: str, way: str) -> Bytecodes:
    """What one more delta costs."""
    few, many = LENGTHS[way]
    short, long = (bytecodes_of_answer(name, deltas) for deltas in (few, many))
    more = {module: round((count - short.get(module, 0)) / (many - few), 1) for module, count in long.items()}
    return {module: count for module, count in more.items() if count}


def instructions_of_event(name: str, way: str) -> float:
    """What one more delta costs."""
    few, many = LENGTHS[way]
    return (instructions_of_answer(name, many) - instructions_of_answer(name, few)) / (many - few)


def modules_of_answer() -> set[str]:
    with answering(_FIRST, DELTAS) as words:
        return imported_modules(*words)


INSTRUCTIONS: dict[str, Callable[[], float]] = {
    HELP: lambda: instructions_of(HELP),
    ANSWER: lambda: instructions_of_answer(_FIRST, DELTAS),
    **{f"{name}, {way}": functools.partial(instructions_of_event, name, way) for name in FORMATS for way in LENGTHS},
}
BYTECODES: dict[str, Callable[[], Bytecodes]] = {
    HELP: lambda: count_bytecodes(HELP),
    ANSWER: lambda: bytecodes_of_answer(_FIRST, DELTAS),
    **{f"{name}, {way}": functools.partial(bytecodes_of_event, name, way) for name in FORMATS for way in LENGTHS},
}
MODULES: dict[str, Callable[[], set[str]]] = {HELP: lambda: imported_modules(HELP), ANSWER: modules_of_answer}
