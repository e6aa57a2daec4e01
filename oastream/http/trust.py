"""Which certificates are trusted, and when they are read: one answer for every connection of a run.

In: the environment, and what the system keeps. Out: a `Trust`, whose context encrypts. Knows nothing of connections:
whoever shakes hands does so within `judging`, and begins anew when that says so. Imports ssl only when asked for trust.

1. A variable names what is trusted in place of OpenSSL's own file (SSL_CERT_FILE) or directory (SSL_CERT_DIR); what it
   names must be there. An empty one takes OpenSSL's own away; the kind that no variable mentions is trusted as well.
2. Without variables, what OpenSSL itself would: the file and the directory that this Python's was built with.
3. Where neither has a certificate (a Python from elsewhere), the first file that a distribution is known to have.
4. File and directory count together, as one set. A directory whose links are named by hashes is asked first: OpenSSL
   looks up in it what a handshake needs, and nothing is parsed. Where it cannot vouch for a server, the file is read,
   and the verdict of a second handshake, with both, is the one that counts. Nothing is sent before one has succeeded.
   Where variables name both, so it is too, if the file has many certificates; one that is named alone is read at once.
5. macOS keeps no such files: truststore asks its keychain.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from oastream.exits import Outcome, failure_of
from oastream.system_errors import describe_error

if TYPE_CHECKING:
    import ssl

_FILE, _DIRECTORY = "SSL_CERT_FILE", "SSL_CERT_DIR"
_KNOWN_FILES = (
    "/etc/ssl/cert.pem",  # Alpine, Arch, the BSDs, Fedora up to 43, OpenWrt, RHEL 9 and 10
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora from 44 on
    "/etc/pki/tls/cert.pem",  # RHEL and CentOS up to 9
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
_FEWEST = 11
"""Certificates that take longer to parse than a second handshake."""
_HEX_DIGITS = frozenset("0123456789abcdef")
_OTHER_NAME = frozenset({62, 63, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH, _IP_ADDRESS_MISMATCH: said once the issuers have been found."""

_lock = threading.Lock()
"""Held while trust is made: the thread that connects may want it before the one that loads modules is done."""
_made: list[Trust] = []


class NotInDirectory(Exception):
    """The directory of certificates could not vouch for a server: once `Trust.read_file` has, another handshake may."""


class Trust:
    """A context, and the certificates that it has not read yet."""

    def __init__(self, context: Any, read_file: Callable[[], object] | None = None) -> None:
        """`read_file` has the context read what it lacks, if it lacks anything."""
        self.context = context
        self._read_file = read_file
        self._lock = threading.Lock()

    def read_file(self) -> Any:
        """The context with all that is trusted. A file of 144 certificates takes 45 ms; the GIL is free meanwhile."""
        with self._lock:
            if self._read_file is not None:
                with contextlib.suppress(OSError):  # nobody named it: what is not there is not trusted
                    self._read_file()
                self._read_file = None
        return self.context

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """Around a handshake: `NotInDirectory` in place of a verdict that the file might change."""
        import ssl

        is_final = self._read_file is None  # as the handshake began: the file may be read for another one meanwhile
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            if is_final or error.verify_code in _OTHER_NAME:
                raise
            raise NotInDirectory from error


def shared_trust() -> Trust:
    """What every connection of the run trusts; made once. Raises `Failure` for what a variable names in vain."""
    with _lock:
        if not _made:
            _made.append(_new_trust())
        return _made[0]


def may_block() -> bool:
    """Whether a variable names a FIFO, as a shell's <(cat …) is: only a thread may wait for what is in it."""
    for variable in (_FILE, _DIRECTORY):
        with contextlib.suppress(OSError, ValueError):
            if stat.S_ISFIFO(os.stat(os.environ.get(variable, "")).st_mode):
                return True
    return False


