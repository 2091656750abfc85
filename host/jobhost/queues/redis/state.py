"""`ctx.state` and the registry of hosts and handlers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobhost.errors import LeaseLostError, StateTypeError

from ..job import HostInfo, Json, Lease, PublishedHandler
from ..outcomes import SAFE_INTEGER
from ..state_ops import MOST_KEYS, Result, StateOp, too_many
from . import flows, keyed, scripts
from .connection import Arg
from .flows import packed
from .store import Store

PAGE = 1_000
JOB = "\0job"
"""Beside the values of a job's own state: the job's key. What is left of a job that is gone counts as nothing."""
JOB_TTL = 90 * 86_400
"""Seconds after its last write for which a job's own state stays, since BullMQ prunes jobs without a word."""
HOST_TTL_MS = 120_000


async def get(store: Store, scope: str, key: str) -> Json | None:
    stored = await store.run(scripts.own("state_get"), [store.shared(f"state:{scope}")], [JOB, key])
    return _value(stored, store.clock())


def _value(stored: bytes | None, now: int) -> Json | None:
    if stored is None:
        return None
    until, _, value = stored.partition(b"|")
    return None if until and int(until) <= now else value


async def change(store: Store, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
    """Changes, fenced. Raises LeaseLostError, StateTypeError, StateLimitError."""
    if any(abs(op.by) > SAFE_INTEGER for op in ops):
        raise _too_large()
    keys = store.keys(lease.queue) if lease is not None else None
    held = store.held.get(lease) if lease is not None else None
    names = [
        store.shared(f"state:{scope}"),
        store.shared("scopes"),
        keys.lock(lease.id) if keys is not None and lease is not None else store.shared("none"),
        keys.job(lease.id) if keys is not None and lease is not None else store.shared("none"),
        keys.active if keys is not None else store.shared("none"),
    ]
    args: list[Arg] = [
        lease.token if lease is not None else "",
        held.ats if held is not None else "?",
        store.clock(),
        scope,
        MOST_KEYS,
        packed([[False if part is None else part for part in op] for op in ops]),
        JOB,
        JOB_TTL,
        lease.id if lease is not None else "",
    ]
    word, *results = await store.run(scripts.own("state"), names, args)
    match word:
        case b"lost":
            raise LeaseLostError("the job belongs to another host by now")
        case b"type":
            raise StateTypeError("incr needs an integer, and the stored value is none")
        case b"large":
            raise _too_large()
        case b"full":
            raise too_many(scope)
    return [_result(op, result) for op, result in zip(ops, results, strict=True)]


def _too_large() -> StateTypeError:
    return StateTypeError(f"incr would leave the integers that JSON carries exactly, ±{SAFE_INTEGER}")


def _result(op: StateOp, result: Any) -> Result:
    if op.verb == "set":
        return None
    return int(result) if op.verb == "incr" else bool(result)


async def keys(store: Store, scope: str, cursor: str | None) -> tuple[list[str], str | None]:
    flat = await store.client.call("HGETALL", store.shared(f"state:{scope}"))
    now = store.clock()
    there = sorted(
        key.decode()
        for key, stored in zip(flat[::2], flat[1::2], strict=True)
        if key != JOB.encode() and _value(stored, now) is not None
    )
    left = [key for key in there if cursor is None or key > cursor]
    page = left[:PAGE]
    return page, page[-1] if len(left) > PAGE else None


async def scopes(store: Store) -> list[str]:
    known = [scope.decode() for scope in await store.client.call("SMEMBERS", store.shared("scopes"))]
    return [scope for scope in sorted(known) if (await keys(store, scope, None))[0]]


# Hosts and handlers -------------------------------------------------------------------------------------------------


async def heartbeat(store: Store, host: HostInfo) -> None:
    value = json.dumps([host.started_at, host.heartbeat_at, host.info.decode()])
    await store.client.call("HSET", store.shared("hosts"), host.id, value)


async def hosts(store: Store) -> list[HostInfo]:
    flat = await store.client.call("HGETALL", store.shared("hosts"))
    found, gone = [], []
    for id, value in zip(flat[::2], flat[1::2], strict=True):
        started, heard, info = json.loads(value)
        if heard > store.clock() - HOST_TTL_MS:
            found.append(HostInfo(id.decode(), started, heard, info.encode()))
        else:
            gone.append(id)
    if gone:
        await store.client.call("HDEL", store.shared("hosts"), *gone)
    return sorted(found, key=lambda host: host.id)


async def publish(store: Store, handlers: Sequence[PublishedHandler]) -> None:
    fields: list[Arg] = []
    for handler in handlers:
        fields += [handler.name, json.dumps([handler.queue, handler.info.decode()])]
    if fields:
        names = {handler.name for handler in handlers}
        await flows.subscribe(store, [one for one in await published(store) if one.name in names], handlers)
        await store.client.calls([("HSET", store.shared("handlers"), *fields), *keyed.publishing(store, handlers)])


async def unpublish(store: Store, names: Sequence[str]) -> int:
    if not names:
        return 0
    await flows.subscribe(store, [one for one in await published(store) if one.name in names], [])
    gone = ("HDEL", store.shared("handlers"), *names)
    return int((await store.client.calls([gone, *keyed.unpublishing(store, names)]))[0])


async def published(store: Store) -> list[PublishedHandler]:
    flat = await store.client.call("HGETALL", store.shared("handlers"))
    found = []
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        queue, info = json.loads(value)
        found.append(PublishedHandler(name.decode(), queue, info.encode()))
    return sorted(found, key=lambda handler: handler.name)
