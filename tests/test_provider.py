"""--provider signs in as the openai SDK does, and the rest is as without it.

The clouds themselves are not there: local servers stand for them, and for what hands out their tokens.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from oastream.http.cloud import EXTRAS
from tests.support.program import CANARY, NOTHING, ROOT, Environment, Result, finish, imported_modules, oastream, start
from tests.support.streams import chat_body, message, prompt_in, responses_body, responses_start
from tests.support.wire import (
    Reply,
    Request,
    Server,
    drop,
    free_port,
    http_response,
    mark,
    send,
    serve,
    sse_response,
    stall,
    stall_after,
)

SOON = 20.0
VERSION = "2025-04-01-preview"
AWS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
ANSWERS = {"responses": sse_response(responses_body(message("ok"))), "chat": sse_response(chat_body("ok"))}


@dataclasses.dataclass(frozen=True)
class Cloud:
    """How a provider is used with a key or token at hand, and what its SDK makes of it. {} stands for the server."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    paths: Mapping[str, str]
    header: str
    value: str

    def arguments(self, server: Server) -> list[str]:
        return [arg.replace("{}", _root(server)) for arg in self.args]

    def environment(self, server: Server, more: Environment = NOTHING) -> Environment:
        return {name: value.replace("{}", _root(server)) for name, value in self.env.items()} | dict(more)


def _root(server: Server) -> str:
    return server.url.removesuffix("/v1")


CLOUDS = {
    "azure": Cloud(
        ("--provider", "azure"),
        {"AZURE_OPENAI_ENDPOINT": "{}", "AZURE_OPENAI_API_KEY": CANARY, "OPENAI_API_VERSION": VERSION},
        {
            "responses": f"/openai/responses?api-version={VERSION}",
            "chat": f"/openai/deployments/m/chat/completions?api-version={VERSION}",
        },
        "api-key",
        CANARY,
    ),
    "bedrock": Cloud(
        ("--provider", "bedrock", "--base-url", "{}/openai/v1"),
        {**AWS, "AWS_BEARER_TOKEN_BEDROCK": "CANARY-bedrock"},
        {"responses": "/openai/v1/responses", "chat": "/openai/v1/chat/completions"},
        "authorization",
        "Bearer CANARY-bedrock",
    ),
    "vertex": Cloud(
        ("--provider", "vertex", "--base-url", "{}/openai/v1"),
        {"OASTREAM_API_KEY_CMD": "echo CANARY-vertex"},
        {"responses": "/openai/v1/responses", "chat": "/openai/v1/chat/completions"},
        "authorization",
        "Bearer CANARY-vertex",
    ),
}

each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS)
each_api = pytest.mark.parametrize("api", ["responses", "chat"])


def ask(server: Server, cloud: Cloud, *args: str, env: Environment = NOTHING) -> Result:
    return oastream(*cloud.arguments(server), "-m", "m", *args, "hello", env=cloud.environment(server, env))


def run(reply: Reply, cloud: Cloud, *args: str, env: Environment = NOTHING) -> Result:
    with serve(reply) as server:
        return ask(server, cloud, *args, env=env)


# The request


@each_api
@each_cloud
def test_the_request_is_the_sdks(cloud: Cloud, api: str) -> None:
    with serve(ANSWERS[api]) as server:
        result = ask(server, cloud, "--api", api, "--temperature", "0.5", "--header", "X-A: b")
        assert (result.status, result.out, result.err) == (0, b"ok\n", "")
        request = server.request
    assert (request.method, request.path) == ("POST", cloud.paths[api])
    assert request.headers[cloud.header] == cloud.value
    assert [request.headers["x-a"], request.headers["accept-encoding"]] == ["b", "identity"]
    assert request.headers["user-agent"].split("/")[0] in ("OpenAI", "AzureOpenAI")
    assert [request.json[name] for name in ("model", "temperature", "stream")] == ["m", 0.5, True]
    assert prompt_in(request.json) == "hello"
    assert CANARY not in json.dumps({k: v for k, v in request.headers.items() if k != cloud.header})


