"""Contract 4: `-o FILE` is the old file or the whole new one, and `--hold` prints all or nothing."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import Result, finish, oastream, start
from tests.streams import chat_body, chat_start, message, responses_body, responses_start
from tests.wire import Reply, mark, send, serve, sse_response, stall, wait

WHOLE = sse_response(responses_body(message("Hello")))
CUT = sse_response(responses_start("Hello"))
SOON = 10.0


def run(reply: Reply, *args: str, shell: str | None = None) -> Result:
    with serve(reply) as server:
        return oastream("--base-url", server.url, "--retry", "0", *args, "hi", shell=shell)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An answer of last time."""
    file = tmp_path / "answer.txt"
    file.write_text("old\n")
    return file


def test_a_new_file_holds_the_answer(tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    result = run(WHOLE, "-o", str(file), shell='umask 027; exec "$@"')
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert file.read_text() == "Hello\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["new.txt"]


def test_a_file_is_replaced_and_its_mode_kept(target: Path) -> None:
    target.chmod(0o604)
    before = target.stat().st_ino
    assert run(WHOLE, "--output", str(target)).status == 0
    assert target.read_text() == "Hello\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert target.stat().st_ino != before, "renamed over, not written into"
    assert os.listdir(target.parent) == [target.name]


def test_a_relative_name_is_relative_to_the_working_directory(tmp_path: Path) -> None:
    with serve(WHOLE) as server:
        assert oastream("--base-url", server.url, "-o", "answer", "hi", cwd=tmp_path).status == 0
    assert (tmp_path / "answer").read_text() == "Hello\n"


def test_an_answer_that_is_not_plain_replaces_the_file_too(target: Path) -> None:
    result = run(sse_response(chat_body("Hello", finish="length")), "--api", "chat", "-o", str(target))
    assert result.status == 10
    assert target.read_text() == "Hello\n"


@pytest.mark.parametrize("reply", [CUT, b"HTTP/1.1 500 Oops\r\n\r\n"], ids=["cut", "refused"])
@pytest.mark.parametrize("ok", [[], ["--ok", "interrupted,server_error"]], ids=["plain", "ok"])
def test_a_failed_run_leaves_the_file_alone(target: Path, reply: Reply, ok: list[str]) -> None:
    result = run(reply, *ok, "-o", str(target))
    assert result.status in ((0,) if ok else (40, 31))
    assert target.read_text() == "old\n"
    assert os.listdir(target.parent) == [target.name]


def test_a_failed_run_makes_no_file(tmp_path: Path) -> None:
    assert run(CUT, "-o", str(tmp_path / "new.txt")).status == 40
    assert os.listdir(tmp_path) == []


def test_keep_partial_keeps_what_came(target: Path) -> None:
    assert run(CUT, "-o", str(target), "--keep-partial").status == 40
    assert target.read_text() == "old\n"
    assert (target.parent / "answer.txt.part").read_text() == "Hello"
    assert sorted(os.listdir(target.parent)) == ["answer.txt", "answer.txt.part"]


def test_keep_partial_leaves_nothing_beside_a_whole_answer(target: Path) -> None:
    assert run(WHOLE, "-o", str(target), "--keep-partial").status == 0
    assert target.read_text() == "Hello\n"
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_run_leaves_the_file_alone(target: Path, number: signal.Signals) -> None:
    sent = threading.Event()
    reply = sse_response(responses_start("Hello"), ending=[mark(sent), stall])
    with serve(reply) as server, start("--base-url", server.url, "-o", str(target), "hi") as process:
        assert sent.wait(SOON)
        process.send_signal(number)
        assert finish(process, SOON).status == -number
    assert target.read_text() == "old\n"
    assert os.listdir(target.parent) == [target.name]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.txt").write_text("old\n")
    link = tmp_path / "link.txt"
    link.symlink_to("far/real.txt")
    assert run(WHOLE, "-o", str(link)).status == 0
    assert link.is_symlink()
    assert (tmp_path / "far" / "real.txt").read_text() == "Hello\n"
    assert os.listdir(tmp_path / "far") == ["real.txt"]


def test_a_dangling_link_makes_its_file(tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to("real.txt")
    assert run(WHOLE, "-o", str(link)).status == 0
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_text() == "Hello\n"


def test_a_fifo_is_written_at_once_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    go_on = threading.Event()
    body = responses_body(message("Hello"), piece=1000)
    far = len(responses_start("Hello"))
    reply = sse_response(body[:far], framing="close", ending=[wait(go_on), send(body[far:])])
    with (
        serve(reply) as server,
        open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as reader,
        start("--base-url", server.url, "-o", str(fifo), "hi") as process,
    ):
        assert select.select([reader], [], [], SOON)[0]
        assert reader.read() == b"Hello"
        go_on.set()
        assert finish(process, SOON).status == 0
        assert reader.read() == b"\n"
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_device_is_written_directly() -> None:
    assert run(WHOLE, "-o", "/dev/null").status == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert run(WHOLE, "-o", "/dev/stderr", shell='exec "$@" 2>&1').out == b"Hello\n"


def test_a_full_device_exits_9() -> None:
    result = run(WHOLE, "-o", "/dev/full")
    assert result.status == 9
    assert result.message


@pytest.mark.parametrize("name", ["", "missing/answer.txt", "file/answer.txt"], ids=["directory", "missing", "file"])
def test_a_file_that_cannot_be_made_exits_9_and_nothing_is_sent(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with serve(WHOLE) as server:
        result = oastream("--base-url", server.url, "-o", str(tmp_path / name), "hi")
        assert server.connections == 0
    assert result.status == 9
    assert str(tmp_path) in result.message


def test_stdout_is_not_needed(target: Path) -> None:
    result = run(WHOLE, "-o", str(target), shell='exec "$@" >&-')
    assert (result.status, result.err) == (0, "")
    assert target.read_text() == "Hello\n"


def test_a_disk_that_fills_up_exits_9_and_leaves_the_file_alone(target: Path) -> None:
    """A limit on the size of files stands in for the disk."""
    long = sse_response(responses_body(message("x" * 200_000), piece=1000))
    result = run(long, "-o", str(target), shell='ulimit -f 8; trap "" XFSZ; exec "$@"')
    assert result.status == 9
    assert result.message
    assert target.read_text() == "old\n"
    assert os.listdir(target.parent) == [target.name]


def test_the_end_record_is_in_the_file(target: Path) -> None:
    result = run(WHOLE, "--format", "ndjson", "-o", str(target))
    assert (result.status, result.out) == (0, b"")
    assert Result(0, target.read_bytes(), "").end["outcome"] == "stop"


def test_the_end_record_is_in_the_partial_file(target: Path) -> None:
    assert run(CUT, "--format", "ndjson", "-o", str(target), "--keep-partial").status == 40
    part = target.parent / "answer.txt.part"
    assert Result(40, part.read_bytes(), "").end["outcome"] == "interrupted"


# --hold


@contextlib.contextmanager
def held(*args: str) -> Iterator[tuple[subprocess.Popen[bytes], threading.Event]]:
    go_on = threading.Event()
    reply = sse_response(chat_start("Hello"), ending=[wait(go_on)])
    with serve(reply) as server, start("--api", "chat", "--base-url", server.url, *args, "hi") as process:
        yield process, go_on


def test_hold_prints_a_whole_answer() -> None:
    result = run(WHOLE, "--hold")
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")


def test_hold_prints_nothing_of_a_cut_answer() -> None:
    result = run(CUT, "--hold")
    assert (result.status, result.out) == (40, b"")


def test_hold_leaves_the_end_record_alone_of_a_failed_run() -> None:
    result = run(CUT, "--hold", "--format", "ndjson")
    assert result.status == 40
    assert [record["type"] for record in result.records] == ["oastream:end"]


def test_hold_prints_all_records_of_a_whole_answer() -> None:
    result = run(WHOLE, "--hold", "--format", "ndjson")
    assert result.records[0]["type"] == "response.created"
    assert result.end["exit"] == 0


def test_hold_prints_an_answer_that_is_not_plain() -> None:
    result = run(sse_response(chat_body("Hello", finish="length")), "--api", "chat", "--hold")
    assert (result.status, result.out) == (10, b"Hello\n")


def test_hold_holds_until_the_end() -> None:
    with held("--hold") as (process, go_on):
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert process.stdout.read() is None
        go_on.set()
        assert finish(process, SOON).status == 40
