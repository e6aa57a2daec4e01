"""/batches: many requests as one file, answered whole by what answers single ones.

In: the id of an uploaded file, an endpoint, metadata. Out: OpenAI's batch object, its output and error files. When
which line is answered is for `mock.batches` to say.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from oastream.mock.batches import Batch, Line, read_lines
from oastream.mock.checks import OBJECT, TEXT, check_body
from oastream.mock.endpoints import Call
from oastream.mock.endpoints.answers import create_completion, create_response
from oastream.mock.endpoints.files import keep_file
from oastream.mock.endpoints.pages import list_page, with_step_faults
from oastream.mock.errors import ApiError, BadRequest
from oastream.mock.events import Json, json_text
from oastream.mock.exchange import Reply, Request
from oastream.mock.replies import json_reply

_ENDPOINTS: dict[str, Callable[[Call], Reply]] = {
    "/v1/responses": create_response,
    "/v1/chat/completions": create_completion,
}
_FIELDS = {"input_file_id": TEXT, "endpoint": TEXT, "completion_window": TEXT, "metadata": OBJECT}
_MOST_KEYS = 16
_MOST_KEY = 64
_MOST_VALUE = 512
_USUAL_LISTED = 20
_MOST_LISTED = 100
_CODES = {"expired": "batch_expired", "cancelled": "batch_cancelled"}


@with_step_faults("create")
def create(call: Call) -> Reply:
    body = check_body(call.request.body, _FIELDS, required=("input_file_id", "endpoint", "completion_window"))
    _check_values(body)
    file = call.state.files.find(body["input_file_id"])
    if file.about["purpose"] != "batch":
        raise BadRequest("Invalid file purpose for Batch API. Must be 'batch'.", "input_file_id", "invalid_purpose")
    script = call.state.batch_script
    lines, errors = read_lines(file.data, body["endpoint"], script.rules.invalid)
    about = {
        "id": f"batch_{call.number:024x}",
        "endpoint": body["endpoint"],
        "input_file_id": body["input_file_id"],
        "metadata": body.get("metadata"),
    }
    end = script.next_end()
    batch = Batch(about, lines, errors, end, script.rules.time, call.state.clock, int(time.time()))
    call.state.batches.keep(batch.batch_id, batch)
    return json_reply(batch.describe("validating"))


def _check_values(body: Json) -> None:
    if body["endpoint"] not in _ENDPOINTS:
        why = f"Invalid value: '{body['endpoint']}'. Supported values are: {', '.join(_ENDPOINTS)}."
        raise BadRequest(why, "endpoint", "invalid_value")
    if body["completion_window"] != "24h":
        why = f"Invalid value: '{body['completion_window']}'. Value must be '24h'."
        raise BadRequest(why, "completion_window", "invalid_value")
    metadata = body.get("metadata") or {}
    if len(metadata) > _MOST_KEYS:
        raise BadRequest(f"Invalid 'metadata': more than {_MOST_KEYS} keys.", "metadata", "object_above_max_properties")
    for key, value in metadata.items():
        if not isinstance(value, str) or len(value) > _MOST_VALUE or len(key) > _MOST_KEY:
            raise BadRequest(f"Invalid 'metadata.{key}': it must be a short string.", "metadata", "invalid_type")


@with_step_faults("retrieve")
def retrieve(call: Call, batch_id: str) -> Reply:
    return json_reply(_describe(call, call.state.batches.find(batch_id)))


@with_step_faults("list")
def list_all(call: Call) -> Reply:
    batches = [_describe(call, batch) for batch in call.state.batches.newest_first()]
    return json_reply(list_page(call, batches, _USUAL_LISTED, _MOST_LISTED))


@with_step_faults("cancel")
def cancel(call: Call, batch_id: str) -> Reply:
    batch = call.state.batches.find(batch_id)
    if not batch.cancel():
        raise ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.")
    return json_reply(_describe(call, batch))


def _describe(call: Call, batch: Batch) -> Json:
    """The batch now; at its end with its files, which are made when somebody looks for the first time."""
    with batch.lock:
        if batch.has_files and batch.files is None:
            batch.files = _make_files(call, batch)
        return batch.describe()


def _make_files(call: Call, batch: Batch) -> Json:
    """Answer the lines that the batch came to, in files of those that were and those that were not."""
    status = batch.status
    endpoint = _ENDPOINTS[batch.describe()["endpoint"]]
    done = batch.count_done()
    outputs: list[Json] = []
    errors: list[Json] = []
    for line in batch.lines[:done]:
        record = _answer_line(call, endpoint, line)
        is_answered = record["response"]["status_code"] == 200
        (outputs if is_answered else errors).append(record)
    failed = len(errors)
    errors += [_skip_line(call, line, status) for line in batch.lines[done:]]
    return {
        "output": _keep(call, batch, "output", outputs),
        "errors": _keep(call, batch, "error", errors),
        "failed": failed,
    }


def _keep(call: Call, batch: Batch, kind: str, records: list[Json]) -> str | None:
    """Store the records as a file; its id. Newest first: no order is promised, and clients must not rely on one."""
    if not records:
        return None
    data = "".join(json_text(record) + "\n" for record in reversed(records)).encode("utf-8", "surrogatepass")
    file_id = f"file-{call.state.number_request():024x}"
    keep_file(call.state, file_id, f"{batch.batch_id}_{kind}.jsonl", "batch_output", data)
    return file_id


def _answer_line(call: Call, endpoint: Callable[[Call], Reply], line: Line) -> Json:
    number = call.state.number_request()
    item_call = call._replace(request=Request("POST", "", {}, line.body), number=number)
    try:
        if line.body.get("stream"):
            raise BadRequest("Streaming is not supported in a batch.", "stream", "invalid_value")
        status, body = _read_reply(endpoint(item_call))
    except ApiError as error:
        status, body = error.status, {"error": error.error}
    response = {"status_code": status, "request_id": f"req_{number:032x}", "body": body}
    return {"id": f"batch_req_{number:024x}", "custom_id": line.custom_id, "response": response, "error": None}


def _read_reply(reply: Reply) -> tuple[int, Any]:
    """Status and body of a reply that a connection would get. What breaks off there is a server's error here."""
    data = b"".join(item for item in reply.wire if isinstance(item, bytes))
    try:
        return reply.status, json.loads(data)
    except ValueError:
        error = ApiError(500, "The server had an error while processing your request.")
        return error.status, {"error": error.error}


def _skip_line(call: Call, line: Line, status: str) -> Json:
    number = call.state.number_request()
    message = f"This request was not executed before the batch was {status}."
    error = {"code": _CODES[status], "message": message}
    return {"id": f"batch_req_{number:024x}", "custom_id": line.custom_id, "response": None, "error": error}
