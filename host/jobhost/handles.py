"""What a producer holds of a job it enqueued: wait for its result, follow its progress."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from jobhost_sdk.durations import Duration, milliseconds
from jobhost_sdk.json_values import decode

from jobhost.errors import JobFailedError, JobNotFoundError
from jobhost.listings import Listing, iso, job_listing, value
from jobhost.queues.job import Event, Json, State
from jobhost.queues.seam import Added, Backend
from jobhost.watch import JobWatch


class JobHandle:
    """A job that was enqueued. `created` is False if a job of this id was there already and was left as it is."""

    def __init__(self, backend: Backend, watch: JobWatch, queue: str, added: Added) -> None:
        self._backend = backend
        self._watch = watch
        self.queue = queue
        self.id = added.id
        self.created = added.created
        self.created_at = iso(added.created_at)

    async def result(self, timeout: Duration | None = None) -> Any:
        """Wait until the job has finished and give what its handler returned.

        Raises JobFailedError if it failed for good, TimeoutError if it has not finished within `timeout` (None: wait for
        ever), JobNotFoundError if it was removed before, BackendUnavailableError.
        """
        async with asyncio.timeout(None if timeout is None else milliseconds(timeout) / 1000):
            async with aclosing(self._watch.changes(self.queue, self.id)) as changes:
                async for event in changes:
                    end = await self._look() if event is None else _end(event)
                    if end is not None:
                        return self._value(*end)
        raise AssertionError("changes never end")

    async def _look(self) -> tuple[State, Json | None] | None:
        job = await self._backend.get(self.queue, self.id)
        if job is None:
            raise self._missing()
        if job.state == "completed":
            return job.state, job.result
        return (job.state, job.error) if job.state == "failed" else None

    def _missing(self) -> JobNotFoundError:
        return JobNotFoundError(f"job {self.id!r} of queue {self.queue!r} is not there (any more)")

    def _value(self, state: State, told: Json | None) -> Any:
        if state == "completed":
            return None if told is None else decode(told)
        error = value(told)
        raise JobFailedError(self.id, error if isinstance(error, dict) else {})

    async def progress(self) -> AsyncIterator[Any]:
        """Yield the job's progress whenever it changes, until the job has finished. Values in between may be left out.

        Raises JobNotFoundError if the job is removed meanwhile.
        """
        last: Json | None = None
        async with aclosing(self._watch.changes(self.queue, self.id)) as changes:
            async for event in changes:
                if event is not None and event.type not in ("progress", "completed", "failed", "removed"):
                    continue
                job = await self._backend.get(self.queue, self.id)
                if job is None and (event is None or _end(event) is None):
                    raise self._missing()
                if job is not None and job.progress is not None and job.progress != last:
                    last = job.progress
                    yield decode(last)
                if job is None or job.state in ("completed", "failed"):
                    return

    async def info(self) -> Listing:
        """The job as listings show it. Raises JobNotFoundError."""
        job = await self._backend.get(self.queue, self.id)
        if job is None:
            raise self._missing()
        return job_listing(job)


def _end(event: Event) -> tuple[State, Json | None] | None:
    """How an event says the job ended. A job that is not kept is told of by its last event alone."""
    if event.type == "completed":
        return "completed", event.data
    if event.type == "failed":
        told = value(event.data)
        error = told.get("error") if isinstance(told, dict) else None
        return "failed", json.dumps(error).encode() if isinstance(error, dict) else None
    return None
