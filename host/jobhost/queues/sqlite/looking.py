"""Looking at queues and jobs: reads on the reader's connection, none of which waits for the writer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import product

from ..job import STATES, HostInfo, Job, Json, LogLine, PublishedHandler, QueueInfo, State
from .rows import CODES, JOB, job

STATE_PAGE = 1_000
"""Keys in one page of a listing."""

HOST_LIVES_MS = 120_000
"""A host that has not sent a heartbeat for so long is not listed."""

Page = tuple[list[Job], str | None]


def get(db: sqlite3.Connection, queue: str, id: str) -> Job | None:
    """Give one job."""
    row = db.execute(f"SELECT {JOB} FROM jobs WHERE queue = ? AND id = ?", (queue, id)).fetchone()
    return job(row) if row else None


def jobs(db: sqlite3.Connection, queue: str | None, states: Sequence[State], limit: int, cursor: str | None) -> Page:
    """Give a page of jobs, the newest first."""
    before = int(cursor) if cursor is not None else 1 << 62
    if queue is None and not states:
        everywhere = "SELECT seq FROM jobs WHERE seq < ? ORDER BY seq DESC LIMIT ?"
        seqs = [seq for (seq,) in db.execute(everywhere, (before, limit + 1))]
    else:
        queues = [queue] if queue is not None else [name for (name,) in db.execute("SELECT name FROM queues")]
        seqs = _newest(db, queues, [CODES[state] for state in states or STATES], limit + 1, before)
    page = seqs[:limit]
    select = f"SELECT {JOB} FROM jobs WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq DESC"
    found = [job(row) for row in db.execute(select, (json.dumps(page),))]
    return found, str(page[-1]) if page and len(seqs) > limit else None


def _newest(db: sqlite3.Connection, queues: list[str], states: list[int], limit: int, before: int) -> list[int]:
    """The newest of each queue and state, merged: each is one short walk along an index."""
    walk = "SELECT seq FROM jobs INDEXED BY jobs_listed WHERE queue = ? AND state = ? AND seq < ? ORDER BY seq DESC LIMIT ?"
    seqs = [
        seq for queue, state in product(queues, states) for (seq,) in db.execute(walk, (queue, state, before, limit))
    ]
    return sorted(seqs, reverse=True)[:limit]


def seqs_in(db: sqlite3.Connection, queue: str, states: Sequence[int], latest: int, limit: int) -> list[int]:
    """The jobs that have been in one of `states` since `latest` or before, the oldest first. `limit` 0: all."""
    which = f"queue = ? AND state IN ({', '.join(map(str, states))}) AND since <= ?"
    select = f"SELECT seq FROM jobs INDEXED BY jobs_listed WHERE {which} ORDER BY since, seq LIMIT ?"
    return [seq for (seq,) in db.execute(select, (queue, latest, limit or -1))]


def logs(db: sqlite3.Connection, queue: str, id: str, after: int) -> list[tuple[int, LogLine]]:
    """Give the log lines of a job above a number."""
    select = """SELECT n, ts, level, message, fields, attempt, source FROM logs
    WHERE job = (SELECT seq FROM jobs WHERE queue = ? AND id = ?) AND n > ? ORDER BY n"""
    return [(row[0], LogLine(*row[1:])) for row in db.execute(select, (queue, id, after))]


def queues(db: sqlite3.Connection) -> list[QueueInfo]:
    """Give every queue that has jobs or is paused."""
    infos = []
    for name, paused, _, *counts in db.execute("SELECT * FROM queues ORDER BY name"):
        if paused or any(counts):
            infos.append(QueueInfo(name, bool(paused), dict(zip(STATES, counts, strict=True))))
    return infos


def counts(db: sqlite3.Connection, queue: str) -> dict[str, int]:
    """Give the number of jobs in each state."""
    row = db.execute("SELECT * FROM queues WHERE name = ?", (queue,)).fetchone()
    return dict(zip(STATES, row[3:], strict=True)) if row else dict.fromkeys(STATES, 0)


def state_get(db: sqlite3.Connection, scope: str, key: str, now: int) -> Json | None:
    """Give a value that has not passed away."""
    select = "SELECT value FROM state WHERE scope = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)"
    row = db.execute(select, (scope, key, now)).fetchone()
    return row[0] if row else None


def state_keys(db: sqlite3.Connection, scope: str, cursor: str | None, now: int) -> tuple[list[str], str | None]:
    """Give a page of the keys of a scope, in order."""
    select = "SELECT key FROM state WHERE scope = ? AND (expires_at IS NULL OR expires_at > ?)"
    values: tuple[object, ...] = (scope, now)
    if cursor is not None:
        select, values = select + " AND key > ?", (*values, cursor)
    keys = [key for (key,) in db.execute(f"{select} ORDER BY key LIMIT {STATE_PAGE + 1}", values)]
    page = keys[:STATE_PAGE]
    return page, page[-1] if len(keys) > STATE_PAGE else None


def state_scopes(db: sqlite3.Connection, now: int) -> list[str]:
    """Give the scopes that hold anything."""
    select = "SELECT DISTINCT scope FROM state WHERE expires_at IS NULL OR expires_at > ? ORDER BY scope"
    return [scope for (scope,) in db.execute(select, (now,))]


def hosts(db: sqlite3.Connection, now: int) -> list[HostInfo]:
    """Give the hosts that live."""
    select = "SELECT id, started_at, heartbeat_at, info FROM hosts WHERE heartbeat_at > ? ORDER BY id"
    return [HostInfo(*row) for row in db.execute(select, (now - HOST_LIVES_MS,))]


def published(db: sqlite3.Connection) -> list[PublishedHandler]:
    """Give the handlers that hosts have published."""
    return [PublishedHandler(*row) for row in db.execute("SELECT name, queue, info FROM handlers ORDER BY name")]
