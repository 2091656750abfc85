"""Deleting jobs, with all that is theirs: logs, job state, what they emitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobhost.errors import JobActiveError

from ..fair_claims import BEHIND, BETWEEN
from ..job import Keep
from .rows import ACTIVE, COMPLETED, FAILED
from .texts import numbers, words

if TYPE_CHECKING:
    from .transaction import Transaction

CHUNK = 1_000
"""Jobs deleted in one commit: others shall not wait for a million."""

Deleted = tuple[int, str, str, int, int, str, str | None]
"""seq, queue, id, created_at, state, name and flow of a job that is gone."""

_DELETE = """WITH given AS MATERIALIZED ({} FOR UPDATE SKIP LOCKED),
gone AS (DELETE FROM jobs USING given WHERE jobs.seq = given.seq
RETURNING jobs.seq, queue, id, created_at, state, name, flow_id),
their_logs AS (DELETE FROM logs USING gone WHERE logs.job = gone.seq),
their_state AS (DELETE FROM state USING gone WHERE state.scope = 'job:' || queue || ':' || id || ':' || created_at)
SELECT * FROM gone"""
"""With the job's own state, whose scope is that of `job_scope`."""
_FINISHED = "SELECT seq FROM jobs WHERE queue = %s AND state = %s AND finished_at IS NOT NULL"
_TOO_MANY = (
    _FINISHED
    + """ ORDER BY finished_at, seq
LIMIT greatest(0, least(%s, (SELECT sum(CASE WHEN %s = 4 THEN completed ELSE failed END) FROM counts WHERE queue = %s) + %s))"""
)
_TOO_OLD = _FINISHED + " AND finished_at < %s ORDER BY finished_at, seq LIMIT %s"
_STILL_THERE = "SELECT seq FROM jobs WHERE seq = ANY(%s::bigint[]) AND state = ANY(%s::smallint[]) AND since <= %s"
_FORGET_EMITS = """DELETE FROM emitted USING unnest(%s::text[], %s::text[]) AS u (queue, job)
WHERE emitted.queue = u.queue AND emitted.job = u.job"""


def prune(tx: Transaction, queue: str, state: int, keep: Keep) -> None:
    """Delete finished jobs beyond what is kept, at most a chunk: the rest goes with the next commits. One host at a time, from before
    it counts: two that count the same excess would each delete as much."""
    if (keep.count is None and keep.age_ms is None) or not tx.try_lock("prune", f"{state} {queue}"):
        return
    if keep.count is not None:
        _delete(tx, _TOO_MANY, (queue, state, CHUNK, state, queue, tx.counted(queue, state) - keep.count))
    if keep.age_ms is not None:
        _delete(tx, _TOO_OLD, (queue, state, tx.now - keep.age_ms, CHUNK))


def delete_listed(tx: Transaction, seqs: Sequence[int], states: Sequence[int], latest: int, tell: bool) -> int:
    """Delete those of some jobs that are still in one of `states`, since `latest` or before; gives how many. `tell`: by events."""
    deleted = _delete(tx, _STILL_THERE, (numbers(seqs), numbers(states), latest))
    for _, queue, id, _, _, name, _ in deleted if tell else ():
        tx.emit("removed", queue, id, name)
    return len(deleted)


def remove(tx: Transaction, queue: str, id: str) -> bool:
    """Delete one job that is not active."""
    find = "SELECT seq, state FROM jobs WHERE queue = %s AND id = %s FOR UPDATE"
    row = tx.execute(find, (queue, id)).fetchone()
    if row is None:
        return False
    if row[1] == ACTIVE:
        raise JobActiveError(f"job {id} of queue {queue} is running: cancel it first")
    for deleted in _delete(tx, "SELECT seq FROM jobs WHERE seq = %s", (row[0],)):
        tx.emit("removed", queue, id, deleted[5])
    return True


def close_queue(tx: Transaction, queue: str) -> None:
    """Make sure that no job of a queue runs and none will start."""
    _check_active(tx, queue)
    tx.execute("INSERT INTO queues VALUES (%s, true) ON CONFLICT (name) DO UPDATE SET paused = true", (queue,))


def forget_queue(tx: Transaction, queue: str) -> bool:
    """Delete a queue that has no jobs left; False if it has some again."""
    _check_active(tx, queue)
    tx.merge_counts("queue = %s", (queue,))
    if any(tx.counts(queue)):
        return False
    tx.forget_counts(queue)
    tx.execute("DELETE FROM queues WHERE name = %s", (queue,))
    windows = "DELETE FROM windows WHERE queue = %s OR (queue > %s AND queue < %s)"
    tx.execute(windows, (queue, queue + BETWEEN, queue + BEHIND))
    return True


def _check_active(tx: Transaction, queue: str) -> None:
    if active := tx.counts(queue)[ACTIVE]:
        raise JobActiveError(f"{active} jobs of queue {queue} are running: pause it and let them end")


def _delete(tx: Transaction, which: str, values: tuple[object, ...]) -> list[Deleted]:
    deleted: list[Deleted] = tx.execute(_DELETE.format(which), values).fetchall()
    if deleted:
        if in_flows := [row for row in deleted if row[6] is not None]:
            _leave_flows(tx, in_flows)
        for (queue, state), jobs in Counter((row[1], row[4]) for row in deleted).items():
            tx.count(queue, state, -jobs)
    return deleted


def _leave_flows(tx: Transaction, deleted: Sequence[Deleted]) -> None:
    """What such jobs had emitted is forgotten, and flows that one had yet to end for may have ended."""
    tx.execute(_FORGET_EMITS, (words(row[1] for row in deleted), words(row[2] for row in deleted)))
    for flow in {row[6] for row in deleted if row[4] not in (COMPLETED, FAILED)}:
        tx.flows.delivery.touched(flow)
