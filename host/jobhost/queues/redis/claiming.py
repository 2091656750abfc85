"""Claims, their renewal, and the jobs of hosts that died."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgpack

from ..admission import Admission
from ..job import Claim, Keep, Lease, Rate, Settlement
from ..limits import Limits
from ..outcomes import CANCELLED, stalled_error
from ..seam import Claimed, Recovered, Renewal
from . import keyed, repeating, scripts, settling
from .calls import moving_keys, retaking
from .connection import Arg
from .jobs import Fields, claimed_job, job_of, pairs
from .keys import Keys
from .store import Call, Held, Store

MOST = 64
"""Jobs taken in one step: the server serves nobody else meanwhile, for 12 us a job."""
AT_LIMIT_MS = 100
"""A job whose handler has no place now comes back so much later: workers of BullMQ claim by queue and not by name."""
STALLED_TOO_OFTEN = b"job stalled more than allowable limit"


async def claim(
    store: Store,
    queue: str,
    limit: int,
    admission: Admission,
    lease_ms: int,
    host: str,
    rate: Rate | None = None,
    limits: Limits | None = None,
) -> Claimed:
    if limits is not None:
        return await _claim_keyed(store, queue, limit, admission, lease_ms, host, rate, limits)
    claims: list[Claim] = []
    next_due: int | None = None
    asked = 0
    while asked < limit:
        tokens = [store.token() for _ in range(min(MOST, limit - asked))]
        asked += len(tokens)
        moved, next_due = await _move_many(store, queue, tokens, lease_ms, host, rate)
        for token, id, fields in moved:
            if b"rjk" in fields and b"defa" not in fields:
                await repeating.make_next(store, Lease(queue, id, token), fields)
        taken = [_admitted(_taken(store, queue, one), admission) for one in moved]
        refused = [one for one in taken if isinstance(one, Settlement)]
        if refused:
            await settling.settle(store, refused)
        admitted = [one for one in taken if isinstance(one, Claim)]
        claims += admitted
        if refused and not admitted:
            # All that came was for handlers without a place. To go on would turn over the whole queue, again and again.
            soon = store.clock() + AT_LIMIT_MS
            return Claimed(claims, soon if next_due is None else min(soon, next_due), False)
        if len(moved) < len(tokens):
            return Claimed(claims, next_due, False)
    return Claimed(claims, next_due, True)


async def _claim_keyed(
    store: Store,
    queue: str,
    limit: int,
    admission: Admission,
    lease_ms: int,
    host: str,
    rate: Rate | None,
    limits: Limits,
) -> Claimed:
    claims: list[Claim] = []
    admission = admission.copy()
    while True:
        tokens = [store.token() for _ in range(min(MOST, limit - len(claims)))]
        moved, next_due = await keyed.move(store, queue, tokens, lease_ms, host, admission, rate, limits)
        for token, id, fields in moved:
            if b"rjk" in fields and b"defa" not in fields:
                await repeating.make_next(store, Lease(queue, id, token), fields)
        # The script has counted off the places; here they are for the next round.
        some = [_taken(store, queue, one) for one in moved]
        for one in some:
            admission.take(one.job.name)
        claims += some
        if len(moved) < len(tokens) or len(claims) >= limit:
            return Claimed(claims, next_due, len(claims) >= limit)


Moved = tuple[str, str, Fields]
"""A token, and the id and the fields of the job that has it now."""


async def _move_many(
    store: Store, queue: str, tokens: Sequence[str], lease_ms: int, host: str, rate: Rate | None = None
) -> tuple[list[Moved], int | None]:
    """Move as many jobs as there are tokens, if there are so many, and say when to ask again."""
    keys = store.keys(queue)
    if len(tokens) > 1 and rate is None:
        names = [keys.wait, keys.active, keys.prioritized, keys.events, keys.delayed, keys.meta]
        names += [keys.pc, keys.marker]
        now = store.clock()
        args: list[Arg] = [keys.base, now, lease_ms, host, *tokens]
        reply = await store.run(scripts.own("claim"), names, args)
        if reply is not None:
            jobs, due = reply
            begun = {b"processedOn": b"%d" % now, b"pb": host.encode()}
            some = [
                (token, id.decode(), {**pairs(fields), **begun, b"ats": b"%d" % started})
                for token, (fields, id, started) in zip(tokens, msgpack.unpackb(jobs, raw=True), strict=False)
            ]
            return some, int(due) or None
    moved: list[Moved] = []
    for token in tokens:
        reply = await store.run(*_move(store, keys, token, lease_ms, host, rate))
        if not reply[0]:
            return moved, _due(reply, store.clock())
        moved.append((token, reply[1].decode(), pairs(reply[0])))
    return moved, None


def _move(store: Store, keys: Keys, token: str, lease_ms: int, host: str, rate: Rate | None = None) -> Call:
    opts: dict[str, Any] = {"token": token, "lockDuration": lease_ms, "name": host}
    if rate is not None:
        opts["limiter"] = {"max": rate.max, "duration": rate.every_ms}
    args: list[Arg] = [keys.base, store.clock(), msgpack.packb(opts)]
    return scripts.bullmq("moveToActive"), moving_keys(keys), args


def _due(reply: Sequence[Any], now: int) -> int | None:
    """When a reply without a job says to ask again: once the rate limit's window is over, or the next delayed job comes due."""
    if limited := int(reply[2] or 0):
        return now + limited
    due = float(reply[3] or 0)
    return int(due) if due > 0 else None


