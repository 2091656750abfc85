"""Between the rows of `jobs` and the objects of the seam."""

from __future__ import annotations

from typing import Any

from ..job import STATES, Job

WAITING, PRIORITIZED, DELAYED, ACTIVE, COMPLETED, FAILED, WAITING_CHILDREN = range(len(STATES))
"""States as the file has them: places in `STATES`."""

CODES = {state: code for code, state in enumerate(STATES)}

JOB = """id, queue, name,
coalesce(data, (SELECT payloads.data FROM payloads WHERE payloads.seq = jobs.seq)),
state, priority, created_at, attempts_made, max_attempts, backoff, timeout_ms, metadata, progress, result, error,
delay_until, started_at, finished_at, flow_id, flow_name, host, receipt, stalled, child_deaths, postponed, released,
cancel_requested"""
"""The columns of a job in the order of the fields of `Job`."""


def job(row: tuple[Any, ...]) -> Job:
    """Make a job of a row of `JOB`."""
    made = Job(*row)
    made.state = STATES[row[4]]
    made.cancel_requested = bool(row[26])
    return made


def fence(token: str) -> tuple[int, str]:
    """Give the job's seq and the mark of the claim, which a token carries together: a fenced write finds its row by both."""
    seq, _, mark = token.partition(".")
    try:
        return int(seq, 16), mark
    except ValueError:
        return -1, ""  # no token of ours: no lease


def token(seq: int, mark: str) -> str:
    """The reverse of `fence`."""
    return f"{seq:x}.{mark}"
