"""What a run is told of its job: the maps of the wire's `execute`."""

from __future__ import annotations

from typing import Any

from ..config.policy import Policy
from ..queues.flows import InFlow
from ..queues.job import Job


def wire_job(job: Job, policy: Policy) -> dict[str, Any]:
    """The `job` of the wire's `execute`. What is nil is left out."""
    told = {
        "id": job.id,
        "name": job.name,
        "queue": job.queue,
        "data": job.data,
        "attempt": job.attempts_made + 1,
        "max_attempts": policy.attempts,
        "priority": job.priority,
        "created_at": job.created_at,
    }
    if job.metadata is not None:
        told["metadata"] = job.metadata
    return told


def wire_context(job: Job, policy: Policy, place: InFlow | None = None) -> dict[str, Any]:
    """The `context` of the wire's `execute`. What is nil is left out."""
    attempt = job.attempts_made + 1
    told: dict[str, Any] = {"attempt": attempt, "idempotency_key": f"{job.queue}:{job.id}:{job.created_at}"}
    if policy.timeout:
        told["timeout_ms"] = policy.timeout
    if job.traceparent is not None:
        told["traceparent"] = job.traceparent
    if place is not None:
        told["flow_id"] = place.id
        told["flow_name"] = place.name
        told["step_name"] = place.step
        told["step_id"] = f"{place.id}__{job.name}__attempt-{attempt}"
    return told
