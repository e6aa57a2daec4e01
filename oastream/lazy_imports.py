"""Modules that libraries import and a run hardly ever uses: each is loaded when something of it is first wanted.

In: their names. Out: a stand-in for each in `sys.modules`. Knows nothing of who imports them.

What PEP 810 brings to Python 3.15, for the few modules that are worth it. Measured in instructions of a whole 20-event
answer (Python 3.11, 238 million without): `inspect`, which click and dataclasses import for signatures, 20 million with
the eight modules behind it; `ipaddress`, which urllib.parse imports for hosts in brackets, 6.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any

_loading = threading.RLock()
"""Held while a module takes the place of its stand-in: the thread that connects may want it at the same moment."""


class Deferred(ModuleType):
    """Stands in `sys.modules` for the module of its name, until an attribute of that is asked for.

    Whoever only wants to know whether there is such a module (`importlib.util.find_spec`) gets the module's own spec.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
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


def defer(*names: str) -> None:
    """Put off the import of these modules by any module; those that are loaded already stay."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = Deferred(name)
