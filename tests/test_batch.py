"""`oastream-batch` as its users meet it: statuses, input, output, files, signals, pipes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.support import streams
from tests.support.batches import (
    BATCH_COMMAND,
    batch,
    by_id,
    ids,
    item,
    numbered,
    read_records,
    text_of,
    write_lines,
)
from tests.support.origin import Asked, Origin, echo, error, run_origin, say, streamed, whole
from tests.support.program import CANARY, finish, start
from tests.support.terminal import Terminal
from tests.support.waiting import wait_until
from tests.support.wire import Reply, drop, free_port, send, sse_response, stall_after, wait


@pytest.fixture(scope="module")
def echoing() -> Iterator[Origin]:
    """A server that repeats each prompt."""
    with run_origin() as origin:
        yield origin


class Answering:
    """Answers some prompts with these replies, and repeats the others."""

    def __init__(self, replies: dict[str, bytes]) -> None:
        self.replies = replies

    def __call__(self, asked: Asked) -> Reply:
        return self.replies.get(asked.prompt) or echo(asked)


# Options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--history", "f"],
        ["--background"],
        ["--detach"],
        ["--resume", "id"],
        ["--previous-response-id", "id"],
        ["--eager"],
        ["--hold"],
        ["--tool-output", "a=b"],
        ["-n"],
        ["-a", "f"],
        ["-f", "f"],
    ],
)
def test_an_option_of_a_single_run_is_bad_usage(words: list[str]) -> None:
    result = batch(*words, "in.jsonl")
    assert (result.status, result.out) == (2, b"")
    assert f"{words[0]} has no meaning for a batch" in result.err


def test_prompt_words_are_bad_usage() -> None:
    result = batch("in.jsonl", "why", "is")
    assert result.status == 2
    assert "a batch has one INPUT" in result.err


def test_no_input_at_a_terminal_is_bad_usage(terminal: Terminal) -> None:
    with start(program=BATCH_COMMAND, stdin=terminal.theirs) as process:
        result = finish(process)
    assert result.status == 2
    assert "no input" in result.err


def test_a_closed_stdin_is_no_input() -> None:
    assert batch(shell='exec "$@" <&-').status == 2


@pytest.mark.parametrize("names", [("-o", "in.jsonl"), ("--errors", "in.jsonl"), ("-o", "a", "--errors", "a")])
def test_one_file_has_one_role(tmp_path: Path, names: tuple[str, ...]) -> None:
    before = numbered(tmp_path / "in.jsonl", 2).read_bytes()
    result = batch("in.jsonl", *names, cwd=tmp_path)
    assert result.status == 2
    assert "the same file" in result.err
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_dry_run_shows_the_first_request_without_the_key(tmp_path: Path, echoing: Origin) -> None:
    result = batch(numbered(tmp_path / "in.jsonl", 2), "--dry-run", "-m", "other", "--base-url", echoing.url)
    assert result.status == 0
    assert json.loads(result.out)["body"] == {"model": "other", "input": "q0", "stream": True}
    assert not echoing.asked


def test_a_dry_run_on_a_full_disk_is_an_output_failure(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        result = batch(numbered(tmp_path / "in.jsonl", 1), "--dry-run", stdout=full)
    assert result.status == 9


# Input ------------------------------------------------------------------------------------------------------------


FORMS: dict[str, tuple[bytes, list[str], dict[str, str]]] = {
    "batch": (
        (
            b'{"custom_id":"a","method":"POST","url":"/v1/responses","body":{"model":"m","input":"one"}}\n'
            b'\n{"custom_id":7,"url":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"two"}]}}\n'
        ),
        [],
        {"a": "one", "7": "two"},
    ),
    "body": (
        b'{"input":"one","k":"x"}\n{"messages":[{"role":"user","content":"two"}],"k":2}\n',
        ["--id-key", "k"],
        {"x": "one", "2": "two"},
    ),
    "body without ids": (b'\n{"input":"one"}\n{"input":"two"}', [], {"line-2": "one", "line-3": "two"}),
    "json": (
        b'{"prompt":"one","id":"x"}\n{"prompt":"two"}\n',
        ["--input-format", "json"],
        {"x": "one", "line-2": "two"},
    ),
    "json template": (
        b'{"a":"1","b":{"c":2}}\n',
        ["--input-format", "json", "--template", "{{{a}}} {b}"],
        {"line-1": '{1} {"c":2}'},
    ),
    "csv": (
        b'id,prompt\n1,"two\nlines, ""quoted"""\n\n2,next\n',
        ["--input-format", "csv"],
        {"1": 'two\nlines, "quoted"', "2": "next"},
    ),
    "tsv": (b"id\tprompt\n1\ta,b\n", ["--input-format", "tsv"], {"1": "a,b"}),
    "text": (b"one\r\n\ntwo", ["-l"], {"line-1": "one", "line-3": "two"}),
    "text of many lines": (b"one\nmore\0two\0", ["-l", "-0"], {"line-1": "one\nmore", "line-2": "two"}),
}


