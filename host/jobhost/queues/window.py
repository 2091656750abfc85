"""The window of a rate limit: it opens with the first job that begins and counts those that follow, as BullMQ's does."""

from __future__ import annotations

from dataclasses import dataclass

from .job import Rate


@dataclass(slots=True)
class Window:
    """`ends_at`: Unix ms."""

    ends_at: int = 0
    used: int = 0

    def left(self, rate: Rate, now: int) -> int:
        """How many jobs may begin now."""
        return rate.max - self.used if now < self.ends_at else rate.max

    def count(self, rate: Rate, now: int, jobs: int) -> None:
        """Count jobs that begin now."""
        if jobs and now >= self.ends_at:
            self.ends_at, self.used = now + rate.every_ms, 0
        self.used += jobs
