"""Dead letters: their data edited, and their jobs run again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from jobhost.errors import BackendUnavailableError, JobActiveError

from ..dead_letters import Origin, Replayed, origin_of, replayed_job, replayed_metadata
from ..job import Job, Json
from . import flows, keyed, looking, scripts, steering
from .connection import Arg
from .jobs import adding_args, adding_keys, own, pairs, script_of
from .keys import Keys
from .store import Call, Store

TRIES = 10
"""Looks at a job that changes while it is looked at."""
CHANGED, MISSING, ALIVE = b"changed", b"missing", b"alive"


async def edit(store: Store, queue: str, id: str, data: Json) -> bool:
    keys = store.keys(queue)
    names = [keys.job(id), keys.lock(id), keys.active]
    edited = bool(await store.run(scripts.own("edit"), names, [id, data]))
    if edited:
        # Its key may be another one: it is put in its place anew.
        await store.run(*keyed.leaving_id(store, queue, id))
    return edited


async def replay(store: Store, queue: str, id: str) -> Replayed:
    for _ in range(TRIES):
        letter = await looking.get(store, queue, id)
        if letter is None:
            return Replayed("missing")
        if letter.state == "active":
            raise JobActiveError(f"dead letter {id!r} of queue {queue!r} is running: cancel it first")
        origin = origin_of(letter)
        if origin is None:
            return Replayed("no_letter")
        replayed = await _replay(store, letter, origin)
        if replayed is not None:
            if replayed.outcome == "replayed":
                await steering.forget_jobs(store, [letter])
            return replayed
    raise BackendUnavailableError(f"job {id!r} of queue {queue!r} changed whenever it was to be replayed")


async def _replay(store: Store, letter: Job, origin: Origin) -> Replayed | None:
    """None: the original changed meanwhile."""
    job = store.keys(origin.queue).job(origin.id)
    fields = pairs(await store.client.call("HGETALL", job))
    seen = fields.get(b"timestamp", b"")
    in_place = seen == b"%d" % origin.created_at
    if in_place:
        call = _in_place(store, letter, origin, own(fields), seen)
    else:
        new = replayed_job(letter, origin, store.clock(), id=None if fields else origin.id)
        call = _anew(store, letter, job, replace(new, flow_id=new.flow_id or None), seen)
    reply = await store.run(*call)
    if reply == CHANGED:
        return None
    if reply in (MISSING, ALIVE):
        return Replayed("missing") if reply == MISSING else Replayed("alive", origin.queue, origin.id)
    if in_place:
        there = await looking.get(store, origin.queue, origin.id)
        if there is not None:
            await flows.again(store, there)
    return Replayed("replayed", origin.queue, reply.decode() if isinstance(reply, bytes) else str(reply))


def _letter_keys(keys: Keys, id: str, original: str) -> list[str]:
    lists = [keys.wait, keys.paused]
    sets = [keys.prioritized, keys.delayed, keys.failed, keys.completed]
    return [*lists, *sets, keys.job(id), keys.logs(id), keys.events, original]


def _in_place(store: Store, letter: Job, origin: Origin, ours: dict[str, Any], seen: bytes) -> Call:
    """The original is there: it runs again as `retry` lets it."""
    keys = store.keys(origin.queue)
    names = _letter_keys(store.keys(letter.queue), letter.id, keys.job(origin.id))
    names += [keys.job(origin.id), keys.events, keys.failed, keys.wait, keys.meta, keys.active, keys.marker]
    names += [keys.prioritized, keys.pc]
    kept = {name: value for name, value in ours.items() if name in ("timeout", "flow_id", "flow_name")}
    kept["metadata"] = json.loads(replayed_metadata(letter, store.clock()))
    args: list[Arg] = [letter.id, seen, origin.id, letter.data, json.dumps(kept), keys.own("cancels")]
    return scripts.replaying_in_place(), names, args


def _anew(store: Store, letter: Job, original: str, new: Any, seen: bytes) -> Call:
    """The original is gone, or another job has its id."""
    keys, kind, now = store.keys(new.queue), script_of(new), store.clock()
    args: list[Arg] = [letter.id, seen, *adding_args(keys, new, now)]
    if new.flow_id is not None:
        args += [store.prefix, now, flows.told_member(new)]
    names = [*_letter_keys(store.keys(letter.queue), letter.id, original), *adding_keys(keys, kind)]
    return scripts.replaying_anew(kind, new.flow_id is not None), names, args
