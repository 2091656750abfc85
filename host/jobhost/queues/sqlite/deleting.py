"""Deleting jobs, with all that is theirs: logs, long data, job state."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from jobhost.errors import JobActiveError

from ..job import Keep, job_scope
from .rows import ACTIVE, COMPLETED, FAILED

if TYPE_CHECKING:
    from .transaction import Transaction

CHUNK = 1_000
"""Jobs deleted in one commit: others shall not wait for a million."""

Deleted = tuple[int, str, str, int, int, str, str | None]
"""seq, queue, id, created_at, state, name and flow of a job that is gone."""

_DELETE = "DELETE FROM jobs WHERE seq IN ({}) RETURNING seq, queue, id, created_at, state, name, flow_id"
_GIVEN = "SELECT value FROM json_each(?)"
_FINISHED = "SELECT seq FROM jobs INDEXED BY jobs_finished WHERE queue = ? AND state = ? AND finished_at IS NOT NULL"
_TOO_MANY = _FINISHED + " ORDER BY finished_at, seq LIMIT ?"
_TOO_OLD = _FINISHED + " AND finished_at < ? ORDER BY finished_at LIMIT ?"
_FORGET_EMITS = """DELETE FROM emitted WHERE (queue, job) IN
(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"""
_STILL_THERE = "SELECT seq FROM jobs WHERE seq IN (SELECT value FROM json_each(?)) AND state IN ({}) AND since <= ?"


def prune(tx: Transaction, queue: str, state: int, keep: Keep) -> None:
    """Delete finished jobs beyond what is kept, at most a chunk: the rest goes with the next commits."""
    excess = tx.queue(queue).counts[state] - keep.count if keep.count is not None else 0
    if excess > 0:
        _delete(tx, _TOO_MANY, (queue, state, min(excess, CHUNK)))
    if keep.age_ms is not None:
        _delete(tx, _TOO_OLD, (queue, state, tx.now - keep.age_ms, CHUNK))


def delete_listed(tx: Transaction, seqs: Sequence[int], states: Collection[int], latest: int, tell: bool) -> int:
    """Delete those of some jobs that are still in one of `states`, since `latest` or before; gives how many. `tell`: by events."""
    codes = ", ".join(map(str, states))
    still = [seq for (seq,) in tx.execute(_STILL_THERE.format(codes), (json.dumps(seqs), latest))]
    deleted = _delete(tx, _GIVEN, (json.dumps(still),)) if still else []
    for _, queue, id, _, _, name, _ in deleted if tell else ():
        tx.emit("removed", queue, id, name)
    return len(deleted)


def remove(tx: Transaction, queue: str, id: str) -> bool:
    """Delete one job that is not active."""
    row = tx.execute("SELECT seq, state FROM jobs WHERE queue = ? AND id = ?", (queue, id)).fetchone()
    if row is None:
        return False
    if row[1] == ACTIVE:
        raise JobActiveError(f"job {id} of queue {queue} is running: cancel it first")
    for deleted in _delete(tx, _GIVEN, (json.dumps([row[0]]),)):
        tx.emit("removed", queue, id, deleted[5])
    return True


def close_queue(tx: Transaction, queue: str) -> None:
    """Make sure that no job of a queue runs and none will start."""
    row = tx.queue(queue)
    if active := row.counts[ACTIVE]:
        raise JobActiveError(f"{active} jobs of queue {queue} are running: pause it and let them end")
    row.paused = row.dirty = True


def forget_queue(tx: Transaction, queue: str) -> bool:
    """Delete a queue that has no jobs left; False if it has some again."""
    if any(tx.queue(queue).counts):
        return False
    tx.forget_queue(queue)
    return True


def _delete(tx: Transaction, which: str, values: tuple[object, ...]) -> list[Deleted]:
    deleted: list[Deleted] = tx.execute(_DELETE.format(which), values).fetchall()
    if deleted:
        seqs = json.dumps([row[0] for row in deleted])
        scopes = json.dumps([job_scope(row[1], row[2], row[3]) for row in deleted])
        tx.execute(f"DELETE FROM logs WHERE job IN ({_GIVEN})", (seqs,))
        tx.execute(f"DELETE FROM payloads WHERE seq IN ({_GIVEN})", (seqs,))
        tx.execute(f"DELETE FROM state WHERE scope IN ({_GIVEN})", (scopes,))
        if in_flows := [row for row in deleted if row[6] is not None]:
            _leave_flows(tx, in_flows)
        for (queue, state), jobs in Counter((row[1], row[4]) for row in deleted).items():
            tx.queue(queue).count(state, -jobs)
    return deleted


def _leave_flows(tx: Transaction, deleted: Sequence[Deleted]) -> None:
    """What such jobs had emitted is forgotten, and flows that one had yet to end for may have ended."""
    tx.execute(_FORGET_EMITS, (json.dumps([row[1:3] for row in deleted]),))
    for flow in {row[6] for row in deleted if row[4] not in (COMPLETED, FAILED)}:
        tx.flows.delivery.touched(flow)
