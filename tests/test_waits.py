"""Every wait of the program ends by signal, deadline and reader alike, also one for a file or a command."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.program import COMMAND, FILE_OPTIONS, Environment, environment, finish, oastream, start
from tests.support.streams import message, responses_body
from tests.support.terminal import Terminal
from tests.support.waiting import SOON, wait_until
from tests.support.wire import serve, sse_response, stall

NOWHERE = ("--base-url", "http://127.0.0.1:1/v1")
ANSWER = sse_response(responses_body(message("ok")))

FIFOS = {name: words for name, words in FILE_OPTIONS.items() if name != "history"}  # which a FIFO cannot be
COMMANDS = {
    "sleep": "sleep 60",
    "pipe": "sleep 60 | cat",
    "stdout-closed": "exec >&-; sleep 60",
    "deaf": "trap '' INT TERM HUP; sleep 60 & wait; sleep 60",
}
WAITS = [*(("fifo", name) for name in FIFOS), *(("command", name) for name in COMMANDS)]
each_wait = pytest.mark.parametrize(("kind", "name"), WAITS, ids=lambda value: value)


def in_wait(kind: str, name: str, folder: Path) -> tuple[tuple[str, ...], Environment]:
    """Arguments and environment of a run that waits for what never comes."""
    if kind == "command":
        return (*NOWHERE, "hi"), {"OASTREAM_API_KEY_CMD": COMMANDS[name]}
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    where = () if name == "replay" else NOWHERE
    return (*where, *(word.replace("{}", str(fifo)) for word in FIFOS[name])), {}


def catches_signals(process: subprocess.Popen[bytes]) -> bool:
    """Whether the run has begun: from here on a signal no longer kills by itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)  # SIGINT is Python's own from the start


