"""Which prompt is sent, for what is on the command line and on stdin."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.program import COMMAND, Result, finish, oastream, start
from tests.support.program import run as run_command
from tests.support.streams import message, prompt_in, responses_body
from tests.support.terminal import Terminal
from tests.support.wire import Server, serve, sse_response

OK = sse_response(responses_body(message("ok")))


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(OK) as running:
        yield running


def run(server: Server, *args: str, stdin: bytes | int | IO[bytes] | None = None, shell: str | None = None) -> Result:
    return oastream("--base-url", server.url, *args, stdin=stdin, shell=shell)


def prompt(server: Server, *args: str, stdin: bytes | int | IO[bytes] | None = None, shell: str | None = None) -> str:
    """The prompt that a successful and silent run sends."""
    result = run(server, *args, stdin=stdin, shell=shell)
    assert (result.status, result.out, result.err) == (0, b"ok\n", "")
    return prompt_in(server.request.json)


@contextlib.contextmanager
def file_with(content: bytes) -> Iterator[IO[bytes]]:
    """An open file at its beginning."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        yield file


def refused(server: Server, status: int, result: Result) -> Result:
    """A run that ended before anything was sent."""
    assert result.status == status, result
    assert result.out == b""
    assert result.message
    assert server.connections == 0, "something was sent"
    return result


# No words


def test_a_pipe_is_the_prompt(server: Server) -> None:
    assert prompt(server, stdin=b"What is up?\n") == "What is up?\n"


def test_a_file_is_the_prompt(server: Server) -> None:
    with file_with(b"  What\r\nis up?\n\n") as file:
        assert prompt(server, stdin=file) == "  What\r\nis up?\n\n"


def test_the_rest_of_a_file_is_the_prompt(server: Server) -> None:
    with file_with(b"first\nsecond\n") as file:
        file.seek(6)
        assert prompt(server, stdin=file) == "second\n"


def test_a_socket_is_the_prompt(server: Server) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"from a socket")
        ours.shutdown(socket.SHUT_WR)
        assert prompt(server, stdin=theirs.fileno()) == "from a socket"


def test_a_large_prompt_is_sent_whole(server: Server) -> None:
    text = "Ünïcödé " * 300_000
    assert prompt(server, stdin=text.encode()) == text


def test_an_empty_pipe_exits_8(server: Server) -> None:
    refused(server, 8, run(server, stdin=b""))


def test_an_empty_file_exits_8(server: Server) -> None:
    with file_with(b"") as file:
        refused(server, 8, run(server, stdin=file))


def test_dev_null_exits_8(server: Server) -> None:
    refused(server, 8, run(server))


def test_closed_stdin_exits_8(server: Server) -> None:
    refused(server, 8, run(server, shell='exec "$@" <&-'))


def test_a_terminal_exits_2_with_one_line(server: Server, terminal: Terminal) -> None:
    result = refused(server, 2, run(server, stdin=terminal.theirs))
    assert len(result.err.splitlines()) == 1


# Some words


def test_words_are_joined_by_one_space(server: Server) -> None:
    assert prompt(server, "What", "is  up?") == "What is  up?"


def test_a_blank_line_stands_between_words_and_pipe(server: Server) -> None:
    assert prompt(server, "Sum", "up:", stdin=b"text\n") == "Sum up:\n\ntext\n"


def test_a_blank_line_stands_between_words_and_file(server: Server) -> None:
    with file_with(b"text") as file:
        assert prompt(server, "Sum up:", stdin=file) == "Sum up:\n\ntext"


def test_a_blank_line_stands_between_words_and_socket(server: Server) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"text")
        ours.shutdown(socket.SHUT_WR)
        assert prompt(server, "Sum up:", stdin=theirs.fileno()) == "Sum up:\n\ntext"


def test_an_empty_pipe_leaves_the_words_alone(server: Server) -> None:
    assert prompt(server, "hello", stdin=b"") == "hello"


def test_dev_null_leaves_the_words_alone(server: Server) -> None:
    assert prompt(server, "hello") == "hello"


def test_closed_stdin_leaves_the_words_alone(server: Server) -> None:
    assert prompt(server, "hello", shell='exec "$@" <&-') == "hello"


