"""Counts what runs cost; what an event costs is the difference between two lengths of an answer.

In: nothing but the program. Out: instructions, bytecodes, modules. Each run is a process of its own with a fixed hash
seed, in an empty directory, since a checkout there would be listed and searched.
"""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import trustme

from tests.bench.measure import Place, count_instructions
from tests.support.program import NOTHING, Environment, environment, imported_modules, run
from tests.support.streams import chat_body, message, responses_body
from tests.support.trusted import add_hashed, pem
from tests.support.wire import cut, serve, sse_response

HELP, ANSWER, HTTPS = "--help", "a 20-event answer", "a 20-event answer over https"
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
_CERTIFICATES = 140
"""About as many as a system trusts: to parse them costs more than all the rest of the run."""
T = TypeVar("T")
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENAI_API_KEY": None}


Bytecodes = Mapping[str, float]
"""How many of them each module executes."""


def count_bytecodes(*words: str, env: Environment = NOTHING) -> Bytecodes:
    """The bytecodes of a run of oastream, likewise."""
    _run_in_empty_folder(sys.executable, "-m", "oastream", *words, env=env)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bytecodes.json"
        _run_in_empty_folder(sys.executable, "-m", "tests.budgets.bytecodes", str(file), *words, env=env)
        counts: dict[str, int] = json.loads(file.read_text())
        return counts


def instructions_of_pass() -> int:
    """What any program of Python costs: the unit of the start-up's budgets."""
    return _count_instructions(sys.executable, "-c", "pass")


def instructions_of(*words: str, env: Environment = NOTHING) -> int:
    """The instructions of a run of oastream, which ran before, so that none of its modules is compiled."""
    command = (sys.executable, "-c", "from oastream.main import main; main()", *words)
    _run_in_empty_folder(*command, env=env)
    return _count_instructions(*command, env=env)


def _count_instructions(*command: str, env: Environment = NOTHING) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Place(environment({**_ENVIRONMENT, **env}), Path(folder))
        return count_instructions(list(command), place, subprocess.PIPE)


def _run_in_empty_folder(*command: str, env: Environment = NOTHING) -> str:
    with tempfile.TemporaryDirectory() as folder:
        result = run(command, env={**_ENVIRONMENT, **env}, cwd=folder, timeout=120)
    assert result.status == 0, result
    return result.err


@contextlib.contextmanager
def answering() -> Iterator[tuple[str, ...]]:
    """The words of a run that a server answers, once and again, with 20 events."""
    body = sse_response(_body(_FIRST, DELTAS))
    with serve(body, body) as server:
        yield (*FORMATS[_FIRST], "--base-url", server.url, "hi")


def over_https(count: Callable[..., T]) -> T:
    """Count the same run with a server whose issuer is in a directory of certificates, beside a file of as many."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    body = sse_response(_body(_FIRST, DELTAS))
    with tempfile.TemporaryDirectory() as folder, serve(body, body, tls=tls) as server:
        file, directory = Path(folder) / "ca.pem", Path(folder) / "certs"
        file.write_bytes(pem(authority) * _CERTIFICATES)
        add_hashed(directory, pem(authority))
        for number in range(_CERTIFICATES):
            (directory / f"{number:08x}.0").touch()
        env = {"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": str(directory)}
        return count(*FORMATS[_FIRST], "--base-url", server.url, "hi", env=env)


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
    HTTPS: functools.partial(over_https, instructions_of),
    **{f"{name}, {way}": functools.partial(instructions_of_event, name, way) for name in FORMATS for way in LENGTHS},
}
BYTECODES: dict[str, Callable[[], Bytecodes]] = {
    HELP: lambda: count_bytecodes(HELP),
    ANSWER: bytecodes_of_answer,
    HTTPS: functools.partial(over_https, count_bytecodes),
    **{f"{name}, {way}": functools.partial(bytecodes_of_event, name, way) for name in FORMATS for way in LENGTHS},
}
MODULES: dict[str, Callable[[], set[str]]] = {
    HELP: lambda: imported_modules(HELP),
    ANSWER: modules_of_answer,
    HTTPS: functools.partial(over_https, imported_modules),
}
