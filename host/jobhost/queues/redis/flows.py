"""Flows on Redis: `lua/flow.lua` in the same step as the end of the job they come from, and what is asked of flows.

All keys of flows are under the prefix, and queues too: in a cluster the prefix is in braces, so that one script reaches them all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgpack

from jobhost.errors import LeaseLostError

from ..flows import (
    Emit,
    FlowEvent,
    FlowInfo,
    FlowStatus,
    Happening,
    InFlow,
    NewFlow,
    subscriptions_of,
)
from ..job import Job, Json, Lease, NewJob, PublishedHandler, Settlement
from ..outcomes import CANCELLED
from . import looking, scripts
from .connection import Arg
from .jobs import own
from .store import Held, Store

SWEPT = 200
"""Flows that one step forgets or looks at."""


async def _ask(store: Store, verb: str, what: Any) -> Any:
    """Run `flow_ask.lua`."""
    args: list[Arg] = [store.prefix, store.clock(), verb, packed(what)]
    return await store.run(scripts.asking_flows(), [store.shared("flows")], args)


def packed(what: Any) -> bytes:
    """MessagePack as Redis's own unpacker wants it, which does not know the binary type."""
    return bytes(msgpack.packb(what, use_bin_type=False, unicode_errors="surrogatepass"))


def told_place(place: InFlow) -> dict[str, Any]:
    """A place in a flow as the scripts take it."""
    return {"id": place.id, "name": place.name or False, "step": place.step, "counts": place.counts}


def told_emits(emits: Sequence[Emit], job: Job) -> list[list[Any]]:
    """Emits of a job as the scripts take them."""
    told: list[list[Any]] = []
    for one in emits:
        key: str | bool = one.key if one.key is not None else False
        identity = one.id(job.queue, job.id, job.created_at)
        told.append([identity, one.trigger, one.payload, key, one.implied, one.starts])
    return told


def told_end(held: Held, one: Settlement, place: InFlow) -> bytes:
    """The end of a job as `ended` of flow.lua takes it. Its flow is put into its fields."""
    job = held.job
    new = not held.is_member
    ours_in(held.fields, place)
    return packed(
        {
            "place": told_place(place),
            "source": {"queue": job.queue, "id": job.id},
            "new": new,
            "attempt": job.attempts_made + (not held.waited),
            "emits": told_emits(one.emits, job),
            "result": one.result or b"",
            "error": one.error or b"null",
            "failed": one.to == "failed",
        }
    )


def ours_in(fields: dict[bytes, bytes], place: InFlow) -> bytes | None:
    """The job's field of ours with its flow in it; None if that is there already. It is put into `fields` too."""
    ours = own(fields)
    if "flow_id" in ours:
        return None
    ours["flow_id"] = place.id
    if place.name is not None:
        ours["flow_name"] = place.name
    text = json.dumps(ours, ensure_ascii=False, separators=(",", ":")).encode()
    fields[b"jh"] = text
    return text


async def start(store: Store, flow: NewFlow) -> tuple[bool, int]:
    """Begin a flow."""
    what = {
        "id": flow.id,
        "name": flow.name,
        "data": flow.data,
        "parent": flow.parent or False,
        "first": [[one.handler, one.queue] for one in flow.first] if flow.first is not None else False,
    }
    new, first = await _ask(store, "start", what)
    return bool(new), int(first)


