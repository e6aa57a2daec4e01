"""A terminal is shown control characters as text; a pipe gets the bytes."""

from __future__ import annotations

import contextlib
import tty

import pytest

from tests.support.program import Result, check_result, finish, oastream, start
from tests.support.streams import chat_body, chunk, sse
from tests.support.terminal import open_terminal
from tests.support.wire import Reply, serve, sse_response

NASTY = "a\tb\n\x1b[31mred\x07\x00\x7f\x9b2J\u202eevil\u2066x é😀✀\n"
DANGEROUS = "\x1b\x07\x00\x7f\x9b\u202e\u2066"


def on_a_terminal(reply: Reply, *args: str) -> Result:
    """What a terminal is sent; its own newline handling is switched off."""
    terminal = open_terminal()
    tty.setraw(terminal.theirs)
    with (
        contextlib.closing(terminal),
        serve(reply) as server,
        start("--api", "chat", "--base-url", server.url, *args, "hi", stdout=terminal.theirs) as process,
    ):
        out = terminal.read_to_end()
        result = finish(process)
        return check_result(result.status, out, result.err.encode())


def on_a_pipe(reply: Reply, *args: str) -> Result:
    with serve(reply) as server:
        return oastream("--api", "chat", "--base-url", server.url, *args, "hi")


def test_a_terminal_is_shown_control_characters_as_text() -> None:
    result = on_a_terminal(sse_response(chat_body(NASTY)))
    assert result.status == 0
    assert not set(DANGEROUS) & set(result.text)
    for part in ("a\tb\n", "[31mred", "2J", "evil", "x é😀✀\n"):
        assert part in result.text


def test_each_dangerous_character_is_visible() -> None:
    result = on_a_terminal(sse_response(chat_body("".join(f"<{char}>" for char in DANGEROUS))))
    assert "<>" not in result.text, "shown, not dropped"


def test_a_sequence_split_over_deltas_is_shown_too() -> None:
    chunks = [chunk({"content": part}) for part in ("\x1b", "[", "31", "m", "\u202e")]
    result = on_a_terminal(sse_response(sse(chunks, done=True)))
    assert not set(DANGEROUS) & set(result.text)
    assert "[31m" in result.text


@pytest.mark.parametrize("args", [[], ["--sanitize", "auto"], ["--sanitize", "never"]], ids=" ".join)
def test_a_pipe_gets_the_bytes(args: list[str]) -> None:
    assert on_a_pipe(sse_response(chat_body(NASTY)), *args).out == NASTY.encode()


def test_a_pipe_is_sanitised_when_asked() -> None:
    result = on_a_pipe(sse_response(chat_body(NASTY)), "--sanitize", "always")
    assert result.status == 0
    assert not set(DANGEROUS) & set(result.text)


def test_a_terminal_gets_the_bytes_when_asked() -> None:
    assert on_a_terminal(sse_response(chat_body(NASTY)), "--sanitize", "never").out == NASTY.encode()


def test_reasoning_on_stderr_is_sanitised() -> None:
    result = on_a_pipe(sse_response(chat_body("ok", reasoning="a\x1b[31mb\x9b")), "--reasoning")
    assert result.status == 0
    assert not set(DANGEROUS) & set(result.err)
    assert "[31mb" in result.err