def sdk_request(cloud: str, server: Server) -> Request:
    """What the SDK itself puts on the wire for a stream."""
    import openai
    from openai.providers import bedrock, vertex

    root = _root(server)
    client: Any
    if cloud == "azure":
        client = openai.AzureOpenAI(azure_endpoint=root, api_key=CANARY, api_version=VERSION, max_retries=0)
    elif cloud == "bedrock":
        provider = bedrock(base_url=f"{root}/openai/v1", api_key="CANARY-bedrock")
        client = openai.OpenAI(provider=provider, max_retries=0)
    else:
        provider = vertex(base_url=f"{root}/openai/v1", token_provider=lambda: "CANARY-vertex")
        client = openai.OpenAI(provider=provider, max_retries=0)
    with client, client.responses.create(model="m", input="hello", stream=True) as stream:
        assert [event.type for event in stream][-1] == "response.completed"
    return server.requests[-1]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_sdk_alone_puts_the_same_on_the_wire(cloud: str) -> None:
    with serve(ANSWERS["responses"]) as server:
        assert ask(server, CLOUDS[cloud]).status == 0
        ours, theirs = server.request, sdk_request(cloud, server)
    assert (ours.method, ours.path, ours.json) == (theirs.method, theirs.path, theirs.json)
    differ = {"accept", "accept-encoding"}
    assert {k: v for k, v in ours.headers.items() if k not in differ} == {
        k: v for k, v in theirs.headers.items() if k not in differ
    }


@pytest.mark.parametrize(
    ("base", "path", "header"),
    [
        (f"{{}}?api-version={VERSION}", f"/openai/responses?api-version={VERSION}", "api-key"),
        (f"{{}}/openai/?api-version={VERSION}", f"/openai/responses?api-version={VERSION}", "api-key"),
        ("{}/openai/v1", "/openai/v1/responses", "authorization"),
        ("{}/openai/v1/?api-version=preview", "/openai/v1/responses?api-version=preview", "authorization"),
    ],
)
def test_azure_has_several_base_urls(base: str, path: str, header: str) -> None:
    cloud = dataclasses.replace(CLOUDS["azure"], args=("--provider", "azure", "--base-url", base))
    with serve(ANSWERS["responses"]) as server:
        env = {"OPENAI_API_VERSION": None, "AZURE_OPENAI_ENDPOINT": None}
        assert ask(server, cloud, env=env).status == 0
        assert server.request.path == path
        assert server.request.headers[header].removeprefix("Bearer ") == CANARY


def test_openai_base_url_and_key_are_not_for_another_cloud() -> None:
    with serve(ANSWERS["responses"]) as server:
        env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": "sk-CANARY-openai"}
        assert ask(server, CLOUDS["azure"], env=env).status == 0
        assert "sk-CANARY-openai" not in server.request.headers.values()


def test_a_provider_may_stand_in_a_profile(tmp_path: Path) -> None:
    with serve(ANSWERS["chat"]) as server:
        (tmp_path / "oastream").mkdir()
        (tmp_path / "oastream" / "config.toml").write_text(
            '[profile.work]\nprovider = "azure"\napi = "chat"\nmodel = "m"\napi_key_cmd = "echo CANARY-work"\n'
            f'base_url = "{_root(server)}?api-version={VERSION}"\n'
        )
        assert oastream("--profile", "work", "hello", env={"XDG_CONFIG_HOME": str(tmp_path)}).status == 0
        assert server.request.path == CLOUDS["azure"].paths["chat"]
        assert server.request.headers["api-key"] == "CANARY-work"


@each_cloud
def test_a_dry_run_shows_the_signed_request_without_its_secrets(cloud: Cloud) -> None:
    with serve(ANSWERS["responses"]) as server:
        result = ask(server, cloud, "--dry-run")
        assert (result.status, result.err, server.connections) == (0, "", 0)
        shown = json.loads(result.out)
        assert shown["url"] == _root(server) + cloud.paths["responses"]
    headers = {name.lower(): value for name, value in shown["headers"].items()}
    assert headers[cloud.header].removeprefix("Bearer ") == "[redacted]"
    assert shown["body"]["model"] == "m"


# Sign-ins


