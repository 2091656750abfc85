"""Between the rows of `jobs` and the objects of the seam."""

from __future__ import annotations

from typing import Any

from ..job import STATES, Job

WAITING, PRIORITIZED, DELAYED, ACTIVE, COMPLETED, FAILED, WAITING_CHILDREN = range(len(STATES))
"""States as the tables have them: places in `STATES`."""

CODES = {state: code for code, state in enumerate(STATES)}

FIELDS = (
    *("id", "queue", "name", "data", "state", "priority", "created_at", "attempts_made", "max_attempts", "backoff"),
    *("timeout_ms", "metadata", "progress", "result", "error", "delay_until", "started_at", "finished_at", "flow_id"),
    *("flow_name", "host", "receipt", "stalled", "child_deaths", "postponed", "released", "cancel_requested"),
)
"""The columns of a job in the order of the fields of `Job`."""

JOB = ", ".join(f"jobs.{field}" for field in FIELDS)


def job(row: tuple[Any, ...]) -> Job:
    """Make a job of a row of `JOB`."""
    made = Job(*row)
    made.state = STATES[row[4]]
    return made


def fence(token: str) -> tuple[int, str]:
    """Give the job's seq and the mark of the claim, which a token carries together: a fenced write finds its row by both."""
    seq, _, mark = token.partition(".")
    try:
        number = int(seq, 16)
    except ValueError:
        return -1, ""  # no token of ours: no lease
    return (number, mark) if 0 <= number < 1 << 63 else (-1, "")


def token(seq: int, mark: str) -> str:
    """The reverse of `fence`."""
    return f"{seq:x}.{mark}"
