"""A job as the memory backend keeps it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..job import Job, LogLine

LOG_LINES = 1_000
"""Lines kept with each job, the newest."""

READY = frozenset({"waiting", "prioritized"})


@dataclass(slots=True, eq=False)
class Record(Job):
    """A job and what only its queue needs to know. Callers get snapshots: theirs must not change under them."""

    seq: int = 0
    """Order of adding, over all queues."""
    rank: int = 0
    """Order among waiting jobs of one priority: `seq`, or its negative for a job that was added in front."""
    since: int = 0
    """When it got into its state."""
    token: str | None = None
    lease_until: int = 0
    key: str = ""
    """By which it takes turns with others of its name; while it waits."""
    logs: deque[tuple[int, LogLine]] | None = None

    def snapshot(self) -> Job:
        # Written out: `dataclasses.replace` takes ten times as long, and every claim makes one.
        return Job(
            self.id,
            self.queue,
            self.name,
            self.data,
            self.state,
            self.priority,
            self.created_at,
            self.attempts_made,
            self.max_attempts,
            self.backoff,
            self.timeout_ms,
            self.metadata,
            self.progress,
            self.result,
            self.error,
            self.delay_until,
            self.started_at,
            self.finished_at,
            self.flow_id,
            self.flow_name,
            self.host,
            self.receipt,
            self.stalled,
            self.child_deaths,
            self.postponed,
            self.released,
            self.cancel_requested,
        )

    def log(self, line: LogLine) -> None:
        """Keep a line under the job's next number."""
        if self.logs is None:
            self.logs = deque(maxlen=LOG_LINES)
        self.logs.append((self.logs[-1][0] + 1 if self.logs else 1, line))
