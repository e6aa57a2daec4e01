"""No secret in messages, -v, --dry-run, recordings or files, whatever the server does with it.

The key is a canary. `tests.support.program` looks for it in the stdout and stderr of every run of the suite; here
servers repeat it in every place they can, and it is looked for in all that a run leaves behind.
"""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.program import CANARY, Result, finish, start
from tests.support.streams import chat_start, dumps, message, responses_body, responses_start, sse
from tests.support.wire import (
    Reply,
    chunk,
    free_port,
    head,
    http_response,
    send,
    serve,
    sleep,
    sse_response,
    stall_after,
)

HELLO = responses_body(message("Hello"))
BEARER = f"Bearer {CANARY}"
HEADERS = {"x-request-id": CANARY, "set-cookie": f"s={CANARY}", "x-echo": BEARER, "retry-after": CANARY}
ERROR = dumps({"error": {"message": f"bad key {CANARY} in {BEARER}", "code": CANARY, "type": CANARY, "param": CANARY}})
EVENT = f"data: {ERROR}\n\n".encode()


def answer(body: bytes) -> Reply:
    return sse_response(body, headers=HEADERS)


ECHOES: dict[str, Reply] = {
    "headers": answer(HELLO),
    "401": http_response(ERROR, "401 Unauthorized", headers=HEADERS),
    "401-text": http_response(f"bad key {CANARY}", "401 Unauthorized", "text/plain", HEADERS),
    "401-page": http_response(f"<html><title>{CANARY}</title></html>", "401 Unauthorized", "text/html", HEADERS),
    "429": http_response(ERROR, "429 Too Many Requests", headers=HEADERS),
    "500": http_response(ERROR, "500 Oops", headers=HEADERS),
    "status-line": f"HTTP/1.1 500 {CANARY}\r\nContent-Length: 0\r\n\r\n".encode(),
    "redirect": http_response(
        "", "307 Go", headers={"Location": f"https://{CANARY.lower()}.example/{CANARY}?k={CANARY}"}
    ),
    "redirect-host": http_response("", "307 Go", headers={"Location": f"https://user:{CANARY}@example.com/{CANARY}"}),
    "page": http_response(f"<html><title>{CANARY}</title></html>", content_type="text/html"),
    "not-http": f"220 {CANARY}\r\n".encode(),
    "json-error-in-200": http_response(ERROR),
    "json-of-another-kind": http_response(dumps({"echo": CANARY})),
    "error-event": answer(EVENT),
    "error-event-after-output": answer(responses_start("Hello") + EVENT),
    "error-event-of-chat": answer(chat_start("Hello") + EVENT),
    "failed": answer(responses_body(message("x"), status="failed", error={"code": CANARY, "message": CANARY})),
    "unknown-reason": answer(responses_body(message("x"), status="incomplete", incomplete_details={"reason": CANARY})),
    "malformed": answer(responses_start("Hello") + f"data: {CANARY}\n\n".encode()),
    "cut-short": answer(responses_start("Hello") + f"data: {'x' * 66}{CANARY}\n\n".encode()),
    "cut-short-401": http_response(f"{'x ' * 95}{CANARY}", "401 Unauthorized", "text/plain"),
    "a-long-id": http_response("", "401 Unauthorized", headers={"x-request-id": f"{'x' * 88}{CANARY}"}),
    "a-scalar": answer(responses_start("Hello") + f'data: "{CANARY}"\n\n'.encode()),
    "comment": answer(f": {CANARY}\n\n".encode() + HELLO),
    "encoding": sse_response(HELLO, headers={"Content-Encoding": CANARY}),
}
FORMATS = ("text", "ndjson", "tools", "json")
"""Not sse: it is the body as it came, whatever the body says."""


VERBATIM = {
    *(("ndjson", name) for name in ("error-event", "error-event-after-output", "error-event-of-chat", "failed")),
    *((format, "unknown-reason") for format in ("ndjson", "json")),
}
"""Here the server's own events are the output, verbatim: what it says there is the answer."""


