"""Ending claims: settlements, renewals, progress, logs, and what becomes of jobs whose host is gone.

Each write finds its row by the job's seq and the mark of its claim, so a holder that lost its lease finds none. The jobs that complete,
which are most, do so in one statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jobhost.errors import LeaseLostError

from ..dead_letters import dead_letter_copy
from ..flows import Emit, Happening, InFlow
from ..job import Json, Keep, Lease, Settlement
from ..limits import key_in
from ..outcomes import CANCELLED, retry_data, stalled_error, with_error
from ..seam import Recovered, Renewal
from .adding import add_job
from .flows import JobRef
from .rows import ACTIVE, COMPLETED, DELAYED, FAILED, JOB, PRIORITIZED, WAITING, fence, job
from .texts import blobs, numbers, words

if TYPE_CHECKING:
    from .transaction import Transaction

_COLUMNS = """seq, queue, id, name, priority, attempts_made, stalled, error, cancel_requested, created_at, flow_id,
flow_name"""
_COMPLETE = """UPDATE jobs SET state = 4, since = %s, finished_at = %s, result = u.result, error = NULL,
attempts_made = attempts_made + u.used, receipt = coalesce(u.receipt, jobs.receipt), token = NULL, cancel_requested = false,
flow_id = coalesce(jobs.flow_id, u.flow_id),
flow_name = CASE WHEN u.flow_id IS NULL THEN jobs.flow_name ELSE coalesce(jobs.flow_name, u.flow_name) END
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[], %s::integer[], %s::bytea[], %s::text[], %s::text[])
AS u (seq, token, queue, result, used, receipt, flow_id, flow_name)
WHERE jobs.seq = u.seq AND jobs.token = u.token AND jobs.queue = u.queue
RETURNING jobs.seq, jobs.id, jobs.name, jobs.created_at, jobs.attempts_made"""
_HELD = f"SELECT {_COLUMNS} FROM jobs WHERE seq = %s AND token = %s FOR UPDATE"
_EXPIRED = f"""SELECT {_COLUMNS} FROM jobs WHERE queue = %s AND state = 3 AND lease_until <= %s
ORDER BY seq FOR UPDATE SKIP LOCKED"""
_CHARGE = """UPDATE jobs SET attempts_made = attempts_made + %s, child_deaths = child_deaths + %s,
postponed = postponed + %s, released = released + %s, receipt = coalesce(%s, receipt) WHERE seq = %s"""
_FAIL = """UPDATE jobs SET state = 5, since = %s, finished_at = %s, error = %s, delay_until = NULL, token = NULL,
cancel_requested = false WHERE seq = %s"""
_RETURN = "UPDATE jobs SET state = %s, since = %s, error = %s, delay_until = %s, token = NULL WHERE seq = %s"
_RENEW = """UPDATE jobs SET lease_until = %s FROM unnest(%s::bigint[], %s::text[]) AS u (seq, token)
WHERE jobs.seq = u.seq AND jobs.token = u.token RETURNING jobs.seq, jobs.token, jobs.cancel_requested"""
_DATA = "UPDATE jobs SET data = %s WHERE seq = %s AND token = %s RETURNING name, metadata"
_JOINS = "UPDATE jobs SET flow_id = %s, flow_name = %s WHERE seq = %s AND flow_id IS NULL"
_PROGRESS = "UPDATE jobs SET progress = %s WHERE seq = %s AND token = %s RETURNING queue, id, name, attempts_made"

_IS_OVER = "SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE seq = %s AND token = %s)"


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
    cancel_requested: bool
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

    @property
    def ref(self) -> JobRef:
        return JobRef(self.queue, self.id, self.created_at)


def settle(tx: Transaction, settlements: Sequence[Settlement]) -> list[bool]:
    """End claims."""
    if flows := {settlement.flow.id for settlement in settlements if settlement.flow is not None}:
        tx.flows.hold(flows)
    completed = _complete(tx, [settlement for settlement in settlements if settlement.to == "completed"])
    if flows:
        tx.flows.expect(_emits(settlements, completed))
    held = [
        _completed(tx, settlement, completed) if settlement.to == "completed" else _end_badly(tx, settlement)
        for settlement in settlements
    ]
    tokens = [settlement.lease.token for settlement in settlements]
    tx.settled += (settled := [token for token, ok in zip(tokens, held, strict=True) if ok])
    if settled:
        tx.witness = (_IS_OVER, fence(settled[0]))
    return [ok or tx.doubtful(token) for token, ok in zip(tokens, held, strict=True)]


Done = dict[int, tuple[Any, ...]]
"""By seq: id, name, created_at and attempts_made of jobs that have completed."""


def _complete(tx: Transaction, settlements: Sequence[Settlement]) -> Done:
    """Complete the jobs whose lease holds, before anything is said of any of them."""
    if not settlements:
        return {}
    fences = [fence(each.lease.token) for each in settlements]
    values = (
        *(tx.now, tx.now, numbers(seq for seq, _ in fences), words(mark for _, mark in fences)),
        words(each.lease.queue for each in settlements),
        blobs(each.result for each in settlements),
        numbers(each.attempt_used for each in settlements),
        blobs(each.receipt for each in settlements),
        words(each.flow.id if each.flow else None for each in settlements),
        words(each.flow.name if each.flow else None for each in settlements),
    )
    return {row[0]: row[1:] for row in tx.execute(_COMPLETE, values).fetchall()}


def _emits(settlements: Sequence[Settlement], done: Done) -> list[tuple[JobRef, Emit]]:
    """What the jobs that have completed emit."""
    emits = []
    for settlement in settlements:
        if settlement.to == "completed" and (row := done.get(fence(settlement.lease.token)[0])) is not None:
            source = JobRef(settlement.lease.queue, row[0], row[2])
            emits += [(source, emit) for emit in settlement.emits]
    return emits


def _completed(tx: Transaction, settlement: Settlement, done: Done) -> bool:
    """Say what a job's completion means to others."""
    row = done.pop(fence(settlement.lease.token)[0], None)
    if row is None:
        return False
    id, name, created_at, attempts_made = row
    queue, attempt = settlement.lease.queue, attempts_made + (not settlement.attempt_used)
    if settlement.flow is not None:
        source = JobRef(queue, id, created_at)
        ended = tx.flows.delivery.ended
        settlement.unmatched = ended(settlement.flow, source, attempt, settlement.emits, settlement.result, None, False)
    tx.move(queue, ACTIVE, COMPLETED)
    tx.finished(queue, COMPLETED, settlement.keep)
    tx.emit("completed", queue, id, name, attempt, settlement.result)
    return True


