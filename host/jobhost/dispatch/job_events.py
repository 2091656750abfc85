"""Events for hooks, made of jobs as the queues know them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from ..hooks import JobEvent, Kind
from ..listings import value
from ..queues.job import Job


def event_of(host: str, kind: Kind, job: Job, ran: bool, ended_at: int | None = None, **told: Any) -> JobEvent:
    """An event. `ran`: it is about a run; `ended_at`: Unix ms; `told`: other fields of a JobEvent."""
    whole: dict[str, Any] = {"flow_id": job.flow_id, "flow_name": job.flow_name, **told}
    return JobEvent(
        kind,
        job.id,
        job.queue,
        job.name,
        job.attempts_made + 1 if ran else 0,
        value(job.data),
        value(job.metadata),
        _time(job.created_at),
        _time(job.started_at) if ran and job.started_at is not None else None,
        None if ended_at is None else _time(ended_at),
        host=host,
        **whole,
    )


def was_run(error: Any) -> bool:
    """Whether a job ended by a run: no handler was there for one of an unknown name."""
    return not (isinstance(error, dict) and (error.get("origin"), error.get("type")) == ("host", "UnknownJobTypeError"))


def size_of(job: Job, result: bytes | None) -> int:
    """Bytes that an event holds on to, about."""
    return len(job.data) + len(result or b"")


def now_ms() -> int:
    return int(time.time() * 1000)


def _time(ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a producer of BullMQ may say any number
        return datetime.max.replace(tzinfo=UTC)
