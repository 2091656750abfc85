"""Pause, retry, cancel, promote, remove, drain, clean."""

from __future__ import annotations

import json

from jobhost.errors import JobActiveError

from ..job import Job, Settlement, State, job_scope
from ..outcomes import CANCELLED
from ..seam import Cancelled
from . import claiming, flows, keyed, looking, scripts, settling
from .connection import Arg
from .store import Store

CHUNK = 1_000
CLEANED = {
    "waiting": "wait",
    "prioritized": "prioritized",
    "delayed": "delayed",
    "completed": "completed",
    "failed": "failed",
    "waiting-children": "waiting-children",
}


async def pause(store: Store, queue: str, paused: bool) -> None:
    keys = store.keys(queue)
    first = [keys.wait, keys.paused] if paused else [keys.paused, keys.wait]
    names = [*first, keys.meta, keys.prioritized, keys.events, keys.delayed, keys.marker]
    await store.run(scripts.bullmq("pause"), names, ["paused" if paused else "resumed"])


async def retry(store: Store, queue: str, id: str) -> bool:
    job = await looking.get(store, queue, id)
    if job is None or job.state not in ("completed", "failed"):
        return False
    keys = store.keys(queue)
    target = keys.failed if job.state == "failed" else keys.completed
    names = [keys.job(id), keys.events, target, keys.wait, keys.meta, keys.active, keys.marker]
    names += [keys.prioritized, keys.pc]
    gone = "failedReason" if job.state == "failed" else "returnvalue"
    done = await store.run(scripts.bullmq("reprocessJob"), names, [id, "LPUSH", gone, job.state, "1", "0"])
    if done == 1:
        await store.client.calls([("HDEL", keys.job(id), "stc"), ("HDEL", keys.own("cancels"), id)])
        await _forget(store, queue, id)
        await flows.again(store, job)
    return bool(done == 1)


async def _forget(store: Store, queue: str, id: str) -> None:
    """A job that begins anew has no past failures."""
    key = store.keys(queue).job(id)
    stored = await store.client.call("HGET", key, "jh")
    ours = json.loads(stored) if stored else {}
    kept = {name: value for name, value in ours.items() if name in ("timeout", "metadata", "flow_id", "flow_name")}
    if kept != ours:
        await store.run(scripts.own("amend"), [key], ["jh", json.dumps(kept, ensure_ascii=False)])


async def cancel(store: Store, queue: str, id: str) -> Cancelled:
    job = await looking.get(store, queue, id)
    if job is None:
        return "missing"
    if job.state in ("completed", "failed"):
        return "finished"
    lease = await claiming.take(store, queue, id)
    if lease is not None:
        await store.run(*keyed.leaving(store, job))
        store.held[lease].waited = True
        ended = await settling.settle(store, [Settlement(lease, "failed", error=CANCELLED, attempt_used=False)])
        return "cancelled" if ended[0] else "missing"
    keys = store.keys(queue)
    ats = await store.client.call("HGET", keys.job(id), "ats")
    await store.client.calls(
        [
            ("HSET", keys.own("cancels"), id, ats or b"0"),
            (
                "PUBLISH",
                store.shared("cancel"),
                json.dumps([queue, id, job.name, store.clock(), job.attempts_made + 1]),
            ),
        ]
    )
    return "requested"


async def promote(store: Store, queue: str, id: str) -> bool:
    keys = store.keys(queue)
    names = [keys.delayed, keys.wait, keys.paused, keys.meta, keys.prioritized, keys.active, keys.pc]
    names += [keys.events, keys.marker]
    return bool(await store.run(scripts.bullmq("promote"), names, [keys.base, id]) == 0)


