"""Folders that stand where a system keeps its certificates, for a run of the program.

In: which authorities are in the file, and which in the directory. Out: what to begin a command line with, so that the
program finds them at the paths that this Python's OpenSSL was built with, and that distributions are known to have.
Needs unshare(1) and openssl(1); where they are missing, or not allowed, the test is skipped.
"""

from __future__ import annotations

import functools
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from tests.support.program import run

_MOUNT = 'mount --bind "$1" /etc && { test -z "$2" || mount --bind "$2" "$3"; } && shift 3 && exec "$@"'


class Etc:
    """A folder that is /etc for a run, and where OpenSSL looks, in there or not: `openssl`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._home = Path(ssl.get_default_verify_paths().openssl_cafile).parent
        folder.mkdir()
        shutil.copy("/etc/ld.so.cache", folder)  # or this Python may not find its own library
        self.openssl = self._at(self._home) or folder.with_name(folder.name + "-openssl")
        self.openssl.mkdir(parents=True)

    def path(self, path: str) -> Path:
        """Where what the program sees at the path is made; its folders are there."""
        place = self._at(Path(path))
        assert place is not None, path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def link(self, name: str, target: str) -> None:
        """A link where OpenSSL looks; none where the target would be itself."""
        if str(self._home / name) != target:
            (self.openssl / name).symlink_to(target)

    def command(self, *words: str | Path) -> list[str | Path]:
        """The command line, with the folders in place."""
        _require_unshare()
        second: str | Path = self.openssl if self._at(self._home) is None else ""
        shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh"]
        return [*shell, self.folder, second, self._home, *words]

    def _at(self, path: Path) -> Path | None:
        if path.parts[:2] != ("/", "etc"):
            return None
        return self.folder.joinpath(*path.parts[2:])


@functools.cache
def _require_unshare() -> None:
    result = run(["unshare", "--map-root-user", "--mount", "true"])
    if result.status:
        pytest.skip(f"no mounts of its own for a run here: {result.err.strip()}")


def pem(*authorities: trustme.CA) -> bytes:
    return b"".join(authority.cert_pem.bytes() for authority in authorities)


def add_hashed(directory: Path, *certificates: bytes) -> None:
    """What `openssl rehash` makes of certificates: a link by hash, numbered from 0, to the file of each."""
    directory.mkdir(parents=True, exist_ok=True)
    for certificate in certificates:
        subject = hash_of(certificate)
        number = len(list(directory.glob(f"{subject}.*")))
        file = directory / f"ca-{subject}-{number}.pem"
        file.write_bytes(certificate)
        (directory / f"{subject}.{number}").symlink_to(file.name)


@functools.cache
def hash_of(certificate: bytes) -> str:
    """How OpenSSL names the certificate in a directory."""
    return openssl("x509", "-noout", "-subject_hash", stdin=certificate).decode().strip()


def openssl(*words: str, stdin: bytes) -> bytes:
    if shutil.which("openssl") is None:
        pytest.skip("openssl(1) is not here")
    return subprocess.run(["openssl", *words], input=stdin, stdout=subprocess.PIPE, check=True).stdout


# Layouts ---------------------------------------------------------------------------------------------------------
# The file and the directory of each, with what is to be in them.


def debian(etc: Etc, file: bytes, directory: Sequence[bytes] = ()) -> None:
    etc.link("cert.pem", "/etc/ssl/certs/ca-certificates.crt")
    etc.link("certs", "/etc/ssl/certs")
    etc.path("/etc/ssl/certs/ca-certificates.crt").write_bytes(file)
    add_hashed(etc.path("/etc/ssl/certs"), *directory)


def alpine(etc: Etc, file: bytes, directory: Sequence[bytes] = ()) -> None:
    etc.path("/etc/ssl/cert.pem").symlink_to("certs/ca-certificates.crt")
    etc.link("cert.pem", "/etc/ssl/cert.pem")
    etc.link("certs", "/etc/ssl/certs")
    etc.path("/etc/ssl/certs/ca-certificates.crt").write_bytes(file)
    add_hashed(etc.path("/etc/ssl/certs"), *directory)


def fedora(etc: Etc, file: bytes, directory: Sequence[bytes] = ()) -> None:
    """Up to 43: OpenSSL's own directory holds the file, and no links; whoever wants some finds them elsewhere."""
    extracted = "/etc/pki/ca-trust/extracted/pem"
    etc.path(f"{extracted}/tls-ca-bundle.pem").write_bytes(file)
    etc.path("/etc/pki/tls/certs/ca-bundle.crt").symlink_to(f"{extracted}/tls-ca-bundle.pem")
    etc.path("/etc/pki/tls/cert.pem").symlink_to("certs/ca-bundle.crt")
    etc.link("cert.pem", "/etc/pki/tls/cert.pem")
    etc.link("certs", "/etc/pki/tls/certs")
    add_hashed(etc.path(f"{extracted}/directory-hash"), *directory)


def fedora_44(etc: Etc, file: bytes, directory: Sequence[bytes] = ()) -> None:
    """The directory is of links, and OpenSSL's own file is no more."""
    extracted = "/etc/pki/ca-trust/extracted/pem"
    etc.path(f"{extracted}/tls-ca-bundle.pem").write_bytes(file)
    add_hashed(etc.path(f"{extracted}/directory-hash"), *directory)
    etc.path("/etc/pki/tls/certs").symlink_to(f"{extracted}/directory-hash")
    etc.link("certs", "/etc/pki/tls/certs")
