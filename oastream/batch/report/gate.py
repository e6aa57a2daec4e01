"""A gate that also keeps how long first events took, for those who want to see that over time.

In: what a `Gate` is told. Out: the times since they were last asked for. A class of its own, so that a run without
--report pays nothing for it.
"""

from __future__ import annotations

import array

from oastream.batch.pacing.gate import Flight, Gate, Settings


class WatchedGate(Gate):
    """The way to one server, watched."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._first_events_ms = array.array("d")

    def receive_first_event(self, flight: Flight, now: float) -> None:
        super().receive_first_event(flight, now)
        self._first_events_ms.append((now - flight.started) * 1000)

    def take_first_events(self) -> array.array[float]:
        """The milliseconds to each first event since this was last called."""
        taken, self._first_events_ms = self._first_events_ms, array.array("d")
        return taken
