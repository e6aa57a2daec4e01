"""Benchmarks, side by side in one run: `python -m tests.bench` prints the tables, `--write` puts them into the README.

`measure` runs the command lines of `peers` in turn against `server`; `report` and `plot` show what came of it. Peers
come from the registry into an environment of their own (`--venv DIR`, made when it is missing). Absolute times vary by
machine and mood, so every figure stands beside oastream's of the same run.
"""
