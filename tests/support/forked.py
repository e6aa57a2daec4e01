"""The real program without its start-up: a process that has imported everything forks once for each run.

In: what `tests.support.program.oastream` takes. Out: the same `Result`; each run has a process, descriptors and an
environment of its own. For tests of hundreds of runs, where 5 ms and not 200 ms a run decide what can be tried.
Run as a program it is that process: it reads jobs from a socket, and knows of the programs only their `main`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.support.program import NOTHING, ROOT, TIMEOUT, Environment, Result, check_files, check_result, environment

_SINGLE_RUN = ("cli.parse", "pipeline", "input.prompt", "http.transport", "http.recording", "http.replay")
PRELOADED = {
    "oastream": ("oastream.main", *(f"oastream.{name}" for name in _SINGLE_RUN)),
    "oastream-batch": ("oastream.batch.main", "oastream.batch.run", "openai"),
    "oastream-mock": ("oastream.mock.cli", "oastream.mock.server"),
}
"""What each program is likely to load; the first has its `main`. An extra may be missing."""
SLOWEST_START = 30.0


class Nursery:
    """The process that forks, and the socket to it. One run at a time."""

    def __init__(self, program: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = environment({"OPENAI_API_KEY": None})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", program, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=env,
            cwd=ROOT,
        )
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()
        ours.settimeout(SLOWEST_START)
        assert ours.recv(16) == b"ready"
        atexit.register(self.close)

    def run(
        self, args: tuple[str, ...], env: Environment, cwd: Path | None, stdin: bytes | None, limit: float
    ) -> Result:
        with contextlib.ExitStack() as stack, self._lock:
            files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr")]
            for fd in files:
                stack.callback(os.close, fd)
            os.pwrite(files[0], stdin or b"", 0)
            began = time.monotonic()
            job = {"args": args, "env": environment(env), "cwd": cwd and str(cwd), "stdin": stdin is not None}
            socket.send_fds(self._socket, [json.dumps(job).encode()], files)
            status = self._await_status(limit)
            seconds = time.monotonic() - began
            out, err = (os.pread(fd, os.fstat(fd).st_size, 0) for fd in files[1:])
        check_files(args, cwd)
        return check_result(status, out, err, seconds)

    def first_line(self, args: tuple[str, ...], env: Environment, cwd: Path | None, limit: float) -> tuple[str, Result]:
        """Run a server until it has said its first line, and end it by a signal."""
        with contextlib.ExitStack() as stack, self._lock:
            reading, writing = os.pipe()
            files = [os.memfd_create("stdin"), writing, os.memfd_create("stderr")]
            job = {"args": args, "env": environment(env), "cwd": cwd and str(cwd), "stdin": False}
            socket.send_fds(self._socket, [json.dumps(job).encode()], files)
            os.close(writing)
            stack.callback(os.close, files[0])
            stack.callback(os.close, files[2])
            self._socket.settimeout(SLOWEST_START)
            child = int(self._socket.recv(16))
            with open(reading) as output:
                line = output.readline()  # at the end of what it says, if it ends by itself
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM)
            self._socket.settimeout(limit)
            status = int(self._socket.recv(16))
            err = os.pread(files[2], os.fstat(files[2]).st_size, 0)
        return line, check_result(status, line.encode(), err)

    def _await_status(self, limit: float) -> int:
        """The status of the run that was handed over; one that takes too long is killed, and fails the test."""
        self._socket.settimeout(SLOWEST_START)
        child = int(self._socket.recv(16))
        self._socket.settimeout(limit)
        try:
            return int(self._socket.recv(16))
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            self._socket.settimeout(SLOWEST_START)
            self._socket.recv(16)
            raise AssertionError(f"still running after {limit} s") from None

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


_nurseries: dict[str, Nursery] = {}


def oastream(
    *args: str,
    stdin: bytes | None = None,
    env: Environment = NOTHING,
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
    program: str = "oastream",
) -> Result:
    """Run the program to its end. Stdin is a file with these bytes, or /dev/null."""
    return _nursery_of(program).run(args, env, cwd, stdin, timeout)


def first_line(
    *args: str, program: str, env: Environment = NOTHING, cwd: Path | None = None, timeout: float = TIMEOUT
) -> tuple[str, Result]:
    """Run a server until it has said its first line, and end it by a signal."""
    return _nursery_of(program).first_line(args, env, cwd, timeout)


def _nursery_of(program: str) -> Nursery:
    """One process for the whole test run."""
    if program not in _nurseries:
        _nurseries[program] = Nursery(program)
    return _nurseries[program]


# The process that forks ------------------------------------------------------------------------------------------


def main() -> None:
    program, number = sys.argv[1:]
    for name in PRELOADED[program]:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or every child would touch, and so copy, all that was imported
    jobs = socket.socket(fileno=int(number))
    jobs.send(b"ready")
    while True:
        data, fds, _, _ = socket.recv_fds(jobs, 1 << 20, 3)
        if not data:
            return
        child = os.fork()
        if not child:
            jobs.close()
            become(program, json.loads(data), fds)
        for fd in fds:
            os.close(fd)
        jobs.send(b"%d" % child)
        jobs.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def become(program: str, job: dict[str, object], fds: list[int]) -> None:
    """Turn this process into a run of the program."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    if not job["stdin"]:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    if job["cwd"]:
        os.chdir(str(job["cwd"]))
    given = job["env"]
    args = job["args"]
    assert isinstance(given, dict)
    assert isinstance(args, list)
    os.environ.clear()
    os.environ.update(given)
    sys.argv = [program, *args]
    for module in filter(None, os.environ.get("TESTS_PRELOAD", "").split(",")):
        importlib.import_module(module)
    importlib.import_module(PRELOADED[program][0]).main()
    os._exit(97)  # main never returns


if __name__ == "__main__":
    main()
