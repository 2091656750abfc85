"""Adding jobs: BullMQ's scripts, a whole batch in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..flows import flow_of_new
from ..job import NewJob
from ..seam import Added
from . import flows, scripts
from .jobs import adding_args, adding_keys, script_of
from .store import Store


async def add(store: Store, jobs: Sequence[NewJob]) -> list[Added]:
    """All or none: a server that dies in between has kept nothing of it, and what can't be stored is found before."""
    if not jobs:
        return []
    now = store.clock()
    commands: list[tuple[Any, ...]] = []
    jobs = [_with_flow(new) for new in jobs]
    for new in jobs:
        keys = store.keys(new.queue)
        script = scripts.adding(script_of(new))
        args = adding_args(keys, new, now)
        if new.flow_id is not None:
            script = scripts.adding_in_flow(script_of(new))
            args += [store.prefix, now, flows.told_member(new)]
        names = adding_keys(keys, script_of(new))
        if new.id is not None:
            # What is there already is left as it is, and its producer told so.
            commands.append(("HGET", keys.job(new.id), "timestamp"))
        commands.append(("EVALSHA", script.sha, len(names), *names, *args))
    replies = iter(await store.in_one_step(commands))
    added = []
    for new in jobs:
        there = next(replies) if new.id is not None else None
        id = next(replies)
        created_at = now if new.created_at is None else new.created_at
        added.append(Added(_text(id), there is None, created_at if there is None else int(there)))
    return added


def _with_flow(new: NewJob) -> NewJob:
    """A job whose data names a flow belongs to it."""
    id, name = flow_of_new(new)
    return new if id == new.flow_id else replace(new, flow_id=id, flow_name=name)


def _text(id: bytes | str) -> str:
    return id.decode() if isinstance(id, bytes) else id
