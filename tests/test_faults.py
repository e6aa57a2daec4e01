"""The fault matrix: what goes wrong, and what a script then sees. One entry a fault, with the number of its row.

The matrix lists what can go wrong between a client and a streaming API; its numbers stay when a row is dropped.
A row that another test proves is named in COVERED_ELSEWHERE, one that no single run can meet in NOT_OURS.
"""

from __future__ import annotations

import ast
import contextlib
import gzip
import re
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from oastream.mock import server as mock_server
from oastream.mock.script import plan_from_url
from tests.support import forked, program, wire
from tests.support.program import Environment, finish, start
from tests.support.streams import (
    Event,
    call,
    chat_body,
    chat_chunks,
    chunk,
    dumps,
    message,
    refusal,
    response_object,
    responses_body,
    responses_events,
    responses_start,
    sse,
)
from tests.support.terminal import Terminal
from tests.support.waiting import SOON
from tests.support.wire import (
    Framing,
    Reply,
    Step,
    drop,
    free_port,
    head,
    http_response,
    mark,
    rst,
    send,
    sse_response,
    stall_after,
)

TEXT = "Hello, world"
BODY = responses_body(message(TEXT), piece=4)
OK = sse_response(BODY)
QUICK = 5.0  # seconds that a run may take whose faults bring no wait of their own, on a busy machine


@dataclass(frozen=True, slots=True)
class Mock:
    """What `oastream-mock` is told: a fault for each attempt, and the options of a mock URL."""

    faults: tuple[str, ...]
    reply: str = TEXT

    @property
    def url(self) -> str:
        pairs = [("reply", self.reply), *(("fault", fault) for fault in self.faults)]
        return "mock:?" + "&".join(f"{name}={quote(value)}" for name, value in pairs)


def mock(*faults: str, reply: str = TEXT) -> Mock:
    return Mock(faults, reply)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row: what the server does, and what must come of it.

    `err` is a regular expression for the line after `oastream: `; before it there is a line for every retry, after it
    there may be a hint. In `url` and `env`, `{url}` is the server's base URL, `{root}` the same without its path,
    `{tls}` with https. The real program is started where a shell must arrange something, else it is forked.
    """

    rows: tuple[int, ...]
    server: Mock | Sequence[Reply]
    status: int
    out: bytes = b""
    err: str = ""
    requests: int = 1
    args: tuple[str, ...] = ()
    env: Environment = field(default_factory=dict)
    within: float = QUICK
    url: str = "{url}"
    prompt: tuple[str, ...] = ("hi",)
    stdin: bytes | None = None
    shell: str | None = None


CHAT = ("--api", "chat")
EVENTS = responses_events(message(TEXT), piece=4)
DELTAS = [number for number, event in enumerate(EVENTS) if "delta" in event]
LINE = f"{TEXT}\n".encode()
HALF = b"Hello,"
"""What oastream-mock has sent of TEXT when it is at `half`."""
GZIP = {"Content-Encoding": "gzip"}
PLAIN = "connection refused"


def error(status: str, message: str = "no luck", **fields: str) -> bytes:
    return http_response(dumps({"error": {"message": message, **fields}}), status)


def chat(*chunks: Event | str, done: bool = True) -> Reply:
    return sse_response(sse(chunks, done=done))


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def flushed(data: bytes) -> bytes:
    """Compressed so far that every byte of it can be read, without the end."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)


def numbered(*numbers: int) -> bytes:
    """Events of the answer, in this order, from a server that works in the background."""
    return sse(EVENTS[number] for number in numbers).replace(b'"response":{', b'"response":{"background":true,')


ALL = range(len(EVENTS))
ENDINGS: dict[str, Step] = {"rst": rst, "drop": drop, "fin": send(b"0\r\n\r\n")}
TORN: list[tuple[int, str, Framing]] = [
    (34, "rst", "chunked"),
    (34, "rst", "length"),
    (34, "rst", "close"),
    (35, "drop", "chunked"),
    (35, "drop", "length"),
    (36, "drop", "close"),
    (36, "fin", "chunked"),
]


def torn(framing: Framing, ending: Step) -> Reply:
    """A stream that ends within its second delta."""
    body = BODY[: BODY.index(b'"o, w"') + 3]
    return [send(head(framing, len(BODY))), send(wire.chunk(body) if framing == "chunked" else body), ending]