async def remove(store: Store, queue: str, id: str) -> bool:
    job = await looking.get(store, queue, id)
    if job is None:
        return False
    keys = store.keys(queue)
    if job.state == "active":
        raise JobActiveError(f"job {id!r} of queue {queue!r} is running: cancel it first")
    if not await store.run(scripts.bullmq("removeJob"), [keys.job(id), keys.repeat], [id, 1, keys.base]):
        raise JobActiveError(f"job {id!r} of queue {queue!r} is running: cancel it first")
    await store.run(*keyed.leaving(store, job))
    await forget_jobs(store, [job])
    if job.state not in ("completed", "failed"):
        await flows.gone(store, [job])
    return True


async def forget_jobs(store: Store, jobs: list[Job]) -> None:
    """Remove what is ours of jobs that are gone."""
    commands: list[tuple[Arg, ...]] = []
    for job in jobs:
        keys = store.keys(job.queue)
        scope = job_scope(job.queue, job.id, job.created_at)
        commands += [
            ("DEL", keys.lines(job.id), keys.own(f"line-count:{job.id}"), store.shared(f"state:{scope}")),
            ("SREM", store.shared("scopes"), scope),
            ("HDEL", keys.own("cancels"), job.id),
        ]
    await store.client.calls(commands)


async def drain(store: Store, queue: str, delayed: bool) -> int:
    keys = store.keys(queue)
    counted = await looking.counts(store, queue)
    names = [keys.wait, keys.paused, keys.delayed, keys.prioritized, keys.repeat]
    await store.run(scripts.bullmq("drain"), names, [keys.base, "1" if delayed else "0"])
    await store.client.call("XADD", keys.events, "*", "event", "drained")
    await flows.look(store)
    left = await looking.counts(store, queue)
    states = ("waiting", "prioritized", "delayed") if delayed else ("waiting", "prioritized")
    return sum(max(0, counted[state] - left[state]) for state in states)


async def clean(store: Store, queue: str, state: State, older_than_ms: int, limit: int) -> int:
    if state == "active":
        raise ValueError("active jobs are not cleaned: cancel them")
    keys = store.keys(queue)
    name = CLEANED[state]
    cleaned = 0
    while True:
        some = min(CHUNK, limit - cleaned) if limit else CHUNK
        if some <= 0:
            break
        args: list[Arg] = [keys.base, store.clock() - older_than_ms, some, name]
        names = [keys.base + name, keys.events, keys.repeat]
        gone = await store.run(scripts.bullmq("cleanJobsInSet"), names, args)
        cleaned += len(gone)
        if len(gone) < some:
            break
    if state not in ("completed", "failed"):
        await flows.look(store)
    return cleaned


async def remove_queue(store: Store, queue: str) -> int:
    keys = store.keys(queue)
    counted = await looking.counts(store, queue)
    if counted["active"]:
        raise JobActiveError(f"queue {queue!r} has running jobs: cancel them, or wait for them")
    await pause(store, queue, True)
    while (left := await store.run(scripts.bullmq("obliterate"), [keys.meta, keys.base], [CHUNK, ""])) == 1:
        pass
    if left == -2:
        raise JobActiveError(f"queue {queue!r} has running jobs: cancel them, or wait for them")
    await _forget_queue(store, queue)
    await flows.look(store)
    return sum(counted.values())


async def _forget_queue(store: Store, queue: str) -> None:
    pattern = f"{store.keys(queue).base}jh:*"
    cursor = b"0"
    while True:
        cursor, found = await store.client.call("SCAN", cursor, "MATCH", pattern, "COUNT", CHUNK)
        if found:
            await store.client.call("DEL", *found)
        if cursor in (b"0", 0):
            break
    gone = [scope for scope in await scopes(store) if scope.startswith(f"job:{queue}:")]
    for scope in gone:
        await store.client.calls([("DEL", store.shared(f"state:{scope}")), ("SREM", store.shared("scopes"), scope)])


async def scopes(store: Store) -> list[str]:
    """Scopes of state that hold a key."""
    return sorted(scope.decode() for scope in await store.client.call("SMEMBERS", store.shared("scopes")))
