"""Where the configuration file is. Knows nothing of what is in it, so that looking for one costs nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping


def config_path(environ: Mapping[str, str]) -> str:
    """The configuration file. The XDG specification has a relative XDG_CONFIG_HOME ignored."""
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        base = os.path.expanduser("~/.config")
    return os.path.join(base, "oastream", "config.toml")