FAULTS: dict[str, Fault] = {
    # Network before the answer
    "an-unknown-host": Fault(
        (1,),
        [b""],
        32,
        err=r"cannot reach api\.example\.invalid: DNS: .+",
        requests=0,
        args=("--retry", "0"),
        url="https://api.example.invalid/v1",
        within=20,
    ),
    "a-broken-handshake": Fault((5,), [OK], 27, err=r"no TLS with 127\.0\.0\.1:\d+: .+", requests=0, url="{tls}"),
    "a-missing-ca-file": Fault(
        (6,),
        [OK],
        6,
        err=r"cannot use SSL_CERT_FILE: /nonexistent: no such file or directory",
        requests=0,
        url="{tls}",
        env={"SSL_CERT_FILE": "/nonexistent"},
    ),
    "a-refused-proxy": Fault(
        (7,),
        [OK],
        32,
        err=r"cannot reach the proxy 127\.0\.0\.1:\d+: .*connection refused.*",
        requests=0,
        url="https://api.example.invalid/v1",
        args=("--retry", "0"),
        env={"https_proxy": f"http://user:CANARY@127.0.0.1:{free_port()}"},
    ),
    "a-proxy-that-wants-credentials": Fault(
        (7,),
        [http_response(status="407 Proxy Authentication Required")],
        6,
        err="the proxy requires credentials: .+",
        args=("--insecure-http",),
        env={"OPENAI_BASE_URL": "http://api.example.invalid/v1", "http_proxy": "{url}"},
    ),
    "a-socks4-proxy": Fault(
        (7,),
        [OK],
        6,
        err="bad proxy: ALL_PROXY has the unknown scheme socks4; .+",
        requests=0,
        url="https://api.example.invalid/v1",
        env={"ALL_PROXY": "socks4://user:CANARY@127.0.0.1:1"},
    ),
    "no-first-byte": Fault(
        (9,),
        mock("delay=inf"),
        33,
        err="no answer in time: no event within --first-event-timeout 0.2 s",
        requests=3,
        args=("--first-event-timeout", "0.2"),
    ),
    "no-first-byte-once": Fault(
        (9,), mock("delay=inf", "ok"), 0, LINE, requests=2, args=("--first-event-timeout", "1")
    ),
    "an-empty-reply": Fault((10,), mock("raw="), 32, err="no reply from .+: it closed .+", requests=3),
    "an-empty-reply-once": Fault((10,), mock("raw=", "ok"), 0, LINE, requests=2),
    "a-reset-before-the-reply": Fault((10,), mock("raw=,cut=rst", "ok"), 0, LINE, requests=2),
    "half-a-head": Fault((10,), mock("raw=HTTP/1.1 200 OK"), 32, err="no reply from .+", requests=3),
    "no-http": Fault(
        (11,), mock("raw=SSH-2.0-OpenSSH_9.6\n"), 26, err=r"127\.0\.0\.1:\d+ does not speak HTTP: .*SSH.*"
    ),
    "a-redirect": Fault(
        (13,),
        mock("status=307,headers=Location: https://else.example.com/secret?key=1"),
        26,
        err="no such API there: redirected to else.example.com; redirects are not followed.*",
    ),
    # HTTP answer
    "400": Fault(
        (15,),
        [error("400 Bad Request", "Unknown name", param="temprature")],
        20,
        err=r"bad request: Unknown name \(temprature\)",
    ),
    "400-context": Fault(
        (15,), [error("400 Bad Request", "too long", code="context_length_exceeded")], 20, err="bad request: too long.*"
    ),
    "413": Fault((15,), mock("status=413"), 20, err="bad request: .+"),
    "415": Fault((15,), mock("status=415"), 20, err="bad request: .+"),
    "422": Fault((15,), mock("status=422"), 20, err="bad request: .+"),
    "401": Fault((16,), mock("end=auth"), 21, err=r"the key is not accepted: Incorrect API key provided\. \[req_.+\]"),
    "403": Fault((17,), mock("end=forbidden"), 22, err="not permitted: .+"),
    "404-model": Fault((18,), mock("end=not_found"), 23, err="not found: The model does not exist.+"),
    "404-url": Fault((18,), [http_response("{}", "404 Not Found")], 23, err=".+", url="{root}"),
    "402": Fault((19,), mock("status=402"), 24, err="no credit left: .+"),
    "429-billing": Fault((19,), mock("end=quota"), 24, err="no credit left: .+"),
    "429": Fault((20,), mock("end=rate_limited"), 30, err="rate limited: .+", requests=3),
    "429-once": Fault((20,), mock("status=429,headers=Retry-After: 0", "ok"), 0, LINE, requests=2),
    "429-for-an-hour": Fault((20,), mock("status=429,headers=Retry-After: 3600"), 30, err="rate limited: .+"),
    "408": Fault((21,), mock("status=408"), 31, err=".+", requests=3),
    "409": Fault((21,), mock("status=409"), 31, err=".+", requests=3),
    **{
        str(code): Fault((22,), mock(f"status={code}"), 31, err="the server failed: .+", requests=3)
        for code in (500, 502, 503, 504, 522, 524, 529)
    },
    "a-gateways-page": Fault(
        (22,),
        mock("status=502,body=<html><head><title>Bad \x1b[31m Gateway</title></head><p>x</p></html>"),
        31,
        err=r"the server failed: HTTP 502: Bad \S+ ?Gateway \[req_.+\]",
        requests=3,
    ),
    "500-once": Fault((22,), mock("status=500", "ok"), 0, LINE, requests=2),
    "501": Fault((23,), mock("status=501"), 26, err="no such API there: .+"),
    "505": Fault((23,), mock("status=505"), 26, err="no such API there: .+"),
    "a-json-error-in-a-200": Fault(
        (24,),
        [http_response('{"error":{"message":"m","type":"server_error"}}')],
        31,
        err="the server failed: m",
        requests=3,
    ),
    "a-json-billing-error-in-a-200": Fault(
        (24,), [http_response('{"error":{"message":"m","code":"insufficient_quota"}}')], 24, err="no credit left: m"
    ),
    "a-json-client-error-in-a-200": Fault(
        (24,), [http_response('{"error":{"message":"m","type":"invalid_request_error"}}')], 20, err="bad request: m"
    ),
    "a-whole-response-in-a-200": Fault(
        (25,),
        [http_response(dumps(response_object(output=[message(TEXT)])))],
        0,
        LINE,
    ),
    "a-whole-completion-in-a-200": Fault(
        (25,),
        [
            http_response(
                dumps(
                    {
                        "object": "chat.completion",
                        "choices": [
                            {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
                        ],
                    }
                )
            )
        ],
        0,
        LINE,
        args=CHAT,
    ),
    "a-captive-portal": Fault((26,), mock("end=not_api"), 26, err=r"the server sent a web page: Welcome.*"),
    "204": Fault((27,), [b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"], 32, err="no answer: .+", requests=3),
    "an-empty-body": Fault((27,), [sse_response(b"")], 32, err="no answer: .+", requests=3),
    "an-empty-body-once": Fault((27,), [sse_response(b""), OK], 0, LINE, requests=2),
    "an-odd-content-type": Fault((28,), [sse_response(BODY, content_type="text/plain; charset=latin-1")], 0, LINE),
    "gzip": Fault((29,), [sse_response(packed(BODY), headers=GZIP)], 0, LINE),
    "gzip-cut-short": Fault(
        (30,),
        [sse_response(flushed(responses_start(TEXT)), headers=GZIP)],
        40,
        TEXT.encode(),
        err="the answer broke off: .+",
    ),
    "gzip-cut-after-the-terminal-event": Fault((30,), [sse_response(packed(BODY)[:-6], headers=GZIP)], 0, LINE),
    "gzip-that-is-none": Fault(
        (30,), [sse_response(BODY, headers=GZIP)], 43, err="cannot read the answer: .+", requests=3
    ),
    "a-compression-bomb": Fault(
        (31,),
        [sse_response(packed(b": " + bytes(64 << 20)), headers=GZIP)],
        43,
        err="an event is too large: .+",
        args=("--max-event-bytes", "1000000", "--retry", "0"),
    ),
    # Mid-stream
    "silence": Fault(
        (32,),
        mock("end=idle"),
        41,
        HALF,
        "the answer broke off: no event within --idle-timeout 0.3 s.*",
        args=("--idle-timeout", "0.3"),
    ),
    "a-drip-of-bytes": Fault(
        (33,),
        mock("stall_after=half,drip=0.05"),
        41,
        HALF,
        "the answer broke off: .*--idle-timeout.*",
        args=("--idle-timeout", "0.4"),
    ),
    "a-drip-of-comments-until-max-time": Fault(
        (33,),
        mock("end=idle,comments=0.05"),
        44,
        HALF,
        "the answer broke off: --max-time 2 s passed.*",
        args=("--idle-timeout", "0.4", "--max-time", "2"),
    ),
    "a-drip-of-comments-before-the-first-event": Fault(
        (33,),
        mock("stall_after=0,comments=0.05"),
        33,
        b"",
        "no answer in time: .*--first-event-timeout.*",
        args=("--first-event-timeout", "0.4", "--retry", "0"),
    ),
    **{
        f"a-cut-within-an-event-{how}-{framing}": Fault(
            (row,), [torn(framing, ENDINGS[how])], 40, b"Hell", "the answer broke off: .+"
        )
        for row, how, framing in TORN
    },
    **{
        f"a-cut-between-events-{cut}-{framing}": Fault(
            (37,),
            mock(f"cut_events=half,cut={cut},framing={framing}"),
            40,
            HALF,
            "the answer broke off: .+",
        )
        for cut, framing in [
            ("fin", "chunked"),
            ("drop", "chunked"),
            ("rst", "chunked"),
            ("fin", "close"),
            ("fin", "length"),
        ]
    },
    "no-terminal-event": Fault((37,), mock("no_finish"), 40, TEXT.encode(), "the answer broke off: .+"),
    "no-done": Fault((38,), mock("no_done"), 0, LINE, args=CHAT),
    "no-finish-reason": Fault((39,), mock("no_finish"), 0, LINE, args=CHAT),
    "neither-finish-reason-nor-done": Fault((39,), mock("no_finish,no_done"), 40, TEXT.encode(), ".+", args=CHAT),
    "no-last-blank-line": Fault((40,), [sse_response(BODY.rstrip(b"\n"))], 0, LINE),
    "done-without-a-line-end": Fault(
        (40,), [sse_response(chat_body(TEXT, finish=None).rstrip(b"\n"))], 0, LINE, args=CHAT
    ),
    "half-an-event-at-the-end": Fault((40,), [sse_response(BODY.rstrip(b"}\n"))], 40, TEXT.encode(), ".+"),
    "characters-cut-by-chunks": Fault(
        (41,),
        [sse_response(responses_body(message("Zürich 北京 \U0001f600")), pieces=1)],
        0,
        "Zürich 北京 \U0001f600\n".encode(),
    ),
    "a-character-cut-by-the-end": Fault(
        (42,),
        [sse_response(sse(EVENTS[:4]) + 'data: {"delta": "ü'.encode()[:-1])],
        40,
        b"",
        ".+",
        args=("--retry", "0"),
    ),
    "invalid-utf-8": Fault((43,), [sse_response(BODY.replace(b"Hell", b"H\xffll"))], 0, "H\ufffdllo, world\n".encode()),
    "a-lone-surrogate": Fault(
        (44,), [sse_response(BODY.replace(b"Hell", rb"H\ud800"))], 0, "H\ufffdo, world\n".encode()
    ),
    "malformed-json": Fault((45,), mock("malformed=half"), 43, HALF, "an event is not JSON: .+"),
    "malformed-json-before-output": Fault((45,), mock("malformed=0", "ok"), 0, LINE, requests=2),
    "events-without-data": Fault((46,), [sse_response(b"id: 1\n\nretry: 9\n\nevent: x\n\ndata:\n\n" + BODY)], 0, LINE),
    "unknown-events-and-fields": Fault(
        (47,),
        [sse_response(sse([{"type": "response.new", "x": 1}]) + BODY.replace(b'"delta":', b'"new":[],"delta":'))],
        0,
        LINE,
    ),
    **{
        f"an-event-that-is-{value}": Fault(
            (48,),
            [sse_response(responses_start(TEXT) + f"data: {value}\n\n".encode())],
            43,
            TEXT.encode(),
            "an event is not a JSON object: .+",
        )
        for value in ("1", "[]", "null", '"x"')
    },
    "a-giant-event": Fault(
        (49,),
        mock("huge=300000"),
        43,
        err="an event is too large: .+",
        requests=3,
        args=("--max-event-bytes", "200000"),
    ),
    "a-giant-event-that-is-allowed": Fault((49,), mock("huge=300000"), 0, LINE),
    "duplicates-after-a-resume": Fault(
        (50,), [sse_response(numbered(*ALL[: DELTAS[1] + 1])), OK], 0, LINE, requests=2, args=("--background",)
    ),
    "a-gap-that-a-resume-fills": Fault(
        (51,),
        [sse_response(numbered(*ALL[: DELTAS[0]], *ALL[DELTAS[1] :])), sse_response(numbered(*ALL[DELTAS[0] :]))],
        0,
        LINE,
        requests=2,
        args=("--background",),
    ),
    "a-gap-that-nothing-fills": Fault(
        (51,),
        [
            sse_response(numbered(*ALL[: DELTAS[1]], *ALL[DELTAS[2] :])),
            sse_response(numbered(*ALL[DELTAS[2] :])),
            error("404 Not Found"),
        ],
        43,
        b"Hell",
        "the answer broke off: not found: no luck",
        requests=3,
        args=("--background",),
    ),
    "events-out-of-order": Fault(
        (52,),
        [
            sse_response(numbered(*ALL[: DELTAS[0]], DELTAS[1], DELTAS[0], *ALL[DELTAS[2] :])),
            sse_response(numbered(*ALL[DELTAS[0] :])),
        ],
        0,
        LINE,
        requests=2,
        args=("--background",),
    ),
    "constant-sequence-numbers": Fault((52,), mock("sequence=constant"), 0, LINE, args=("--background",)),
    "no-sequence-numbers": Fault((52,), mock("sequence=none"), 0, LINE, args=("--background",)),
    "numbers-are-not-looked-at-in-the-foreground": Fault((50, 51, 52), mock("sequence=constant"), 0, LINE),
    **{
        f"an-error-event-{shape}-{api}": Fault(
            (54 if shape == "failed" else 53,),
            mock(f"error={shape},after=half"),
            42,
            HALF,
            "the answer failed: .+",
            args=("--api", api),
        )
        for shape, api in [
            *((shape, "responses") for shape in ("nested", "flat", "string", "event", "field", "failed")),
            *((shape, "chat") for shape in ("nested", "flat", "string", "event", "field", "choice")),
        ]
    },
    **{
        f"an-error-event-{shape}-before-output-{api}": Fault(
            (54 if shape == "failed" else 53,),
            mock(f"error={shape},code=insufficient_quota"),
            24,
            err="no credit left: .+",
            args=("--api", api),
        )
        for shape, api in [
            *((shape, "responses") for shape in ("nested", "flat", "event", "field", "failed")),
            *((shape, "chat") for shape in ("nested", "flat", "event", "field", "choice")),
        ]
    },
    "an-error-event-before-output-once": Fault(
        (53,), mock("error=nested,code=rate_limit_exceeded", "ok"), 0, LINE, requests=2
    ),
    "length": Fault((55,), mock("end=length"), 10, err="cut at the maximum number of tokens.*", out=b"*"),
    "length-chat": Fault(
        (55,), mock("end=length"), 10, err="cut at the maximum number of tokens.*", out=b"*", args=CHAT
    ),
    "content-filter": Fault((56,), mock("end=content_filter"), 11, err="cut by the content filter.*", out=b"*"),
    "refusal": Fault((56,), [sse_response(responses_body(refusal("No.")))], 12, b"No.\n", "the model declined.*"),
    "a-cut-call": Fault(
        (57,),
        [sse_response(responses_body(call("rm", '{"path": "/tmp/x"}'))[:900])],
        40,
        b"",
        ".+",
        args=("--format", "tools", "--retry", "0"),
    ),
    "a-cut-call-of-chat": Fault(
        (57,),
        [sse_response(chat_body(calls=[("1", "rm", '{"path": "/tmp/x"}')])[:700])],
        40,
        b"",
        ".+",
        args=("--format", "tools", "--retry", "0", *CHAT),
    ),
    "an-unknown-finish-reason": Fault(
        (58,), [chat(*chat_chunks(TEXT, finish="bored"))], 15, LINE, ".*bored.*", args=CHAT
    ),
    "out-of-resources": Fault(
        (58,),
        [chat(*chat_chunks(TEXT, finish="insufficient_system_resource"))],
        42,
        TEXT.encode(),
        "the answer failed: .+",
        args=CHAT,
    ),
    "data-after-done": Fault(
        (59,), [chat(*chat_chunks(TEXT), "[DONE]", chunk({"content": "more"}), "{")], 0, LINE, args=CHAT
    ),
    "one-of-two-choices-unfinished": Fault(
        (60,),
        [chat(*chat_chunks(TEXT, usage=None), chunk({"content": "x"}, index=1), done=False)],
        40,
        TEXT.encode(),
        "the answer broke off: .+",
        args=(*CHAT, "--set", "n=2"),
    ),
    # Process, terminal, files
    "stdout-closed": Fault(
        (67,), [OK], 9, err="cannot write to stdout: it is closed", requests=0, shell='exec "$@" >&-'
    ),
    "stdout-full": Fault(
        (68,), [OK], 9, err="cannot write to stdout: no space left on device", shell='exec "$@" >/dev/full'
    ),
    "stderr-closed": Fault((72,), mock("end=auth"), 21, err="()", shell='exec "$@" 2>&-'),
    "stderr-full": Fault((73,), mock("end=auth"), 21, err="()", shell='exec "$@" 2>/dev/full'),
    "stdin-closed": Fault((74,), [OK], 0, LINE, shell='exec "$@" <&-'),
    "stdin-empty": Fault((76,), [OK], 8, err=".+", requests=0, prompt=(), stdin=b""),
    "stdin-not-utf-8": Fault((77,), [OK], 8, err=".*offset 3", requests=0, prompt=(), stdin=b"abc\xff"),
    "stdin-too-large": Fault(
        (79,), [OK], 8, err="stdin is too large: .+", requests=0, prompt=(), stdin=b"x" * (33 << 20)
    ),
    "stdin-with-nul": Fault((78,), [OK], 0, LINE, prompt=(), stdin=b"a\0b"),
    "out-of-descriptors": Fault(
        (90,),
        [OK],
        32,
        err=".*too many open files.*",
        requests=0,
        args=("--retry", "0"),
        shell='ulimit -n 7; exec "$@"',
    ),
    "a-date-of-the-past": Fault(
        (87,), mock("status=429,headers=Retry-After: Thu, 01 Jan 1970 00:00:00 GMT", "ok"), 0, LINE, requests=2
    ),
    "a-date-far-in-the-future": Fault(
        (87,),
        mock("status=429,headers=Retry-After: Fri, 31 Dec 2100 00:00:00 GMT"),
        30,
        err="rate limited: .+",
    ),
    "locale-c": Fault(
        (94,),
        mock(reply="Zürich 北京"),
        0,
        "Zürich 北京\n".encode(),
        env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        shell='exec "$@"',
    ),
}


class Counted:
    """A server for a row, and how many requests it got."""

    def __init__(self, url: str, requests: Sequence[object]) -> None:
        self.url = url
        self.requests = requests


@contextlib.contextmanager
def serving(server: Mock | Sequence[Reply]) -> Iterator[Counted]:
    if isinstance(server, Mock):
        running = mock_server.serve(plan_from_url(server.url))
        try:
            yield Counted(running.url, running.requests)
        finally:
            running.close()
    else:
        with wire.serve(*server) as played:
            yield Counted(played.url, played.requests)


def run(fault: Fault, url: str) -> program.Result:
    places = {"{url}": url, "{root}": url.removesuffix("/v1"), "{tls}": url.replace("http:", "https:")}
    env = {name: value and places.get(value, value) for name, value in fault.env.items()}
    args = ("--base-url", places.get(fault.url, fault.url), "--retry-delay", "0.01", *fault.args, *fault.prompt)
    if fault.shell is not None:
        return program.oastream(*args, env=env, shell=fault.shell, stdin=fault.stdin)
    return forked.oastream(*args, env=env, stdin=fault.stdin)


def messages(fault: Fault) -> str:
    """All of stderr, as a regular expression."""
    if not fault.err or fault.err == "()":
        return ""
    retries = fault.requests - 1 - fault.err.startswith("the answer broke off: not found")  # it polls without a wait
    retry = r"oastream: .+; (retrying|resuming) in [\d.]+ s \(\d of \d\)\n"
    return rf"({retry}){{{max(retries, 0)}}}oastream: {fault.err}\n(oastream: hint: .+\n)?"


@pytest.mark.parametrize("name", FAULTS)
def test_fault(name: str) -> None:
    fault = FAULTS[name]
    with serving(fault.server) as server:
        result = run(fault, server.url)
        assert result.status == fault.status, result
        if fault.out == b"*":
            assert LINE.startswith(result.out.rstrip(b"\n")) or result.out.endswith(b"\n")
        else:
            assert result.out == fault.out
        assert re.fullmatch(messages(fault), result.err), f"{messages(fault)!r} does not match {result.err!r}"
        assert len(server.requests) == fault.requests, server.requests
        assert result.seconds < fault.within


def resetting() -> tuple[socket.socket, list[socket.socket]]:
    """A listener that resets whatever connects, and what has connected."""
    listener = socket.create_server(("127.0.0.1", 0))
    met: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                met.append(connection)
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    threading.Thread(target=accept, daemon=True).start()
    return listener, met


def test_a_refused_connection_is_tried_again() -> None:
    """Row 2: servers restart."""
    result = forked.oastream("--base-url", f"http://127.0.0.1:{free_port()}/v1", "--retry-delay", "0.01", "hi")
    assert (result.status, result.out) == (32, b"")
    assert result.err.count("connection refused") == 1
    assert "(2 of 2)" in result.err


def test_a_reset_handshake_is_tried_again() -> None:
    """Row 5: an alert is 27, a reset is the network's."""
    listener, met = resetting()
    with listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        result = forked.oastream("--base-url", url, "--retry-delay", "0.01", "hi")
        listener.shutdown(socket.SHUT_RDWR)
    assert (result.status, result.out, len(met)) == (32, b"", 3)
    assert "connection reset" in result.err


def test_a_stopped_process_goes_on_where_it_was() -> None:
    """Rows 65 and 88: what came while it could not look was in time."""
    sent = threading.Event()
    go_on = threading.Event()
    cut = len(responses_start(TEXT))
    body = responses_body(message(TEXT), piece=1000)
    reply = sse_response(body[:cut], "close", ending=[wire.wait(go_on), send(body[cut:]), mark(sent)])
    with wire.serve(reply) as server, start("--base-url", server.url, "--idle-timeout", "0.5", "hi") as process:
        assert process.stdout is not None
        assert process.stdout.read(len(TEXT)) == TEXT.encode()
        process.send_signal(signal.SIGSTOP)
        go_on.set()
        assert sent.wait(SOON)
        time.sleep(0.6)  # beyond the idle timeout, which a stopped process cannot watch
        process.send_signal(signal.SIGCONT)
        result = finish(process, SOON)
    assert (result.status, result.out, result.err) == (0, b"\n", "")


def test_a_process_that_slept_while_its_server_went_away_ends_with_4x() -> None:
    """Rows 65 and 88: a laptop that wakes up finds a dead connection."""
    gone = threading.Event()
    reply = sse_response(responses_start(TEXT), ending=[wire.wait(gone), rst])
    with wire.serve(reply) as server, start("--base-url", server.url, "hi") as process:
        assert process.stdout is not None
        assert process.stdout.read(len(TEXT)) == TEXT.encode()
        process.send_signal(signal.SIGSTOP)
        gone.set()
        assert server.request.closed.wait(SOON)
        process.send_signal(signal.SIGCONT)
        result = finish(process, SOON)
    assert (result.status, result.out) == (40, b"")
    assert result.message


def test_sigquit_is_deadly() -> None:
    """Row 66."""
    with (
        wire.serve(stall_after(responses_start(TEXT))) as server,
        start("--base-url", server.url, "hi", shell='ulimit -c 0; exec "$@"') as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(len(TEXT)) == TEXT.encode()
        process.send_signal(signal.SIGQUIT)
        assert finish(process, SOON).status == -signal.SIGQUIT
        assert server.request.closed.wait(SOON)


def test_no_prompt_on_a_terminal_is_a_usage_error(terminal: Terminal) -> None:
    """Row 75."""
    result = program.oastream("--base-url", "http://127.0.0.1:1/v1", stdin=terminal.theirs)
    assert (result.status, result.out) == (2, b"")
    assert len(result.err.splitlines()) <= 2
    assert result.message


def test_kill_9_leaves_the_target_alone_and_the_next_run_is_well(tmp_path: Path) -> None:
    """Row 82."""
    target = tmp_path / "answer.txt"
    target.write_text("old\n")
    sent = threading.Event()
    with (
        wire.serve(sse_response(responses_start(TEXT), ending=[mark(sent), wire.stall])) as server,
        start("--base-url", server.url, "-o", str(target), "hi") as process,
    ):
        assert sent.wait(SOON)
        process.send_signal(signal.SIGKILL)
        assert finish(process, SOON).status == -signal.SIGKILL
    assert target.read_text() == "old\n"
    with wire.serve(OK) as server:
        assert forked.oastream("--base-url", server.url, "-o", str(target), "hi").status == 0
    assert target.read_bytes() == LINE


def test_memory_that_is_not_there_is_one_line() -> None:
    """Row 89. The limit leaves room for the start, and none for the answer."""
    long = sse_response(responses_body(message("x" * 60_000_000), piece=60_000_000), "close")
    with wire.serve(long) as server:
        result = program.oastream(
            "--base-url", server.url, "--max-event-bytes", "1000000000", "hi", shell='ulimit -v 300000; exec "$@"'
        )
    assert result.status == 1
    assert re.fullmatch(r"oastream: .*memory.*\n(oastream: hint: .+\n)?", result.err, re.IGNORECASE)


def test_waits_between_tries_spread() -> None:
    """Row 91: many runs that met the same failure do not come back together."""
    delays = []
    with serving(mock("status=500")) as server:
        for _ in range(8):
            result = forked.oastream("--base-url", server.url, "--retry-delay", "0.02", "--format", "ndjson", "hi")
            delays.append([r["delay_ms"] for r in result.records if r["type"] == "oastream:retry"])
    assert all(0 <= first <= 20 and 0 <= second <= 40 for first, second in delays)
    assert len({tuple(pair) for pair in delays}) > 2


# Every row is somewhere

COVERED_ELSEWHERE = {
    3: "tests/test_deadlines.py::test_connecting_has_a_deadline_that_covers_tcp",
    4: "tests/test_tls.py::test_an_untrusted_certificate_exits_27_and_is_not_tried_again",
    8: "tests/test_deadlines.py::test_connecting_has_a_deadline_that_covers_tls",
    61: "tests/test_signals.py::test_a_signal_kills_and_partial_text_stays",
    62: "tests/test_signals.py::test_a_signal_kills_and_partial_text_stays",
    63: "tests/test_signals.py::test_a_signal_that_was_ignored_stays_ignored",
    64: "tests/test_stdout.py::test_a_closed_pipe_ends_the_request_while_no_token_flows",
    69: "tests/test_stdout.py::test_words_that_cannot_be_printed_exit_9",
    70: "tests/test_stdout.py::test_a_slow_reader_gets_every_byte_and_no_idle_timeout",
    71: "tests/test_stdout.py::test_a_non_blocking_stdout_gets_every_byte",
    80: "tests/test_file_output.py::test_a_disk_that_fills_up_exits_9_and_leaves_the_file_alone",
    81: "tests/test_file_output.py::test_a_symbolic_link_is_followed",
    84: "tests/test_torture.py::test_the_file_is_safe_on_disk_before_it_has_its_name",
    92: "tests/test_secrets.py::test_the_key_is_nowhere",
    93: "tests/test_sanitize.py::test_a_terminal_is_shown_control_characters_as_text",
}
NOT_OURS = {
    12: "a run opens one connection for each request: none is kept, so none can be stale",
    14: "HTTP/1.1 only: there is no GOAWAY",
    83: "batch",
    85: "batch",
    86: "batch",
    95: "without Python there is no oastream: 127 or 1, from the shell",
}


def own_rows() -> set[int]:
    """The rows of the table, and those that the docstring of a test begins with."""
    functions = [node for node in ast.parse(Path(__file__).read_text()).body if isinstance(node, ast.FunctionDef)]
    named = [re.match(r"Rows? ([\d and]+)", ast.get_docstring(node) or "") for node in functions]
    by_test = {int(number) for match in named if match for number in re.findall(r"\d+", match[1])}
    return by_test | {row for fault in FAULTS.values() for row in fault.rows}


def test_every_row_of_the_matrix_is_accounted_for() -> None:
    assert own_rows() | COVERED_ELSEWHERE.keys() | NOT_OURS.keys() == set(range(1, 96))
    assert not own_rows() & (COVERED_ELSEWHERE.keys() | NOT_OURS.keys())


@pytest.mark.parametrize("place", COVERED_ELSEWHERE.values())
def test_what_is_covered_elsewhere_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    source = ast.parse((program.ROOT / file).read_text())
    assert name in {node.name for node in source.body if isinstance(node, ast.FunctionDef)}
