"""--provider in a batch: each request is signed as the openai SDK does it, and the rest is as without it.

The clouds themselves are not there: local servers stand for them.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.batches import Record, batch, by_id, item, write_lines
from tests.support.origin import Origin, run_origin
from tests.support.program import CANARY, NOTHING, Environment
from tests.test_provider import AWS, CLOUDS, Cloud

pytest.importorskip("openai")

each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)


def chat_item(custom_id: str) -> Record:
    return {"custom_id": custom_id, "body": {"model": "m", "messages": [{"role": "user", "content": custom_id}]}}


def arguments(cloud: Cloud, origin: Origin) -> list[str]:
    return [word.replace("{}", origin.url.removesuffix("/v1")) for word in cloud.args]


def environment(cloud: Cloud, origin: Origin, more: Environment = NOTHING) -> Environment:
    root = origin.url.removesuffix("/v1")
    return {name: value.replace("{}", root) for name, value in cloud.env.items()} | dict(more)


@each_cloud
def test_items_of_both_apis_are_signed_and_openais_address_and_key_are_not_used(tmp_path: Path, cloud: Cloud) -> None:
    items = [item(f"r{number}") for number in range(4)] + [chat_item(f"c{number}") for number in range(4)]
    with run_origin() as origin:
        words = ("-o", str(tmp_path / "out"), "--format", "text", "--header", "X-A: b", *arguments(cloud, origin))
        openais = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "sk-for-openai"}
        result = batch(write_lines(tmp_path / "in", items), *words, env=environment(cloud, origin, openais))
        asked = {request.prompt: request for request in origin.asked}
    assert (result.status, result.err) == (0, "")
    records = by_id([json.loads(line) for line in (tmp_path / "out").read_text().splitlines()])
    assert {name: record["text"] for name, record in records.items()} == {name: name for name in records}
    assert len(records) == len(asked) == 8
    for prompt, request in asked.items():
        assert request.path == cloud.paths["responses" if prompt.startswith("r") else "chat"]
        assert request.headers[cloud.header] == cloud.value
        assert request.headers["x-a"] == "b"
        assert not [value for value in request.headers.values() if "sk-for-openai" in value]


def test_each_request_has_a_signature_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("botocore")
    keys = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": f"{CANARY}secret", "AWS_REGION": "eu-west-1"}
    with run_origin() as origin:
        root = origin.url.removesuffix("/v1")
        words = ("--provider", "bedrock", "--base-url", f"{root}/openai/v1", "-j", "4")
        result = batch(
            write_lines(tmp_path / "in", [item(f"q{number}") for number in range(8)]),
            *words,
            env={**AWS, **keys, "OPENAI_API_KEY": None},
        )
        signatures = {request.headers["authorization"] for request in origin.asked}
    assert (result.status, len(result.records), result.err) == (0, 8, "")
    assert len(signatures) == 8
    assert all(value.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") for value in signatures)


def test_a_dry_run_shows_where_the_request_goes_and_no_secret(tmp_path: Path) -> None:
    cloud = CLOUDS["azure"]
    with run_origin() as origin:
        words = ("--dry-run", *arguments(cloud, origin))
        result = batch(write_lines(tmp_path / "in", [item("a")]), *words, env=environment(cloud, origin))
        assert not origin.asked
        assert json.loads(result.out)["url"].startswith(origin.url.removesuffix("/v1"))
    assert (result.status, result.err) == (0, "")
    assert (
        "[redacted]"
        in json.loads(result.out)["headers"][
            next(name for name in json.loads(result.out)["headers"] if name.lower() == cloud.header)
        ]
    )


def test_a_cloud_without_credentials_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    env = {**AWS, "OPENAI_API_KEY": CANARY}
    result = batch(write_lines(tmp_path / "in", [item("a")]), "--provider", "bedrock", env=env)
    assert (result.status, result.out) == (6, b"")
    assert "bedrock" in result.err
