"""Schedules from outside: `client.schedules`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypedDict, Unpack

from jobhost_sdk.durations import Duration, milliseconds

from jobhost.errors import ScheduleNotFoundError
from jobhost.listings import Listing, schedule_listing
from jobhost.newjobs import json_text, timeout_ms
from jobhost.queues.clock import Clock, unix_ms
from jobhost.queues.schedules import CatchUp, Overlap, Schedule, begun, checked, job_of, resumed
from jobhost.queues.seam import Added, Backend


class ScheduleOptions(TypedDict, total=False):
    """What may be said of a schedule; exactly one of `cron`, `every` and `at`."""

    cron: str | None
    """Five fields as in cron(8), or six with seconds in front."""
    tz: str | None
    """The time zone of `cron`, such as Europe/Berlin; UTC by default."""
    every: Duration | None
    at: datetime | None
    """Once; with its time zone."""
    queue: str | None
    """By default the handler's own where a host has published it, else `default`."""
    overlap: Overlap
    """While the job before has not ended: `allow` both, `skip` the new one, `replace` the old."""
    catch_up: CatchUp
    """Of what was missed while no host ran: `one`, `all` or `none`."""
    jitter: Duration
    """Each tick comes up to so much later."""
    priority: int
    attempts: int | None
    timeout: Duration | None
    paused: bool
    bullmq: bool
    """On Redis: a job scheduler of BullMQ's own, which Node sees too; it knows none of overlap, catch_up, jitter and pause."""


class ScheduleClient:
    """Adds, changes, lists, pauses and removes schedules, and runs one besides."""

    def __init__(
        self,
        backend: Backend,
        queue_of: Callable[[str], Awaitable[str | None]],
        handle: Callable[[str, Added], Any],
        clock: Clock = unix_ms,
    ) -> None:
        self._clock = clock
        self._backend = backend
        self._queue_of = queue_of
        self._handle = handle

    async def put(self, id: str, job: str, data: Any = None, **options: Unpack[ScheduleOptions]) -> Listing:
        """Add a schedule, or change the one of this id: each of its ticks gives a job for the handler `job`.

        One that is there and the same goes on as it was. Raises ValueError that says what is wrong, PayloadError.
        """
        unknown = set(options) - set(ScheduleOptions.__annotations__)
        if unknown:
            raise TypeError(
                f"unknown option {min(unknown)!r}; known: {', '.join(sorted(ScheduleOptions.__annotations__))}"
            )
        every, at, timeout = options.get("every"), options.get("at"), options.get("timeout")
        if at is not None and at.tzinfo is None:
            raise ValueError(f"{at.isoformat()} could be anywhere: give it a time zone")
        schedule = checked(
            Schedule(
                id,
                job,
                options.get("queue") or await self._queue_of(job) or "default",
                json_text(data, "data").decode(),
                options.get("cron"),
                options.get("tz"),
                None if every is None else milliseconds(every),
                None if at is None else int(at.timestamp() * 1000),
                options.get("overlap", "allow"),
                options.get("catch_up", "one"),
                milliseconds(options.get("jitter", "0s")),
                options.get("priority", 0),
                options.get("attempts"),
                None if timeout is None else timeout_ms(timeout),
                options.get("paused", False),
                options.get("bullmq", False),
            )
        )
        after = begun(schedule, self._clock(), await self._backend.schedule(id))
        await self._backend.put_schedule(after)
        return schedule_listing(await self._backend.schedule(id) or after)

    async def list(self) -> list[Listing]:
        """All schedules, by id."""
        return [schedule_listing(schedule) for schedule in await self._backend.schedules()]

    async def get(self, id: str) -> Listing:
        """A schedule. Raises ScheduleNotFoundError."""
        return schedule_listing(await self._find(id))

    async def remove(self, id: str) -> bool:
        """Delete a schedule; jobs that it has given are not touched. False if there is none."""
        return await self._backend.remove_schedule(id)

    async def pause(self, id: str) -> None:
        """Let it give no jobs until `resume`. Raises ScheduleNotFoundError, ValueError for one of BullMQ's."""
        await self._set_paused(id, True)

    async def resume(self, id: str) -> None:
        """Let it go on; what its ticks would have been meanwhile is not made up for. Raises ScheduleNotFoundError."""
        await self._set_paused(id, False)

    async def run(self, id: str) -> Any:
        """Give one job now, besides its ticks; a JobHandle. Raises ScheduleNotFoundError."""
        schedule = await self._find(id)
        [added] = await self._backend.add([job_of(schedule, self._clock(), by_hand=True)])
        return self._handle(schedule.queue, added)

    async def _set_paused(self, id: str, paused: bool) -> None:
        schedule = await self._find(id)
        if schedule.bullmq:
            raise ValueError(f"{id!r} is a job scheduler of BullMQ, which has no pause: remove it, or pause its queue")
        await self._backend.put_schedule(resumed(schedule, paused, self._clock()))

    async def _find(self, id: str) -> Schedule:
        schedule = await self._backend.schedule(id)
        if schedule is None:
            raise ScheduleNotFoundError(f"there is no schedule {id!r}")
        return schedule
