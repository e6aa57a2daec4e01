"""Kept-alive connections to one origin, on asyncio: whoever has a request gets one, new or used before.

In: a route to the origin, requests as bytes. Out: what each response brings, to a `Listener`, as it arrives. HTTP is
`http1`'s, what is said to a proxy `tunnel`'s, certificates are `tls`'s; this moves bytes. Knows nothing of APIs,
answers and limits, and decides on no second attempt: but a request that a kept connection swallowed without a word is
sent again, since no server saw it (RFC 9112 9.3.1).
"""

from __future__ import annotations

import asyncio
import errno
from typing import Protocol

from oastream.exits import Failure
from oastream.http.authority import ascii_host, public_host
from oastream.http.connection_errors import ConnectionProblem, connection_failure
from oastream.http.dial import ATTEMPT_DELAY
from oastream.http.http1 import Http1Response, NoReply, NotHttp, TruncatedBody, UnreadableBody
from oastream.http.route import Layer, Route, TlsLayer, TunnelLayer
from oastream.http.trust import NotInDirectory, shared_trust
from oastream.http.tunnel import Handshake
from oastream.system_errors import describe_break

DRAIN_TIME = 1.0
"""Seconds in which a body may end after its answer, so that the connection can be used again."""
IDLE_TIME = 30.0
"""Seconds that a connection is kept without a request: most servers close it after 60, some after 5."""
_MACHINE_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})
"""Descriptors of the process and of the system, memory for sockets, ports."""

_NO_HEADERS: dict[str, str] = {}
_TLS_BUFFER = 1 << 14
"""Bytes that asyncio sets aside to read each TLS connection: a record has no more. With its own 256 KiB, and no other
way to say so, 5,000 connections took 1.3 GB of them."""


class Listener(Protocol):
    """Whom a response is told to. After `receive_end` or `receive_failure` nothing more comes."""

    def move_to(self, connection: Connection) -> None:
        """The request was sent again, on this connection."""

    def receive_head(self, status: int, headers: dict[str, str]) -> None: ...
    def receive_body(self, piece: bytes) -> None: ...
    def receive_end(self, why: str) -> None:
        """The body has ended; `why` says how it broke, if it did."""

    def receive_failure(self, failure: Failure) -> None:
        """There is no reply, it is not HTTP, or its body cannot be read."""


