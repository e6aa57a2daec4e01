"""Modules that libraries import and a run hardly ever uses: each is loaded when something of it is first wanted.

In: their names. Out: a stand-in for each in `sys.modules`. Knows nothing of who imports them.

What PEP 810 brings to Python 3.15, for the few modules that are worth it. Measured in instructions of a whole 20-event
answer (Python 3.11, 173 million with all three): `inspect`, which dataclasses and click import for signatures, 30
million with the eight modules behind it; `platform`, which uuid asks for the name of the system, 8 for regular
expressions that nobody matches; `ipaddress`, which urllib.parse imports for hosts in brackets, 5.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

_loading = threading.RLock()
"""Held while a module takes the place of its stand-in: the thread that connects may want it at the same moment."""


class Deferred(ModuleType):
    """Stands in `sys.modules` for the module of its name, until an attribute of that is asked for.

    Whoever only wants to know whether there is such a module (`importlib.util.find_spec`) gets the module's own spec.
    """

    def __init__(self, name: str, known: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(known)
        for finder in sys.meta_path:
            # importlib.util.find_spec asks the same, and would import what importlib.util needs.
            if spec := finder.find_spec(name, None):
                self.__spec__ = spec
                break

    def __getattr__(self, name: str) -> Any:
        with _loading:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
            module = __import__(self.__name__)
        self.__dict__.update(vars(module))  # for whoever holds the stand-in: from now on it has every attribute itself
        return getattr(module, name)


def defer(name: str, **known: Any) -> None:
    """Put off the import of this module by any module; one that is loaded already stays.

    `known` are attributes of it that can be told without loading it."""
    if name not in sys.modules:
        sys.modules[name] = Deferred(name, known)