@pytest.mark.parametrize("way", ["file", "pipe"])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_input_is_asked(tmp_path: Path, echoing: Origin, form: str, way: str) -> None:
    data, options, expected = FORMS[form]
    (tmp_path / "in").write_bytes(data)
    given = [tmp_path / "in"] if way == "file" else []
    result = batch(*given, *options, "--format", "text", "--base-url", echoing.url, stdin=None if given else data)
    assert result.status == 0, result
    assert {record["custom_id"]: record["text"] for record in result.records} == expected


BAD_INPUTS: dict[str, tuple[bytes, list[str], str]] = {
    "not JSON": (b'{"custom_id":"a","body":{"input":"x"}}\n{"custom', [], "line 2: it is not JSON"),
    "not UTF-8": (b'{"custom_id":"a","body":{"input":"\xff"}}\n', [], "line 1: it is not UTF-8"),
    "no id": (b'\n{"body":{"input":"x"}}\n', [], "line 2: it has no custom_id"),
    "an id twice": (
        b'{"custom_id":"1","body":{"input":"x"}}\n{"custom_id":1,"body":{"input":"y"}}\n',
        [],
        "line 2: duplicate id '1'",
    ),
    "no prompt": (b'{"a":1}\n', ["--input-format", "json"], "it has no 'prompt'"),
    "a missing field": (b'{"a":1}\n', ["--input-format", "json", "--template", "{b}"], "it has no field 'b'"),
    "the answer's column": (b"prompt,answer\nx,y\n", ["--input-format", "csv", "--format", "row"], "'answer' already"),
    "a background response": (b'{"custom_id":"a","body":{"input":"x","background":true}}\n', [], "background"),
    "nothing": (b"\n\n", [], "is empty"),
}


@pytest.mark.parametrize("way", ["file", "pipe"])
@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_bad_line_is_named_and_a_file_is_checked_before_anything_is_sent(tmp_path: Path, name: str, way: str) -> None:
    data, options, message = BAD_INPUTS[name]
    (tmp_path / "in").write_bytes(data)
    given = [tmp_path / "in"] if way == "file" else []
    with run_origin() as origin:
        result = batch(*given, *options, "--base-url", origin.url, stdin=None if given else data)
        assert result.status == 8, result
        assert message in result.err
        if way == "file":
            assert origin.connections == 0
            assert result.out == b""


def test_skip_bad_writes_an_error_for_each_bad_line_and_goes_on(tmp_path: Path, echoing: Origin) -> None:
    source = tmp_path / "in.jsonl"
    lines = ["nonsense", json.dumps(item("a")), '{"body":{}}', json.dumps(item("b", background=True))]
    source.write_text("\n".join(lines))
    result = batch(source, "--skip-bad", "-o", tmp_path / "out.jsonl", "--base-url", echoing.url)
    assert result.status == 50
    assert "1 of 4 items" in result.err
    assert "3 bad lines" in result.err
    assert ids(read_records(tmp_path / "out.jsonl")) == ["a"]
    errors = read_records(tmp_path / "out.errors.jsonl")
    assert [(each["custom_id"], each["oastream"]["line"]) for each in errors] == [(None, 1), (None, 3), (None, 4)]


def test_a_pipe_is_taken_no_faster_than_it_is_sent(tmp_path: Path) -> None:
    gate = threading.Event()
    reading, writing = os.pipe()

    def answer(asked: Asked) -> Reply:
        return [wait(gate), send(echo(asked))]

    with run_origin(answer) as origin, contextlib.ExitStack() as stack:
        words = ("-j", "2", "-l", "-o", str(tmp_path / "out"), "--base-url", origin.url)
        process = stack.enter_context(start(*words, program=BATCH_COMMAND, stdin=reading))
        os.close(reading)
        line = b"x" * 4000 + b"\n"
        os.write(writing, 4 * line)
        assert wait_until(lambda: len(origin.asked) == 2)
        os.set_blocking(writing, False)
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while taken < 2_000_000:
                taken += os.write(writing, line)
        assert taken < 2_000_000  # it is full: what is read ahead is one read of the pipe, of 64 KiB
        os.close(writing)
        gate.set()
        assert finish(process).status == 0


def test_a_body_that_wants_no_stream_gets_none(tmp_path: Path) -> None:
    response = streams.response_object(output=[streams.message("hi")], usage=streams.USAGE)
    with run_origin(lambda asked: whole(response)) as origin:
        source = write_lines(tmp_path / "in", [item("a", stream=False)])
        result = batch(source, "--base-url", origin.url)
        assert origin.asked[0].json["stream"] is False
    assert result.status == 0, result
    assert result.records[0]["response"]["body"] == response


def embed(asked: Asked) -> bytes:
    return whole({"object": "list", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}})


def test_embeddings_are_sent_and_answered_as_they_are(tmp_path: Path) -> None:
    line = {"custom_id": "a", "url": "/v1/embeddings", "body": {"model": "e", "input": "x"}}
    with run_origin(embed) as origin:
        result = batch(write_lines(tmp_path / "in", [line]), "--base-url", origin.url)
        assert (origin.asked[0].path, origin.asked[0].json) == ("/v1/embeddings", line["body"])
    assert result.status == 0, result
    assert result.records[0]["response"]["body"]["data"] == [{"embedding": [0.5]}]


