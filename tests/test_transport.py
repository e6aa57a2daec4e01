"""The HTTP exchange over real sockets: what goes up while something comes down, and that every wait ends."""

from __future__ import annotations

import errno
import gzip
import os
import socket
import threading
import time
import zlib

import pytest

from oastream.exits import Failure, Outcome
from oastream.http.connection_errors import as_failure
from oastream.http.http1 import TruncatedBody
from oastream.http.transport import Response
from oastream.watch import Watch
from tests.support.program import Result, oastream, run_python
from tests.support.streams import dumps, message, responses_body, responses_events, sse
from tests.support.wire import (
    chunk,
    fin,
    forever,
    head,
    http_response,
    send,
    serve,
    serve_connections,
    sse_response,
    wait,
)

LARGE = b"x" * (24 << 20)
"""More than the buffers of both ends hold."""
ANSWER = responses_body(message("Hello"))


def read_head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1000)
    return data


def ask(url: str, *args: str, stdin: bytes = LARGE) -> Result:
    return oastream("--base-url", url, "--first-event-timeout", "15", *args, stdin=stdin)


# What comes while the request still goes up


@pytest.mark.parametrize("closes", [False, True], ids=["stays-open", "closes"])
def test_a_reply_that_comes_while_the_body_goes_up_is_taken(closes: bool) -> None:
    asked: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        asked.append(read_head(connection))
        time.sleep(0.5)  # by now the buffers are full, and the client can send no more
        error = dumps({"error": {"message": "10 MB at most"}})
        connection.sendall(http_response(error, "413 Content Too Large"))
        if not closes:
            done.wait(20)

    done = threading.Event()
    with serve_connections(refuse) as url:
        result = ask(url)
        done.set()
    assert (result.status, len(asked)) == (20, 1)
    assert "10 MB at most" in result.message
    assert result.seconds < 10


def test_an_answer_may_begin_before_the_whole_request_has_come() -> None:
    """Servers that send a 200 and comments at once keep a gateway from giving up."""
    received: list[int] = []

    def answer(connection: socket.socket) -> None:
        data = read_head(connection)
        length = int(data.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        connection.sendall(head("close") + b": wait\n\n")
        size = len(data.partition(b"\r\n\r\n")[2])
        while size < length:
            size += len(connection.recv(1 << 20))
        received.append(size - length)
        connection.sendall(ANSWER)

    with serve_connections(answer) as url:
        result = ask(url)
    assert (result.status, result.out, received) == (0, b"Hello\n", [0])


def test_a_server_that_reads_nothing_and_says_nothing_meets_the_deadline() -> None:
    done = threading.Event()
    with serve_connections(wait(done)) as url:
        result = ask(url, "--first-event-timeout", "1", "--retry", "0")
        done.set()
    assert result.status == 33
    assert "--first-event-timeout" in result.message
    assert result.seconds < 10


def test_a_server_that_closes_while_the_body_goes_up_is_unreachable() -> None:
    with serve_connections(read_head) as url:
        result = ask(url, "--retry", "0")
    assert result.status == 32


def test_a_reply_is_taken_from_a_connection_that_takes_nothing_more() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.sendall(http_response("{}", "413 Content Too Large"))
    theirs.close()
    watch = Watch()
    with Response(ours, "host.example", watch, b"x") as response:
        response.read_head(watch.now() + 20)
        assert (response.status, response.read(watch.now() + 20)) == (413, b"{}")


# Compression


@pytest.mark.parametrize("coding", ["br", "zstd"])
@pytest.mark.parametrize(("line", "status"), [("401 Unauthorized", 21), ("400 Bad Request", 20)])
def test_the_status_counts_before_a_body_that_cannot_be_read(line: str, status: int, coding: str) -> None:
    with serve(http_response(b"\x1b\x03\xff", line, headers={"Content-Encoding": coding})) as server:
        result = oastream("--base-url", server.url, "hi")
        assert len(server.requests) == 1
    assert result.status == status
    assert line[:3] in result.message


def test_an_answer_in_an_unknown_coding_is_malformed_and_says_which() -> None:
    with serve(sse_response(b"\x1b\x03\xff", headers={"Content-Encoding": "br"})) as server:
        result = oastream("--base-url", server.url, "--retry", "0", "hi")
    assert result.status == 43
    assert "br" in result.message


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("pieces", [None, 1, 5])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(ANSWER[:200]) + gzip.compress(ANSWER[200:])),
        ("deflate", zlib.compress(ANSWER)),
        ("deflate", raw_deflate(ANSWER)),
    ],
    ids=["members", "zlib", "raw"],
)
def test_every_form_of_gzip_and_deflate_is_read(coding: str, body: bytes, pieces: int | None) -> None:
    with serve(sse_response(body, pieces=pieces, headers={"Content-Encoding": coding})) as server:
        result = oastream("--base-url", server.url, "--retry", "0", "hi")
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


