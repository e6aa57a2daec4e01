"""`python -m tests.bench [--venv DIR] [--runs N] [--write]`: see the package's docstring."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from datetime import date
from pathlib import Path

from tests.bench.measure import measured, server
from tests.bench.peers import FULL, Peers
from tests.bench.plot import bars
from tests.bench.report import long_table, short_table, with_figures

ROOT = Path(__file__).parents[2]
PLOT = Path(__file__).with_name("figures.svg")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure oastream beside its peers.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-bench", help="environment for the peers")
    parser.add_argument("--runs", type=int, default=7, help="of each command; of the long ones a third")
    parser.add_argument("--write", action="store_true", help="put the table into README.md and draw figures.svg")
    given = parser.parse_args()
    missing = [name for name in ("bash", "curl", "jq", "sed") if shutil.which(name) is None]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    peers = Peers.installed(given.venv, ROOT)
    place = f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{place}\n", flush=True)
    with server(FULL) as url:
        rows = measured(peers, url, FULL, given.runs)
    print(long_table(rows))
    print(short_table(rows, peers.versions()))
    if given.write:
        readme = ROOT / "README.md"
        readme.write_text(with_figures(readme.read_text(), place, short_table(rows, peers.versions())))
        PLOT.write_text(bars(rows, place))


if __name__ == "__main__":
    main()