@pytest.mark.parametrize("form", ["text", "tools"])
def test_embeddings_have_no_text(tmp_path: Path, form: str) -> None:
    line = {"custom_id": "a", "url": "/v1/embeddings", "body": {"model": "e", "input": "x"}}
    result = batch(write_lines(tmp_path / "in", [line]), "--format", form, "--base-url", "http://127.0.0.1:9/v1")
    assert result.status == 2, result
    assert "line 1" in result.err


# Output -----------------------------------------------------------------------------------------------------------


def test_answers_and_errors_have_the_batch_apis_shape(tmp_path: Path) -> None:
    refuse = error("400 Bad Request", f"bad, {CANARY}", code="c")
    with run_origin(Answering({"q1": refuse})) as origin:
        result = batch(numbered(tmp_path / "in.jsonl", 3), "-o", tmp_path / "out.jsonl", "--base-url", origin.url)
    assert result.status == 50
    assert result.err.splitlines() == [
        "oastream-batch: 2 of 3 items have a plain answer: 2 stop, 1 bad_request",
        f"oastream-batch: hint: the errors are in {tmp_path}/out.errors.jsonl",
    ]
    answers = by_id(read_records(tmp_path / "out.jsonl"))
    assert set(answers) == {"q0", "q2"}
    assert text_of(answers["q0"]) == "q0"
    assert answers["q0"]["error"] is None
    assert answers["q0"]["oastream"]["line"] == 1
    [failed] = read_records(tmp_path / "out.errors.jsonl")
    assert failed["response"]["status_code"] == 400
    assert failed["error"]["kind"] == "bad_request"
    assert failed["error"]["retryable"] is False
    assert "CANARY" not in (tmp_path / "out.errors.jsonl").read_text()
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_without_a_file_errors_stand_among_the_answers(tmp_path: Path) -> None:
    with run_origin(Answering({"q1": error("400 Bad Request")})) as origin:
        result = batch(numbered(tmp_path / "in.jsonl", 3), "--format", "text", "--base-url", origin.url)
    assert result.status == 50
    records = by_id(result.records)
    assert (records["q1"]["text"], records["q1"]["outcome"]) == (None, "bad_request")


def test_a_row_is_the_input_with_the_answer(tmp_path: Path, echoing: Origin) -> None:
    table = io.StringIO()
    csv.writer(table).writerows([["id", "prompt", "more"], ["1", "a\nb", "é"]])
    result = batch(
        "-", "--input-format", "csv", "--format", "row", "--answer-key", "said", "--base-url", echoing.url,
        stdin=table.getvalue().encode(),
    )  # fmt: skip
    [row] = result.records
    assert row.pop("oastream")["outcome"] == "stop"
    assert row == {"id": "1", "prompt": "a\nb", "more": "é", "said": "a\nb"}


def test_rows_of_bodies_are_bad_usage(tmp_path: Path) -> None:
    assert batch(numbered(tmp_path / "in", 1), "--format", "row").status == 2


def test_tools_are_whole_or_an_error(tmp_path: Path) -> None:
    def answer(asked: Asked) -> bytes:
        if asked.prompt == "q0":
            return streamed(streams.responses_body(streams.call("f", '{"a":1}')))
        if asked.prompt == "q1":
            return streamed(streams.responses_body(streams.call("f", '{"a":')))
        return say("words", asked)

    with run_origin(answer) as origin:
        source = numbered(tmp_path / "in", 3)
        result = batch(source, "--format", "tools", "--retry", "0", "-o", tmp_path / "out", "--base-url", origin.url)
    assert result.status == 50
    answers = by_id(read_records(tmp_path / "out"))
    assert [(call["name"], call["arguments"]) for call in answers["q0"]["calls"]] == [("f", {"a": 1})]
    assert answers["q2"]["outcome"] == "no_tool_calls"
    assert ids(read_records(tmp_path / "out.errors")) == ["q1"]


def test_output_dir_has_a_file_for_each_answer_by_its_id(tmp_path: Path, echoing: Origin) -> None:
    names = ["plain", "a/b", ".", "..", "50%", "é", "x" * 300, ".oastream"]
    source = write_lines(tmp_path / "in", [item(name, "said") for name in names])
    result = batch(source, "--output-dir", tmp_path / "new" / "dir", "--base-url", echoing.url)
    assert result.status == 0, result
    files = sorted(os.listdir(tmp_path / "new" / "dir"))
    assert len(files) == len(names)
    assert {"plain.txt", "a%2Fb.txt", "50%25.txt", "%2E.txt", "%2E..txt", "%2Eoastream.txt"} <= set(files)
    assert all((tmp_path / "new" / "dir" / file).read_text() == "said" for file in files)


