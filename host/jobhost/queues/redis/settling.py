"""How claims end: BullMQ's own scripts, which check the lock in the same step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgpack

from jobhost.errors import LeaseLostError

from ..dead_letters import dead_letter_copy
from ..flows import Happening, InFlow, flow_of
from ..job import Json, Lease, LogLine, Settlement
from ..outcomes import CANCELLED, retry_data
from . import flows, scripts
from .calls import holding, moving_keys, retaking
from .connection import Arg
from .jobs import adding_args, adding_keys, keep_jobs, options, own, stacks_with
from .keys import Keys
from .store import Call, Held, Store

METRICS_POINTS = "20160"
"""Minutes for which BullMQ's metrics are kept: two weeks."""
LOST = (-1, -2, -3, -6)
"""Replies of scripts: the job is gone, its lock is missing, it is not active, another has its lock."""
NO_LOCK = -2
NOT_PLAIN = 1
"""Our script's reply for a job that is BullMQ's own to end."""
PENDING_CHILDREN, FAILED_CHILDREN = -4, -9
LOG_LINES = 1_000
LINES_TTL = 7 * 86_400
"""Seconds for which our lines of a job are kept after the last one: BullMQ removes a job without knowing of them."""
RETAKEN_MS = 30_000


async def settle(store: Store, settlements: Sequence[Settlement]) -> list[bool]:
    decided = await _with_cancels(store, settlements)
    now = store.clock()
    replies = await _end_all(store, decided, now)
    for index, reply in enumerate(replies):
        if reply == NO_LOCK and await store.run(*retaking(store, decided[index].lease, RETAKEN_MS)):
            # The lock had run out, and nobody had taken the job.
            replies[index] = await store.run(*ending(store, decided[index], now))
    ok = [not (isinstance(reply, int) and reply < 0) for reply in replies]
    for one, reply in zip(decided, replies, strict=True):
        if isinstance(reply, list):
            one.unmatched = [trigger.decode() for trigger in reply]
    await _afterwards(store, [one for one, held in zip(decided, ok, strict=True) if held])
    for one in decided:
        store.held.pop(one.lease, None)
    return ok


async def _end_all(store: Store, decided: Sequence[Settlement], now: int) -> list[Any]:
    """Give what each script says, in order: plain completed jobs side by side in one call of ours, all others by BullMQ's own."""
    runs: list[list[int]] = []
    keeps = [_plain_keep(store, one) for one in decided]
    for index, one in enumerate(decided):
        last = runs[-1] if runs else []
        beside = last and keeps[index] and keeps[last[0]] and decided[last[0]].lease.queue == one.lease.queue
        if beside:
            last.append(index)
        else:
            runs.append([index])
    calls = [
        _finishing_many(store, decided, keeps, run, now) if len(run) > 1 else ending(store, decided[run[0]], now)
        for run in runs
    ]
    replies: list[Any] = [None] * len(decided)
    for run, reply in zip(runs, await store.run_all(calls), strict=True):
        for index, each in zip(run, reply if len(run) > 1 else [reply], strict=True):
            replies[index] = each
    left = [index for index, reply in enumerate(replies) if reply == NOT_PLAIN]
    again = await store.run_all([ending(store, decided[index], now) for index in left])
    for index, reply in zip(left, again, strict=True):
        replies[index] = reply
    return replies


def _plain_keep(store: Store, one: Settlement) -> str | None:
    """`1` or `0` for a completed job that is kept for ever or not at all and changes nothing else; None for any other."""
    if one.to != "completed":
        return None
    held = store.held.get(one.lease)
    keep = keep_jobs(None if held is None else options(held.fields).get("removeOnComplete"), one.keep)
    return {-1: "1", 0: "0"}.get(keep.get("count", 1)) if len(keep) == 1 else None


