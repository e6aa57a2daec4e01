"""Whose certificates are trusted: the system's file and directory as one set, whichever of them is read first."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.batches import BATCH_COMMAND, batch, by_id, numbered, read_records
from tests.support.program import COMMAND, Environment, Result, oastream, run
from tests.support.proxies import Proxy, run_proxy, speak_connect
from tests.support.streams import message, responses_body
from tests.support.trusted import Etc, add_hashed, alpine, debian, fedora, fedora_44, hash_of, openssl, pem
from tests.support.wire import Server, serve, sse_response

OURS, OTHER, STRANGER = trustme.CA(), trustme.CA(), trustme.CA()
NAMESAKES = [trustme.CA(organization_name="One", organization_unit_name="name") for _ in range(2)]
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
HELLO = sse_response(responses_body(message("Hello")))
OURS_PEM, OTHER_PEM = pem(OURS), pem(OTHER)
TRUSTED, UNTRUSTED = 0, 27


@pytest.fixture
def etc(tmp_path: Path) -> Etc:
    return Etc(tmp_path / "etc")


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_certified(OURS.issue_cert("127.0.0.1")) as running:
        yield running


def serve_certified(certificate: trustme.LeafCert) -> contextlib.AbstractContextManager[Server]:
    return serve(HELLO, tls=context(certificate))


def context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    return made


def ask(etc: Etc, server: Server, env: Environment | None = None) -> Result:
    line = etc.command(*COMMAND, "--base-url", server.url, "--retry", "0", "hi")
    return run(line, env={"SSL_CERT_FILE": None, "SSL_CERT_DIR": None, **(env or {})})


def check(result: Result, status: int, server: Server, connections: int) -> None:
    """What no handshake vouched for was sent nothing."""
    assert result.status == status, result
    assert (server.connections, len(server.requests)) == (connections, 1 if status == TRUSTED else 0)
    assert (result.err == "") == (status == TRUSTED)


@pytest.mark.parametrize("lay_out", [debian, alpine, fedora, fedora_44])
def test_each_distribution_keeps_its_certificates_where_they_are_found(
    lay_out: Callable[[Etc, bytes, list[bytes]], None], etc: Etc, server: Server
) -> None:
    lay_out(etc, OURS_PEM + OTHER_PEM, [OURS_PEM, OTHER_PEM])
    check(ask(etc, server), TRUSTED, server, 1)


@pytest.mark.parametrize(
    ("file", "directory", "status", "connections"),
    [
        pytest.param(OTHER_PEM + OURS_PEM, [OTHER_PEM], TRUSTED, 2, id="only in the file"),
        pytest.param(OTHER_PEM, [OTHER_PEM, OURS_PEM], TRUSTED, 1, id="only in the directory"),
        pytest.param(OTHER_PEM, [OTHER_PEM], UNTRUSTED, 2, id="in neither"),
        pytest.param(OURS_PEM, [], TRUSTED, 1, id="no links"),
        pytest.param(OTHER_PEM * 3 + OURS_PEM, [OTHER_PEM], TRUSTED, 1, id="a link of somebody's own"),
        pytest.param(b"", [OURS_PEM], TRUSTED, 1, id="an empty file"),
        pytest.param(b"", [], UNTRUSTED, 1, id="nothing at all"),
        pytest.param(pem(*NAMESAKES), [OURS_PEM, pem(NAMESAKES[1]), pem(NAMESAKES[0])], TRUSTED, 1, id="ours too"),
    ],
)
def test_file_and_directory_are_trusted_as_one_set(
    file: bytes, directory: list[bytes], status: int, connections: int, etc: Etc, server: Server
) -> None:
    debian(etc, file, directory)
    check(ask(etc, server), status, server, connections)


@pytest.mark.parametrize("number", [0, 1])
def test_two_authorities_of_one_name_are_both_found(number: int, etc: Etc) -> None:
    debian(etc, OTHER_PEM, [pem(authority) for authority in NAMESAKES])
    with serve_certified(NAMESAKES[number].issue_cert("127.0.0.1")) as server:
        check(ask(etc, server), TRUSTED, server, 1)


@pytest.mark.parametrize("file", [OURS_PEM, OTHER_PEM], ids=["in the file", "nowhere"])
@pytest.mark.parametrize("link", ["gone.pem", "ca-certificates.crt.old"], ids=["to nothing", "to another"])
def test_a_stale_link_leaves_it_to_the_file(file: bytes, link: str, etc: Etc, server: Server) -> None:
    debian(etc, file, [OTHER_PEM])
    certificates = etc.path("/etc/ssl/certs/ca-certificates.crt.old")
    certificates.write_bytes(OTHER_PEM)
    (certificates.parent / f"{hash_of(OURS_PEM)}.0").symlink_to(link)
    check(ask(etc, server), TRUSTED if file == OURS_PEM else UNTRUSTED, server, 2)


def test_a_certificate_without_a_link_is_not_in_the_directory(etc: Etc, server: Server) -> None:
    debian(etc, OTHER_PEM, [OTHER_PEM])
    etc.path("/etc/ssl/certs/ours.pem").write_bytes(OURS_PEM)
    check(ask(etc, server), UNTRUSTED, server, 2)


def test_a_link_after_a_gap_counts_as_openssl_counts_it(etc: Etc, server: Server) -> None:
    debian(etc, OTHER_PEM, [OTHER_PEM])
    etc.path(f"/etc/ssl/certs/{hash_of(OURS_PEM)}.1").write_bytes(OURS_PEM)
    check(ask(etc, server), TRUSTED, server, 2)


def test_a_file_that_rejects_an_authority_overrules_the_directory(etc: Etc, server: Server) -> None:
    rejected = openssl("x509", "-addreject", "serverAuth", "-trustout", stdin=OURS_PEM)
    debian(etc, OTHER_PEM + rejected, [OTHER_PEM, OURS_PEM])
    check(ask(etc, server), UNTRUSTED, server, 1)


@pytest.mark.parametrize(("use", "status"), [("serverAuth", TRUSTED), ("emailProtection", UNTRUSTED)])
def test_a_trusted_certificate_of_the_directory_is_for_what_it_says(
    use: str, status: int, etc: Etc, server: Server
) -> None:
    directory = [OTHER_PEM, openssl("x509", "-addtrust", use, "-trustout", stdin=OURS_PEM)]
    debian(etc, OTHER_PEM, directory)
    check(ask(etc, server), status, server, 1 if status == TRUSTED else 2)


@pytest.mark.parametrize(
    ("certificate", "connections", "why"),
    [
        pytest.param(OURS.issue_cert("example.org"), 1, "IP address mismatch", id="another host's"),
        pytest.param(OURS.issue_cert("127.0.0.1", not_after=YESTERDAY), 2, "expired", id="expired"),
    ],
)
def test_a_bad_certificate_of_a_trusted_authority_stays_bad(
    certificate: trustme.LeafCert, connections: int, why: str, etc: Etc
) -> None:
    debian(etc, OURS_PEM, [OURS_PEM])
    with serve_certified(certificate) as server:
        result = ask(etc, server)
        check(result, UNTRUSTED, server, connections)
    assert why in result.err


@pytest.mark.parametrize("sends_it", [True, False])
def test_an_intermediate_that_is_not_sent_is_not_made_up(sends_it: bool, etc: Etc) -> None:
    certificate = OURS.create_child_ca().issue_cert("127.0.0.1")
    if not sends_it:
        certificate = trustme.LeafCert(certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes(), [])
    debian(etc, OURS_PEM, [OURS_PEM])
    with serve_certified(certificate) as server:
        check(ask(etc, server), TRUSTED if sends_it else UNTRUSTED, server, 1 if sends_it else 2)


@pytest.mark.parametrize("program", [COMMAND, BATCH_COMMAND], ids=["oastream", "oastream-batch"])
@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_proxy_hears_nothing_before_it_is_trusted(
    program: list[str], is_trusted: bool, etc: Etc, tmp_path: Path
) -> None:
    """The server is in the directory; the proxy, who is told the password, is not."""
    debian(etc, OTHER_PEM + OURS_PEM if is_trusted else OTHER_PEM, [OTHER_PEM])
    words: tuple[str | Path, ...] = ("--retry", "0", "hi")
    if program == BATCH_COMMAND:
        words = (numbered(tmp_path / "in", 1),)
    ours = context(OURS.issue_cert("127.0.0.1"))
    with serve_certified(OTHER.issue_cert("api.example.test")) as server:
        with run_proxy(speak_connect, Proxy(server.port, (b"user", b"pass")), tls=ours) as proxy:
            line = etc.command(*program, "--base-url", "https://api.example.test/v1", *words)
            result = run(line, env={"https_proxy": proxy.url("https", "user:pass")})
        assert (result.status == 0) == is_trusted, result
        assert "certificate" in result.err or is_trusted
        assert (proxy.connections, len(proxy.heads), len(server.requests)) == (2, is_trusted, is_trusted)


def test_a_batch_reads_the_file_for_all_its_connections(etc: Etc, server: Server, tmp_path: Path) -> None:
    debian(etc, OTHER_PEM + OURS_PEM, [OTHER_PEM])
    words = ("-j", "10", "-o", tmp_path / "out", "--base-url", server.url, numbered(tmp_path / "in", 30))
    result = run(etc.command(*BATCH_COMMAND, *words))
    assert result.status == 0, result
    assert len(by_id(read_records(tmp_path / "out"))) == len(server.requests) == 30
    assert server.connections <= 30 + 10  # those that had begun before the first was refused


# A Python from elsewhere, whose OpenSSL was built with a path that has nothing


def test_where_openssl_finds_nothing_the_known_files_are_tried(etc: Etc, server: Server) -> None:
    etc.path("/etc/pki/tls/cert.pem").write_bytes(OURS_PEM)
    check(ask(etc, server), TRUSTED, server, 1)


def test_of_the_known_files_the_first_counts_alone(etc: Etc, server: Server) -> None:
    etc.path("/etc/pki/tls/cert.pem").write_bytes(OTHER_PEM)
    etc.path("/etc/ssl/ca-bundle.pem").write_bytes(OURS_PEM)
    check(ask(etc, server), UNTRUSTED, server, 1)


# SSL_CERT_FILE and SSL_CERT_DIR


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A folder with what variables name: `ours.pem`, `other.pem`, and directories with the same."""
    folder = tmp_path / "named"
    for name, certificate in ("ours", OURS_PEM), ("other", OTHER_PEM):
        add_hashed(folder / name, certificate)
        (folder / f"{name}.pem").write_bytes(certificate)
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("file", "directory", "status", "connections"),
    [
        pytest.param("ours.pem", None, TRUSTED, 1, id="the file"),
        pytest.param(None, "ours", TRUSTED, 1, id="the directory"),
        pytest.param("ours.pem", "other", TRUSTED, 1, id="both, ours in the file"),
        pytest.param("other.pem", "ours", TRUSTED, 1, id="both, ours in the directory"),
        pytest.param("other.pem", "other", UNTRUSTED, 1, id="both, ours in neither"),
        pytest.param("ours.pem", "empty", TRUSTED, 1, id="an empty directory"),
        pytest.param("ours.pem", "", TRUSTED, 1, id="an empty variable for the directory"),
        pytest.param("", "ours", TRUSTED, 1, id="an empty variable for the file"),
        pytest.param("other.pem", "other:{}/ours", TRUSTED, 1, id="two directories"),
        pytest.param(None, "other", UNTRUSTED, 2, id="the system's file as well"),
    ],
)
def test_variables_name_what_is_trusted(
    file: str | None, directory: str | None, status: int, connections: int, etc: Etc, server: Server, named: Path
) -> None:
    env: dict[str, str | None] = {"SSL_CERT_FILE": file, "SSL_CERT_DIR": directory}
    for variable, name in env.items():
        if name:
            env[variable] = f"{named}/{name}".format(named)
    debian(etc, OTHER_PEM)
    check(ask(etc, server, env), status, server, connections)


