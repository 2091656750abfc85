"""Ending claims: settlements, renewals, progress, logs, and what becomes of jobs whose host is gone.

Each write finds its row by the job's seq and the mark of its claim, so a holder that lost its lease finds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jobhost.errors import LeaseLostError

from ..dead_letters import dead_letter_copy
from ..flows import Emit, Happening, InFlow
from ..job import Json, Keep, Lease, LogLine, Settlement
from ..limits import key_in
from ..outcomes import CANCELLED, retry_data, stalled_error, with_error
from ..seam import Recovered, Renewal
from .adding import add_job
from .flows import JobRef
from .rows import ACTIVE, COMPLETED, DELAYED, FAILED, JOB, PRIORITIZED, WAITING, fence, job

if TYPE_CHECKING:
    from .transaction import Transaction

LOG_LINES = 1_000
"""Lines kept with each job, the newest."""

_COLUMNS = """seq, queue, id, name, priority, attempts_made, stalled, error, cancel_requested, created_at, flow_id,
flow_name"""
# Without RETURNING, which would take half as long again: what an event says is asked for when somebody wants it.
_COMPLETE = """UPDATE jobs SET state = 4, since = ?, finished_at = ?, result = ?, error = NULL,
attempts_made = attempts_made + ?, receipt = coalesce(?, receipt), token = NULL, cancel_requested = 0
WHERE seq = ? AND token = ? AND queue = ?"""
_COMPLETE_STEP = _COMPLETE.replace(
    "SET", "SET flow_name = coalesce(flow_name, ?2), flow_id = coalesce(flow_id, ?1),", 1
) + (" RETURNING id, created_at, attempts_made")
_HELD = f"""SELECT {_COLUMNS} FROM jobs
WHERE seq = ? AND token = ?"""
_EXPIRED = f"""SELECT {_COLUMNS} FROM jobs
INDEXED BY jobs_listed WHERE queue = ? AND state = 3 AND lease_until <= ? ORDER BY seq"""
_CHARGE = """UPDATE jobs SET attempts_made = attempts_made + ?, child_deaths = child_deaths + ?,
postponed = postponed + ?, released = released + ?, receipt = coalesce(?, receipt) WHERE seq = ?"""
_FAIL = """UPDATE jobs SET state = 5, since = ?, finished_at = ?, error = ?, delay_until = NULL, token = NULL,
cancel_requested = 0 WHERE seq = ?"""
_RETURN = "UPDATE jobs SET state = ?, since = ?, error = ?, delay_until = ?, token = NULL WHERE seq = ?"
_RENEW = "UPDATE jobs SET lease_until = ? WHERE seq = ? AND token = ? RETURNING cancel_requested"
_LOG = """INSERT INTO logs SELECT seq, coalesce((SELECT max(n) FROM logs WHERE job = seq), 0) + 1, ?, ?, ?, ?, ?, ?
FROM jobs WHERE queue = ? AND id = ? RETURNING job, n"""
_DATA = "UPDATE jobs SET data = ? WHERE seq = ? AND token = ? RETURNING name, metadata"
_JOINS = "UPDATE jobs SET flow_id = ?, flow_name = ? WHERE seq = ? AND flow_id IS NULL"
_PROGRESS = "UPDATE jobs SET progress = ? WHERE seq = ? AND token = ? RETURNING queue, id, name, attempts_made"


class Held(NamedTuple):
    """What has to be known of a job to let it fail or come back."""

    seq: int
    queue: str
    id: str
    name: str
    priority: int
    attempts_made: int
    stalled: int
    error: Json | None
    cancel_requested: int
    created_at: int
    flow_id: str | None
    flow_name: str | None

    @property
    def place(self) -> InFlow | None:
        """Its flow, as far as the job itself knows it."""
        return InFlow(self.flow_id, self.flow_name, self.name) if self.flow_id is not None else None

    @property
    def attempt(self) -> int:
        return self.attempts_made + 1


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> list[bool]:
    """End claims."""
    return [
        _complete(tx, settlement) if settlement.to == "completed" else _end_badly(tx, settlement)
        for settlement in settlements
    ]


def _complete(tx: Transaction, settlement: Settlement) -> bool:
    seq, mark = fence(settlement.lease.token)
    queue, result, used = settlement.lease.queue, settlement.result, settlement.attempt_used
    values = (tx.now, tx.now, result, used, settlement.receipt, seq, mark, queue)
    place = settlement.flow
    if place is not None:
        row = tx.execute(_COMPLETE_STEP, (place.id, place.name, *values)).fetchone()
        if row is None:
            return False
        source, attempt = JobRef(queue, row[0], row[1]), row[2] + (not used)
        ended = tx.flows.delivery.ended
        settlement.unmatched = ended(place, source, attempt, settlement.emits, result, None, False)
    elif not tx.execute(_COMPLETE, values).rowcount:
        return False
    tx.queue(queue).move(ACTIVE, COMPLETED)
    tx.finished(queue, COMPLETED, settlement.keep)
    if "completed" in tx.wanted:
        (row,) = tx.execute("SELECT id, name, attempts_made FROM jobs WHERE seq = ?", (seq,))
        tx.emit("completed", queue, row[0], row[1], row[2] + (not used), result)
    return True


def _end_badly(tx: Transaction, settlement: Settlement) -> bool:
    row = tx.execute(_HELD, fence(settlement.lease.token)).fetchone()
    if row is None:
        return False
    held = Held(*row)
    if settlement.error is not None:
        held = held._replace(error=settlement.error)
    counters = (settlement.attempt_used, settlement.child_death, settlement.postponed, settlement.released)
    tx.execute(_CHARGE, (*counters, settlement.receipt, held.seq))
    if settlement.flow is not None and held.flow_id is None:
        tx.execute(_JOINS, (settlement.flow.id, settlement.flow.name, held.seq))
        tx.flows.delivery.has(settlement.flow.id, settlement.flow.name)
    if settlement.to == "failed":
        _fail(tx, held, ACTIVE, settlement.keep, settlement.dead_letter, settlement)
    else:
        if settlement.flow is not None and settlement.error is not None:
            data = retry_data(settlement.error, settlement.delay_ms)
            source = JobRef(held.queue, held.id, held.created_at)
            tx.flows.delivery.event(settlement.flow, "step.retry", source, held.attempt, data)
        _return(tx, held, settlement.delay_ms if settlement.to == "delayed" else 0, settlement.keep)
    return True


def _fail(
    tx: Transaction,
    held: Held,
    old: int,
    keep: Keep | None,
    dead_letter: str | None = None,
    settlement: Settlement | None = None,
) -> None:
    tx.execute(_FAIL, (tx.now, tx.now, held.error, held.seq))
    tx.queue(held.queue).move(old, FAILED)
    attempt = held.attempt if old == ACTIVE else held.attempts_made
    tx.emit("failed", held.queue, held.id, held.name, attempt, with_error(held.error))
    if dead_letter is not None:
        (row,) = tx.execute(f"SELECT {JOB} FROM jobs WHERE seq = ?", (held.seq,))
        add_job(tx, dead_letter_copy(job(row), held.error, dead_letter, tx.now))
    place = settlement.flow if settlement is not None and settlement.flow is not None else held.place
    if place is not None:
        emits = settlement.emits if settlement is not None else ()
        source = JobRef(held.queue, held.id, held.created_at)
        unmatched = tx.flows.delivery.ended(place, source, attempt, emits, None, held.error, True)
        if settlement is not None:
            settlement.unmatched = unmatched
    tx.finished(held.queue, FAILED, keep or Keep())


def _return(tx: Transaction, held: Held, delay_ms: int, keep: Keep | None) -> None:
    """Let a job that was active come back, unless somebody asked for it to be cancelled."""
    if held.cancel_requested:
        _fail(tx, held._replace(error=CANCELLED), ACTIVE, keep)
        return
    due = tx.now + delay_ms if delay_ms > 0 else None
    state = DELAYED if due else PRIORITIZED if held.priority else WAITING
    tx.execute(_RETURN, (state, tx.now, held.error, due, held.seq))
    tx.queue(held.queue).move(ACTIVE, state)
    tx.woken.add(held.queue)
    if due:
        tx.emit("delayed", held.queue, held.id, held.name, held.attempt, with_error(held.error))
    else:
        tx.emit("waiting", held.queue, held.id, held.name)


def cancel_waiting(tx: Transaction, queue: str, id: str, state: int) -> None:
    """Fail a job that nobody runs."""
    (row,) = tx.execute(f"SELECT {_COLUMNS} FROM jobs WHERE queue = ? AND id = ?", (queue, id))
    _fail(tx, Held(*row)._replace(error=CANCELLED), state, None)


def renew(tx: Transaction, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
    """Prolong leases."""
    return [_renew(tx, lease, tx.now + lease_ms) for lease in leases]


def _renew(tx: Transaction, lease: Lease, until: int) -> Renewal:
    row = tx.execute(_RENEW, (until, *fence(lease.token))).fetchone()
    if row is None:
        return "lost"
    return "cancel" if row[0] else "ok"


def recover(tx: Transaction, queue: str, max_stalled: int, keep: Keep | None, dead_letter: str | None) -> Recovered:
    """Take active jobs back whose lease ran out."""
    recovered = Recovered([], [])
    for row in tx.execute(_EXPIRED, (queue, tx.now)).fetchall():
        held = Held(*row)
        stalled = held.stalled + 1
        tx.execute("UPDATE jobs SET stalled = ? WHERE seq = ?", (stalled, held.seq))
        tx.emit("stalled", queue, held.id, held.name, held.attempt)
        if stalled > max_stalled and not held.cancel_requested:
            _fail(tx, held._replace(error=stalled_error(stalled)), ACTIVE, keep, dead_letter)
        else:
            _return(tx, held, 0, keep)
        failed = held.cancel_requested or stalled > max_stalled
        (recovered.failed if failed else recovered.waiting).append(held.id)
    return recovered


def progress(tx: Transaction, updates: Sequence[tuple[Lease, Json]]) -> None:
    """Store the progress of runs that hold their lease."""
    for lease, value in updates:
        row: tuple[Any, ...] | None = tx.execute(_PROGRESS, (value, *fence(lease.token))).fetchone()
        if row is not None:
            tx.emit("progress", row[0], row[1], row[2], row[3] + 1, value)


def update_data(tx: Transaction, lease: Lease, data: Json) -> None:
    """Replace the data of a running job. Raises LeaseLostError."""
    row = tx.execute(_DATA, (data, *fence(lease.token))).fetchone()
    if row is None:
        raise LeaseLostError
    if row[0] in tx.paths:
        tx.execute(
            "UPDATE jobs SET key = ? WHERE seq = ?", (key_in(tx.paths, row[0], data, row[1]), fence(lease.token)[0])
        )


def log(tx: Transaction, lines: Sequence[tuple[Lease, LogLine]]) -> None:
    """Keep log lines."""
    last: dict[int, int] = {}
    for lease, line in lines:
        values = (line.ts, line.level, line.message, line.fields, line.attempt, line.source, lease.queue, lease.id)
        for seq, n in tx.execute(_LOG, values):
            last[seq] = n
    for seq, n in last.items():
        if n > LOG_LINES:
            tx.execute("DELETE FROM logs WHERE job = ? AND n <= ?", (seq, n - LOG_LINES))


def emit(tx: Transaction, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
    """Deliver emits of a running job. Raises LeaseLostError."""
    row = tx.execute(_HELD, fence(lease.token)).fetchone()
    if row is None:
        raise LeaseLostError
    held = Held(*row)
    tx.execute(_JOINS, (place.id, place.name, held.seq))
    return tx.flows.delivery.emit(place, JobRef(held.queue, held.id, held.created_at), attempt, emits)


def happened(tx: Transaction, happenings: Sequence[Happening]) -> None:
    """Keep events of runs, of lost leases too: they say what happened."""
    find = "SELECT seq, created_at, finished_at, flow_id FROM jobs WHERE queue = ? AND id = ?"
    for one in happenings:
        row = tx.execute(find, (one.lease.queue, one.lease.id)).fetchone()
        if row is None:
            continue
        if row[3] is None and row[2] is None:
            tx.execute(_JOINS, (one.place.id, one.place.name, row[0]))
            tx.flows.delivery.has(one.place.id, one.place.name)
        source = JobRef(one.lease.queue, one.lease.id, row[1])
        tx.flows.delivery.event(one.place, one.type, source, one.attempt, one.data)
