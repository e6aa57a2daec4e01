"""The environment and the system's files → which certificates are trusted, as contexts of `ssl`.

In: SSL_CERT_FILE, SSL_CERT_DIR, the paths that OpenSSL was compiled with. Out: a context. The one owner of trust, for
every connection of a run. Loaded only for TLS; knows nothing of connections.

OpenSSL trusts a file and a directory, both. In a directory of names like 5ed36f99.0 (`openssl rehash`) an issuer is
looked up when it is wanted; a file is parsed as a whole, and that of a system is 243 of the 480 million instructions
of a short answer. So the directory is asked first, and the file is read once a certificate could not be verified by
that alone: what is trusted is the same. No byte of a request is sent before a certificate is verified.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import stat
import sys
import threading
from typing import Any

from oastream.exits import Outcome, failure_of
from oastream.system_errors import describe_error

_ARGUMENTS = {"SSL_CERT_FILE": "cafile", "SSL_CERT_DIR": "capath"}

_SMALL_FILE = 16384
"""Bytes of a file that is parsed sooner than a second handshake is made: about ten certificates."""

_BUNDLES = (
    "/etc/ssl/cert.pem",  # Alpine, Arch, Fedora, BSD
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, Red Hat
    "/etc/pki/tls/cert.pem",  # the same until 2025
    "/etc/ssl/certs/ca-certificates.crt",  # Debian
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where systems keep their certificates, for a Python whose OpenSSL was compiled for another system.

The files, and their order, are those of `truststore`, which is asked on other systems than Linux.
"""


class Trust:
    """What the connections of a run trust. Each context is made once, by whichever thread wants it first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: Any = None
        self._whole: Any = None

    def context(self) -> Any:
        """What to verify with: the directory alone where it may do, until `widen`; else all that is trusted.

        Raises `Failure` (config) for a variable that names no certificates.
        """
        with self._lock:
            if self._whole is None and self._first is None:
                self._make_first()
            return self._whole or self._first

    def whole_context(self) -> Any:
        """All that is trusted, for those who cannot connect again. Raises as `context` does."""
        with self._lock:
            if self._whole is None:
                self._whole = _whole_context(_Locations())
            return self._whole

    def widen(self, error: BaseException) -> bool:
        """Trust the file as well from now on. False where that cannot mend the error: it is final."""
        if not isinstance(error, ssl.SSLCertVerificationError) or self._whole is not None:
            return False
        self.whole_context()
        return True

    def _make_first(self) -> None:
        locations = _Locations()
        if locations.directory_may_do():
            self._first = _new_context()
            self._first.load_verify_locations(capath=locations.directory)
        else:
            self._whole = _whole_context(locations)


TRUST = Trust()
"""The one of this process."""


def may_block() -> bool:
    """Whether a variable names a FIFO, as a shell's <(cat …) is: only a thread may wait for what is in it."""
    for variable in _ARGUMENTS:
        with contextlib.suppress(OSError, ValueError):
            if stat.S_ISFIFO(os.stat(os.environ.get(variable, "")).st_mode):
                return True
    return False


class _Locations:
    """Where certificates are: what the variables name, else where OpenSSL looks. None for what is not there."""

    def __init__(self) -> None:
        usual = ssl.get_default_verify_paths()  # an empty variable takes its usual place away, as OpenSSL has it
        self.named = {variable: os.environ.get(variable) for variable in _ARGUMENTS}
        self.file = self.named["SSL_CERT_FILE"] or usual.cafile
        self.directory = self.named["SSL_CERT_DIR"] or usual.capath

    @property
    def are_named(self) -> bool:
        return any(self.named.values())

    def directory_may_do(self) -> bool:
        """Whether to ask the directory before the file is read.

        Not where a file alone is named: what the run needs is likely to be in there. Whatever is wrong with the file
        is found, and said, by who reads it.
        """
        if self.named["SSL_CERT_FILE"] and not self.named["SSL_CERT_DIR"]:
            return False
        return _is_large_bundle(self.file) and has_hashed_names(self.directory)


def _is_large_bundle(path: str | None) -> bool:
    """Whether it is a file with certificates, and so many of them that it is worth not to parse them."""
    if not path:
        return False
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size <= _SMALL_FILE:
            return False
        with open(path, "rb") as file:
            return b"-----BEGIN " in file.read()
    except (OSError, ValueError):
        return False


def has_hashed_names(directory: str | None) -> bool:
    """Whether OpenSSL can find anything in the directory: `openssl rehash` has been there."""
    if not directory:
        return False
    try:
        with os.scandir(directory) as entries:
            return any(_is_hashed_name(entry.name) for entry in entries)
    except (OSError, ValueError):
        return False


def _is_hashed_name(name: str) -> bool:
    """As in 5ed36f99.0: the hash of a subject, and which of the certificates with that hash it is."""
    return len(name) == 10 and name[8] == "." and name[9].isdigit() and set(name[:8]) <= set("0123456789abcdef")


def _new_context() -> ssl.SSLContext:
    """Trusts nothing yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _whole_context(locations: _Locations) -> Any:
    """Trusts the certificates that SSL_CERT_FILE and SSL_CERT_DIR name, as OpenSSL would; else the system's."""
    if not locations.are_named and sys.platform != "linux":
        return _context_of_another_system()
    context = _new_context()
    if locations.are_named:
        _load_named(context, locations)
    elif locations.file or has_hashed_names(locations.directory):
        context.set_default_verify_paths()
    elif bundle := next(filter(os.path.isfile, _BUNDLES), None):
        context.load_verify_locations(cafile=bundle)
    return context


def _context_of_another_system() -> Any:
    import truststore  # 14 million instructions, and Linux keeps certificates in files

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_named(context: ssl.SSLContext, locations: _Locations) -> None:
    """What the variables name must be there: OpenSSL would pass over it in silence."""
    for variable, path in (("SSL_CERT_FILE", locations.file), ("SSL_CERT_DIR", locations.directory)):
        if not path:
            continue
        try:
            os.stat(path)
            context.load_verify_locations(**{_ARGUMENTS[variable]: path})
        except OSError as error:  # an ssl.SSLError is one
            if not locations.named[variable]:
                continue
            why = f"{path}: {_why_no_certificates(error)}"
            raise failure_of(Outcome.CONFIG, f"cannot use {variable}", why) from error


def _why_no_certificates(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):  # whose own words are of PEM and of file formats
        return "no certificates found"
    return describe_error(error)
