"""`-o FILE` is the old file or the whole new one, and `--hold` prints all or nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.mounts import mount
from tests.support.program import NOTHING, Environment, Result, finish, oastream, start
from tests.support.streams import chat_body, chat_start, message, responses_body, responses_start
from tests.support.waiting import SOON
from tests.support.wire import Reply, mark, send, serve, sse_response, stall, wait

WHOLE = sse_response(responses_body(message("Hello")))
CUT = sse_response(responses_start("Hello"))
LENGTH = sse_response(
    responses_body(message("Hello"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
)
REFUSED = b"HTTP/1.1 500 Oops\r\n\r\n"
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away and mount")


def run(reply: Reply, *args: str, shell: str | None = None) -> Result:
    with serve(reply) as server:
        return oastream("--base-url", server.url, "--retry", "0", *args, "hi", shell=shell)


@contextlib.contextmanager
def begun(target: Path) -> Iterator[tuple[subprocess.Popen[bytes], threading.Event]]:
    """A run that has got something for the file, until it is told to go on."""
    arrived, go_on = threading.Event(), threading.Event()
    body = responses_body(message("Hello"), piece=1000)
    far = len(responses_start("Hello"))
    reply = sse_response(body[:far], framing="close", ending=[mark(arrived), wait(go_on), send(body[far:])])
    with serve(reply) as server, start("--base-url", server.url, "-o", str(target), "hi") as process:
        assert arrived.wait(SOON)
        yield process, go_on


def quick(reply: Reply, *args: str, env: Environment = NOTHING, cwd: Path | None = None) -> Result:
    """The same without a shell, and without the start of a process."""
    with serve(reply) as server:
        return forked.oastream("--base-url", server.url, "--retry", "0", *args, "hi", env=env, cwd=cwd)


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


@pytest.mark.parametrize("name", ["answer", "../answer", "fd/1", "1"])
def test_a_folder_that_is_gone_is_9(tmp_path: Path, name: str) -> None:
    gone = f'mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec "$@"'
    result = run(WHOLE, "-o", name, shell=gone)
    assert (result.status, result.message) == (9, f"oastream: cannot write to {name}: no such file or directory")
    assert run(WHOLE, "-o", name, "--record", "record", shell=gone).status == 9
    assert run(WHOLE, "-o", str(tmp_path / "answer"), shell=gone).status == 0


@pytest.mark.parametrize(
    ("reply", "status"), [(LENGTH, 10), (CUT, 40), (REFUSED, 31)], ids=["length", "interrupted", "server_error"]
)
@pytest.mark.parametrize("form", ["text", "ndjson", "json"])
def test_a_run_that_does_not_exit_0_leaves_the_file_alone(target: Path, reply: Reply, status: int, form: str) -> None:
    result = quick(reply, "--format", form, "-o", str(target))
    assert (result.status, result.out) == (status, b"")
    assert target.read_text() == "old\n"
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize(
    ("reply", "text"), [(LENGTH, "Hello\n"), (CUT, "Hello"), (REFUSED, "")], ids=["length", "interrupted", "nothing"]
)
def test_an_outcome_that_is_accepted_is_delivered(target: Path, reply: Reply, text: str) -> None:
    result = quick(reply, "--ok", "length,interrupted,server_error", "-o", str(target))
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert target.read_text() == text
    assert os.listdir(target.parent) == [target.name]


def test_an_answer_that_does_not_fit_its_schema_is_delivered_if_that_is_accepted(target: Path) -> None:
    args = ("--schema", '{"type":"object"}', "-o", str(target))
    assert quick(WHOLE, *args).status == 14
    assert target.read_text() == "old\n"
    assert quick(WHOLE, *args, "--ok", "schema").status == 0
    assert target.read_text() == "Hello\n"


def test_make_has_no_target_of_an_answer_that_was_cut(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("answer:\n\t@$(RUN) -o $@\n")
    with serve(LENGTH, WHOLE) as server:
        make = f'cd {tmp_path} && make -s answer RUN="$* --base-url {server.url} hi"'
        assert oastream(shell=make).status == 2
        assert not (tmp_path / "answer").exists()
        assert oastream(shell=make).status == 0
    assert (tmp_path / "answer").read_text() == "Hello\n"


def test_a_failed_run_makes_no_file(tmp_path: Path) -> None:
    assert run(CUT, "-o", str(tmp_path / "new.txt")).status == 40
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("reply", "status", "text"), [(CUT, 40, "Hello"), (LENGTH, 10, "Hello\n")])
def test_keep_partial_keeps_what_came(target: Path, reply: Reply, status: int, text: str) -> None:
    target.chmod(0o600)
    assert quick(reply, "-o", str(target), "--keep-partial").status == status
    part = target.parent / "answer.txt.part"
    assert (target.read_text(), part.read_text()) == ("old\n", text)
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
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


OPEN_FILES = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/stderr", "/dev/fd/2", "/dev/fd/7", "link"]


@pytest.mark.parametrize("name", OPEN_FILES)
def test_a_file_that_the_shell_has_opened_is_written_where_it_is(tmp_path: Path, name: str) -> None:
    """To open it anew would begin at its first byte; to replace it would lose what is there."""
    log = tmp_path / "log"
    log.write_text("first\n")
    before = log.stat().st_ino
    (tmp_path / "link").symlink_to("/dev/stdout")
    path = str(tmp_path / "link") if name == "link" else name
    number = {"/dev/stderr": 2, "/dev/fd/2": 2, "/dev/fd/7": 7}.get(name, 1)
    shell = f'exec {number}>>{log}; echo second >&{number}; "$@" && echo third >&{number}'
    result = run(WHOLE, "-o", path, shell=shell)
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert log.read_text() == "first\nsecond\nHello\nthird\n"
    assert log.stat().st_ino == before
    assert sorted(os.listdir(tmp_path)) == ["link", "log"]


def test_an_open_file_is_written_at_once_unless_it_is_held() -> None:
    assert quick(CUT, "-o", "/dev/stdout").out == b"Hello"
    assert quick(CUT, "-o", "/dev/stdout", "--hold").out == b""


@pytest.mark.parametrize(
    ("path", "redirection"),
    [("/dev/fd/3", ""), ("/dev/fd/4", ""), ("/dev/fd/999", ""), ("/dev/stdout", ">&-"), ("/dev/fd/5", "5</dev/null")],
)
def test_a_number_that_nobody_opened_for_writing_exits_9_and_nothing_is_sent(path: str, redirection: str) -> None:
    """The first numbers are those of oastream's own pipes."""
    with serve(WHOLE) as server:
        result = oastream("--base-url", server.url, "-o", path, "hi", shell=f'exec "$@" {redirection}')
        assert server.connections == 0
    assert (result.status, result.out) == (9, b"")
    assert result.message == f"oastream: cannot write to {path}: bad file descriptor"


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


