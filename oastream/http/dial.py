"""A host and a port → a TCP connection to whichever of the host's addresses answers first.

In: host, port, a deadline in seconds of `time.monotonic`. Out: a connected socket, which blocks. It waits by itself and
not through `Watch`, since it runs in a thread: DNS cannot be polled. Knows nothing of proxies, TLS or signals.

The addresses race as RFC 8305 (happy eyeballs) has it: families take turns, the next address is tried 250 ms after the
one before, or as soon as that one fails; the first that connects wins, and the others are closed.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

from oastream.http.authority import ascii_host
from oastream.watch import LONGEST_WAIT

ATTEMPT_DELAY = 0.25
"""Seconds between the starts of two connections (RFC 8305, section 5: Connection Attempt Delay)."""

Address = tuple[int, int, int, str, Any]
"""One of getaddrinfo's: family, type, protocol, canonical name, address."""

_FAMILY_IS_MISSING = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a machine without IPv6 says of each IPv6 address: of several errors the one that explains least."""


def dial(host: str, port: int, deadline: float) -> socket.socket:
    """Look the host up and connect. Raises `OSError` (`TimeoutError` without errno at the deadline), `UnicodeError`."""
    return connect_first(interleave_families(resolve(host, port)), deadline)


def seconds_left(deadline: float) -> float:
    """The timeout of a socket for a step that must end by the deadline: never 0, which would mean not to block."""
    return min(max(0.001, deadline - time.monotonic()), LONGEST_WAIT)


def resolve(host: str, port: int) -> Sequence[Address]:
    """What the system's resolver says, in its order of preference (RFC 6724)."""
    if ":" in host:
        host = host.replace("%25", "%", 1)  # RFC 6874: a zone in a URL is percent-encoded
    name = ascii_host(host).encode("ascii")  # as bytes, or Python imports its IDNA codec: 4 ms
    return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)


def interleave_families(addresses: Sequence[Address]) -> list[Address]:
    """The same addresses, the two families in turn, beginning with that of the first (RFC 8305, section 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = itertools.zip_longest(first, other)
    return [address for pair in pairs for address in pair if address is not None]


def connect_first(addresses: Sequence[Address], deadline: float) -> socket.socket:
    """A connection to the first address that answers. Raises `OSError` when none does, `TimeoutError` when late."""
    race = _Race(addresses)
    try:
        winner = race.run(deadline)
    finally:
        race.close()
    winner.setblocking(True)
    return winner


class _Race:
    """The connections that are being made, those that failed, and the addresses that are still to be tried."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._untried = list(reversed(addresses))
        self._runners: dict[int, socket.socket] = {}
        self._errors: list[OSError] = []
        self._poll = select.poll()
        self._next_start = 0.0

    def run(self, deadline: float) -> socket.socket:
        while True:
            now = time.monotonic()
            if now >= deadline:
                raise TimeoutError
            winner = self._step(now, deadline)
            if winner is not None:
                return winner

    def _step(self, now: float, deadline: float) -> socket.socket | None:
        """Begin with the next address when its time has come, else wait for those that run."""
        if self._untried and (not self._runners or now >= self._next_start):
            return self._start(now)
        if not self._runners:
            raise self._error_to_report()
        if self._untried:
            deadline = min(deadline, self._next_start)
        return self._wait(deadline - now)

    def close(self) -> None:
        """Give up all but the winner."""
        for runner in self._runners.values():
            runner.close()

    def _start(self, now: float) -> socket.socket | None:
        """Begin with the next address; the connection, if there is one at once."""
        family, kind, protocol, _, address = self._untried.pop()
        self._next_start = now + ATTEMPT_DELAY
        try:
            runner = socket.socket(family, kind, protocol)
        except OSError as error:
            self._lose(error)
            return None
        self._runners[runner.fileno()] = runner
        try:
            runner.setblocking(False)
            # A request may go out in several writes, and none of them waits for the other end's acknowledgement.
            runner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A stream that thinks for an hour is silent: without this a firewall's table would forget it unnoticed.
            runner.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            runner.connect(address)
        except (BlockingIOError, InterruptedError):
            self._poll.register(runner, select.POLLOUT)
            return None
        except OSError as error:
            self._lose(error, runner)
            return None
        return self._win(runner)

    def _wait(self, seconds: float) -> socket.socket | None:
        """Wait until one of them has ended; its connection, if it has one."""
        for fd, _ in self._poll.poll(1000 * min(seconds, LONGEST_WAIT)):
            runner = self._runners[fd]
            self._poll.unregister(fd)  # or a loser would be reported as ready forever
            code = runner.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return self._win(runner)
            self._lose(OSError(code, os.strerror(code)), runner)
        return None

    def _win(self, runner: socket.socket) -> socket.socket:
        return self._runners.pop(runner.fileno())

    def _lose(self, error: OSError, runner: socket.socket | None = None) -> None:
        """One has failed: the next one need not wait any longer (RFC 8305, section 5)."""
        self._errors.append(error)
        self._next_start = 0.0
        if runner is not None:
            self._runners.pop(runner.fileno()).close()

    def _error_to_report(self) -> OSError:
        """Of the errors of all addresses the last that says something of the server."""
        if not self._errors:
            return OSError(errno.EADDRNOTAVAIL, "the name has no address")
        of_the_server = [error for error in self._errors if error.errno not in _FAMILY_IS_MISSING]
        return (of_the_server or self._errors)[-1]
