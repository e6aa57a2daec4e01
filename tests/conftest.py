"""Options of the suite, and what several tests share."""

from __future__ import annotations

import pytest
import trustme


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
