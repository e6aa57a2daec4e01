"""A llama.cpp for one run: started on loopback, and gone with the run.

In: what follows `local:`, how many answers at once. Out: the base URL of its API. Its noise goes nowhere: what a user
must know of it is said here. How a model is loaded is `process`'s to know, which model it is `models`'.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping

from oastream.display import one_line
from oastream.exits import Failure, Outcome, failure_of
from oastream.local.models import check_format, find_model, find_unnamed, install_model_command
from oastream.packages import install_command, is_installed
from oastream.reading import read_all
from oastream.system_errors import describe_error
from oastream.watch import Watch

PACKAGE = "xllamacpp"
_WAIT_POLICY = "OMP_WAIT_POLICY"
"""How threads wait for each other. By default they spin; on two cores with other work, 60 tokens take 30 s then, not 3:
https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html."""
_NOT_STARTED = "!"
"""What the process writes before the reason."""


class LocalServer:
    """A process that answers from a model. `url` is the base URL of its API; `close` ends it."""

    def __init__(self, name: str, slots: int, environ: Mapping[str, str], watch: Watch, deadline: float = math.inf):
        """Wait until the model is loaded. `name` is what follows `local:`, empty where no file is named.

        Raises `Failure`: config without the package, without a model, or for one that llama.cpp cannot load; what
        ended the wait otherwise. `deadline` is a moment of the run's clock, in seconds.
        """
        if not is_installed(PACKAGE):
            raise _no_package_failure(environ)
        path = find_model(name, environ)
        check_format(path)
        self._process = _start_process(path, slots)
        try:
            self.url = f"{self._read_address(path, watch, deadline)}/v1"
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()

    def _read_address(self, path: str, watch: Watch, deadline: float) -> str:
        assert self._process.stdout is not None
        said = read_all(self._process.stdout.fileno(), f"{path} to be loaded", watch, deadline).decode().strip()
        if said.startswith("http"):
            return said
        what = f"llama.cpp cannot load {path}"
        if said.startswith(_NOT_STARTED):
            why = "it is no model that this version knows, or too large for the memory"
            raise failure_of(Outcome.CONFIG, what, f"{why} ({one_line(said.removeprefix(_NOT_STARTED))})")
        raise failure_of(Outcome.CONFIG, what, "the process that loads it has ended; is there enough memory?")


def _no_package_failure(environ: Mapping[str, str]) -> Failure:
    """The end of a run without llama.cpp. Who has no model either is told of both at once."""
    hint = f"{install_command()} {PACKAGE}"
    if find_unnamed(environ) is None:
        hint += f" && {install_model_command()}"
    return failure_of(Outcome.CONFIG, "local: needs a package that is not installed", PACKAGE, hint)


def _start_process(path: str, slots: int) -> subprocess.Popen[bytes]:
    program = os.path.join(os.path.dirname(__file__), "process.py")
    name = os.path.splitext(os.path.basename(path))[0]
    words = [sys.executable, "-P", program, str(os.getpid()), os.path.abspath(path), name, str(slots)]
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={_WAIT_POLICY: "passive", **os.environ},
            start_new_session=True,  # Ctrl-C is for the run, which may let what is in flight end
        )
    except OSError as error:
        raise failure_of(Outcome.CONFIG, "cannot start llama.cpp", describe_error(error)) from error
