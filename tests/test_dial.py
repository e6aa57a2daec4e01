"""Several addresses, one connection: which are tried when, which wins, and what is said when none does."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oastream.exits import Failure, Outcome
from oastream.http.connection_errors import as_failure
from oastream.http.dial import Address, connect_first, dial, interleave_families, resolve
from tests.support.name_service import use_names
from tests.support.program import finish, oastream, start
from tests.support.streams import message, responses_body
from tests.support.waiting import SOON, wait_until
from tests.support.wire import free_port, serve, sse_response

HELLO = sse_response(responses_body(message("Hello")))
NAME = "several.example.test"


def address(host: str, port: int) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    with socket.create_server((host, port)) as listener:
        yield listener


@contextlib.contextmanager
def hanging(host: str = "127.0.0.2", port: int = 0) -> Iterator[int]:
    """A port that answers no connection: its queue is full, so that the kernel drops what comes."""
    with socket.create_server((host, port), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_next_address_is_tried_while_the_first_hangs() -> None:
    with hanging() as silent, listening() as live:
        began = time.monotonic()
        with connect_first([address("127.0.0.2", silent), address(*live.getsockname())], began + 60) as won:
            took = time.monotonic() - began
            assert won.getpeername() == live.getsockname()
    assert 0.2 < took < SOON


def test_the_first_address_is_the_only_one_that_is_tried_when_it_answers() -> None:
    with listening() as first, listening() as second:
        second.setblocking(False)
        with connect_first([address(*first.getsockname()), address(*second.getsockname())], time.monotonic() + 60):
            pass
        with pytest.raises(BlockingIOError):
            second.accept()


def test_a_refusal_does_not_keep_the_next_address_waiting() -> None:
    refusing = [address("127.0.0.1", free_port()) for _ in range(40)]
    with listening() as live:
        began = time.monotonic()
        with connect_first([*refusing, address(*live.getsockname())], began + 60) as won:
            assert won.getpeername() == live.getsockname()
        assert time.monotonic() - began < len(refusing) * 0.25 / 2


def test_an_attempt_that_fails_while_others_hang_starts_the_next_at_once() -> None:
    with hanging() as silent, listening() as live:
        addresses = [address("127.0.0.2", silent), *[address("127.0.0.1", free_port())] * 40]
        began = time.monotonic()
        with connect_first([*addresses, address(*live.getsockname())], began + 60) as won:
            assert won.getpeername() == live.getsockname()
        assert time.monotonic() - began < 40 * 0.25 / 2


def test_what_is_refused_while_others_hang_is_left_out_of_the_race() -> None:
    """The kernel knocks again after a second, and finds nobody there."""
    with contextlib.ExitStack() as early:
        first = address("127.0.0.2", early.enter_context(hanging("127.0.0.2")))
        second = address("127.0.0.2", early.enter_context(hanging("127.0.0.2")))
        closing = threading.Timer(0.4, early.close)
        closing.start()
        with pytest.raises(ConnectionRefusedError):
            connect_first([first, second], time.monotonic() + 20)
        closing.join()


def test_what_loses_is_closed() -> None:
    with hanging() as silent, listening() as live:
        before = descriptors()
        addresses = [address("127.0.0.2", silent)] * 3 + [address("127.0.0.1", free_port())]
        with connect_first([*addresses, address(*live.getsockname())], time.monotonic() + 60):
            assert descriptors() == before + 1
        with pytest.raises(TimeoutError):
            connect_first(addresses, time.monotonic() + 0.3)
        with pytest.raises(ConnectionRefusedError):
            connect_first(addresses[3:], time.monotonic() + 60)
        assert descriptors() == before


def test_an_attempt_goes_on_while_later_ones_begin() -> None:
    with listening("127.0.0.2") as late, hanging("127.0.0.3") as silent:
        port = late.getsockname()[1]
        late.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(late.getsockname())

        def let_in() -> None:
            with contextlib.suppress(OSError):
                while True:
                    late.accept()[0].close()

        timer = threading.Timer(0.4, let_in)
        timer.start()
        with connect_first([address("127.0.0.2", port), address("127.0.0.3", silent)], time.monotonic() + 20) as won:
            assert won.getpeername() == ("127.0.0.2", port)
        for filler in fillers:
            filler.close()
        late.shutdown(socket.SHUT_RDWR)
        timer.join()


def test_what_a_machine_without_a_family_says_is_not_the_reason_given() -> None:
    unknown: Address = (99, socket.SOCK_STREAM, 0, "", ("::1", 1))
    refusing = address("127.0.0.1", free_port())
    for addresses in ([unknown, refusing], [refusing, unknown]):
        with pytest.raises(ConnectionRefusedError):
            connect_first(addresses, time.monotonic() + 60)
    with pytest.raises(OSError, match="family not supported"):
        connect_first([unknown], time.monotonic() + 60)


def test_a_name_without_addresses_is_an_error() -> None:
    with pytest.raises(OSError, match="no address"):
        connect_first([], time.monotonic() + 60)


def test_families_take_turns_and_keep_their_order() -> None:
    def of(family: int, number: int) -> Address:
        return (family, 0, 0, "", (str(number), 0))

    v6, v4 = socket.AF_INET6, socket.AF_INET
    given = [of(v6, 1), of(v6, 2), of(v6, 3), of(v4, 4), of(v4, 5)]
    assert [one[4][0] for one in interleave_families(given)] == ["1", "4", "2", "5", "3"]
    assert [one[4][0] for one in interleave_families(given[::-1])] == ["5", "3", "4", "2", "1"]
    assert interleave_families([]) == []


def test_the_socket_blocks_and_sends_at_once() -> None:
    with listening() as live, dial("127.0.0.1", live.getsockname()[1], time.monotonic() + 60) as won:
        assert won.gettimeout() is None
        assert won.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert won.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("zone", ["%25lo", "%lo"])
def test_a_zone_of_a_url_is_an_interface(zone: str) -> None:
    assert resolve(f"fe80::1{zone}", 80)[0][4][3] == socket.if_nametoindex("lo")


@pytest.mark.parametrize("name", ["a\0b", "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 70])
def test_what_is_no_host_name_is_called_that(name: str) -> None:
    with pytest.raises(UnicodeError):
        resolve(name, 80)


def test_a_connection_that_the_kernel_gives_up_is_no_deadline_of_ours() -> None:
    given_up = as_failure(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)), "h")
    late = as_failure(TimeoutError(), "h")
    assert isinstance(given_up, Failure)
    assert isinstance(late, Failure)
    assert (given_up.verdict.outcome, late.verdict.outcome) == (Outcome.UNREACHABLE, Outcome.TIMEOUT)
    assert "--connect-timeout" not in given_up.verdict.message
    assert "--connect-timeout" in late.verdict.message


# The program -----------------------------------------------------------------------------------------------------


def arguments(port: int, *more: str) -> tuple[str, ...]:
    return ("--base-url", f"http://{NAME}:{port}/v1", "--insecure-http", "--retry", "0", *more, "hi")


def test_a_host_whose_first_address_hangs_answers(tmp_path: Path) -> None:
    with serve(HELLO) as server, hanging("127.0.0.2", server.port):
        result = oastream(*arguments(server.port), env=use_names(tmp_path, {NAME: ["127.0.0.2", "127.0.0.1"]}))
    assert (result.status, result.out, result.err) == (0, b"Hello\n", "")
    assert result.seconds < SOON


def test_the_limit_is_for_all_addresses_together(tmp_path: Path) -> None:
    names = use_names(tmp_path, {NAME: [f"127.0.0.{number}" for number in range(2, 10)]})
    with hanging("0.0.0.0") as port:
        result = oastream(*arguments(port, "--connect-timeout", "0.6"), env=names)
    assert result.status == 33
    assert result.message == f"oastream: cannot reach {NAME}:{port}: no connection within --connect-timeout"
    assert result.seconds < SOON


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_a_connection(tmp_path: Path, number: signal.Signals) -> None:
    with (
        hanging() as port,
        start(*arguments(port, "-v"), env=use_names(tmp_path, {NAME: ["127.0.0.2"]})) as process,
    ):
        assert wait_until(lambda: is_connecting(process))
        process.send_signal(number)
        assert finish(process, SOON).status == -number


def test_a_reader_that_goes_ends_the_wait_for_a_connection(tmp_path: Path) -> None:
    with (
        hanging() as port,
        start(*arguments(port, "-v"), env=use_names(tmp_path, {NAME: ["127.0.0.2"]})) as process,
    ):
        assert wait_until(lambda: is_connecting(process))
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(SOON) == -signal.SIGPIPE


def is_connecting(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has a TCP socket on its way: state SYN_SENT is 02 in /proc/net/tcp."""
    own = set()
    for fd in os.listdir(f"/proc/{process.pid}/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[3] == "02" and f"socket:[{row[9]}]" in own for row in rows)
