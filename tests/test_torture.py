"""The N-th I/O call fails, for N = 1, 2, … until no run gets so far: status 0 if and only if the output is whole.

As SQLite tests itself: once, and from then on; see `tests/failing`. Each run is the real program and a real socket.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import forked, program
from tests.support.program import Result
from tests.support.streams import call, message, responses_body
from tests.support.wire import Reply, chunk, drop, fin, head, send, serve, sleep

TEXT = "Hello, world. " * 3
BODY = responses_body(message(TEXT), call("now", '{"a": 1}'), piece=14)
MOST = 60
"""More calls of one kind than any of these runs makes."""
OLD = b"old\n"


def in_pieces(body: bytes) -> Reply:
    """So slowly that a client reads several times."""
    third = len(body) // 3
    pieces = [body[:third], body[third : 2 * third], body[2 * third :]]
    steps = [step for piece in pieces for step in (send(chunk(piece)), sleep(0.002))]
    return [send(head("chunked")), *steps, send(b"0\r\n\r\n"), fin]


BROKEN_OFF: Reply = [send(head("chunked")), send(chunk(BODY[: len(BODY) // 2])), drop]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command line; `{target}` is a file that holds an older answer. `plain` is the status of a good run.

    `before` are the replies before the good one.
    """

    args: tuple[str, ...] = ()
    plain: int = 13
    to_file: bool = False
    before: tuple[Reply, ...] = ()


DELIVER = ("--ok", "tool_calls")
"""What is held is let out at exit 0 only."""
SCENARIOS = {
    "text": Scenario(),
    "ndjson": Scenario(("--format", "ndjson")),
    "sse": Scenario(("--format", "sse")),
    "tools": Scenario(("--format", "tools"), 0),
    "json": Scenario(("--format", "json")),
    "hold": Scenario(("--hold", *DELIVER), 0),
    "file": Scenario(("-o", "{target}", *DELIVER), 0, to_file=True),
    "file-ndjson": Scenario(("-o", "{target}", "--format", "ndjson", *DELIVER), 0, to_file=True),
    "keep-partial": Scenario(("-o", "{target}", "--keep-partial", *DELIVER), 0, to_file=True),
    "file-again": Scenario(("-o", "{target}", *DELIVER), 0, to_file=True, before=(BROKEN_OFF,)),
    "record": Scenario(("--record", "{target}.recording")),
    "background": Scenario(("--background",)),
}
# What fails, and the statuses that it may end in beside that of a good run.
NETWORK = {31, 32, 33, 40}
FAILURES: dict[str, set[int]] = {
    "write:ENOSPC": {9},
    "write:short": set(),
    "fsync:EIO": {9},
    "replace:EACCES": {9},
    "close:EIO": {9},
    "ftruncate:EIO": {9},
    "open:EMFILE": {9},
    "connect:ECONNREFUSED": {32},
    "connect:ETIMEDOUT": {32, 33},
    "setsockopt:EINVAL": {32},
    "send:EPIPE": NETWORK,
    "send:short": set(),
    "recv:ECONNRESET": NETWORK,
    "recv:short": NETWORK,
}
BLAMELESS = ("close", "fsync", "open", "ftruncate", "replace")
"""Calls whose failure may end a run in 9 although every byte had arrived: nobody can know."""


@dataclass(frozen=True, slots=True)
class Tortured:
    """A run, what was in the target afterwards, and the calls that it made: one that failed has a `!`."""

    result: Result
    target: bytes | None
    calls: Sequence[str]

    @property
    def struck(self) -> bool:
        return any(name.endswith("!") for name in self.calls)


def run(folder: Path, scenario: Scenario, fault: str, real: bool = False) -> Tortured:
    target, log = folder / "answer", folder / "log"
    target.write_bytes(OLD)
    log.unlink(missing_ok=True)
    env = {"FAIL": fault, "FAIL_LOG": str(log)}
    with serve(*scenario.before, in_pieces(BODY)) as server:
        args = ["--base-url", server.url, "--retry-delay", "0", *scenario.args, "hi"]
        args = [arg.replace("{target}", str(target)) for arg in args]
        if real:
            path = f"{program.ROOT / 'tests' / 'failing'}:{program.ROOT}"
            result = program.oastream(*args, env={**env, "PYTHONPATH": path})
        else:
            result = forked.oastream(*args, env={**env, "TESTS_PRELOAD": "tests.failing.sitecustomize"})
    left = target.read_bytes() if target.exists() else None
    return Tortured(result, left, log.read_text().split())


def steady(out: bytes) -> bytes:
    """All but the end record, which has times in it."""
    lines = out.splitlines(keepends=True)
    if lines and b'"oastream:end"' in lines[-1]:
        return b"".join(line for line in lines[:-1] if b'"oastream:' not in line) + b"end\n"
    return out


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_failing_call_never_passes_for_success(name: str, failure: str, tmp_path: Path) -> None:
    scenario, (kind, error) = SCENARIOS[name], failure.split(":")
    whole = run(tmp_path, scenario, "none:0:once:EIO")
    assert whole.result.status == scenario.plain
    for how in ("once", "always"):
        for number in range(1, MOST):
            tortured = run(tmp_path, scenario, f"{kind}:{number}:{how}:{error}")
            if not tortured.struck:
                break
            judge(scenario, whole, tortured, kind, FAILURES[failure], f"{how} from {kind} {number}: {tortured}")
        else:
            raise AssertionError(f"still struck at {MOST} calls of {kind}")


