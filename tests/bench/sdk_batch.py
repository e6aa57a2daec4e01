"""What a script over the openai SDK does for many requests: `sdk_batch.py URL FILE CONCURRENCY httpx|aiohttp`.

FILE has lines of the Batch API; a line with the id and the text goes to stdout for each answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI


def client(url: str, transport: str) -> AsyncOpenAI:
    more: dict[str, Any] = {}
    if transport == "aiohttp":
        from openai import DefaultAioHttpClient

        more["http_client"] = DefaultAioHttpClient()
    # A connection may take its time on a busy machine: 5 s, as by default, and the run would end.
    return AsyncOpenAI(base_url=url, api_key="none", timeout=600, **more)


async def ask(sdk: AsyncOpenAI, line: str, places: asyncio.Semaphore) -> None:
    item = json.loads(line)
    pieces = []
    async with places, await sdk.responses.create(**item["body"], stream=True) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                pieces.append(event.delta)
    print(json.dumps({"custom_id": item["custom_id"], "text": "".join(pieces)}))


async def main(url: str, file: str, concurrency: str, transport: str) -> None:
    places = asyncio.Semaphore(int(concurrency))
    with open(file) as lines:
        async with client(url, transport) as sdk:
            await asyncio.gather(*(ask(sdk, line, places) for line in lines))


asyncio.run(main(*sys.argv[1:]))
