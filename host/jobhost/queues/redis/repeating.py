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
from . import scripts, settling
from .connection import ReplyError
from .jobs import Fields, options
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


class _Way:
    """What `JobScheduler` asks of a backend."""

    def __init__(self, store: Store, queue: str) -> None:
        self._store = store
        self._keys = store.keys(queue)

    async def updateJobSchedulerNextMillis(  # noqa: N802 - the package's own name
        self, scheduler: str, next_ms: int, data: str, opts: dict[str, Any], producer: str | None = None
    ) -> None:
        from bullmq.job import optsEncodeMap

        keys = self._keys
        names = [keys.repeat, keys.delayed, keys.wait, keys.paused, keys.meta, keys.prioritized, keys.marker, keys.id]
        names += [keys.events, keys.pc, keys.job(producer) if producer else "", keys.active]
        packed = msgpack.packb({optsEncodeMap.get(name, name): value for name, value in opts.items()})
        args = [next_ms, scheduler, data, packed, self._store.clock(), keys.base, producer or ""]
        await self._store.run(scripts.bullmq("updateJobScheduler"), names, args)
