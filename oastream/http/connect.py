"""A route → a connection to its server: DNS, TCP, and the layers on it, TLS and a proxy's tunnel.

In: a `Route`, a deadline. Out: a socket that does not block. The whole phase runs in a thread of its own, since DNS
cannot be polled: the run stays open to signals, deadlines and a reader that goes away. Knows nothing of requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oastream.exits import Failure
from oastream.http.dial import dial, resolve, seconds_left
from oastream.http.route import Layer, Route, TlsLayer, TunnelLayer
from oastream.threads import call_in_thread
from oastream.watch import Watch

if TYPE_CHECKING:
    from oastream.http.tunnel import Handshake


def connect(route: Route, watch: Watch, deadline: float) -> Any:
    """A connection: a socket, one of ssl's, or `tls.StackedTls`, which has what is used of those.

    Raises `Failure`: unreachable, timeout, tls, config, or the signal that came.
    """
    connecting = _Connecting(route, deadline)
    try:
        connection = call_in_thread(
            connecting.run,
            watch,
            deadline,
            meanwhile=connecting.load_tls,  # while the thread waits for name and connection
            release=lambda late: late.close(),
        )
    except Failure:
        raise
    except Exception as error:
        from oastream.http.connection_errors import as_failure

        raise as_failure(error, connecting.label) from error
    connection.setblocking(False)
    return connection


class _Connecting:
    """A connection while it is made; all but `load_tls` in a thread of its own."""

    def __init__(self, route: Route, deadline: float) -> None:
        self._route = route
        self._deadline = deadline
        self.label = route.label
        """How messages name the end that is waited for at the moment."""

    def load_tls(self) -> None:
        """Load what only TLS needs, if the route has any: a third of what https costs to start."""
        if self._route.has_tls:
            from oastream.http.tls import prepare_tls

            prepare_tls()

    def run(self) -> Any:
        """Raises `Failure`, `OSError`, `UnicodeError`."""
        if not self._route.has_tls:
            return self._open()
        from oastream.http.trust import NotInDirectory, shared_trust

        try:
            return self._open()
        except NotInDirectory:  # whoever is at the other end has seen a handshake, and no more
            shared_trust().read_file()
            return self._open()

    def _open(self) -> Any:
        self.label = self._route.label
        connection: Any = dial(self._route.host, self._route.port, self._deadline)
        for layer in self._route.layers:
            self.label = layer.label
            try:
                connection = self._add(layer, connection)
            except BaseException:  # nobody else knows of the socket yet
                connection.close()
                raise
        return connection

    def _add(self, layer: Layer, connection: Any) -> Any:
        if isinstance(layer, TlsLayer):
            from oastream.http.tls import start_tls

            return start_tls(connection, layer.host, self._deadline)
        self._shake_hands(connection, self._handshake(layer))
        return connection

    def _handshake(self, layer: TunnelLayer) -> Handshake:
        if not layer.needs_address:
            return layer.handshake()
        self.label = self._route.server  # it is not the proxy's fault when the name is unknown
        address: str = resolve(layer.host, layer.port)[0][4][0]  # the one that the system likes best
        self.label = layer.label
        return layer.handshake(address.partition("%")[0])  # a zone names an interface of this machine alone

    def _shake_hands(self, connection: Any, handshake: Handshake) -> None:
        """Speak with the proxy until it has opened the way."""
        while True:
            connection.settimeout(seconds_left(self._deadline))
            if data := handshake.take():
                connection.sendall(data)
            if handshake.is_done:
                return
            connection.settimeout(seconds_left(self._deadline))
            data = connection.recv(handshake.max_read)
            if not data:
                handshake.close()
            handshake.feed(data)  # no more was read than is the proxy's: nothing is left over