def test_bedrock_signs_with_aws_credentials() -> None:
    pytest.importorskip("botocore")
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    env = {
        "AWS_BEARER_TOKEN_BEDROCK": None,
        "AWS_ACCESS_KEY_ID": "AKIACANARY",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "CANARY-session",
        "AWS_REGION": "eu-west-1",
    }
    with serve(ANSWERS["responses"]) as server:
        assert ask(server, CLOUDS["bedrock"], env=env).status == 0
        request, root = server.request, _root(server)
    authorization = request.headers["authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIACANARY/")
    assert "/eu-west-1/bedrock-mantle/aws4_request" in authorization
    assert request.headers["x-amz-security-token"] == "CANARY-session"
    signed = authorization.split("SignedHeaders=")[1].split(",")[0].split(";")
    again = AWSRequest("POST", root + request.path, {n: request.headers[n] for n in signed}, request.body)
    again.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIACANARY", "secret", "CANARY-session"), "bedrock-mantle", "eu-west-1")
    signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    assert authorization.endswith(f"Signature={signature}"), "what was sent is not what was signed"


def service_account(tmp_path: Path, token_url: str) -> str:
    """Application Default Credentials whose tokens come from a server of ours."""
    pytest.importorskip("google.auth")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "a@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_url,
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    return str(tmp_path / "account.json")


VERTEX_BY_ADC = dataclasses.replace(CLOUDS["vertex"], env={})


def test_vertex_signs_in_with_application_default_credentials(tmp_path: Path) -> None:
    token = {"access_token": "CANARY-adc", "expires_in": 3600, "token_type": "Bearer"}
    with serve(http_response(json.dumps(token))) as tokens, serve(ANSWERS["responses"]) as server:
        env = {"GOOGLE_APPLICATION_CREDENTIALS": service_account(tmp_path, f"{_root(tokens)}/token")}
        result = ask(server, VERTEX_BY_ADC, env=env)
        assert (result.status, result.out, result.err) == (0, b"ok\n", "")
        assert tokens.request.path == "/token"
        assert server.request.headers["authorization"] == "Bearer CANARY-adc"


def test_azure_signs_in_with_a_managed_identity() -> None:
    pytest.importorskip("azure.identity")
    token = {"access_token": "CANARY-entra", "expires_on": "4102444800", "token_type": "Bearer", "resource": "r"}
    with serve(http_response(json.dumps(token))) as tokens, serve(ANSWERS["responses"]) as server:
        env = {"IDENTITY_ENDPOINT": f"{_root(tokens)}/token", "IDENTITY_HEADER": "h", "AZURE_OPENAI_API_KEY": None}
        result = ask(server, CLOUDS["azure"], env=env)
        assert (result.status, result.out, result.err) == (0, b"ok\n", "")
        assert "resource=https://cognitiveservices.azure.com" in unquote(tokens.requests[-1].path)
        assert server.request.headers["authorization"] == "Bearer CANARY-entra"
        assert "api-key" not in server.request.headers


@pytest.mark.parametrize(
    ("provider", "module", "env"),
    [
        ("azure", "azure/identity", {"AZURE_OPENAI_API_KEY": None}),
        ("bedrock", "botocore", {"AWS_BEARER_TOKEN_BEDROCK": None, "AWS_REGION": "us-east-1"}),
        ("vertex", "google/auth", {}),
    ],
)
def test_a_missing_extra_exits_6_and_says_what_to_install(
    tmp_path: Path, provider: str, module: str, env: Environment
) -> None:
    package = tmp_path / module
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('not installed')\n")
    cloud = VERTEX_BY_ADC if provider == "vertex" else CLOUDS[provider]
    with serve(ANSWERS["responses"]) as server:
        result = ask(server, cloud, env={**env, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
        assert (result.status, result.out, server.connections) == (6, b"", 0)
    wanted, _ = EXTRAS[provider]
    assert wanted in result.message
    assert f"{sys.executable} -m pip install '{wanted}'" in result.err.splitlines()[1]


def test_an_extra_is_what_a_provider_is_told_to_install() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for provider, (package, _) in EXTRAS.items():
        assert [requirement.partition(">=")[0] for requirement in extras[provider]] == [package]


@pytest.mark.parametrize(
    ("provider", "env", "says"),
    [
        ("azure", {"OPENAI_API_VERSION": None}, "OPENAI_API_VERSION"),
        ("azure", {"AZURE_OPENAI_ENDPOINT": None}, "AZURE_OPENAI_ENDPOINT"),
        ("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": None, "AWS_REGION": "us-east-1"}, "credentials"),
        ("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": None}, "region"),
        ("bedrock", {"AWS_BEARER_TOKEN_BEDROCK": None, "AWS_REGION": "r", "AWS_PROFILE": "none"}, "region"),
        ("vertex", {"GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent"}, "ADC"),
    ],
)
def test_a_sign_in_that_lacks_something_exits_6_and_names_it(provider: str, env: Environment, says: str) -> None:
    cloud = VERTEX_BY_ADC if provider == "vertex" else CLOUDS[provider]
    with serve(ANSWERS["responses"]) as server:
        result = ask(server, cloud, "--format", "ndjson", env=env)
        assert (result.status, result.end["outcome"], server.connections) == (6, "config", 0)
    assert says in result.message
    assert len(result.err.splitlines()) <= 2


