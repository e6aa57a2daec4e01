"""HTTP/1.1 responses, fed as bytes: any cut of them is the same response, and none is whole that is not."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oastream.http.http1 import (
    MAX_HEAD_BYTES,
    Http1Response,
    NoReply,
    NotHttp,
    TruncatedBody,
    UnreadableBody,
    serialize_request,
)
from oastream.http.inflate import MAX_PIECE_BYTES, Inflater
from tests.support.wire import chunk

calmly = settings(deadline=None)
"""A machine that is busy with other tests is no failure."""
BODY = b'data: {"type":"response.created"}\n\n' * 5 + "Zürich\n\n".encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader has got of a response: `ending` is how its body ended."""

    status: int
    body: bytes
    ending: str


def pieces_of(response: Http1Response) -> Iterator[bytes]:
    """All there is for now. Raises how the body ended: `Ended`, `TruncatedBody`, `UnreadableBody`."""
    while piece := response.next_piece():
        assert len(piece) <= MAX_PIECE_BYTES or response.headers.get("content-encoding") is None
        yield piece
    if piece is None:
        raise Ended


class Ended(Exception):
    """The body is whole."""


def seen(parts: list[bytes], closes: bool = True) -> Seen:
    response, body, ending = Http1Response(), b"", "waits"
    try:
        for part in [*parts, None] if closes else parts:
            response.feed_eof() if part is None else response.feed(part)
            if response.head_ended:
                for piece in pieces_of(response):
                    body += piece
    except (Ended, TruncatedBody, NoReply, NotHttp, UnreadableBody) as error:
        ending = type(error).__name__
    return Seen(response.status, body, ending)


def feed_all(response: Http1Response, parts: list[bytes]) -> None:
    for part in parts:
        response.feed(part)


def cut_at(data: bytes, offsets: list[int]) -> list[bytes]:
    edges = [0, *sorted({offset % (len(data) + 1) for offset in offsets}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if b > a]


def response(head: str, body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{head}\r\n\r\n".encode() + body


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def chunked(data: bytes) -> bytes:
    return b"".join(chunk(data[at : at + 20]) for at in range(0, len(data), 20)) + b"0\r\n\r\n"


PACKED = {
    "identity": BODY,
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY[:50]) + gzip.compress(BODY[50:]),
    "deflate": zlib.compress(BODY),
    "Deflate": raw_deflate(BODY),
    "identity, gzip": gzip.compress(BODY[:1]) + gzip.compress(b"") + gzip.compress(BODY[1:]) + bytes(9),
}
AT_THE_END_OF_A_MEMBER = (b"", BODY[:1], BODY[:50], BODY)
"""Of those in `PACKED`: a gzip file that is cut there is a whole gzip file."""
FRAMED: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda body: response(f"Content-Length: {len(body)}", body),
    "chunked": lambda body: response("Transfer-Encoding: chunked", chunked(body)),
    "Chunked": lambda body: response("Transfer-Encoding: Chunked", chunked(body)),
    "close": lambda body: response("Connection: close", body),
    "after-100": lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + response(f"Content-Length: {len(body)}", body),
}
RESPONSES = {
    f"{framing}, {coding}": frame(packed).replace(b"\r\n\r\n", f"\r\nContent-Encoding: {coding}\r\n\r\n".encode(), 1)
    if framing != "after-100"
    else frame(BODY)
    for framing, frame in FRAMED.items()
    for coding, packed in PACKED.items()
}


@calmly
@given(st.sampled_from(sorted(RESPONSES)), st.lists(st.integers(0, 2000), max_size=12))
def test_any_cut_is_the_same_response(name: str, offsets: list[int]) -> None:
    assert seen(cut_at(RESPONSES[name], offsets)) == Seen(200, BODY, "Ended")


@pytest.mark.parametrize("name", RESPONSES)
def test_single_bytes_are_the_same_response(name: str) -> None:
    assert seen([bytes([byte]) for byte in RESPONSES[name]]) == Seen(200, BODY, "Ended")


@calmly
@given(st.sampled_from(sorted(RESPONSES)), st.integers(1, 2000))
def test_a_response_that_ends_early_is_never_whole(name: str, missing: int) -> None:
    whole = RESPONSES[name]
    early = seen([whole[: max(0, len(whole) - missing)]])
    assert BODY.startswith(early.body)
    if name == "close, identity" or (name.startswith("close") and early.body in AT_THE_END_OF_A_MEMBER):
        return  # nothing tells where such a body ends
    assert early.ending != "Ended"


def test_a_body_may_end_with_any_of_its_gzip_members() -> None:
    """Only the connection's end says which was the last: RFC 1952 counts them nowhere."""
    first = response("Connection: close\r\nContent-Encoding: gzip", gzip.compress(BODY[:50]))
    assert seen([first]) == Seen(200, BODY[:50], "Ended")