def test_partial_answers_are_kept_in_errors_alone(tmp_path: Path) -> None:
    with run_origin(lambda asked: sse_response(streams.responses_start("Hel"), ending=[drop])) as origin:
        words = ("-o", tmp_path / "out", "--keep-partial", "--retry", "0", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 1), *words)
    assert result.status == 51
    assert read_records(tmp_path / "out") == []
    [failed] = read_records(tmp_path / "out.errors")
    assert (failed["partial"], failed["error"]["kind"], failed["error"]["retryable"]) == ("Hel", "interrupted", True)


class Reversing:
    """Answers q0 only after all the others have been asked."""

    def __init__(self, count: int) -> None:
        self._others = count - 1
        self._lock = threading.Lock()
        self._all_others = threading.Event()

    def __call__(self, asked: Asked) -> Reply:
        if asked.prompt == "q0":
            return [wait(self._all_others), lambda connection: connection.sendall(echo(asked))]
        with self._lock:
            self._others -= 1
            if not self._others:
                self._all_others.set()
        return echo(asked)


def test_answers_come_as_they_complete(tmp_path: Path) -> None:
    with run_origin(Reversing(5)) as origin:
        result = batch(numbered(tmp_path / "in", 5), "-j", "2", "--base-url", origin.url)
    assert ids(result.records).index("q0") >= 3


@pytest.mark.parametrize("way", ["file", "pipe"])
@pytest.mark.parametrize("to", ["stdout", "file"])
def test_answers_can_have_the_order_of_the_input(tmp_path: Path, way: str, to: str) -> None:
    source, out = numbered(tmp_path / "in", 12), tmp_path / "out"
    with run_origin(Reversing(12)) as origin:
        given: list[str | Path] = [source] if way == "file" else []
        where: list[str | Path] = ["-o", out] if to == "file" else []
        result = batch(
            *given, *where, "--order", "input", "-j", "3", "--base-url", origin.url,
            stdin=None if given else source.read_bytes(),
        )  # fmt: skip
    assert result.status == 0, result
    records = read_records(out) if to == "file" else result.records
    assert ids(records) == [f"q{number}" for number in range(12)]


def test_an_error_in_a_file_does_not_hold_back_the_answers_after_it(tmp_path: Path) -> None:
    with run_origin(Answering({"q0": error("400 Bad Request")})) as origin:
        words = ("--order", "input", "--errors", tmp_path / "errors", "--order-buffer", "0", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 4), *words)
    assert result.status == 50
    assert ids(result.records) == ["q1", "q2", "q3"]
    assert ids(read_records(tmp_path / "errors")) == ["q0"]


def test_a_full_order_buffer_stops_new_items_and_not_the_one_it_waits_for(tmp_path: Path) -> None:
    def answer(asked: Asked) -> bytes:
        first = asked.prompt == "q0" and origin.prompts["q0"] < 3
        return error("500 Oops") if first else echo(asked)

    with run_origin(answer) as origin:
        words = ("--order", "input", "--order-buffer", "1", "--retry-delay", "0.2", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 30), *words)
    assert result.status == 0, result
    assert ids(result.records) == [f"q{number}" for number in range(30)]
    assert "--order-buffer" in result.err


# Statuses ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_not_plain_is_50_and_with_ok_0(tmp_path: Path) -> None:
    cut = streamed(streams.responses_body(streams.message("x"), status="incomplete",
                                          incomplete_details={"reason": "max_output_tokens"}))  # fmt: skip
    with run_origin(lambda asked: cut) as origin:
        source = numbered(tmp_path / "in", 2)
        result = batch(source, "-o", tmp_path / "out", "--base-url", origin.url)
        assert (result.status, "2 length" in result.err) == (50, True)
        assert len(read_records(tmp_path / "out")) == 2
        assert batch(source, "-o", tmp_path / "out", "--base-url", origin.url).status == 50
        assert batch(source, "-o", tmp_path / "out", "--ok", "length", "--base-url", origin.url).status == 0
        assert len(origin.asked) == 2


ABORTING = {
    "key": (error("401 Unauthorized", code="invalid_api_key"), "auth"),
    "quota": (error("429 Too Many Requests", code="insufficient_quota"), "quota"),
    "model": (error("404 Not Found", code="model_not_found"), "not_found"),
    "page": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<html>x</html>", "not_api"),
}


@pytest.mark.parametrize("name", ABORTING)
def test_what_every_item_would_meet_breaks_the_run_off_and_fails_no_item(tmp_path: Path, name: str) -> None:
    with run_origin(lambda asked: ABORTING[name][0]) as origin:
        source = numbered(tmp_path / "in", 100)
        result = batch(source, "-o", tmp_path / "out", "--base-url", origin.url)
        assert result.status == 51, result
        assert "100 not asked" in result.err
        assert "the same command goes on" in result.err
        assert len(origin.asked) < 20
        assert not (tmp_path / "out.errors").exists()
        origin.answer = echo
        assert batch(source, "-o", tmp_path / "out", "--base-url", origin.url).status == 0
    assert len(by_id(read_records(tmp_path / "out"))) == 100


