"""Runs real programs, as a user does: a process of its own, a clean environment, bytes in and bytes out.

In: a command line. Out: a `Result`. `run` takes any command; `oastream` and `start` run the program itself, to its end
or not; `run_python` runs a script that imports parts of it; `imported_modules` says what a run has loaded.
Every result is checked for the two things that no run may ever show: the key and a traceback. The key may not be in
the files that a run writes either. Knows nothing of servers and APIs.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
CANARY = "sk-CANARY-0123456789abcdefghij"
COMMAND = [sys.executable, "-m", "oastream"]
MOCK_COMMAND = [sys.executable, "-m", "oastream.mock.cli"]
TIMEOUT = 30.0

_HOME = tempfile.mkdtemp(prefix="oastream-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)

Environment = Mapping[str, str | None]
NOTHING: Environment = {}

FILE_OPTIONS: dict[str, tuple[str, ...]] = {
    "file": ("-f", "{}", "hi"),
    "attach": ("-a", "{}", "hi"),
    "system": ("-s", "@{}", "hi"),
    "tools": ("--tools", "{}", "hi"),
    "schema": ("--schema", "{}", "hi"),
    "body": ("--body", "{}", "hi"),
    "history": ("--history", "{}", "hi"),
    "tool-output": ("--tool-output", "call_1=@{}"),
    "api-key-file": ("--api-key-file", "{}", "hi"),
    "replay": ("--replay", "{}"),
    "output": ("-o", "{}", "hi"),
    "record": ("--record", "{}", "hi"),
}
"""Every option that names a file, in a command line that uses it; `{}` stands for the file."""


def _unignore_signals() -> None:
    """A suite that runs under nohup or in the background of a script would hand its ignored signals on."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


_unignore_signals()


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. A negative status is the signal that it died of, as in subprocess."""

    status: int
    out: bytes
    err: str
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Stdout as JSON Lines. Only LF ends a line: U+2028 may stand in a string."""
        lines = self.out.decode().split("\n")
        assert lines.pop() == "", f"the last line has no end: {self}"
        return [json.loads(line) for line in lines]

    @property
    def end(self) -> dict[str, Any]:
        """The `oastream:end` record, which must be the last, and the only one."""
        records = self.records
        ends = [record for record in records if record.get("type") == "oastream:end"]
        assert len(ends) == 1, f"{len(ends)} end records in {self}"
        assert records[-1] == ends[0], f"the end record is not the last: {self}"
        return ends[0]

    @property
    def message(self) -> str:
        """The first line on stderr, which must be a message of oastream's."""
        first = self.err.split("\n", 1)[0]
        assert first.startswith("oastream: "), f"no message: {self}"
        return first


def environment(extra: Environment = NOTHING) -> dict[str, str]:
    """What the program sees; None takes a variable out."""
    base: dict[str, str | None] = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": _HOME,
        "XDG_CONFIG_HOME": f"{_HOME}/config",
        "XDG_CACHE_HOME": f"{_HOME}/cache",
        "XDG_STATE_HOME": f"{_HOME}/state",
        "XDG_DATA_HOME": f"{_HOME}/data",
        "TMPDIR": tempfile.gettempdir(),
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": CANARY,
    }
    return {name: value for name, value in {**base, **extra}.items() if value is not None}


def command(args: Sequence[str], shell: str | None = None, program: Sequence[str] = COMMAND) -> list[str]:
    """The command line. `shell` is a sh script that finds the command in "$@", as in 'exec "$@" >&-'."""
    if shell is None:
        return [*program, *args]
    return ["/bin/sh", "-c", shell, "sh", *program, *args]


_MODULES = {"oastream": "oastream", "oastream-batch": "oastream.batch", "oastream-mock": "oastream.mock.cli"}


def program_path(folder: Path) -> str:
    """A PATH on which the programs are found by their names, as they are in this tree."""
    programs = folder / "bin"
    programs.mkdir()
    for name, module in _MODULES.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"\n')
        program.chmod(0o755)
    return f"{programs}:/usr/local/bin:/usr/bin:/bin"