def _finishing_many(
    store: Store, decided: Sequence[Settlement], keeps: Sequence[str | None], run: Sequence[int], now: int
) -> Call:
    keys = store.keys(decided[run[0]].lease.queue)
    names = [keys.active, keys.stalled, keys.events, keys.meta, keys.completed, keys.metrics_completed]
    args: list[Arg] = [keys.base, now, METRICS_POINTS, store.prefix]
    for index in run:
        one = decided[index]
        held = store.held.get(one.lease)
        place = one.flow or (flow_of(held.job) if held is not None else None)
        flow = b""
        if place is not None and held is not None:
            flow = flows.told_end(held, one, place)
        ours = _receipt_alone(store, one)
        args += [one.lease.id, one.lease.token, keeps[index] or "1", one.result or b"null", ours, flow]
    return scripts.finishing_many(), [*names, keys.wait, keys.prioritized], args


def _receipt_alone(store: Store, one: Settlement) -> bytes:
    """Our fields of a completed job, as `_fields` makes them; its receipt as it is where there are no others."""
    if one.receipt is None:
        return b""
    held = store.held.get(one.lease)
    if held is None or b"jh" not in held.fields:
        return b'{"receipt":%b}' % one.receipt
    return _fields(held, one).get("jh", b"")


async def _with_cancels(store: Store, settlements: Sequence[Settlement]) -> list[Settlement]:
    """A job that was to come back but that somebody asked to be cancelled fails instead."""
    decided = list(settlements)
    returning = [index for index, one in enumerate(decided) if one.to in ("delayed", "waiting")]
    if returning:
        asks = [
            ("HGET", store.keys(decided[index].lease.queue).own("cancels"), decided[index].lease.id)
            for index in returning
        ]
        for index, asked in zip(returning, await store.client.calls(asks), strict=True):
            one = decided[index]
            if store.is_asked(one.lease, asked):
                decided[index] = Settlement(
                    one.lease, "failed", error=CANCELLED, attempt_used=one.attempt_used, keep=one.keep, flow=one.flow
                )
    return decided


def ending(store: Store, one: Settlement, now: int) -> Call:
    keys = store.keys(one.lease.queue)
    held = store.held.get(one.lease)
    place = one.flow or (flow_of(held.job) if held is not None else None)
    if place is not None and held is not None:
        if one.to in ("completed", "failed"):
            return _ending_in_flow(store, keys, held, one, place, now)
        flows.ours_in(held.fields, place)
    if one.to == "failed" and (one.dead_letter is not None or not one.attempt_used):
        return _failing(store, keys, held, one, now)
    if one.to in ("completed", "failed"):
        return _finishing(keys, held, one, now)
    if one.to == "delayed":
        return _delaying(keys, held, one, now)
    if one.attempt_used:
        names = [keys.active, keys.wait, keys.paused, keys.job(one.lease.id), keys.meta, keys.events, keys.delayed]
        more = [keys.prioritized, keys.pc, keys.marker, keys.stalled]
        push = "RPUSH" if held is not None and options(held.fields).get("lifo") else "LPUSH"
        args: list[Arg] = [keys.base, now, push, one.lease.id, one.lease.token, _changes(held, one)]
        return scripts.bullmq("retryJob"), names + more, args
    names = [keys.active, keys.wait, keys.stalled, keys.paused, keys.meta, keys.limiter, keys.prioritized]
    names += [keys.marker, keys.events]
    args = [one.lease.id, one.lease.token, keys.job(one.lease.id)]
    if changed := _fields(held, one):
        return scripts.handing_back(), names, [*args, *(item for pair in changed.items() for item in pair)]
    return scripts.bullmq("moveJobFromActiveToWait"), names, args


