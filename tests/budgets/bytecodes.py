"""`python -m tests.budgets.bytecodes FILE WORD...`: a run of oastream that counts the bytecodes of each module.

In: the words of a command line. Out: FILE, JSON: module → number of bytecodes that its code executed, its import
included. A trace function sees every one of them; what C code does for one is not seen.
"""

from __future__ import annotations

import collections
import importlib
import json
import os
import sys
from types import FrameType
from typing import Any, NoReturn

counts: collections.Counter[str] = collections.Counter()
target, *words = sys.argv[1:]
leave = os._exit


def trace(frame: FrameType, event: str, _argument: object) -> Any:
    frame.f_trace_opcodes = True
    frame.f_trace_lines = False
    if event == "opcode":
        counts[frame.f_globals.get("__name__", "?")] += 1
    return trace


def write_counts(status: int) -> NoReturn:
    """In place of os._exit, with which a run ends."""
    sys.settrace(None)
    with open(target, "w") as file:
        json.dump(counts, file)
    leave(status)


os._exit = write_counts
sys.argv = ["oastream", *words]
sys.settrace(trace)

importlib.import_module("oastream.main").main()
