"""What a script over plain aiohttp does that keeps limits by two buckets: `two_buckets.py URL FILE RPM TPM`.

The way of the OpenAI cookbook's parallel processor, written anew: one loop fills a bucket of requests and one of tokens
by the clock, starts the next request when both hold enough, and looks again a millisecond later; nothing is streamed,
what fails is asked again a few times. FILE has lines of the Batch API; a line with id and answer goes to stdout.
"""

from __future__ import annotations

import asyncio
import collections
import json
import sys
import time
from typing import Any

import aiohttp

PAUSE = 0.001
TRIES = 5
OUTPUT_TOKENS = 16


async def ask(session: aiohttp.ClientSession, url: str, item: dict[str, Any], again: collections.deque[Any]) -> None:
    try:
        async with session.post(f"{url}/responses", json={**item["body"], "stream": False}) as reply:
            answer = await reply.json()
            reply.raise_for_status()
    except (aiohttp.ClientError, ValueError):
        item["tries"] = item.get("tries", 0) + 1
        if item["tries"] < TRIES:
            again.append(item)
        return
    print(json.dumps({"custom_id": item["custom_id"], "answer": answer}))


async def main(url: str, file: str, rpm: float, tpm: float) -> None:
    again: collections.deque[dict[str, Any]] = collections.deque()
    tasks: set[asyncio.Task[None]] = set()
    requests, tokens, filled = rpm / 60, tpm / 60, time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with open(file) as lines:
            item: dict[str, Any] | None = None
            while True:
                if item is None and again:
                    item = again.popleft()
                elif item is None and (line := next(lines, None)):
                    item = json.loads(line)
                now = time.monotonic()
                requests = min(rpm, requests + rpm / 60 * (now - filled))
                tokens = min(tpm, tokens + tpm / 60 * (now - filled))
                filled = now
                if item is not None:
                    cost = len(json.dumps(item["body"])) / 4 + OUTPUT_TOKENS
                    if requests >= 1 and tokens >= cost:
                        requests, tokens = requests - 1, tokens - cost
                        task = asyncio.create_task(ask(session, url, item, again))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                        item = None
                elif not tasks and not again:
                    return
                await asyncio.sleep(PAUSE)


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