def _failing(store: Store, keys: Keys, held: Held | None, one: Settlement, now: int, flow: Sequence[Arg] = ()) -> Call:
    """An end that BullMQ has no arguments for. `flow`: what the script of a job in a flow takes beside."""
    _, names, args = _finishing(keys, held, one, now)
    whole: list[Arg] = [len(args), *args, "0" if one.attempt_used else "1", *flow]
    names = list(names)
    letters = store.keys(one.dead_letter or one.lease.queue)
    names += adding_keys(letters, "addStandardJob")
    if one.dead_letter is not None and held is not None:
        job = replace(held.job, attempts_made=held.job.attempts_made + one.attempt_used)
        whole += adding_args(letters, dead_letter_copy(job, one.error, one.dead_letter, now), now)
    return scripts.ending_in_flow() if flow else scripts.failing(), names, whole


def _ending_in_flow(store: Store, keys: Keys, held: Held, one: Settlement, place: InFlow, now: int) -> Call:
    return _failing(store, keys, held, one, now, [store.prefix, now, flows.told_end(held, one, place)])


def _finishing(keys: Keys, held: Held | None, one: Settlement, now: int) -> Call:
    completed = one.to == "completed"
    opts = options(held.fields) if held is not None else {}
    keep = keep_jobs(opts.get("removeOnComplete" if completed else "removeOnFail"), one.keep)
    packed = {
        "token": one.lease.token,
        "keepJobs": keep,
        "limiter": None,
        "lockDuration": 0,
        "attempts": opts.get("attempts") or 1,
        "attemptsMade": held.job.attempts_made if held is not None else 0,
        "maxMetricsSize": METRICS_POINTS,
        "fpof": bool(opts.get("fpof")),
        "cpof": bool(opts.get("cpof")),
        "idof": bool(opts.get("idof")),
        "rdof": bool(opts.get("rdof")),
    }
    target = keys.completed if completed else keys.failed
    names = [*moving_keys(keys)[:10], target, keys.job(one.lease.id)]
    names += [keys.metrics_completed if completed else keys.metrics_failed, keys.marker]
    value: bytes = (one.result or b"null") if completed else _message(one.error)
    args: list[Arg] = [
        one.lease.id,
        now,
        "returnvalue" if completed else "failedReason",
        value,
        "completed" if completed else "failed",
        "",
        keys.base,
        msgpack.packb(packed),
    ]
    changes = _changes(held, one)
    return scripts.bullmq("moveToFinished"), names, [*args, changes] if changes else args


def _delaying(keys: Keys, held: Held | None, one: Settlement, now: int) -> Call:
    names = [keys.marker, keys.active, keys.prioritized, keys.delayed, keys.job(one.lease.id), keys.events]
    names += [keys.meta, keys.stalled, keys.wait, keys.limiter, keys.pc]
    args: list[Arg] = [
        keys.base,
        now,
        one.lease.id,
        one.lease.token,
        one.delay_ms,
        "0" if one.attempt_used else "1",
        _changes(held, one),
        "0",
    ]
    return scripts.bullmq("moveToDelayed"), names, args


def _message(error: Json | None) -> bytes:
    return str(json.loads(error or b"{}").get("message", "")).encode("utf-8", "replace")


def _changes(held: Held | None, one: Settlement) -> bytes:
    """The fields of the job that change with its end, as scripts take them; empty if none does."""
    changed = _fields(held, one)
    # Raw, as Redis's own unpacker wants it: it does not know MessagePack's binary type.
    return msgpack.packb([item for pair in changed.items() for item in pair], use_bin_type=False) if changed else b""


def _fields(held: Held | None, one: Settlement) -> dict[str, bytes]:
    fields = held.fields if held is not None else {}
    ours = own(fields)
    before = dict(ours)
    changed: dict[str, bytes] = {}
    if one.flow is not None and b"jh" in fields:
        changed["jh"] = fields[b"jh"]  # its flow may be new in it
    if one.error is not None:
        error = json.loads(one.error)
        ours["error"] = error
        changed["failedReason"] = _message(one.error)
        changed["stacktrace"] = stacks_with(fields, str(error.get("stack") or error.get("message", "")))
    for name, more in (("child_deaths", one.child_death), ("postponed", one.postponed), ("released", one.released)):
        if more:
            ours[name] = ours.get(name, 0) + 1
    if one.receipt is not None:
        ours["receipt"] = json.loads(one.receipt)
    if ours != before:
        changed["jh"] = json.dumps(ours, ensure_ascii=False, separators=(",", ":")).encode()
    return changed


