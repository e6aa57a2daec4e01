"""Options of the suite, and what several tests share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="rewrite stdout, stderr and status of the golden cases with what the program does; read the diff",
    )
