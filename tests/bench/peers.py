"""The command lines that are compared, and what is asked of them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
Command = list[str] | str
"""A command: its words, or a line for sh."""
US, SDK, LLM, CURL, PYTHON = "oastream", "openai SDK", "llm", "curl -N", "python -c pass"
JQ_R, SED_JQ = "curl -N, jq -R", "curl -N, sed -u, jq"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many events of each kind of stream. Rates are in events a second."""

    few: int
    burst: int
    paced: tuple[int, int]
    delayed: tuple[int, int]
    memory: tuple[int, ...]
    sdk_memory: int
    """The longest stream whose memory the SDK is asked to show: it takes minutes for a million events."""

    def bursts(self) -> list[int]:
        return [self.few, self.burst, *self.memory]


FULL = Plan(20, 100_000, (10_000, 5_000), (2_000, 500), (1_000, 100_000, 1_000_000), 100_000)


class Peers:
    """What each peer is called with, for the URL of a stream. `folder` holds the programs."""

    def __init__(self, folder: Path, home: Path, completions: Path) -> None:
        self._bin = folder
        self._home = home
        self._completions = completions

    @classmethod
    def installed(cls, venv: Path, root: Path) -> Peers:
        """The peers from the registry and oastream as it is, in an environment of their own."""
        folder = venv / "bin"
        if not (folder / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [str(folder / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, str(root), "llm"], check=True)
        subprocess.run([*pip, "--force-reinstall", "--no-deps", str(root)], check=True)
        return cls(folder, venv / "llm", root / "completions")

    def versions(self) -> dict[str, str]:
        """What the registry's peers are, by the names of their columns."""
        code = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
        done = subprocess.run(
            [self._bin / "python", "-c", code, "openai", "llm"], stdout=subprocess.PIPE, text=True, check=True
        )
        return dict(zip((SDK, LLM), done.stdout.split(), strict=True))

    def oastream(self, url: str, *options: str) -> Command:
        return [str(self._bin / "oastream"), "--base-url", f"{url}/v1", *options, "hi"]

    def sdk(self, url: str, api: str = "responses") -> Command:
        return [str(self._bin / "python"), str(HERE / "sdk.py"), f"{url}/v1", api]

    def llm(self, url: str) -> Command:
        self._home.mkdir(exist_ok=True)
        model = f"- model_id: bench\n  model_name: m\n  api_base: {url}/v1\n"
        (self._home / "extra-openai-models.yaml").write_text(model)
        home = shlex.quote(str(self._home))
        return f"LLM_USER_PATH={home} OPENAI_API_KEY=none exec {self._bin}/llm -m bench --no-log hi"

    def curl(self, url: str, then: str = "") -> Command:
        return f"curl -sN -X POST -H 'content-type: application/json' -d '{{}}' {url}/v1/responses{then}"

    def start(self, url: str) -> dict[str, Command]:
        return {
            US: self.oastream(url),
            SDK: self.sdk(url),
            LLM: self.llm(url),
            CURL: self.curl(url),
            PYTHON: [str(self._bin / "python"), "-c", "pass"],
        }

    def burst(self, url: str) -> dict[str, Command]:
        return {
            US: self.oastream(url),
            f"{US} --format ndjson": self.oastream(url, "--format", "ndjson"),
            f"{US} --api chat": self.oastream(url, "--api", "chat"),
            SDK: self.sdk(url),
            f"{SDK}, chat": self.sdk(url, "chat"),
            CURL: self.curl(url),
            JQ_R: self.curl(url, " | jq --unbuffered -R ."),
            SED_JQ: self.curl(url, " | sed -un 's/^data: //p' | jq --unbuffered -rj '.delta // empty'"),
        }

    def steady(self, url: str) -> dict[str, Command]:
        return {US: self.oastream(url), SDK: self.sdk(url), CURL: self.curl(url)}

    def memory(self, url: str) -> dict[str, Command]:
        kinds = ("", "--format ndjson", "--format sse", "--api chat", "--api chat --format ndjson")
        ours = {f"{US} {kind}".strip(): self.oastream(url, *kind.split()) for kind in kinds}
        return {**ours, SDK: self.sdk(url)}

    def help(self) -> dict[str, Command]:
        return {US: [str(self._bin / "oastream"), "--help"], LLM: [str(self._bin / "llm"), "--help"]}

    def tab(self) -> dict[str, Command]:
        """What a shell does when Tab is pressed after `--for`; each shell's own start is in it."""
        script = shlex.quote(str(self._completions / "oastream.bash"))
        words = "COMP_WORDS=(oastream --for) COMP_CWORD=1 COMP_LINE='oastream --for' COMP_POINT=14"
        ours = f"source {script}; {words}; _oastream; echo ${{COMPREPLY[@]}}"
        theirs = f"COMP_WORDS='llm --for' COMP_CWORD=1 _LLM_COMPLETE=bash_complete {self._bin}/llm"
        return {US: ["bash", "-c", ours], LLM: ["bash", "-c", theirs]}
