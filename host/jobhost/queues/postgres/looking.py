"""Looking at queues and jobs: reads on the reader's connection, none of which waits for the writer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..job import STATES, HostInfo, Job, Json, LogLine, PublishedHandler, QueueInfo, State
from .rows import CODES, JOB, job
from .texts import numbers

if TYPE_CHECKING:
    from .reader import Look

STATE_PAGE = 1_000
"""Keys in one page of a listing."""

HOST_LIVES_MS = 120_000
"""A host that has not sent a heartbeat for so long is not listed."""

EVER = 1 << 62
"""A number that no seq reaches."""

Page = tuple[list[Job], str | None]

_SUMS = ", ".join(f"sum({state.replace('-', '_')})::bigint" for state in STATES)
# The newest of each queue and state, merged: each is one short walk along an index.
_NEWEST = f"""SELECT {JOB}, jobs.seq FROM (
SELECT walk.seq FROM (SELECT DISTINCT queue FROM counts WHERE queue = coalesce(%s, queue)) AS q
CROSS JOIN unnest(%s::smallint[]) AS s (state)
CROSS JOIN LATERAL (SELECT seq FROM jobs WHERE queue = q.queue AND state = s.state AND seq < %s ORDER BY seq DESC LIMIT %s) AS walk
ORDER BY walk.seq DESC LIMIT %s) AS newest JOIN jobs ON jobs.seq = newest.seq ORDER BY jobs.seq DESC"""
_EVERYWHERE = f"SELECT {JOB}, seq FROM jobs WHERE seq < %s ORDER BY seq DESC LIMIT %s"


def get(look: Look, queue: str, id: str) -> Job | None:
    """Give one job."""
    rows = look(f"SELECT {JOB} FROM jobs WHERE queue = %s AND id = %s", (queue, id))
    return job(rows[0]) if rows else None


def jobs(look: Look, queue: str | None, states: Sequence[State], limit: int, cursor: str | None) -> Page:
    """Give a page of jobs, the newest first."""
    before = int(cursor) if cursor is not None else EVER
    if queue is None and not states:
        rows = look(_EVERYWHERE, (before, limit + 1))
    else:
        codes = numbers(CODES[state] for state in states or STATES)
        rows = look(_NEWEST, (queue, codes, before, limit + 1, limit + 1))
    page = rows[:limit]
    return [job(row[:-1]) for row in page], str(page[-1][-1]) if page and len(rows) > limit else None


def seqs_in(look: Look, queue: str, states: Sequence[int], latest: int, limit: int) -> list[int]:
    """The jobs that have been in one of `states` since `latest` or before, the oldest first. `limit` 0: all."""
    select = """SELECT seq FROM jobs WHERE queue = %s AND state = ANY(%s::smallint[]) AND since <= %s
    ORDER BY since, seq LIMIT %s"""
    return [seq for (seq,) in look(select, (queue, numbers(states), latest, limit or None))]


def logs(look: Look, queue: str, id: str, after: int) -> list[tuple[int, LogLine]]:
    """Give the log lines of a job above a number."""
    select = """SELECT n, ts, level, message, fields, attempt, source FROM logs
    WHERE job = (SELECT seq FROM jobs WHERE queue = %s AND id = %s) AND n > %s ORDER BY n"""
    return [(row[0], LogLine(*row[1:])) for row in look(select, (queue, id, after))]


def queues(look: Look) -> list[QueueInfo]:
    """Give every queue that has jobs or is paused."""
    counted = {row[0]: row[1:] for row in look(f"SELECT queue, {_SUMS} FROM counts GROUP BY queue")}
    paused = {name for (name,) in look("SELECT name FROM queues WHERE paused")}
    none = (0,) * len(STATES)
    return [
        QueueInfo(name, name in paused, dict(zip(STATES, counted.get(name, none), strict=True)))
        for name in sorted(paused.union(counted), key=lambda name: name.encode("utf-8", "surrogatepass"))
        if name in paused or any(counted[name])
    ]


def counts(look: Look, queue: str) -> dict[str, int]:
    """Give the number of jobs in each state."""
    rows = look(f"SELECT {_SUMS} FROM counts WHERE queue = %s", (queue,))
    return {state: count or 0 for state, count in zip(STATES, rows[0], strict=True)}


def state_get(look: Look, scope: str, key: str, now: int) -> Json | None:
    """Give a value that has not passed away."""
    select = "SELECT value FROM state WHERE scope = %s AND key = %s AND (expires_at IS NULL OR expires_at > %s)"
    rows = look(select, (scope, key, now))
    return rows[0][0] if rows else None


def state_keys(look: Look, scope: str, cursor: str | None, now: int) -> tuple[list[str], str | None]:
    """Give a page of the keys of a scope, in order."""
    select = "SELECT key FROM state WHERE scope = %s AND (expires_at IS NULL OR expires_at > %s)"
    values: tuple[object, ...] = (scope, now)
    if cursor is not None:
        select, values = select + " AND key > %s", (*values, cursor)
    keys = [key for (key,) in look(f"{select} ORDER BY key LIMIT {STATE_PAGE + 1}", values)]
    page = keys[:STATE_PAGE]
    return page, page[-1] if len(keys) > STATE_PAGE else None


def state_scopes(look: Look, now: int) -> list[str]:
    """Give the scopes that hold anything."""
    select = "SELECT DISTINCT scope FROM state WHERE expires_at IS NULL OR expires_at > %s ORDER BY scope"
    return [scope for (scope,) in look(select, (now,))]


def hosts(look: Look, now: int) -> list[HostInfo]:
    """Give the hosts that live."""
    select = "SELECT id, started_at, heartbeat_at, info FROM hosts WHERE heartbeat_at > %s ORDER BY id"
    return [HostInfo(*row) for row in look(select, (now - HOST_LIVES_MS,))]


def published(look: Look) -> list[PublishedHandler]:
    """Give the handlers that hosts have published."""
    return [PublishedHandler(*row) for row in look("SELECT name, queue, info FROM handlers ORDER BY name")]