def test_a_folder_is_named_as_such(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/new/", str(tmp_path)):
        result = quick(WHOLE, "-o", name)
        assert (result.status, result.message) == (9, f"oastream: cannot write to {name}: it names a directory")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "é" * 120 + "x"], ids=["ascii", "odd", "even"])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    assert quick(WHOLE, "-o", str(tmp_path / name)).status == 0
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "Hello\n"


def test_a_name_that_leaves_no_room_for_part_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with serve(WHOLE) as server:
        args = ("--keep-partial", "-o", str(tmp_path / ("x" * 251)))
        result = forked.oastream("--base-url", server.url, *args, "hi")
        assert server.connections == 0
    assert result.status == 9
    assert "file name too long for --keep-partial" in result.message


def test_a_folder_in_the_place_of_part_is_refused_before_anything_is_sent(target: Path) -> None:
    (target.parent / "answer.txt.part").mkdir()
    with serve(WHOLE) as server:
        result = forked.oastream("--base-url", server.url, "--keep-partial", "-o", str(target), "hi")
        assert server.connections == 0
    assert (result.status, result.out) == (9, b"")
    assert "answer.txt: its .part, for --keep-partial, is a directory" in result.message


# One file, one use


@pytest.mark.parametrize("options", [("--history", "-o"), ("--record", "-o"), ("--history", "--record")])
@pytest.mark.parametrize("how", ["same", "link", "hard-link", "not-there"])
def test_one_file_for_two_uses_exits_2(tmp_path: Path, options: tuple[str, str], how: str) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    if how != "not-there":
        file.write_text("")
    if how == "link":
        other.symlink_to(file)
    if how == "hard-link":
        os.link(file, other)
    second = other if "link" in how else tmp_path / "." / "file"
    before = sorted(os.listdir(tmp_path))
    result = forked.oastream(options[0], str(file), options[1], str(second), "hi")
    assert (result.status, result.out) == (2, b"")
    assert "name the same file" in result.message
    assert sorted(os.listdir(tmp_path)) == before


