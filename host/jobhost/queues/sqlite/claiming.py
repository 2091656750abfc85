"""Claiming jobs: which ones, past those that there is no place for, and what becomes of them.

Usually every name has a place and one statement finds and takes the jobs. Else a stretch of the line is looked at, name by
name; and if that stretch is all names without a place, each name that has one is asked for its own first jobs. A full
handler with a hundred thousand jobs at the head of the line thus costs a claim no more than a short stretch.
"""

from __future__ import annotations

import json
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

if TYPE_CHECKING:
    from .transaction import Transaction

RIPEN = 1_000
"""Delayed jobs that one claim lets wait. If more come due at once, the rest follow with the next claims."""

STRETCH = 64
"""How much of the line is looked at, beside four times the limit, before names are asked one by one."""

# INDEXED BY: the planner has no statistics and now and then takes an index that has to be sorted or walked; with it a
# statement whose index can't serve it fails, in every test, instead of being slow once there are many jobs.
_RIPEN = """UPDATE jobs SET state = priority > 0, delay_until = NULL, since = ? WHERE seq IN
(SELECT seq FROM jobs INDEXED BY jobs_delayed WHERE queue = ? AND state = 2 AND delay_until <= ? ORDER BY delay_until LIMIT ?)
RETURNING id, name, state"""
_NEXT_DUE = "SELECT min(delay_until) FROM jobs INDEXED BY jobs_delayed WHERE queue = ? AND state = 2"

_FIRST = "SELECT seq FROM jobs INDEXED BY jobs_ready WHERE queue = ? AND state <= 1 ORDER BY priority, rank LIMIT ?"
_CHOSEN = "SELECT value FROM json_each(?)"
_TAKE = (
    """UPDATE jobs SET state = 3, token = ?, lease_until = ?, host = ?, started_at = ?, since = ?
WHERE seq IN ({}) RETURNING seq, rank, """
    + JOB
)

_LINE = "SELECT priority, rank, seq, name FROM jobs INDEXED BY jobs_ready WHERE queue = ? AND state <= 1 ORDER BY priority, rank LIMIT ?"
_FIRST_NAME = "SELECT min(name) FROM jobs INDEXED BY jobs_ready_by_name WHERE queue = ? AND state <= 1"
_NEXT_NAME = _FIRST_NAME + " AND name > ?"
_OF_NAME = """SELECT priority, rank, seq, name FROM jobs INDEXED BY jobs_ready_by_name
WHERE queue = ? AND name = ? AND key = '' AND state <= 1 AND (priority, rank) > (?, ?) ORDER BY priority, rank LIMIT ?"""

_WINDOW = "SELECT ends_at, used FROM windows WHERE queue = ?"
_WRITE_WINDOW = "INSERT OR REPLACE INTO windows VALUES (?, ?, ?)"

_FIRST_KEY = "SELECT min(key) FROM jobs INDEXED BY jobs_ready_by_name WHERE queue = ? AND name = ? AND state <= 1"
_NEXT_KEY = _FIRST_KEY + " AND key > ?"
_OF_KEY = """SELECT seq FROM jobs INDEXED BY jobs_ready_by_name
WHERE queue = ? AND name = ? AND key = ? AND state <= 1 ORDER BY priority, rank LIMIT 1 OFFSET ?"""
_ACTIVE = "SELECT name, key FROM jobs INDEXED BY jobs_listed WHERE queue = ? AND state = 3"
_OLD_WINDOWS = "DELETE FROM windows WHERE queue > ? AND queue < ? AND ends_at < ?"
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
    row = tx.queue(queue)
    if row.paused:
        return Claimed([], None, False)
    next_due = _ripen(tx, queue) if row.counts[DELAYED] else None
    waiting = row.counts[WAITING] + row.counts[PRIORITIZED]
    if not waiting or limit <= 0:
        return Claimed([], next_due, bool(waiting))
    if rate is not None:
        window = Window(*tx.execute(_WINDOW, (queue,)).fetchone() or ())
        limit = min(limit, window.left(rate, tx.now))
        if limit <= 0:
            return Claimed([], window.ends_at, False)
    changes = (mark, tx.now + lease_ms, host, tx.now, tx.now)
    if limits is not None or tx.paths:
        chosen, due = FairClaim(tx, queue, partial(_line, tx, queue, limit), FAIR).claim(
            limit, admission, limits, turns
        )
        if due is not None:
            next_due = due if next_due is None else min(next_due, due)
        taken = _taken(tx, _CHOSEN, changes, (json.dumps(chosen),)) if chosen else []
    else:
        taken = _take(tx, queue, limit, admission, changes)
    claims = [_claim(tx, row, mark) for row in taken]
    if rate is not None and claims:
        window.count(rate, tx.now, len(claims))
        tx.execute(_WRITE_WINDOW, (queue, window.ends_at, window.used))
    return Claimed(claims, next_due, len(claims) == limit < waiting)


def _ripen(tx: Transaction, queue: str) -> int | None:
    """Let the delayed jobs that are due wait; gives when the next one is."""
    row = tx.queue(queue)
    for id, name, state in tx.execute(_RIPEN, (tx.now, queue, tx.now, RIPEN)).fetchall():
        row.move(DELAYED, state)
        tx.emit("waiting", queue, id, name)
    due: int | None = tx.execute(_NEXT_DUE, (queue,)).fetchone()[0]
    return due


def _take(
    tx: Transaction, queue: str, limit: int, admission: Admission, changes: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    if admission.covers(limit):
        return _taken(tx, _FIRST, changes, (queue, limit))
    chosen = _choose(tx, queue, limit, admission)
    return _taken(tx, _CHOSEN, changes, (json.dumps(chosen),)) if chosen else []


def _taken(
    tx: Transaction, which: str, changes: tuple[object, ...], values: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    rows = tx.execute(_TAKE.format(which), (*changes, *values)).fetchall()
    rows.sort(key=lambda row: (row[7], row[1]))  # priority, rank: an UPDATE returns them in no order
    return rows


def _claim(tx: Transaction, row: tuple[Any, ...], mark: str) -> Claim:
    taken = job(row[2:])
    tx.queue(taken.queue).move(PRIORITIZED if taken.priority else WAITING, ACTIVE)
    tx.emit("active", taken.queue, taken.id, taken.name, taken.attempts_made + 1)
    return Claim(taken, token(row[0], mark))


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
    (name,) = tx.execute(_FIRST_NAME, (queue,)).fetchone()
    while name is not None:
        if admission.admits(name) and name not in tx.paths:
            line += tx.execute(_OF_NAME, (queue, name, last[0], last[1], limit))
        (name,) = tx.execute(_NEXT_NAME, (queue, name)).fetchone()
    return sorted(line)


def _admit(line: list[Place], limit: int, admission: Admission) -> list[int]:
    chosen: list[int] = []
    for _, _, seq, name in line:
        if len(chosen) == limit:
            break
        if admission.take(name):
            chosen.append(seq)
    return chosen
