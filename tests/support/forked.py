"""The real program without its start-up: a process that has imported everything forks once for each run.

In: what `tests.support.program.oastream` takes. Out: the same `Result`; each run has a process, descriptors and an
environment of its own. For tests of hundreds of runs, where 5 ms and not 200 ms a run decide what can be tried.
Run as a program it is that process: it reads jobs from a socket, and knows of oastream only its `main`.
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

PRELOADED = ("main", "cli.parse", "pipeline", "input.prompt", "http.transport", "http.recording", "http.replay")
SLOWEST_START = 30.0


class Nursery:
    """The process that forks, and the socket to it. One run at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        env = environment({"OPENAI_API_KEY": None})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
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


_nursery: Nursery | None = None


def oastream(
    *args: str,
    stdin: bytes | None = None,
    env: Environment = NOTHING,
    cwd: Path | None = None,
    timeout: float = TIMEOUT,
) -> Result:
    """Run the program to its end. Stdin is a file with these bytes, or /dev/null."""
    global _nursery  # noqa: PLW0603  one process for the whole test run
    if _nursery is None:
        _nursery = Nursery()
    return _nursery.run(args, env, cwd, stdin, timeout)


# The process that forks ------------------------------------------------------------------------------------------


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(f"oastream.{name}")
    gc.collect()
    gc.freeze()  # or every child would touch, and so copy, all that was imported
    jobs = socket.socket(fileno=int(sys.argv[1]))
    jobs.send(b"ready")
    while True:
        data, fds, _, _ = socket.recv_fds(jobs, 1 << 20, 3)
        if not data:
            return
        child = os.fork()
        if not child:
            jobs.close()
            become(json.loads(data), fds)
        for fd in fds:
            os.close(fd)
        jobs.send(b"%d" % child)
        jobs.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def become(job: dict[str, object], fds: list[int]) -> None:
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
    sys.argv = ["oastream", *args]
    for module in filter(None, os.environ.get("TESTS_PRELOAD", "").split(",")):
        importlib.import_module(module)
    importlib.import_module("oastream.main").main()
    os._exit(97)  # main never returns


if __name__ == "__main__":
    main()