def test_a_key_that_is_refused_in_the_middle_fails_no_item(tmp_path: Path) -> None:
    def answer(asked: Asked) -> bytes:
        return echo(asked) if asked.number < 10 else error("401 Unauthorized")

    with run_origin(answer) as origin:
        source = numbered(tmp_path / "in", 40)
        result = batch(source, "-j", "1", "-o", tmp_path / "out", "--base-url", origin.url)
        assert result.status == 51, result
        assert len(origin.asked) == 13
        assert not (tmp_path / "out.errors").exists()
        origin.answer = echo
        assert batch(source, "-o", tmp_path / "out", "--base-url", origin.url).status == 0


def test_a_single_404_is_its_items(tmp_path: Path) -> None:
    with run_origin(Answering({"q5": error("404 Not Found")})) as origin:
        result = batch(numbered(tmp_path / "in", 10), "-j", "1", "-o", tmp_path / "out", "--base-url", origin.url)
    assert result.status == 50
    assert ids(read_records(tmp_path / "out.errors")) == ["q5"]


def test_one_server_that_refuses_the_key_leaves_its_items_to_the_other(tmp_path: Path, echoing: Origin) -> None:
    with run_origin(lambda asked: error("401 Unauthorized")) as other:
        words = ("--base-url", other.url, "--base-url", echoing.url)
        result = batch(numbered(tmp_path / "in", 30), "-o", tmp_path / "out", *words)
    assert result.status == 0, result
    assert len(by_id(read_records(tmp_path / "out"))) == 30


def test_a_server_that_is_gone_ends_the_run_after_the_longest_outage(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    result = batch(numbered(tmp_path / "in", 5), "--outage-max", "1", "-o", tmp_path / "out", "--base-url", url)
    assert result.status == 51, result
    assert "the server is gone" in result.err
    assert "5 not asked" in result.err
    assert not (tmp_path / "out.errors").exists()


def test_an_outage_in_the_middle_fails_no_item(tmp_path: Path) -> None:
    def answer(asked: Asked) -> bytes:
        is_away = asked.number >= 10 and asked.at - origin.asked[10].at < 1.0
        return error("503 Service Unavailable") if is_away else echo(asked)

    with run_origin(answer) as origin:
        words = ("-j", "4", "--retry", "1", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 40), *words)
        assert len(origin.asked) < 60
    assert result.status == 0, result
    assert len(by_id(read_records(tmp_path / "out"))) == 40


def test_a_429_is_a_wait_and_no_attempt(tmp_path: Path) -> None:
    def answer(asked: Asked) -> bytes:
        return error("429 Slow", headers={"Retry-After-Ms": "300"}) if asked.number in (3, 4) else echo(asked)

    with run_origin(answer) as origin:
        words = ("--retry", "0", "--stats=json", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 10), *words)
    assert result.status == 0, result
    stats = json.loads(result.err.splitlines()[-1])
    assert (stats["items"], stats["answers"], stats["attempts"], stats["rate_limited"]) == (10, {"stop": 10}, 10, 2)
    assert stats["held_s"] >= 0.2


@pytest.mark.parametrize("status", ["429 Slow", "503 Busy"])
@pytest.mark.parametrize("place", ["seconds", "milliseconds", "date", "google", "openai"])
def test_a_wait_holds_all_items_wherever_it_is_said(tmp_path: Path, place: str, status: str) -> None:
    def answer(asked: Asked) -> bytes:
        if asked.number != 4:
            return echo(asked)
        if place == "google":
            return error(status, details=[{"retryDelay": "0.5s"}])
        if place == "openai":
            return error(status, "Please try again in 500ms.")
        name, value = {
            "seconds": ("Retry-After", "1"),
            "milliseconds": ("Retry-After-Ms", "500"),
            "date": ("Retry-After", formatdate(time.time() + 2, usegmt=True)),
        }[place]
        return error(status, headers={name: value})

    with run_origin(answer) as origin:
        words = ("-j", "1", "--retry", "1", "--retry-delay", "0", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 8), *words)
        waited = origin.asked[5].at - origin.asked[4].at
    assert (result.status, len(origin.asked)) == (0, 9), result
    assert waited >= 0.45


def test_an_item_that_fails_is_tried_again_so_often_and_no_more(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return sse_response(streams.responses_start("x"), ending=[drop]) if asked.prompt == "q1" else echo(asked)

    with run_origin(answer) as origin:
        words = ("--retry", "2", "--retry-delay", "0.01", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 4), *words)
        assert result.status == 50, result
        assert origin.prompts["q1"] == 3
    [failed] = read_records(tmp_path / "out.errors")
    assert failed["oastream"]["attempts"] == 3


def test_a_token_budget_breaks_the_run_off(tmp_path: Path, echoing: Origin) -> None:
    source = numbered(tmp_path / "in", 50)
    words = ("-o", tmp_path / "out", "--max-output-tokens", "5", "--base-url", echoing.url)
    result = batch(source, "--max-tokens-total", "100", "-j", "2", *words)
    assert result.status == 51, result
    assert "budget" in result.err
    assert 5 <= len(read_records(tmp_path / "out")) <= 12
    assert batch(source, *words).status in (0, 50)
    assert len(by_id(read_records(tmp_path / "out"))) == 50


