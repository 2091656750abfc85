"""Schedules on Redis: `prefix:jh:schedules`, a hash of JSON objects, and `prefix:jh:schedules:due`, when each comes due.

These are ours, since they know of overlap, of catching up and of being paused. Job schedulers of BullMQ (repeating.py) are listed beside
them, and removed like them.
"""

from __future__ import annotations

from ..schedules import Fired, Firing, Schedule, dumped, is_over, loaded, settled
from . import repeating, scripts
from .connection import Arg
from .jobs import adding_args, adding_keys, script_of
from .store import Store


async def put(store: Store, schedule: Schedule) -> None:
    """Store one; under its id there is then none of the other kind in its queue."""
    if schedule.bullmq:
        await _remove_ours(store, schedule.id)
        await repeating.put(store, schedule)
        return
    await repeating.remove_from(store, schedule.queue, schedule.id)
    commands: list[tuple[Arg, ...]] = [("HSET", store.shared("schedules"), schedule.id, dumped(schedule))]
    if schedule.due is None:
        commands.append(("ZREM", store.shared("schedules:due"), schedule.id))
    else:
        commands.append(("ZADD", store.shared("schedules:due"), schedule.due, schedule.id))
    await store.in_one_step(commands)


async def one(store: Store, id: str) -> Schedule | None:
    """Give one."""
    stored = await store.client.call("HGET", store.shared("schedules"), id)
    if stored is not None:
        return loaded(stored)
    return next((theirs for theirs in await repeating.all_of_them(store) if theirs.id == id), None)


async def all_of_them(store: Store) -> list[Schedule]:
    """Give all."""
    found = [loaded(stored) for stored in await store.client.call("HVALS", store.shared("schedules"))]
    found += await repeating.all_of_them(store)
    return sorted(found, key=lambda schedule: schedule.id)


async def remove(store: Store, id: str) -> bool:
    """Delete one, of either kind."""
    return await _remove_ours(store, id) or await repeating.remove(store, id)


async def _remove_ours(store: Store, id: str) -> bool:
    commands: list[tuple[Arg, ...]] = [
        ("HDEL", store.shared("schedules"), id),
        ("ZREM", store.shared("schedules:due"), id),
    ]
    return bool((await store.in_one_step(commands))[0])


async def due(store: Store, limit: int) -> tuple[list[Schedule], int | None]:
    """Give those that are due, and when the next one is."""
    now, key = store.clock(), store.shared("schedules:due")
    ids, following = await store.client.calls(
        [
            ("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit),
            ("ZRANGEBYSCORE", key, f"({now}", "+inf", "WITHSCORES", "LIMIT", 0, 1),
        ]
    )
    stored = await store.client.call("HMGET", store.shared("schedules"), *ids) if ids else []
    found = [loaded(text) for text in stored if text is not None]
    return found, int(float(following[1])) if following else None


async def fire(store: Store, firing: Firing) -> Fired | None:
    """Add what is due, unless another host has: the script compares the schedule with what was read here."""
    id = firing.schedule.id
    stored = await store.client.call("HGET", store.shared("schedules"), id)
    before = loaded(stored) if stored is not None else None
    if before is None or before.tick != firing.before or before.paused:
        return None
    running = False
    if before.last_job is not None and before.overlap != "allow":
        facts = await store.client.call("HMGET", store.keys(before.queue).job(before.last_job), "name", "finishedOn")
        running = facts[0] is not None and facts[1] is None
    after, jobs, fired = settled(firing, before, running)
    args: list[Arg] = [id, stored, b"" if is_over(after) else dumped(after), "" if after.due is None else after.due]
    now = store.clock()
    for job in jobs:
        script = script_of(job)
        names = adding_keys(store.keys(job.queue), script)
        args += ["p" if job.priority else "", len(names), *names, *adding_args(store.keys(job.queue), job, now)]
    keys = [store.shared("schedules"), store.shared("schedules:due")]
    return fired if await store.run(scripts.firing(), keys, args) else None
