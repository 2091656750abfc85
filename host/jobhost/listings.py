"""Jobs, queues, log lines and hosts as listings show them (design section 8): plain values, stable keys, ISO 8601 times.

The one place for these shapes: the command line, the client and HTTP all show what is made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jobhost.queues.flows import FlowEvent, FlowInfo
from jobhost.queues.job import HostInfo, Job, Json, LogLine, PublishedHandler, QueueInfo
from jobhost.queues.schedules import Schedule

Listing = dict[str, Any]

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


def job_listing(job: Job) -> Listing:
    """A job. `timeout` is a duration ("30s"), "none", or None where the job leaves it to its handler."""
    return {
        "id": job.id,
        "queue": job.queue,
        "name": job.name,
        "state": job.state,
        "data": value(job.data),
        "result": value(job.result),
        "error": value(job.error),
        "timeout": None if job.timeout_ms is None else exact_duration(job.timeout_ms),
        "metadata": value(job.metadata),
        "attempts_made": job.attempts_made,
        "max_attempts": job.max_attempts,
        "progress": value(job.progress),
        "priority": job.priority,
        "delay_until": iso(job.delay_until),
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "flow_id": job.flow_id,
        "host": job.host,
        "receipt": value(job.receipt),
    }


def flow_listing(flow: FlowInfo) -> Listing:
    """A flow. `events`: the number of its last event; `error`: of the first step that failed, or why it was cancelled."""
    return {
        "id": flow.id,
        "name": flow.name,
        "status": flow.status,
        "started_at": iso(flow.started_at),
        "finished_at": iso(flow.finished_at),
        "parent": flow.parent,
        "events": flow.events,
        "data": value(flow.data),
        "error": value(flow.error),
    }


def flow_event_listing(event: FlowEvent, names: Mapping[tuple[str, str], str]) -> Listing:
    """An event of a flow. `names`: the names of its jobs by queue and id; of one that is gone the step's name stands for it."""
    run_id = step_id = None
    if event.queue is not None and event.job_id is not None:
        run_id = f"{event.queue}:{event.job_id}:{event.attempt}"
        name = names.get((event.queue, event.job_id), event.step)
        step_id = f"{event.flow_id}__{name}__attempt-{event.attempt}"
    return {
        "id": event.n,
        "ts": iso(event.ts),
        "type": event.type,
        "run_id": run_id,
        "flow_id": event.flow_id,
        "flow_name": event.flow_name,
        "step_name": event.step,
        "step_id": step_id,
        "attempt": event.attempt,
        "queue": event.queue,
        "job_id": event.job_id,
        "data": value(event.data),
    }


def schedule_listing(schedule: Schedule) -> Listing:
    """A schedule. `next_at`: when its next job comes; None while it is paused, and once none will come."""
    return {
        "id": schedule.id,
        "job": schedule.name,
        "queue": schedule.queue,
        "data": value(schedule.data.encode()),
        "cron": schedule.cron,
        "tz": schedule.tz,
        "every": None if schedule.every_ms is None else exact_duration(schedule.every_ms),
        "at": iso(schedule.at),
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "jitter": None if not schedule.jitter_ms else exact_duration(schedule.jitter_ms),
        "priority": schedule.priority,
        "attempts": schedule.attempts,
        "timeout": None if schedule.timeout_ms is None else exact_duration(schedule.timeout_ms),
        "paused": schedule.paused,
        "bullmq": schedule.bullmq,
        "source": schedule.source,
        "next_at": iso(schedule.due),
        "last_at": iso(schedule.last_tick),
        "last_job": schedule.last_job,
        "runs": schedule.runs,
        "skipped": schedule.skipped,
    }


def queue_listing(queue: QueueInfo) -> Listing:
    """A queue with the number of its jobs in each state."""
    return {"name": queue.name, "paused": queue.paused, "counts": dict(queue.counts)}


def log_listing(line: LogLine) -> Listing:
    """A log line of a job."""
    return {
        "ts": iso(line.ts),
        "level": line.level,
        "message": line.message,
        "fields": value(line.fields),
        "attempt": line.attempt,
        "source": line.source,
    }


def host_listing(host: HostInfo) -> Listing:
    """A host; queues, runs, version and pid are what it said with its last heartbeat."""
    told = value(host.info)
    times = {"id": host.id, "started_at": iso(host.started_at), "heartbeat_at": iso(host.heartbeat_at)}
    return times | (told if isinstance(told, dict) else {})


def handler_listing(handler: PublishedHandler) -> Listing:
    """A handler that some host has published."""
    told = value(handler.info)
    return (told if isinstance(told, dict) else {}) | {"name": handler.name, "queue": handler.queue}


def value(text: Json | None) -> Any:
    """The value of stored JSON. Text that is none (another producer's mistake) is shown as text."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.decode(errors="replace")


def iso(ms: int | None) -> str | None:
    """Unix milliseconds as ISO 8601 in UTC: `2026-01-31T12:00:00.250Z`."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact_duration(ms: int) -> str:
    """Milliseconds in the largest unit that loses nothing: 90000 -> "90s"; 0 -> "none"."""
    if ms == 0:
        return "none"
    for size, unit in _UNITS:
        if ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"