async def emit(store: Store, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
    """Deliver emits of a running job. Raises LeaseLostError."""
    held = store.held.get(lease)
    if held is None:
        raise LeaseLostError
    ours = None if held.is_member else ours_in(held.fields, place)
    what = {
        "lease": {"queue": lease.queue, "id": lease.id, "token": lease.token, "ats": held.ats},
        "place": told_place(place),
        "source": {"queue": lease.queue, "id": lease.id},
        "attempt": attempt,
        "ours": ours or False,
        "emits": told_emits(emits, held.job),
    }
    reply = await _ask(store, "emit", what)
    if not isinstance(reply, list):
        raise LeaseLostError
    held.joined = True
    return [trigger.decode() for trigger in reply]


async def happened(store: Store, happenings: Sequence[Happening]) -> None:
    """Keep events of runs."""
    what = []
    new = []
    for one in happenings:
        held = store.held.get(one.lease)
        ours = None
        if held is not None and not held.is_member:
            ours = ours_in(held.fields, one.place)
            new.append(held)
        what.append(
            {
                "place": told_place(one.place),
                "source": {"queue": one.lease.queue, "id": one.lease.id},
                "type": one.type,
                "attempt": one.attempt,
                "data": one.data or b"",
                "ours": ours or False,
            }
        )
    await _ask(store, "happened", what)
    for held in new:
        held.joined = True


def told_member(new: NewJob) -> bytes:
    """A job that is added to a flow, as its script takes it."""
    return packed({"flow": new.flow_id, "name": new.flow_name or False, "queue": new.queue, "id": new.id or ""})


# Jobs -----------------------------------------------------------------------------------------------------------------


async def again(store: Store, job: Job) -> None:
    """A finished job runs again."""
    if job.flow_id:
        await _ask(store, "again", _member(job))


async def gone(store: Store, jobs: Sequence[Job]) -> None:
    """Jobs have been removed."""
    if members := [_member(job) for job in jobs if job.flow_id]:
        await _ask(store, "gone", members)


def _member(job: Job) -> dict[str, Any]:
    return {"flow": job.flow_id, "name": job.flow_name or False, "queue": job.queue, "id": job.id}


async def look(store: Store) -> None:
    """End flows whose jobs ended or went without a word."""
    running = [id.decode() for id in await store.client.call("SMEMBERS", store.shared("flows:running"))]
    for start in range(0, len(running), SWEPT):
        await _ask(store, "look", running[start : start + SWEPT])


# Flows ----------------------------------------------------------------------------------------------------------------


async def tell(store: Store, id: str, type: str, data: Json | None) -> None:
    """Append an event."""
    await _ask(store, "tell", {"id": id, "type": type, "data": data or b""})


async def cancel(store: Store, id: str) -> bool:
    """End a flow as cancelled."""
    return bool(await _ask(store, "cancel", {"id": id, "error": CANCELLED}))


async def reopen(store: Store, id: str) -> bool:
    """Let a flow run again."""
    return bool(await _ask(store, "reopen", {"id": id}))


async def sweep(store: Store, state_before: int | None, ended_before: int) -> int:
    """Forget flows and their state."""
    await look(store)
    ended = store.shared("flows:ended")
    gone = [
        id.decode() for id in await store.client.call("ZRANGEBYSCORE", ended, 0, f"({ended_before}", "LIMIT", 0, SWEPT)
    ]
    left = await store.client.calls([("SCARD", _key(store, id, ":live")) for id in gone])
    gone = [id for id, live in zip(gone, left, strict=True) if not live]  # a job of a cancelled one may run still
    stale = [] if state_before is None else list(gone)
    if state_before is not None:
        scopes = await store.client.call("SMEMBERS", store.shared("scopes"))
        with_state = [scope.decode()[5:] for scope in scopes if scope.startswith(b"flow:")]
        times = await store.client.calls([("ZSCORE", ended, id) for id in with_state])
        stale += [id for id, at in zip(with_state, times, strict=True) if at is not None and float(at) < state_before]
    if gone:
        await _ask(store, "forget", gone)
    for id in dict.fromkeys(stale):
        commands = [("DEL", store.shared(f"state:flow:{id}")), ("SREM", store.shared("scopes"), f"flow:{id}")]
        await store.client.calls(commands)
    return len(gone)


async def info(store: Store, id: str) -> FlowInfo | None:
    """Give a flow."""
    return (await _infos(store, [id]))[0]


async def _infos(store: Store, ids: Sequence[str]) -> list[FlowInfo | None]:
    found: list[FlowInfo | None] = []
    asks: list[tuple[str, str]] = []
    for id in ids:
        asks += [("HGETALL", _key(store, id)), ("LLEN", _key(store, id, ":events"))]
    replies = await store.client.calls(asks)
    for id, flat, length in zip(ids, replies[::2], replies[1::2], strict=True):
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if b"status" not in fields:
            found.append(None)
            continue
        found.append(_flow(id, fields, length))
    return found


def _flow(id: str, fields: dict[bytes, bytes], length: int) -> FlowInfo:
    name, parent = (fields[key].decode("utf-8", "replace") or None for key in (b"name", b"parent"))
    status: FlowStatus = fields[b"status"].decode()  # type: ignore[assignment]
    finished = int(fields[b"finished"]) if b"finished" in fields else None
    flow = FlowInfo(id, name, status, int(fields[b"started"]), finished, parent, length + int(fields.get(b"cut", 0)))
    flow.data, flow.error = fields.get(b"data") or None, fields.get(b"error")
    return flow


def _key(store: Store, id: str, part: str = "") -> str:
    return store.shared(f"flow:{id}{part}")


async def page(
    store: Store, name: str | None, statuses: Sequence[FlowStatus], limit: int, cursor: str | None
) -> tuple[list[FlowInfo], str | None]:
    """Give flows, the newest first."""
    found: list[FlowInfo] = []
    if set(statuses) == {"running"}:  # asked now and then by every host: those that ended are not to be read for it
        return await _running(store, name, limit, cursor)
    ids = [id.decode() for id in await store.client.call("ZREVRANGE", store.shared("flows"), 0, -1)]
    if cursor is not None:
        at, _, last = cursor.partition(".")
        rank = await store.client.call("ZREVRANK", store.shared("flows"), last)
        older = await store.client.call("ZREVRANGEBYSCORE", store.shared("flows"), f"({at}", "-inf")
        ids = ids[rank + 1 :] if rank is not None else [id.decode() for id in older]
    while ids and len(found) <= limit:
        some, ids = ids[:SWEPT], ids[SWEPT:]
        for flow in await _infos(store, some):
            if flow is not None and (name is None or flow.name == name) and (not statuses or flow.status in statuses):
                found.append(flow)
    shown = found[:limit]
    return shown, f"{shown[-1].started_at}.{shown[-1].id}" if len(found) > limit else None


async def _running(store: Store, name: str | None, limit: int, cursor: str | None) -> tuple[list[FlowInfo], str | None]:
    ids = [id.decode() for id in await store.client.call("SMEMBERS", store.shared("flows:running"))]
    found: list[FlowInfo] = []
    for start in range(0, len(ids), SWEPT):
        some = await _infos(store, ids[start : start + SWEPT])
        found += [flow for flow in some if flow is not None and name in (None, flow.name)]
    found.sort(key=lambda flow: (flow.started_at, flow.id), reverse=True)
    if cursor is not None:
        at, _, last = cursor.partition(".")
        found = [flow for flow in found if (flow.started_at, flow.id) < (int(at), last)]
    shown = found[:limit]
    return shown, f"{shown[-1].started_at}.{shown[-1].id}" if len(found) > limit else None


async def children(store: Store, id: str) -> list[FlowInfo]:
    """Give its sub-flows."""
    ids = [child.decode() for child in await store.client.call("SMEMBERS", _key(store, id, ":children"))]
    found = [flow for flow in await _infos(store, ids) if flow is not None]
    return sorted(found, key=lambda flow: (flow.started_at, flow.id))


async def jobs(store: Store, id: str) -> list[Job]:
    """Give its jobs."""
    members = await store.client.call("LRANGE", _key(store, id, ":jobs"), 0, -1)
    places = [tuple(member.decode().split("\0", 1)) for member in members]
    return await looking.some(store, places)


async def events(store: Store, id: str, after: int, limit: int) -> list[FlowEvent]:
    """Give events above a number."""
    name, cut = await store.client.call("HMGET", _key(store, id), "name", "cut")
    first = int(cut or 0) + 1
    start = max(0, after + 1 - first)
    entries = await store.client.call("LRANGE", _key(store, id, ":events"), start, start + limit - 1)
    told = (name or b"").decode("utf-8", "replace") or None
    return [_event(id, told, first + start + index, entry) for index, entry in enumerate(entries)]


def _event(flow: str, name: str | None, n: int, entry: bytes) -> FlowEvent:
    ts, type, step, attempt, queue, job, data = msgpack.unpackb(entry, raw=True)
    texts = [part.decode("utf-8", "replace") or None for part in (step, queue, job)]
    return FlowEvent(flow, name, n, int(ts), type.decode(), texts[0], int(attempt), texts[1], texts[2], data or None)


# Subscriptions --------------------------------------------------------------------------------------------------------


async def subscribe(store: Store, before: Sequence[PublishedHandler], handlers: Sequence[PublishedHandler]) -> None:
    """Replace what handlers subscribe to. `before`: those of their names that were published."""
    commands: list[tuple[str, ...]] = [
        ("HDEL", store.shared(f"subs:{line.trigger}"), one.name) for one in before for line in subscriptions_of(one)
    ]
    for one in handlers:
        for trigger, (handler, queue, joins) in subscriptions_of(one):
            # An empty array stays one: cjson gives an empty table either way.
            commands.append(("HSET", store.shared(f"subs:{trigger}"), handler, json.dumps([queue, list(joins)])))
    if commands:
        await store.in_one_step(commands)
