"""Engines of several nodes on this one machine: hosts that ssh reaches.

In: a folder. Out: running daemons, each node's to be killed by itself, and what `--on-args` needs to find them. Knows
nothing of oastream.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import wait_until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """The processes that this one has started, and theirs: a node has them all."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in children.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def kill_node(pid: int) -> None:
    """Everything that runs there, at once and without a word. What is stopped starts nothing while it is looked at."""
    killed: set[int] = set()
    while left := {pid, *descendants(pid)} - killed:
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        killed |= left
    for each in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


class Hosts:
    """Machines that ssh reaches, each an sshd of its own. `login_file` is for --sshloginfile."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        ports = [free_port() for _ in range(count)]
        self.daemons = [self._start(port) for port in ports]
        ssh = (
            f"ssh -F none -i {folder / 'user'} -o BatchMode=yes -o StrictHostKeyChecking=no"
            f" -o UserKnownHostsFile={folder / 'known'} -o LogLevel=ERROR -o ServerAliveInterval=5"
        )
        self.login_file = folder / "hosts"
        self.login_file.write_text("".join(f"{ssh} -p {port} {getpass.getuser()}@127.0.0.1\n" for port in ports))

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        config = self._folder / f"sshd.{port}"
        config.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {self._folder / 'host'}\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {self._folder / 'authorized'}\nPasswordAuthentication no\nUsePAM no\n"
            f"PermitUserEnvironment no\nMaxStartups 100\nMaxSessions 100\nSetEnv PYTHONPATH={_python_path()}\n"
        )
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        with (self._folder / f"sshd.{port}.log").open("wb") as log:
            daemon = subprocess.Popen([sshd, "-D", "-e", "-f", config], stderr=log, stdin=subprocess.DEVNULL)
        assert wait_until(lambda: _is_listening(port) or daemon.poll() is not None)
        assert daemon.poll() is None, (self._folder / f"sshd.{port}.log").read_text()
        return daemon

    def close(self) -> None:
        for daemon in self.daemons:
            kill_node(daemon.pid)
            daemon.wait()


def _python_path() -> str:
    return str(Path(__file__).parents[2])


def _is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def run_hosts(folder: Path, count: int) -> Iterator[Hosts]:
    """Hosts for the length of a test. As root, sshd wants its folder for those that are not logged in yet."""
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    hosts = Hosts(folder, count)
    try:
        yield hosts
    finally:
        hosts.close()


def why_no_hosts() -> str:
    """Why parallel has no hosts to go to here; an empty text where it has."""
    missing = [name for name in ("parallel", "ssh", "ssh-keygen") if shutil.which(name) is None]
    if shutil.which("sshd") is None and not os.path.exists("/usr/sbin/sshd"):
        missing.append("sshd")
    return f"without {', '.join(missing)}" if missing else ""
