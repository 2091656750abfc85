"""Reading jobs, logs and queues."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..job import STATES, Job, Json, LogLine, QueueInfo, State
from . import scripts
from .client import Arg
from .jobs import STATES as FOUND
from .jobs import job_of, pairs
from .keys import Keys
from .store import Store

LISTS = {"waiting": ("wait", "paused"), "active": ("active",)}
SETS = {
    "prioritized": "prioritized",
    "delayed": "delayed",
    "completed": "completed",
    "failed": "failed",
    "waiting-children": "waiting_children",
}
COUNTED = ("wait", "prioritized", "delayed", "active", "completed", "failed", "waiting-children")
"""BullMQ's names of the states, in the order of STATES."""


async def get(store: Store, queue: str, id: str) -> Job | None:
    return (await _load(store, queue, [id]))[0]


async def _load(store: Store, queue: str, ids: Sequence[str]) -> list[Job | None]:
    """Jobs with their states, each read in one step."""
    keys = store.keys(queue)
    script = scripts.bullmq("getStateV2")
    names = [keys.completed, keys.failed, keys.delayed, keys.active, keys.wait, keys.paused]
    names += [keys.waiting_children, keys.prioritized]
    commands: list[tuple[Arg, ...]] = []
    for id in ids:
        job = keys.job(id)
        commands.append(("EVALSHA", script.sha, len(names), *names, id, job))
        commands.append(("HGETALL", job))
        commands.append(("ZSCORE", keys.delayed, id))
        commands.append(("HGET", keys.own("cancels"), id))
    replies = await store.in_one_step(commands) if commands else []
    found: list[Job | None] = []
    for id, state, flat, score, asked in zip(ids, *(replies[part::4] for part in range(4)), strict=True):
        fields = pairs(flat)
        known = FOUND.get(state)
        if b"name" not in fields or known is None:
            found.append(None)
            continue
        found_job = job_of(queue, id, fields, known, None if score is None else float(score))
        found_job.cancel_requested = known == "active" and asked is not None and asked == fields.get(b"ats")
        found.append(found_job)
    return found


async def jobs(
    store: Store, queue: str | None, states: Sequence[State], limit: int, cursor: str | None
) -> tuple[list[Job], str | None]:
    """The newest first. BullMQ keeps no order of adding, so all ids of the states asked for are looked at."""
    wanted = states or STATES
    names = [queue] if queue is not None else await queue_names(store)
    entries: list[tuple[int, int, str, str]] = []
    for name in names:
        ids = await _ids(store, store.keys(name), wanted)
        entries += await _dated(store, name, ids)
    entries.sort(reverse=True)
    if cursor is not None:
        at, number, name, id = json.loads(cursor)
        entries = [entry for entry in entries if entry < (at, number, name, id)]
    page = entries[:limit]
    found: list[Job] = []
    for start in range(0, len(page), 200):
        found += await _page(store, page[start : start + 200])
    return found, json.dumps(page[-1]) if page and len(entries) > limit else None


async def _page(store: Store, entries: Sequence[tuple[int, int, str, str]]) -> list[Job]:
    loaded: dict[tuple[str, str], Job] = {}
    for queue in dict.fromkeys(entry[2] for entry in entries):
        ids = [entry[3] for entry in entries if entry[2] == queue]
        for id, job in zip(ids, await _load(store, queue, ids), strict=True):
            if job is not None:
                loaded[queue, id] = job
    return [loaded[queue, id] for _, _, queue, id in entries if (queue, id) in loaded]


async def _ids(store: Store, keys: Keys, states: Sequence[State]) -> list[str]:
    commands: list[tuple[Arg, ...]] = []
    for state in states:
        if state in LISTS:
            commands += [("LRANGE", getattr(keys, name), 0, -1) for name in LISTS[state]]
        else:
            commands.append(("ZRANGE", getattr(keys, SETS[state]), 0, -1))
    replies = await store.in_one_step(commands)
    return list(dict.fromkeys(id.decode() for reply in replies for id in reply if not id.startswith(b"0:")))


async def _dated(store: Store, queue: str, ids: Sequence[str]) -> list[tuple[int, int, str, str]]:
    """When each was added, and its number among those of one moment."""
    keys = store.keys(queue)
    dated: list[tuple[int, int, str, str]] = []
    for start in range(0, len(ids), 1000):
        some = ids[start : start + 1000]
        times = await store.client.calls([("HGET", keys.job(id), "timestamp") for id in some])
        dated += [
            (int(at), int(id) if id.isdecimal() else 0, queue, id)
            for id, at in zip(some, times, strict=True)
            if isinstance(at, bytes)
        ]
    return dated


async def logs(store: Store, queue: str, id: str, after: int) -> list[tuple[int, LogLine]]:
    """Our lines; where another worker wrote the log, its lines, which have no more than their text."""
    keys = store.keys(queue)
    there, ours, theirs = await store.client.calls(
        [("EXISTS", keys.job(id)), ("LRANGE", keys.lines(id), 0, -1), ("LRANGE", keys.logs(id), 0, -1)]
    )
    if not there:
        return []
    if not ours:
        lines = [LogLine(0, "info", text.decode("utf-8", "replace"), None, 0, "handler") for text in theirs]
        return [(number, line) for number, line in enumerate(lines, 1) if number > after]
    kept = [_line(stored) for stored in ours]
    return [(number, line) for number, line in kept if number > after]


def _line(stored: bytes) -> tuple[int, LogLine]:
    number, _, text = stored.partition(b"|")
    ts, level, message, fields, attempt, source = json.loads(text)
    whole = None if fields is None else json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    return int(number), LogLine(ts, level, message, whole, attempt, source)


async def children(store: Store, queue: str, id: str) -> Json:
    """BullMQ's `processed` hash: child key -> result, which are put together as the texts they are."""
    flat = await store.client.call("HGETALL", f"{store.keys(queue).job(id)}:processed")
    members = (json.dumps(key.decode()).encode() + b":" + value for key, value in pairs(flat).items())
    return b"{" + b",".join(members) + b"}"


async def queue_names(store: Store) -> list[str]:
    """Queues by their `meta` keys, sorted."""
    head, tail = f"{store.prefix}:", ":meta"
    pattern = "".join(f"\\{char}" if char in "*?[]\\^" else char for char in head) + "*" + tail
    names: set[str] = set()
    cursor = b"0"
    while True:
        cursor, found = await store.client.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        names.update(key.decode("utf-8", "replace")[len(head) : -len(tail)] for key in found)
        if cursor in (b"0", 0):
            return sorted(name for name in names if name)


async def queues(store: Store) -> list[QueueInfo]:
    infos = []
    for name in await queue_names(store):
        paused, counted = await store.client.call("HEXISTS", store.keys(name).meta, "paused"), await counts(store, name)
        if paused or any(counted.values()):
            infos.append(QueueInfo(name, bool(paused), counted))
    return infos


async def counts(store: Store, queue: str) -> dict[str, int]:
    keys = store.keys(queue)
    replies = await store.run(scripts.bullmq("getCounts"), [keys.base], [*COUNTED, "paused"])
    found: dict[str, int] = dict(zip(STATES, map(int, replies), strict=False))
    found["waiting"] += int(replies[-1])  # BullMQ before 6 keeps what waits in a paused queue apart
    return found
