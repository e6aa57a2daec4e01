"""-x/--extract: the first fenced code block and nothing else, or status 18 and nothing at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oastream.output.code_block import CodeBlock, read_blocks
from tests.support import forked
from tests.support.program import imported_modules
from tests.support.streams import chat_body, message, refusal, responses_body
from tests.support.wire import serve, sse_response

SCRIPT = "Here you are:\n\n```sh\necho hi\n```\n\nIt prints hi.\n"
LENGTH = {"reason": "max_output_tokens"}


def ask(text: str, *args: str, body: bytes = b"") -> tuple[int, bytes, str]:
    """The status, stdout and stderr of a run that gets this text, or this body."""
    with serve(sse_response(body or responses_body(message(text)))) as server:
        result = forked.oastream("-n", "--base-url", server.url, *args, "a script")
    return result.status, result.out, result.err


@pytest.mark.parametrize(
    "words", [["-x"], ["--extract"], ["-x=sh"], ["-xsh"], ["--extract=SH"], ["-nx"], ["-qx"], ["-x", "--hold"]]
)
def test_the_block_is_all_that_is_printed(words: list[str]) -> None:
    assert ask(SCRIPT, *words) == (0, b"echo hi\n", "")


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_on_chat_it_is_the_same_however_the_text_comes(cut: int) -> None:
    assert ask("", "-x", "--api", "chat", body=chat_body(SCRIPT, piece=cut)) == (0, b"echo hi\n", "")


def test_the_word_after_it_is_prompt() -> None:
    with serve(sse_response(responses_body(message(SCRIPT)))) as server:
        assert forked.oastream("-n", "--base-url", server.url, "-x", "sh").status == 0
        assert "sh" in json.dumps(server.request.json["input"])


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```\na\n```\n", [("", "a\n")]),
        ("~~~ Python title=x\na\n~~~", [("python", "a\n")]),
        ("````md\n```sh\nls\n```\n````\n", [("md", "```sh\nls\n```\n")]),
        ("1. First:\n\n   ```sh\n   ls\n     -l\n   ```\n", [("sh", "ls\n  -l\n")]),
        ("> ```\n> a\n> ```\n", [("", "a\n")]),
        ("```sh\nls", [("sh", "ls\n")]),
        ("```sh\nls\n\n", [("sh", "ls\n\n")]),
        ("```sh\nls\n``\n", [("sh", "ls\n``\n")]),
        ("```sh", [("sh", "")]),
        ("Use `ls` or ```ls``` here.", []),
        ("    ```\n    indented code is no fence\n", []),
        ("```a\n1\n```\ntext\n```b\n2\n```\n", [("a", "1\n"), ("b", "2\n")]),
        ("```sh\r\nls\r\n```\r\n", [("sh", "ls\n")]),
        ("", []),
    ],
)
def test_a_fence_is_commonmarks(text: str, blocks: list[tuple[str, str]]) -> None:
    assert read_blocks(text) == [CodeBlock(*each) for each in blocks]


def test_the_first_of_its_language_is_chosen() -> None:
    text = "```\nno\n```\n```py\nfirst\n```\n```py\nsecond\n```\n"
    assert ask(text, "-x=py") == (0, b"first\n", "")


def test_an_empty_block_is_one() -> None:
    assert ask("```sh\n```\n", "-x") == (0, b"", "")


def test_without_a_block_nothing_is_printed_and_the_status_is_18() -> None:
    status, out, err = ask("rm is dangerous.", "-x")
    assert (status, out, err) == (18, b"", "oastream: no code block: the answer has none\n")


def test_a_block_in_another_language_is_named() -> None:
    assert ask(SCRIPT, "-x=py") == (18, b"", "oastream: no code block in py: the answer has sh\n")


def test_half_a_script_is_not_printed() -> None:
    cut = responses_body(message("```sh\nrm -rf /tmp/a"), status="incomplete", incomplete_details=LENGTH)
    assert ask("", "-x", body=cut)[:2] == (10, b"")
    assert ask("", "-x", "--ok", "length", body=cut) == (0, b"rm -rf /tmp/a\n", "")


def test_what_is_accepted_does_not_hide_that_there_is_none() -> None:
    cut = responses_body(message("prose"), status="incomplete", incomplete_details=LENGTH)
    assert ask("", "-x", "--ok", "length", body=cut)[:2] == (18, b"")
    assert ask("", "-x", "--ok", "length,no_code", body=cut) == (0, b"", "")


def test_a_refusal_is_a_refusal() -> None:
    assert ask("", "-x", body=responses_body(refusal("No.")))[:2] == (12, b"")


def test_a_file_is_written_only_when_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_text("old\n")
    assert ask("prose", "-x", "-o", str(file))[0] == 18
    assert file.read_text() == "old\n"
    assert ask(SCRIPT, "-x", "-o", str(file))[0] == 0
    assert file.read_text() == "echo hi\n"


@pytest.mark.parametrize(("text", "status"), [(SCRIPT, 0), ("prose", 18)])
def test_a_conversation_has_the_whole_answer(text: str, status: int, tmp_path: Path) -> None:
    history = tmp_path / "talk.jsonl"
    assert ask(text, "-x", "--history", str(history))[0] == status
    assert json.dumps(text) in history.read_text().splitlines()[-1]


@pytest.mark.parametrize("other", [["--format", "json"], ["--schema", "n int"], ["--list-models"]])
def test_where_it_means_nothing_it_is_refused(other: list[str]) -> None:
    result = forked.oastream("-n", "--base-url", "mock:", "-x", *other)
    assert (result.status, "--extract" in result.err) == (2, True), result


def test_a_setting_of_the_environment_gives_way_to_another_format() -> None:
    env = {"OASTREAM_EXTRACT": "sh"}
    assert forked.oastream("-n", "--base-url", "mock:", SCRIPT, env=env).out == b"echo hi\n"
    assert forked.oastream("-n", "--base-url", "mock:", "--format", "json", SCRIPT, env=env).status == 0


@given(st.lists(st.sampled_from(["```", "~~~", "- ", "> ", "a", "\n", " ", "1. ", "`", "<!--", "sh"]), max_size=60))
def test_any_text_has_some_blocks_or_none(pieces: list[str]) -> None:
    assert all(isinstance(block.content, str) for block in read_blocks("".join(pieces)))


def test_a_run_without_it_loads_no_parser() -> None:
    assert not {"markdown_it", "oastream.output.code_block"} & imported_modules("-n", "--base-url", "mock:", "hi")