def _admitted(claim: Claim, admission: Admission) -> Claim | Settlement:
    """The claim, or the settlement of a job that may not run now."""
    if claim.failure is not None or admission.take(claim.job.name):
        return claim
    lease = Lease(claim.job.queue, claim.job.id, claim.token)
    return Settlement(lease, "delayed", delay_ms=AT_LIMIT_MS, attempt_used=False)


def _taken(store: Store, queue: str, moved: Moved) -> Claim:
    """Take in a job that was moved."""
    token, id, fields = moved
    job = claimed_job(queue, id, fields)
    lease = Lease(queue, id, token)
    store.held[lease] = Held(job, fields, fields.get(b"ats", b""))
    if b"defa" in fields:
        reason = fields[b"defa"]
        name = "StalledError" if reason == STALLED_TOO_OFTEN else "UnrecoverableError"
        error = {"type": name, "message": reason.decode("utf-8", "replace"), "stack": "", "origin": "host"}
        return Claim(job, token, json.dumps(error).encode())
    return Claim(job, token)


# Leases -------------------------------------------------------------------------------------------------------------


async def renew(store: Store, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
    renewals: list[Renewal] = []
    for queue in dict.fromkeys(lease.queue for lease in leases):
        keys = store.keys(queue)
        mine = [lease for lease in leases if lease.queue == queue]
        args = [
            keys.base,
            msgpack.packb([one.token for one in mine]),
            msgpack.packb([one.id for one in mine]),
            lease_ms,
        ]
        failed = {id.decode() for id in await store.run(scripts.bullmq("extendLocks"), [keys.stalled], args)}
        lost = [lease for lease in mine if lease.id in failed]
        again = await store.run_all([retaking(store, lease, lease_ms) for lease in lost])
        gone = {lease for lease, ok in zip(lost, again, strict=True) if not ok}
        asked = await store.client.call("HMGET", keys.own("cancels"), *(lease.id for lease in mine))
        answers: dict[Lease, Renewal] = {
            lease: "lost" if lease in gone else "cancel" if store.is_asked(lease, ats) else "ok"
            for lease, ats in zip(mine, asked, strict=True)
        }
        for lease in gone:
            store.held.pop(lease, None)
        renewals += [answers[lease] for lease in mine]
    order = dict(zip(_by_queue(leases), renewals, strict=True))
    return [order[lease] for lease in leases]


def _by_queue(leases: Sequence[Lease]) -> list[Lease]:
    queues = dict.fromkeys(lease.queue for lease in leases)
    return [lease for queue in queues for lease in leases if lease.queue == queue]


async def recover(
    store: Store, queue: str, max_stalled: int, keep: Keep | None = None, dead_letter: str | None = None
) -> Recovered:
    """BullMQ's search marks what is active and takes, the next time, what is marked and has no lock: so it is run twice."""
    keys = store.keys(queue)
    first = [keys.stalled, keys.wait, keys.active, keys.stalled_check, keys.meta, keys.paused, keys.marker]
    names = [*first, keys.events, keys.repeat]
    found: list[str] = []
    for _ in range(2):
        await store.client.call("DEL", keys.stalled_check)
        args: list[Arg] = [max_stalled, keys.base, store.clock(), 1]
        found += [id.decode() for id in await store.run(scripts.bullmq("moveStalledJobsToWait"), names, args)]
    recovered = Recovered([], [])
    for id in found:
        asks = [("HMGET", keys.job(id), "defa", "ats"), ("HGET", keys.own("cancels"), id)]
        (too_often, ats), asked = await store.client.calls(asks)
        cancelled = asked is not None and asked == ats
        if not too_often and not cancelled:
            recovered.waiting.append(id)
            continue
        lease = await take(store, queue, id)
        if lease is None:
            continue  # somebody else was quicker
        error = CANCELLED if cancelled else stalled_error(store.held[lease].job.stalled)
        letter = None if cancelled else dead_letter
        ended = Settlement(lease, "failed", error=error, attempt_used=False, keep=keep or Keep(), dead_letter=letter)
        if (await settling.settle(store, [ended]))[0]:
            recovered.failed.append(id)
    return recovered


async def take(store: Store, queue: str, id: str) -> Lease | None:
    """Take one job that waits, to end it; None if it waits no more."""
    keys = store.keys(queue)
    token = store.token()
    names = [keys.wait, keys.prioritized, keys.delayed, keys.active, keys.lock(id)]
    if not await store.run(scripts.own("take"), names, [id, token, 30_000]):
        return None
    fields = pairs(await store.client.call("HGETALL", keys.job(id)))
    lease = Lease(queue, id, token)
    store.held[lease] = Held(job_of(queue, id, fields, "active"), fields, fields.get(b"ats", b""))
    return lease