def check_result(status: int, out: bytes | None, err: bytes | None, seconds: float = 0.0) -> Result:
    """A result, after the checks that hold for every run."""
    result = Result(status, out or b"", (err or b"").decode("utf-8", "backslashreplace"), seconds)
    assert b"CANARY" not in result.out, f"the key is on stdout: {result}"
    assert "CANARY" not in result.err, f"the key is on stderr: {result}"
    assert "Traceback" not in result.err, f"a traceback: {result.err}"
    return result


def check_files(args: tuple[str, ...], cwd: str | Path | None = None) -> None:
    """The key is not in a file that the run was told to write either."""
    for option, name in itertools.pairwise(args):
        file = Path(cwd or ".", name)
        if option in ("-o", "--output", "--record") and file.is_file():
            assert b"CANARY" not in file.read_bytes(), f"the key is in {file}"


def run(
    command: Sequence[str | Path],
    *,
    stdin: bytes | int | IO[bytes] | None = None,
    env: Environment = NOTHING,
    cwd: str | Path | None = None,
    timeout: float = TIMEOUT,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> Result:
    """Run a command to its end. Stdin is bytes through a pipe, a file, or (None) /dev/null."""
    began = time.monotonic()
    source: dict[str, Any] = {"input": stdin}
    if not isinstance(stdin, bytes):
        source = {"stdin": _or_null(stdin)}
    done = subprocess.run(
        command, **source, stdout=stdout, stderr=stderr, env=environment(env), cwd=cwd, timeout=timeout, check=False
    )
    return check_result(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def _or_null(stdin: int | IO[bytes] | None) -> int | IO[bytes]:
    return subprocess.DEVNULL if stdin is None else stdin


def oastream(
    *args: str,
    stdin: bytes | int | IO[bytes] | None = None,
    env: Environment = NOTHING,
    cwd: str | Path | None = None,
    timeout: float = TIMEOUT,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    shell: str | None = None,
) -> Result:
    """Run the program to its end; for `shell` see `command`."""
    line = command(args, shell)
    result = run(line, stdin=stdin, env=env, cwd=cwd, timeout=timeout, stdout=stdout, stderr=stderr)
    check_files(args, cwd)
    return result


def run_python(code: str, *args: str, timeout: float = TIMEOUT) -> Result:
    """Run a script that imports parts of the program, in a Python of its own."""
    return run([sys.executable, "-c", code, *args], timeout=timeout)


def imported_modules(*args: str, env: Environment = NOTHING) -> set[str]:
    """The modules that a run imports, which must end well."""
    result = run([sys.executable, "-X", "importtime", *COMMAND[1:], *args], env=env)
    assert result.status == 0, result
    lines = [line for line in result.err.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


@contextlib.contextmanager
def start(
    *args: str,
    program: Sequence[str] = COMMAND,
    stdin: int | IO[bytes] | None = None,
    env: Environment = NOTHING,
    cwd: str | Path | None = None,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
    shell: str | None = None,
    new_session: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program and leave it running; whatever is left of it at the end, or after a minute, is killed."""
    process = subprocess.Popen(
        command(args, shell, program),
        stdin=_or_null(stdin),
        stdout=stdout,
        stderr=stderr,
        env=environment(env),
        cwd=cwd,
        bufsize=0,
        start_new_session=new_session,
    )
    watch = threading.Timer(2 * TIMEOUT, process.kill)
    watch.start()
    try:
        yield process
    finally:
        watch.cancel()
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def finish(process: subprocess.Popen[bytes], timeout: float = TIMEOUT) -> Result:
    """Wait for a started program, and read what is left of its output."""
    began = time.monotonic()
    out, err = process.communicate(timeout=timeout)
    return check_result(process.returncode, out, err, time.monotonic() - began)
