"""BullMQ's job schedulers: whoever takes an iteration makes the next one, as its own workers do.

Which time comes next is worked out by the package's `JobScheduler` (cron with time zone, every, limit, end); it is given our way to
the server instead of a connection of its own.
"""

from __future__ import annotations

import json
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import msgpack

from ..job import Lease, LogLine
from ..schedules import Schedule
from . import looking, scripts, settling
from .connection import Arg, ReplyError
from .jobs import Fields, options, pairs
from .store import Store


async def make_next(store: Store, lease: Lease, fields: Fields) -> None:
    """Make the iteration after this job's. A schedule that is no good is said in the job's log: the job itself runs."""
    from bullmq.job import optsFromJSON
    from bullmq.job_scheduler import JobScheduler

    opts = optsFromJSON(deepcopy(options(fields)))
    scheduler = JobScheduler(SimpleNamespace(backend=_Way(store, lease.queue)))
    try:
        data = json.loads(fields.get(b"data", b"{}"))
        name = fields.get(b"name", b"").decode()
        await scheduler.upsertJobScheduler(
            fields[b"rjk"].decode(), opts.get("repeat"), name, data, opts, override=False, producer_id=lease.id
        )
    except (ValueError, KeyError, TypeError, ReplyError) as error:  # croniter's and zoneinfo's own are among them
        text = f"the next iteration of {fields[b'rjk'].decode()!r} could not be made: {type(error).__name__}: {error}"
        await settling.log(store, [(lease, LogLine(store.clock(), "error", text, None, 0, "host"))])


async def put(store: Store, schedule: Schedule) -> None:
    """Make a job scheduler, or change it. Raises ValueError at what the package can't read."""
    from bullmq.job_scheduler import JobScheduler

    repeat = (
        {"pattern": schedule.cron, "tz": schedule.tz} if schedule.cron is not None else {"every": schedule.every_ms}
    )
    opts: dict[str, Any] = {"priority": schedule.priority or None, "attempts": schedule.attempts}
    given = {name: value for name, value in opts.items() if value is not None}
    scheduler = JobScheduler(SimpleNamespace(backend=_Way(store, schedule.queue), keys=None, prefix=store.prefix))
    data = json.loads(schedule.data)
    await scheduler.upsertJobScheduler(
        schedule.id, {name: value for name, value in repeat.items() if value}, schedule.name, data, given
    )


async def all_of_them(store: Store) -> list[Schedule]:
    """The job schedulers of all queues."""
    found = []
    for queue in await looking.queue_names(store):
        keys = store.keys(queue)
        flat = await store.client.call("ZRANGE", keys.repeat, 0, -1, "WITHSCORES")
        asks = [("HGETALL", f"{keys.repeat}:{id.decode()}") for id in flat[::2]]
        for id, due, fields in zip(flat[::2], flat[1::2], await store.client.calls(asks), strict=True):
            found.append(_schedule(queue, id.decode(), int(float(due)), pairs(fields)))
    return found


def _schedule(queue: str, id: str, due: int, fields: Fields) -> Schedule:
    text = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}
    every = text.get("every")
    return Schedule(
        id,
        text.get("name", id),
        queue,
        text.get("data", "null"),
        text.get("pattern"),
        text.get("tz"),
        int(every) if every else None,
        bullmq=True,
        tick=due,
        runs=int(text.get("ic", 0)),
    )


async def remove(store: Store, id: str) -> bool:
    """Remove a job scheduler and the job that it has made; False if no queue has one of this id."""
    for queue in await looking.queue_names(store):
        if await remove_from(store, queue, id):
            return True
    return False


async def remove_from(store: Store, queue: str, id: str) -> bool:
    """Remove a job scheduler of one queue; False if it has none of this id."""
    keys = store.keys(queue)
    names = [keys.repeat, keys.delayed, keys.events]
    return bool(await store.run(scripts.bullmq("removeJobScheduler"), names, [id, keys.base]) == 0)


class _Way:
    """What `JobScheduler` asks of a backend."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self._keys = store.keys(queue)

    async def addJobScheduler(  # noqa: N802 - the package's own name
        self,
        scheduler: str,
        next_ms: int,
        data: str,
        template: dict[str, Any],
        repeat: dict[str, Any],
        delayed: dict[str, Any],
        producer: str | None = None,
    ) -> None:
        """Add the scheduler with its first job."""
        keys = self._keys
        names = [keys.repeat, keys.delayed, keys.wait, keys.paused, keys.meta, keys.prioritized, keys.marker, keys.id]
        names += [keys.events, keys.pc, keys.active]
        packed = [msgpack.packb(repeat), scheduler, data, _encoded(template), _encoded(delayed)]
        args: list[Arg] = [next_ms, *packed, self._store.clock(), keys.base, ""]
        reply = await self._store.run(scripts.bullmq("addJobScheduler"), names, args)
        if isinstance(reply, int) and reply < 0:
            raise ValueError(f"BullMQ refused the job scheduler {scheduler!r} ({reply}): its next job is there already")
        # Nothing is given back: the package would build a Job of it, which wants a queue of the package's own.

    async def updateJobSchedulerNextMillis(  # noqa: N802 - the package's own name
        self, scheduler: str, next_ms: int, data: str, opts: dict[str, Any], producer: str | None = None
    ) -> None:
        keys = self._keys
        names = [keys.repeat, keys.delayed, keys.wait, keys.paused, keys.meta, keys.prioritized, keys.marker, keys.id]
        names += [keys.events, keys.pc, keys.job(producer) if producer else "", keys.active]
        args: list[Arg] = [next_ms, scheduler, data, _encoded(opts), self._store.clock(), keys.base, producer or ""]
        await self._store.run(scripts.bullmq("updateJobScheduler"), names, args)


def _encoded(opts: dict[str, Any]) -> bytes:
    """Options of a job under BullMQ's short names."""
    from bullmq.job import optsEncodeMap

    return bytes(msgpack.packb({optsEncodeMap.get(name, name): value for name, value in opts.items()}))
