"""Options of the suite, and what several tests are given: certificates, mock servers, a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import trustme

from oastream.mock.script import plan_from_url
from oastream.mock.server import Server, serve
from tests.support.terminal import Terminal, open_terminal


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="rewrite stdout, stderr and status of the golden cases with what the program does; read the diff",
    )


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Signs the certificates of the servers and proxies that tests make."""
    return trustme.CA()


@pytest.fixture(scope="session")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file that has a run trust it, as SSL_CERT_FILE names it."""
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


@pytest.fixture
def mock() -> Iterator[Callable[[str], Server]]:
    """Starts the server that a `mock:` URL describes; it runs until the test ends."""
    servers: list[Server] = []

    def start_mock(url: str = "mock:") -> Server:
        servers.append(serve(plan_from_url(url)))
        return servers[-1]

    yield start_mock
    for server in servers:
        server.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = open_terminal()
    yield opened
    opened.close()
