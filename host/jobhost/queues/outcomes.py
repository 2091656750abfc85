"""What every backend says alike: the errors it writes itself, the copy it leaves in a dead letter queue, sums of `incr`."""

from __future__ import annotations

import json
import re
from typing import Any

from jobhost.errors import StateTypeError

from .job import Job, Json, NewJob

SAFE_INTEGER = 2**53 - 1
"""The largest integer that JavaScript's numbers hold exactly: what any language can read back."""

_INTEGER = re.compile(rb"\s*-?(0|[1-9][0-9]{0,15})\s*")


def _error(type: str, message: str) -> Json:
    error: dict[str, Any] = dict.fromkeys(("type", "message", "stack", "origin", "fields", "cause", "data"))
    return json.dumps(error | {"type": type, "message": message, "origin": "host"}).encode()


CANCELLED: Json = _error("CancelledError", "the job was cancelled")


def stalled_error(stalled: int) -> Json:
    """The error of a job whose lease ran out too often."""
    times = "once" if stalled == 1 else f"{stalled} times"
    return _error("StalledError", f"its host stopped renewing its lease {times}: it died, hung or lost the queue")


def with_error(error: Json | None) -> Json | None:
    """The data of an event about a failed attempt."""
    return None if error is None else b'{"error":' + error + b"}"


def retry_data(error: Json | None, delay_ms: int) -> Json:
    """The data of a step's event `step.retry`."""
    return b'{"error":%b,"delay_ms":%d}' % (error or b"null", delay_ms)


def dead_letter_copy(job: Job, error: Json | None, queue: str, now: int) -> NewJob:
    """Give the job to add to a dead letter `queue` for one that has just failed; its own metadata is kept beside `dead`."""
    metadata: dict[str, Any] = json.loads(job.metadata) if job.metadata else {}
    metadata["dead"] = {
        "queue": job.queue,
        "id": job.id,
        "error": json.loads(error) if error else None,
        "failed_at": now,
        "attempts_made": job.attempts_made,
    }
    told = json.dumps(metadata, ensure_ascii=False).encode()
    # Of no flow, whatever its data says: it waits for people, and a flow does not wait for them.
    return NewJob(job.name, job.data, queue, metadata=told, flow_id="")


def incremented(value: Json | None, by: int) -> int:
    """Add to a stored state value; None counts as 0. Raises StateTypeError."""
    if value is not None and not _INTEGER.fullmatch(value):
        raise StateTypeError("incr needs an integer, and the stored value is none")
    total = by + (int(value) if value is not None else 0)
    if abs(total) > SAFE_INTEGER:
        raise StateTypeError(f"incr would leave the integers that JSON carries exactly, ±{SAFE_INTEGER}")
    return total