@calmly
@given(st.sampled_from(sorted(RESPONSES)), st.binary(max_size=200), st.lists(st.integers(0, 2000), max_size=5))
def test_what_follows_a_whole_response_changes_nothing(name: str, rest: bytes, offsets: list[int]) -> None:
    if not name.startswith("close"):
        assert seen(cut_at(RESPONSES[name] + rest, offsets)) == Seen(200, BODY, "Ended")


@pytest.mark.parametrize("name", [name for name in RESPONSES if not name.startswith("close")])
def test_a_second_response_does_not_replace_the_first(name: str) -> None:
    second = response("Content-Length: 3\r\nX-Second: yes", b"bad", "500 Oops")
    first = Http1Response()
    first.feed(RESPONSES[name] + second)
    assert (first.status, "x-second" in first.headers) == (200, False)
    assert seen([RESPONSES[name] + second]) == Seen(200, BODY, "Ended")


def test_a_body_ends_with_its_framing_and_not_with_the_connection() -> None:
    for name, whole in RESPONSES.items():
        assert seen([whole], closes=False).ending == ("waits" if name.startswith("close") else "Ended")


@pytest.mark.parametrize("status", ["200 OK", "426 Upgrade Required"])
def test_an_offer_to_switch_protocols_is_not_taken_for_a_switch(status: str) -> None:
    """Apache sends it with every reply."""
    one = Http1Response()
    one.feed(response("Upgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: 5", b"hello", status))
    assert (one.next_piece(), one.next_piece()) == (b"hello", None)


def test_a_connection_that_fails_after_the_body_changes_nothing() -> None:
    one = Http1Response()
    one.feed(response("Content-Length: 5", b"hello"))
    one.break_off("connection reset")
    assert (one.next_piece(), one.next_piece()) == (b"hello", None)


def test_a_connection_that_fails_within_the_body_says_why_once_the_rest_is_taken() -> None:
    one = Http1Response()
    one.feed(response("Content-Length: 9", b"hello"))
    one.break_off("connection reset")
    assert one.next_piece() == b"hello"
    with pytest.raises(TruncatedBody, match="connection reset"):
        one.next_piece()


def test_a_trailer_is_no_header() -> None:
    one = Http1Response()
    one.feed(response("Transfer-Encoding: chunked\r\nX-A: head", b"0\r\nX-A: trailer\r\nX-B: 1\r\n\r\n"))
    assert one.headers == {"transfer-encoding": "chunked", "x-a": "head"}
    assert one.next_piece() is None


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "compress"])
def test_an_unknown_coding_spoils_the_body_and_not_the_head(coding: str) -> None:
    one = Http1Response()
    one.feed(response(f"Content-Length: 3\r\nContent-Encoding: {coding}", b"abc", "401 Unauthorized"))
    assert (one.status, one.head_ended) == (401, True)
    with pytest.raises(UnreadableBody, match=coding):
        one.next_piece()


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_an_empty_body_is_whole_in_any_coding(coding: str) -> None:
    assert seen([response(f"Content-Length: 0\r\nContent-Encoding: {coding}", b"")]) == Seen(200, b"", "Ended")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_corrupt_body_is_unreadable(coding: str) -> None:
    packed = bytearray(PACKED[coding])
    packed[12] ^= 0xFF
    for body in (bytes(packed), b"\xff\xff" + BODY):
        whole = response(f"Content-Length: {len(body)}\r\nContent-Encoding: {coding}", body)
        assert seen([whole]).ending == "UnreadableBody"


@calmly
@given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_what_a_body_inflates_to_comes_in_bounded_pieces(kibibytes: list[int]) -> None:
    """Members of any size, that of a piece among them, and none is lost at the border of two pieces."""
    plain = [bytes([number]) * (1024 * size) for number, size in enumerate(kibibytes)]
    inflater = Inflater("gzip")
    inflater.feed(b"".join(map(gzip.compress, plain)))
    out = []
    while piece := inflater.next_piece():
        assert len(piece) <= MAX_PIECE_BYTES
        out.append(piece)
    assert b"".join(out) == b"".join(plain)
    assert inflater.is_whole
    assert not inflater.has_more


def test_what_has_come_is_there_at_once_however_little_stands_for_it() -> None:
    """zlib may have taken all of its input, and hold back a part of what it stands for."""
    packed = raw_deflate(b"x" * (3 * MAX_PIECE_BYTES))
    for size in range(2, len(packed)):
        inflater, out = Inflater("deflate"), b""
        inflater.feed(packed[:size])
        while piece := inflater.next_piece():
            out += piece
        assert out == zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed[:size])
        assert not inflater.has_more


