"""Benchmarks, side by side in one run: `python -m tests.bench` prints the README's table, `--svg FILE` draws it.

Peers come from the registry into an environment of their own (`--venv DIR`, made when it is missing). Absolute times
vary by machine and mood, so every row is a ratio to oastream, measured in turn with it.
"""
