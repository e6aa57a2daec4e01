"""A name service for one run of the program: names that no resolver knows, with the addresses that a test wants.

In: names and addresses. Out: an environment in which the interpreter finds them. Only the resolver is replaced, which
is the system's; the connections are real.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.program import ROOT

_RESOLVER = """
import json, socket
NAMES = json.loads({names!r})
resolve = socket.getaddrinfo

def getaddrinfo(host, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else host
    return [found for address in NAMES.get(name, [name]) for found in resolve(address, *rest, **more)]

socket.getaddrinfo = getaddrinfo
"""


def use_names(folder: Path, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The environment of a run for which each name has these addresses, in this order."""
    place = folder / "names"
    place.mkdir(exist_ok=True)
    (place / "sitecustomize.py").write_text(_RESOLVER.format(names=json.dumps(names)))
    return {"PYTHONPATH": f"{place}:{ROOT}"}
