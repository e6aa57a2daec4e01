"""The command lines that are compared: plain usage, as each peer's own documentation has it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from tests.bench.measure import Command

HERE = Path(__file__).parent
Called = TypeVar("Called")
US, SDK, LLM, CURL, PYTHON = "oastream", "openai SDK", "llm", "curl -N", "python -c pass"
CHAT = ", chat"
"""What the names of peers end in where Chat Completions is asked; oastream has an option for it."""
JQ_R, SED_JQ, CAT = "curl -N, jq -R", "curl -N, sed -u, jq", ", cat"
FORMATS = ("text", "ndjson", "tools", "json", "sse")
APIS = ("responses", "chat")


def ours(api: str, format: str) -> str:
    """oastream's name in a row: with the options that are not its defaults."""
    return " ".join([US, *options_of(api, format)])


def with_api(peer: str, api: str) -> str:
    """Another peer's name in a row."""
    return f"{peer}{CHAT}" if api == "chat" else peer


def options_of(api: str, format: str) -> list[str]:
    """The options that are not defaults."""
    options = ["--api", api] if api != APIS[0] else []
    return [*options, "--format", format] if format != FORMATS[0] else options


class Peers:
    """What each peer is called with, for the URL of a stream. `folder` holds the programs."""

    def __init__(self, folder: Path, completions: Path, absent: frozenset[str] = frozenset()) -> None:
        """`absent` names those that no row is to have."""
        self._bin = folder
        self._completions = completions
        self._absent = absent

    @classmethod
    def installed(cls, venv: Path, root: Path) -> Peers:
        """The peers from the registry and oastream as it is, in an environment of their own."""
        folder = venv / "bin"
        if not (folder / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [str(folder / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, str(root), "openai", "llm"], check=True)
        subprocess.run([*pip, "--force-reinstall", "--no-deps", str(root)], check=True)
        return cls(folder, root / "completions")

    def present(self, commands: Mapping[str, Called]) -> dict[str, Called]:
        """Those of the commands whose peers are there."""
        return {name: command for name, command in commands.items() if name not in self._absent}

    def versions(self) -> dict[str, str]:
        """What the registry's peers are, by the names of their columns."""
        code = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
        done = subprocess.run(
            [self._bin / "python", "-c", code, "openai", "llm"], stdout=subprocess.PIPE, text=True, check=True
        )
        return dict(zip((SDK, LLM), done.stdout.split(), strict=True))

    def oastream(self, url: str, *options: str) -> list[str]:
        return [str(self._bin / "oastream"), "--base-url", f"{url}/v1", *options, "--", "hi"]

    def formats(self, url: str) -> dict[str, Command]:
        """Every format on both APIs. An answer without a call is as good as one with it."""
        commands: dict[str, Command] = {}
        for api in APIS:
            for format in FORMATS:
                accepted = ["--ok", "no_tool_calls"] if format == "tools" else []
                commands[ours(api, format)] = self.oastream(url, *options_of(api, format), *accepted)
        return commands

    def sdk(self, url: str, api: str = APIS[0]) -> list[str]:
        return [str(self._bin / "python"), str(HERE / "sdk.py"), f"{url}/v1", api]

    def llm(self) -> list[str]:
        """`write_models` says where its model is."""
        return [str(self._bin / "llm"), "-m", "bench", "--no-log", "hi"]

    def curl(self, url: str, api: str = APIS[0], prompt: str = "hi") -> list[str]:
        """As the API's own reference has it, without progress and without buffering."""
        headers = ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer none"]
        body = f'{{"model": "m", "input": "{prompt}", "stream": true}}'
        return ["curl", "-sN", f"{url}/v1/{'chat/completions' if api == 'chat' else api}", *headers, "-d", body]

    def curls(self, url: str) -> dict[str, Command]:
        return {with_api(CURL, api): self.curl(url, api) for api in APIS}

    def sdks(self, url: str) -> dict[str, Command]:
        return {with_api(SDK, api): self.sdk(url, api) for api in APIS}

    def python(self) -> list[str]:
        return [str(self._bin / "python"), "-c", "pass"]

    def pipelines(self, url: str) -> dict[str, Command]:
        """What is built of curl and jq instead."""
        text = "sed -un 's/^data: //p' | jq --unbuffered -rj '.delta // empty'"
        return {
            JQ_R: f"{shlex.join(self.curl(url))} | jq --unbuffered -R .",
            SED_JQ: f"{shlex.join(self.curl(url))} | {text}",
        }

    def piped(self, url: str) -> dict[str, Command]:
        commands = {US: self.oastream(url), CURL: self.curl(url)}
        return {f"{name}{CAT}": f"{shlex.join(command)} | cat" for name, command in commands.items()}

    def at_once(self, url: str, prompts: int, together: int) -> dict[str, Command]:
        """Many prompts through xargs, each a process of its own: the last word of each."""
        each = {
            US: f"-n 1 {shlex.join(self.oastream(url)[:-1])}",
            SDK: f"-n 1 {shlex.join(self.sdk(url))}",
            LLM: f"-n 1 {shlex.join(self.llm()[:-1])}",
            CURL: f"-I{{}} {shlex.join(self.curl(url, prompt='{}'))}",
        }
        return {name: f"seq {prompts} | xargs -P {together} {command}" for name, command in each.items()}

    def help(self) -> dict[str, Command]:
        return {US: [str(self._bin / "oastream"), "--help"], LLM: [str(self._bin / "llm"), "--help"]}

    def tab(self) -> dict[str, Command]:
        """What a shell does when Tab is pressed after `--for`; each shell's own start is in it."""
        script = shlex.quote(str(self._completions / "oastream.bash"))
        words = "COMP_WORDS=(oastream --for) COMP_CWORD=1 COMP_LINE='oastream --for' COMP_POINT=14"
        ours = f"source {script}; {words}; _oastream; echo ${{COMPREPLY[@]}}"
        theirs = f"COMP_WORDS='llm --for' COMP_CWORD=1 _LLM_COMPLETE=bash_complete {self._bin}/llm"
        return {US: ["bash", "-c", ours], LLM: ["bash", "-c", theirs]}
