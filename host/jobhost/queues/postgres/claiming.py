"""Claiming jobs: which ones, past those that there is no place for, and what becomes of them.

Usually every name has a place and one statement finds and takes the jobs, passing over those that another host is about to take. Else a
stretch of the line is looked at, name by name; and if that stretch is all names without a place, each name that has one is asked for its
own first jobs. A full handler with a hundred thousand jobs at the head of the line thus costs a claim no more than a short stretch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..admission import Admission
from ..fair_claims import FairClaim, Statements
from ..fairness import Turns
from ..job import Claim, Rate
from ..limits import Limits
from ..seam import Claimed
from ..window import Window
from .rows import ACTIVE, DELAYED, JOB, PRIORITIZED, WAITING, job, token
from .texts import numbers

if TYPE_CHECKING:
    from .transaction import Transaction

RIPEN = 1_000
"""Delayed jobs that one claim lets wait. If more come due at once, the rest follow with the next claims."""

STRETCH = 64
"""How much of the line is looked at, beside four times the limit, before names are asked one by one."""

_LOOK = """SELECT coalesce((SELECT paused FROM queues WHERE name = %s), false),
(SELECT min(delay_until) FROM jobs WHERE queue = %s AND state = 2), EXISTS (SELECT 1 FROM keys)"""
_RIPEN = """WITH due AS MATERIALIZED (SELECT seq FROM jobs WHERE queue = %s AND state = 2 AND delay_until <= %s
ORDER BY delay_until LIMIT %s FOR UPDATE SKIP LOCKED)
UPDATE jobs SET state = CASE WHEN priority > 0 THEN 1 ELSE 0 END, delay_until = NULL, since = %s
FROM due WHERE jobs.seq = due.seq RETURNING id, name, state"""
_NEXT_DUE = "SELECT min(delay_until) FROM jobs WHERE queue = %s AND state = 2"
_ANY = "SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = %s AND state <= 1)"

_FIRST = "SELECT seq FROM jobs WHERE queue = %s AND state <= 1 ORDER BY priority, rank LIMIT %s FOR UPDATE SKIP LOCKED"
_CHOSEN = "SELECT seq FROM jobs WHERE seq = ANY(%s::bigint[]) AND state <= 1 FOR UPDATE SKIP LOCKED"
_TAKE = f"""WITH chosen AS MATERIALIZED ({{}})
UPDATE jobs SET state = 3, token = %s, lease_until = %s, host = %s, started_at = %s, since = %s
FROM chosen WHERE jobs.seq = chosen.seq RETURNING jobs.seq, jobs.rank, {JOB}"""

_LINE = "SELECT priority, rank, seq, name FROM jobs WHERE queue = %s AND state <= 1 ORDER BY priority, rank LIMIT %s"
_FIRST_NAME = "SELECT min(name) FROM jobs WHERE queue = %s AND state <= 1"
_NEXT_NAME = _FIRST_NAME + " AND name > %s"
_OF_NAME = """SELECT priority, rank, seq, name FROM jobs
WHERE queue = %s AND name = %s AND key = '' AND state <= 1 AND (priority, rank) > (%s, %s) ORDER BY priority, rank LIMIT %s"""

_WINDOW = "SELECT ends_at, used FROM windows WHERE queue = %s"
_WRITE_WINDOW = """INSERT INTO windows VALUES (%s, %s, %s)
ON CONFLICT (queue) DO UPDATE SET ends_at = excluded.ends_at, used = excluded.used"""
_IS_TAKEN = "SELECT EXISTS (SELECT 1 FROM jobs WHERE seq = %s AND token = %s)"

_FIRST_KEY = "SELECT min(key) FROM jobs WHERE queue = %s AND name = %s AND state <= 1"
_NEXT_KEY = _FIRST_KEY + " AND key > %s"
_OF_KEY = """SELECT seq FROM jobs WHERE queue = %s AND name = %s AND key = %s AND state <= 1
ORDER BY priority, rank LIMIT 1 OFFSET %s"""
_ACTIVE = "SELECT name, key FROM jobs WHERE queue = %s AND state = 3"
_OLD_WINDOWS = "DELETE FROM windows WHERE queue > %s AND queue < %s AND ends_at < %s"
FAIR = Statements(_FIRST_KEY, _NEXT_KEY, _OF_KEY, _ACTIVE, _WINDOW, _WRITE_WINDOW, _OLD_WINDOWS)

Place = tuple[int, int, int, str]
"""priority, rank, seq and name of a job in the line."""


def claim(
    tx: Transaction,
    queue: str,
    limit: int,
    admission: Admission,
    lease_ms: int,
    host: str,
    mark: str,
    rate: Rate | None,
    limits: Limits | None,
    turns: Turns,
) -> Claimed:
    """Take jobs for a host. `mark` must be new for each claim; `turns` are those of this handle in this queue."""
    if rate is not None or limits is not None:
        tx.lock("window", queue)
    [(paused, next_due, keyed)] = tx.execute(_LOOK, (queue, queue)).fetchall()
    if paused:
        return Claimed([], None, False)
    tx.know_paths(keyed)
    if next_due is not None and next_due <= tx.now:
        next_due = _ripen(tx, queue)
    if limit <= 0:
        return Claimed([], next_due, _any_left(tx, queue))
    window = Window()
    if rate is not None:
        window = Window(*tx.execute(_WINDOW, (queue,)).fetchone() or ())
        limit = min(limit, window.left(rate, tx.now))
        if limit <= 0:
            left = _any_left(tx, queue)
            return Claimed([], window.ends_at if left else next_due, False)
    changes = (mark, tx.now + lease_ms, host, tx.now, tx.now)
    if limits is not None or tx.paths:
        chosen, due = FairClaim(tx, queue, partial(_line, tx, queue, limit), FAIR).claim(
            limit, admission, limits, turns
        )
        if due is not None:
            next_due = due if next_due is None else min(next_due, due)
        rows = _taken(tx, _CHOSEN, (numbers(chosen),), changes) if chosen else []
    else:
        rows = _take(tx, queue, limit, admission, changes)
    claims = _claims(tx, queue, rows, mark)
    if rate is not None and claims:
        window.count(rate, tx.now, len(claims))
        tx.execute(_WRITE_WINDOW, (queue, window.ends_at, window.used))
    return Claimed(claims, next_due, len(claims) == limit)


def _any_left(tx: Transaction, queue: str) -> bool:
    return tx.execute(_ANY, (queue,)).fetchone() == (True,)


def _ripen(tx: Transaction, queue: str) -> int | None:
    """Let the delayed jobs that are due wait; gives when the next one is."""
    for id, name, state in tx.execute(_RIPEN, (queue, tx.now, RIPEN, tx.now)).fetchall():
        tx.move(queue, DELAYED, state)
        tx.emit("waiting", queue, id, name)
    [(due,)] = tx.execute(_NEXT_DUE, (queue,)).fetchall()
    return due  # type: ignore[no-any-return]


def _take(
    tx: Transaction, queue: str, limit: int, admission: Admission, changes: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    if admission.covers(limit):
        return _taken(tx, _FIRST, (queue, limit), changes)
    chosen = _choose(tx, queue, limit, admission)
    return _taken(tx, _CHOSEN, (numbers(chosen),), changes) if chosen else []


def _taken(
    tx: Transaction, which: str, values: tuple[object, ...], changes: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = tx.execute(_TAKE.format(which), (*values, *changes)).fetchall()
    rows.sort(key=lambda row: (row[7], row[1]))  # priority, rank: an UPDATE returns them in no order
    return rows


def _claims(tx: Transaction, queue: str, rows: list[tuple[Any, ...]], mark: str) -> list[Claim]:
    claims = [Claim(job(row[2:]), token(row[0], mark)) for row in rows]
    if rows:
        tx.witness = (_IS_TAKEN, (rows[0][0], mark))
    for prioritized, count in Counter(claim.job.priority > 0 for claim in claims).items():
        tx.move(queue, PRIORITIZED if prioritized else WAITING, ACTIVE, count)
    for claim in claims if "active" in tx.wanted else ():
        tx.emit("active", queue, claim.job.id, claim.job.name, claim.job.attempts_made + 1)
    return claims


def _choose(tx: Transaction, queue: str, limit: int, admission: Admission) -> list[int]:
    stretch = STRETCH + 4 * limit
    line: list[Place] = tx.execute(_LINE, (queue, stretch)).fetchall()
    chosen = _admit(line, limit, admission)
    if len(chosen) < limit and len(line) == stretch:
        left = limit - len(chosen)
        chosen += _admit(_beyond(tx, queue, left, admission, line[-1]), left, admission)
    return chosen


def _line(tx: Transaction, queue: str, limit: int, admission: Admission) -> Iterator[tuple[int, str]]:
    """The jobs of handlers without keys, one by one, each counted off as it is given."""
    stretch = STRETCH + 4 * limit
    line: list[Place] = tx.execute(_LINE, (queue, stretch)).fetchall()
    for _, _, seq, name in line:
        if name not in tx.paths and admission.take(name):
            yield seq, name
    if len(line) == stretch:
        for _, _, seq, name in _beyond(tx, queue, limit, admission, line[-1]):
            if admission.take(name):
                yield seq, name


def _beyond(tx: Transaction, queue: str, limit: int, admission: Admission, last: Place) -> list[Place]:
    """The first jobs behind `last` of each name that has a place."""
    line: list[Place] = []
    [(name,)] = tx.execute(_FIRST_NAME, (queue,)).fetchall()
    while name is not None:
        if admission.admits(name) and name not in tx.paths:
            line += tx.execute(_OF_NAME, (queue, name, last[0], last[1], limit)).fetchall()
        [(name,)] = tx.execute(_NEXT_NAME, (queue, name)).fetchall()
    return sorted(line)


def _admit(line: list[Place], limit: int, admission: Admission) -> list[int]:
    chosen: list[int] = []
    for _, _, seq, name in line:
        if len(chosen) == limit:
            break
        if admission.take(name):
            chosen.append(seq)
    return chosen
