"""Reading jobs, logs and queues."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left
from collections.abc import Sequence

from ..job import STATES, Job, Json, LogLine, QueueInfo, State
from . import scripts
from .connection import Arg
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
LINES = ("active", "wait", "paused")
COUNTED = ("wait", "prioritized", "delayed", "active", "completed", "failed", "waiting-children")
"""BullMQ's names of the states, in the order of STATES."""


async def get(store: Store, queue: str, id: str) -> Job | None:
    return (await _load(store, queue, [id]))[0]


FEW = 16
"""Jobs whose states are asked for one by one. BullMQ's script looks through the line of waiting jobs for each: with 100,000 in it a
page of 200 takes ten times as long as to read the line."""
PLACES = ("completed", "failed", "delayed", "prioritized", "active", "wait", "paused", "waiting_children")
"""Where a job may be, in the order in which BullMQ's `getStateV2` looks."""


async def _load(store: Store, queue: str, ids: Sequence[str]) -> list[Job | None]:
    """Jobs with their states, each read in one step."""
    if not ids:
        return []
    keys = store.keys(queue)
    commands = _one_by_one(keys, ids) if len(ids) <= FEW else _by_places(keys, ids)
    head = len(commands)
    for id in ids:
        commands += [("HGETALL", keys.job(id)), ("ZSCORE", keys.delayed, id), ("HGET", keys.own("cancels"), id)]
    replies = await store.in_one_step(commands)
    states = replies[:head] if len(ids) <= FEW else _states(ids, replies[:head])
    found: list[Job | None] = []
    parts = (replies[head + part :: 3] for part in range(3))
    for id, state, flat, score, asked in zip(ids, states, *parts, strict=True):
        fields = pairs(flat)
        known = FOUND.get(state)
        if b"name" not in fields or known is None:
            found.append(None)
            continue
        found_job = job_of(queue, id, fields, known, None if score is None else float(score))
        found_job.cancel_requested = known == "active" and asked is not None and asked == fields.get(b"ats")
        found.append(found_job)
    return found


def _one_by_one(keys: Keys, ids: Sequence[str]) -> list[tuple[Arg, ...]]:
    script = scripts.bullmq("getStateV2")
    names = [keys.completed, keys.failed, keys.delayed, keys.active, keys.wait, keys.paused]
    names += [keys.waiting_children, keys.prioritized]
    return [("EVALSHA", script.sha, len(names), *names, id, keys.job(id)) for id in ids]


def _by_places(keys: Keys, ids: Sequence[str]) -> list[tuple[Arg, ...]]:
    return [
        ("LRANGE", getattr(keys, place), 0, -1) if place in LINES else ("ZMSCORE", getattr(keys, place), *ids)
        for place in PLACES
    ]


def _states(ids: Sequence[str], replies: Sequence[list[bytes | None]]) -> list[bytes]:
    """What `getStateV2` would say of each."""
    where: dict[str, str] = {}
    for place, reply in reversed(list(zip(PLACES, replies, strict=True))):
        if place in LINES:
            there = {id.decode() for id in reply if id is not None}
            where.update({id: place for id in ids if id in there})
        else:
            where.update({id: place for id, score in zip(ids, reply, strict=True) if score is not None})
    return [where.get(id, "unknown").replace("_", "-").encode() for id in ids]


async def some(store: Store, places: Sequence[tuple[str, str]]) -> list[Job]:
    """Those of some jobs that are there, in this order. A place is a queue and an id."""
    loaded: dict[tuple[str, str], Job] = {}
    for queue in dict.fromkeys(place[0] for place in places):
        ids = [id for of, id in places if of == queue]
        for start in range(0, len(ids), CHUNK):
            for job in await _load(store, queue, ids[start : start + CHUNK]):
                if job is not None:
                    loaded[queue, job.id] = job
    return [loaded[place] for place in places if place in loaded]


Entry = tuple[int, int, str, str]
"""When a job was added, its number (0 if it has a name instead), its queue, its id: what the listing is ordered by."""
CHUNK = 1_000


async def jobs(
    store: Store, queue: str | None, states: Sequence[State], limit: int, cursor: str | None
) -> tuple[list[Job], str | None]:
    """The newest first. BullMQ keeps no order of adding, but its numbers are one: only as many are asked for their time as
    may be on the page. Ids that producers gave are all asked for theirs."""
    after = None if cursor is None else _entry(cursor)
    names = [queue] if queue is not None else await queue_names(store)
    entries: list[Entry] = []
    for name in names:
        ids = await _ids(store, store.keys(name), states or STATES)
        numbers = sorted((int(id) for id in ids if id.isdecimal()), reverse=True)
        entries += _below(await _dated(store, name, [id for id in ids if not id.isdecimal()]), after)
        entries += await _newest(store, name, numbers, limit + 1, after)
    entries.sort(reverse=True)
    page = entries[:limit]
    found: list[Job] = []
    for start in range(0, len(page), 200):
        found += await _page(store, page[start : start + 200])
    return found, _cursor(page[-1]) if page and len(entries) > limit else None


def _cursor(entry: Entry) -> str:
    """A page's end in letters that no shell takes for anything."""
    return base64.urlsafe_b64encode(json.dumps(entry).encode()).decode().rstrip("=")


def _entry(cursor: str) -> Entry:
    try:
        at, number, queue, id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return int(at), int(number), str(queue), str(id)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{cursor!r} is no cursor of a listing") from error


def _below(entries: Sequence[Entry], after: Entry | None) -> list[Entry]:
    return [entry for entry in entries if after is None or entry < after]


async def _newest(store: Store, queue: str, numbers: Sequence[int], wanted: int, after: Entry | None) -> list[Entry]:
    """The first entries of jobs whose numbers go down; they were added in that order, but for a clock that went back."""
    start = 0
    if after is not None and after[2] == queue and after[1]:
        # What was on earlier pages has higher numbers.
        start = max(0, bisect_left(numbers, -after[1], key=lambda number: -number) - CHUNK)
    found: list[Entry] = []
    while start < len(numbers) and len(found) < wanted:
        some = [str(number) for number in numbers[start : start + CHUNK]]
        found += _below(await _dated(store, queue, some), after)
        start += CHUNK
    return found


async def _page(store: Store, entries: Sequence[Entry]) -> list[Job]:
    return await some(store, [entry[2:] for entry in entries])


async def _ids(store: Store, keys: Keys, states: Sequence[State]) -> list[str]:
    commands: list[tuple[Arg, ...]] = []
    for state in states:
        if state in LISTS:
            commands += [("LRANGE", getattr(keys, name), 0, -1) for name in LISTS[state]]
        else:
            commands.append(("ZRANGE", getattr(keys, SETS[state]), 0, -1))
    replies = await store.in_one_step(commands)
    return list(dict.fromkeys(id.decode() for reply in replies for id in reply if not id.startswith(b"0:")))


async def _dated(store: Store, queue: str, ids: Sequence[str]) -> list[Entry]:
    keys = store.keys(queue)
    dated: list[Entry] = []
    for start in range(0, len(ids), CHUNK):
        some = ids[start : start + CHUNK]
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
