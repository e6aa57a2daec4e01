"""What a stream that is open takes in memory: thousands are, and the bar is 100 MB for 5,000 of them.

Counted in bytes that Python has allotted, which are the same on any machine, busy or not.
"""

from __future__ import annotations

import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oastream.batch.cli import parse
from oastream.batch.input import Item
from oastream.batch.prepare import Preparer
from oastream.batch.reading import Reader, Reading
from oastream.events.answer import Limits
from oastream.events.reply import Reply
from oastream.input.body import read_body_settings
from tests.bench.batch import answers_server, write_certificates, write_requests
from tests.support.program import NOTHING, run
from tests.support.streams import chat_chunks, message, responses_events, sse

WORDS = "word123 " * 100
"""Half an answer of 200 events."""
COUNT = 150

PEAKS_OF_RUNS = """
import os, sys, tracemalloc
from oastream.batch.cli import PROGRAM, parse
from oastream.batch.run import run_batch
from oastream.output.stderr import Reporter, Stderr
from oastream.watch import Watch

watch = Watch()
stderr = Stderr(watch)

def peak(options):
    tracemalloc.start()
    verdict = run_batch(options, os.environ, False, watch, stderr, Reporter(stderr, program=PROGRAM))
    _, size = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert verdict.outcome.value == "stop", verdict
    return size

print(*map(peak, [parse(words.split()) for words in sys.argv[1:]]))
"""


@pytest.mark.parametrize(("scheme", "most"), [("http", 18_000), ("https", 60_000)])
def test_an_open_stream_of_a_run_takes_few_bytes(tmp_path: Path, scheme: str, most: int) -> None:
    """On Chat, whose events are all looked at. The first run is for what is loaded once."""
    certificates: list[str] = []
    env = dict(NOTHING)
    if scheme == "https" and shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes the certificate")
    if scheme == "https":
        certificates = write_certificates(tmp_path)
        env["SSL_CERT_FILE"] = certificates[0]
    words = []
    with answers_server(certificates) as host:
        for number, count in enumerate((1, COUNT)):
            requests = write_requests(tmp_path / f"{number}.jsonl", count, "chat")
            url = f"{scheme}://{host}/open/200/{count}/v1"
            words.append(f"{requests} -o {tmp_path}/answers-{number}.jsonl --base-url {url} -j {count} --no-config")
        result = run([sys.executable, "-c", PEAKS_OF_RUNS, *words], env=env)
    assert result.status == 0, result
    _, peak = map(int, result.out.split())
    assert 1_000 < peak / COUNT < most


def responses_reading(reader: Reader, reply: Reply) -> Reading:
    return reader.responses(0.0, reply, False)


def chat_reading(reader: Reader, reply: Reply) -> Reading:
    return reader.chat(0.0, reply, 1, False)


@pytest.mark.parametrize(
    ("new_reading", "events", "most"),
    [
        (responses_reading, responses_events(message(WORDS), piece=8)[:-4], 6_000),
        (chat_reading, chat_chunks(WORDS, piece=8, finish=None, usage=None), 9_000),
    ],
    ids=["responses", "chat"],
)
def test_half_an_answer_takes_few_bytes_when_many_are_open(
    new_reading: Callable[[Reader, Reply], Reading], events: list[Any], most: int
) -> None:
    """Each of the deltas as a string of its own would be 6 kB, and 20 kB are the events as they come."""
    pieces = [sse([event]) for event in events]
    reader = Reader(Limits(), 1 << 24)
    before, after = 250, 350
    readings: list[Reading] = []
    tracemalloc.start()
    try:
        sizes = []
        for count in (before, after):
            while len(readings) < count:
                reading = new_reading(reader, Reply(prints_deltas=False, keep_text=True))
                for piece in pieces:
                    for _ in reading.answer.feed(piece):
                        pass
                readings.append(reading)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert 500 < (sizes[1] - sizes[0]) / (after - before) < most


def test_a_short_request_takes_no_more_than_it_has() -> None:
    """orjson's bytes hold on to what was set aside for them: the request of an item is a copy of its own."""
    settings = read_body_settings(parse(["--no-config"]).request, lambda path: "")
    preparer = Preparer(settings, {}, "responses", Reader(Limits(), 1 << 24))
    items = [Item(f"id-{number}", number, body={"model": "m", "input": f"say {number}"}) for number in range(100)]
    tracemalloc.start()
    try:
        prepared = [preparer.prepare(item) for item in items]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(prepared) == 100
    assert size / 100 < 600