def test_a_device_may_have_many_uses() -> None:
    assert quick(WHOLE, "-o", "/dev/null", "--record", "/dev/null").status == 0


# Modes and owners


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_what_is_being_written_is_as_private_as_what_it_replaces(target: Path, mode: int) -> None:
    target.chmod(mode)
    with begun(target) as (process, go_on):
        beside = [file for file in target.parent.iterdir() if file != target]
        assert [stat.S_IMODE(file.stat().st_mode) for file in beside] == [mode]
        go_on.set()
        assert finish(process, SOON).status == 0
    assert stat.S_IMODE(target.stat().st_mode) == mode


@as_root
def test_the_owner_is_kept(target: Path) -> None:
    os.chown(target, NOBODY, NOBODY)
    target.chmod(0o640)
    assert quick(WHOLE, "-o", str(target)).status == 0
    after = target.stat()
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (NOBODY, NOBODY, 0o640)
    assert target.read_text() == "Hello\n"


AS_NOBODY = f"exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "
"""The beginning of a shell script that goes on as a user who owns nothing here."""


@pytest.fixture
def public_target() -> Iterator[Path]:
    """An answer of last time that anyone may write, in a folder that anyone may read."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")
    with tempfile.TemporaryDirectory() as folder:  # those of pytest are closed to others
        os.chmod(folder, 0o755)
        file = Path(folder) / "answer.txt"
        file.write_text("old\n")
        file.chmod(0o666)
        yield file


def test_a_file_in_a_folder_that_cannot_be_written_is_written_in_place(public_target: Path) -> None:
    before = public_target.stat()
    assert run(CUT, "-o", str(public_target), shell=f'{AS_NOBODY} "$@"').status == 40
    assert public_target.read_text() == "old\n"
    result = run(WHOLE, "-o", str(public_target), shell=f'{AS_NOBODY} "$@"')
    assert (result.status, result.err) == (0, "")
    assert public_target.read_text() == "Hello\n"
    after = public_target.stat()
    assert (after.st_ino, after.st_uid) == (before.st_ino, before.st_uid)
    public_target.write_text("something longer than the answer\n")
    assert run(WHOLE, "-o", str(public_target), shell=f'{AS_NOBODY} "$@"').status == 0
    assert public_target.read_text() == "Hello\n"


def test_no_part_can_be_kept_in_a_folder_that_cannot_be_written(public_target: Path) -> None:
    result = run(WHOLE, "-o", str(public_target), "--keep-partial", shell=f'{AS_NOBODY} "$@"')
    assert (result.status, result.message) == (9, f"oastream: cannot write to {public_target}.part: permission denied")
    assert public_target.read_text() == "old\n"


def test_somebody_elses_file_stays_theirs(public_target: Path) -> None:
    """Whoever may write the folder could rename; then the file would be ours."""
    public_target.parent.chmod(0o777)
    before = public_target.stat()
    assert run(WHOLE, "-o", str(public_target), shell=f'{AS_NOBODY} "$@"').status == 0
    after = public_target.stat()
    assert (after.st_ino, after.st_uid) == (before.st_ino, before.st_uid)
    assert public_target.read_text() == "Hello\n"
    assert os.listdir(public_target.parent) == [public_target.name]


@as_root
def test_a_file_that_a_container_was_given_is_written_in_place(target: Path, tmp_path: Path) -> None:
    """Nothing can be renamed over a mount point."""
    given = tmp_path / "given"
    given.write_text("old\n")
    with mount("--bind", str(given), str(target)):
        assert quick(WHOLE, "-o", str(target)).status == 0
        assert target.read_text() == "Hello\n"
    assert given.read_text() == "Hello\n"
    assert sorted(os.listdir(tmp_path)) == ["answer.txt", "given"]


@as_root
@pytest.mark.parametrize("in_place", [False, True], ids=["beside", "in-place"])
def test_a_full_disk_leaves_the_file_alone(tmp_path: Path, in_place: bool) -> None:
    long = sse_response(responses_body(message("x" * 200_000), piece=50_000))
    with mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)):
        target = tmp_path / "answer.txt"
        target.write_text("old\n")
        with mount("--bind", str(target), str(target)) if in_place else contextlib.nullcontext():
            result = quick(long, "-o", str(target))
            assert target.read_text() == "old\n"
        assert (result.status, result.message) == (9, f"oastream: cannot write to {target}: no space left on device")
        assert os.listdir(tmp_path) == ["answer.txt"]


# Left-overs of runs that were killed


@pytest.mark.parametrize("name", ["answer.txt", "x" * 255])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    for _ in range(2):
        with begun(target) as (process, _go_on):
            process.kill()
            process.wait()
        assert len(os.listdir(tmp_path)) == 1, "what the one before left is gone"
    assert quick(CUT, "-o", str(target)).status == 40
    assert os.listdir(tmp_path) == []


def test_what_a_run_that_is_alive_writes_stays(target: Path) -> None:
    with begun(target) as (process, go_on):
        assert quick(CUT, "-o", str(target)).status == 40
        assert quick(sse_response(chat_body("other")), "--api", "chat", "-o", str(target)).status == 0
        assert target.read_text() == "other\n"
        go_on.set()
        assert finish(process, SOON).status == 0
    assert target.read_text() == "Hello\n"
    assert os.listdir(target.parent) == [target.name]


def test_only_left_overs_of_the_same_file_are_removed(target: Path) -> None:
    others = [".answer.txt", ".answer.oastream-12345678", ".other.txt.oastream-12345678", "answer.txt.oastream-1"]
    for name in [*others, ".answer.txt.oastream-12345678"]:
        (target.parent / name).write_text("x")
    (target.parent / ".answer.txt.oastream-folder").mkdir()
    assert quick(WHOLE, "-o", str(target)).status == 0
    expected = [*others, ".answer.txt.oastream-folder", "answer.txt"]
    assert sorted(os.listdir(target.parent)) == sorted(expected)


def test_a_left_over_that_is_locked_by_somebody_else_stays(target: Path) -> None:
    beside = target.parent / ".answer.txt.oastream-12345678"
    with beside.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert quick(WHOLE, "-o", str(target)).status == 0
        assert beside.exists()


# A signal at the very end


@pytest.mark.parametrize("call", ["fsync", "replace", "close"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_within_the_last_calls_kills_and_the_file_is_whole(
    target: Path, tmp_path: Path, call: str, number: signal.Signals
) -> None:
    env = {
        "FAIL": f"{call}:1:once:{number.name}",
        "FAIL_LOG": str(tmp_path / "log"),
        "TESTS_PRELOAD": "tests.failing.sitecustomize",
    }
    result = quick(WHOLE, "-o", str(target), env=env)
    assert f"{call}!" in (tmp_path / "log").read_text().split()
    assert (result.status, result.err) == (-number, "")
    assert target.read_text() == "Hello\n"
    assert sorted(os.listdir(tmp_path)) == ["answer.txt", "log"]


@pytest.mark.parametrize("error", ["EINVAL", "ENOTSUP", "EROFS", "ENOSYS"])
def test_a_file_system_without_fsync_is_no_failure(target: Path, tmp_path: Path, error: str) -> None:
    env = {
        "FAIL": f"fsync:1:always:{error}",
        "FAIL_LOG": str(tmp_path / "log"),
        "TESTS_PRELOAD": "tests.failing.sitecustomize",
    }
    result = quick(WHOLE, "-o", str(target), env=env)
    assert (result.status, result.err) == (0, "")
    assert target.read_text() == "Hello\n"


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


@pytest.mark.parametrize("form", ["text", "json"])
def test_hold_prints_an_answer_that_is_not_plain_only_if_that_is_accepted(form: str) -> None:
    args = ("--hold", "--format", form)
    refused = quick(LENGTH, *args)
    assert (refused.status, refused.out) == (10, b"")
    assert refused.message
    accepted = quick(LENGTH, *args, "--ok", "length")
    assert (accepted.status, accepted.err) == (0, "")
    assert b"Hello" in accepted.out


def test_hold_leaves_the_end_record_alone_of_an_answer_that_is_not_plain() -> None:
    result = quick(LENGTH, "--hold", "--format", "ndjson")
    assert result.status == 10
    assert [record["type"] for record in result.records] == ["oastream:end"]
    assert result.end["error"] is None


def test_hold_holds_until_the_end() -> None:
    with held("--hold") as (process, go_on):
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        assert process.stdout.read() is None
        go_on.set()
        assert finish(process, SOON).status == 40