def _end_badly(tx: Transaction, settlement: Settlement) -> bool:
    row = tx.execute(_HELD, fence(settlement.lease.token)).fetchone()
    if row is None:
        return False
    held = Held(*row)
    if settlement.error is not None:
        held = held._replace(error=settlement.error)
    counters = (settlement.attempt_used, settlement.child_death, settlement.postponed, settlement.released)
    tx.execute(_CHARGE, (*map(int, counters), settlement.receipt, held.seq))
    if settlement.flow is not None and held.flow_id is None:
        tx.execute(_JOINS, (settlement.flow.id, settlement.flow.name, held.seq))
        tx.flows.delivery.has(settlement.flow.id, settlement.flow.name)
    if settlement.to == "failed":
        _fail(tx, held, ACTIVE, settlement.keep, settlement.dead_letter, settlement)
    else:
        if settlement.flow is not None and settlement.error is not None:
            data = retry_data(settlement.error, settlement.delay_ms)
            tx.flows.delivery.event(settlement.flow, "step.retry", held.ref, held.attempt, data)
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
    tx.move(held.queue, old, FAILED)
    attempt = held.attempt if old == ACTIVE else held.attempts_made
    tx.emit("failed", held.queue, held.id, held.name, attempt, with_error(held.error))
    if dead_letter is not None:
        [row] = tx.execute(f"SELECT {JOB} FROM jobs WHERE seq = %s", (held.seq,)).fetchall()
        add_job(tx, dead_letter_copy(job(row), held.error, dead_letter, tx.now))
    place = settlement.flow if settlement is not None and settlement.flow is not None else held.place
    if place is not None:
        emits = settlement.emits if settlement is not None else ()
        unmatched = tx.flows.delivery.ended(place, held.ref, attempt, emits, None, held.error, True)
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
    tx.move(held.queue, ACTIVE, state)
    tx.woken.add(held.queue)
    if due:
        tx.emit("delayed", held.queue, held.id, held.name, held.attempt, with_error(held.error))
    else:
        tx.emit("waiting", held.queue, held.id, held.name)


def cancel_waiting(tx: Transaction, queue: str, id: str, state: int) -> None:
    """Fail a job that nobody runs."""
    [row] = tx.execute(f"SELECT {_COLUMNS} FROM jobs WHERE queue = %s AND id = %s", (queue, id)).fetchall()
    _fail(tx, Held(*row)._replace(error=CANCELLED), state, None)


def renew(tx: Transaction, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
    """Prolong leases."""
    fences = sorted({fence(lease.token) for lease in leases})
    values = (tx.now + lease_ms, numbers(seq for seq, _ in fences), words(mark for _, mark in fences))
    held = {(seq, mark): cancel for seq, mark, cancel in tx.execute(_RENEW, values).fetchall()}
    said: dict[bool | None, Renewal] = {None: "lost", True: "cancel", False: "ok"}
    return [said[held.get(fence(lease.token))] for lease in leases]


def recover(tx: Transaction, queue: str, max_stalled: int, keep: Keep | None, dead_letter: str | None) -> Recovered:
    """Take active jobs back whose lease ran out."""
    recovered = Recovered([], [])
    for row in tx.execute(_EXPIRED, (queue, tx.now)).fetchall():
        held = Held(*row)
        stalled = held.stalled + 1
        tx.execute("UPDATE jobs SET stalled = %s WHERE seq = %s", (stalled, held.seq))
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
        key = key_in(tx.paths, row[0], data, row[1])
        tx.execute("UPDATE jobs SET key = %s WHERE seq = %s", (key, fence(lease.token)[0]))


def emit(tx: Transaction, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
    """Deliver emits of a running job. Raises LeaseLostError."""
    tx.flows.hold({place.id})
    row = tx.execute(_HELD, fence(lease.token)).fetchone()
    if row is None:
        raise LeaseLostError
    held = Held(*row)
    tx.execute(_JOINS, (place.id, place.name, held.seq))
    return tx.flows.delivery.emit(place, held.ref, attempt, emits)


def happened(tx: Transaction, happenings: Sequence[Happening]) -> None:
    """Keep events of runs, of lost leases too: they say what happened."""
    tx.flows.hold({one.place.id for one in happenings})
    find = "SELECT seq, created_at, finished_at, flow_id FROM jobs WHERE queue = %s AND id = %s"
    for one in happenings:
        row = tx.execute(find, (one.lease.queue, one.lease.id)).fetchone()
        if row is None:
            continue
        if row[3] is None and row[2] is None:
            tx.execute(_JOINS, (one.place.id, one.place.name, row[0]))
            tx.flows.delivery.has(one.place.id, one.place.name)
        source = JobRef(one.lease.queue, one.lease.id, row[1])
        tx.flows.delivery.event(one.place, one.type, source, one.attempt, one.data)