def test_the_longest_time_breaks_the_run_off(tmp_path: Path) -> None:
    with run_origin(lambda asked: stall_after(streams.responses_start("x"))) as origin:
        words = ("--max-time", "0.5", "--drain", "0.3", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 20), *words)
    assert result.status == 51, result
    assert "--max-time" in result.err
    assert result.seconds < 5


# The journal ------------------------------------------------------------------------------------------------------


def test_the_same_command_again_sends_only_what_has_no_answer(tmp_path: Path) -> None:
    with run_origin() as origin:
        words = ("-o", tmp_path / "out", "--base-url", origin.url)
        source = numbered(tmp_path / "in", 5)
        assert batch(source, *words).status == 0
        lines = source.read_text().splitlines()
        source.write_text("\n".join([json.dumps(item("new")), *reversed(lines[1:])]))
        assert batch(source, *words).status == 0
        assert origin.prompts == {**{f"q{number}": 1 for number in range(5)}, "new": 1}
    assert len(by_id(read_records(tmp_path / "out"))) == 6


def test_nothing_is_connected_when_all_is_answered(tmp_path: Path, echoing: Origin) -> None:
    source = numbered(tmp_path / "in", 3)
    assert batch(source, "-o", tmp_path / "out", "--base-url", echoing.url).status == 0
    url = f"http://127.0.0.1:{free_port()}/v1"
    assert batch(source, "-o", tmp_path / "out", "--base-url", url).status == 0


def test_a_changed_request_is_52_and_with_redo_changed_asked_again(tmp_path: Path) -> None:
    with run_origin() as origin:
        words = ("-o", tmp_path / "out", "--base-url", origin.url)
        source = write_lines(tmp_path / "in", [item("a"), item("b")])
        assert batch(source, *words).status == 0
        write_lines(source, [item("a"), item("b", "other")])
        result = batch(source, *words)
        assert (result.status, "'b'" in result.err, len(origin.asked)) == (52, True, 2)
        assert batch(source, *words, "--redo", "changed").status == 0
        assert len(origin.asked) == 3
    assert {key: text_of(record) for key, record in by_id(read_records(tmp_path / "out")).items()} == {
        "a": "a",
        "b": "other",
    }


def test_failures_are_tried_again_by_what_they_are(tmp_path: Path) -> None:
    answering = Answering({"q0": error("400 Bad Request"), "q1": error("500 Oops")})
    with run_origin(answering) as origin:
        words = ("-o", tmp_path / "out", "--retry", "0", "--base-url", origin.url)
        source = numbered(tmp_path / "in", 3)
        assert batch(source, *words).status == 50
        assert sorted(ids(read_records(tmp_path / "out.errors"))) == ["q0", "q1"]
        answering.replies = {}
        result = batch(source, *words)
        assert (result.status, "1 bad_request" in result.err) == (50, True)
        assert ids(read_records(tmp_path / "out.errors")) == ["q0"]
        assert origin.prompts == {"q0": 1, "q1": 2, "q2": 1}
        assert batch(source, *words, "--retry-failed").status == 0
        assert not (tmp_path / "out.errors").exists()


def test_redo_asks_the_answers_of_an_outcome_again(tmp_path: Path) -> None:
    empty = streamed(streams.responses_body())
    answering = Answering({"q1": empty})
    with run_origin(answering) as origin:
        words = ("-o", tmp_path / "out", "--base-url", origin.url)
        source = numbered(tmp_path / "in", 3)
        assert batch(source, *words).status == 50
        answering.replies = {}
        assert batch(source, *words, "--redo", "empty,length").status == 0
        assert origin.prompts == {"q0": 1, "q1": 2, "q2": 1}
    assert text_of(by_id(read_records(tmp_path / "out"))["q1"]) == "q1"


def test_repair_moves_a_broken_line_to_the_errors(tmp_path: Path) -> None:
    with run_origin() as origin:
        words = ("-o", tmp_path / "out", "--base-url", origin.url)
        source, out = numbered(tmp_path / "in", 3), tmp_path / "out"
        assert batch(source, *words).status == 0
        lines = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(lines[0] + b"gar\xffbage\n" + lines[2])
        result = batch(source, *words)
        assert (result.status, f"byte {len(lines[0])}" in result.err) == (52, True)
        result = batch(source, *words, "--repair")
        assert len(origin.asked) == 4
    assert len(by_id(read_records(out))) == 3
    [moved] = read_records(tmp_path / "out.errors")
    assert moved["line"] == "gar�bage\n"


def test_a_journal_of_another_format_is_52_and_untouched(tmp_path: Path, echoing: Origin) -> None:
    source, out = numbered(tmp_path / "in", 3), tmp_path / "out"
    assert batch(source, "-o", out, "--base-url", echoing.url).status == 0
    before = out.read_bytes()
    assert batch(source, "-o", out, "--format", "text", "--base-url", echoing.url).status == 52
    assert out.read_bytes() == before


