"""`oastream-batch` where it is used oddly: settings from everywhere, files of all kinds, closed and slow pipes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import termios
import threading
import time
from pathlib import Path

import pytest

from tests.support.batches import BATCH_COMMAND, batch, by_id, ids, item, numbered, read_records, write_lines
from tests.support.origin import Asked, echo, run_origin
from tests.support.program import CANARY, finish, start
from tests.support.terminal import Terminal
from tests.support.waiting import SOON
from tests.support.wire import Reply, mark, send, wait

MOCK = {"OPENAI_BASE_URL": "mock:"}


# Servers and keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_mock_is_a_server_for_this_run_and_never_behind_a_proxy(tmp_path: Path, proxy: str) -> None:
    source = numbered(tmp_path / "in", 30)
    result = batch(source, "--base-url", "mock:?reply=hi", "--format", "text", env={proxy: "http://127.0.0.1:9"})
    assert (result.status, result.err) == (0, "")
    assert {record["text"] for record in result.records} == {"hi"}
    assert len(by_id(result.records)) == 30


def test_mock_may_stand_beside_another_server(tmp_path: Path) -> None:
    with run_origin() as origin:
        source = numbered(tmp_path / "in", 40)
        result = batch(
            source, "-j", "2", "--base-url", "mock:?reply=mock", "--base-url", origin.url, "--format", "text"
        )
        assert origin.asked
    assert result.status == 0, result
    assert len(by_id(result.records)) == 40
    assert "mock" in {record["text"] for record in result.records}


def test_dry_run_shows_a_request_to_mock(tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 1), "--base-url", "mock:", "--dry-run")
    assert (result.status, result.err) == (0, "")
    assert json.loads(result.out)["url"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mock:x", "a mock URL is"),
        ("mock:?end=no", "--end: 'no'"),
    ],
)
def test_a_base_url_that_names_no_server_is_bad_usage(tmp_path: Path, url: str, why: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), "--base-url", url)
    assert (result.status, result.out) == (2, b"")
    assert why in result.err


@pytest.mark.parametrize("variable", ["OASTREAM_BASE_URL", "OPENAI_BASE_URL"])
def test_a_bad_base_url_in_a_variable_is_the_configurations_mistake(tmp_path: Path, variable: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), env={variable: "ftp://x"})
    assert (result.status, result.out) == (6, b"")
    assert f"bad base-url from environment {variable}" in result.err


def test_the_key_command_is_asked_once_for_all_items(tmp_path: Path) -> None:
    command = f"echo x >> {tmp_path}/runs; echo {CANARY}-told"
    with run_origin() as origin:
        env = {"OASTREAM_API_KEY_CMD": command, "OASTREAM_BASE_URL": origin.url}
        result = batch(numbered(tmp_path / "in", 5), "-o", tmp_path / "out", env=env)
        keys = {asked.headers["authorization"] for asked in origin.asked}
    assert (result.status, result.err) == (0, "")
    assert keys == {f"Bearer {CANARY}-told"}
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_key_command_that_fails_ends_the_run_before_anything_is_sent(tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 1), env={**MOCK, "OASTREAM_API_KEY_CMD": "exit 3"})
    assert (result.status, result.out) == (6, b"")
    assert "api-key-cmd ended with status 3" in result.err


# Command lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [("--shard", "²/3"), ("--shard", f"0/{'9' * 5000}"), ("--order-buffer", "9" * 5000), ("-j", "9" * 5000)],
)
def test_a_number_that_is_none_is_bad_usage(tmp_path: Path, option: str, value: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), option, value, env=MOCK)
    assert (result.status, result.out) == (2, b"")
    assert f"invalid value for '{option}'" in result.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--repair"], "--repair needs -o"),
        (["--sync", "5"], "--sync needs -o"),
        (["--order-buffer", "1M"], "--order-buffer needs --order input"),
        (["--redo", "changed"], "--redo needs -o"),
        (["--redo", "length", "-o", "-"], "--redo needs -o"),
        (["--retry-failed"], "--retry-failed needs -o"),
        (["--prompt-key", "x"], "--prompt-key needs --input-format"),
        (["--answer-key", "x"], "--answer-key needs --format row"),
        (["-l", "--id-key", "x"], "--id-key needs --input-format"),
        (["--id-key", "x"], "custom_id is the id"),
        (["-l", "--format", "row", "--answer-key", "oastream"], "--answer-key oastream"),
    ],
)
def test_an_option_that_would_have_no_effect_is_bad_usage(tmp_path: Path, words: list[str], why: str) -> None:
    result = batch(numbered(tmp_path / "in", 1), *words, env=MOCK)
    assert (result.status, result.out) == (2, b"")
    assert why in result.err


def test_an_empty_name_is_no_input() -> None:
    result = batch("", env=MOCK)
    assert result.status == 2
    assert "INPUT is empty" in result.err


# Input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Why is the sky blue?\n", "id,text\na,hello\n"])
def test_text_that_nobody_has_named_is_not_sent_and_the_hint_names_the_option(tmp_path: Path, text: str) -> None:
    (tmp_path / "in").write_text(text)
    result = batch(tmp_path / "in", env=MOCK)
    assert (result.status, result.out) == (8, b"")
    assert "hint: -l reads each line as a prompt, --input-format csv a table" in result.err


def test_a_broken_line_among_good_ones_is_not_taken_for_text(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps(item("a")) + "\n{")
    result = batch(tmp_path / "in", env=MOCK)
    assert result.status == 8
    assert result.err == "oastream-batch: line 2: it is not JSON\noastream-batch: hint: --skip-bad skips such lines\n"


def test_utf_16_is_named(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes("id,prompt\na,b\n".encode("utf-16"))
    result = batch(tmp_path / "in", "--input-format", "csv", env=MOCK)
    assert result.status == 8
    assert "line 1: it is UTF-16, not UTF-8" in result.err
    assert "iconv" in result.err


@pytest.mark.parametrize("source_is_pipe", [False, True])
def test_a_prompt_that_no_request_can_hold_is_a_bad_line(tmp_path: Path, source_is_pipe: bool) -> None:
    rows = [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x\ud800y"}, {"id": "c", "prompt": "x"}]
    source = write_lines(tmp_path / "in", rows)
    words: tuple[str | Path, ...] = (source,)
    if source_is_pipe:
        words = ()
    words = (*words, "--input-format", "json", "--skip-bad", "--format", "text")
    result = batch(*words, stdin=source.read_bytes(), env=MOCK)
    assert result.status == 50, result
    assert sorted(record["custom_id"] or "" for record in result.records) == ["", "a", "c"]


@pytest.mark.parametrize("header", ["id,id,prompt", "id,answer,prompt", 'id,"prompt'])
def test_a_header_that_cannot_be_used_is_not_skipped(tmp_path: Path, header: str) -> None:
    (tmp_path / "in").write_text(f"{header}\na,b,c\n")
    result = batch(tmp_path / "in", "--input-format", "csv", "--format", "row", "--skip-bad", env=MOCK)
    assert (result.status, result.out) == (8, b"")
    assert "line 1: " in result.err
    assert "--skip-bad" not in result.err


@pytest.mark.parametrize("path", ["x\r\nX-Own: 1", "x y", "é", "x\0", "x#y", "../admin", "a/..", "x\u2028"])
def test_a_url_that_is_more_than_a_path_is_a_bad_line(tmp_path: Path, path: str) -> None:
    with run_origin() as origin:
        source = write_lines(tmp_path / "in", [{**item("a"), "url": f"/v1/{path}"}])
        result = batch(source, "--base-url", origin.url)
        assert (result.status, result.out) == (8, b"")
        assert "line 1: its url " in result.err
        assert not origin.asked


# Files ------------------------------------------------------------------------------------------------------------

BACKGROUND = [{"custom_id": "a", "body": {"model": "m", "input": "x", "background": True}}, item("b")]
"""One that has an answer, and one that is an error."""


def test_o_dash_is_stdout(tmp_path: Path) -> None:
    result = batch(numbered(tmp_path / "in", 3), "-o", "-", "--errors", "-", cwd=tmp_path, env=MOCK)
    assert (result.status, len(result.records)) == (0, 3)
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_errors_on_stdout_are_added_to_what_is_there(tmp_path: Path, name: str) -> None:
    source, log = write_lines(tmp_path / "in", BACKGROUND), tmp_path / "log"
    log.write_text("kept\n")
    with log.open("ab") as stdout:
        result = batch(
            source, "-o", tmp_path / "out", "--errors", name, "--skip-bad", env=MOCK, stdout=stdout, cwd=tmp_path
        )
    assert result.status == 50, result
    kept, error = log.read_text().splitlines()
    assert kept == "kept"
    assert json.loads(error)["error"]["kind"] == "input"
    assert ids(read_records(tmp_path / "out")) == ["b"]
    assert not (tmp_path / "-").exists()


def test_errors_may_go_into_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "errors")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "errors").read_text()), daemon=True)
    reader.start()
    source = write_lines(tmp_path / "in", BACKGROUND)
    result = batch(source, "-o", tmp_path / "out", "--errors", tmp_path / "errors", "--skip-bad", env=MOCK)
    reader.join(10)
    assert result.status == 50, result
    assert json.loads(got[0])["error"]["kind"] == "input"


def test_errors_that_cannot_be_written_end_the_run_with_9(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in", BACKGROUND)
    result = batch(source, "-o", tmp_path / "out", "--errors", "/dev/full", "--skip-bad", env=MOCK)
    assert result.status == 9
    assert "/dev/full cannot be written: no space left on device" in result.err


@pytest.mark.parametrize("name", [".", "nowhere/errors"])
def test_a_place_for_errors_is_looked_at_before_anything_is_sent(tmp_path: Path, name: str) -> None:
    with run_origin() as origin:
        source = numbered(tmp_path / "in", 1)
        for words in ([], ["-o", "out"]):
            result = batch(source, *words, "--errors", name, "--base-url", origin.url, cwd=tmp_path)
            assert (result.status, result.out) == (9, b"")
            assert f"oastream-batch: {name} cannot be " in result.err
        assert not origin.asked


def test_a_link_to_the_journal_stays_a_link(tmp_path: Path) -> None:
    link, target = tmp_path / "out", tmp_path / "target"
    link.symlink_to(target)
    source = numbered(tmp_path / "in", 4)
    assert batch(source, "-o", link, env=MOCK).status == 0
    assert batch(source, "-o", link, "--redo", "stop", "--order", "input", env=MOCK).status == 0
    assert link.is_symlink()
    assert ids(read_records(target)) == ["q0", "q1", "q2", "q3"]


def test_a_link_to_the_errors_stays_a_link(tmp_path: Path) -> None:
    link, target = tmp_path / "out.errors", tmp_path / "target"
    link.symlink_to(target)
    source = write_lines(tmp_path / "in", [item("bad")])
    for _ in range(2):
        result = batch(source, "-o", tmp_path / "out", "--base-url", "mock:?end=bad_request", "--retry", "0")
        assert result.status == 51, result
        assert link.is_symlink()
        assert ids(read_records(target)) == ["bad"]


# Ids --------------------------------------------------------------------------------------------------------------

ODD_IDS = [
    "a\nb",
    "nul\0",
    "\u202eevil",
    "x" * 5000,
    "../../etc",
    ".",
    "..",
    "a/b",
    "é" * 120,
    "%41",
    "-rf",
    "a\\",
]


@pytest.mark.parametrize("format", ["batch", "text"])
def test_any_text_is_an_id(tmp_path: Path, format: str) -> None:
    source = write_lines(tmp_path / "in", [item(name, "hi") for name in ODD_IDS])
    words = ("-o", "out", "--output-dir", "texts", "--format", format)
    result = batch(source, *words, cwd=tmp_path, env=MOCK)
    assert (result.status, result.err) == (0, "")
    assert sorted(ids(read_records(tmp_path / "out"))) == sorted(ODD_IDS)
    texts = list((tmp_path / "texts").iterdir())
    assert len(texts) == len(ODD_IDS)
    assert {path.read_text() for path in texts} == {"hi"}
    assert sorted(os.listdir(tmp_path)) == ["in", "out", "texts"]
    again = batch(source, *words, cwd=tmp_path, env={"OPENAI_BASE_URL": "mock:?end=bad_request"})
    assert (again.status, again.err) == (0, "")


def test_an_error_of_an_odd_id_is_told_on_one_line_that_is_safe_for_a_terminal(tmp_path: Path) -> None:
    name = "a\n\x1b[31m\u202eb"
    result = batch(write_lines(tmp_path / "in", [item(name), item(name)]), env=MOCK)
    assert result.status == 8
    assert result.err.startswith("oastream-batch: line 2: duplicate id ")
    assert not {"\x1b", "\u202e"} & set(result.err)
    assert len(result.err.splitlines()) == 2  # the hint


def test_an_id_that_no_file_can_hold_is_a_bad_line(tmp_path: Path) -> None:
    result = batch(write_lines(tmp_path / "in", [item("a\ud800")]), "-o", tmp_path / "out", env=MOCK)
    assert (result.status, result.out) == (8, b"")
    assert "line 1: its id has a lone surrogate" in result.err


def test_half_characters_elsewhere_in_a_row_lose_nothing(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "hi", "more": ["\udfff", 2**70]}]
    source = write_lines(tmp_path / "in", rows)
    for words in (["--format", "row"], []):
        result = batch(source, "--input-format", "json", "-m", "m", *words, env=MOCK)
        assert (result.status, len(result.records), result.err) == (0, 1, "")


@pytest.mark.parametrize("source_is_pipe", [False, True])
def test_skip_bad_passes_over_an_id_that_came_before(tmp_path: Path, source_is_pipe: bool) -> None:
    source = write_lines(tmp_path / "in", [item("a", "one"), item("a", "two"), item("b")])
    words: tuple[str | Path, ...] = (source,)
    if source_is_pipe:
        words = ()
    result = batch(*words, "--skip-bad", "--format", "text", stdin=source.read_bytes(), env=MOCK)
    assert result.status == 50, result
    by_text = {record["text"]: record for record in result.records if "text" in record}
    assert sorted(by_text) == ["b", "one"]
    (error,) = [record for record in result.records if record.get("error")]
    assert (error["custom_id"], error["error"]["message"], error["oastream"]["line"]) == (None, "duplicate id 'a'", 2)


@pytest.mark.parametrize("limit", [10**400, -5, 0])
def test_an_absurd_output_limit_is_for_the_server_to_refuse(tmp_path: Path, limit: int) -> None:
    with run_origin() as origin:
        result = batch(write_lines(tmp_path / "in", [item("a", max_output_tokens=limit)]), "--base-url", origin.url)
        assert origin.asked[0].json["max_output_tokens"] == limit
    assert result.status == 0, result


# Processes --------------------------------------------------------------------------------------------------------


def test_what_came_while_the_process_was_stopped_was_in_time(tmp_path: Path) -> None:
    asked, go_on, sent = threading.Event(), threading.Event(), threading.Event()

    def answer(request: Asked) -> Reply:
        return [mark(asked), wait(go_on), send(echo(request)), mark(sent)]

    with run_origin(answer) as origin:
        words = (str(numbered(tmp_path / "in", 1)), "--base-url", origin.url, "--retry", "0")
        limits = ("--first-event-timeout", "0.5", "--idle-timeout", "0.5")
        with start(*words, *limits, program=BATCH_COMMAND) as process:
            assert asked.wait(SOON)
            process.send_signal(signal.SIGSTOP)
            go_on.set()
            assert sent.wait(SOON)
            time.sleep(0.7)  # beyond both, which a stopped process cannot watch
            process.send_signal(signal.SIGCONT)
            result = finish(process)
    assert (result.status, result.err) == (0, "")
    assert ids(result.records) == ["q0"]


def test_what_was_not_sent_is_counted_and_has_no_record(tmp_path: Path) -> None:
    words = ("--base-url", "mock:?end=quota", "-j", "1")
    result = batch(numbered(tmp_path / "in", 9), *words)
    assert (result.status, result.out) == (51, b"")
    assert "oastream-batch: 0 of 9 items have a plain answer: 9 not asked\n" in result.err
    assert "hint: with -o FILE the same command would go on" in result.err
    with_journal = batch(tmp_path / "in", *words, "-o", tmp_path / "out")
    assert "hint: the same command goes on with what is missing" in with_journal.err
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_a_pipe_that_was_not_read_to_its_end_is_told(tmp_path: Path) -> None:
    source = numbered(tmp_path / "in", 50).read_bytes()
    result = batch("--base-url", "mock:?end=quota", "-j", "1", stdin=source)
    assert (result.status, result.out) == (51, b"")
    assert "the input was not read to its end: there may be more items" in result.err
    assert "not read to its end" not in batch(tmp_path / "in", "--base-url", "mock:?end=quota").err


# Progress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [10, 40, 200])
def test_the_bar_is_one_line_of_any_terminal_with_room_for_a_key(
    tmp_path: Path, terminal: Terminal, columns: int
) -> None:
    fcntl.ioctl(terminal.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    go_on = threading.Event()
    with run_origin(lambda asked: [wait(go_on), send(echo(asked))]) as origin:
        words = (str(numbered(tmp_path / "in", 5)), "-o", str(tmp_path / "out"), "--base-url", origin.url)
        with start(*words, program=BATCH_COMMAND, stderr=terminal.theirs) as process:
            terminal.read_until(b"0%")
            go_on.set()
            assert finish(process).status == 0
    bars = terminal.read_rest().decode().split("\r\x1b[K")
    assert 0 < max(map(len, bars)) <= columns - 3


def test_progress_on_a_pipe_knows_no_total_until_it_has_ended(tmp_path: Path) -> None:
    ending, writing = os.pipe()
    with run_origin() as origin:
        words = ("--progress", "0.1", "--base-url", origin.url, "-o", str(tmp_path / "out"))
        with start(*words, program=BATCH_COMMAND, stdin=ending) as process:
            os.close(ending)
            os.write(writing, numbered(tmp_path / "in", 3).read_bytes())
            told = b""
            while b": 3 answered, " not in told:
                assert process.stderr is not None
                told += process.stderr.read(100)
            os.close(writing)
            assert finish(process).status == 0


# What is said once more -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["-l", "--template", "@-"], ["-l", "-", "-s", "@-"], ["--tools", "-"], ["--body", "@-"]], ids=" ".join
)
def test_stdin_has_one_use(words: list[str]) -> None:
    result = batch(*words, stdin=b"one\n", env=MOCK)
    assert (result.status, result.out) == (2, b"")
    assert "stdin can be used only once" in result.err


def test_stdin_may_be_the_template_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a\nb\n")
    result = batch("-l", tmp_path / "in", "--template", "@-", "--format", "text", stdin=b"Say {prompt}", env=MOCK)
    assert result.status == 0, result
    assert sorted(record["text"] for record in result.records) == ["Say a", "Say b"]


@pytest.mark.parametrize("words", [["--set", "background=true"], ["--body", '{"background": true}']], ids=" ".join)
@pytest.mark.parametrize("form", [[], ["-l"]], ids=["batch", "text"])
def test_options_that_ask_for_a_background_response_are_bad_usage(
    tmp_path: Path, words: list[str], form: list[str]
) -> None:
    result = batch(numbered(tmp_path / "in", 2), *form, *words, env=MOCK)
    assert (result.status, result.out) == (2, b"")
    assert "the options ask for a background response" in result.err


@pytest.mark.parametrize("text", ["junk\n", '{"a":1}\n', "\0\xff\n"])
def test_a_file_that_is_no_journal_is_not_said_to_be_repairable(tmp_path: Path, text: str) -> None:
    (tmp_path / "out").write_text(text)
    for words in ([], ["--repair"]):
        result = batch(numbered(tmp_path / "in", 1), "-o", tmp_path / "out", *words, env=MOCK)
        assert (result.status, (tmp_path / "out").read_text()) == (52, text)
        assert "hint: is it an answers file, and of this --format?" in result.err
        assert "--repair" not in result.err
