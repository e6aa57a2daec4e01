"""A server that is never the bottleneck: each stream is rendered once, then sent as fast as the socket takes it.

The path of the base URL chooses the reply: `/pace/N/RATE/v1/…` sends N events at RATE a second, each delta beginning
with the moment it was sent (nanoseconds of the monotonic clock); the others are those of `streams`, sent at once.
`python -m tests.bench.server CERTIFICATE KEY PATH…` prints its port once the paths' replies are rendered. One port has
both: TLS where a connection begins like it, else plain HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time

from tests.bench.streams import HEAD, delta, ending, opening, reply

HANDSHAKE = b"\x16"
"""What TLS begins with, and no request."""


def answer(raw: socket.socket, tls: ssl.SSLContext) -> None:
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with raw, contextlib.suppress(OSError), secured(raw, tls) as line:  # OSError: the peer has gone
        api, kind, *numbers = requested(line)
        if kind == "pace":
            send_paced(line, api, int(numbers[0]), float(numbers[1]))
        else:
            line.sendall(reply(api, kind, *map(int, numbers)))
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):
            pass  # to close before the peer does could take back what it has not read


def secured(raw: socket.socket, tls: ssl.SSLContext) -> socket.socket:
    if raw.recv(1, socket.MSG_PEEK) == HANDSHAKE:
        return tls.wrap_socket(raw, server_side=True)
    return raw


def send_paced(line: socket.socket, api: str, count: int, rate: float) -> None:
    line.sendall(HEAD + opening(api))
    began = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        line.sendall(delta(api, number + 3, f"{time.monotonic_ns()}\n"))
    line.sendall(ending(api))


def requested(line: socket.socket) -> list[str]:
    """What a request asks for, once all of it has come: the API, then the words that choose the reply."""
    with line.makefile("rb") as request:
        _, target, _ = request.readline().decode().split(" ", 2)
        size = 0
        while (header := request.readline().lower()).strip():
            if header.startswith(b"content-length:"):
                size = int(header.split(b":")[1])
        request.read(size)
    return words_of(target)


def words_of(path: str) -> list[str]:
    """`/burst/20/v1/responses` → responses, burst, 20."""
    words, _, end = path.strip("/").partition("/v1/")
    return ["chat" if end.endswith("completions") else "responses", *words.split("/")]


def main() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    for path in sys.argv[3:]:
        api, kind, *numbers = words_of(path)
        reply(api, kind, *map(int, numbers))
    print(listener.getsockname()[1], flush=True)
    while True:
        raw, _ = listener.accept()
        threading.Thread(target=answer, args=(raw, tls), daemon=True).start()


if __name__ == "__main__":
    main()