def left_in(folder: Path) -> bytes:
    """Everything that runs have written there."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def harmless(result: Result, folder: Path, wire_secret: str = CANARY) -> Result:
    """The check of stdout and stderr is made by every run; this is the rest."""
    content = left_in(folder)
    assert b"CANARY" not in content, content
    assert wire_secret.encode() not in result.out + result.err.encode() + content
    return result


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ECHOES)
def test_the_key_is_nowhere(name: str, format: str, tmp_path: Path) -> None:
    quiet = (format, name) in VERBATIM
    args = ["--format", format, "--record", str(tmp_path / "recording"), "-vv", "--stats"]
    args += ["-o", os.devnull] if quiet else []
    args += ["--api", "chat"] if name.endswith("chat") else []
    with serve(ECHOES[name]) as server:
        result = forked.oastream("--base-url", server.url, "--retry-delay", "0.01", *args, "hi")
        assert server.requests[0].headers["authorization"] == BEARER, "the server has seen it"
    harmless(result, tmp_path)
    harmless(forked.oastream("--replay", str(tmp_path / "recording"), "-vv", *args[:2], *args[6:]), tmp_path)


@pytest.mark.parametrize("pieces", [1, 3, 7, 50])
def test_a_key_in_pieces_is_not_recorded(pieces: int, tmp_path: Path) -> None:
    body = responses_body(message(f"your key is {CANARY}, and {CANARY}"), piece=1000)
    steps = [send(head("chunked"))]
    for at in range(0, len(body), pieces):
        steps += [send(chunk(body[at : at + pieces]))] + ([sleep(0.0005)] if pieces > 1 else [])
    file = tmp_path / "recording"
    with serve([*steps, send(b"0\r\n\r\n")]) as server:
        result = forked.oastream("--base-url", server.url, "--record", str(file), "-o", os.devnull, "hi")
    assert result.status == 0
    harmless(result, tmp_path)
    played = forked.oastream("--replay", str(file))
    assert (played.status, played.text) == (0, "your key is [redacted], and [redacted]\n")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("args", [("-v",), ("-vv",), ("--dry-run",), ("--stats=json",), ("--reasoning",)], ids=" ".join)
def test_no_option_shows_the_key(args: tuple[str, ...], format: str, tmp_path: Path) -> None:
    with serve(answer(HELLO)) as server:
        given = ("--base-url", server.url, *args, "--format", format, "-o", str(tmp_path / "answer"), "hi")
        harmless(forked.oastream(*given), tmp_path)


SOURCES = ["OPENAI_API_KEY", "OASTREAM_API_KEY_FILE", "--api-key-file", "OASTREAM_API_KEY_CMD", "--header", "bad"]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["401", "error-event-after-output", "headers"])
def test_a_key_from_anywhere_is_a_secret(source: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{CANARY}\n")
    env: dict[str, str | None] = {"OPENAI_API_KEY": None}
    args: list[str] = []
    if source.startswith("OPENAI"):
        env[source] = CANARY
    elif source.startswith("OASTREAM"):
        env[source] = f"cat {file}" if source.endswith("CMD") else str(file)
    elif source == "--header":
        args = ["--header", f"api-key: {CANARY}"]
    elif source == "bad":
        env["OPENAI_API_KEY"] = f"{CANARY}\u00e9"
    else:
        args = [source, str(file)]
    recorded = tmp_path / "out"
    recorded.mkdir()
    with serve(ECHOES[name]) as server:
        quick = ("--base-url", server.url, "--retry", "0", "-vv", "--record", str(recorded / "recording"))
        result = forked.oastream(*quick, *args, "hi", env=env)
    harmless(result, recorded)
    assert result.status == (6 if source == "bad" else {"401": 21, "headers": 0}.get(name, 42))


def test_the_password_of_a_proxy_is_a_secret(tmp_path: Path) -> None:
    proxy = f"http://user:CANARY@127.0.0.1:{free_port()}"
    packed = base64.b64encode(b"user:CANARY").decode()
    env = {"https_proxy": proxy, "http_proxy": proxy}
    for url in ("https://api.example.invalid/v1", "http://api.example.invalid/v1"):
        args = ("--base-url", url, "--insecure-http", "--retry", "0", "-vv", "--format", "ndjson", "hi")
        result = harmless(forked.oastream(*args, env=env), tmp_path, packed)
        assert result.status == 32


def test_the_key_is_not_in_argv() -> None:
    with serve(stall_after(responses_start("Hello"))) as server, start("--base-url", server.url, "hi") as process:
        assert process.stdout is not None
        process.stdout.read(5)
        assert b"CANARY" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.send_signal(signal.SIGTERM)
        finish(process)


def test_a_background_job_keeps_the_secret(tmp_path: Path) -> None:
    begun = sse_response(sse([{"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}]))
    with serve(begun, ECHOES["500"], ECHOES["401"]) as server:
        args = ("--background", "--record", str(tmp_path / "recording"), "-vv", "--retry-delay", "0", "hi")
        result = harmless(forked.oastream("--base-url", server.url, *args), tmp_path)
    assert result.status == 21


def test_a_bug_shows_no_secret() -> None:
    """An internal error is a line, not a traceback with the request in it."""
    env = {"TESTS_PRELOAD": "tests.failing.breaking"}
    with serve(answer(HELLO)) as server:
        result = forked.oastream("--base-url", server.url, "-vv", "hi", env=env)
    assert result.status == 1
    assert "internal error" in result.err
