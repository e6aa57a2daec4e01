"""What becomes of a background response that the run gives up, though the server still has it.

In: the job, and the verdict on the run. Out: the verdict with what the user should know; a request that cancels the
job when the user has had enough. Refuses to know why the run gives up.
"""

from __future__ import annotations

import signal

from oastream.attempts.attempt import AttemptContext
from oastream.attempts.background import Job
from oastream.exits import Failure, Outcome, Verdict

CANCEL_TIME = 2.0
"""Seconds that cancelling the server's job may take when a signal ends the run."""
_CANCELLING = (signal.SIGINT, signal.SIGPIPE)
"""The user, or the program that reads the answer, wants no more of it. SIGTERM and SIGHUP say nothing about that."""


def abandon(job: Job, verdict: Verdict, context: AttemptContext, is_gone: bool, may_be_queued: bool) -> Verdict:
    """Cancel the job, or say how to take it up again.

    `is_gone`: the server says that it has no such response. `may_be_queued`: --detach has written the id, and nobody
    knows whether the response has begun.
    """
    if verdict.signal in _CANCELLING:
        _cancel(job, context)
        return verdict
    if is_gone:
        why = "it may have expired, or been made with another key or at another base URL"
        return verdict._replace(hint=f"the server has no response {job.shown_id}; {why}")
    still_running = f"response {job.shown_id} is still running; resume it with: {job.resume_command}"
    if verdict.signal is not None:
        context.watch.acknowledge_signal()  # or the message would not wait for a stderr that is not ready
        context.reporter.line(still_running)
        return verdict
    if may_be_queued:
        context.reporter.line(f"response {job.shown_id} may still be queued: {verdict.message}")
        return Verdict(Outcome.STOP)
    return verdict.with_hint(still_running)


def _cancel(job: Job, context: AttemptContext) -> None:
    context.watch.acknowledge_signal()
    deadline = context.deadlines.now() + CANCEL_TIME
    problem = ""
    try:
        with context.open_source(job.cancel_request(), deadline, deadline) as source:
            if source.status // 100 != 2:
                problem = f"HTTP {source.status}"
    except (Failure, TimeoutError):
        problem = "no answer"
    if problem:
        context.reporter.line(f"response {job.shown_id} could not be cancelled: {problem}")
