"""Schedules in the tables: each is one JSON object; when it comes due stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..schedules import Fired, Firing, Schedule, dumped, is_over, loaded, need_ours, settled
from .adding import add_jobs

if TYPE_CHECKING:
    from .reader import Look
    from .transaction import Transaction

_PUT = """INSERT INTO schedules VALUES (%s, %s, %s)
ON CONFLICT (id) DO UPDATE SET due = excluded.due, info = excluded.info"""
_LAST = "SELECT finished_at IS NULL FROM jobs WHERE queue = %s AND id = %s"
_DUE = "SELECT info FROM schedules WHERE due IS NOT NULL AND due <= %s ORDER BY due LIMIT %s"
_NEXT = "SELECT min(due) FROM schedules WHERE due IS NOT NULL AND due > %s"


def put(tx: Transaction, schedule: Schedule) -> None:
    """Store one."""
    need_ours(schedule, "Postgres")
    tx.lock("schedule", schedule.id)
    tx.execute(_PUT, (schedule.id, schedule.due, dumped(schedule)))


def remove(tx: Transaction, id: str) -> bool:
    """Delete one."""
    tx.lock("schedule", id)
    return tx.execute("DELETE FROM schedules WHERE id = %s", (id,)).rowcount > 0


def fire(tx: Transaction, firing: Firing) -> Fired | None:
    """Add what is due, unless another host has."""
    tx.lock("schedule", firing.schedule.id)
    row = tx.execute("SELECT info FROM schedules WHERE id = %s", (firing.schedule.id,)).fetchone()
    before = loaded(row[0]) if row is not None else None
    if before is None or before.tick != firing.before or before.paused:
        return None
    last = tx.execute(_LAST, (before.queue, before.last_job)).fetchone() if before.last_job is not None else None
    after, jobs, fired = settled(firing, before, last is not None and bool(last[0]))
    if is_over(after):
        remove(tx, after.id)
    else:
        tx.execute(_PUT, (after.id, after.due, dumped(after)))
    if jobs:
        add_jobs(tx, jobs)
    return fired


def one(look: Look, id: str) -> Schedule | None:
    """Give one."""
    rows = look("SELECT info FROM schedules WHERE id = %s", (id,))
    return loaded(rows[0][0]) if rows else None


def all_of_them(look: Look) -> list[Schedule]:
    """Give all."""
    return [loaded(info) for (info,) in look("SELECT info FROM schedules ORDER BY id")]


def due(look: Look, now: int, limit: int) -> tuple[list[Schedule], int | None]:
    """Give those that are due, and when the next one is."""
    found = [loaded(info) for (info,) in look(_DUE, (now, limit))]
    [(following,)] = look(_NEXT, (now,))
    return found, following
