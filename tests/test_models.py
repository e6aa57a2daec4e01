"""--list-models: what the server has, one a line; the same statuses as any request; remembered for completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.support.program import CANARY, NOTHING, Environment, Result, oastream
from tests.support.wire import Reply, http_response, serve, stall_after

ENTRIES = [{"id": name, "object": "model", "created": 1, "owned_by": "me"} for name in ("gpt-x", "a/b:c", "gpt-x mini")]
LIST = json.dumps({"object": "list", "data": ENTRIES}, indent=1)


def listed(*replies: Reply, args: tuple[str, ...] = (), env: Environment = NOTHING) -> Result:
    with serve(*replies) as server:
        return oastream("--base-url", server.url, "--list-models", *args, env=env)


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_one_id_a_line(api: str) -> None:
    result = listed(http_response(LIST), args=("--api", api))
    assert (result.status, result.text, result.err) == (0, "gpt-x\na/b:c\ngpt-x mini\n", "")


def test_ndjson_is_one_model_a_line_and_nothing_else() -> None:
    assert listed(http_response(LIST), args=("--format", "ndjson")).records == ENTRIES


def test_json_is_the_servers_own_object_on_one_line() -> None:
    [document] = listed(http_response(LIST), args=("--format", "json")).records
    assert document == json.loads(LIST)


@pytest.mark.parametrize(
    "document", [[{"id": "m"}], {"models": [{"name": "m"}]}, {"data": [{"id": "m"}], "models": []}]
)
def test_other_servers_lists_are_understood(document: Any) -> None:
    assert listed(http_response(json.dumps(document))).text == "m\n"


def test_the_request_is_the_sdks() -> None:
    with serve(http_response(LIST)) as server:
        with OpenAI(base_url=server.url, api_key=CANARY, max_retries=0) as sdk:
            assert [model.id for model in sdk.models.list()] == [entry["id"] for entry in ENTRIES]
        result = oastream("--base-url", server.url, "--list-models")
        by_sdk, by_us = server.requests
    assert result.status == 0
    assert (
        (by_us.method, by_us.path, by_us.body)
        == (by_sdk.method, by_sdk.path, by_sdk.body)
        == ("GET", "/v1/models", b"")
    )
    assert by_us.headers["authorization"] == by_sdk.headers["authorization"]
    assert "content-length" not in by_us.headers
    assert "content-type" not in by_us.headers


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (http_response('{"error":{"message":"bad key"}}', "401 Unauthorized"), 21),
        (http_response("nope", "404 Not Found", "text/plain"), 23),
        (http_response("<html><title>Sign in</title></html>", content_type="text/html"), 26),
        (http_response('{"object":"chat.completion"}'), 26),
        (http_response('{"data":[{"id":'), 43),
        (http_response("", "500 Internal Server Error"), 31),
    ],
)
def test_failures_have_the_usual_statuses(reply: Reply, status: int) -> None:
    result = listed(reply, args=("--retry", "0"))
    assert (result.status, result.out) == (status, b"")
    assert result.message


def test_a_busy_server_is_asked_again() -> None:
    busy = http_response("", "503 Service Unavailable", headers={"retry-after-ms": "1"})
    assert listed(busy, http_response(LIST)).text.startswith("gpt-x\n")


def test_a_silent_server_ends_in_a_timeout() -> None:
    args = ("--first-event-timeout", "0.3", "--retry", "0")
    assert listed(stall_after(b"{"), args=args).status == 33


def test_the_list_can_go_to_a_file(tmp_path: Path) -> None:
    result = listed(http_response(LIST), args=("-o", str(tmp_path / "models")))
    assert (result.status, result.out) == (0, b"")
    assert (tmp_path / "models").read_text().splitlines()[0] == "gpt-x"


def test_stdin_is_not_read() -> None:
    with serve(http_response(LIST)) as server:
        assert oastream("--base-url", server.url, "--list-models", stdin=b"hello").status == 0


def test_a_dry_run_shows_the_request() -> None:
    result = oastream("--base-url", "http://127.0.0.1:1/v1", "--list-models", "--dry-run")
    shown = json.loads(result.out)
    assert (shown["method"], shown["url"], shown["body"]) == ("GET", "http://127.0.0.1:1/v1/models", None)


@pytest.mark.parametrize("more", [["hello"], ["-f", "/etc/hosts"], ["--format", "tools"], ["--schema", "a,b"]])
def test_a_question_beside_it_exits_2(more: list[str]) -> None:
    assert listed(http_response(LIST), args=tuple(more)).status == 2


# For completion


def remembered(cache: Path) -> list[str]:
    return (cache / "oastream" / "models").read_text().splitlines()


def test_the_ids_are_remembered_before_those_of_other_servers(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    listed(http_response(LIST), env=env)
    listed(http_response('{"data":[{"id":"m"},{"id":"gpt-x"}]}'), env=env)
    assert remembered(tmp_path) == ["m", "gpt-x", "a/b:c", "gpt-x mini"]


def test_without_a_cache_the_home_has_one(tmp_path: Path) -> None:
    listed(http_response(LIST), env={"XDG_CACHE_HOME": None, "HOME": str(tmp_path)})
    assert len(remembered(tmp_path / ".cache")) == len(ENTRIES)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = listed(http_response(LIST), env={"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert (result.status, result.err) == (0, "")


def test_the_mock_is_not_remembered(tmp_path: Path) -> None:
    result = oastream("--base-url", "mock:", "--list-models", env={"XDG_CACHE_HOME": str(tmp_path)})
    assert (result.status, result.text) == (0, "mock\n")
    assert list(tmp_path.iterdir()) == []