def test_a_file_that_is_no_errors_file_is_not_replaced(tmp_path: Path, echoing: Origin) -> None:
    notes = tmp_path / "notes"
    notes.write_text("dear diary\n")
    result = batch(numbered(tmp_path / "in", 1), "-o", tmp_path / "out", "--errors", notes, "--base-url", echoing.url)
    assert result.status == 52, result
    assert notes.read_text() == "dear diary\n"


def test_errors_can_go_to_a_device(tmp_path: Path) -> None:
    with run_origin(Answering({"q0": error("400 Bad Request")})) as origin:
        words = ("-o", tmp_path / "out", "--errors", "/dev/null", "--base-url", origin.url)
        assert batch(numbered(tmp_path / "in", 2), *words).status == 50
    assert not Path("/dev/null").is_file()


def test_a_second_run_on_the_same_file_is_52(tmp_path: Path) -> None:
    with run_origin(lambda asked: stall_after(streams.responses_start("x"))) as origin:
        words = (str(numbered(tmp_path / "in", 2)), "-o", str(tmp_path / "out"), "--base-url", origin.url)
        with start(*words, program=BATCH_COMMAND):
            assert wait_until(lambda: bool(origin.asked))
            result = batch(*words)
    assert (result.status, "in use" in result.err) == (52, True)


def test_each_shard_has_its_part_and_an_empty_one_is_no_failure(tmp_path: Path, echoing: Origin) -> None:
    source = numbered(tmp_path / "in", 3)
    found: list[str] = []
    for number in range(8):
        out = tmp_path / f"out{number}"
        assert batch(source, "--shard", f"{number}/8", "-o", out, "--base-url", echoing.url).status == 0
        assert out.exists()
        found += ids(read_records(out))
    assert sorted(found) == ["q0", "q1", "q2"]


def limited(kind: int, amount: int) -> str:
    """A sh script that runs the program under a limit, by way of Python: not every sh has all of them."""
    limiting = f"resource.setrlimit({kind}, ({amount}, {amount}))"
    code = f"import os, resource, sys; {limiting}; os.execv(sys.argv[1], sys.argv[1:])"
    return f"exec {sys.executable} -c '{code}' \"$@\""


def test_a_full_disk_is_9_and_what_is_written_stays_good(tmp_path: Path) -> None:
    with run_origin(lambda asked: say("x" * 3000, asked)) as origin:
        source, out = numbered(tmp_path / "in", 20), tmp_path / "out"
        words = ("-o", out, "--base-url", origin.url)
        result = batch(source, *words, shell=limited(resource.RLIMIT_FSIZE, 20_000))
        assert result.status == 9, result
        assert 1 <= len(by_id(read_records(out))) < 20
        assert batch(source, *words).status == 0
    assert len(by_id(read_records(out))) == 20


def test_few_file_descriptors_mean_fewer_at_once_and_are_told_once(tmp_path: Path) -> None:
    gate = threading.Event()

    def answer(asked: Asked) -> Reply:
        return [wait(gate), lambda connection: connection.sendall(echo(asked))]

    with run_origin(answer) as origin:
        threading.Timer(1.5, gate.set).start()
        words = ("-j", "100", "-o", tmp_path / "out", "--base-url", origin.url)
        result = batch(numbered(tmp_path / "in", 120), *words, shell=limited(resource.RLIMIT_NOFILE, 56))
        assert result.status == 0, result
        assert origin.most_at_once <= 40
    assert result.err.count("file descriptors") == 1
    assert len(by_id(read_records(tmp_path / "out"))) == 120


# Signals and pipes ------------------------------------------------------------------------------------------------


class Holding:
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, asked: Asked) -> Reply:
        return [wait(self.gate), lambda connection: connection.sendall(echo(asked))]


