"""Makes the N-th I/O call of a process fail: a fault injector around the real program, which knows nothing of it.

In: FAIL, `CALL:N:HOW:ERROR`, as in `write:3:once:ENOSPC`; FAIL_LOG, the name of a file. Out: the N-th call (`once`), or
each from the N-th on (`always`), raises the error; with `short` it does as little as a system call may, with the name
of a signal it succeeds and the signal comes meanwhile. The file gets a line for every call that was counted: `write`,
and `write!` for one that failed.
Python loads it by its name when its folder is on PYTHONPATH.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from collections.abc import Callable
from typing import Any

STDERR = 2
_counted: dict[str, int] = {}
_write, _open = os.write, os.open


def is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def install(fault: str, log: str) -> None:
    call, number, how, error = fault.split(":")
    log_fd = _open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def struck(name: str) -> bool:
        """Count a call; whether it is one that fails."""
        _counted[name] = count = _counted.get(name, 0) + 1
        strikes = name == call and (count >= int(number) if how == "always" else count == int(number))
        _write(log_fd, f"{name}{'!' * strikes}\n".encode())
        return strikes

    def counts(name: str, args: tuple[Any, ...]) -> bool:
        """Writes to stderr may fail unnoticed; the end of a pipe or socket that was read cannot fail to close."""
        return not (name == "write" and args[0] == STDERR) and not (name == "close" and not is_file(args[0]))

    def failing(name: str, do: Callable[..., Any], short: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def wrapper(*args: Any, **more: Any) -> Any:
            if not counts(name, args) or not struck(name):
                return do(*args, **more)
            if error == "short" and short is not None:
                return short(do, *args)
            if error.startswith("SIG"):
                os.kill(os.getpid(), getattr(signal, error))
                return do(*args, **more)
            if name == "close":
                do(*args)  # Linux: the descriptor is gone, whatever close says
            if name == "send":
                args[0].shutdown(socket.SHUT_RDWR)  # what cannot be written to is dead
            number = getattr(errno, error)
            if do.__name__ == "connect_ex":  # says it in its value
                return number
            raise OSError(number, os.strerror(number))

        return wrapper

    def one_byte(do: Callable[..., Any], where: Any, data: Any, *more: Any) -> Any:
        return do(where, memoryview(data)[:1], *more)

    def nothing(do: Callable[..., Any], *args: Any) -> bytes:
        return b""

    def no_bytes(do: Callable[..., Any], *args: Any) -> int:
        return 0

    replacements: dict[str, Any] = {
        "write": failing("write", os.write, one_byte),
        **{
            name: failing(name, getattr(os, name))
            for name in ("fsync", "replace", "close", "ftruncate", "open", "pipe")
        },
    }
    for name, replacement in replacements.items():
        setattr(os, name, replacement)
    methods = {
        "connect": None,
        "connect_ex": None,
        "send": one_byte,
        "recv": nothing,
        "recv_into": no_bytes,
        "setsockopt": None,
    }
    for name, short in methods.items():
        counted = name.removesuffix("_into").removesuffix("_ex")  # both receive, both connect
        setattr(socket.socket, name, failing(counted, getattr(socket.socket, name), short))


if os.environ.get("FAIL"):
    install(os.environ["FAIL"], os.environ["FAIL_LOG"])
