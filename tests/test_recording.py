"""`--record` keeps what a server sent, `--replay` plays it: the same stdout, stderr and status."""

from __future__ import annotations

import json
import os
import random
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import forked, streams
from tests.support.program import CANARY, ROOT, Result, oastream
from tests.support.streams import (
    call,
    chat_body,
    message,
    refusal,
    responses_body,
    responses_events,
    responses_start,
    sse,
)
from tests.support.wire import (
    Reply,
    chunk,
    head,
    http_response,
    rst,
    send,
    serve,
    sleep,
    sse_response,
    stall,
    stall_after,
)

TEXT = "Zürich 北京 \U0001f600"
BODY = responses_body(message(TEXT), piece=3)
DIRTY = BODY.replace(b"ich", b"i\xff\x80")
OK = sse_response(BODY)
CUT = sse_response(responses_start("Hello"))
LIMITED = http_response(
    '{"error":{"message":"slow down"}}', "429 Too Many Requests", headers={"Retry-After": "0", "x-request-id": "req_7"}
)
FORMATS = ("text", "ndjson", "tools", "json", "sse")


@dataclass(frozen=True, slots=True)
class Story:
    """What a server does in one run, and the status that comes of it."""

    replies: Sequence[Reply]
    status: int
    args: tuple[str, ...] = ()


def broken(*events: bytes) -> Reply:
    return sse_response(responses_start("Hello") + b"".join(events))


STORIES = {
    "stop": Story([OK], 0),
    "single-bytes": Story([sse_response(BODY, pieces=1)], 0),
    "chat": Story([sse_response(chat_body(TEXT))], 0, ("--api", "chat")),
    "json": Story([http_response(json.dumps({"object": "response", "output": [message(TEXT)]}))], 0),
    "dirty": Story([sse_response(DIRTY, pieces=7)], 0),
    "length": Story([sse_response(chat_body("Hello", finish="length"))], 10, ("--api", "chat")),
    "refusal": Story([sse_response(responses_body(refusal("No.")))], 12),
    "calls": Story([sse_response(responses_body(call("now", "{}")))], 13),
    "empty": Story([sse_response(responses_body())], 16),
    "400": Story([http_response('{"error":{"message":"no"}}', "400 Bad Request")], 20),
    "401": Story([http_response("nope", "401 Unauthorized", "text/plain")], 21),
    "429": Story([LIMITED], 30),
    "429-then-well": Story([LIMITED, OK], 0),
    "500-twice": Story([http_response("", "500 Oops"), http_response("<title>Oops</title>", "502 Oops"), OK], 0),
    "redirect": Story([http_response("", "302 Found", headers={"Location": "https://else.example/x?k=1"})], 26),
    "page": Story([http_response("<html><title>Sign in</title></html>", content_type="text/html")], 26),
    "nothing": Story([sse_response(b"")], 32),
    "nothing-then-well": Story([sse_response(b""), OK], 0),
    "silence-from-the-first": Story([stall_after(b"")], 33, ("--first-event-timeout", "0.2", "--retry", "0")),
    "silence-then-well": Story([stall_after(b""), OK], 0, ("--first-event-timeout", "0.3")),
    "cut": Story([CUT], 40),
    "reset": Story([sse_response(responses_start("Hello"), ending=[rst])], 40),
    "cut-then-well": Story([CUT, OK], 0, ("--hold",)),
    "idle": Story([stall_after(responses_start("Hello"))], 41, ("--idle-timeout", "0.2")),
    "error": Story([broken(b'data: {"type":"error","message":"gone"}\n\n')], 42),
    "malformed": Story([broken(b"data: {\n\n")], 43),
    "max-time": Story([stall_after(responses_start("Hello"))], 44, ("--max-time", "1.5")),
    "no-head": Story([[stall]], 33, ("--first-event-timeout", "0.2", "--retry", "0")),
    "no-reply": Story([b""], 32, ("--retry", "0")),
    "no-reply-then-well": Story([b"", OK], 0),
}


