"""Defaults come from variables, a profile and a file, in that order; --show-config tells which it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oastream.cli import options_table
from oastream.cli.help import PLACES
from oastream.cli.option import Option
from tests.docs.declared import PROGRAMS, Takes
from tests.support.program import CANARY, NOTHING, ROOT, Environment, Result, imported_modules, oastream
from tests.support.streams import message, responses_body
from tests.support.wire import Request, Server, serve, sse_response

ANSWER = sse_response(responses_body(message("ok")))


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(ANSWER) as running:
        yield running


class Home:
    """A configuration directory of its own."""

    def __init__(self, path: Path) -> None:
        self.file = path / "oastream" / "config.toml"
        self.env: Environment = {"XDG_CONFIG_HOME": str(path)}

    def write(self, text: str | bytes) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())

    def run(self, *args: str, env: Environment = NOTHING) -> Result:
        return oastream(*args, env={**self.env, **env})

    def shown(self, *args: str, env: Environment = NOTHING) -> dict[str, Any]:
        """What --show-config says, as JSON."""
        result = self.run("--show-config", "--format", "json", *args, env=env)
        assert (result.status, result.err) == (0, ""), result
        shown: dict[str, Any] = json.loads(result.out)
        return shown


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def sent(home: Home, *args: str, env: Environment = NOTHING) -> Request:
    with serve(ANSWER) as server:
        result = home.run("--base-url", server.url, *args, "hello", env=env)
        assert (result.status, result.out, result.err) == (0, b"ok\n", "")
        return server.request


def refused(home: Home, *args: str, env: Environment = NOTHING, names: str = "") -> Result:
    """A run that the configuration ends before anything is sent, with one line."""
    result = home.run(*args, "--base-url", "http://127.0.0.1:1/v1", "hello", env=env)
    assert (result.status, result.out) == (6, b""), result
    assert len(result.err.splitlines()) <= 2
    assert names in result.message
    return result


# The order

LAYERED = 'model = "from-file"\n[profile.work]\nmodel = "from-profile"\n'


def test_the_file_is_below_the_profile_below_the_environment_below_the_options(home: Home) -> None:
    home.write(LAYERED)
    env = {"OASTREAM_MODEL": "from-environment"}
    assert sent(home).json["model"] == "from-file"
    assert sent(home, "--profile", "work").json["model"] == "from-profile"
    assert sent(home, "--profile", "work", env=env).json["model"] == "from-environment"
    assert sent(home, "--profile", "work", "-m", "from-option", env=env).json["model"] == "from-option"


def test_the_profile_may_come_from_the_environment(home: Home) -> None:
    home.write(LAYERED + '[profile.other]\nmodel = "other"\n')
    assert sent(home, env={"OASTREAM_PROFILE": "work"}).json["model"] == "from-profile"
    assert sent(home, "--profile", "other", env={"OASTREAM_PROFILE": "work"}).json["model"] == "other"


def test_without_xdg_config_home_the_file_is_below_home(tmp_path: Path) -> None:
    Home(tmp_path / ".config").file.parent.mkdir(parents=True)
    Home(tmp_path / ".config").write('model = "from-home"')
    for xdg in (None, "", "relative"):
        home = Home(tmp_path)
        home.env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": xdg}
        assert sent(home).json["model"] == "from-home"


def test_the_base_url_of_a_profile_beats_openai_base_url(home: Home, server: Server) -> None:
    home.write(f'[profile.work]\nbase_url = "{server.url}"\n')
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    assert home.run("--profile", "work", "hello", env=env).status == 0
    assert home.run("hello", env={**env, "OASTREAM_BASE_URL": server.url}).status == 0


def test_the_nearer_key_counts_whether_file_or_command(home: Home, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-CANARY-file\n")
    home.write(f'api_key_file = "{tmp_path}/key"\n[profile.work]\napi_key_cmd = "echo sk-CANARY-profile"\n')
    assert sent(home).headers["authorization"] == "Bearer sk-CANARY-file"
    assert sent(home, "--profile", "work").headers["authorization"] == "Bearer sk-CANARY-profile"
    option = ("--profile", "work", "--api-key-file", f"{tmp_path}/key")
    assert sent(home, *option).headers["authorization"] == "Bearer sk-CANARY-file"
    by_variable = sent(home, "--profile", "work", env={"OASTREAM_API_KEY_FILE": f"{tmp_path}/key"})
    assert by_variable.headers["authorization"] == "Bearer sk-CANARY-file"


# What the file may say


def test_a_key_may_be_spelled_with_dashes_or_by_an_options_other_name(home: Home) -> None:
    home.write('max-tokens = 70\ninstructions = "Be brief."\ntop_p = 1\n')
    body = sent(home).json
    assert (body["max_output_tokens"], body["instructions"], body["top_p"]) == (70, "Be brief.", 1)


def test_every_kind_of_option_has_its_toml(home: Home, tmp_path: Path) -> None:
    (tmp_path / "extra.txt").write_text("from the file")
    home.write(
        f"""
        temperature = 0.25
        file = ["{tmp_path}/extra.txt"]
        ok = ["length", 13]
        no_stdin = true
        stats = "json"
        verbose = 0
        [header]
        X-Title = "a title"
        [set]
        seed = 7
        user = "7"
        metadata = {{ a = "b" }}
        """
    )
    with serve(ANSWER) as server:
        result = home.run("--base-url", server.url, "hello")
        request = server.request
    assert (result.status, result.out) == (0, b"ok\n")
    assert json.loads(result.err)["attempts"] == 1
    assert request.headers["x-title"] == "a title"
    wanted = {"temperature": 0.25, "seed": 7, "user": "7", "metadata": {"a": "b"}}
    assert {name: request.json[name] for name in wanted} == wanted
    assert "from the file" in request.json["input"]


def test_a_repeatable_option_may_be_a_list_of_texts(home: Home) -> None:
    home.write('header = ["X-A: 1", "X-B: two words"]\nset = "seed=7"\n')
    request = sent(home)
    assert (request.headers["x-a"], request.headers["x-b"], request.json["seed"]) == ("1", "two words", 7)


def test_a_path_may_begin_with_the_home_directory(home: Home, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-CANARY-home")
    (tmp_path / "system").write_text("Be brief.")
    home.write('api_key_file = "~/key"\nsystem = "@~/system"\n')
    request = sent(home, env={"HOME": str(tmp_path)})
    assert request.headers["authorization"] == "Bearer sk-CANARY-home"
    assert request.json["instructions"] == "Be brief."


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('modle = "x"', "model"),
        ('[profiles.work]\nmodel = "x"', "did you mean profile?"),
        ('model = ""', "model"),
        ("profile = 7", "config.toml"),
        ("model = 7", "model"),
        ("hold = 1", "hold"),
        ('hold = "yes"', "hold"),
        ('retry = "2"', "retry"),
        ("retry = 1.5", "retry"),
        ("retry = -1", "retry"),
        ("temperature = nan", "temperature"),
        ("max_time = 1979-05-27", "max_time"),
        ("header = [1]", "header"),
        ('header = ["no colon"]', "header"),
        ("header = { X-A = 1 }", "header"),
        ("set = { when = 1979-05-27 }", "set"),
        ('api = "soap"', "api"),
        ('ok = ["fine"]', "ok"),
        ('ok = [["length"]]', "ok"),
        ('base_url = "ftp://x"', "base-url"),
        ('model = "a"\nmodel = "b"', "config.toml"),
        ("max-tokens = 1\nmax_output_tokens = 2", "max"),
        ('show_config = "x"', "show_config"),
        ("help = true", "help"),
    ],
)
def test_a_file_that_is_off_exits_6_and_names_what(home: Home, text: str, names: str) -> None:
    home.write(text)
    result = home.run("hello")
    assert (result.status, result.out) == (6, b""), result
    assert names in result.message
    assert "config.toml" in result.message
    assert len(result.err.splitlines()) == 1


def test_broken_toml_is_named_by_line_and_column(home: Home) -> None:
    home.write('model = "x"\nretry 2\n')
    message = refused(home, names="config.toml").message
    assert "line 2" in message
    assert "column" in message


def test_a_file_that_is_not_utf8_is_named_by_offset(home: Home) -> None:
    home.write(b'model = "\xff"\n')
    assert "offset 9" in refused(home, names="config.toml").message


def test_a_file_that_cannot_be_read_exits_6(home: Home) -> None:
    home.file.mkdir(parents=True)
    refused(home, names="config.toml")


def test_a_mistake_in_a_profile_counts_only_where_it_is_used(home: Home) -> None:
    home.write('[profile.good]\nmodel = "m"\n[profile.bad]\nmodle = "m"\n')
    assert sent(home, "--profile", "good").json["model"] == "m"
    assert "bad" in refused(home, "--profile", "bad", names="modle").message


@pytest.mark.parametrize("text", [None, "", '[profile.work]\nmodel = "m"\n', '[profile]\nwrk = "m"\n'])
def test_an_unknown_profile_exits_6(home: Home, text: str | None) -> None:
    if text is not None:
        home.write(text)
    refused(home, "--profile", "wrk", names="wrk")
    refused(home, env={"OASTREAM_PROFILE": "wrk"}, names="wrk")


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = "{CANARY}"',
        f'api-key = "{CANARY}"',
        f'[profile.p]\napi_key = "{CANARY}"',
        f'header = ["Authorization: Bearer {CANARY}"]',
        f'header = ["Helicone-Auth: Bearer {CANARY}"]',
        f'header = {{ api-key = "{CANARY}" }}',
    ],
)
def test_the_file_holds_no_key_as_text(home: Home, text: str) -> None:
    home.write(text)
    result = refused(home, *(["--profile", "p"] if "profile" in text else []))
    assert "api_key_file" in result.err


def test_a_header_of_the_file_that_lacks_its_colon_is_not_repeated(home: Home) -> None:
    home.write(f'header = ["X-Token {CANARY}"]')
    assert CANARY not in refused(home).err


# Variables


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("OASTREAM_MODEL", "m", "model", "m"),
        ("OASTREAM_MAX_OUTPUT_TOKENS", "70", "max_output_tokens", 70),
        ("OASTREAM_TEMPERATURE", "0.5", "temperature", 0.5),
        ("OASTREAM_SYSTEM", "Be brief.", "instructions", "Be brief."),
        ("OASTREAM_SET", "seed=7\nuser=two words", "user", "two words"),
        ("OASTREAM_BODY", '{"user":"u"}', "user", "u"),
        ("OASTREAM_MODEL", "", "model", "gpt-5-mini"),
    ],
)
def test_an_option_has_a_variable(home: Home, variable: str, text: str, field: str, value: object) -> None:
    assert sent(home, env={variable: text}).json[field] == value


def test_a_repeatable_options_variable_has_one_value_a_line(home: Home) -> None:
    request = sent(home, env={"OASTREAM_HEADER": "X-A: two words\nX-B: 2\n"})
    assert (request.headers["x-a"], request.headers["x-b"]) == ("two words", "2")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OASTREAM_RETRY", "many"),
        ("OASTREAM_FORMAT", "xml"),
        ("OASTREAM_HOLD", "perhaps"),
        ("OASTREAM_HEADER", "no colon"),
        ("OASTREAM_MAX_TIME", "inf"),
        ("OASTREAM_OK", "fine"),
        ("OASTREAM_VERBOSE", "very"),
    ],
)
def test_a_bad_variable_exits_6_and_is_named(home: Home, variable: str, text: str) -> None:
    refused(home, env={variable: text}, names=variable)


@pytest.mark.parametrize(
    ("variable", "text", "why"),
    [
        ("OASTREAM_RETRY", "many", "'many' is not a whole number of at least 0"),
        ("OASTREAM_VERBOSE", "very", "'very' is not a whole number of at least 0"),
        ("OASTREAM_HOLD", "perhaps", "it must be 1 or 0, not 'perhaps'"),
    ],
)
def test_a_bad_variable_is_told_what_it_must_be(home: Home, variable: str, text: str, why: str) -> None:
    assert refused(home, env={variable: text}, names=variable).message.endswith(f"{variable}: {why}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('file = ["a.txt", 5]', "a text or a list of texts, not a list that holds a text and a number"),
        ("header = { X-Try = 5 }", "a list of texts or a table of texts, not a table that holds a number"),
        ("file = { a = 1 }", "a text or a list of texts, not a table that holds a number"),
    ],
)
def test_a_bad_member_of_a_list_or_table_is_named(home: Home, text: str, why: str) -> None:
    home.write(text)
    assert refused(home).message.endswith(why)


def test_a_mock_url_is_named_once_when_it_is_none(home: Home) -> None:
    assert home.run("--base-url", "mock:x", "hello").err.count("mock:x") == 1


def test_a_bad_openai_base_url_exits_6(home: Home) -> None:
    result = home.run("hello", env={"OPENAI_BASE_URL": "ftp://x"})
    assert result.status == 6
    assert "OPENAI_BASE_URL" in result.message


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OASTREAM_BASE_URL"])
def test_a_mock_that_cannot_be_is_the_mistake_of_whoever_names_it(home: Home, variable: str) -> None:
    result = home.run("hello", env={variable: "mock:?end=nonsense"})
    assert (result.status, result.out) == (6, b"")
    assert variable in result.message
    assert home.run("--base-url", "mock:?end=nonsense", "hello").status == 2


def test_a_bad_option_exits_2_also_when_the_configuration_is_bad(home: Home) -> None:
    home.write("nonsense")
    assert home.run("--retry", "many", "hello", env={"OASTREAM_HOLD": "perhaps"}).status == 2


def test_an_option_hides_a_bad_variable(home: Home) -> None:
    assert sent(home, "--retry", "0", env={"OASTREAM_RETRY": "many"})


def test_a_bad_configuration_has_an_end_record(home: Home) -> None:
    home.write("nonsense")
    result = home.run("--format", "ndjson", "hello")
    assert (result.status, result.end["exit"], result.end["outcome"]) == (6, 6, "config")
    result = home.run(
        "hello", env={"XDG_CONFIG_HOME": "/nonexistent", "OASTREAM_FORMAT": "ndjson", "OASTREAM_RETRY": "x"}
    )
    assert (result.status, result.end["outcome"]) == (6, "config")


def test_help_is_there_whatever_the_configuration_says(home: Home) -> None:
    home.write("nonsense")
    assert home.run("--help", env={"OASTREAM_RETRY": "x"}).status == 0


# Without the file, without a flag


def test_no_config_ignores_the_file_and_its_mistakes(home: Home) -> None:
    home.write('model = "from-file"\nformat = "json"\n')
    assert sent(home, "--no-config").json["model"] == "gpt-5-mini"
    home.write("nonsense")
    assert sent(home, "--no-config").json["model"] == "gpt-5-mini"
    assert sent(home, "--no-config", env={"OASTREAM_MODEL": "from-environment"}).json["model"] == "from-environment"


def test_no_config_leaves_a_file_that_cannot_be_read_alone(home: Home) -> None:
    home.file.mkdir(parents=True)
    assert sent(home, "--no-config")


@pytest.mark.parametrize("order", [("--no-config", "--profile", "work"), ("--profile", "work", "--no-config")])
def test_a_profile_has_no_effect_without_the_file(home: Home, order: tuple[str, ...]) -> None:
    home.write(LAYERED)
    result = home.run(*order, "--base-url", "mock:", "hi")
    assert (result.status, result.out) == (2, b"")
    assert "--profile" in result.message
    assert sent(home, "--no-config", env={"OASTREAM_PROFILE": "work"}).json["model"] == "gpt-5-mini"


SWITCHES = [option for group in options_table.OPTIONS.values() for option in group if option.is_flag or option.count]
ACTIONS = {"--help", "--help-all", "--version", "--show-config", "--list-models"}
NEGATIONS = {"--no-stdin", "--no-wait", "--no-config"}


def test_every_flag_but_an_action_can_be_taken_back() -> None:
    assert {option.opts[-1] for option in SWITCHES if option.opposite is None} == ACTIONS | NEGATIONS


@pytest.mark.parametrize("option", [o for o in SWITCHES if o.opposite], ids=lambda option: option.name)
def test_a_flag_of_file_and_environment_is_taken_back(home: Home, option: Option) -> None:
    assert option.opposite is not None
    home.write(f"{option.name} = {2 if option.count else 'true'}\n")
    assert home.shown()[option.name.replace("_", "-")]["value"]
    variable = {f"OASTREAM_{option.name.upper()}": "1"}
    taken_back = home.shown(option.opposite, env=variable)[option.name.replace("_", "-")]
    assert (taken_back["value"], taken_back["source"]) == (0 if option.count else False, "command line")
    assert home.shown(option.opposite, option.opts[-1])[option.name.replace("_", "-")]["value"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_can_take_back_its_flags_and_says_so(program: str) -> None:
    flags = {
        option.long[-1]: option.opposite for option in PROGRAMS[program]().options if option.takes is Takes.NOTHING
    }
    opposites = {flag: f"--no-{flag.removeprefix('--')}" for flag in set(flags) - ACTIONS - NEGATIONS}
    assert {flag: opposite for flag, opposite in flags.items() if opposite is not None} == opposites
    for path in PLACES.values():
        text = (ROOT / path.format(program)).read_text().replace("\\-", "-")
        assert [name for name in opposites.values() if name.removeprefix("--") not in text] == []


def test_an_action_cannot_be_taken_back(home: Home) -> None:
    assert home.run("--no-help", "hi").status == 2
    assert home.run("--no-no-stdin", "hi").status == 2


# --show-config


def test_show_config_names_every_source(home: Home) -> None:
    home.write("retry = 5\n[profile.work]\ntop_p = 0.5\n")
    shown = home.shown("--profile", "work", "-m", "m", env={"OASTREAM_API": "chat"})
    assert shown["model"] == {"value": "m", "source": "command line", "name": None}
    assert shown["api"] == {"value": "chat", "source": "environment", "name": "OASTREAM_API"}
    assert shown["top-p"] == {"value": 0.5, "source": "profile", "name": "work"}
    assert shown["retry"] == {"value": 5, "source": "file", "name": str(home.file)}
    assert shown["hold"] == {"value": False, "source": "default", "name": None}
    assert shown["profile"] == {"value": "work", "source": "command line", "name": None}


def test_show_config_names_openai_base_url(home: Home) -> None:
    url = "http://127.0.0.1:1/v1"
    shown = home.shown(env={"OPENAI_BASE_URL": url})["base-url"]
    assert shown == {"value": url, "source": "environment", "name": "OPENAI_BASE_URL"}


def test_show_config_has_a_line_an_option(home: Home) -> None:
    result = home.run("--show-config", "-m", "some model", env={"OPENAI_API_KEY": None})
    assert (result.status, result.err) == (0, "")
    lines = {line.split()[0]: line for line in result.text.splitlines()}
    assert lines["model"].split("  ")[-1].strip() == "command line"
    assert "some model" in lines["model"]
    assert {"base-url", "header", "ok", "max-time", "profile"} <= set(lines)
    assert not {"help", "version", "prompt", "show-config"} & set(lines)


def test_show_config_names_the_default_model(home: Home) -> None:
    assert home.shown()["model"] == {"value": "gpt-5-mini", "source": "default", "name": None}


def test_show_config_names_where_the_key_comes_from_and_not_the_key(home: Home, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    key = {"value": "[redacted]", "source": "environment", "name": "OPENAI_API_KEY"}
    assert home.shown()["api-key"] == key
    assert home.shown("--api-key-file", f"{tmp_path}/key")["api-key"]["source"] == "command line"
    by_variable = home.shown(env={"OASTREAM_API_KEY_FILE": f"{tmp_path}/key"})["api-key"]
    assert by_variable["name"] == "OASTREAM_API_KEY_FILE"
    assert home.shown(env={"OPENAI_API_KEY": None})["api-key"]["value"] is None
    assert home.shown("--provider", "azure")["api-key"]["value"] is None


def test_show_config_sends_nothing_and_reads_no_stdin(home: Home, server: Server) -> None:
    args = ("--show-config", "--base-url", server.url)
    result = oastream(*args, stdin=b"", env={**home.env, "OPENAI_API_KEY": None, "OASTREAM_API_KEY_CMD": "exit 3"})
    assert (result.status, server.connections) == (0, 0)


def test_show_config_redacts_secrets(home: Home) -> None:
    home.write(f'api_key_cmd = "echo {CANARY}"\n')
    shown = home.shown(
        "--header", f"Authorization: Bearer {CANARY}", "--header", f"api-key: {CANARY}", "--header", "X-A: b"
    )
    assert shown["header"]["value"] == ["Authorization: Bearer [redacted]", "api-key: [redacted]", "X-A: b"]
    command = {"value": "echo [redacted]", "source": "file", "name": str(home.file)}
    assert shown["api-key-cmd"] == command
    by_variable = home.shown(env={"OASTREAM_API_KEY_CMD": f"echo {CANARY}"})["api-key-cmd"]
    assert by_variable == command | {"source": "environment", "name": "OASTREAM_API_KEY_CMD"}
    assert home.run("--show-config", "--set", f"user={CANARY}").status == 0


def test_show_config_with_a_bad_configuration_exits_6(home: Home) -> None:
    assert home.run("--show-config", env={"OASTREAM_RETRY": "x"}).status == 6
    assert home.run("--show-config", "--profile", "none").status == 6


def test_the_profiles_of_the_man_page_are_profiles(home: Home) -> None:
    page = (ROOT / "tests/docs/oastream.1.in").read_text()
    examples = next(block.split("@END")[0] for block in page.split("@PLAIN\n") if "[profile.ollama]" in block)
    home.write(examples)
    names = [line[9:-1] for line in examples.splitlines() if line.startswith("[profile.")]
    assert len(names) == 8
    for name in names:
        assert home.shown("--profile", name)["base-url"]["name"] == name


# Costs


def test_without_a_file_nothing_of_it_is_loaded(home: Home, server: Server) -> None:
    assert "tomllib" not in imported_modules("--base-url", server.url, "hello", env=home.env)
