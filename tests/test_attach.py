"""--attach: each kind of file has its part, on both APIs; what cannot be attached is said before anything is sent."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import ResponseInputItemParam
from pydantic import TypeAdapter

from tests.support.program import Result, oastream
from tests.support.streams import chat_body, message, responses_body
from tests.support.wire import serve, sse_response

Part = dict[str, Any]

BODIES = {"responses": responses_body(message("ok")), "chat": chat_body("ok")}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
WAV = b"RIFF\x24\0\0\0WAVEfmt "
MP3 = b"ID3\x04" + b"\0" * 20

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])


def attach(*args: str, api: str = "responses", stdin: bytes | None = None, cwd: Path | None = None) -> list[Part]:
    """The content of the message that a run sends, every part of it valid by the SDK's types."""
    with serve(sse_response(BODIES[api])) as server:
        result = oastream("--base-url", server.url, "--api", api, *args, stdin=stdin, cwd=cwd)
        assert (result.status, result.err) == (0, "")
        body = server.request.json
    messages = body["input"] if api == "responses" else body["messages"]
    if api == "chat":
        TypeAdapter(list[ChatCompletionMessageParam]).validate_python(messages)
    content: list[Part] = messages[-1]["content"]
    return content


def refused(*args: str, status: int = 8, stdin: bytes | None = None) -> Result:
    with serve(sse_response(BODIES["responses"])) as server:
        result = oastream("--base-url", server.url, *args, "hello", stdin=stdin)
        assert (result.status, result.out, server.connections) == (status, b"", 0), result
        assert len(result.err.splitlines()) <= 2
        return result


