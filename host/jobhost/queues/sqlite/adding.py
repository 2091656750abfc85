"""Adding jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..flows import flow_of_new
from ..job import NewJob
from ..limits import key_in
from ..seam import Added
from .rows import DELAYED, PRIORITIZED, WAITING

if TYPE_CHECKING:
    from .transaction import Transaction

INLINE = 2_048
"""Bytes of data that stay in the job's own row."""

_INSERT = """INSERT INTO jobs (seq, queue, id, state, priority, rank, name, created_at, since, max_attempts, timeout_ms,
delay_until, flow_id, flow_name, backoff, metadata, data, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (queue, id) DO NOTHING"""


def add_jobs(tx: Transaction, jobs: Sequence[NewJob]) -> list[Added]:
    """Add jobs in order."""
    return [add_job(tx, job) for job in jobs]


def add_job(tx: Transaction, new: NewJob) -> Added:
    """Add one job, unless its id is there."""
    seq = tx.next_seq()
    row = tx.queue(new.queue)
    delayed = new.delay_ms > 0
    state = DELAYED if delayed else PRIORITIZED if new.priority else WAITING
    flow_id, flow_name = flow_of_new(new)
    created_at = tx.now if new.created_at is None else new.created_at
    inline = new.data if len(new.data) <= INLINE else None
    while True:
        id = new.id
        if id is None:
            row.last_id += 1
            id = str(row.last_id)
        values = (
            *(seq, new.queue, id, state, new.priority, -seq if new.lifo else seq, new.name, created_at, tx.now),
            *(new.attempts, new.timeout_ms, tx.now + new.delay_ms if delayed else None, flow_id, flow_name),
            *(new.backoff, new.metadata, inline, key_in(tx.paths, new.name, new.data, new.metadata)),
        )
        if tx.execute(_INSERT, values).rowcount:
            break
        if new.id is not None:
            return _existing(tx, new.queue, id)
    if inline is None:
        tx.execute("INSERT INTO payloads VALUES (?, ?)", (seq, new.data))
    if flow_id is not None:
        tx.flows.delivery.has(flow_id, flow_name)
    row.count(state)
    tx.woken.add(new.queue)
    tx.emit("delayed" if delayed else "waiting", new.queue, id, new.name)
    return Added(id, True, created_at)


def _existing(tx: Transaction, queue: str, id: str) -> Added:
    (created_at,) = tx.execute("SELECT created_at FROM jobs WHERE queue = ? AND id = ?", (queue, id)).fetchone()
    return Added(id, False, created_at)