def test_what_follows_padding_is_no_member_however_it_is_cut() -> None:
    packed = gzip.compress(BODY) + bytes(5) + gzip.compress(b"more")
    whole = response(f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}", packed)
    for offset in range(len(whole)):
        assert seen(cut_at(whole, [offset])) == Seen(200, BODY, "Ended")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 99999 OK\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "switched protocols"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD_BYTES, "does not speak HTTP"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_HEAD_BYTES // 20), "does not speak HTTP"),
    ],
    ids=["ssh", "length", "status", "101", "upgrade", "endless-head", "endless-hints"],
)
@pytest.mark.parametrize("size", [None, 7])
def test_what_is_no_response_says_so(data: bytes, what: str, size: int | None) -> None:
    parts = cut_at(data, list(range(0, len(data), size or len(data))))
    with pytest.raises(NotHttp) as caught:
        feed_all(Http1Response(), parts)
    assert caught.value.what == what


@calmly
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_at_all_are_a_bug(noise: bytes, offsets: list[int]) -> None:
    seen(cut_at(noise, offsets))
    seen(cut_at(b"HTTP/1.1 200 OK\r\n" + noise, offsets))
    seen(cut_at(response("Transfer-Encoding: chunked", noise), offsets))
    seen(cut_at(response("Content-Encoding: gzip", b"\x1f\x8b" + noise), offsets))
    seen(cut_at(response("Content-Encoding: deflate", noise), offsets))


# Before the response, and after it


def test_a_request_tells_its_length_and_a_post_does_so_without_a_body() -> None:
    headers = (("Host", "h"), ("X-A", "\xfc"))
    post = serialize_request("POST", "/v1/x?y=1", headers, b"body")
    assert post == b"POST /v1/x?y=1 HTTP/1.1\r\nHost: h\r\nX-A: \xfc\r\nContent-Length: 4\r\n\r\nbody"
    assert b"\r\nContent-Length: 0\r\n" in serialize_request("POST", "/", headers, b"")
    assert b"Content-Length" not in serialize_request("GET", "/", headers, b"")


@pytest.mark.parametrize(("status", "expected"), [("200 OK", False), ("307 Elsewhere", True), ("413 Too Large", True)])
def test_a_request_that_is_refused_need_not_be_sent_to_its_end(status: str, expected: bool) -> None:
    one = Http1Response()
    assert not one.refuses_request
    one.feed(response("Content-Length: 9", b"", status))
    assert one.refuses_request is expected


def test_a_connection_that_ends_says_whether_it_had_said_anything() -> None:
    for data, silent in ((b"", True), (b"H", False), (b"HTTP/1.1 100 Continue\r\n\r\n", False)):
        one = Http1Response()
        feed_all(one, [data] if data else [])
        with pytest.raises(NoReply) as caught:
            one.feed_eof()
        assert caught.value.is_silent is silent


def fed(data: bytes, offsets: list[int]) -> Http1Response:
    one = Http1Response()
    feed_all(one, cut_at(data, offsets))
    return one


@calmly
@given(st.sampled_from(sorted(RESPONSES)), st.lists(st.integers(0, 2000), max_size=5))
def test_a_connection_carries_another_request_unless_its_end_ended_the_body(name: str, offsets: list[int]) -> None:
    one = fed(RESPONSES[name], offsets)
    assert one.is_reusable is not name.startswith("close")
    one.feed_eof()
    assert one.is_reusable is not name.startswith("close"), "its end says nothing of the answer before"


@pytest.mark.parametrize(
    "whole",
    [
        response("Content-Length: 2\r\nConnection: close", b"ab"),
        response("Content-Length: 2\r\nConnection: Close, x", b"ab"),
        response("Content-Length: 2", b"ab").replace(b"HTTP/1.1", b"HTTP/1.0"),
        response("Content-Length: 2\r\nTransfer-Encoding: chunked", chunked(b"ab")),
        response("Content-Length: 2", b"ab") + response("Content-Length: 0", b""),
        response("Content-Length: 2", b"ab") + b"garbage",
        response("Transfer-Encoding: chunked", chunked(b"ab")) + b"HTTP/1.1 200 OK\r\n",
        response("Transfer-Encoding: chunked", b"zz\r\n"),
        response("Content-Length: 2", b"a"),
        b"HTTP/1.1 200 OK\r\nContent-Len",
    ],
    ids=["close", "Close", "1.0", "both-framings", "followed", "garbage", "begun", "malformed", "cut", "head"],
)
@calmly
@given(offsets=st.lists(st.integers(0, 300), max_size=5))
def test_a_connection_is_not_used_again_where_anything_is_in_doubt(whole: bytes, offsets: list[int]) -> None:
    assert not fed(whole, offsets).is_reusable


def test_an_old_server_may_promise_to_keep_the_connection() -> None:
    whole = response("Content-Length: 2\r\nConnection: keep-alive", b"ab").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert fed(whole, []).is_reusable


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_response_that_can_have_no_body_has_ended_with_its_head(status: str) -> None:
    one = fed(response("X: y", b"", status), [])
    assert (one.next_piece(), one.is_reusable) == (None, True)
