"""How a run stands at one moment: all that the page shows.

In: what the run has counted. Out: one record. Knows nothing of HTML.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from oastream.batch.report.failures import Failures
from oastream.batch.report.sampling import Curves
from oastream.batch.summary import Tally
from oastream.exits import Outcome, Verdict


class ServerFigures(NamedTuple):
    """What is shown of one server; `held` in seconds."""

    base_url: str
    requests: int
    rate_limited: int
    held: float


class Snapshot(NamedTuple):
    """All that the page shows. `verdict` is None while the run goes on; `stats` are the fields of --stats=json."""

    name: str
    verdict: Verdict | None
    accepted: Collection[Outcome]
    began: float
    """Wall time, as is `written`."""
    written: float
    stats: dict[str, Any]
    tally: Tally
    before: Counter[Outcome]
    """Answers and failures of earlier runs; `tally` counts them too."""
    curves: Curves
    servers: Sequence[ServerFigures]
    failures: Failures
    unplain: Failures
    """Answers that are whole, but cut, refused and the like."""
    facts: Sequence[tuple[str, str]]
    """More about the run: names and values."""
    errors_path: str | None
    program: str
    mask: Callable[[str], str]

    @property
    def server_names(self) -> list[str]:
        """The base URLs, in the order of the servers."""
        return [self.mask(server.base_url) for server in self.servers]


def clock(moment: float, with_date: bool = False) -> str:
    """A moment on this machine's clock, with its offset from UTC where the date is told too."""
    local = datetime.datetime.fromtimestamp(moment).astimezone()
    if with_date:
        return local.isoformat(" ", "seconds")
    return local.strftime("%H:%M:%S")