@contextlib.contextmanager
def interrupted_run(
    tmp_path: Path, *options: str, number: int = signal.SIGTERM
) -> Iterator[tuple[subprocess.Popen[bytes], Holding, Origin]]:
    """A run of 50 items, 4 of which are in flight when the signal comes."""
    holding = Holding()
    with run_origin(holding) as origin:
        source, out = numbered(tmp_path / "in", 50), tmp_path / "out"
        words = (str(source), "-o", str(out), "-j", "4", "--base-url", origin.url, *options)
        with start(*words, program=BATCH_COMMAND) as process:
            assert wait_until(lambda: len(origin.asked) == 4)
            process.send_signal(number)
            yield process, holding, origin


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_what_is_in_flight_end_and_starts_nothing_new(tmp_path: Path, number: int) -> None:
    with interrupted_run(tmp_path, number=number) as (process, holding, origin):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        holding.gate.set()
        result = finish(process)
        assert result.status == -number
        assert len(origin.asked) == 4
        assert len(by_id(read_records(tmp_path / "out"))) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_drain_has_an_end(tmp_path: Path, number: int) -> None:
    with interrupted_run(tmp_path, "--drain", "0.3", number=number) as (process, _, _):
        result = finish(process, timeout=5)
        assert (result.status, result.err) == (-number, "")
        assert read_records(tmp_path / "out") == []


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_of_its_kind_kills_at_once(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    with interrupted_run(tmp_path, number=numbers[0]) as (process, _, _):
        for number in numbers[1:]:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.send_signal(number)
        assert finish(process, timeout=5).status == -numbers[-1]


def test_a_signal_before_the_first_request_kills(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with start(str(fifo), "-o", str(tmp_path / "out"), program=BATCH_COMMAND) as process:
        writing = os.open(fifo, os.O_WRONLY)  # returns when the program has opened it too
        os.write(writing, b'{"custom_id"')
        process.send_signal(signal.SIGINT)
        assert finish(process, timeout=5).status == -signal.SIGINT
        os.close(writing)


def test_a_pipe_whose_reader_goes_ends_the_run_by_sigpipe_at_once(tmp_path: Path) -> None:
    holding = Holding()
    with run_origin(holding) as origin:
        words = (str(numbered(tmp_path / "in", 5)), "--base-url", origin.url)
        with start(*words, program=BATCH_COMMAND) as process:
            assert wait_until(lambda: len(origin.asked) == 5)
            assert process.stdout is not None
            process.stdout.close()
            assert process.wait(5) == -signal.SIGPIPE


def test_a_signal_ends_a_run_whose_stdout_nobody_reads(tmp_path: Path) -> None:
    with run_origin(lambda asked: say("x" * 100_000, asked)) as origin:
        words = (str(numbered(tmp_path / "in", 5)), "--drain", "0.3", "--base-url", origin.url)
        with start(*words, program=BATCH_COMMAND) as process:
            assert wait_until(lambda: len(origin.asked) == 5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == -signal.SIGTERM


def test_a_slow_reader_gets_every_line(tmp_path: Path) -> None:
    with run_origin(lambda asked: say("x" * 20_000, asked)) as origin:
        words = (str(numbered(tmp_path / "in", 200)), "--base-url", origin.url)
        with start(*words, program=BATCH_COMMAND) as process:
            assert process.stdout is not None
            assert wait_until(lambda: len(origin.asked) > 20)
            data = b""
            while chunk := process.stdout.read(50_000):
                data += chunk
            assert process.wait(10) == 0
    assert len(by_id([json.loads(line) for line in data.splitlines()])) == 200


def test_a_full_device_on_stdout_is_9(tmp_path: Path, echoing: Origin) -> None:
    with Path("/dev/full").open("wb") as full:
        assert batch(numbered(tmp_path / "in", 3), "--base-url", echoing.url, stdout=full).status == 9


def test_a_closed_stdout_is_9(tmp_path: Path, echoing: Origin) -> None:
    result = batch(numbered(tmp_path / "in", 3), "--base-url", echoing.url, shell='exec "$@" >&-')
    assert result.status == 9, result


# What is told -----------------------------------------------------------------------------------------------------


def test_a_run_that_goes_well_says_nothing(tmp_path: Path, echoing: Origin) -> None:
    result = batch(numbered(tmp_path / "in", 3), "-o", tmp_path / "out", "--base-url", echoing.url)
    assert (result.status, result.out, result.err) == (0, b"", "")


def test_verbose_tells_each_request_and_its_end_without_the_key(tmp_path: Path, echoing: Origin) -> None:
    result = batch(numbered(tmp_path / "in", 1), "-v", "-o", tmp_path / "out", "--base-url", echoing.url)
    assert result.err.splitlines() == [f"> POST {echoing.url}/responses for 'q0'", "< 200 for 'q0': stop"]


def test_progress_prints_a_line_every_so_often(tmp_path: Path) -> None:
    holding = Holding()
    with run_origin(holding) as origin:
        words = ("--progress", "0.1", "-j", "2", "-o", str(tmp_path / "out"), "--base-url", origin.url)
        with start(str(numbered(tmp_path / "in", 5)), *words, program=BATCH_COMMAND) as process:
            assert process.stderr is not None
            told = b""
            while b"0 of 5 answered, 0 failed, 2 in flight" not in told:
                told += process.stderr.read(100)
            holding.gate.set()
            assert finish(process).status == 0
    assert told.startswith(b"oastream-batch: 0 of 5")


def test_a_terminal_shows_a_bar_that_makes_way_for_messages(tmp_path: Path, terminal: Terminal) -> None:
    holding = Holding()
    with run_origin(holding) as origin:
        words = (str(numbered(tmp_path / "in", 5)), "-o", str(tmp_path / "out"), "--base-url", origin.url)
        with start(*words, program=BATCH_COMMAND, stderr=terminal.theirs) as process:
            terminal.read_until(b"0/5")
            holding.gate.set()
            assert process.wait(10) == 0
    screen = terminal.read_rest()
    assert b"in flight" in screen
    assert screen.endswith(b"\r\x1b[K")