def rejected(certificate: bytes) -> bytes:
    return openssl("x509", "-addreject", "serverAuth", "-trustout", stdin=certificate)


@pytest.mark.parametrize(
    ("file", "directory", "status", "connections"),
    [
        pytest.param(OTHER_PEM * 11, OURS_PEM, TRUSTED, 1, id="ours in the directory"),
        pytest.param(OTHER_PEM * 10 + OURS_PEM, OTHER_PEM, TRUSTED, 2, id="ours in the file"),
        pytest.param(OTHER_PEM * 11, OTHER_PEM, UNTRUSTED, 2, id="ours in neither"),
        pytest.param(OTHER_PEM * 11, b"", UNTRUSTED, 1, id="ours in neither, an empty directory"),
        pytest.param(OTHER_PEM * 11 + rejected(OURS_PEM), OURS_PEM, UNTRUSTED, 1, id="rejected in the file"),
        pytest.param(OTHER_PEM * 10 + OURS_PEM, None, TRUSTED, 1, id="an unreadable directory"),
    ],
)
def test_a_large_file_is_read_when_the_directory_named_beside_it_does_not_do(
    file: bytes, directory: bytes | None, status: int, connections: int, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(file)
    certificates, shell = tmp_path / "certs", None
    certificates.mkdir()
    if directory != b"":
        add_hashed(certificates, directory or OURS_PEM)
        for number in range(6):  # as many as half of the file, or it is not asked first
            (certificates / f"0000000{number}.0").write_bytes(OTHER_PEM)
    if directory is None:
        certificates.chmod(0)
        shell = 'exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"'  # or root may read it all the same
    env = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "SSL_CERT_DIR": str(certificates)}
    result = oastream("--base-url", server.url, "--retry", "0", "hi", env=env, shell=shell)
    certificates.chmod(0o755)
    check(result, status, server, connections)


