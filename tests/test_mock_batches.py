"""The mock's /files and /batches, as the client of the openai SDK sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Batch

from oastream.mock.exchange import Request
from oastream.mock.routes import Routes
from oastream.mock.script import plan_from_options
from oastream.mock.server import serve
from tests.test_mock_limits import Clock


@contextmanager
def client(**options: Any) -> Iterator[openai.OpenAI]:
    server = serve(plan_from_options(**options))
    try:
        with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0, timeout=20) as sdk:
            yield sdk
    finally:
        server.close()


def line(custom_id: str, **more: Any) -> dict[str, Any]:
    body = {"model": "m", "input": f"say {custom_id}", **more}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/responses", "body": body}


def chat_line(custom_id: str) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": custom_id}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def begin(sdk: openai.OpenAI, lines: list[dict[str, Any]], **more: Any) -> Batch:
    data = "".join(json.dumps(each) + "\n" for each in lines).encode()
    file = sdk.files.create(file=("in.jsonl", data), purpose="batch")
    endpoint: Any = lines[0]["url"]
    return sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def records(sdk: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    assert file_id is not None
    found = [json.loads(each) for each in sdk.files.content(file_id).text.splitlines()]
    return {each["custom_id"]: each for each in found}


def test_a_batch_is_answered_with_whole_objects_of_either_api() -> None:
    with client() as sdk:
        begun = begin(sdk, [line("a"), line("b")], metadata={"piece": "x"})
        assert begun.status == "validating"
        assert begun.expires_at == begun.created_at + 86400
        done = sdk.batches.retrieve(begun.id)
        assert (done.status, done.metadata, done.error_file_id) == ("completed", {"piece": "x"}, None)
        assert done.request_counts is not None
        assert (done.request_counts.total, done.request_counts.completed) == (2, 2)
        found = records(sdk, done.output_file_id)
        answer = found["b"]["response"]["body"]
        assert answer["output"][0]["content"][0]["text"] == "say b"
        chat = sdk.batches.retrieve(begin(sdk, [chat_line("hi")]).id)
        body = records(sdk, chat.output_file_id)["hi"]["response"]["body"]
        assert body["choices"][0]["message"]["content"] == "hi"


def test_a_request_that_fails_is_in_the_error_file() -> None:
    with client() as sdk:
        done = sdk.batches.retrieve(begin(sdk, [line("good"), line("bad", temperature=9), line("s", stream=True)]).id)
        errors = records(sdk, done.error_file_id)
        assert set(records(sdk, done.output_file_id)) == {"good"}
        assert errors["bad"]["response"]["status_code"] == 400
        assert errors["s"]["response"]["body"]["error"]["param"] == "stream"
        assert done.request_counts is not None
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 2)


def test_faults_and_ends_are_those_of_single_requests() -> None:
    with client(faults=["status=500", "end=length"]) as sdk:
        done = sdk.batches.retrieve(begin(sdk, [line("a"), line("b")]).id)
        assert records(sdk, done.error_file_id)["a"]["response"]["status_code"] == 500
        assert records(sdk, done.output_file_id)["b"]["response"]["body"]["status"] == "incomplete"


def test_a_batch_goes_through_its_statuses_with_time() -> None:
    clock = Clock()
    routes = Routes(plan_from_options(batch_time="8"), clock)

    def ask(method: str, path: str, body: Any = None, raw: bytes = b"", kind: str = "") -> Any:
        reply = routes.reply(Request(method, f"/v1{path}", {"content-type": kind}, body, raw))
        return json.loads(b"".join(item for item in reply.wire if isinstance(item, bytes)))

    data = "".join(json.dumps(line(f"q{number}")) + "\n" for number in range(4)).encode()
    form = b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\nContent-Disposition: '
    form += b'form-data; name="file"; filename="in.jsonl"\r\n\r\n' + data + b"\r\n--B--\r\n"
    file = ask("POST", "/files", raw=form, kind="multipart/form-data; boundary=B")
    assert file["bytes"] == len(data)
    request = {"input_file_id": file["id"], "endpoint": "/v1/responses", "completion_window": "24h"}
    batch_id = ask("POST", "/batches", request)["id"]
    seen = []
    for _ in range(6):
        batch = ask("GET", f"/batches/{batch_id}")
        seen.append((batch["status"], batch["request_counts"]["completed"], batch["output_file_id"] is not None))
        clock.now += 2
    assert seen == [
        ("validating", 0, False),
        ("in_progress", 0, False),
        ("in_progress", 2, False),
        ("finalizing", 4, False),
        ("completed", 4, True),
        ("completed", 4, True),
    ]


@pytest.mark.parametrize(("end", "code"), [("expired", "batch_expired"), ("cancelled", "batch_cancelled")])
def test_a_batch_that_ends_early_has_answered_half(end: str, code: str) -> None:
    with client(batch_end=f"{end}+completed") as sdk:
        lines = [line(f"q{number}") for number in range(4)]
        done = sdk.batches.retrieve(begin(sdk, lines).id)
        assert done.status == end
        assert set(records(sdk, done.output_file_id)) == {"q0", "q1"}
        assert {each["error"]["code"] for each in records(sdk, done.error_file_id).values()} == {code}
        assert sdk.batches.retrieve(begin(sdk, lines).id).status == "completed"


def test_what_was_done_before_a_cancel_is_kept() -> None:
    with client(batch_time="1000") as sdk:
        begun = begin(sdk, [line("a")])
        assert sdk.batches.cancel(begun.id).status == "cancelling"
    with client() as sdk:
        begun = begin(sdk, [line("a")])
        with pytest.raises(openai.ConflictError):
            sdk.batches.cancel(begun.id)


def test_validation_names_the_lines_that_are_wrong() -> None:
    with client(batch_invalid="poison") as sdk:
        lines = [line("a"), line("a"), chat_line("c"), line("d", model="other"), line("e", input="poison")]
        failed = sdk.batches.retrieve(begin(sdk, lines).id)
        assert failed.status == "failed"
        assert failed.errors is not None
        assert failed.errors.data is not None
        assert [(each.line, each.code) for each in failed.errors.data] == [
            (2, "duplicate_custom_id"),
            (3, "invalid_url"),
            (4, "mismatched_model"),
            (5, "invalid_request"),
        ]


@pytest.mark.parametrize("code", ["token_limit_exceeded", "model_not_found", "billing_hard_limit_reached"])
def test_a_batch_can_be_refused_as_a_whole(code: str) -> None:
    with client(batch_end=code) as sdk:
        failed = sdk.batches.retrieve(begin(sdk, [line("a")]).id)
        assert failed.errors is not None
        assert failed.errors.data is not None
        assert [(each.line, each.code) for each in failed.errors.data] == [(None, code)]
        assert failed.output_file_id is None


def test_a_batch_whose_creation_was_never_confirmed_is_in_the_list() -> None:
    with client(batch_lose="create") as sdk:
        with pytest.raises(openai.APIConnectionError):
            begin(sdk, [line("a")], metadata={"piece": "x"})
        assert [batch.metadata for batch in sdk.batches.list()] == [{"piece": "x"}]
        begin(sdk, [line("a")])


@pytest.mark.parametrize(("when", "count"), [("before", 0), ("after", 1)])
def test_a_step_can_stall_before_and_after_it_is_done(when: str, count: int) -> None:
    with client(batch_stall=f"{when}-create") as sdk:
        with pytest.raises(openai.APITimeoutError):
            begin(sdk.with_options(timeout=0.3), [line("a")])
        assert len(list(sdk.batches.list())) == count


def test_lists_come_in_pages_and_files_can_be_deleted() -> None:
    with client() as sdk:
        begun = [begin(sdk, [line("a")]).id for _ in range(5)]
        page = sdk.batches.list(limit=2)
        assert (len(page.data), page.has_more) == (2, True)
        assert [batch.id for batch in page] == begun[::-1]
        uploads = list(sdk.files.list(purpose="batch", order="asc", limit=2))
        assert len(uploads) == 5
        assert uploads[0].filename == "in.jsonl"
        assert sdk.files.retrieve(uploads[0].id) == uploads[0]
        assert sdk.files.delete(uploads[0].id).deleted
        with pytest.raises(openai.NotFoundError):
            sdk.files.content(uploads[0].id)


WRONG: list[tuple[str, str, Any]] = [
    ("POST", "/batches", None),
    ("POST", "/batches", []),
    ("POST", "/batches", {"input_file_id": 5, "endpoint": "/v1/responses", "completion_window": "24h"}),
    ("POST", "/batches", {"input_file_id": "file-no", "endpoint": "/v1/responses", "completion_window": "24h"}),
    ("POST", "/batches", {"input_file_id": "x", "endpoint": "/v1/videos", "completion_window": "24h"}),
    ("POST", "/batches", {"input_file_id": "x", "endpoint": "/v1/responses", "completion_window": "1h"}),
    ("POST", "/batches", {"input_file_id": "x", "endpoint": "/v1/responses", "metadata": 1}),
    ("POST", "/files", {"purpose": "batch"}),
    ("GET", "/batches?limit=0", None),
    ("GET", "/batches?after=batch_no", None),
    ("GET", "/batches/batch_no", None),
    ("POST", "/batches/batch_no/cancel", None),
    ("GET", "/files?limit=x", None),
    ("GET", "/files/file-no/content", None),
    ("DELETE", "/files/file-no", None),
    ("PUT", "/batches", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRONG)
def test_a_wrong_request_gets_an_error_like_openais(method: str, path: str, body: Any) -> None:
    with client() as sdk:
        reply = httpx2.request(method, f"{str(sdk.base_url).rstrip('/')}{path}", json=body)
    assert 400 <= reply.status_code < 500
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=B", "multipart/mixed"])
@pytest.mark.parametrize(
    "form", [b"", b"--B--", b"--B\r\n\r\n--B--", b"--B\r\nContent-Disposition: x\r\n\r\ny\r\n--B--"]
)
def test_a_form_that_is_none_gets_an_error(kind: str, form: bytes) -> None:
    with client() as sdk:
        reply = httpx2.post(f"{sdk.base_url}files", content=form, headers={"Content-Type": kind})
    assert reply.status_code == 400


@pytest.mark.parametrize("option", ["batch_end", "batch_lose", "batch_stall"])
def test_a_wrong_name_is_told(option: str) -> None:
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')}"):
        plan_from_options(**{option: "nonsense"})
