"""Items without a plain answer: the first of them by name, grouped by what went wrong, and how many more there are.

In: ids with the verdicts on them. Out: groups. Constant memory: of all but the first only the number is kept.
"""

from __future__ import annotations

from typing import NamedTuple

from oastream.display import one_line
from oastream.exits import TABLE, Outcome, Verdict

MOST_LISTED = 1000
_LONGEST_MESSAGE = 240
_LONGEST_ID = 200
"""Characters of an id. Both so that a page stays one that a browser shows at once."""


class Reason(NamedTuple):
    """What went wrong with one item or many: `status` is that of HTTP."""

    outcome: Outcome
    status: int | None
    message: str


class Failures:
    """Ids by the reason, in the order in which they came; `most` of them."""

    def __init__(self, most: int = MOST_LISTED) -> None:
        self._most = most
        self.groups: dict[Reason, list[str]] = {}
        self.count = 0

    def add(self, custom_id: str, verdict: Verdict) -> None:
        self.count += 1
        if self.count > self._most:
            return
        # Without the id of the request, which would make each failure one of a kind.
        message = one_line(verdict._replace(request_id=None).message or TABLE[verdict.outcome][1], _LONGEST_MESSAGE)
        reason = Reason(verdict.outcome, verdict.http_status, message)
        self.groups.setdefault(reason, []).append(one_line(custom_id, _LONGEST_ID))