@pytest.mark.parametrize("failure", FAILURES)
def test_each_call_is_made_by_some_run(failure: str, tmp_path: Path) -> None:
    kind, error = failure.split(":")
    runs = (run(tmp_path, scenario, f"{kind}:1:once:{error}") for scenario in SCENARIOS.values())
    assert any(tortured.struck for tortured in runs)


def judge(scenario: Scenario, whole: Tortured, tortured: Tortured, kind: str, allowed: set[int], story: str) -> None:
    status, out = tortured.result.status, tortured.result.out
    assert status in {scenario.plain, *allowed}, story
    is_whole = steady(out) == steady(whole.result.out)
    if scenario.to_file:
        assert tortured.target is not None, story
        is_whole = steady(tortured.target) == steady(whole.target or b"")
        assert is_whole or tortured.target == OLD, f"the target is neither old nor new: {story}"
    if status == scenario.plain:
        assert is_whole, story
        assert (tortured.result.err == "") == (scenario.plain == 0), story
    else:
        assert tortured.result.message, story
        assert not is_whole or kind in BLAMELESS or "--record" in scenario.args, story


CONVERSATION = b'{"type":"message","role":"user","content":"Hi"}\n'


def talk(folder: Path, fault: str) -> Tortured:
    """A run that goes on with a conversation; `target` is its file."""
    history, log = folder / "talk.jsonl", folder / "log"
    history.write_bytes(CONVERSATION)
    log.unlink(missing_ok=True)
    env = {"FAIL": fault, "FAIL_LOG": str(log), "TESTS_PRELOAD": "tests.failing.sitecustomize"}
    with serve(in_pieces(BODY)) as server:
        result = forked.oastream("--base-url", server.url, "--retry", "0", "--history", str(history), "hi", env=env)
    return Tortured(result, history.read_bytes(), log.read_text().split())


@pytest.mark.parametrize(
    "failure", ["write:ENOSPC", "write:short", "fsync:EIO", "replace:EACCES", "close:EIO", "open:EMFILE"]
)
def test_a_call_that_fails_leaves_the_old_conversation_or_the_new(failure: str, tmp_path: Path) -> None:
    kind, error = failure.split(":")
    new = talk(tmp_path, "none:0:once:EIO").target
    assert new is not None
    assert new.startswith(CONVERSATION)
    assert new.count(b"\n") > 2
    for how in ("once", "always"):
        for number in range(1, MOST):
            tortured = talk(tmp_path, f"{kind}:{number}:{how}:{error}")
            if not tortured.struck:
                break
            story = f"{how} from {kind} {number}: {tortured}"
            assert tortured.target in (CONVERSATION, new), f"the conversation is neither old nor new: {story}"
            assert tortured.result.status in (9, 13, 8 if kind == "open" else 9), story
            assert tortured.result.status != 13 or tortured.target == new, story
            assert tortured.result.status != 9 or tortured.target == CONVERSATION or kind in BLAMELESS, story
            assert sorted(os.listdir(tmp_path)) == ["log", "talk.jsonl"], story
            assert tortured.result.message, story
        else:
            raise AssertionError(f"still struck at {MOST} calls of {kind}")
        assert number > 1, f"no run calls {kind}"


@pytest.mark.parametrize("failure", ["write:2:once:ENOSPC", "fsync:1:always:EIO", "recv:2:always:ECONNRESET"])
def test_the_same_with_the_program_from_its_start(failure: str, tmp_path: Path) -> None:
    scenario = SCENARIOS["file"]
    tortured = run(tmp_path, scenario, failure, real=True)
    assert tortured.struck
    assert tortured.target == OLD
    assert tortured.result.status == (32 if failure.startswith("recv") else 9)
    assert tortured.result.message


def test_nothing_is_left_beside_a_target_that_could_not_be_written(tmp_path: Path) -> None:
    for failure in ("write:1:always:ENOSPC", "fsync:1:always:EIO", "replace:1:always:EACCES", "recv:1:always:EIO"):
        assert run(tmp_path, SCENARIOS["file"], failure).target == OLD
        assert sorted(os.listdir(tmp_path)) == ["answer", "log"], failure


def test_the_file_is_safe_on_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """Row 84: a power loss finds the old file or the whole new one."""
    calls = run(tmp_path, SCENARIOS["file"], "none:0:once:EIO").calls
    order = [name for name in calls if name in ("write", "fsync", "replace")]
    assert order[-4:] == ["write", "fsync", "replace", "fsync"], "content, name, and the folder that holds the name"


def test_a_pipe_that_breaks_in_any_write_is_a_silent_death(tmp_path: Path) -> None:
    for number in range(1, MOST):
        tortured = run(tmp_path, SCENARIOS["ndjson"], f"write:{number}:once:EPIPE")
        if not tortured.struck:
            break
        assert (tortured.result.status, tortured.result.err) == (-signal.SIGPIPE, "")
    assert number > 2  # pieces of the answer may arrive together
