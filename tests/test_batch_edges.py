"""`oastream-batch` where it is used oddly: settings from everywhere, files of all kinds, closed and slow pipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.batches import batch, by_id, numbered
from tests.support.origin import run_origin
from tests.support.program import CANARY

MOCK = {"OPENAI_BASE_URL": "mock:"}


# Servers and keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_mock_is_a_server_for_this_run_and_never_behind_a_proxy(tmp_path: Path, proxy: str) -> None:
    source = numbered(tmp_path / "in", 30)
    result = batch(source, "--base-url", "mock:?reply=hi", "--format", "text", env={proxy: "http://127.0.0.1:9"})
    assert (result.status, result.err) == (0, "")
    assert {record["text"] for record in result.records} == {"hi"}
    assert len(by_id(result.records)) == 30


def test_mock_may_stand_beside_another_server(tmp_path: Path) -> None:
    with run_origin() as origin:
        source = numbered(tmp_path / "in", 40)
        result = batch(
            source, "-j", "2", "--base-url", "mock:?reply=mock", "--base-url", origin.url, "--format", "text"
        )
        assert origin.asked
    assert result.status == 0, result
    assert len(by_id(result.records)) == 40
    assert "mock" in {record["text"] for record in result.records}


def test_dry_run_shows_a_request_to_mock(tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 1), "--base-url", "mock:", "--dry-run")
    assert (result.status, result.err) == (0, "")
    assert json.loads(result.out)["url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mock:x", "a mock URL is"),
        ("mock:?end=no", "--end: 'no'"),
    ],
)
def test_a_base_url_that_names_no_server_is_bad_usage(tmp_path: Path, url: str, why: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), "--base-url", url)
    assert (result.status, result.out) == (2, b"")
    assert why in result.err


@pytest.mark.parametrize("variable", ["OASTREAM_BASE_URL", "OPENAI_BASE_URL"])
def test_a_bad_base_url_in_a_variable_is_the_configurations_mistake(tmp_path: Path, variable: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), env={variable: "ftp://x"})
    assert (result.status, result.out) == (6, b"")
    assert f"bad base-url from environment {variable}" in result.err


def test_the_key_command_is_asked_once_for_all_items(tmp_path: Path) -> None:
    command = f"echo x >> {tmp_path}/runs; echo {CANARY}-told"
    with run_origin() as origin:
        env = {"OASTREAM_API_KEY_CMD": command, "OASTREAM_BASE_URL": origin.url}
        result = batch(numbered(tmp_path / "in", 5), "-o", tmp_path / "out", env=env)
        keys = {asked.headers["authorization"] for asked in origin.asked}
    assert (result.status, result.err) == (0, "")
    assert keys == {f"Bearer {CANARY}-told"}
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_key_command_that_fails_ends_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 1), env={**MOCK, "OASTREAM_API_KEY_CMD": "exit 3"})
    assert (result.status, result.out) == (6, b"")
    assert "api-key-cmd ended with status 3" in result.err


# Command lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("--shard", "²/3"), ("--shard", f"0/{'9' * 5000}"), ("--order-buffer", "9" * 5000), ("-j", "9" * 5000)],
)
def test_a_number_that_is_none_is_bad_usage(tmp_path: Path, option: str, value: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), option, value, env=MOCK)
    assert (result.status, result.out) == (2, b"")
    assert f"invalid value for '{option}'" in result.err
