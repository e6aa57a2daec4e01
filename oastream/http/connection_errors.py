"""What goes wrong between us and a server → a `Failure`, in one table for every way to connect.

In: an exception of the sockets, of ssl or of `http1`, and how messages name the other end. Out: a `Failure` with its
outcome and its words. Loaded only when something has gone wrong; a bug stays the exception that it is.
"""

from __future__ import annotations

import socket

from oastream.exits import Failure, Outcome, failure_of
from oastream.http.http1 import NoReply, NotHttp, UnreadableBody
from oastream.system_errors import describe_connection_error

ConnectionProblem = OSError | UnicodeError | NoReply | NotHttp | UnreadableBody
"""What the sockets, ssl, the resolver and `http1` raise."""


def as_failure(error: BaseException, label: str) -> BaseException:
    """What went wrong on the way to `label`, or in what it sent, as a `Failure`; a bug stays what it is."""
    if isinstance(error, ConnectionProblem):
        return connection_failure(error, label)
    return error


def connection_failure(error: ConnectionProblem, label: str) -> Failure:
    """The same for what cannot be a bug."""
    if isinstance(error, NoReply):
        return failure_of(Outcome.UNREACHABLE, f"no reply from {label}", error)
    if isinstance(error, NotHttp):
        return failure_of(Outcome.NOT_API, f"{label} {error.what}", error)
    if isinstance(error, UnreadableBody):
        return failure_of(Outcome.MALFORMED, "cannot read the answer", error)
    if isinstance(error, UnicodeError):
        return failure_of(Outcome.UNREACHABLE, f"cannot reach {label}", "invalid host name")
    return _unreachable(error, label)


def _unreachable(error: OSError, label: str) -> Failure:
    """Of the exceptions that are an `OSError` the narrower ones come first."""
    what = f"cannot reach {label}"
    if isinstance(error, TimeoutError) and error.errno is None:  # else the kernel's ETIMEDOUT: no deadline of ours
        return failure_of(Outcome.TIMEOUT, what, "no connection within --connect-timeout")
    if isinstance(error, socket.gaierror):
        return failure_of(Outcome.UNREACHABLE, what, f"DNS: {(error.strerror or 'no such host').lower()}")
    if type(error).__module__ == "ssl":  # by name: plain http never loads ssl
        return _no_tls(error, label)
    return failure_of(Outcome.UNREACHABLE, what, describe_connection_error(error))


def _no_tls(error: OSError, label: str) -> Failure:
    if why := getattr(error, "verify_message", None):
        hint = "SSL_CERT_FILE names a file of certificates to trust"
        return failure_of(Outcome.TLS, f"the certificate of {label} is not trusted", why, hint)
    reason = getattr(error, "reason", None) or "the connection was closed"
    hint = ""
    if reason == "WRONG_VERSION_NUMBER":  # the first bytes of an HTTP reply are no record of TLS
        hint = "is it plain http?"
    return failure_of(Outcome.TLS, f"no TLS with {label}", str(reason).replace("_", " ").lower(), hint)
