"""Adding jobs: many in one statement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..flows import flow_of_new
from ..job import NewJob
from ..limits import Paths, key_in
from ..seam import Added
from .rows import DELAYED, PRIORITIZED, WAITING
from .texts import blobs, numbers, words

if TYPE_CHECKING:
    from .transaction import Transaction

_COLUMNS = (
    *(("seq", "bigint"), ("rank", "bigint"), ("created_at", "bigint"), ("since", "bigint"), ("delay_until", "bigint")),
    *(("timeout_ms", "bigint"), ("max_attempts", "bigint"), ("priority", "integer"), ("state", "smallint")),
    *(("queue", "text"), ("id", "text"), ("name", "text"), ("flow_id", "text"), ("flow_name", "text")),
    *(("backoff", "bytea"), ("metadata", "bytea"), ("data", "bytea"), ("key", "text")),
)
_NAMES = ", ".join(name for name, _ in _COLUMNS)
_JOIN: dict[str, Callable[[Iterable[Any]], str]] = {"text": words, "bytea": blobs}
INSERT = f"""INSERT INTO jobs ({_NAMES}) SELECT {_NAMES}
FROM unnest({", ".join(f"%s::{type}[]" for _, type in _COLUMNS)}) AS u ({_NAMES})
ON CONFLICT (queue, id) DO NOTHING RETURNING seq"""
EXISTING = "SELECT created_at FROM jobs WHERE queue = %s AND id = %s"

_IS_THERE = "SELECT EXISTS (SELECT 1 FROM jobs WHERE seq = %s AND queue = %s AND id = %s)"


class Numbered(NamedTuple):
    """A job on its way into the table."""

    new: NewJob
    seq: int
    id: str
    flow_id: str | None
    flow_name: str | None

    @property
    def state(self) -> int:
        return DELAYED if self.new.delay_ms > 0 else PRIORITIZED if self.new.priority else WAITING


def columns(jobs: Sequence[Numbered], now: int, paths: Mapping[str, Paths]) -> list[str]:
    """The values of `INSERT`."""
    rows = [_row(job, now, key_in(paths, job.new.name, job.new.data, job.new.metadata)) for job in jobs]
    return [
        _JOIN.get(type, numbers)(values) for (_, type), values in zip(_COLUMNS, zip(*rows, strict=True), strict=True)
    ]


def _row(job: Numbered, now: int, key: str) -> tuple[Any, ...]:
    new, seq = job.new, job.seq
    return (
        *(seq, -seq if new.lifo else seq, new.created_at or now, now, now + new.delay_ms if new.delay_ms > 0 else None),
        *(new.timeout_ms, new.attempts, new.priority, job.state),
        *(new.queue, job.id, new.name, job.flow_id, job.flow_name),
        *(new.backoff, new.metadata, new.data, key),
    )


def numbered(jobs: Sequence[NewJob], seqs: Sequence[int], ids: dict[str, list[str]]) -> list[Numbered]:
    """Give each job its seq and its id. `ids`: those of each queue, the first one last."""
    return [
        Numbered(new, seq, new.id if new.id is not None else ids[new.queue].pop(), *flow_of_new(new))
        for new, seq in zip(jobs, seqs, strict=True)
    ]


def add_jobs(tx: Transaction, jobs: Sequence[NewJob]) -> list[Added]:
    """Add jobs in order."""
    made = numbered(jobs, tx.next_seqs(len(jobs)), _ids(tx, jobs))
    if flows := {job.flow_id for job in made if job.flow_id is not None}:
        tx.flows.hold(flows)
    there = {seq for (seq,) in tx.execute(INSERT, columns(made, tx.now, tx.paths)).fetchall()}
    counts: defaultdict[tuple[str, int], int] = defaultdict(int)
    added = []
    for job in made:
        if job.seq in there:
            counts[job.new.queue, job.state] += 1
            added.append(_created(tx, job))
        else:
            added.append(_existing(tx, job))
    for (queue, state), count in counts.items():
        tx.count(queue, state, count)
    if there:
        tx.witness = (_IS_THERE, next((job.seq, job.new.queue, job.id) for job in made if job.seq in there))
    return added


def add_job(tx: Transaction, new: NewJob) -> Added:
    """Add one job, unless its id is there."""
    return add_jobs(tx, [new])[0]


def _ids(tx: Transaction, jobs: Sequence[NewJob]) -> dict[str, list[str]]:
    needed = Counter(job.queue for job in jobs if job.id is None)
    tx.need_numbers(needed)
    return {queue: tx.next_ids(queue, needed[queue])[::-1] for queue in sorted(needed)}


def _created(tx: Transaction, job: Numbered) -> Added:
    new = job.new
    if job.flow_id is not None:
        tx.flows.delivery.has(job.flow_id, job.flow_name)
    tx.woken.add(new.queue)
    tx.emit("delayed" if job.state == DELAYED else "waiting", new.queue, job.id, new.name)
    return Added(job.id, True, new.created_at or tx.now)


def _existing(tx: Transaction, job: Numbered) -> Added:
    """What became of a job whose id was there."""
    if job.new.id is None:  # a producer has used a number of the queue's as an id of its own: the next one
        return add_job(tx, job.new)
    row = tx.execute(EXISTING, (job.new.queue, job.id)).fetchone()
    return add_job(tx, job.new) if row is None else Added(job.id, False, row[0])  # None: it has just gone