async def _afterwards(store: Store, ended: Sequence[Settlement]) -> None:
    """Requests to cancel that are answered; what is left of one names a start of the job that will not come again."""
    retried = [
        Happening(one.lease, one.flow, "step.retry", store.held[one.lease].job.attempts_made + 1, _retry_data(one))
        for one in ended
        if one.flow is not None
        and one.error is not None
        and one.to in ("delayed", "waiting")
        and one.lease in store.held
    ]
    if retried:
        await flows.happened(store, retried)
    gone = [one.lease for one in ended if one.to == "failed"]
    if gone:
        await store.client.calls([("HDEL", store.keys(lease.queue).own("cancels"), lease.id) for lease in gone])


def _retry_data(one: Settlement) -> Json:
    return retry_data(one.error, one.delay_ms)


# While it runs --------------------------------------------------------------------------------------------------------


async def progress(store: Store, updates: Sequence[tuple[Lease, Json]]) -> None:
    held = await store.run_all([holding(store, lease) for lease, _ in updates])
    calls: list[Call] = []
    for (lease, value), ok in zip(updates, held, strict=True):
        if ok:
            keys = store.keys(lease.queue)
            names = [keys.job(lease.id), keys.events, keys.meta]
            calls.append((scripts.bullmq("updateProgress"), names, [lease.id, value]))
    await store.run_all(calls)


async def update_data(store: Store, lease: Lease, data: Json) -> None:
    if not await store.run(*holding(store, lease, "data", data)):
        raise LeaseLostError("the job belongs to another host by now")


async def wait_for_children(store: Store, lease: Lease) -> bool:
    """BullMQ's `moveToWaitingChildren`. Raises LeaseLostError."""
    keys, job = store.keys(lease.queue), store.keys(lease.queue).job(lease.id)
    names = [keys.active, keys.waiting_children, job, f"{job}:dependencies", f"{job}:unsuccessful"]
    names += [keys.stalled, keys.events]
    args: list[Arg] = [lease.token, "", store.clock(), lease.id, keys.base]
    reply = await store.run(scripts.bullmq("moveToWaitingChildren"), names, args)
    if reply in LOST:
        raise LeaseLostError("the job belongs to another host by now")
    if reply == 0:
        store.held.pop(lease, None)
    return bool(reply == 0)


def bullmq_line(line: LogLine) -> str:
    """A line as BullMQ's job logs show it: the level unless it is info, the message, ` key=value` for each field."""
    text = line.message if line.level == "info" else f"{line.level}: {line.message}"
    if line.fields is None:
        return text
    fields = json.loads(line.fields)
    return text + "".join(f" {key}={_shown(value)}" for key, value in fields.items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def line_fields(line: LogLine) -> bytes:
    """A line as it is kept whole."""
    fields = None if line.fields is None else json.loads(line.fields)
    kept = [line.ts, line.level, line.message, fields, line.attempt, line.source]
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


async def log(store: Store, lines: Sequence[tuple[Lease, LogLine]]) -> None:
    by_job: dict[tuple[str, str], list[LogLine]] = {}
    for lease, line in lines:
        by_job.setdefault((lease.queue, lease.id), []).append(line)
    calls: list[Call] = []
    for (queue, id), some in by_job.items():
        keys = store.keys(queue)
        both: list[Arg] = [bullmq_line(line).encode("utf-8", "replace") for line in some]
        both += [line_fields(line) for line in some]
        names = [keys.job(id), keys.logs(id), keys.lines(id), keys.own(f"line-count:{id}")]
        calls.append((scripts.own("log"), names, [LOG_LINES, LINES_TTL, len(some), *both]))
    await store.run_all(calls)