def file(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def url_of(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


IMAGE = url_of("image/png", PNG)
DOCUMENT = {"filename": "paper.pdf", "file_data": url_of("application/pdf", PDF)}
SOUND = {"data": base64.b64encode(WAV).decode(), "format": "wav"}


def test_each_kind_has_its_part_on_responses(tmp_path: Path) -> None:
    names = [file(tmp_path, "cat", PNG), file(tmp_path, "paper.pdf", PDF)]
    assert attach(*(word for name in names for word in ("-a", name)), "What is this?") == [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
        {"type": "input_file", **DOCUMENT},
    ]


def test_each_kind_has_its_part_on_chat(tmp_path: Path) -> None:
    names = [file(tmp_path, "cat", PNG), file(tmp_path, "paper.pdf", PDF), file(tmp_path, "talk.wav", WAV)]
    assert attach(*(word for name in names for word in ("--attach", name)), "What is this?", api="chat") == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": IMAGE, "detail": "auto"}},
        {"type": "file", "file": DOCUMENT},
        {"type": "input_audio", "input_audio": SOUND},
    ]


def test_the_parts_are_the_sdks(tmp_path: Path) -> None:
    parts = attach("-a", file(tmp_path, "paper.pdf", PDF), "-a", file(tmp_path, "cat", PNG), "Sum up.")
    TypeAdapter(list[ResponseInputItemParam]).validate_python([{"role": "user", "content": parts}])


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("wrong.png", b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        ("x", b"GIF89a\1\0", "image/gif"),
        ("x", b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        ("x", b"\0\0\0\x1cftypavif\0\0\0\0", "image/avif"),
        ("x", b"\0\0\0\x1cftypheic\0\0\0\0", "image/heic"),
        ("wrong.txt", b"  %PDF-1.4", "application/pdf"),
        ("notes.md", b"# Title\n", "text/markdown"),
        ("data.csv", b"a,b\n1,2\n", "text/csv"),
        ("README", "Grüße\n".encode(), "text/plain"),
        ("cut", b"a" * 2047 + "é".encode(), "text/plain"),
        ("thing", b"\0\1\2\3\xff", "application/octet-stream"),
        ("report.docx", b"PK\x03\x04", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
def test_the_content_says_what_it_is_before_the_name_does(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    [_, part] = attach("-a", file(tmp_path, name, data), "What?")
    assert (part.get("image_url") or part["file_data"]).startswith(f"data:{kind};base64,")


@pytest.mark.parametrize(
    ("data", "form"), [(MP3, "mp3"), (WAV, "wav"), (b"fLaC\0", "flac"), (b"OggS\0", "ogg"), (b"\xff\xfb\x90", "mp3")]
)
def test_audio_is_named_as_the_apis_name_it(tmp_path: Path, data: bytes, form: str) -> None:
    assert attach("-a", file(tmp_path, "x", data), "What?", api="chat")[1]["input_audio"]["format"] == form


def test_attach_type_overrides_what_the_content_says(tmp_path: Path) -> None:
    name = file(tmp_path, "x", PDF)
    [_, part] = attach("-a", name, "--attach-type", "text/plain", "What?")
    assert part["file_data"] == url_of("text/plain", PDF)


def test_one_type_is_for_all_and_several_are_for_one_each(tmp_path: Path) -> None:
    names = ["-a", file(tmp_path, "x", PDF), "-a", file(tmp_path, "y", PDF)]
    parts = attach(*names, "--attach-type", "image/png", "What?")[1:]
    assert [part["image_url"] for part in parts] == [url_of("image/png", PDF)] * 2
    parts = attach(*names, "--attach-type", "image/png", "--attach-type", "text/csv", "What?")[1:]
    assert [part["type"] for part in parts] == ["input_image", "input_file"]


@pytest.mark.parametrize("given", ["png", "image/", "image/png; x=y", "a/b/c", ""])
def test_a_type_that_is_none_exits_2(tmp_path: Path, given: str) -> None:
    assert "--attach-type" in refused("-a", file(tmp_path, "x", PNG), "--attach-type", given, status=2).err


def test_types_that_do_not_match_the_files_exit_2(tmp_path: Path) -> None:
    name = file(tmp_path, "x", PNG)
    refused("--attach-type", "image/png", status=2)
    refused("-a", name, "--attach-type", "image/png", "--attach-type", "image/gif", status=2)


# URLs


@both_apis
@pytest.mark.parametrize("url", ["https://example.org/cat.jpg?size=1", "http://example.org/cat"])
def test_the_url_of_an_image_stays_a_url(api: str, url: str) -> None:
    [_, part] = attach("-a", url, "What?", api=api)
    assert part == {
        "responses": {"type": "input_image", "image_url": url, "detail": "auto"},
        "chat": {"type": "image_url", "image_url": {"url": url, "detail": "auto"}},
    }.get(api)


def test_the_url_of_a_file_stays_one_where_the_api_takes_it() -> None:
    url = "https://example.org/paper.pdf"
    assert attach("-a", url, "What?")[1] == {"type": "input_file", "file_url": url}
    assert attach("-a", "https://example.org/9", "--attach-type", "application/pdf", "?")[1]["type"] == "input_file"
    assert "download" in refused("--api", "chat", "-a", url).message


def test_the_url_of_a_sound_exits_8() -> None:
    assert "download" in refused("-a", "https://example.org/talk.mp3").message


# stdin and words


@both_apis
def test_an_attachment_may_come_from_stdin(api: str) -> None:
    parts = attach("-a", "-", "What?", api=api, stdin=PNG)
    assert len(parts) == 2
    assert IMAGE in json.dumps(parts)


def test_a_file_from_stdin_has_a_name_that_fits_it() -> None:
    assert attach("-a", "-", "What?", stdin=PDF)[1]["filename"] == "stdin.pdf"


def test_an_attachment_needs_no_words(tmp_path: Path) -> None:
    assert [part["type"] for part in attach("-a", file(tmp_path, "cat", PNG))] == ["input_image"]


def test_words_may_still_come_from_stdin(tmp_path: Path) -> None:
    assert attach("-a", file(tmp_path, "cat", PNG), stdin=b"What?")[0]["text"] == "What?"


def test_stdin_goes_to_one_place_only(tmp_path: Path) -> None:
    refused("-a", "-", "-", status=2, stdin=PNG)
    refused("-a", "-", "-f", "-", status=2, stdin=PNG)
    refused("-a", "-", "-n", status=2, stdin=PNG)


def test_a_conversation_keeps_its_attachments(tmp_path: Path) -> None:
    talk = str(tmp_path / "talk")
    attach("--history", talk, "-a", file(tmp_path, "cat", PNG), "What is this?")
    with serve(sse_response(BODIES["chat"])) as server:
        oastream("--base-url", server.url, "--api", "chat", "--history", talk, "Are you sure?")
        first = server.request.json["messages"][0]
    assert first["content"][1] == {"type": "image_url", "image_url": {"url": IMAGE, "detail": "auto"}}


# What an API cannot take


def talk_of(folder: Path, *parts: Part) -> str:
    """A conversation whose first message has these parts."""
    item = {"type": "message", "role": "user", "content": list(parts)}
    return file(folder, "talk", json.dumps(item).encode() + b"\n")


def test_responses_has_no_part_for_audio(tmp_path: Path) -> None:
    result = refused("-a", file(tmp_path, "talk.wav", WAV), "What?")
    assert result.err.splitlines()[1] == "oastream: hint: --api chat does"
    refused("--history", talk_of(tmp_path, {"type": "input_audio", "input_audio": SOUND}), "What?")


def test_chat_has_no_part_for_the_url_of_a_file(tmp_path: Path) -> None:
    talk = talk_of(tmp_path, {"type": "input_file", "file_url": "https://example.org/paper.pdf"})
    refused("--api", "chat", "--history", talk, "What?")


# What cannot be attached


@pytest.mark.parametrize("name", ["/nonexistent/cat.png", "/", "ftp://example.org/cat.png"])
def test_what_is_not_there_exits_8_and_is_named(name: str) -> None:
    assert name in refused("-a", name).message


def test_an_empty_file_exits_8(tmp_path: Path) -> None:
    assert "is empty" in refused("-a", file(tmp_path, "void.png", b"")).message
    assert "stdin" in refused("-a", "-", stdin=b"").message


def test_a_file_that_is_too_large_exits_8_and_names_the_limit(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as big:
        big.truncate(52428801)
    message = refused("-a", str(tmp_path / "big.png")).message
    assert "big.png" in message
    assert "52428800" in message


def test_the_limit_is_on_all_files_together(tmp_path: Path) -> None:
    with (tmp_path / "big.png").open("wb") as big:
        big.truncate(30_000_000)
    message = refused("-a", str(tmp_path / "big.png"), "-a", str(tmp_path / "big.png")).message
    assert "52428800" in message
