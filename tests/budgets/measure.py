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
from tests.support.wire import cut, serve, sse_response

HELP, ANSWER = "--help", "a 20-event answer"
"""The runs that a start-up is measured by."""
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
DELTAS = 20
ALONE, IN_A_BURST = "alone", "in a burst"
LENGTHS = {ALONE: (20, 120), IN_A_BURST: (2000, 4000)}
"""How events arrive → the deltas of two answers, whose difference is the cost of an event."""
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
def answering() -> Iterator[tuple[str, ...]]:
    """The words of a run that a server answers, once and again, with 20 events."""
    body = sse_response(_body(_FIRST, DELTAS))
    with serve(body, body) as server:
        yield (*FORMATS[_FIRST], "--base-url", server.url, "hi")


@contextlib.contextmanager
def replaying(name: str, way: str, deltas: int) -> Iterator[tuple[str, ...]]:
    """The words of a run by one of `FORMATS` that plays a recording of so many deltas, which arrive in the given way.

    From a socket they would arrive as the load of the machine has it.
    """
    pieces = cut(_body(name, deltas), 64 * 1024)
    if way == ALONE:
        pieces = [event + b"\n\n" for event in _body(name, deltas).removesuffix(b"\n\n").split(b"\n\n")]
    lines = [
        {"ms": 0, "status": 200, "headers": {"content-type": "text/event-stream"}},
        *({"ms": 1, "data": piece.decode()} for piece in pieces),
        {"ms": 2, "end": ""},
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".rec") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in lines)
        file.flush()
        yield (*FORMATS[name], "--replay", file.name)


def _body(name: str, deltas: int) -> bytes:
    text = "word " * deltas
    if name.startswith("chat"):
        return chat_body(text, piece=5)
    return responses_body(message(text), piece=5)


def instructions_of_answer() -> int:
    with answering() as words:
        return instructions_of(*words)


def bytecodes_of_answer() -> Bytecodes:
    with answering() as words:
        return count_bytecodes(*words)


def bytecodes_of_event(name: str, way: str) -> Bytecodes:
    """What one more delta costs."""
    counts = []
    for deltas in LENGTHS[way]:
        with replaying(name, way, deltas) as words:
            counts.append(count_bytecodes(*words))
    short, long = counts
    few, many = LENGTHS[way]
    more = {module: round((count - short.get(module, 0)) / (many - few), 1) for module, count in long.items()}
    return {module: count for module, count in more.items() if count}


def instructions_of_event(name: str, way: str) -> float:
    """What one more delta costs."""
    counts = []
    for deltas in LENGTHS[way]:
        with replaying(name, way, deltas) as words:
            counts.append(instructions_of(*words))
    few, many = LENGTHS[way]
    return (counts[1] - counts[0]) / (many - few)


def modules_of_answer() -> set[str]:
    with answering() as words:
        return imported_modules(*words)


INSTRUCTIONS: dict[str, Callable[[], float]] = {
    HELP: lambda: instructions_of(HELP),
    ANSWER: instructions_of_answer,
    **{f"{name}, {way}": functools.partial(instructions_of_event, name, way) for name in FORMATS for way in LENGTHS},
}
BYTECODES: dict[str, Callable[[], Bytecodes]] = {
    HELP: lambda: count_bytecodes(HELP),
    ANSWER: bytecodes_of_answer,
    **{f"{name}, {way}": functools.partial(bytecodes_of_event, name, way) for name in FORMATS for way in LENGTHS},
}
MODULES: dict[str, Callable[[], set[str]]] = {HELP: lambda: imported_modules(HELP), ANSWER: modules_of_answer}