def test_vertex_without_a_project_exits_6() -> None:
    result = oastream("--provider", "vertex", "hello", env={"OASTREAM_API_KEY_CMD": "echo CANARY"})
    assert result.status == 6
    assert "GOOGLE_CLOUD_PROJECT" in result.message


def test_no_token_goes_over_plain_http_to_another_host() -> None:
    args = ("--provider", "vertex", "--base-url", "http://example.invalid/v1")
    assert oastream(*args, "hello", env={"OASTREAM_API_KEY_CMD": "echo CANARY-vertex"}).status == 6


# The same pipeline


@each_cloud
@pytest.mark.parametrize("format", ["text", "ndjson", "json", "sse"])
def test_every_format_is_as_without_a_provider(cloud: Cloud, format: str) -> None:
    def times(record: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in record.items() if not name.endswith("_ms")}

    with serve(ANSWERS["responses"]) as server:
        plain = oastream("--base-url", server.url, "-m", "m", "--format", format, "hello")
        signed = ask(server, cloud, "--format", format)
    assert (plain.status, signed.status) == (0, 0)
    if format == "ndjson":
        assert [*map(times, signed.records)] == [*map(times, plain.records)]
    else:
        assert signed.out == plain.out


@each_cloud
@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        ("401 Unauthorized", {"error": {"code": "401", "message": "Access denied due to invalid key"}}, 21),
        ("404 Not Found", {"error": {"code": "DeploymentNotFound", "message": "The deployment is not there"}}, 23),
        ("400 Bad Request", {"error": {"code": "context_length_exceeded", "message": "too long"}}, 20),
        ("307 Temporary Redirect", {}, 26),
        ("500 Internal Server Error", {}, 31),
    ],
)
def test_an_error_has_the_status_it_has_without_a_provider(
    cloud: Cloud, status: str, error: dict[str, Any], expected: int
) -> None:
    reply = http_response(json.dumps(error), status, headers={"apim-request-id": "req-7", "Location": "/elsewhere"})
    with serve(reply) as server:
        result = ask(server, cloud, "--retry", "0")
        assert (result.status, result.out, len(server.requests)) == (expected, b"", 1)
    assert "[req-7]" in result.message
    assert "/v1" not in result.err


@each_cloud
def test_retries_are_decided_in_one_place(cloud: Cloud) -> None:
    """The SDK makes none of its own, and each try is signed."""
    limited = http_response("{}", "429 Too Many Requests", headers={"retry-after-ms": "10"})
    with serve(limited, limited, ANSWERS["responses"]) as server:
        result = ask(server, cloud, "--format", "ndjson", "--retry", "2")
        assert (result.status, result.end["attempts"], len(server.requests)) == (0, 3, 3)
        assert {request.headers[cloud.header] for request in server.requests} == {cloud.value}
    with serve(limited) as server:
        assert ask(server, cloud, "--retry", "1").status == 30
        assert len(server.requests) == 2


@each_cloud
def test_a_cut_stream_exits_40(cloud: Cloud) -> None:
    result = run(sse_response(responses_start("Hello"), ending=[drop]), cloud)
    assert (result.status, result.out) == (40, b"Hello")


@each_cloud
def test_a_stalled_stream_exits_41(cloud: Cloud) -> None:
    result = run(stall_after(responses_start("Hello")), cloud, "--idle-timeout", "0.3")
    assert (result.status, result.out) == (41, b"Hello")