def test_a_terminal_is_not_read_when_there_are_words(server: Server, terminal: Terminal) -> None:
    terminal.type(b"typed ahead\n")
    assert prompt(server, "hello", stdin=terminal.theirs) == "hello"
    assert os.read(terminal.theirs, 100) == b"typed ahead\n"


def test_no_word_is_a_subcommand(server: Server) -> None:
    assert prompt(server, "batch", "mock", "help") == "batch mock help"


def test_words_after_two_dashes_are_no_options(server: Server) -> None:
    assert prompt(server, "--", "--help", "me") == "--help me"


@pytest.mark.parametrize("word", ["- item", "-- item", "--- x", "-5 degrees", "--frobnicate"])
def test_a_prompt_that_begins_with_a_dash_is_told_of_two_dashes(server: Server, word: str) -> None:
    result = refused(server, 2, run(server, word))
    assert "no such option" in result.message
    assert "oastream -- '" in result.err.splitlines()[1]
    assert prompt(server, "--", word) == word


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--max", "--max-output-tokens, --max-tokens, --max-time or --max-event-bytes"),
        ("--temp", "--temperature"),
        ("--temp=0.5", "--temperature"),
        ("--instr", "--instructions"),
        ("--max_tokens", "--max-tokens"),
        ("--modle", "--model"),
    ],
)
def test_an_option_that_there_is_not_is_answered_with_those_it_may_mean(server: Server, typed: str, meant: str) -> None:
    assert refused(server, 2, run(server, typed, "hi")).message.split("did you mean ")[1].startswith(meant)


def test_an_empty_word_exits_8(server: Server) -> None:
    refused(server, 8, run(server, ""))


# -n, -, -f


def test_no_stdin_leaves_an_open_pipe_alone(server: Server) -> None:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, b"not for you")
        assert prompt(server, "-n", "hello", stdin=read_end) == "hello"
        assert os.read(read_end, 100) == b"not for you"
    finally:
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize("option", ["-n", "--no-stdin"])
def test_no_stdin_without_words_exits_2(server: Server, option: str) -> None:
    refused(server, 2, run(server, option, stdin=b"text"))


def test_a_dash_is_where_stdin_goes(server: Server) -> None:
    assert prompt(server, "Is", "-", "right?", stdin=b"2+2=4") == "Is 2+2=4 right?"


def test_a_dash_alone_is_stdin(server: Server) -> None:
    assert prompt(server, "-", stdin=b"text\n") == "text\n"


def test_file_dash_is_stdin(server: Server) -> None:
    assert prompt(server, "-f", "-", stdin=b"text\n") == "text\n"


