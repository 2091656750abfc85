"""Dead letters: the copy that a queue keeps elsewhere of a job that failed for good, and how it comes back.

A copy is a job like any other, waiting in a queue that nobody serves; where it comes from is in its metadata under `dead`. A replay lets
the original run again where it is still there as it failed, else it adds it anew under its old id and time, so that its
`ctx.idempotency_key` and its state are the ones it had; its metadata then says `replayed`. The rules here are every store's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from .job import Job, Json, NewJob

Replay = Literal["replayed", "alive", "no_letter", "missing"]
"""What came of a replay. `alive`: the original was not failed any more, so that it would have run twice: the letter is left;
`no_letter`: the job there is none; `missing`: it is gone, as somebody else was quicker."""


@dataclass(slots=True, frozen=True)
class Replayed:
    """`queue` and `id`: of the job that runs again, or is alive."""

    outcome: Replay
    queue: str = ""
    id: str = ""


@dataclass(slots=True, frozen=True)
class Origin:
    """Where a dead letter comes from."""

    queue: str
    id: str
    created_at: int
    told: dict[str, Any]
    """All that its metadata says under `dead`."""


def dead_letter_copy(job: Job, error: Json | None, queue: str, now: int) -> NewJob:
    """Give the job to add to a dead letter `queue` for one that has just failed; its own metadata is kept beside `dead`."""
    metadata = _object(job.metadata)
    flow = {"id": job.flow_id, "name": job.flow_name} if job.flow_id else None
    metadata["dead"] = {
        "queue": job.queue,
        "id": job.id,
        "created_at": job.created_at,
        "error": json.loads(error) if error else None,
        "failed_at": now,
        "attempts_made": job.attempts_made,
        "receipt": json.loads(job.receipt) if job.receipt else None,
        "priority": job.priority,
        "attempts": job.max_attempts,
        "backoff": json.loads(job.backoff) if job.backoff else None,
        "timeout_ms": job.timeout_ms,
        "flow": flow,
    }
    # Of no flow, whatever its data says: it waits for people, and a flow does not wait for them.
    return NewJob(job.name, job.data, queue, metadata=_text(metadata), flow_id="")


def origin_of(letter: Job) -> Origin | None:
    """Where a job comes from that is a dead letter; None if it is none."""
    told = _object(letter.metadata).get("dead")
    if not isinstance(told, dict):
        return None
    queue, id, created_at = told.get("queue"), told.get("id"), told.get("created_at")
    if isinstance(queue, str) and queue and isinstance(id, str) and id and isinstance(created_at, int):
        return Origin(queue, id, created_at, told)
    return None


def replayed_metadata(letter: Job, now: int) -> Json:
    """The metadata of a job that runs again: its own, and what says that it does."""
    metadata = _object(letter.metadata)
    dead = metadata.pop("dead", {})
    before = metadata.get("replayed")
    times = before.get("times", 0) if isinstance(before, dict) else 0
    metadata["replayed"] = {
        "times": (times if isinstance(times, int) else 0) + 1,
        "at": now,
        "from": {"queue": letter.queue, "id": letter.id},
        "failed_at": dead.get("failed_at"),
        "id": dead.get("id"),
    }
    return _text(metadata)


def replayed_job(letter: Job, origin: Origin, now: int, *, id: str | None) -> NewJob:
    """The original anew, with the data that the letter has by now. `id`: None where its own belongs to another job by now."""
    told = origin.told
    flow = told.get("flow")
    flow = flow if isinstance(flow, dict) and isinstance(flow.get("id"), str) else {}
    backoff = told.get("backoff")
    return NewJob(
        letter.name,
        letter.data,
        origin.queue,
        id,
        priority=_whole(told.get("priority")) or 0,
        attempts=_whole(told.get("attempts")),
        backoff=None if backoff is None else json.dumps(backoff).encode(),
        timeout_ms=_whole(told.get("timeout_ms")),
        metadata=replayed_metadata(letter, now),
        flow_id=flow.get("id", ""),
        flow_name=flow.get("name"),
        created_at=origin.created_at,
    )


def waiting_since(job: Job) -> int:
    """When a job was added or, if later, replayed (Unix ms): its age counts from then."""
    if job.metadata is None or b'"replayed"' not in job.metadata:
        return job.created_at
    replayed = _object(job.metadata).get("replayed")
    at = _whole(replayed.get("at")) if isinstance(replayed, dict) else None
    return job.created_at if at is None else max(job.created_at, at)


def _object(text: Json | None) -> dict[str, Any]:
    """The object of a metadata text. Other producers' mistakes count as nothing."""
    if text is None:
        return {}
    try:
        loaded = json.loads(text)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _text(metadata: dict[str, Any]) -> Json:
    # Lone surrogates, which an error's message may have, become escapes.
    return json.dumps(metadata, separators=(",", ":")).encode()


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
