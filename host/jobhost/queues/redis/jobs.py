"""A BullMQ job's hash as a `Job`, and a `NewJob` as what BullMQ's scripts take.

What BullMQ has no field for is one JSON object in the hash field `jh`: `timeout`, `metadata`, `flow_id`, `flow_name`, `error` (the last
one, whole), `child_deaths`, `postponed`, `released`, `receipt`. Absent members are absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgpack
import msgspec

from ..job import Job, Json, Keep, NewJob, State
from .keys import Keys

Fields = dict[bytes, bytes]
STATES: dict[bytes, State] = {
    b"waiting": "waiting",
    b"wait": "waiting",
    b"paused": "waiting",
    b"prioritized": "prioritized",
    b"delayed": "delayed",
    b"active": "active",
    b"completed": "completed",
    b"failed": "failed",
    b"waiting-children": "waiting-children",
}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
MOST_SHIFT = 1 << 12
"""The score of a delayed job is its time in ms, times this, plus a counter."""
STACKS = 10
"""Stack traces kept with a job, the newest; BullMQ's `stackTraceLimit` is for its own workers."""
FOREVER = {"count": -1}


def pairs(flat: Sequence[bytes]) -> Fields:
    """A hash as the server lists it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


def options(fields: Fields) -> dict[str, Any]:
    """The job's options as its producer gave them; to be read only, since jobs of the same options share them."""
    return _loaded(fields.get(b"opts", b"{}"))


