"""Names of a BullMQ queue's keys. Ours all begin with `prefix:queue:jh:`, or `prefix:jh:` for what is of no queue."""

from __future__ import annotations


class Keys:
    """`prefix:queue:NAME`. Attributes are the keys that scripts take."""

    __slots__ = (
        "active",
        "base",
        "completed",
        "delayed",
        "events",
        "failed",
        "id",
        "limiter",
        "marker",
        "meta",
        "metrics_completed",
        "metrics_failed",
        "paused",
        "pc",
        "prioritized",
        "repeat",
        "stalled",
        "stalled_check",
        "wait",
        "waiting_children",
    )

    def __init__(self, prefix: str, queue: str) -> None:
        base = self.base = f"{prefix}:{queue}:"
        self.wait = base + "wait"
        self.active = base + "active"
        self.paused = base + "paused"
        self.prioritized = base + "prioritized"
        self.delayed = base + "delayed"
        self.completed = base + "completed"
        self.failed = base + "failed"
        self.waiting_children = base + "waiting-children"
        self.events = base + "events"
        self.stalled = base + "stalled"
        self.stalled_check = base + "stalled-check"
        self.limiter = base + "limiter"
        self.meta = base + "meta"
        self.pc = base + "pc"
        self.marker = base + "marker"
        self.id = base + "id"
        self.repeat = base + "repeat"
        self.metrics_completed = base + "metrics:completed"
        self.metrics_failed = base + "metrics:failed"

    def job(self, id: str) -> str:
        return self.base + id

    def lock(self, id: str) -> str:
        return f"{self.base}{id}:lock"

    def logs(self, id: str) -> str:
        """BullMQ's own log of a job: one text a line."""
        return f"{self.base}{id}:logs"

    def lines(self, id: str) -> str:
        """Our lines of a job, with their fields."""
        return f"{self.base}jh:lines:{id}"

    def own(self, name: str) -> str:
        """A key of ours."""
        return f"{self.base}jh:{name}"
