"""Certificates for https: an authority made for one run, trusted beside all that the system trusts.

In: a folder that is thrown away afterwards. Out: the server's certificate and key, and the variables that have a client
find the authority among the system's certificates. Nothing is installed: a copy of the system's folder (by hashes, as
OpenSSL looks there) and a copy of its one file get the authority too, and SSL_CERT_DIR and SSL_CERT_FILE name them.
Needs the program `openssl`.
"""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_FOLDERS = ("/etc/ssl/certs", "/etc/pki/ca-trust/extracted/pem/directory-hash")
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Trust(NamedTuple):
    """A server's certificate and key, and the environments of clients."""

    certificate: Path
    key: Path
    folder_and_file: Mapping[str, str]
    """As most systems have it: OpenSSL finds the one certificate in the folder by its name."""
    file_alone: Mapping[str, str]
    """As a container may have it, or a company that hands out a bundle: all of the file is parsed."""


def make_trust(place: Path) -> Trust:
    """Make authority, certificate and stores. Raises `OSError` or `CalledProcessError` where openssl fails."""
    authority, certificate, key = place / "authority.pem", place / "certificate.pem", place / "key.pem"
    authority_key = place / "authority.key"
    signs = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]  # Python 3.13 asks for it
    _openssl(["req", "-x509", *_KEY, "-subj", "/CN=bench", *signs, "-keyout", authority_key, "-out", authority])
    signed = ["-CA", authority, "-CAkey", authority_key, "-subj", "/CN=127.0.0.1"]
    alone = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    _openssl(["req", "-x509", *_KEY, *signed, *alone, "-keyout", key, "-out", certificate])
    folder, empty, file = place / "certificates", place / "none", place / "certificates.pem"
    empty.mkdir()
    _copy_folder(folder, authority)
    _copy_file(file, authority)
    return Trust(
        certificate,
        key,
        {"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": str(file)},
        {"SSL_CERT_DIR": str(empty), "SSL_CERT_FILE": str(file)},
    )


def _copy_folder(copy: Path, authority: Path) -> None:
    copy.mkdir()
    paths = [ssl.get_default_verify_paths().openssl_capath, *_FOLDERS]
    found = ([path for path in Path(name).glob("*") if _HASHED.fullmatch(path.name)] for name in paths)
    for path in next(filter(None, found), []):
        shutil.copyfile(path, copy / path.name)
    name = _openssl(["x509", "-subject_hash", "-noout", "-in", authority]).strip()
    shutil.copyfile(authority, copy / f"{name}.0")


def _copy_file(copy: Path, authority: Path) -> None:
    paths = map(Path, (ssl.get_default_verify_paths().openssl_cafile, *_FILES))
    system = next((path.read_bytes() for path in paths if path.is_file()), b"")
    copy.write_bytes(system + b"\n" + authority.read_bytes())


def _openssl(words: Iterable[object]) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=True)
    return done.stdout