def steady(result: Result) -> tuple[int, bytes, str]:
    """Without what differs from run to run: times, waits, the port."""
    out = re.sub(rb'("\w+_ms":)[0-9.]+', rb"\g<1>0", result.out)
    err = re.sub(r"in [\d.]+ s \(", "in 0 s (", re.sub(r"127\.0\.0\.1(:\d+)?", "HOST", result.err))
    return result.status, re.sub(rb"127\.0\.0\.1(:\d+)?", b"HOST", out), err


def record(story: Story, file: Path, format: str = "text") -> Result:
    with serve(*story.replies) as server:
        quick = ("--base-url", server.url, "--retry-delay", "0.01", "--format", format)
        return forked.oastream(*quick, "--record", str(file), *story.args, "hi")


def replay(file: Path, *args: str) -> Result:
    return forked.oastream("--replay", str(file), "--retry-delay", "0.01", *args)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", [name for name in STORIES if name != "max-time"])
def test_a_replay_is_the_run_again(name: str, format: str, tmp_path: Path) -> None:
    story, file = STORIES[name], tmp_path / "recording"
    live = record(story, file, format)
    if format == "text":
        assert live.status == story.status
    assert steady(replay(file, "--format", format, *story.args)) == steady(live)


@pytest.mark.parametrize("name", ["stop", "429-then-well", "cut"])
def test_recording_changes_nothing(name: str, tmp_path: Path) -> None:
    story = STORIES[name]
    with serve(*story.replies) as server:
        plain = forked.oastream("--base-url", server.url, "--retry-delay", "0.01", *story.args, "hi")
    assert steady(record(story, tmp_path / "recording")) == steady(plain)


