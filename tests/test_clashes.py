"""An option without effect on its command line is a mistake there, and nothing to speak of elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from oastream.cli import clashes, options_table
from tests.support import forked
from tests.support.program import NOTHING, Environment, Result
from tests.support.streams import message, responses_body
from tests.support.wire import serve, sse_response

MOCK: Environment = {"OPENAI_BASE_URL": "mock:"}
VALUES = {
    "attach": "picture.png",
    "attach_type": "image/png",
    "format": "json",
    "header": "X-A: b",
    "max_output_tokens": "5",
    "provider": "azure",
    "set": "seed=7",
    "temperature": "0",
    "tool_output": "call=x",
    "top_p": "0",
    "base_url": "mock:",
    "input_encoding": "latin-1",
}
OPTIONS = [option for group in options_table.OPTIONS.values() for option in group]
FLAGS = {option.name for option in OPTIONS if option.is_flag}
LEFT_OUT = [(mode, name) for mode, names in clashes.LEAVES_OUT.items() for name in names]


def words_for(name: str) -> list[str]:
    """An option as it is typed, with a value if it takes one."""
    if name == "prompt":
        return ["words"]
    typed = clashes.in_cli_form(name)
    if name in FLAGS or typed in options_table.OPTIONAL_VALUE:
        return [typed]
    return [typed, VALUES.get(name, "x")]


def run(*args: str, env: Environment = NOTHING) -> Result:
    return forked.oastream(*args, env={**MOCK, **env})


def refused(*args: str) -> str:
    """The message of a run that its command line ended."""
    result = run(*args)
    assert (result.status, result.out) == (2, b""), result
    return result.message


def test_every_name_in_the_tables_is_an_option() -> None:
    known = {option.name for option in OPTIONS} | {"prompt"}
    named = {*clashes.NEEDS, *clashes.LEAVES_OUT, *(name for _, name in LEFT_OUT)}
    named |= {other for other, _ in clashes.NEEDS.values()} | {name for pair in clashes.EXCLUSIVE for name in pair}
    assert named <= known


@pytest.mark.parametrize("name", clashes.NEEDS)
def test_an_option_without_the_one_it_needs_exits_2_and_names_it(name: str) -> None:
    other, value = clashes.NEEDS[name]
    unsuitable = {"responses": ["--api", "chat"], "text": ["--format", "json"]}.get(value or "", [])
    message = refused(*words_for(name), *unsuitable, *([] if name == "resume" else ["hi"]))
    assert (
        message
        == f"oastream: bad usage: {clashes.in_cli_form(name)} needs {clashes.in_cli_form(other)} {value or ''}".rstrip()
    )


@pytest.mark.parametrize(("mode", "name"), LEFT_OUT)
def test_an_option_that_a_run_of_this_kind_leaves_out_exits_2(mode: str, name: str) -> None:
    message = refused(*words_for(mode), *words_for(name))
    assert clashes.in_cli_form(mode) in message
    assert ("prompt" if name == "prompt" else clashes.in_cli_form(name)) in message


@pytest.mark.parametrize(("first", "second"), clashes.EXCLUSIVE)
def test_two_options_that_exclude_each_other_exit_2(first: str, second: str) -> None:
    message = refused(*words_for(first), *words_for(second), *(["--format", "tools"] if first == "eager" else []))
    assert message.endswith("exclude each other")


@pytest.mark.parametrize(
    "variables",
    [
        {"OASTREAM_KEEP_PARTIAL": "1"},
        {"OASTREAM_EAGER": "1"},
        {"OASTREAM_REALTIME": "1"},
        {"OASTREAM_NO_WAIT": "1"},
        {"OASTREAM_ATTACH_TYPE": "image/png"},
        {"OASTREAM_BACKGROUND": "1", "OASTREAM_API": "chat"},
        {"OASTREAM_PREVIOUS_RESPONSE_ID": "resp_1", "OASTREAM_API": "chat"},
    ],
)
def test_an_option_without_effect_is_silent_in_a_variable(variables: dict[str, str]) -> None:
    result = run("hi", env=variables)
    assert (result.status, result.out, result.err) == (0, b"hi\n", "")


def test_an_option_without_effect_is_silent_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "oastream").mkdir()
    (tmp_path / "oastream/config.toml").write_text('background = true\neager = true\n[profile.p]\napi = "chat"\n')
    result = run("--profile", "p", "hi", env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert (result.status, result.out, result.err) == (0, b"hi\n", "")


def test_of_two_that_exclude_each_other_the_nearer_counts(tmp_path: Path) -> None:
    history = tmp_path / "chat.jsonl"
    with serve(sse_response(responses_body(message("ok")))) as server:
        args = ("--base-url", server.url, "--previous-response-id", "resp_1", "hi")
        result = run(*args, env={"OASTREAM_HISTORY": str(history)})
        assert (result.status, result.out, result.err) == (0, b"ok\n", "")
        assert server.request.json["previous_response_id"] == "resp_1"
    assert not history.exists()


@pytest.mark.parametrize("words", [["-"], ["Sum up:", "-"], ["-f", "-"], ["-s", "@-", "hi"]])
def test_a_dash_on_the_command_line_beats_a_no_stdin_from_elsewhere(words: list[str]) -> None:
    result = forked.oastream(*words, stdin=b"text\n", env={**MOCK, "OASTREAM_NO_STDIN": "1"})
    assert (result.status, result.err) == (0, "")
    assert forked.oastream("-n", *words, stdin=b"text\n", env=MOCK).status == 2


def test_a_list_of_models_looks_at_no_default_that_is_about_answers(tmp_path: Path) -> None:
    env = {"OASTREAM_FORMAT": "sse", "OASTREAM_HISTORY": str(tmp_path / "chat"), "OASTREAM_SCHEMA": "/nonexistent"}
    result = run("--list-models", env=env)
    assert (result.status, result.out, result.err) == (0, b"mock\n", "")


def test_what_happens_anyway_may_be_asked_for(tmp_path: Path) -> None:
    assert run("--hold", "-o", str(tmp_path / "answer"), "hi").status == 0
    assert run("--background", "--detach", "hi").status == 0


@pytest.mark.parametrize("name", sorted(o.opts[0] for o in OPTIONS if not o.is_flag and not o.count))
def test_an_empty_value_exits_2_and_names_the_option(name: str) -> None:
    words = [f"{name}="] if name in options_table.OPTIONAL_VALUE else [name, ""]
    assert name in refused(*words, "hi")


@pytest.mark.parametrize("option", ["--dry-run", "--show-config"])
def test_a_command_line_may_be_looked_at_whatever_it_asks_for(option: str, tmp_path: Path) -> None:
    result = run(option, "-o", str(tmp_path / "answer"), "--hold", "--format", "json", "--stats", "hi")
    assert (result.status, result.err) == (0, "")


@pytest.mark.parametrize(("option", "short"), [("--file", "-f"), ("--attach", "-a")])
def test_a_file_that_a_pattern_put_among_the_words_exits_2(option: str, short: str, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text\n")
    args = (option, str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "Summarise")
    result = run(*args)
    assert (result.status, result.out) == (2, b"")
    assert f"{tmp_path}/b.txt is a file" in result.message
    assert f"its own {short}" in result.message
    assert "-- " in result.err.splitlines()[1]


def test_a_word_after_two_dashes_may_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text\n")
    path = str(tmp_path / "a.txt")
    assert run("-f", path, "--", path).text == f"{path}\n\ntext\n"


def test_a_word_that_names_a_file_is_a_word_where_no_file_is_attached(tmp_path: Path) -> None:
    assert run(str(tmp_path / "a.txt"), env={"OASTREAM_FILE": "/dev/null"}).status == 0
    (tmp_path / "a.txt").write_text("text\n")
    assert run(str(tmp_path / "a.txt")).text == f"{tmp_path}/a.txt\n"