BOMB = gzip.compress(b"\n" * (64 << 20), 1) * 64
"""4 GiB of blank lines."""


def test_what_inflates_without_end_meets_max_time() -> None:
    with serve(sse_response(BOMB, framing="length", headers={"Content-Encoding": "gzip"})) as server:
        result = oastream("--base-url", server.url, "--retry", "0", "--max-time", "2", "hi")
    assert (result.status, result.out) == (33, b"")
    assert "--max-time" in result.message
    assert result.seconds < 10


INFLATING = """
import gzip, os, signal, socket, sys
from oastream.exits import Failure
from oastream.http.transport import Response
from oastream.watch import Watch

ours, theirs = socket.socketpair()
ours.setblocking(False)
theirs.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Encoding: gzip\\r\\n\\r\\n" + gzip.compress(bytes(16 << 20)))
watch = Watch()
watch.catch_signals()
response = Response(ours, "host.example", watch, b"")
response.read_head(watch.now() + 20)
assert response.read(watch.now() + 20)  # from here on no byte is awaited: all of it is here
try:
    if sys.argv[1] == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
        response.read(watch.now() + 20)
    else:
        response.read(0)
        response.read(0)
except TimeoutError:
    print("deadline")
except Failure as failed:
    print(failed.verdict.detail)
else:
    print("deaf")
"""


@pytest.mark.parametrize(("what", "said"), [("signal", "SIGTERM"), ("deadline", "deadline")])
def test_what_inflates_comes_back_to_signals_and_deadlines_after_every_piece(what: str, said: str) -> None:
    result = run_python(INFLATING, what)
    assert (result.status, result.text.strip()) == (0, said)


# Framing


def test_a_second_response_in_the_same_packet_is_not_looked_at() -> None:
    body = dumps({"object": "response", "status": "completed", "output": [message("Hello")]})
    first = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    with serve([send(first + http_response("{}", "500 Oops")), fin]) as server:
        result = oastream("--base-url", server.url, "--retry", "0", "hi")
    assert (result.status, result.out) == (0, b"Hello\n")


@pytest.mark.parametrize("word", ["chunked", "Chunked", "CHUNKED"])
def test_a_chunked_body_without_its_last_chunk_is_cut_however_it_is_spelled(word: str) -> None:
    body = sse(responses_events(message("Hello"))[:-1])
    top = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {word}\r\n\r\n".encode()
    with serve([send(top + chunk(body)), fin]) as server:
        result = oastream("--base-url", server.url, "--retry", "0", "hi")
    assert result.status == 40
    assert "the connection was closed" in result.message


# Waits


@pytest.mark.parametrize("option", ["--first-event-timeout", "--max-time"])
def test_a_server_that_drips_without_a_pause_meets_its_deadline(option: str) -> None:
    """There is always something to read: the deadline must count all the same."""
    with serve([send(head("chunked")), forever(chunk(b": x\n\n") * 500)]) as server:
        result = oastream("--base-url", server.url, "--retry", "0", option, "1", "hi")
    assert result.status == 33
    assert option in result.message
    assert result.seconds < 8


class Dead(socket.socket):
    """A connection whose peer has gone without a word: the kernel gives up at last."""

    def recv_into(self, *_: object) -> int:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def dead_response() -> Response:
    ours, theirs = socket.socketpair()
    dead = Dead(fileno=ours.detach())
    theirs.close()  # readable at once
    return Response(dead, "host.example", Watch(), b"")


def test_a_connection_that_the_kernel_gives_up_is_no_deadline_of_ours() -> None:
    with dead_response() as response, pytest.raises(Failure) as caught:
        response.read_head(deadline=float("inf"))
    assert caught.value.verdict.outcome is Outcome.UNREACHABLE
    assert caught.value.verdict.message == "cannot reach host.example: connection timed out"


def test_a_connection_that_the_kernel_gives_up_cuts_the_body() -> None:
    with dead_response() as response:
        response._message.feed(head("chunked"))
        with pytest.raises(TruncatedBody, match="timed out"):
            response.read(deadline=float("inf"))


def test_connecting_that_the_kernel_gives_up_is_no_deadline_of_ours() -> None:
    failed = as_failure(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)), "host.example")
    assert isinstance(failed, Failure)
    assert (failed.verdict.outcome, failed.verdict.detail) == (Outcome.UNREACHABLE, "connection timed out")
    ours = as_failure(TimeoutError("timed out"), "host.example")
    assert isinstance(ours, Failure)
    assert ours.verdict.outcome is Outcome.TIMEOUT