def test_a_large_file_without_a_certificate_exits_6_whatever_the_directory_has(server: Server, named: Path) -> None:
    file = named / "garbage.pem"
    file.write_bytes(b"no certificate\n" * 2000)
    env = {"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": str(named / "ours")}
    result = oastream("--base-url", server.url, "hi", env=env)
    assert (result.status, server.requests) == (6, [])
    assert f"cannot use SSL_CERT_FILE: {file}: no certificates found" in result.err


@pytest.fixture
def named_apart(tmp_path: Path) -> Environment:
    """A large file that has ours, and a directory that has another beside many that sign nothing here."""
    file, directory = tmp_path / "apart.pem", tmp_path / "apart"
    file.write_bytes(pem(STRANGER) * 10 + OURS_PEM)
    add_hashed(directory, OTHER_PEM)
    for number in range(6):
        (directory / f"0000000{number}.0").write_bytes(pem(STRANGER))
    return {"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": str(directory)}


def test_a_proxy_and_its_server_may_be_trusted_by_different_places(named_apart: Environment) -> None:
    with serve_certified(OURS.issue_cert("api.example.test")) as server:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        OTHER.issue_cert("127.0.0.1").configure_cert(tls)
        with run_proxy(speak_connect, Proxy(server.port), tls) as proxy:
            words = ("--base-url", "https://api.example.test/v1", "--retry", "0", "hi")
            result = oastream(*words, env={**named_apart, "https_proxy": proxy.url("https")})
            check(result, TRUSTED, server, 2)


