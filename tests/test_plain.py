"""A command line that is read without Click has the options that Click would have read, or is left to Click."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oastream.cli.options_table import OPTIONS
from oastream.cli.parse import parse
from oastream.cli.plain import parse_plain
from oastream.cli.plain_table import ALONE, VALUED
from oastream.cli.print_and_exit import PrintAndExit
from oastream.exits import Failure
from oastream.options import Options
from tests.support.program import imported_modules
from tests.support.streams import message, responses_body
from tests.support.wire import serve, sse_response

DECLARED = [option for group in OPTIONS.values() for option in group]
NAMES = sorted({name for option in DECLARED for name in (*option.opts, option.opposite or "--no-such")})
VALUES = (
    *("", "-", "--", "x", "-x", "-1", "0", "1", "1.5", " 7 ", "1_000", "٣", "nan", "inf", "1e400", "--hold", "-m"),
    *(
        "text",
        "json",
        "ndjson",
        "TEXT",
        "chat",
        "auto",
        "never",
        "length,10",
        "nothing",
        "a=b",
        "=b",
        "A: b",
        "A b",
        ":",
    ),
    *("http://127.0.0.1:1/v1", "ftp://x", "mock:", "mock:?end=nothing", "local:", "@file", "a b", "é", "\udcff"),
)
values = st.sampled_from(VALUES) | st.text(max_size=3)
words = st.one_of(
    st.sampled_from(NAMES),
    values,
    st.builds("{}={}".format, st.sampled_from(NAMES), values),
    st.builds("{}{}".format, st.sampled_from([name for name in NAMES if len(name) == 2]), values),
)
"""What a word of a command line may be: options and what looks like them, with and without a value, and anything."""


@pytest.fixture(autouse=True)
def _nothing_is_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*os.environ]:
        if name.startswith(("OASTREAM_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def by_click(line: list[str]) -> Options | None:
    try:
        return parse(line)
    except (Failure, PrintAndExit):
        return None


@settings(max_examples=600, deadline=None)
@given(line=st.lists(words, max_size=6), base_url=st.sampled_from([None, "", "http://127.0.0.1:1/v1", "x", "mock:"]))
def test_what_is_read_without_click_is_what_click_reads(line: list[str], base_url: str | None) -> None:
    if base_url is None:
        os.environ.pop("OPENAI_BASE_URL", None)
    else:
        os.environ["OPENAI_BASE_URL"] = base_url
    plain = parse_plain(line, os.environ)
    assert plain is None or plain == by_click(line)


@pytest.mark.parametrize("option", [*ALONE, *VALUED])
def test_an_option_with_any_value_is_as_click_reads_it(option: str) -> None:
    for value in VALUES:
        for line in ([option, value, "words"], [f"{option}={value}"], ["words", option, value, option, value]):
            plain = parse_plain(line, os.environ)
            assert plain is None or plain == by_click(line), line


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["Why is the sky blue?"],
        ["-m", "gpt-5-mini", "-s", "Be brief", "Why", "is", "-", "blue?"],
        ["--api=chat", "--base-url", "http://127.0.0.1:1/v1", "--max-tokens", "5", "--", "-x"],
        ["-n", "--format", "ndjson", "--set", "seed=7", "--set", "user=me", "--header", "X-A: b"],
        ["-o", "file", "--hold", "--ok", "length,12", "--max-time", "600", "--retry=0", "--stats=json"],
        ["-x", "--stats", "-q", "Write a script"],
        ["-f", "a.txt", "-a", "b.png", "Summarise"],
    ],
)
def test_usual_command_lines_are_read_without_click(line: list[str]) -> None:
    plain = parse_plain(line, os.environ)
    assert plain is not None
    assert plain == by_click(line)


@pytest.mark.parametrize("environ", [{"OASTREAM_MODEL": "x"}, {"OASTREAM_HOLD": ""}])
def test_settings_of_the_environment_are_left_to_click(environ: Mapping[str, str]) -> None:
    assert parse_plain(["hi"], {**os.environ, **environ}) is None


def test_a_configuration_file_is_left_to_click(tmp_path: Path) -> None:
    (tmp_path / "oastream").mkdir()
    (tmp_path / "oastream" / "config.toml").write_text("hold = true\n")
    assert parse_plain(["hi"], os.environ) is None
    options = by_click(["hi"])
    assert options is not None
    assert options.hold


def test_a_word_that_is_a_file_beside_another_is_left_to_click(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a")
    assert parse_plain(["-f", str(file), str(file)], os.environ) is None


def test_a_run_of_a_usual_command_line_does_not_load_click() -> None:
    with serve(sse_response(responses_body(message("hi")))) as server:
        modules = imported_modules("--base-url", server.url, "-m", "gpt-5-mini", "--format", "ndjson", "hi")
    assert not {name for name in modules if name.partition(".")[0] == "click"}
