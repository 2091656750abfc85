"""What people ask of queues and jobs: pause, retry, edit, replay, cancel, promote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobhost.errors import JobActiveError

from ..dead_letters import Replayed, origin_of, replayed_job, replayed_metadata
from ..job import Json
from ..limits import key_in
from ..seam import Cancelled
from .adding import INLINE, add_job
from .deleting import remove
from .flows import JobRef
from .rows import ACTIVE, COMPLETED, DELAYED, FAILED, JOB, PRIORITIZED, WAITING, job
from .settling import cancel_waiting

if TYPE_CHECKING:
    from .transaction import Transaction

_FIND = "SELECT seq, state, name, priority, attempts_made, flow_id, flow_name, created_at FROM jobs WHERE queue = ? AND id = ?"
_AGAIN = """UPDATE jobs SET attempts_made = 0, stalled = 0, child_deaths = 0, postponed = 0, released = 0,
progress = NULL, result = NULL, error = NULL, started_at = NULL, finished_at = NULL WHERE seq = ?"""


def pause(tx: Transaction, queue: str, paused: bool) -> None:
    """Set a queue's flag."""
    row = tx.queue(queue)
    row.paused = paused
    row.dirty = True
    tx.emit("paused" if paused else "resumed", queue)
    if not paused:
        tx.woken.add(queue)


def retry(tx: Transaction, queue: str, id: str) -> bool:
    """Let a finished job wait again, as if it had never run."""
    row = tx.execute(_FIND, (queue, id)).fetchone()
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
    row = tx.execute(_FIND, (queue, id)).fetchone()
    if row is None or row[1] not in (WAITING, PRIORITIZED, DELAYED):
        return False
    (metadata,) = tx.execute("SELECT metadata FROM jobs WHERE seq = ?", (row[0],)).fetchone()
    _rewrite(tx, row[0], row[2], data, metadata)
    return True


def _rewrite(tx: Transaction, seq: int, name: str, data: Json, metadata: Json | None) -> None:
    inline = data if len(data) <= INLINE else None
    values = (inline, metadata, key_in(tx.paths, name, data, metadata), seq)
    tx.execute("UPDATE jobs SET data = ?, metadata = ?, key = ? WHERE seq = ?", values)
    tx.execute("DELETE FROM payloads WHERE seq = ?", (seq,))
    if inline is None:
        tx.execute("INSERT INTO payloads VALUES (?, ?)", (seq, data))


def replay(tx: Transaction, queue: str, id: str) -> Replayed:
    """Let the job of a dead letter run again, and remove the letter."""
    found = tx.execute(f"SELECT {JOB} FROM jobs WHERE queue = ? AND id = ?", (queue, id)).fetchone()
    if found is None:
        return Replayed("missing")
    letter = job(found)
    if letter.state == "active":
        raise JobActiveError(f"dead letter {id} of queue {queue} is running: cancel it first")
    origin = origin_of(letter)
    if origin is None:
        return Replayed("no_letter")
    row = tx.execute(_FIND, (origin.queue, origin.id)).fetchone()
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
    row = tx.execute(_FIND, (queue, id)).fetchone()
    if row is None or row[1] != DELAYED:
        return False
    _wait(tx, queue, id, row[:4])
    return True


def _wait(tx: Transaction, queue: str, id: str, row: tuple[int, int, str, int]) -> None:
    seq, old, name, priority = row
    state = PRIORITIZED if priority else WAITING
    tx.execute("UPDATE jobs SET state = ?, delay_until = NULL, since = ? WHERE seq = ?", (state, tx.now, seq))
    tx.queue(queue).move(old, state)
    tx.woken.add(queue)
    tx.emit("waiting", queue, id, name)


def cancel(tx: Transaction, queue: str, id: str) -> Cancelled:
    """Fail a job that waits; tell the host of an active one."""
    row = tx.execute(_FIND, (queue, id)).fetchone()
    if row is None:
        return "missing"
    seq, state, name, _, attempts_made = row[:5]
    if state in (COMPLETED, FAILED):
        return "finished"
    if state == ACTIVE:
        tx.execute("UPDATE jobs SET cancel_requested = 1 WHERE seq = ?", (seq,))
        tx.emit("cancel", queue, id, name, attempts_made + 1)
        return "requested"
    cancel_waiting(tx, queue, id, state)
    return "cancelled"
