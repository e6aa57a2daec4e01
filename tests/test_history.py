"""--history and --tool-output: a conversation is a file, on both APIs, and no run loses or tears anything of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputItemParam
from pydantic import TypeAdapter

from tests.support import forked
from tests.support.mounts import mount
from tests.support.program import Result, finish, oastream, start
from tests.support.streams import (
    call,
    chat_body,
    chat_start,
    chunk,
    custom_call,
    message,
    reasoning,
    refusal,
    responses_body,
    responses_start,
    sse,
)
from tests.support.wire import Reply, Server, http_response, mark, serve, sse_response, wait

Item = dict[str, Any]

BODIES = {"responses": responses_body(message("Hello!")), "chat": chat_body("Hello!")}
QUESTION = {"type": "message", "role": "user", "content": "Hi"}
ANSWER = {"type": "message", "role": "assistant", "content": "Hello!"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}", "status": "completed"}

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "talk.jsonl"


def items(file: Path) -> list[Item]:
    """The conversation, every line of it whole."""
    lines = file.read_text().split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def begun(file: Path, *conversation: Item) -> bytes:
    file.write_text("".join(json.dumps(item) + "\n" for item in conversation))
    return file.read_bytes()


def ask(server: Server, file: Path, *args: str, api: str = "responses", **options: Any) -> Result:
    return oastream("--base-url", server.url, "--api", api, "--history", str(file), "--retry", "0", *args, **options)


def answered(body: bytes, file: Path, *args: str, api: str = "responses") -> tuple[Result, Any]:
    """A run against a server with this answer, and the body that it sent."""
    with serve(sse_response(body)) as server:
        result = ask(server, file, *args, api=api)
        return result, server.request.json


def refused(file: Path, *args: str, status: int = 8) -> Result:
    """A run that ends before anything is sent."""
    with serve(sse_response(BODIES["responses"])) as server:
        result = ask(server, file, *args)
        assert (result.status, result.out, server.connections) == (status, b"", 0), result
        assert result.message
        return result


# What is sent and what is kept


@both_apis
def test_the_first_run_makes_the_file(file: Path, api: str) -> None:
    result, _ = answered(BODIES[api], file, "Hi", api=api)
    assert (result.status, result.text, result.err) == (0, "Hello!\n", "")
    assert items(file) == [QUESTION, ANSWER]


@both_apis
def test_the_next_run_sends_what_was_said(file: Path, api: str) -> None:
    begun(file, QUESTION, ANSWER)
    _, body = answered(BODIES[api], file, "Again", api=api)
    sent = body["input"] if api == "responses" else body["messages"]
    assert [(turn["role"], turn["content"]) for turn in sent] == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "Again"),
    ]
    assert len(items(file)) == 4


def test_a_conversation_goes_on_on_the_other_api(file: Path) -> None:
    answered(responses_body(call("clock", "{}")), file, "Hi")
    _, body = answered(chat_body("Noon."), file, "--tool-output", "call_1=12:00", api="chat")
    answered(BODIES["responses"], file, "Thanks")
    function = {"name": "clock", "arguments": "{}"}
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
    ]
    assert [item["type"] for item in items(file)] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
        "message",
        "message",
    ]


@both_apis
@pytest.mark.parametrize("form", ["text", "ndjson", "json", "tools", "sse"])
def test_every_format_keeps_the_whole_answer(file: Path, api: str, form: str) -> None:
    text = "Grüße, 世界 😀 and\nlines\n" * 20
    body = {"responses": responses_body(message(text)), "chat": chat_body(text)}[api]
    answered(body, file, "--format", form, "Hi", api=api)
    assert items(file)[1]["content"] == text


def test_text_that_only_deltas_had_is_kept(file: Path) -> None:
    """The ChatGPT backend ends with an empty output."""
    body = BODIES["responses"].replace(b'"status":"completed","model"', b'"status":"completed","output":[],"model"')
    head, _, tail = body.rpartition(b'"output":[{')
    assert head
    answered(head + b'"output":[],"x":[{' + tail, file, "Hi")
    assert items(file) == [QUESTION, ANSWER]


@both_apis
def test_the_system_text_is_not_part_of_the_conversation(file: Path, api: str) -> None:
    answered(BODIES[api], file, "-s", "Be brief.", "Hi", api=api)
    assert items(file) == [QUESTION, ANSWER]


def test_everything_kept_is_input_by_the_sdks_types(file: Path) -> None:
    thought = {**reasoning("hm"), "encrypted_content": "gAAA", "status": None, "content": None}
    output = [thought, message("Let me see.", phase="commentary"), call("clock", "{}"), custom_call("sql", "x", "c2")]
    answered(responses_body(*output), file, "Hi")
    _, body = answered(chat_body("ok"), file, "--tool-output", "call_1=1", "--tool-output", "c2=2", "So?", api="chat")
    answered(responses_body(refusal("No.")), file, "Why?")
    kept = items(file)
    TypeAdapter(list[ResponseInputItemParam]).validate_python(kept)
    TypeAdapter(list[ChatCompletionMessageParam]).validate_python(body["messages"])
    assert [item["type"] for item in kept[:5]] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
    ]
    assert kept[2]["phase"] == "commentary"
    assert [item["type"] for item in kept[5:7]] == ["function_call_output", "custom_tool_call_output"]
    assert kept[-1] == {"type": "message", "role": "assistant", "content": "No."}


def test_no_id_of_a_message_or_call_is_kept(file: Path) -> None:
    """OpenAI refuses a call with its id without the reasoning that it stored before it."""
    answered(responses_body(message("a"), call("clock", "{}")), file, "Hi")
    assert all("id" not in item for item in items(file))


def test_reasoning_without_its_content_is_not_kept(file: Path) -> None:
    answered(responses_body(reasoning("hm"), message("Hello!")), file, "Hi")
    assert items(file) == [QUESTION, ANSWER]


def test_reasoning_that_nothing_follows_is_not_kept(file: Path) -> None:
    result, _ = answered(responses_body({**reasoning("hm"), "encrypted_content": "gAAA"}), file, "Hi")
    assert result.status == 16
    assert items(file) == [QUESTION]


def test_chat_is_sent_no_reasoning(file: Path) -> None:
    begun(file, QUESTION, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}, ANSWER)
    _, body = answered(BODIES["chat"], file, "Again", api="chat")
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]


def test_further_choices_are_not_part_of_the_conversation(file: Path) -> None:
    body = sse([chunk({"content": "a"}), chunk({"content": "b"}, "stop", 1), chunk({}, "stop")], done=True)
    answered(body, file, "--set", "n=2", "Hi", api="chat")
    assert [item["content"] for item in items(file)] == ["Hi", "a"]


def test_a_lone_surrogate_is_kept_as_a_replacement_character(file: Path) -> None:
    answered(responses_body(message("a@b")).replace(b"a@b", rb"a\ud800b"), file, "Hi")
    assert items(file)[1]["content"] == "a\ufffdb"
    assert answered(BODIES["responses"], file, "Again")[0].status == 0


def test_a_dry_run_shows_the_conversation_and_changes_nothing(file: Path) -> None:
    before = begun(file, QUESTION, ANSWER)
    result = oastream("--dry-run", "--history", str(file), "Again")
    assert [item["content"] for item in json.loads(result.out)["body"]["input"]] == ["Hi", "Hello!", "Again"]
    assert file.read_bytes() == before
    file.unlink()
    assert oastream("--dry-run", "--history", str(file), "Again").status == 0
    assert not file.exists()


# Only a complete answer is kept


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (responses_body(message("Once upon"), status="incomplete", incomplete_details={"reason": "max_tokens"}), 10),
        (responses_body(refusal("No.")), 12),
        (responses_body(call("clock", "{}")), 13),
    ],
)
def test_an_answer_that_is_not_plain_is_kept(file: Path, body: bytes, status: int) -> None:
    result, _ = answered(body, file, "Hi")
    assert result.status == status
    assert len(items(file)) == 2


def test_a_call_that_was_cut_is_not_kept(file: Path) -> None:
    body = chat_body(calls=[("call_1", "clock", '{"zone":"Eur')], finish="length")
    assert answered(body, file, "Hi", api="chat")[0].status == 10
    assert items(file) == [QUESTION]


@both_apis
@pytest.mark.parametrize("exists", [True, False])
def test_an_answer_that_breaks_off_changes_nothing(file: Path, api: str, exists: bool) -> None:
    before = begun(file, QUESTION, ANSWER) if exists else None
    part = {"responses": responses_start(), "chat": chat_start()}[api]
    with serve(sse_response(part)) as server:
        assert ask(server, file, "Again", api=api).status == 40
    assert (file.read_bytes() if exists else None) == before
    assert [entry.name for entry in file.parent.iterdir()] == ([file.name] if exists else [])


def test_a_refused_request_changes_nothing(file: Path) -> None:
    with serve(http_response('{"error":{"message":"no"}}', "400 Bad Request")) as server:
        assert ask(server, file, "Hi").status == 20
    assert not file.exists()


def test_a_signal_changes_nothing(file: Path) -> None:
    before = begun(file, QUESTION, ANSWER)
    arrived = threading.Event()
    steps: Reply = sse_response(responses_start(), ending=[mark(arrived), wait(threading.Event())])
    with serve(steps) as server, start("--base-url", server.url, "--history", str(file), "Again") as process:
        assert arrived.wait(20)
        process.send_signal(signal.SIGTERM)
        assert finish(process).status == -signal.SIGTERM
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_reader_that_has_gone_changes_nothing(file: Path) -> None:
    with serve(sse_response(responses_start(), ending=[wait(threading.Event())])) as server:
        result = ask(server, file, "Hi", shell='"$@" | head -c 1')
    assert result.out == b"H"
    assert not file.exists()


def test_output_that_cannot_be_written_changes_nothing(file: Path) -> None:
    with serve(sse_response(BODIES["responses"])) as server:
        assert ask(server, file, "Hi", shell='exec "$@" >/dev/full').status == 9
    assert not file.exists()


def test_a_history_in_a_folder_that_is_gone_is_8(tmp_path: Path) -> None:
    gone = f'mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && exec "$@"'
    with serve(sse_response(BODIES["responses"])) as server:
        result = ask(server, Path("chat.jsonl"), "Hi", shell=gone)
    assert result.status == 8
    assert result.message == "oastream: cannot use chat.jsonl as a history: no such file or directory"
    assert not server.requests


# The file


def test_old_lines_stay_as_they_were(file: Path) -> None:
    odd = b'{ "role": "user",  "content": "Hi" , "note": 12345678901234567890 }\n\n{"role":"assistant","content":"x"}'
    file.write_bytes(odd)
    answered(BODIES["responses"], file, "Again")
    assert file.read_bytes().startswith(odd + b"\n")
    assert len(file.read_bytes().splitlines()) == 5


def test_a_line_that_someone_adds_during_the_run_is_kept(file: Path) -> None:
    begun(file, QUESTION, ANSWER)
    arrived, go_on = threading.Event(), threading.Event()
    steps = [mark(arrived), wait(go_on), *sse_response(BODIES["responses"])]
    with serve(steps) as server, start("--base-url", server.url, "--history", str(file), "Again") as process:
        assert arrived.wait(20)
        with file.open("a") as other:
            other.write('{"role":"user","content":"by hand"}\n')
        go_on.set()
        assert finish(process).status == 0
    assert [item["content"] for item in items(file)] == ["Hi", "Hello!", "by hand", "Again", "Hello!"]


def test_a_symbolic_link_is_followed_and_the_mode_is_kept(file: Path) -> None:
    target = file.with_name("target")
    begun(target, QUESTION, ANSWER)
    target.chmod(0o640)
    file.symlink_to(target)
    answered(BODIES["responses"], file, "Again")
    assert file.is_symlink()
    assert len(items(target)) == 4
    assert target.stat().st_mode & 0o777 == 0o640


def struck(server: Server, file: Path, fault: str, *args: str) -> Result:
    """A run in which a call fails, or a signal comes: see `tests/failing`."""
    log = file.with_name("log")
    env = {"FAIL": fault, "FAIL_LOG": str(log), "TESTS_PRELOAD": "tests.failing.sitecustomize"}
    args = ("--base-url", server.url, "--history", str(file), "--retry", "0", *args)
    result = forked.oastream(*args, "Again", env=env)
    assert f"{fault.split(':')[0]}!" in log.read_text().split()
    log.unlink()
    return result


@pytest.mark.parametrize("umask", ["000", "077"])
def test_a_new_conversation_is_private(file: Path, umask: str) -> None:
    with serve(sse_response(BODIES["responses"])) as server:
        assert ask(server, file, "Hi", shell=f'umask {umask}; exec "$@"').status == 0
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_a_killed_run_leaves_is_as_private_as_the_conversation(file: Path, mode: int, call: str) -> None:
    before = begun(file, QUESTION, ANSWER)
    file.chmod(mode)
    with serve(sse_response(BODIES["responses"]), sse_response(BODIES["responses"])) as server:
        assert struck(server, file, f"{call}:1:once:SIGKILL").status == -signal.SIGKILL
        assert file.read_bytes() == before
        (left,) = (entry for entry in file.parent.iterdir() if entry != file)
        assert left.stat().st_mode & 0o777 == mode
        assert ask(server, file, "Again").status == 0
    assert [entry.name for entry in file.parent.iterdir()] == [file.name], "the next run removes it"
    assert len(items(file)) == 4
    assert file.stat().st_mode & 0o777 == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_a_conversation_is_kept(file: Path) -> None:
    begun(file, QUESTION, ANSWER)
    os.chown(file, 65534, 65534)
    answered(BODIES["responses"], file, "Again")
    assert len(items(file)) == 4
    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_conversation_that_a_container_was_given_goes_on(file: Path) -> None:
    """Nothing can be renamed over a mount point."""
    given = file.with_name("given")
    begun(given, QUESTION, ANSWER)
    file.touch()
    with mount("--bind", str(given), str(file)):
        assert answered(BODIES["responses"], file, "Again")[0].status == 0
    assert len(items(given)) == 4
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["given", file.name]


def test_an_output_file_that_cannot_be_put_in_place_changes_nothing(file: Path) -> None:
    """The answer was not delivered: the conversation does not go on as if it had been."""
    before = begun(file, QUESTION, ANSWER)
    with serve(sse_response(BODIES["responses"])) as server:
        result = struck(server, file, "replace:1:once:EACCES", "-o", str(file.with_name("answer")))
    assert (result.status, result.out) == (9, b"")
    assert file.read_bytes() == before
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"role":"user","conte', "column 22"),
        ("hello", "line 3"),
        ("[]", "line 3"),
        ("{}", "line 3"),
        ('{"role":"user"}', "line 3"),
        ('{"type":"message","role":"user","content":["x"]}', "line 3"),
        ('{"type":7}', "line 3"),
    ],
)
def test_a_line_that_is_no_item_is_named(file: Path, line: str, why: str) -> None:
    begun(file, QUESTION, ANSWER)
    with file.open("a") as more:
        more.write(line)
    before = file.read_bytes()
    result = refused(file, "Hi")
    assert "talk.jsonl" in result.message
    assert "line 3" in result.message
    assert why in result.message
    assert file.read_bytes() == before


@pytest.mark.parametrize("path", ["/", "/dev/null", "/nonexistent/talk", "/proc/talk"])
def test_a_history_that_cannot_be_used_exits_8(path: str) -> None:
    assert path in refused(Path(path), "Hi").message


def test_a_fifo_is_no_history(file: Path) -> None:
    os.mkfifo(file)
    refused(file, "Hi")


@pytest.mark.parametrize("more", [["--previous-response-id", "resp_1"], ["--detach"], ["--resume", "resp_1"]])
def test_two_places_for_one_conversation_exit_2(file: Path, more: list[str]) -> None:
    words = [] if "--resume" in more else ["Hi"]
    refused(file, *more, *words, status=2)


# One run at a time


@pytest.fixture
def locked(file: Path) -> Iterator[Any]:
    """The file, locked by someone else until `locked.close()`."""
    begun(file, QUESTION, ANSWER)
    with file.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        yield holder


@pytest.mark.usefixtures("locked")
def test_no_wait_fails_at_once(file: Path) -> None:
    result = refused(file, "--no-wait", "Hi")
    assert "is in use" in result.message
    assert len(result.err.splitlines()) == 1


def test_a_run_waits_for_the_lock(file: Path, locked: Any) -> None:
    with (
        serve(sse_response(BODIES["responses"])) as server,
        start("-v", "--base-url", server.url, "--history", str(file), "Again") as process,
    ):
        assert process.stderr is not None
        assert b"waiting for" in process.stderr.readline()
        assert server.connections == 0
        locked.close()
        assert finish(process).status == 0
    assert len(items(file)) == 4


@pytest.mark.usefixtures("locked")
def test_a_run_that_waits_for_the_lock_hears_a_signal(file: Path) -> None:
    with start("-v", "--history", str(file), "Again") as process:
        assert process.stderr is not None
        assert b"waiting for" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert finish(process, 10).status == -signal.SIGINT


@pytest.mark.usefixtures("locked")
def test_a_run_that_waits_for_the_lock_ends_with_its_reader(file: Path) -> None:
    with start("-v", "--history", str(file), "Again") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert b"waiting for" in process.stderr.readline()
        process.stdout.close()
        assert process.wait(10) == -signal.SIGPIPE


@pytest.mark.usefixtures("locked")
def test_max_time_ends_the_wait_for_the_lock(file: Path) -> None:
    refused(file, "--max-time", "0.5", "Hi", status=33)


def test_runs_at_the_same_time_lose_nothing(file: Path) -> None:
    """None of them began with the file there, so that they also meet when it is created and replaced."""
    count = 8
    with serve(sse_response(BODIES["responses"], pieces=40)) as server:
        args = ("--base-url", server.url, "--history", str(file))
        with contextlib.ExitStack() as stack:
            runs = [stack.enter_context(start(*args, str(number))) for number in range(count)]
            assert [finish(run, 60).status for run in runs] == [0] * count
        kept = items(file)
        assert sorted(item["content"] for item in kept[::2]) == [str(n) for n in range(count)]
        assert [item["content"] for item in kept[1::2]] == ["Hello!"] * count
        lengths = [_turns(request.json["input"]) for request in server.requests]
    assert sorted(lengths) == [2 * n + 1 for n in range(count)], "each saw what the one before it left"


def _turns(given: Any) -> int:
    return 1 if isinstance(given, str) else len(given)


def test_a_kill_leaves_the_old_file_or_the_new(file: Path) -> None:
    """Killed at any moment around the end of the answer, when the file is written."""
    long = "x" * 3_000_000
    body = responses_body(message(long), piece=3_000_000)
    before = begun(file, QUESTION, ANSWER)
    for step in range(24):
        file.write_bytes(before)
        with (
            serve(sse_response(body, ending=[wait(threading.Event())])) as server,
            start("--base-url", server.url, "--history", str(file), "Again", stdout=subprocess.DEVNULL) as process,
        ):
            _wait_for_staged(file, process, step)
            process.kill()
            process.wait()
        whole = file.read_bytes() == before or len(items(file)) == 4
        assert whole, f"torn at {file.stat().st_size} bytes"
        for left in file.parent.iterdir():
            if left != file:
                left.unlink()


def _wait_for_staged(file: Path, process: subprocess.Popen[bytes], step: int) -> None:
    """Until something stands beside the file, or the run has ended; then a little longer, by the number of the try."""
    limit = time.monotonic() + 20
    while time.monotonic() < limit and process.poll() is None:
        if len(list(file.parent.iterdir())) > 1:
            break
    time.sleep(step * 0.0005)


# Outputs of tools


def test_an_output_needs_no_prompt(file: Path) -> None:
    begun(file, QUESTION, CALL)
    result, body = answered(BODIES["responses"], file, "--tool-output", "call_1=12:00")
    output = {"type": "function_call_output", "call_id": "call_1", "output": "12:00"}
    assert (result.status, body["input"][-1]) == (0, output)
    assert items(file) == [QUESTION, CALL, output, ANSWER]


def test_an_output_may_be_in_a_file_or_on_stdin(file: Path, tmp_path: Path) -> None:
    begun(file, QUESTION, CALL, {**CALL, "call_id": "call_2"})
    (tmp_path / "out").write_text("@one\n")
    with serve(sse_response(BODIES["responses"])) as server:
        args = ("--tool-output", f"call_1=@{tmp_path}/out", "--tool-output", "call_2=@-")
        assert ask(server, file, *args, stdin=b"two=2\n").status == 0
        assert [item["output"] for item in server.request.json["input"][-2:]] == ["@one\n", "two=2\n"]


def test_outputs_come_before_the_prompt(file: Path) -> None:
    begun(file, QUESTION, CALL)
    _, body = answered(BODIES["chat"], file, "--tool-output", "call_1=x", "And then?", api="chat")
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "tool", "user"]


def test_calls_that_follow_text_are_one_message_of_chat(file: Path) -> None:
    begun(file, QUESTION, ANSWER, CALL, {**CALL, "call_id": "call_2"})
    args = ("--tool-output", "call_1=x", "--tool-output", "call_2=y")
    _, body = answered(BODIES["chat"], file, *args, api="chat")
    said = body["messages"][1]
    assert said["content"] == "Hello!"
    assert [entry["id"] for entry in said["tool_calls"]] == ["call_1", "call_2"]


@pytest.mark.parametrize("given", ["call_9=x", "=x", "call_1"])
def test_an_output_that_answers_no_call_is_refused(file: Path, given: str) -> None:
    begun(file, QUESTION, CALL)
    result = refused(file, "--tool-output", given, status=8 if given == "call_9=x" else 2)
    assert "call_1" in result.err or "--tool-output" in result.err


def test_a_call_is_answered_once(file: Path) -> None:
    begun(file, QUESTION, CALL, {"type": "function_call_output", "call_id": "call_1", "output": "x"})
    assert "no call is pending" in refused(file, "--tool-output", "call_1=y").message


def test_an_id_that_a_server_uses_again_is_another_call(file: Path) -> None:
    begun(file, QUESTION, CALL, {"type": "function_call_output", "call_id": "call_1", "output": "x"}, ANSWER, CALL)
    assert answered(BODIES["responses"], file, "--tool-output", "call_1=y")[0].status == 0


def test_an_output_goes_to_a_stored_response_too() -> None:
    with serve(sse_response(BODIES["responses"])) as server:
        args = ("--previous-response-id", "resp_1", "--tool-output", "call_1=x")
        assert oastream("--base-url", server.url, *args).status == 0
        assert server.request.json["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "x"}]


def test_a_missing_output_file_exits_8(file: Path) -> None:
    begun(file, QUESTION, CALL)
    assert "/nonexistent" in refused(file, "--tool-output", "call_1=@/nonexistent").message