def _new_trust() -> Trust:
    import ssl

    if os.environ.get(_FILE) or os.environ.get(_DIRECTORY):
        trust = _named_trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    elif sys.platform == "darwin":
        import truststore  # 14 million instructions, and elsewhere it would read the file for each connection anew

        trust = Trust(truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    else:
        trust = _system_trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    trust.context.set_alpn_protocols(["http/1.1"])
    return trust


def _named_trust(context: ssl.SSLContext) -> Trust:
    import ssl

    usual = ssl.get_default_verify_paths()  # an empty variable leaves none of its kind
    file, directory = os.environ.get(_FILE), os.environ.get(_DIRECTORY)
    if file and directory:
        return _trust_named_pair(context, file, directory)
    if file:
        _load_named_file(context, file)
        if usual.capath:
            context.load_verify_locations(capath=usual.capath)
        return Trust(context)
    assert directory
    _load_named_directory(context, directory)
    if not usual.cafile:
        return Trust(context)
    trust = Trust(context, lambda: context.load_verify_locations(cafile=usual.cafile))
    if _may_distrust(_content(usual.cafile)) or not _hashed_names(directory):
        trust.read_file()
    return trust


def _trust_named_pair(context: ssl.SSLContext, file: str, directory: str) -> Trust:
    trust = Trust(context, lambda: _load_named_file(context, file))
    # A FIFO is read once, and what is no bundle is refused.
    if not (os.path.isfile(file) and _is_asked_first(directory, file, _FEWEST)):
        trust.read_file()
    _load_named_directory(context, directory)
    return trust


def _load_named_file(context: ssl.SSLContext, file: str) -> None:
    _load_named(_FILE, [file], lambda: context.load_verify_locations(cafile=file))


def _load_named_directory(context: ssl.SSLContext, directory: str) -> None:
    _load_named(_DIRECTORY, directory.split(os.pathsep), lambda: context.load_verify_locations(capath=directory))


def _load_named(variable: str, paths: list[str], load: Callable[[], object]) -> None:
    """What a variable names must be there: OpenSSL would pass over it in silence."""
    for path in paths:
        try:
            os.stat(path)
            load()
        except OSError as error:  # an ssl.SSLError is one
            why = f"{path}: {_why_no_certificates(error)}"
            raise failure_of(Outcome.CONFIG, f"cannot use {variable}", why) from error


def _why_no_certificates(error: OSError) -> str:
    import ssl

    if isinstance(error, ssl.SSLError):  # whose own words are of PEM and of file formats
        return "no certificates found"
    return describe_error(error)


def _system_trust(context: ssl.SSLContext) -> Trust:
    import ssl

    usual = ssl.get_default_verify_paths()
    if usual.cafile or _hashed_names(usual.capath):
        # All that OpenSSL would trust by itself, asked for in its own words: beside file and directory it has a third
        # way to look, which finds links of the directory that are found in no other.
        trust = Trust(context, context.set_default_verify_paths)
    else:
        trust = Trust(context, lambda: _load_known_file(context))
    if usual.capath and _is_asked_first(usual.capath, usual.cafile):
        context.load_verify_locations(capath=usual.capath)
    else:
        trust.read_file()
    return trust


def _load_known_file(context: ssl.SSLContext) -> None:
    for file in filter(os.path.isfile, _KNOWN_FILES):
        context.load_verify_locations(cafile=file)
        break


def _is_asked_first(directory: str, file: str | None, fewest: int = 0) -> bool:
    """Whether a directory is likely to have what a server needs: about as many certificates as the file has.

    One that holds a link or two of somebody's own would cost nearly every run a second handshake; a file of
    less than `fewest` is parsed sooner.
    """
    content = _content(file)
    count = content.count(b"-----BEGIN CERTIFICATE")
    if not content or count < fewest or _may_distrust(content):
        return False
    return 2 * len(_hashed_names(directory)) >= count


def _content(file: str | None) -> bytes:
    """A file of certificates, unparsed: a thousandth of what its certificates cost."""
    try:
        with open(file or "", "rb") as opened:
            return opened.read()
    except OSError:
        return b""


def _may_distrust(content: bytes) -> bool:
    """Whether the file may take away what the directory grants: only this kind of certificate can be a rejected one."""
    return b"-----BEGIN TRUSTED" in content


def _hashed_names(directory: str | None) -> list[str]:
    """The links of a directory, or of several, that OpenSSL finds: eight hexadecimal digits and a number."""
    names = list[str]()
    for path in (directory or "").split(os.pathsep):
        with contextlib.suppress(OSError):
            names += filter(_is_hashed, os.listdir(path))
    return names


def _is_hashed(name: str) -> bool:
    return len(name) == 10 and name[8] == "." and name[9].isdecimal() and _HEX_DIGITS.issuperset(name[:8])