def test_a_recording_holds_the_bytes_of_the_body(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    for name in ("single-bytes", "dirty"):
        record(STORIES[name], file)
        out = replay(file, "--format", "sse").out
        assert out == (BODY if name == "single-bytes" else DIRTY)


def test_any_cut_of_a_recorded_body_is_the_same_answer(tmp_path: Path) -> None:
    chance = random.Random(1)
    file = tmp_path / "recording"
    for _ in range(25):
        pieces = sorted(chance.sample(range(1, len(BODY)), chance.randrange(1, 40)))
        assert record(Story([sse_response(BODY, pieces=pieces)], 0), file).text == f"{TEXT}\n"
        assert replay(file).text == f"{TEXT}\n"


def test_a_recording_of_several_choices_is_played_as_several(tmp_path: Path) -> None:
    texts = [streams.chunk({"content": text}, index=at) for at, text in [(0, "a "), (1, "X "), (0, "b")]]
    ends = [streams.chunk({}, "stop"), streams.chunk({}, "length", index=1)]
    chat, file = ("--api", "chat"), tmp_path / "recording"
    live = record(Story([sse_response(sse([*texts, *ends], done=True))], 0, (*chat, "--set", "n=2")), file)
    assert (live.status, live.text) == (0, "a b\n")
    assert steady(replay(file, *chat)) == steady(live)


def test_a_recording_may_be_played_in_another_format(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    record(STORIES["calls"], file)
    assert replay(file, "--format", "tools").records[0]["name"] == "now"
    assert replay(file, "--format", "ndjson").end["outcome"] == "tool_calls"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_stream_that_curl_saved_is_played(api: str, newline: str, tmp_path: Path) -> None:
    file = tmp_path / "saved.sse"
    make = chat_body(TEXT, newline=newline) if api == "chat" else responses_body(message(TEXT), newline=newline)
    file.write_bytes(b"\xef\xbb\xbf" + make)
    result = replay(file, "--api", api)
    assert (result.status, result.text, result.err) == (0, f"{TEXT}\n", "")
    file.write_bytes(make[: len(make) // 2])
    assert replay(file, "--api", api).status == 40


HEAD = b'{"ms":0,"status":200}\n'
NO_RECORDINGS = {
    "empty": b"",
    "blank": b"\n \n",
    "words": b"Dear diary,\nnothing happened.\n",
    "binary": b"\0\xff\x89PNG",
    "page": b"<html><title>Hi</title></html>",
    "an-object": b"{}",
    "a-list": b"[1, 2]",
    "a-number": b"42",
    "a-cut-answer": b'{"choices":[{"message"',
    "a-history": b'{"type":"message","role":"user","content":"hi"}\n',
    "a-moment-alone": b'{"ms":0}\n',
    "rubbish-after-the-head": HEAD + b"rubbish\n",
    "an-object-after-the-head": HEAD + b'{"ms":1}\n',
    "a-piece-first": b'{"ms":0,"data":"x"}\n',
    "status-text": b'{"ms":0,"status":"200"}\n',
    "status-null": b'{"ms":0,"status":null}\n',
    "status-list": b'{"ms":0,"status":[200]}\n',
    "status-0": b'{"ms":0,"status":0}\n',
    "status-huge": b'{"ms":0,"status":1e300}\n',
    "headers-number": b'{"ms":0,"status":200,"headers":5}\n',
    "headers-null": b'{"ms":0,"status":200,"headers":null}\n',
    "header-null": b'{"ms":0,"status":429,"headers":{"retry-after":null}}\n',
    "moment-true": b'{"ms":true,"status":200}\n',
    "base64-broken": HEAD + b'{"ms":1,"base64":"a"}\n',
    "base64-number": HEAD + b'{"ms":1,"base64":5}\n',
    "data-number": HEAD + b'{"ms":1,"data":5}\n',
    "end-number": HEAD + b'{"ms":1,"end":0}\n',
    "silence-false": HEAD + b'{"ms":1,"silence":false}\n',
    "failed-number": b'{"ms":0,"failed":7}\n',
    "failed-empty": b'{"ms":0,"failed":{}}\n',
    "failed-as-list": b'{"ms":0,"failed":{"outcome":["tls"],"what":"x"}}\n',
    "failed-well": b'{"ms":0,"failed":{"outcome":"stop","what":"x"}}\n',
    "failed-by-a-bug": b'{"ms":0,"failed":{"outcome":"internal","what":"x"}}\n',
    "failed-by-a-signal": b'{"ms":0,"failed":{"outcome":"signal","what":"x"}}\n',
    "failed-without-words": b'{"ms":0,"failed":{"outcome":"tls"}}\n',
}


@pytest.mark.parametrize("name", NO_RECORDINGS)
def test_what_is_no_recording_exits_8_and_says_so(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rubbish"
    file.write_bytes(NO_RECORDINGS[name])
    result = replay(file, "--realtime")
    assert result.status == 8
    assert f"{file} is not a recording" in result.message
    assert len(result.err.splitlines()) == 1


ANSWER = {"object": "chat.completion", "choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (json.dumps(ANSWER).encode(), 0),
        (b"\xef\xbb\xbf\n" + json.dumps(ANSWER).encode(), 0),
        (b'{"error":{"message":"no","code":"rate_limit_exceeded"}}', 30),
        (b": nothing but a comment\n\n", 32),
        (b"a stray line\n" + BODY, 0),
    ],
    ids=["answer", "byte-order-mark", "error", "comment", "stray-line"],
)
def test_a_body_that_curl_saved_is_played(content: bytes, status: int, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    file.write_bytes(content)
    assert replay(file).status == status


def test_a_line_that_a_killed_run_left_torn_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_bytes(HEAD + b'{"ms":1,"data":": x\\n\\n"}\n{"ms":2,"da')
    assert replay(file).status == 32


def test_a_recording_that_is_not_there_exits_8(tmp_path: Path) -> None:
    assert replay(tmp_path / "missing").status == 8


def test_a_recording_that_cannot_be_written_exits_9_and_nothing_is_sent(tmp_path: Path) -> None:
    with serve(OK) as server:
        result = forked.oastream("--base-url", server.url, "--record", str(tmp_path / "no" / "file"), "hi")
        assert server.connections == 0
    assert result.status == 9


def test_a_recording_that_is_lost_on_close_exits_9(tmp_path: Path) -> None:
    """As on NFS, or over a quota: the answer is printed, and the file is not what it should be."""
    env = {
        "FAIL": "close:1:always:EDQUOT",
        "FAIL_LOG": str(tmp_path / "log"),
        "PYTHONPATH": f"{ROOT}:{ROOT}/tests/failing",
    }
    with serve(OK) as server:
        result = oastream("--base-url", server.url, "--record", str(tmp_path / "recording"), "hi", env=env)
    assert (result.status, result.text) == (9, TEXT)
    assert f"cannot write to {tmp_path}/recording: " in result.message


def test_words_that_are_not_unicode_are_recorded(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    with serve([stall]) as server:
        args = ("--base-url", server.url.replace("http:", "https:"), "--retry", "0", "--record", str(file), "hi")
        live = oastream(*args, env={"SSL_CERT_FILE": "\udcff"})
    assert live.status == 6
    assert replay(file).status == live.status


def test_a_recording_that_ends_early_is_a_cut(tmp_path: Path) -> None:
    """Of a run that was killed: every line up to there is played, the torn one is not."""
    file = tmp_path / "recording"
    record(STORIES["single-bytes"], file)
    lines = file.read_bytes().splitlines(keepends=True)
    for length in range(1, len(lines), 29):
        file.write_bytes(b"".join(lines[:length]))
        result = replay(file)
        assert result.status in (32, 40)
        assert f"{TEXT}\n".startswith(result.text)


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "there"])
def test_a_recording_is_its_owners_alone_and_holds_no_secret(is_there: bool, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    if is_there:
        file.touch(0o644)
    echo = sse_response(responses_body(message(f"your key is {CANARY}")), headers={"x-request-id": CANARY})
    record(Story([echo], 0, ("-o", os.devnull)), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert CANARY.encode() not in file.read_bytes()


# --realtime


def slow(*pauses: float) -> Reply:
    """An event after each pause; the last pause is before the rest."""
    events = responses_events(message("abcdefgh"), piece=2)
    parts = [sse([event]) for event in events[: len(pauses) - 1]] + [sse(events[len(pauses) - 1 :])]
    steps = [step for pause, part in zip(pauses, parts, strict=True) for step in (sleep(pause), send(chunk(part)))]
    return [send(head("chunked")), *steps, send(b"0\r\n\r\n")]


def test_realtime_takes_as_long_as_it_took(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    record(Story([slow(0.1, 0.2, 0.3)], 0), file)
    took = max(json.loads(line)["ms"] for line in file.read_text().splitlines()) / 1000
    assert took >= 0.6
    began = time.monotonic()
    result = replay(file, "--realtime", "--format", "ndjson")
    assert took <= time.monotonic() - began < took + 1.5
    assert took * 1000 - 50 <= result.end["elapsed_ms"] < took * 1000 + 1500
    assert replay(file, "--format", "ndjson").end["elapsed_ms"] < 500


def test_realtime_keeps_deadlines(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    record(Story([slow(0, 0, 0, 0, 1.2)], 0), file)
    result = replay(file, "--realtime", "--idle-timeout", "0.4")
    assert result.status == 41
    assert "--idle-timeout 0.4 s" in result.err
    assert replay(file, "--idle-timeout", "0.4").status == 0, "without --realtime nothing takes time"


def test_a_run_that_sends_nothing_leaves_an_older_recording(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    recording.write_text("an older one\n")
    missing = ("--api-key-file", str(tmp_path / "none"), "--base-url", "https://api.example.invalid/v1")
    assert oastream("--record", str(recording), *missing, "hi").status == 6
    assert recording.read_text() == "an older one\n"
