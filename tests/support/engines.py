"""Engines of several nodes on this one machine: hosts that ssh reaches, clusters of Slurm and of Ray.

In: a folder. Out: running daemons, each node's to be killed by itself, and what `--on-args` needs to find them. Knows
nothing of oastream.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
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


class Slurm:
    """A cluster of its own, each node a slurmd. `environment` is what sbatch needs to find it."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._nodes = [f"node{number}" for number in range(count)]
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._write_configuration()
        try:
            self._start_all()
        except BaseException:
            self.close()
            raise

    def _write_configuration(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = [free_port() for _ in range(len(self._nodes) + 1)]
        folder = self._folder
        lines = [
            "ClusterName=oastream",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmUser={getpass.getuser()}",
            f"SlurmdUser={getpass.getuser()}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={folder}/munge.socket",
            f"StateSaveLocation={folder}/state",
            f"SlurmdSpoolDir={folder}/spool.%n",
            f"SlurmctldPidFile={folder}/slurmctld.pid",
            f"SlurmdPidFile={folder}/slurmd.%n.pid",
            f"SlurmctldPort={ports[0]}",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "SlurmdParameters=config_overrides",
            "MpiDefault=none",
            "SwitchType=switch/none",
            "ReturnToService=2",
            "SchedulerParameters=batch_sched_delay=0,sched_interval=1",
            *(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1"
                for node, port in zip(self._nodes, ports[1:], strict=True)
            ),
            f"PartitionName=all Nodes={','.join(self._nodes)} Default=YES State=UP",
        ]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")

    def _start_all(self) -> None:
        folder = self._folder
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        socket_path = folder / "munge.socket"
        names = ("socket", "key-file", "log-file", "pid-file", "seed-file")
        files = [f"--{name}={folder}/munge.{name.removesuffix('-file')}" for name in names]
        self._daemons.append(self._start(["munged", "--foreground", "--force", *files]))
        assert wait_until(socket_path.exists), "munged does not start"
        self._daemons.append(self._start(["slurmctld", "-D", "-i"]))
        for node in self._nodes:
            (folder / f"spool.{node}").mkdir()
            self._daemons.append(self._start_node(node))
        assert wait_until(self._is_whole, 20)

    def _start_node(self, node: str) -> subprocess.Popen[bytes]:
        return self._start(["slurmd", "-D", "-N", node])

    def _is_whole(self) -> bool:
        return self._say("sinfo", "-h", "-t", "idle", "-o", "%D") == str(len(self._nodes))

    def _start(self, words: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / f"{words[0]}.{len(self._daemons)}.log").open("wb") as log:
            environment = {**os.environ, **self.environment}
            path = shutil.which(words[0]) or f"/usr/sbin/{words[0]}"
            return subprocess.Popen(
                [path, *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def _say(self, *words: str) -> str:
        run = subprocess.run(words, capture_output=True, env={**os.environ, **self.environment}, check=False)
        return run.stdout.decode().strip()

    def lose(self, number: int) -> None:
        """Kill a node with all that runs there; the controller knows now, and queues what it had without a delay."""
        node = self._nodes[number]
        tasks = _processes_on(node)
        daemons = [_parent(pid) for pid in tasks if _parent(pid) not in tasks]
        for pid in [self._daemons[2 + number].pid, *daemons]:
            kill_node(pid)
        self._say("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        assert wait_until(lambda: bool(self._requeued()))
        for job in self._requeued():
            self._say("scontrol", "update", f"JobId={job}", "StartTime=now")  # 2 minutes later by default

    def return_all(self) -> None:
        """Nodes that were lost are there again."""
        for number, node in enumerate(self._nodes):
            if self._daemons[2 + number].poll() is not None:
                self._daemons[2 + number] = self._start_node(node)
        assert wait_until(self._is_whole, 20)

    def _requeued(self) -> list[str]:
        lines = self._say("squeue", "-h", "-t", "PENDING", "-o", "%A %r").splitlines()
        return [line.split()[0] for line in lines if line.endswith("BeginTime")]

    def queue(self) -> str:
        """What waits or runs."""
        return self._say("squeue", "-h")

    def close(self) -> None:
        for node in self._nodes:
            for pid in _processes_on(node):
                kill_node(pid)
        for daemon in reversed(self._daemons):
            kill_node(daemon.pid)
            daemon.wait()


def _processes_on(node: str) -> list[int]:
    """Those that the cluster has started on this node of it."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"SLURMD_NODENAME={node}".encode() in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def why_no_slurm() -> str:
    """Why there is no cluster of Slurm here; an empty text where there can be."""
    daemons = ("munged", "slurmctld", "slurmd")
    missing = [name for name in daemons if not (shutil.which(name) or os.path.exists(f"/usr/sbin/{name}"))]
    missing += [name for name in ("sbatch", "scontrol", "scancel") if shutil.which(name) is None]
    if not missing and os.getuid() != 0:
        return "slurmd needs root"
    return f"without {', '.join(missing)}" if missing else ""


@contextlib.contextmanager
def run_slurm(folder: Path, count: int) -> Iterator[Slurm]:
    """A cluster for the length of a module."""
    cluster = Slurm(folder, count)
    try:
        yield cluster
    finally:
        cluster.close()


class RayCluster:
    """A cluster of Ray, its nodes with a CPU each. `environment` is what a driver needs to find it."""

    def __init__(self, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.ray_nodes", str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_python_path(),
            env={**os.environ, "PYTHONPATH": _python_path(), "RAY_USAGE_STATS_ENABLED": "0"},
        )
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self._nodes: list[int] = told["nodes"]
        self.environment = {"RAY_ADDRESS": told["address"]}

    def lose(self, number: int) -> None:
        """Kill a node with all that runs there."""
        kill_node(self._nodes[number])

    def close(self) -> None:
        self._process.communicate()


@contextlib.contextmanager
def run_ray(count: int) -> Iterator[RayCluster]:
    """A cluster for the length of a module."""
    cluster = RayCluster(count)
    try:
        yield cluster
    finally:
        cluster.close()
