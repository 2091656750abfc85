"""Schedules in the file: each is one JSON object; when it comes due stands beside it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ..schedules import Fired, Firing, Schedule, dumped, is_over, loaded, need_ours, settled
from .adding import add_jobs

if TYPE_CHECKING:
    from .transaction import Transaction

_PUT = "INSERT OR REPLACE INTO schedules VALUES (?, ?, ?)"
_LAST = "SELECT finished_at IS NULL FROM jobs WHERE queue = ? AND id = ?"
_DUE = "SELECT info FROM schedules INDEXED BY schedules_due WHERE due IS NOT NULL AND due <= ? ORDER BY due LIMIT ?"
_NEXT = "SELECT min(due) FROM schedules INDEXED BY schedules_due WHERE due IS NOT NULL AND due > ?"


def put(tx: Transaction, schedule: Schedule) -> None:
    """Store one."""
    need_ours(schedule, "SQLite")
    tx.execute(_PUT, (schedule.id, schedule.due, dumped(schedule)))


def remove(tx: Transaction, id: str) -> bool:
    """Delete one."""
    return tx.execute("DELETE FROM schedules WHERE id = ?", (id,)).rowcount > 0


def fire(tx: Transaction, firing: Firing) -> Fired | None:
    """Add what is due, unless another host has."""
    row = tx.execute("SELECT info FROM schedules WHERE id = ?", (firing.schedule.id,)).fetchone()
    before = loaded(row[0]) if row is not None else None
    if before is None or before.tick != firing.before or before.paused:
        return None
    last = tx.execute(_LAST, (before.queue, before.last_job)).fetchone() if before.last_job is not None else None
    after, jobs, fired = settled(firing, before, last is not None and bool(last[0]))
    if is_over(after):
        remove(tx, after.id)
    else:
        tx.execute(_PUT, (after.id, after.due, dumped(after)))
    add_jobs(tx, jobs)
    return fired


def one(db: sqlite3.Connection, id: str) -> Schedule | None:
    """Give one."""
    row = db.execute("SELECT info FROM schedules WHERE id = ?", (id,)).fetchone()
    return loaded(row[0]) if row is not None else None


def all_of_them(db: sqlite3.Connection) -> list[Schedule]:
    """Give all."""
    return [loaded(info) for (info,) in db.execute("SELECT info FROM schedules ORDER BY id")]


def due(db: sqlite3.Connection, now: int, limit: int) -> tuple[list[Schedule], int | None]:
    """Give those that are due, and when the next one is."""
    found = [loaded(info) for (info,) in db.execute(_DUE, (now, limit))]
    (following,) = db.execute(_NEXT, (now,)).fetchone()
    return found, following