def test_a_file_is_added_to_the_prompt(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("Grüße\n".encode())
    (tmp_path / "b").write_bytes(b"second file\n")
    sent = prompt(server, "-f", str(tmp_path / "a"), "--file", str(tmp_path / "b"), "words")
    assert "words" in sent
    assert 0 <= sent.index("Grüße\n") < sent.index("second file\n")


def test_a_file_alone_is_a_prompt(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text\n")
    assert prompt(server, "-n", "-f", str(tmp_path / "a")) == "text\n"


@pytest.mark.parametrize("content", [None, b"caf\xe9"], ids=["missing", "not-utf8"])
def test_an_unreadable_file_exits_8(server: Server, tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    result = refused(server, 8, run(server, "-f", str(tmp_path / "a"), "hello"))
    assert str(tmp_path / "a") in result.err


# Encoding


def test_invalid_utf8_exits_8_and_names_the_byte(server: Server) -> None:
    result = refused(server, 8, run(server, stdin="é".encode() + b"abcdefghi\xffxyz"))
    assert "11" in result.message


def test_utf8_cut_at_the_end_exits_8(server: Server) -> None:
    result = refused(server, 8, run(server, "words", stdin=b"abc\xe2\x82"))
    assert "3" in result.message


@pytest.mark.parametrize(("name", "encoded"), [("latin-1", b"caf\xe9"), ("utf-16", "café".encode("utf-16"))])
def test_input_encoding_names_another_encoding(server: Server, name: str, encoded: bytes) -> None:
    assert prompt(server, "--input-encoding", name, stdin=encoded) == "café"


def test_an_unknown_input_encoding_exits_2(server: Server) -> None:
    refused(server, 2, run(server, "--input-encoding", "klingon", stdin=b"text"))


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_the_locale_changes_nothing(server: Server, locale: str) -> None:
    result = oastream("--base-url", server.url, "naïve", "😀", stdin="é".encode(), env={"LC_ALL": locale})
    assert (result.status, result.err) == (0, "")
    assert prompt_in(server.request.json) == "naïve 😀\n\né"


# Loops and waiting


def test_a_loop_over_a_file_runs_once_a_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("one\ntwo words\nthree\n")
    script = 'while read -r p; do "$@" "$p" || exit; done < "$0"'
    result = run_command(["/bin/sh", "-c", script, str(tmp_path / "list"), *COMMAND, "--base-url", server.url])
    assert (result.status, result.out, result.err) == (0, b"ok\n" * 3, "")
    assert [prompt_in(request.json) for request in server.requests] == ["one", "two words", "three"]


NOTICES = {
    (): b"oastream: waiting for stdin\n",
    ("Sum up:",): b"oastream: waiting for stdin; use -n to run without it\n",
    ("Sum up:", "-"): b"oastream: waiting for stdin\n",
    ("Sum up:", "-f", "-"): b"oastream: waiting for stdin\n",
}
"""-n is named where it helps: not where there would be nothing to send, nor where - asks for stdin."""


@pytest.mark.parametrize("words", NOTICES, ids=" ".join)
def test_two_seconds_of_silence_on_stdin_are_reported_and_waited_out(server: Server, words: tuple[str, ...]) -> None:
    with start("--base-url", server.url, *words, stdin=subprocess.PIPE) as process:
        began = time.monotonic()
        assert process.stdin is not None
        assert process.stderr is not None
        notice = process.stderr.readline()
        waited = time.monotonic() - began
        assert process.poll() is None
        assert server.connections == 0
        process.stdin.write(b"late text")
        process.stdin.close()
        process.stdin = None
        result = finish(process)
    assert notice == NOTICES[words]
    assert 1.9 <= waited <= 10
    assert (result.status, result.out, result.err) == (0, b"ok\n", "")
    assert prompt_in(server.request.json).split() == [*"".join(words[:1]).split(), "late", "text"]


def test_a_terminal_that_is_read_says_how_to_end_it_and_nothing_else_is_drawn_there(
    server: Server, terminal: Terminal
) -> None:
    """Whoever types would lose what they see to a line that is drawn anew."""
    args, screen = ("--base-url", server.url, "-"), terminal.theirs
    with start(*args, stdin=screen, stderr=screen, env={"TERM": "xterm"}) as process:
        terminal.read_until(b"ends it")
        terminal.type(b"typed\n")
        terminal.read_until(b"typed")
        threading.Event().wait(1.5)  # in which a status line would have appeared
        terminal.type(b"\x04")
        result = finish(process)
    assert (result.status, result.out) == (0, b"ok\n")
    assert prompt_in(server.request.json) == "typed\n"
    assert terminal.read_rest().replace(b"\r", b"").split(b"\n") == [
        b"oastream: waiting for stdin; Ctrl-D on a line of its own ends it",
        b"typed",
        b"",
    ]


def test_a_warning_waits_for_the_end_of_stdin(server: Server, terminal: Terminal) -> None:
    """Whoever feeds the pipe, sudo or ssh, may be asking on the terminal meanwhile."""
    args = ("--base-url", server.url, "--schema", '{"type":"object"}', "-f", "-")
    with start(*args, stdin=subprocess.PIPE, stderr=terminal.theirs, env={"TERM": "xterm"}) as process:
        assert process.stdin is not None
        assert terminal.read_until(b"\n") == b"oastream: waiting for stdin\r\n"
        process.stdin.write(b"text")
        process.stdin.close()
        process.stdin = None
        assert finish(process).status == 14
    assert b"strict mode" in terminal.read_rest()


def test_stdin_that_comes_in_pieces_is_read_to_its_end(server: Server) -> None:
    with start("--base-url", server.url, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for piece in (b"caf", b"\xc3", b"\xa9 ", b"au lait"):
            process.stdin.write(piece)
            threading.Event().wait(0.05)
        process.stdin.close()
        process.stdin = None
        assert finish(process).status == 0
    assert prompt_in(server.request.json) == "café au lait"
