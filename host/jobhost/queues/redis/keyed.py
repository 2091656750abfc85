"""Claims of a queue that is jobhost's alone, where limits hold over all hosts and keys take turns: see `lua/keyed.lua`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgpack

from ..admission import Admission
from ..job import Job, PublishedHandler, Rate
from ..limits import Limits, published_paths
from . import scripts
from .connection import Arg
from .jobs import Fields, pairs
from .store import Call, Store

Moved = tuple[str, str, Fields]


async def move(
    store: Store,
    queue: str,
    tokens: Sequence[str],
    lease_ms: int,
    host: str,
    admission: Admission,
    rate: Rate | None,
    limits: Limits,
) -> tuple[list[Moved], int | None]:
    """Take up to as many jobs as there are tokens; gives (token, id, fields) of each, and when (Unix ms) to ask again."""
    keys = store.keys(queue)
    names = [keys.wait, keys.active, keys.prioritized, keys.events, keys.delayed, keys.meta, keys.pc, keys.marker]
    now = store.clock()
    allowed = msgpack.packb(_allowed(admission, rate, limits))
    args: list[Arg] = [keys.base, store.prefix, now, lease_ms, host, allowed, *tokens]
    jobs, due = await store.run(scripts.own("keyed"), names, args)
    begun = {b"processedOn": b"%d" % now, b"pb": host.encode()}
    moved = [
        (token, id.decode(), {**pairs(fields), **begun, b"ats": b"%d" % started})
        for token, (fields, id, started) in zip(tokens, msgpack.unpackb(jobs, raw=True), strict=False)
    ]
    return moved, int(due) or None


def _allowed(admission: Admission, rate: Rate | None, limits: Limits) -> dict[str, Any]:
    """What the script is told; what is unset is left out. Free places for other names: -1 is any number."""
    names = {
        name: _present(
            concurrency=one.concurrency,
            rate=one.rate,
            key_concurrency=one.key_concurrency,
            key_rate=one.key_rate,
        )
        for name, one in limits.names.items()
    }
    groups, others = admission.told()
    told = {"groups": [{"free": free, "names": of} for free, of in groups], "names": names}
    return (
        told
        | {"others": -1 if others is None else max(0, others)}
        | _present(concurrency=limits.concurrency, rate=rate)
    )


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def publishing(store: Store, handlers: Sequence[PublishedHandler]) -> list[tuple[Arg, ...]]:
    """What tells the store where the keys of jobs are. The count goes up with each change: indexes are made anew then."""
    return _telling(store, {handler.name: published_paths(handler.info) for handler in handlers})


def unpublishing(store: Store, names: Sequence[str]) -> list[tuple[Arg, ...]]:
    return _telling(store, dict.fromkeys(names, ()))


def _telling(store: Store, paths: dict[str, Any]) -> list[tuple[Arg, ...]]:
    if not paths:
        return []
    pairs_of: list[Arg] = []
    for name, some in paths.items():
        pairs_of += [name, json.dumps(some) if some else ""]
    script = scripts.own("keys_are")
    return [("EVALSHA", script.sha, 2, store.shared("keys"), store.shared("keys:gen"), *pairs_of)]


def leaving(store: Store, job: Job) -> Call:
    """What takes a job that waits no more out of the index, if it is in one."""
    return leaving_id(store, job.queue, job.id)


def leaving_id(store: Store, queue: str, id: str) -> Call:
    base = store.keys(queue).base
    return scripts.own("unkey"), [f"{base}jh:k:of", f"{base}jh:k:ofp"], [id, f"{base}jh:k:"]
