"""What people ask of queues and jobs: pause, retry, edit, replay, cancel, promote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobhost.errors import JobActiveError

from ..dead_letters import Replayed, origin_of, replayed_job, replayed_metadata
from ..job import Json
from ..limits import key_in
from ..seam import Cancelled
from .adding import add_job
from .deleting import remove
from .flows import JobRef
from .rows import ACTIVE, COMPLETED, DELAYED, FAILED, JOB, PRIORITIZED, WAITING, job
from .settling import cancel_waiting

if TYPE_CHECKING:
    from .transaction import Transaction

_FIND = """SELECT seq, state, name, priority, attempts_made, flow_id, flow_name, created_at FROM jobs
WHERE queue = %s AND id = %s"""
_AGAIN = """UPDATE jobs SET attempts_made = 0, stalled = 0, child_deaths = 0, postponed = 0, released = 0,
progress = NULL, result = NULL, error = NULL, started_at = NULL, finished_at = NULL WHERE seq = %s"""


def pause(tx: Transaction, queue: str, paused: bool) -> None:
    """Set a queue's flag."""
    if paused:
        tx.execute("INSERT INTO queues VALUES (%s, true) ON CONFLICT (name) DO UPDATE SET paused = true", (queue,))
    else:
        tx.execute("DELETE FROM queues WHERE name = %s", (queue,))
        tx.woken.add(queue)
    tx.emit("paused" if paused else "resumed", queue)


def _find(tx: Transaction, queue: str, id: str) -> tuple[Any, ...] | None:
    """Hold a job's row, and before it the job's flow: the order of all who change both."""
    row = tx.execute(_FIND, (queue, id)).fetchone()
    if row is not None and row[5] is not None:
        tx.flows.hold((row[5],))
    return tx.execute(_FIND + " FOR UPDATE", (queue, id)).fetchone()


def retry(tx: Transaction, queue: str, id: str) -> bool:
    """Let a finished job wait again, as if it had never run."""
    row = _find(tx, queue, id)
    if row is None or row[1] not in (COMPLETED, FAILED):
        return False
    _again(tx, queue, id, row)
    return True


def _again(tx: Transaction, queue: str, id: str, row: tuple[Any, ...]) -> None:
    tx.execute(_AGAIN, (row[0],))
    _wait(tx, queue, id, row[:4])
    if row[5] is not None:
        tx.flows.delivery.again(JobRef(queue, id, row[7]), row[5], row[6])


def edit(tx: Transaction, queue: str, id: str, data: Json) -> bool:
    """Replace the data of a job that waits or is delayed."""
    row = _find(tx, queue, id)
    if row is None or row[1] not in (WAITING, PRIORITIZED, DELAYED):
        return False
    (metadata,) = tx.execute("SELECT metadata FROM jobs WHERE seq = %s", (row[0],)).fetchall()[0]
    _rewrite(tx, row[0], row[2], data, metadata)
    return True


def _rewrite(tx: Transaction, seq: int, name: str, data: Json, metadata: Json | None) -> None:
    values = (data, metadata, key_in(tx.paths, name, data, metadata), seq)
    tx.execute("UPDATE jobs SET data = %s, metadata = %s, key = %s WHERE seq = %s", values)


def replay(tx: Transaction, queue: str, id: str) -> Replayed:
    """Let the job of a dead letter run again, and remove the letter."""
    find = f"SELECT {JOB} FROM jobs WHERE queue = %s AND id = %s FOR UPDATE"
    found = tx.execute(find, (queue, id)).fetchone()
    if found is None:
        return Replayed("missing")
    letter = job(found)
    if letter.state == "active":
        raise JobActiveError(f"dead letter {id} of queue {queue} is running: cancel it first")
    origin = origin_of(letter)
    if origin is None:
        return Replayed("no_letter")
    row = _find(tx, origin.queue, origin.id)
    if row is not None and row[7] == origin.created_at:
        if row[1] != FAILED:
            return Replayed("alive", origin.queue, origin.id)
        _rewrite(tx, row[0], row[2], letter.data, replayed_metadata(letter, tx.now))
        _again(tx, origin.queue, origin.id, row)
        runs = origin.id
    else:
        runs = add_job(tx, replayed_job(letter, origin, tx.now, id=None if row is not None else origin.id)).id
    remove(tx, queue, id)
    return Replayed("replayed", origin.queue, runs)


def promote(tx: Transaction, queue: str, id: str) -> bool:
    """Let a delayed job wait."""
    row = _find(tx, queue, id)
    if row is None or row[1] != DELAYED:
        return False
    _wait(tx, queue, id, row[:4])
    return True


def _wait(tx: Transaction, queue: str, id: str, row: tuple[Any, ...]) -> None:
    seq, old, name, priority = row
    state = PRIORITIZED if priority else WAITING
    tx.execute("UPDATE jobs SET state = %s, delay_until = NULL, since = %s WHERE seq = %s", (state, tx.now, seq))
    tx.move(queue, old, state)
    tx.woken.add(queue)
    tx.emit("waiting", queue, id, name)


def cancel(tx: Transaction, queue: str, id: str) -> Cancelled:
    """Fail a job that waits; tell the host of an active one."""
    row = _find(tx, queue, id)
    if row is None:
        return "missing"
    seq, state, name, _, attempts_made = row[:5]
    if state in (COMPLETED, FAILED):
        return "finished"
    if state == ACTIVE:
        tx.execute("UPDATE jobs SET cancel_requested = true WHERE seq = %s", (seq,))
        tx.emit("cancel", queue, id, name, attempts_made + 1)
        return "requested"
    cancel_waiting(tx, queue, id, state)
    return "cancelled"
