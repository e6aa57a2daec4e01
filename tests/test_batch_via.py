"""--via batch-api: the real program against the mock's Batch API, whatever happens between two steps."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

from oastream.batch.cli import parse
from oastream.exits import Failure
from oastream.mock.script import plan_from_options
from oastream.mock.server import Server, serve
from tests.support.batches import BATCH_COMMAND, batch, by_id, item, numbered, read_records, text_of, write_lines
from tests.support.program import finish, start
from tests.support.waiting import SOON, wait_until

ALL_STEPS = bool(os.environ.get("OASTREAM_KILLS"))
ITEMS = 6


@contextmanager
def mock(**options: Any) -> Iterator[Server]:
    server = serve(plan_from_options(**options))
    try:
        yield server
    finally:
        server.close()


def words(server: Server, source: Path | str, out: Path, *more: str) -> list[str]:
    via = ("--via", "batch-api", "--poll", "0.1", "--base-url", server.url)
    return [str(source), "-o", str(out), *via, *more]


def batches_at(server: Server) -> list[Batch]:
    with openai.OpenAI(base_url=server.url, api_key="k") as sdk:
        return list(sdk.batches.list())


def count_executed(server: Server) -> int:
    """Items that the mock has answered, well or not: what a provider would bill."""
    counts = [each.request_counts for each in batches_at(server)]
    return sum(each.completed + each.failed for each in counts if each is not None)


def paths(server: Server, method: str = "POST") -> list[str]:
    return [request.path for request in server.requests if request.method == method]


def check_all_answered_once(server: Server, out: Path, count: int = ITEMS) -> None:
    answers = by_id(read_records(out))
    assert {custom_id: text_of(record) for custom_id, record in answers.items()} == {
        f"q{number}": f"q{number}" for number in range(count)
    }
    assert count_executed(server) == count
    assert not Path(f"{out}.via").exists()


def test_answers_are_those_of_single_requests(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_time="0.4") as server:
        result = batch(*words(server, source, out, "--stats=json"))
        assert (result.status, result.out) == (0, b"")
        check_all_answered_once(server, out)
        assert paths(server) == ["/v1/files", "/v1/batches"]
        upload = next(request.raw for request in server.requests if request.raw)
    assert b'"stream"' not in upload
    about = read_records(out)[0]["oastream"]
    assert (about["first_event_ms"], about["elapsed_ms"], about["attempts"]) == (None, None, 1)
    assert json.loads(result.err)["answers"] == {"stop": ITEMS}
    assert batch(*words(server, source, out)).status == 0  # the server is gone, and nobody misses it


def test_each_model_and_endpoint_has_a_batch_and_each_format_its_records(tmp_path: Path) -> None:
    chat = {"custom_id": "c", "body": {"model": "m", "messages": [{"role": "user", "content": "hi"}]}}
    source = write_lines(tmp_path / "in.jsonl", [item("a"), item("b", model="n"), chat, item("d")])
    out = tmp_path / "out.jsonl"
    with mock() as server:
        result = batch(*words(server, "-", out, "--format", "text"), stdin=source.read_bytes())  # through a pipe
        assert result.status == 0
        found = sorted((each.endpoint, str(each.model)) for each in batches_at(server))
    assert found == [("/v1/chat/completions", "m"), ("/v1/responses", "m"), ("/v1/responses", "n")]
    assert {record["custom_id"]: record["text"] for record in read_records(out)} == {
        "a": "a",
        "b": "b",
        "c": "hi",
        "d": "d",
    }


def test_what_fails_is_in_the_errors_and_what_may_pass_is_sent_anew(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [item("q0"), item("bad", temperature=9)])
    out = tmp_path / "out.jsonl"
    with mock(faults=["status=500", "ok"]) as server:  # the first item of the first batch
        assert batch(*words(server, source, out)).status == 50
        assert len(batches_at(server)) == 2
    assert [record["oastream"]["attempts"] for record in read_records(out)] == [2]
    (error,) = read_records(tmp_path / "out.errors.jsonl")
    assert (error["custom_id"], error["error"]["kind"]) == ("bad", "bad_request")
    assert error["response"]["status_code"] == 400


@pytest.mark.parametrize(
    ("ends", "created"),
    [("expired+cancelled+completed", 3), ("token_limit_exceeded+token_limit_exceeded+completed", 3)],
)
def test_what_a_batch_has_not_done_is_sent_anew(tmp_path: Path, ends: str, created: int) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_end=ends) as server:
        assert batch(*words(server, source, out)).status == 0
        check_all_answered_once(server, out)
        assert len(batches_at(server)) == created
        uploads = paths(server).count("/v1/files")
    assert uploads == (1 if "token" in ends else 3)  # a piece that waited has its file already


def test_lines_that_fail_validation_are_errors_and_the_others_go_on(tmp_path: Path) -> None:
    items = [item(f"q{number}") for number in range(ITEMS)]
    source = write_lines(tmp_path / "in.jsonl", [item("bad1", "poison"), *items, item("bad2", "poison")])
    out = tmp_path / "out.jsonl"
    with mock(batch_invalid="poison") as server:
        assert batch(*words(server, source, out)).status == 50
        check_all_answered_once(server, out)
    errors = by_id(read_records(tmp_path / "out.errors.jsonl"))
    assert {custom_id: record["error"]["code"] for custom_id, record in errors.items()} == {
        "bad1": "invalid_request",
        "bad2": "invalid_request",
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_end": "model_not_found"}, "not found: The provided model 'm'"),
        ({"batch_end": "billing_hard_limit_reached"}, "no credit left"),
        ({"gone": "inf", "gone_status": "401"}, "the key is not accepted"),
    ],
)
def test_what_is_wrong_with_all_ends_the_run(tmp_path: Path, options: dict[str, str], reason: str) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(**options) as server:
        result = batch(*words(server, source, out))
    assert result.status == 51
    assert reason in result.err
    assert not Path(f"{out}.via").exists()


def test_replies_that_get_lost_cost_nothing(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_lose="upload+create+content") as server:
        result = batch(*words(server, source, out, "-v"))
        assert (result.status, result.err.count("> POST http://")) == (0, 2)
        check_all_answered_once(server, out)
        assert paths(server) == ["/v1/files", "/v1/batches"]


STEPS = {
    "upload": ("POST", "/v1/files"),
    "create": ("POST", "/v1/batches"),
    "retrieve": ("GET", "/v1/batches/"),
    "content": ("GET", "/v1/files/"),
}
MOMENTS = ["after-upload", "before-create", "after-create", "after-content"]
if ALL_STEPS:
    MOMENTS += ["before-upload", "before-retrieve", "after-retrieve", "before-content"]


def has_come(server: Server, step: str) -> bool:
    method, path = STEPS[step]
    return any(request.method == method and request.path.startswith(path) for request in server.requests)


def end_at(server: Server, line: list[str], moment: str, number: int) -> tuple[int, bytes]:
    """Run until the mock stalls there, and end it with this signal; status and stderr."""
    with start(*line, program=BATCH_COMMAND) as process:
        assert wait_until(lambda: has_come(server, moment.partition("-")[2]))
        process.send_signal(number)
        _, err = process.communicate(timeout=SOON)
    return process.returncode, err


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_at_a_step_goes_on_and_pays_nothing_twice(tmp_path: Path, moment: str) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_stall=moment) as server:
        line = words(server, source, out)
        assert end_at(server, line, moment, signal.SIGKILL)[0] == -signal.SIGKILL
        assert Path(f"{out}.via").exists()
        assert batch(*line).status == 0
        check_all_answered_once(server, out)


def test_a_signal_leaves_the_batches_running_and_tells_their_ids(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_stall="before-retrieve") as server:
        line = words(server, source, out)
        status, err = end_at(server, line, "before-retrieve", signal.SIGTERM)
        assert status == -signal.SIGTERM
        assert batches_at(server)[0].id.encode() in err
        result = batch(str(source), "-o", str(out), "--base-url", server.url)
        assert (result.status, "--via batch-api" in result.err) == (52, True)  # it would be paid twice
        others = [item(f"q{number}") for number in range(1, ITEMS)]
        write_lines(tmp_path / "in.jsonl", [item("q0", "something else"), *others])
        result = batch(*line)
        assert (result.status, "'q0'" in result.err) == (52, True)
        assert batch(*line, "--redo", "changed").status == 0
        answers = by_id(read_records(out))
        assert [text_of(answers["q0"]), len(answers), count_executed(server)] == ["something else", ITEMS, ITEMS + 1]


def test_cancel_fetches_what_was_finished_and_the_rest_can_be_sent_later(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_time="8", batch_stall="before-retrieve") as server:
        line = words(server, source, out)
        end_at(server, line, "before-retrieve", signal.SIGKILL)
        result = batch(*line, "--cancel")
        assert (result.status, "the batches were cancelled" in result.err) == (51, True)
        assert not Path(f"{out}.via").exists()
        first = batches_at(server)[0]
        assert first.status in ("cancelled", "completed")
        assert first.request_counts is not None
        assert len(read_records(out)) == first.request_counts.completed
        assert not read_records(tmp_path / "out.errors.jsonl")
    with mock() as server:
        assert batch(*words(server, source, out)).status == 0
    assert len(by_id(read_records(out))) == ITEMS


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"base_url":"http://other/v1","pieces":[],"run":"r","began":0}'])
def test_a_record_of_batches_that_is_none_of_ours_is_left_alone(tmp_path: Path, content: str) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    via = tmp_path / "out.jsonl.via"
    via.write_text(content)
    result = batch(source, "-o", out, "--via", "batch-api", "--base-url", "http://127.0.0.1:9/v1")
    assert (result.status, "out.jsonl.via cannot be continued" in result.err) == (52, True)
    assert via.read_text() == content


def test_max_time_ends_a_wait(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(batch_stall="before-upload") as server:
        result = batch(*words(server, source, out, "--max-time", "1"))
    assert (result.status, "--max-time 1 s passed" in result.err) == (51, True)


def test_a_server_without_the_batch_api_is_told(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", ITEMS), tmp_path / "out.jsonl"
    with mock(gone="inf", gone_status="404") as server:
        assert batch(*words(server, source, out)).status == 51


@pytest.mark.parametrize(
    "more",
    [
        ["-j", "4"],
        ["--rpm", "9"],
        ["--tpm", "9"],
        ["--max-tokens-total", "9"],
        ["--drain", "1"],
        ["--sync", "0"],
        ["--report", "r.html"],
        ["--keep-partial"],
        ["--order-buffer", "1M"],
        ["--first-event-timeout", "9"],
        ["--idle-timeout", "9"],
        ["--retry-delay", "9"],
        ["--base-url", "http://a", "--base-url", "http://b"],
        ["--provider", "bedrock"],
        ["--shards", "2", "--on", "parallel"],
    ],
)
def test_what_has_no_effect_with_via_is_told(more: list[str]) -> None:
    with pytest.raises(Failure, match=f"{more[0].replace('-j', '--concurrency')}"):
        parse(["in", "-o", "out", "--via", "batch-api", *more])


@pytest.mark.parametrize("line", [["--via", "batch-api"], ["-o", "x", "--poll", "1"], ["-o", "x", "--cancel"]])
def test_what_via_needs_is_told(line: list[str]) -> None:
    with pytest.raises(Failure, match="needs"):
        parse(["in", *line])


def test_the_sdk_is_loaded_for_via_alone(tmp_path: Path) -> None:
    source, out = numbered(tmp_path / "in.jsonl", 1), tmp_path / "out.jsonl"
    code = "import sys; from oastream.batch import run; sys.exit('openai' in sys.modules)"
    with mock() as server, start("-c", code, program=[*BATCH_COMMAND[:1]]) as process:
        assert finish(process).status == 0
        assert batch(str(source), "-o", str(out), "--base-url", server.url).status == 0
