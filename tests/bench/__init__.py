"""Benchmarks, side by side in one run: `python -m tests.bench` prints the tables, `--write` puts them into the README.

`trials` declares what is measured, a function for each set of `rows`; `measure` runs the command lines of `peers`
against `server` (`streams` is what it sends, `trust` has its certificate trusted). `goals` says what the figures must
reach; `report` and `plot` show what came of it, short in the README, all of it in FIGURES.md. Peers come from the
registry into an environment of their own (`--venv DIR`, made when it is missing). Absolute times vary by machine and
mood, so every figure stands beside oastream's of the same run, and the spread of its runs says how quiet the machine
was. A run takes about ten minutes on two cores; `--runs 1` measures shorter streams once, to see that all of it works.
"""
