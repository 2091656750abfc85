"""Calls of scripts that more than one part of the backend makes."""

from __future__ import annotations

from ..job import Lease
from . import scripts
from .connection import Arg
from .keys import Keys
from .store import Call, Store


def moving_keys(keys: Keys) -> list[str]:
    """The keys of `moveToActive`."""
    first = [keys.wait, keys.active, keys.prioritized, keys.events, keys.stalled, keys.limiter, keys.delayed]
    return [*first, keys.paused, keys.meta, keys.pc, keys.marker]


def retaking(store: Store, lease: Lease, lease_ms: int) -> Call:
    """The call that takes a lock again which has run out, if nobody else has the job."""
    keys = store.keys(lease.queue)
    held = store.held.get(lease)
    names = [keys.lock(lease.id), keys.job(lease.id), keys.active, keys.stalled]
    args: list[Arg] = [lease.id, lease.token, lease_ms, held.ats if held is not None else b"?"]
    return scripts.own("retake"), names, args


def holding(store: Store, lease: Lease, *fields: Arg) -> Call:
    """The call that tells whether a claim still has its job, and if so writes fields of the job in the same step."""
    keys = store.keys(lease.queue)
    held = store.held.get(lease)
    args: list[Arg] = [lease.id, lease.token, held.ats if held is not None else b"?", *fields]
    return scripts.own("holds"), [keys.lock(lease.id), keys.job(lease.id), keys.active], args
