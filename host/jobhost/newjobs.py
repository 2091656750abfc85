"""A producer's options, checked and turned into the job that a backend stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from jobhost_sdk.durations import Duration, milliseconds
from jobhost_sdk.errors import InvalidValueError
from jobhost_sdk.json_values import encode

from jobhost.errors import PayloadError
from jobhost.queues.job import Json, NewJob
from jobhost.versions import MARK

MAX_PRIORITY = 2_097_152
"""BullMQ's: priorities above would not keep their order in its scores."""


class JobOptions(TypedDict, total=False):
    """What a producer may say of a job; None is unsaid, and left to the handler, its queue and the defaults."""

    queue: str | None
    """By default the handler's own where a host has published it, else `default`."""
    id: str | None
    """A second job of an id that is there is the first one, left as it is."""
    delay: Duration | None
    priority: int
    """0 (none) runs first, then 1, 2, …, as in BullMQ."""
    lifo: bool
    """In front of the waiting jobs of its priority."""
    attempts: int | None
    backoff: Duration | Mapping[str, Any] | None
    """"5s" or `{"type", "delay", "jitter"}`."""
    timeout: Duration | None
    """"none" for no limit."""
    metadata: Mapping[str, Any] | None
    version: str | None
    """Of the handler: "2", "2.1", "2.1.0"; by default the newest that the host has."""


def new_job(name: str, data: Any, queue: str, options: JobOptions) -> NewJob:
    """Build a job. Raises PayloadError for data that is no JSON value, ValueError or TypeError for a wrong option."""
    unknown = set(options) - set(JobOptions.__annotations__)
    if unknown:
        raise TypeError(f"unknown option {min(unknown)!r}; known: {', '.join(sorted(JobOptions.__annotations__))}")
    if options.get("version"):
        name = f"{name}{MARK}{options['version']}"
    delay, timeout = options.get("delay"), options.get("timeout")
    backoff, metadata = options.get("backoff"), options.get("metadata")
    job = NewJob(
        name,
        json_text(data, "data"),
        queue,
        id=options.get("id"),
        delay_ms=0 if delay is None else milliseconds(delay),
        priority=options.get("priority", 0),
        lifo=options.get("lifo", False),
        attempts=options.get("attempts"),
        backoff=None if backoff is None else _backoff(backoff),
        timeout_ms=None if timeout is None else timeout_ms(timeout),
        metadata=None if metadata is None else json_text(dict(metadata), "metadata"),
    )
    _check(job)
    return job


def json_text(given: Any, where: str) -> Json:
    """A value as JSON text; `where` begins the path in the error. Raises PayloadError."""
    try:
        return encode(given, where)
    except InvalidValueError as error:
        raise PayloadError(str(error)) from error


def timeout_ms(timeout: Duration) -> int:
    """Milliseconds of a limit; 0 for "none". Raises ValueError."""
    ms = 0 if timeout == "none" else milliseconds(timeout)
    if ms == 0 and timeout != "none":
        raise ValueError(f'a timeout of {timeout!r} would end every run at once: write "none" for no limit')
    return ms


def _backoff(backoff: Duration | Mapping[str, Any]) -> Json:
    from jobhost.config.retry import backoff_json  # only for the few who say it job by job

    return backoff_json(dict(backoff) if isinstance(backoff, Mapping) else backoff)


def _check(job: NewJob) -> None:
    """Raise ValueError for an option that no backend could keep."""
    if not isinstance(job.name, str) or not job.name:
        raise ValueError("a job needs a name")
    if not job.queue:
        raise ValueError("the name of a queue must not be empty")
    if job.id is not None and (not isinstance(job.id, str) or not job.id):
        raise ValueError(f"{job.id!r} is not an id: write a text")
    if not _is_whole(job.priority, 0, MAX_PRIORITY):
        raise ValueError(f"{job.priority!r} is not a priority: 0 runs first, then 1, 2, … up to {MAX_PRIORITY:,}")
    if job.attempts is not None and not _is_whole(job.attempts, 1, 2**31 - 1):
        raise ValueError(f"{job.attempts!r} attempts make no sense: write 1 or more")


def _is_whole(number: object, least: int, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and least <= number <= most
