"""oastream puts a language model into a Unix pipe.

`pipeline.py` is the way of one run, on one page. Two decisions about it, and what was measured (2026-11, two cores,
Python 3.11; ratios of one run):

*One blocking loop, not asyncio.* `watch.py` waits with one `poll` for the file in question, a signal and stdout's
reader at once, so that deadlines, cancellation and a reader that has gone are one mechanism in every wait. asyncio
costs 80 ms to import where bare Python takes 20, and a single stream has nothing to run beside it. What cannot be
polled (DNS, a cloud's sign-in) runs in a thread that is polled for. The parts without I/O (`sse`, `chat`, `reply`) are
fed by whoever has bytes, so many streams at once can share them.

*httptools for HTTP/1.1, not httpx2, on the way of a single stream.* httpx2 and its transport take 145 ms to import and
take each 20-byte chunk of a chunked body through pure Python; httptools takes 20 ms, most of it `typing`, and hands
out chunks from C. The whole of a 20-event answer takes 1/18 of the time of the openai SDK, 100,000 events 1/32.
httpx2 opens tunnels through proxies, and the SDK signs in to clouds; neither is loaded otherwise.
"""

__version__ = "0.1.0"