@lru_cache(maxsize=256)
def _loaded(opts: bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(opts)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def own(fields: Fields) -> dict[str, Any]:
    """Our fields. What is no JSON of ours counts as nothing."""
    stored = fields.get(b"jh")
    if stored is None:
        return {}
    try:
        loaded = json.loads(stored)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


PLAIN = frozenset((b"name", b"data", b"opts", b"timestamp", b"delay", b"priority", b"processedOn", b"pb", b"ats"))
"""The fields of a job that runs for the first time and asks for nothing special."""


def claimed_job(queue: str, id: str, fields: Fields) -> Job:
    """The job that has just been claimed, as `job_of` gives it, quickly where it is a plain one."""
    if fields.keys() == PLAIN:
        try:
            attempts, backoff, traceparent = _policy(fields[b"opts"])
            return Job(
                id,
                queue,
                fields[b"name"].decode(),
                fields[b"data"],
                "active",
                int(fields[b"priority"]),
                int(fields[b"timestamp"]),
                0,
                attempts,
                backoff,
                started_at=int(fields[b"processedOn"]),
                host=fields[b"pb"].decode(),
                traceparent=traceparent,
            )
        except ValueError:  # written by others: what a number or a text has to be is told below
            pass
    return job_of(queue, id, fields, "active")


@lru_cache(maxsize=256)
def _policy(opts: bytes) -> tuple[int | None, Json | None, str | None]:
    """What a job's options say of its attempts, its backoff and its trace."""
    loaded = _loaded(opts)
    attempts = loaded.get("attempts")
    # BullMQ's Node client writes 0 where its user said nothing.
    made = attempts if isinstance(attempts, int) and attempts > 0 else None
    return made, _json(loaded.get("backoff")), _traceparent(loaded.get("tm"))


def job_of(queue: str, id: str, fields: Fields, state: State, due_score: float | None = None) -> Job:
    """The job a hash holds. `due_score`: its score among the delayed ones."""
    ours = own(fields)
    attempts, backoff, traceparent = _policy(fields.get(b"opts", b"{}"))
    return Job(
        id=id,
        queue=queue,
        name=_text(fields.get(b"name", b"")),
        data=fields.get(b"data", b"null"),
        state=state,
        priority=_whole(fields.get(b"priority")) or 0,
        created_at=_whole(fields.get(b"timestamp")) or 0,
        attempts_made=_whole(fields.get(b"atm")) or 0,
        max_attempts=attempts,
        backoff=backoff,
        timeout_ms=ours.get("timeout"),
        metadata=_json(ours.get("metadata")),
        progress=fields.get(b"progress"),
        result=fields.get(b"returnvalue") if state == "completed" else None,
        error=_error(fields, ours, state),
        delay_until=int(due_score) // MOST_SHIFT if due_score is not None else None,
        started_at=_whole(fields.get(b"processedOn")),
        finished_at=_whole(fields.get(b"finishedOn")),
        flow_id=ours.get("flow_id"),
        flow_name=ours.get("flow_name"),
        host=_text(fields[b"pb"]) if b"pb" in fields else None,
        receipt=_json(ours.get("receipt")),
        stalled=_whole(fields.get(b"stc")) or 0,
        child_deaths=ours.get("child_deaths", 0),
        postponed=ours.get("postponed", 0),
        released=ours.get("released", 0),
        traceparent=_traceparent(_text(fields[b"tm"])) if b"tm" in fields else traceparent,
    )


def _traceparent(carried: Any) -> str | None:
    """BullMQ's telemetry field `tm` holds what its propagator wrote: a JSON object with `traceparent` in it, or that alone."""
    if not isinstance(carried, str):
        return None
    try:
        loaded = json.loads(carried)
    except ValueError:
        loaded = carried
    found = loaded.get("traceparent") if isinstance(loaded, dict) else loaded
    return found if isinstance(found, str) and _TRACEPARENT.fullmatch(found) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _whole(value: bytes | None) -> int | None:
    try:
        return None if value is None else int(float(value))
    except (ValueError, OverflowError):
        return None


def _json(value: Any) -> Json | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _error(fields: Fields, ours: dict[str, Any], state: State) -> Json | None:
    """Our error as it was, if it is still the last one; what other workers wrote, in our form."""
    reason = fields.get(b"failedReason")
    if state == "completed":
        return None
    error = ours.get("error")
    if reason is None:
        return _json(error)
    if isinstance(error, dict) and str(error.get("message", "")) == _text(reason):
        return _json(error)
    try:
        stacks = json.loads(fields.get(b"stacktrace", b"[]"))
        stack = str(stacks[-1]) if stacks else ""
    except (ValueError, TypeError, KeyError):
        stack = ""
    return _json({"type": "Error", "message": _text(reason), "stack": stack, "origin": "handler"})


# Writing ------------------------------------------------------------------------------------------------------------


def script_of(new: NewJob) -> str:
    """The script that adds it."""
    if new.delay_ms > 0:
        return "addDelayedJob"
    return "addPrioritizedJob" if new.priority else "addStandardJob"


def adding_keys(keys: Keys, script: str) -> list[str]:
    """The keys that an adding script takes, in its order."""
    if script == "addDelayedJob":
        return [keys.marker, keys.meta, keys.id, keys.delayed, keys.completed, keys.events]
    if script == "addPrioritizedJob":
        between = [keys.marker, keys.meta, keys.id, keys.prioritized, keys.delayed, keys.completed, keys.active]
        return [*between, keys.events, keys.pc]
    first = [keys.wait, keys.paused, keys.meta, keys.id, keys.completed, keys.delayed, keys.active]
    return [*first, keys.events, keys.marker]


def adding_args(keys: Keys, new: NewJob, now: int) -> list[Any]:
    """The arguments of an adding script, ours the last."""
    opts: dict[str, Any] = {"attempts": new.attempts or 0}
    if new.delay_ms:
        opts["delay"] = new.delay_ms
    if new.priority:
        opts["priority"] = new.priority
    if new.lifo:
        opts["lifo"] = True
    if new.backoff is not None:
        opts["backoff"] = json.loads(new.backoff)
    if new.id is not None:
        opts["jobId"] = new.id
    created_at = now if new.created_at is None else new.created_at
    head = [keys.base, new.id or "", new.name, created_at, None, None, None, None, None]
    ours: dict[str, Any] = {}
    if new.timeout_ms is not None:
        ours["timeout"] = new.timeout_ms
    if new.metadata is not None:
        ours["metadata"] = msgspec.Raw(new.metadata)
    if new.flow_id:
        ours["flow_id"] = new.flow_id
    if new.flow_name is not None:
        ours["flow_name"] = new.flow_name
    return [
        msgpack.packb(head),
        new.data,
        msgpack.packb(opts),
        now,
        msgspec.json.encode(ours) if ours else b"",
    ]


def keep_jobs(own_option: Any, keep: Keep) -> dict[str, int]:
    """BullMQ's `keepJobs`: the job's own `removeOnComplete` or `removeOnFail`, else what the queue keeps. Ages are seconds there."""
    if own_option is True:
        return {"count": 0}
    if isinstance(own_option, int) and own_option is not False:
        return {"count": own_option}
    if isinstance(own_option, dict):
        return own_option
    if own_option is False:
        return FOREVER
    kept: dict[str, int] = {}
    if keep.count is not None:
        kept["count"] = keep.count
    if keep.age_ms is not None:
        kept["age"] = max(1, -(-keep.age_ms // 1000))
    return kept or FOREVER


def stacks_with(fields: Fields, stack: str) -> bytes:
    """The job's stack traces and one more."""
    try:
        kept = json.loads(fields.get(b"stacktrace", b"[]"))
    except ValueError:
        kept = []
    stacks = [*(kept if isinstance(kept, list) else []), stack]
    return json.dumps(stacks[-STACKS:]).encode()
