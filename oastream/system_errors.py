"""What the system refuses, in the words of a message: the one place that reads `errno` and `strerror` for a user.

In: an `OSError`, or the `ValueError` that Python raises for a path with a null byte. Out: why, as the end of a message
that has named the file or the host already. Does not decide what the refusal means for the run.
"""

from __future__ import annotations

import errno
import os

_CONNECTION_WORDS = {
    # Linux and macOS have different words for these, and EPIPE's are about pipes.
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ETIMEDOUT: "connection timed out",
}


def describe_error(error: OSError | ValueError) -> str:
    """Why the system refuses. It names no file: whoever writes the message knows by which name the user does."""
    words = str(error)
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    return words[:1].lower() + words[1:]


def describe_connection_error(error: OSError) -> str:
    """Why there is no connection, or none any longer."""
    code = error.errno or 0
    if code in _CONNECTION_WORDS:
        return _CONNECTION_WORDS[code]
    if code:
        return os.strerror(code).lower()
    return str(error).lower()


def describe_break(error: OSError) -> str:
    """Why an open connection has failed: whatever the kernel or TLS calls it, the other end is gone."""
    if error.errno == errno.ETIMEDOUT:
        return _CONNECTION_WORDS[errno.ETIMEDOUT]
    return _CONNECTION_WORDS[errno.ECONNRESET]
