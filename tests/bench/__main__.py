"""`python -m tests.bench [--venv DIR] [--runs N] [--write]`: see the package's docstring."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from tests.bench.goals import all_goals, missed
from tests.bench.measure import Place, why_uncounted
from tests.bench.peers import Peers
from tests.bench.plot import bars
from tests.bench.report import full_report, short_table, spread, with_figures
from tests.bench.rows import Row
from tests.bench.trials import FULL, QUICK, Bench, Plan, all_rows
from tests.bench.trust import make_trust

ROOT = Path(__file__).parents[2]
PLOT, FIGURES = (Path(__file__).with_name(name) for name in ("figures.svg", "FIGURES.md"))
PROGRAMS = ("bash", "cat", "curl", "head", "jq", "openssl", "sed", "seq", "xargs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure oastream beside its peers.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="environment for the peers")
    parser.add_argument("--runs", type=int, default=7, help="of each command, of the long ones half; 1: quick, short")
    parser.add_argument("--write", action="store_true", help="put the figures into README.md, FIGURES.md, figures.svg")
    given = parser.parse_args()
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        parser.error(f"not installed: {', '.join(missing)}")
    if given.write and given.runs < 3:
        parser.error("--write needs three runs of each or more")
    peers = Peers.installed(given.venv.absolute(), ROOT)
    plan = FULL if given.runs > 1 else QUICK
    began, load = time.monotonic(), os.getloadavg()[0]
    with prepared(peers, plan, given.runs) as bench:
        rows = list(shown(all_rows(bench)))
    place = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    whole = full_report(f"{place}, load before {load:.1f}", why_uncounted(), all_goals(plan), rows)
    table = short_table(rows, peers.versions())
    print(f"\n{whole}\n{table}\n{place}: {(time.monotonic() - began) / 60:.1f} minutes. {spread(rows)}")
    for goal in missed(all_goals(plan), rows):
        print(f"does not hold: {goal.key}: {goal.what}")
    if given.write:
        write(place, table, whole, bars(rows, place))


def write(place: str, table: str, whole: str, plot: str) -> None:
    readme = ROOT / "README.md"
    readme.write_text(with_figures(readme.read_text(), place, table))
    FIGURES.write_text(whole)
    PLOT.write_text(plot)


def shown(rows: Iterator[Row]) -> Iterator[Row]:
    """Say what is done: it takes minutes."""
    for row in rows:
        print(f"{time.strftime('%H:%M:%S')} {row.figure.what}", file=sys.stderr, flush=True)
        yield row


@contextmanager
def prepared(peers: Peers, plan: Plan, runs: int) -> Iterator[Bench]:
    """A server, certificates, and a place that has nothing of the user's: no proxies, no configuration, no keys."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "home")
        empty = Path(folder, "empty")
        trust = make_trust(Path(folder))
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "OPENAI_API_KEY": "none"}
        environment["LLM_USER_PATH"] = str(home)
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        trusts = {
            "the system's certificates in folder and file": trust.folder_and_file,
            "the system's certificates in a file alone": trust.file_alone,
        }
        for path in (home, empty):
            path.mkdir()
        with running_server(trust.certificate, trust.key, plan) as host:
            model = f"- model_id: bench\n  model_name: m\n  api_base: http://{host}/burst/{plan.few}/v1\n"
            (home / "extra-openai-models.yaml").write_text(model)
            yield Bench(peers, host, plan, Place(environment, empty), trusts, runs, why_uncounted() is None)


@contextmanager
def running_server(certificate: Path, key: Path, plan: Plan) -> Iterator[str]:
    """The benchmark's server; its host and port."""
    command = [sys.executable, "-m", "tests.bench.server", str(certificate), str(key), *plan.prepared()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


if __name__ == "__main__":
    main()
