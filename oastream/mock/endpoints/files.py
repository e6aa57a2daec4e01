"""/files: uploads, and what batches have made of them.

In: a multipart upload, the id of a file. Out: OpenAI's file object, a page of them, the bytes of a file. What is in a
file is not looked at here.
"""

from __future__ import annotations

import time
from email.message import Message
from email.parser import BytesHeaderParser

from oastream.mock.endpoints import Call
from oastream.mock.endpoints.pages import list_page, with_step_faults
from oastream.mock.errors import ApiError, BadRequest
from oastream.mock.events import Cut, CutKind, Json, Wire
from oastream.mock.exchange import Reply
from oastream.mock.replies import json_reply
from oastream.mock.state import State, StoredFile

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_LISTED = 10_000
_LIFE = 30 * 86400
"""Seconds after which a file for a batch expires."""


@with_step_faults("upload")
def upload(call: Call) -> Reply:
    fields, files = _read_form(call)
    purpose = fields.get("purpose")
    if purpose is None:
        raise BadRequest("Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter")
    if purpose not in _PURPOSES:
        raise BadRequest(f"'{purpose}' is not one of {list(_PURPOSES)} - 'purpose'", "purpose", "invalid_value")
    if "file" not in files:
        raise BadRequest("Missing required parameter: 'file'.", "file", "missing_required_parameter")
    name, data = files["file"]
    return json_reply(keep_file(call.state, f"file-{call.number:024x}", name, purpose, data))


def keep_file(state: State, file_id: str, name: str, purpose: str, data: bytes) -> Json:
    """Store a file; what is told of it."""
    created = int(time.time())
    about: Json = {
        "object": "file",
        "id": file_id,
        "purpose": purpose,
        "filename": name,
        "bytes": len(data),
        "created_at": created,
        "expires_at": created + _LIFE if purpose == "batch" else None,
        "status": "processed",
        "status_details": None,
    }
    state.files.keep(file_id, StoredFile(about, data))
    return about


@with_step_faults("list-files")
def list_all(call: Call) -> Reply:
    purpose = call.parameter("purpose", "")
    files = [file.about for file in call.state.files.newest_first()]
    files = [about for about in files if purpose in ("", about["purpose"])]
    if call.parameter("order", "desc") == "asc":
        files.reverse()
    return json_reply(list_page(call, files, _MOST_LISTED, _MOST_LISTED))


def retrieve(call: Call, file_id: str) -> Reply:
    return json_reply(call.state.files.find(file_id).about)


@with_step_faults("delete")
def delete(call: Call, file_id: str) -> Reply:
    call.state.files.find(file_id)  # which says so where there is none
    call.state.files.forget(file_id)
    return json_reply({"id": file_id, "object": "file", "deleted": True})


@with_step_faults("content")
def send_content(call: Call, file_id: str) -> Reply:
    data = call.state.files.find(file_id).data
    wire: tuple[Wire, ...] = (data,)
    if call.state.batch_script.loses("content"):  # a reply that is lost in its middle
        wire = (Cut(CutKind.RST, data[: len(data) // 2]),)
    return Reply(headers={"Content-Type": "application/octet-stream"}, wire=wire, length=len(data))


# --- multipart/form-data, RFC 7578


def _read_form(call: Call) -> tuple[dict[str, str], dict[str, tuple[str, bytes]]]:
    """The fields of a form, and its files by field: name and bytes."""
    head = Message()
    head["Content-Type"] = call.request.headers.get("content-type", "")
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise ApiError(400, "The body is not multipart/form-data.")
    fields: dict[str, str] = {}
    files: dict[str, tuple[str, bytes]] = {}
    # Split by hand: email's own parser takes minutes for 200 MB of short lines.
    parts = (b"\r\n" + call.request.raw).split(b"\r\n--" + boundary.encode("utf-8", "replace"))
    for part in parts[1:-1]:
        opening, _, data = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        about = BytesHeaderParser().parsebytes(opening)
        name = about.get_param("name", header="content-disposition")
        file_name = about.get_filename()
        if file_name is not None:
            files[str(name)] = (file_name, data)
        else:
            fields[str(name)] = data.decode("utf-8", "replace")
    return fields, files
