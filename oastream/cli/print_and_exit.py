"""How parsing ends where a text was asked for and no run. A module of its own: a run without help loads no more."""


class PrintAndExit(Exception):
    """Ends parsing with a text for stdout: --help, --version, a man page."""