class Connection(asyncio.Protocol):
    """A connection that carries one request after another. `uses` is how many it has carried."""

    __slots__ = (
        "_has_passed_head",
        "_listener",
        "_pool",
        "_request",
        "_response",
        "_timer",
        "_transport",
        "is_closed",
        "uses",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._response: Http1Response | None = None
        self._listener: Listener | None = None
        self._request = b""
        self._has_passed_head = False
        self._timer: asyncio.TimerHandle | None = None
        self.uses = 0
        self.is_closed = False

    # What its user calls -----------------------------------------------------------------------------------------

    def send(self, request: bytes, listener: Listener) -> None:
        """Send a request; its response goes to the listener."""
        assert self._transport is not None
        self.uses += 1
        self._request, self._listener = request, listener
        self._response = Http1Response()
        self._has_passed_head = False
        self._transport.write(request)

    def leave(self) -> None:
        """The listener has heard enough. What is left of the body may still come, so that others can have this."""
        if self._listener is None:
            return
        self._listener = None
        response = self._response
        if response is not None and response.is_reusable and self._has_sent_all:
            self._become_idle()
        else:
            self._timer = asyncio.get_running_loop().call_later(DRAIN_TIME, self.close)

    @property
    def _has_sent_all(self) -> bool:
        """Whether the request has left us: a reply may come before the server has read all of it."""
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    def close(self) -> None:
        self._cancel_timer()
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # a server that speaks unasked, such as to say that it closes an idle connection
            self.close()
            return
        self._request = b""  # a server has seen it: it is not sent again from here
        try:
            response.feed(data)
        except NotHttp as error:
            self._fail_response(error)
            return
        if self._listener is None:
            self._drain(response)
        else:
            self._pass_on(response, self._listener)

    def eof_received(self) -> bool:
        self._on_input_end("the connection was closed")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        self._cancel_timer()
        self._pool.forget(self)
        why = "the connection was closed"
        if isinstance(error, OSError):
            why = describe_break(error)
        self._on_input_end(why)

    # The response ------------------------------------------------------------------------------------------------

    def _pass_on(self, response: Http1Response, listener: Listener) -> None:
        """Tell the listener what has arrived, as long as it listens."""
        if response.head_ended and not self._has_passed_head:
            self._has_passed_head = True
            listener.receive_head(response.status, response.headers)
            response.headers = _NO_HEADERS  # 2 kB of them are sent by some, and nobody reads them again
        if not response.head_ended:
            return
        try:
            while self._listener is listener and (piece := response.next_piece()) != b"":
                if piece is None:
                    self._end(response)
                else:
                    listener.receive_body(piece)
        except TruncatedBody as cut:
            self._detach_and_close()
            listener.receive_end(str(cut))
        except UnreadableBody as error:
            self._fail_response(error)

    def _drain(self, response: Http1Response) -> None:
        """Nobody listens any more: the connection can be used again once the body has ended."""
        try:
            while response.next_piece():
                pass
        except (TruncatedBody, UnreadableBody):
            self.close()
            return
        if response.is_reusable and self._has_sent_all:
            self._become_idle()

    def _end(self, response: Http1Response) -> None:
        listener, self._listener = self._listener, None
        assert listener is not None
        if response.is_reusable and self._has_sent_all:
            self._become_idle()
        else:
            self.close()
        listener.receive_end("")

    def _on_input_end(self, why: str) -> None:
        """Nothing more will arrive."""
        response, listener = self._response, self._listener
        if response is None or listener is None:
            return
        try:
            response.feed_eof(why)
        except NoReply as error:
            self._detach_and_close()
            if error.is_silent and self.uses > 1:
                self._pool.send_again(self._request, listener)
            else:
                self._tell_failure(error, listener)
            return
        self._pass_on(response, listener)

    def _fail_response(self, error: ConnectionProblem) -> None:
        listener = self._listener
        self._detach_and_close()
        if listener is not None:
            self._tell_failure(error, listener)

    def _tell_failure(self, error: ConnectionProblem, listener: Listener) -> None:
        listener.receive_failure(connection_failure(error, self._pool.label))

    def _detach_and_close(self) -> None:
        self._listener = None
        self.close()

    def _become_idle(self) -> None:
        self._cancel_timer()
        self._response, self._request = None, b""
        self._pool.put_back(self)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Pool:
    """The connections to the server at the end of a route. `connect_timeout` is in seconds, 0 for none."""

    def __init__(self, route: Route, connect_timeout: float) -> None:
        self._route = route
        self._connect_timeout = connect_timeout or None
        self._idle: dict[Connection, float] = {}
        """Those that carry nothing, and since when; the one that was used last is the last."""
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._all: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.label = route.server

    def take_idle(self) -> Connection | None:
        """The connection that was used last, of those that carry nothing."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if not connection.is_closed:
                return connection
        return None

    def put_back(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        self._idle[connection] = loop.time()
        if self._sweep_timer is None:  # one for all, and not one a request
            self._sweep_timer = loop.call_later(IDLE_TIME, self._close_long_idle)

    def forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._idle.pop(connection, None)

    def _close_long_idle(self) -> None:
        """Close what nobody has used for a while; come again when the next one has not been."""
        loop, self._sweep_timer = asyncio.get_running_loop(), None
        for connection, since in list(self._idle.items()):
            if since + IDLE_TIME > loop.time():
                self._sweep_timer = loop.call_at(since + IDLE_TIME, self._close_long_idle)
                return
            connection.close()

    def send_again(self, request: bytes, listener: Listener) -> None:
        """Send a request that no server saw, on a new connection."""
        task = asyncio.get_running_loop().create_task(self._send_on_new(request, listener))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in list(self._all):
            connection.close()

    async def _send_on_new(self, request: bytes, listener: Listener) -> None:
        try:
            connection = await self.open()
        except Failure as failed:
            listener.receive_failure(failed)
        except OSError as error:
            listener.receive_failure(connection_failure(error, self.label))
        else:
            listener.move_to(connection)
            if not connection.is_closed:
                connection.send(request, listener)

    async def open(self) -> Connection:
        """A new connection. Raises `Failure`, or `OSError` where this machine has no more file descriptors."""
        connection, connecting = Connection(self), _Connecting(self._route)
        try:
            async with asyncio.timeout(self._connect_timeout):
                transport = await connecting.run()
        except OSError as error:
            if is_out_of_descriptors(error):
                raise
            failure = connection_failure(error, connecting.label)
            raise failure from error
        except UnicodeError as error:
            raise connection_failure(error, connecting.label) from error
        transport.set_protocol(connection)
        connection.connection_made(transport)
        transport.resume_reading()
        self._all.add(connection)
        return connection


class _Connecting:
    """A connection while it is made; `label` is how messages name the end that is waited for at the moment."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self.label = route.label

    async def run(self) -> asyncio.Transport:
        """With all its layers. Raises `Failure`, `OSError`, `UnicodeError`."""
        try:
            return await self._open()
        except NotInDirectory:
            await asyncio.to_thread(shared_trust().read_file)
            return await self._open()

    async def _open(self) -> asyncio.Transport:
        self.label = self._route.label
        transport = await self._dial()
        for layer in self._route.layers:
            self.label = layer.label
            transport = await self._add_layer(transport, layer)
        return transport

    async def _dial(self) -> asyncio.Transport:
        host = ascii_host(self._route.host.replace("%25", "%", 1))
        # One address has nothing to be raced against, and what asyncio leaves behind of a race waits for a collection.
        delay: float | None = ATTEMPT_DELAY
        if ":" in host or host.replace(".", "").isdecimal():
            delay = None
        transport, _ = await asyncio.get_running_loop().create_connection(
            _Opening, host, self._route.port, happy_eyeballs_delay=delay, interleave=1
        )
        return transport

    async def _add_layer(self, transport: asyncio.Transport, layer: Layer) -> asyncio.Transport:
        if isinstance(layer, TlsLayer):
            return await _start_tls(transport, layer)
        return await _shake_hands(transport, layer, await self._address(layer))

    async def _address(self, layer: TunnelLayer) -> str | None:
        """The address of the host, where the proxy cannot look it up."""
        if not layer.needs_address:
            return None
        found = await asyncio.get_running_loop().getaddrinfo(ascii_host(layer.host), layer.port)
        address: str = found[0][4][0]  # type: ignore[assignment]
        return address.partition("%")[0]


class _Opening(asyncio.Protocol):
    """Holds a new connection until it has all its layers: what a server says before it is asked is not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()


class _Talk(asyncio.Protocol):
    """A handshake with a proxy, on a connection that is nobody else's yet."""

    def __init__(self, transport: asyncio.Transport, handshake: Handshake) -> None:
        self._transport = transport
        self._handshake = handshake
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        self._transport.set_protocol(self)
        self._transport.write(self._handshake.take())
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            self._handshake.feed(data)
            if answer := self._handshake.take():
                self._transport.write(answer)
        except Failure as failed:
            self._end(failed)
        else:
            if self._handshake.is_done:
                self._transport.pause_reading()
                self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        try:
            self._handshake.close()
        except Failure as failed:
            self._end(failed)

    def _end(self, failure: Failure | None) -> None:
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


async def _shake_hands(transport: asyncio.Transport, layer: TunnelLayer, address: str | None) -> asyncio.Transport:
    talk = _Talk(transport, layer.handshake(address))
    talk.begin()
    try:
        await talk.done
    except BaseException:
        transport.abort()
        raise
    return transport


async def _start_tls(transport: asyncio.Transport, layer: TlsLayer) -> asyncio.Transport:
    from asyncio.sslproto import SSLProtocol

    SSLProtocol.max_size = _TLS_BUFFER
    loop = asyncio.get_running_loop()
    name = ascii_host(public_host(layer.host)).rstrip(".")  # certificates have no final dot
    trust = shared_trust()
    try:
        with trust.judging():
            secured = await loop.start_tls(transport, _Opening(), trust.context, server_hostname=name)
    except BaseException:
        transport.abort()
        raise
    assert isinstance(secured, asyncio.Transport)
    secured.pause_reading()
    return secured


def is_out_of_descriptors(error: OSError) -> bool:
    """Whether this machine, not the server, is why there is no connection."""
    return error.errno in _MACHINE_LIMITS