def test_a_batch_trusts_the_file_as_well(named_apart: Environment, server: Server, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "out", "--base-url", server.url)
    assert batch(numbered(tmp_path / "in", 1), *words, env=named_apart).status == 0
    assert len(server.requests) == 1


def test_a_certificate_that_signed_itself_is_refused_in_the_same_words_as_by_a_file(
    named_apart: Environment, tmp_path: Path
) -> None:
    file = tmp_path / "server.pem"
    signer = trustme.CA()
    file.write_bytes(pem(signer) + signer.private_key_pem.bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    with serve(HELLO, tls=tls) as server:
        words = ("--base-url", server.url, "--retry", "0", "hi")
        twice = oastream(*words, env=named_apart)
        check(twice, UNTRUSTED, server, 2)
        once = oastream(*words, env={"SSL_CERT_FILE": named_apart["SSL_CERT_FILE"]})
        check(once, UNTRUSTED, server, 3)
    assert once.err == twice.err
    assert "self-signed certificate" in once.err


@pytest.mark.parametrize(
    ("env", "status"),
    [
        pytest.param({"SSL_CERT_DIR": "{}/other"}, TRUSTED, id="a directory leaves the system's file"),
        pytest.param({"SSL_CERT_FILE": "{}/other.pem"}, UNTRUSTED, id="a file takes the place of the system's"),
        pytest.param({"SSL_CERT_DIR": "{}/other", "SSL_CERT_FILE": ""}, UNTRUSTED, id="an empty file leaves none"),
        pytest.param({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}, TRUSTED, id="both empty"),
    ],
)
def test_what_no_variable_names_is_the_systems(
    env: dict[str, str], status: int, etc: Etc, server: Server, named: Path
) -> None:
    fedora(etc, OURS_PEM)
    etc.path("/etc/ssl/cert.pem").symlink_to("../pki/tls/cert.pem")
    result = ask(etc, server, {variable: value.format(named) for variable, value in env.items()})
    assert (result.status, len(server.requests)) == (status, 1 if status == TRUSTED else 0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SSL_CERT_DIR", "/nonexistent"), ("SSL_CERT_DIR", "{}/ours:/nonexistent"), ("SSL_CERT_FILE", "{}")],
)
def test_what_a_variable_names_in_vain_exits_6(variable: str, value: str, server: Server, named: Path) -> None:
    result = oastream("--base-url", server.url, "hi", env={variable: value.format(named)})
    assert (result.status, server.requests) == (6, [])
    assert f"cannot use {variable}: " in result.message
    assert value.rpartition(":")[2].format(named) in result.message