@each_cloud
def test_no_first_event_exits_33(cloud: Cloud) -> None:
    assert run([stall], cloud, "--first-event-timeout", "4", "--retry", "0").status == 33


def test_a_refused_connection_exits_32() -> None:
    base = f"http://127.0.0.1:{free_port()}/v1"
    args = ("--provider", "bedrock", "--base-url", base, "--retry", "0")
    result = oastream(*args, "hello", env={"OASTREAM_API_KEY_CMD": "echo CANARY"})
    assert result.status == 32
    assert "connection refused" in result.message


@each_cloud
def test_a_background_response_is_resumed_with_a_signature(cloud: Cloud) -> None:
    whole = responses_body(message("Hello")).replace(b'"response":{', b'"response":{"background":true,')
    begun = whole[: whole.index(b"Hello")]
    begun = begun[: begun.rindex(b"event:")]
    with serve(sse_response(begun, ending=[drop]), sse_response(whole)) as server:
        result = ask(server, cloud, "--background", "--retry-delay", "0.01")
        assert result.status == 0, result
        first, *rest = server.requests
    path, _, query = cloud.paths["responses"].partition("?")
    assert first.path == cloud.paths["responses"]
    assert all(request.path.startswith(f"{path}/resp_1") for request in rest)
    assert all(query in request.path for request in rest)
    assert {request.headers[cloud.header] for request in rest} == {cloud.value}


def test_a_recording_holds_no_token(tmp_path: Path) -> None:
    echo = sse_response(responses_body(message("CANARY-bedrock")))
    with serve(echo) as server:
        ask_args = ("--record", str(tmp_path / "record"), "-o", "/dev/null")  # the answer itself is what it is
        assert ask(server, CLOUDS["bedrock"], *ask_args).status == 0
    assert "CANARY" not in (tmp_path / "record").read_text()


# Signals, and stdout's reader


def started(server: Server, cloud: Cloud, *args: str, env: Environment = NOTHING) -> Any:
    return start(*cloud.arguments(server), "-m", "m", *args, "hi", env=cloud.environment(server, env))


@each_cloud
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_kills_while_the_answer_streams(cloud: Cloud, number: signal.Signals) -> None:
    with serve(stall_after(responses_start("Hello"))) as server, started(server, cloud) as process:
        assert process.stdout.read(5) == b"Hello"
        process.send_signal(number)
        assert finish(process, SOON).status == -number
        assert server.request.closed.wait(SOON)


@each_cloud
def test_the_connection_is_closed_when_stdouts_reader_has_gone(cloud: Cloud) -> None:
    with serve(stall_after(responses_start("Hello"))) as server, started(server, cloud) as process:
        assert process.stdout.read(5) == b"Hello"
        process.stdout.close()
        assert server.request.closed.wait(SOON)
        assert process.wait(SOON) == -signal.SIGPIPE


def test_a_signal_kills_while_the_sign_in_waits(tmp_path: Path) -> None:
    asked = threading.Event()
    with serve([mark(asked), stall]) as tokens, serve(ANSWERS["responses"]) as server:
        env = {"GOOGLE_APPLICATION_CREDENTIALS": service_account(tmp_path, f"{_root(tokens)}/token")}
        with started(server, VERTEX_BY_ADC, env=env) as process:
            assert asked.wait(SOON)
            process.send_signal(signal.SIGINT)
            assert finish(process, SOON).status == -signal.SIGINT


def test_max_time_covers_the_sign_in(tmp_path: Path) -> None:
    with serve([stall]) as tokens, serve(ANSWERS["responses"]) as server:
        env = {"GOOGLE_APPLICATION_CREDENTIALS": service_account(tmp_path, f"{_root(tokens)}/token")}
        result = ask(server, VERTEX_BY_ADC, "--max-time", "4", env=env)
        assert (result.status, server.connections) == (33, 0)
    assert "--max-time" in result.message


# Costs


def test_without_a_provider_nothing_of_the_sdk_is_loaded() -> None:
    assert not imported_modules("--base-url", "mock:", "hello") & {"openai", "httpx2"}


def test_a_provider_that_is_none_exits_2() -> None:
    with serve([send(b"")]) as server:
        assert oastream("--provider", "acme", "--base-url", server.url, "hello").status == 2
        assert server.connections == 0
