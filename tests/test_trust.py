"""Whom https trusts: what OpenSSL trusts on this system, whichever of file and directory it is in.

Each layout of a system is a folder that is mounted, for one run, over the places where the interpreter's OpenSSL looks.
"""

from __future__ import annotations

import datetime
import os
import shlex
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.batches import batch, numbered
from tests.support.program import Environment, Result, oastream, run
from tests.support.proxies import Proxy, run_proxy, speak_connect
from tests.support.streams import message, responses_body
from tests.support.wire import Server, serve, sse_response

HELLO = sse_response(responses_body(message("Hello")))
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
STRANGER = trustme.CA()
"""Signs nothing that is asked for here: other certificates beside the one that counts."""
LARGE = b"# As long as the file of a system, which is not parsed before it is needed.\n" * 400
OPENSSL = Path(ssl.get_default_verify_paths().openssl_cafile).parent
SYSTEM = Path("/etc/ssl")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl, which hashes names")


def pem(*authorities: trustme.CA) -> bytes:
    return b"".join(authority.cert_pem.bytes() for authority in authorities)


def write_bundle(file: Path, *authorities: trustme.CA) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(LARGE + pem(*authorities))
    return file


def write_directory(folder: Path, *authorities: trustme.CA) -> Path:
    """As `openssl rehash` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, authority in enumerate(authorities):
        file = folder / f"authority-{number}.pem"
        file.write_bytes(pem(authority))
        hashed = run(["openssl", "x509", "-subject_hash", "-noout", "-in", str(file)]).text.strip()
        free = next(n for n in range(10) if not (folder / f"{hashed}.{n}").exists())
        (folder / f"{hashed}.{free}").symlink_to(file.name)
    return folder


def context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    with serve(HELLO, HELLO, tls=context(authority.issue_cert("127.0.0.1"))) as running:
        yield running


def ask(server: Server, env: Environment, shell: str | None = None) -> Result:
    return oastream("--base-url", server.url, "--retry", "0", "hi", env=env, shell=shell)


def both(file: Path, directory: Path) -> Environment:
    return {"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": str(directory)}


def is_trusted(result: Result, server: Server) -> bool:
    """Whether it is, after it was made sure that a server that is not trusted has not seen a request."""
    if result.status == 0:
        assert (result.out, result.err, len(server.requests)) == (b"Hello\n", "", 1)
        return True
    assert (result.status, result.out, server.requests) == (27, b"", [])
    assert "is not trusted: " in result.message
    return False


# Systems


def mounted(folders: dict[Path, Path]) -> str:
    """A script that runs a command with folders in the place of others."""
    mounts = " && ".join(shlex.join(["mount", "--bind", str(new), str(old)]) for old, new in folders.items())
    inner = shlex.quote(f'{mounts} && exec "$@"')
    return f'exec unshare --mount --map-root-user /bin/sh -c {inner} sh "$@"'


class System:
    """Folders in the place of those in which the system keeps its certificates."""

    def __init__(self, place: Path) -> None:
        self.openssl = place / "openssl"
        self.etc = self.openssl if OPENSSL.resolve() == SYSTEM.resolve() else place / "etc"
        for folder in (self.openssl, self.etc):
            folder.mkdir(exist_ok=True)
        self.shell = mounted({OPENSSL: self.openssl, SYSTEM: self.etc})

    def have_file(self, *authorities: trustme.CA) -> None:
        write_bundle(self.openssl / "bundle.crt", *authorities)
        (self.openssl / "cert.pem").symlink_to("bundle.crt")


@pytest.fixture
def system(tmp_path: Path) -> System:
    found = System(tmp_path)
    probe = run(["/bin/sh", "-c", found.shell, "sh", "true"])
    if probe.status:
        pytest.skip(f"nothing can be mounted here: {probe.err.strip()}")
    return found


@pytest.mark.parametrize("place", ["file", "directory", "both", "neither"])
def test_alpine_trusts_what_is_in_its_file_or_its_directory(
    system: System, server: Server, authority: trustme.CA, place: str
) -> None:
    """So does a Debian whose OpenSSL has a link to the file."""
    system.have_file(authority if place in ("file", "both") else STRANGER)
    write_directory(system.openssl / "certs", authority if place in ("directory", "both") else STRANGER)
    assert is_trusted(ask(server, {}, system.shell), server) == (place != "neither")
    assert server.connections == (1 if place in ("directory", "both") else 2)


@pytest.mark.parametrize("place", ["directory", "bundle"])
def test_debian_trusts_its_directory_by_hashes_and_not_the_file_in_it(
    system: System, server: Server, authority: trustme.CA, place: str
) -> None:
    certs = write_directory(system.openssl / "certs", authority if place == "directory" else STRANGER)
    write_bundle(certs / "bundle.crt", authority)
    assert is_trusted(ask(server, {}, system.shell), server) == (place == "directory")
    assert server.connections == 1


def test_fedora_trusts_its_file_at_once_for_its_directory_has_no_hashes(
    system: System, server: Server, authority: trustme.CA
) -> None:
    write_bundle(system.openssl / "certs" / "ca-bundle.crt", authority)
    (system.openssl / "cert.pem").symlink_to("certs/ca-bundle.crt")
    assert is_trusted(ask(server, {}, system.shell), server)
    assert server.connections == 1


def test_an_openssl_of_another_system_trusts_a_file_that_is_well_known(
    system: System, server: Server, authority: trustme.CA
) -> None:
    write_bundle(system.etc / "ca-bundle.pem", authority)  # SUSE's
    if any(map(os.path.isfile, ("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/cert.pem"))):
        pytest.skip("this system has a file that counts before that one")
    assert is_trusted(ask(server, {}, system.shell), server)


def test_a_system_without_certificates_trusts_nobody(system: System, server: Server) -> None:
    assert not is_trusted(ask(server, {}, system.shell), server)


@pytest.mark.parametrize("named", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_one_variable_names_is_trusted_beside_the_other_place_of_the_system(
    system: System, server: Server, authority: trustme.CA, tmp_path: Path, named: str
) -> None:
    system.have_file(authority if named == "SSL_CERT_DIR" else STRANGER)
    write_directory(system.openssl / "certs", authority if named == "SSL_CERT_FILE" else STRANGER)
    strangers = {
        "SSL_CERT_FILE": write_bundle(tmp_path / "ca.pem", STRANGER),
        "SSL_CERT_DIR": write_directory(tmp_path / "named", STRANGER),
    }
    assert is_trusted(ask(server, {named: str(strangers[named])}, system.shell), server)


@pytest.mark.parametrize("empty", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_empty_variable_takes_its_place_of_the_system_away(
    system: System, server: Server, authority: trustme.CA, empty: str
) -> None:
    system.have_file(authority if empty == "SSL_CERT_FILE" else STRANGER)
    write_directory(system.openssl / "certs", authority if empty == "SSL_CERT_DIR" else STRANGER)
    assert not is_trusted(ask(server, {empty: ""}, system.shell), server)


# Variables


@pytest.mark.parametrize("place", ["file", "directory", "neither"])
def test_file_and_directory_that_are_named_are_trusted_both(
    server: Server, authority: trustme.CA, tmp_path: Path, place: str
) -> None:
    file = write_bundle(tmp_path / "ca.pem", STRANGER, *[authority] * (place == "file"))
    directory = write_directory(tmp_path / "certs", STRANGER, *[authority] * (place == "directory"))
    assert is_trusted(ask(server, both(file, directory)), server) == (place != "neither")
    assert server.connections == (1 if place == "directory" else 2)


def test_a_file_is_asked_at_once_where_the_directory_is_empty(
    server: Server, authority: trustme.CA, tmp_path: Path
) -> None:
    directory = write_directory(tmp_path / "certs")
    assert is_trusted(ask(server, both(write_bundle(tmp_path / "ca.pem", authority), directory)), server)
    assert server.connections == 1


def test_a_certificate_in_the_directory_without_its_hash_is_not_trusted(
    server: Server, authority: trustme.CA, tmp_path: Path
) -> None:
    directory = write_directory(tmp_path / "certs", STRANGER)
    (directory / "ca.pem").write_bytes(pem(authority))
    assert not is_trusted(ask(server, both(write_bundle(tmp_path / "ca.pem", STRANGER), directory)), server)


def test_a_link_to_a_certificate_that_is_gone_leaves_the_file(
    server: Server, authority: trustme.CA, tmp_path: Path
) -> None:
    directory = write_directory(tmp_path / "certs", authority)
    (directory / "authority-0.pem").unlink()
    assert is_trusted(ask(server, both(write_bundle(tmp_path / "ca.pem", authority), directory)), server)


def test_two_authorities_of_one_name_are_both_looked_up(tmp_path: Path) -> None:
    one, other = [trustme.CA(organization_name="Example", organization_unit_name="Twins") for _ in range(2)]
    directory = write_directory(tmp_path / "certs", one, other)
    assert [path.suffix for path in sorted(directory.glob("*.[0-9]"))] == [".0", ".1"]
    file = write_bundle(tmp_path / "ca.pem", STRANGER)
    with serve(HELLO, HELLO, tls=context(other.issue_cert("127.0.0.1"))) as server:
        assert is_trusted(ask(server, both(file, directory)), server)
        assert server.connections == 1


def test_a_directory_that_cannot_be_read_leaves_the_file(server: Server, authority: trustme.CA, tmp_path: Path) -> None:
    directory = write_directory(tmp_path / "certs", authority)
    directory.chmod(0)
    shell = None
    if os.geteuid() == 0:  # who may read everything, if that right is not taken away
        shell = 'exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"'
    try:
        result = ask(server, both(write_bundle(tmp_path / "ca.pem", authority), directory), shell)
        without = ask(server, both(write_bundle(tmp_path / "ca.pem", STRANGER), directory), shell)
    finally:
        directory.chmod(0o755)
    assert (result.status, without.status) == (0, 27)


@pytest.mark.parametrize("content", [None, LARGE], ids=["missing", "garbage"])
def test_a_named_file_without_certificates_exits_6_whatever_the_directory_has(
    server: Server, authority: trustme.CA, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    result = ask(server, both(tmp_path / "ca.pem", write_directory(tmp_path / "certs", authority)))
    assert (result.status, server.requests) == (6, [])
    assert f"cannot use SSL_CERT_FILE: {tmp_path / 'ca.pem'}: " in result.err


def test_a_named_directory_that_is_missing_exits_6(server: Server, tmp_path: Path) -> None:
    result = ask(server, {"SSL_CERT_DIR": str(tmp_path / "none")})
    assert (result.status, server.requests) == (6, [])
    assert "cannot use SSL_CERT_DIR" in result.err


# Certificates


def expired(authority: trustme.CA, made: ssl.SSLContext, place: Path) -> None:
    authority.issue_cert("127.0.0.1", not_after=YESTERDAY).configure_cert(made)


def of_another_host(authority: trustme.CA, made: ssl.SSLContext, place: Path) -> None:
    authority.issue_cert("127.0.0.2").configure_cert(made)


def signed_by_itself(authority: trustme.CA, made: ssl.SSLContext, place: Path) -> None:
    place.write_bytes(pem(STRANGER) + STRANGER.private_key_pem.bytes())
    made.load_cert_chain(place)


def without_its_intermediate(authority: trustme.CA, made: ssl.SSLContext, place: Path) -> None:
    certificate = authority.create_child_ca().issue_cert("127.0.0.1")
    place.write_bytes(certificate.cert_chain_pems[0].bytes() + certificate.private_key_pem.bytes())
    made.load_cert_chain(place)


Fault = Callable[[trustme.CA, ssl.SSLContext, Path], None]
FAULTS: dict[Fault, str] = {
    expired: "certificate has expired",
    of_another_host: "IP address mismatch, certificate is not valid for '127.0.0.1'.",
    signed_by_itself: "self-signed certificate",
    without_its_intermediate: "unable to get local issuer certificate",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_certificate_is_refused_in_the_same_words_wherever_its_authority_is(
    authority: trustme.CA, tmp_path: Path, fault: Fault
) -> None:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    fault(authority, made, tmp_path / "server.pem")
    file, directory = write_bundle(tmp_path / "ca.pem", authority), write_directory(tmp_path / "certs", authority)
    with serve(HELLO, HELLO, HELLO, tls=made) as server:
        results = [ask(server, both(file, directory)), ask(server, {"SSL_CERT_FILE": str(file)})]
        assert not any(is_trusted(result, server) for result in results)
    assert results[0].err == results[1].err
    assert FAULTS[fault] in results[0].message


# Beyond one connection


def test_a_proxy_and_its_server_may_be_trusted_by_different_places(authority: trustme.CA, tmp_path: Path) -> None:
    of_proxy = trustme.CA()
    env = both(write_bundle(tmp_path / "ca.pem", authority), write_directory(tmp_path / "certs", of_proxy))
    proxy_tls = context(of_proxy.issue_cert("127.0.0.1"))
    with (
        serve(HELLO, HELLO, tls=context(authority.issue_cert("api.example.test"))) as server,
        run_proxy(speak_connect, Proxy(server.port), proxy_tls) as proxy,
    ):
        words = ("--base-url", "https://api.example.test/v1", "--retry", "0", "hi")
        result = oastream(*words, env={**env, "https_proxy": proxy.url("https")})
        assert is_trusted(result, server)


def test_a_batch_trusts_both_places_with_one_connection(authority: trustme.CA, tmp_path: Path) -> None:
    env = both(write_bundle(tmp_path / "ca.pem", authority), write_directory(tmp_path / "certs", STRANGER))
    with serve(HELLO, tls=context(authority.issue_cert("127.0.0.1"))) as server:
        words = ("-o", tmp_path / "out", "--base-url", server.url)
        assert batch(numbered(tmp_path / "in", 1), *words, env=env).status == 0
        assert server.connections == 1