@contextmanager
def waiting(kind: str, name: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    args, env = in_wait(kind, name, folder)
    with start(*args, env=env, new_session=True) as process:
        assert wait_until(lambda: catches_signals(process))
        yield process


@each_wait
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_the_wait(number: signal.Signals, kind: str, name: str, tmp_path: Path) -> None:
    """The end of stderr, which a command has too, tells that nothing of it is left."""
    with waiting(kind, name, tmp_path) as process:
        os.kill(process.pid, number)
        assert finish(process, SOON).status == -number


@each_wait
def test_max_time_ends_the_wait(kind: str, name: str, tmp_path: Path) -> None:
    args, env = in_wait(kind, name, tmp_path)
    result = oastream("--max-time", "0.3", *args, env=env, timeout=SOON)
    assert result.status == 33
    assert "--max-time" in result.message


@each_wait
def test_the_end_of_stdouts_reader_ends_the_wait(kind: str, name: str, tmp_path: Path) -> None:
    if name == "output":
        pytest.skip("its stdout is not used")
    with waiting(kind, name, tmp_path) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        result = finish(process, SOON)
    assert (result.status, result.err) == (-signal.SIGPIPE, "")


@pytest.mark.parametrize("name", [name for name in FIFOS if name not in ("output", "record", "replay")])
def test_a_fifo_is_read_to_its_end(name: str, tmp_path: Path) -> None:
    content = {
        "attach": "words",
        "schema": '{"type":"object","properties":{}}',
        "tools": "[]",
        "body": "{}",
        "api-key-file": "sk-CANARY-fifo\n",
    }
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    args = [word.replace("{}", str(fifo)) for word in FIFOS[name]]
    with serve(ANSWER) as server, start("--base-url", server.url, *args) as process:
        fifo.write_text(content.get(name, "words"))
        result = finish(process)
    assert result.status == (14 if name == "schema" else 0)


def test_a_recording_goes_into_a_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with serve(ANSWER) as server, start("--base-url", server.url, "--record", str(fifo), "hi") as process:
        recorded = fifo.read_bytes()
        assert finish(process).status == 0
    assert recorded.startswith(b'{"ms":')
    assert b"response.completed" in recorded


def test_max_time_holds_while_the_reader_of_a_recording_sleeps(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    huge = sse_response(responses_body(message("x" * 1_000_000), piece=1_000_000))
    args = ("--max-time", "1", "--record", str(fifo), "-o", os.devnull, "hi")
    with serve(huge) as server, start("--base-url", server.url, *args) as process:
        reader = os.open(fifo, os.O_RDONLY)
        try:
            assert finish(process, SOON).status in (33, 44)
        finally:
            os.close(reader)


def test_a_wait_for_certificates_ends_too(tmp_path: Path) -> None:
    """A shell's `SSL_CERT_FILE=<(cat …)` is a FIFO."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    env = {"SSL_CERT_FILE": str(fifo)}
    with serve([stall]) as server:
        args = ("--base-url", server.url.replace("http:", "https:"), "--retry", "0", "hi")
        late = oastream("--max-time", "1", *args, env=env, timeout=SOON)
        assert late.status == 33
        with start(*args, env=env) as process:
            assert wait_until(lambda: catches_signals(process))
            process.send_signal(signal.SIGINT)
            assert finish(process, SOON).status == -signal.SIGINT


def test_a_history_is_no_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    result = oastream(*NOWHERE, "--history", str(tmp_path / "fifo"), "hi", timeout=SOON)
    assert result.status == 8
    assert len(result.err.splitlines()) == 1


def test_a_configuration_is_no_fifo(tmp_path: Path) -> None:
    (tmp_path / "oastream").mkdir()
    os.mkfifo(tmp_path / "oastream" / "config.toml")
    result = oastream(*NOWHERE, "hi", env={"XDG_CONFIG_HOME": str(tmp_path)}, timeout=SOON)
    assert result.status == 6
    assert "not a regular file" in result.message


# A command that asks on the terminal


class Job:
    """oastream as the foreground of a terminal of its own, as a shell starts it."""

    def __init__(self, *args: str, env: Environment) -> None:
        self.pid, ours = pty.fork()
        if not self.pid:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(COMMAND[0], [*COMMAND, *args], environment(env))
        self.terminal = Terminal(ours)

    def status(self) -> int:
        """After everything that it still prints."""
        self.terminal.read_to_end()
        self.terminal.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


ASKS = "printf 'Pass''phrase: ' >/dev/tty; IFS= read -r key </dev/tty; echo \"$key\""


def test_a_command_may_ask_on_the_terminal_which_comes_back_to_the_run() -> None:
    with serve([stall]) as server:
        job = Job("--base-url", server.url, "-n", "hi", env={"OASTREAM_API_KEY_CMD": ASKS})
        job.terminal.read_until(b"Passphrase: ")
        job.terminal.type(b"sk-CANARY-typed\n")
        assert wait_until(lambda: bool(server.requests))
        assert server.request.headers["authorization"] == "Bearer sk-CANARY-typed"
        assert os.tcgetpgrp(job.terminal.ours) == job.pid
        job.terminal.type(b"\x03")
        assert job.status() == -signal.SIGINT


def test_ctrl_c_at_the_question_of_a_command_ends_the_run() -> None:
    job = Job(*NOWHERE, "-n", "hi", env={"OASTREAM_API_KEY_CMD": ASKS})
    job.terminal.read_until(b"Passphrase: ")
    assert wait_until(lambda: os.tcgetpgrp(job.terminal.ours) != job.pid)
    job.terminal.type(b"\x03")
    assert job.status() == -signal.SIGINT


def test_a_command_that_does_not_ask_leaves_the_terminal_alone(tmp_path: Path) -> None:
    """Others of the pipeline, such as less, read from it meanwhile."""
    os.mkfifo(tmp_path / "go")
    job = Job(*NOWHERE, "--retry", "0", "-n", "hi", env={"OASTREAM_API_KEY_CMD": f"cat {tmp_path}/go"})
    with open(tmp_path / "go", "w") as go:
        assert os.tcgetpgrp(job.terminal.ours) == job.pid
        go.write("sk-CANARY-piped")
    assert job.status() == 32
