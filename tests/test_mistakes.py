"""A mistake is told in the words that were typed, with what to do about it, in one line and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import forked
from tests.support.program import CANARY, MOCK_COMMAND, NOTHING, Environment, Result, run
from tests.support.wire import http_response, serve

MOCK: Environment = {"OPENAI_BASE_URL": "mock:"}


def refused(status: int, *args: str, env: Environment = NOTHING, cwd: Path | None = None) -> Result:
    """A run that says one line, and a hint at most, before anything is sent or written."""
    result = forked.oastream(*args, env={**MOCK, **env}, cwd=cwd)
    assert (result.status, result.out) == (status, b""), result
    assert len(result.err.splitlines()) <= 2, result
    return result


# Words of the command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--modle x hi", "no such option: --modle; did you mean --model?"),
        ("--Model x hi", "no such option: --Model; did you mean --model?"),
        ("-model gpt-5 hi", "no such option: -model; did you mean --model?"),
        ("-model=gpt-5 hi", "no such option: -model; did you mean --model?"),
        ("-version", "no such option: -version; did you mean --version?"),
        ("\u2013model gpt-5 hi", "begins with a dash that is no hyphen; did you mean --model?"),
        ("hi \u2014m gpt-5", "begins with a dash that is no hyphen; did you mean -m?"),
        ("-m=gpt-5 hi", "write -m gpt-5 or --model=gpt-5"),
        ("--model = gpt-5 hi", "'--model': it begins with an equals sign"),
        ("-o=out.txt hi", "write -o out.txt or --output=out.txt"),
        ("--stats json hi", "the value of --stats needs an equals sign: --stats=json"),
        ("--no-stream hi", "no such option: --no-stream; here it is --hold"),
        ("-t 0.3 hi", "no such option: -t; here it is --temperature"),
        ("--seed 5 hi", "any field of the request is set with --set, as in --set seed=5"),
        ("--api-key-cmd x hi", "set OASTREAM_API_KEY_CMD, or api_key_cmd in config.toml"),
        ("-V", "no such option: -V; here it is --version"),
        ("--background=true hi", "--background is a flag and takes no value"),
    ],
)
def test_an_option_that_there_is_not_is_answered_with_what_was_meant(words: str, told: str) -> None:
    assert told in refused(2, *words.split()).message


@pytest.mark.parametrize("word", ["- item", "--- a/file.c"])
def test_a_text_that_begins_with_a_dash_is_not_taken_for_a_misspelt_option(word: str) -> None:
    result = refused(2, word)
    assert "a word that begins with a dash is an option" in result.message
    assert "did you mean" not in result.message


@pytest.mark.parametrize("option", ["--key", "--api-key", "--token", "-k", "-u"])
def test_a_key_that_is_typed_is_told_where_it_goes_and_not_repeated(option: str) -> None:
    result = refused(2, option, CANARY, "hi")  # which looks for the key on stderr
    assert "set OPENAI_API_KEY or use --api-key-file" in result.message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--max-tokens 4k", "'--max-tokens': '4k' is not a whole number of at least 1; 4k is 4000"),
        ("--max-output-tokens 1,000", "'--max-output-tokens': '1,000' is not a whole number of at least 1; write 1000"),
        ("--max-event-bytes 16MiB", "16MiB is 16777216"),
        ("--max-tokens -5", "'-5' is not a whole number of at least 1"),
        ("--max-time 10m", "'10m' is not a number of seconds; 10m is 600"),
        ("--idle-timeout 500ms", "500ms is 0.5"),
        ("--max-time 1:30", "1:30 is 90"),
        ("--temperature 0,7", "'0,7' is not a number; write 0.7"),
        ("--format JSON", "'ndjson', 'tools', 'json', 'sse'; did you mean json?"),
        ("--ok lenght", "did you mean length?"),
        ("--ok ,", "'--ok': it names no exit status"),
        ("--input-encoding rot13", "'rot13' is not an encoding of text"),
        ("--set a..b=1", "--set a..b: a name between the dots is empty"),
        ("--set tools[0].name=x", "a place in a list is written as in tools.0.name"),
    ],
)
def test_a_value_of_another_form_is_answered_with_the_right_one(words: str, told: str) -> None:
    assert told in refused(2, *words.split(), "hi").message


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:11434", "did you mean http://localhost:11434/v1?"),
        ("api.example.com/v1", "did you mean https://api.example.com/v1?"),
        ("http:/127.0.0.1:8080/v1", "did you mean http://127.0.0.1:8080/v1?"),
        ('"http://127.0.0.1:8080/v1"', "did you mean http://127.0.0.1:8080/v1?"),
        ("mock", "did you mean mock:?"),
        ("mock:?end=lenght", "did you mean length?"),
        ("http://127.0.0.1:8080/v1 ", "it has a space, which no URL can have"),
    ],
)
def test_a_base_url_that_is_none_is_answered_with_one_that_is(url: str, told: str) -> None:
    assert told in refused(2, "--base-url", url, "hi").message
    assert told in refused(6, "hi", env={"OPENAI_BASE_URL": url}).message


# Files


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-f", "~/notes.txt"), "the shell has not expanded ~"),
        (("-f", "$HOME/notes.txt"), "the shell has not expanded $HOME"),
        (("-f", "*.txt"), "the shell has not expanded the pattern"),
        (("-f", "file:///tmp/notes.txt"), "write it without file://"),
        (("-f", "'notes.txt'"), "the name has spaces or quotes around it"),
        (("-s", "@"), "@@ begins a text with @"),
        (("--tools", "get_weather"), "--tools takes a file, or JSON that begins with { or ["),
        (("--schema", "{'type': 'object'}"), "JSON has double quotes"),
        (("--schema", '{"type": "objct"}'), "$.type: objct is no type; types are string,"),
        (("--history", "nowhere/c.jsonl"), "mkdir -p nowhere"),
    ],
)
def test_a_path_that_is_not_there_is_answered_with_the_reason(words: tuple[str, ...], told: str) -> None:
    assert told in refused(8, *words, "hi").err


def test_a_folder_that_is_missing_is_named_with_the_command_that_makes_it() -> None:
    assert "mkdir -p 'no where'" in refused(9, "-o", "no where/answer", "hi").err


def test_a_key_in_place_of_the_file_that_holds_it_is_not_repeated() -> None:
    result = refused(6, "--api-key-file", CANARY, "hi", env={"OPENAI_BASE_URL": None})
    assert "that looks like a key" in result.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"Bearer {CANARY}", "begins with Bearer"),
        (f'"{CANARY}"', "has quotes around the key"),
        (f"export OPENAI_API_KEY={CANARY}", "sets a variable"),
        (f"OPENAI_API_KEY={CANARY}", "sets a variable"),
        (f"{CANARY}\n{CANARY}", "has 2 lines"),
        (f"{CANARY}\u2026", "has a character that no key has, at position"),
        (f'{{"key": "{CANARY}"}}', "is not a key alone"),
    ],
)
def test_a_key_file_that_holds_more_than_a_key_is_told_what(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "key").write_text(text)
    env: Environment = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    assert told in refused(6, "--api-key-file", "key", "hi", env=env, cwd=tmp_path).message


@pytest.mark.parametrize(
    "words", [("--attach", "./input", "hi"), ("--tools", "input", "hi"), ("--body", "@input"), ("--replay", "input")]
)
def test_an_answer_overwrites_no_file_that_cannot_be_its_text(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "input").write_bytes(b"{}")
    result = refused(2, *words, "-o", "input", cwd=tmp_path)
    assert f"-o would overwrite input, which {words[0]} reads" in result.message
    assert (tmp_path / "input").read_bytes() == b"{}"


def test_a_text_may_be_edited_in_place(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("old")
    assert forked.oastream("-f", "note", "-o", "note", env=MOCK, cwd=tmp_path).status == 0
    assert (tmp_path / "note").read_text() == "old\n"


def test_a_list_in_place_of_json_lines_is_told_how_to_become_them(tmp_path: Path) -> None:
    (tmp_path / "h").write_text('[{"role": "user", "content": "x"}]\n')
    assert "jq -c '.[]'" in refused(8, "--history", "h", "hi", cwd=tmp_path).err


def test_utf_16_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes("hello".encode("utf-16"))
    assert "--input-encoding utf-16" in refused(8, "-f", "note", "hi", cwd=tmp_path).err


# Servers


def not_found(path: str, *args: str) -> str:
    """The hint of a run against a server that has nothing, below this path."""
    body = b'{"error": {"message": "Unknown request URL", "type": "invalid_request_error", "code": "unknown_url"}}'
    with serve(http_response(body, "404 Not Found")) as server:
        base = server.url.removesuffix("/v1")
        result = forked.oastream("--base-url", f"{base}{path}", *args)
    assert result.status == 23, result
    return result.err.splitlines()[1].replace(base, "")


@pytest.mark.parametrize(
    ("path", "words", "told"),
    [
        ("/v1/chat/completions", ("--api", "chat", "hi"), "--base-url /v1"),
        ("/v1/chat/completions", ("hi",), "--base-url /v1 --api chat"),
        ("/v1/responses", ("hi",), "--base-url /v1"),
        ("/api", ("hi",), "hint: most base URLs end in /v1"),
        ("/v1", ("hi",), "needs --api chat"),
        ("/v1", ("--list-models",), "the server has no list of models, or the base URL is not right"),
    ],
)
def test_an_address_that_is_not_there_is_answered_with_the_right_one(
    path: str, words: tuple[str, ...], told: str
) -> None:
    assert not_found(path, *words).endswith(told)


# The other program


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--end", "lenght"], "did you mean length?"),
        (["--fault", "sttus=500"], "sttus; did you mean status?"),
        (["--fault", ""], "ok is an attempt without a fault"),
        (["--pace", "50ms"], "50ms is 0.05"),
        (["8080"], "it takes no words, only options, as in --port 8080"),
        (["-p", "80"], "did you mean --pace or --port?"),
    ],
)
def test_the_mock_says_what_was_meant(words: list[str], told: str) -> None:
    result = run([*MOCK_COMMAND, *words])
    assert (result.status, result.out) == (2, b"")
    assert told in result.err
