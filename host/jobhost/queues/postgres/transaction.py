"""One commit: what the operations in it share.

Others commit at the same time. What is read, thought about and written (a flow, the window of a rate limit, a scope of state, a schedule)
is held by an advisory lock from before it is read to the commit. Locks are waited for in one order and before anything is done; one that is
found to be needed on the way is taken if it is free, else the transaction is given up and begun anew with all it needs (`Again`). So no
two hosts wait for each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from typing import Any

import psycopg

from ..job import STATES, Event, Json, Keep
from ..limits import Paths
from . import keys
from .address import Address
from .deleting import prune
from .flows import Flows
from .rows import ACTIVE, PRIORITIZED, WAITING
from .schema import sequence_of
from .texts import numbers, words

_STATES = ("waiting", "prioritized", "delayed", "active", "completed", "failed", "waiting_children")
_SUMS = ", ".join(f"coalesce(sum({state}), 0)::bigint" for state in _STATES)
_COUNTS = f"SELECT {_SUMS} FROM counts WHERE queue = %s"
COUNT = f"""INSERT INTO counts (queue, shard, {", ".join(_STATES)})
SELECT queue, %s, {", ".join(_STATES)} FROM unnest(%s::text[], {", ".join(["%s::bigint[]"] * 7)}) AS u (queue, {", ".join(_STATES)})
ON CONFLICT (queue, shard) DO UPDATE SET {", ".join(f"{state} = counts.{state} + excluded.{state}" for state in _STATES)}"""
_MERGE = f"""WITH gone AS (DELETE FROM counts WHERE {{}} RETURNING *)
SELECT queue, {_SUMS} FROM gone GROUP BY queue"""
# nextval is asked for in the order of the rows.
_NUMBERS = "SELECT nextval('job_seq') FROM generate_series(1, %s)"
_IDS = "SELECT nextval(%s::regclass) FROM generate_series(1, %s)"


class Again(Exception):  # noqa: N818 - no error: it asks for another try
    """The transaction needs locks that are not free, or a sequence that is not there."""

    def __init__(self, locks: Iterable[int], queues: Sequence[str] = ()) -> None:
        self.locks = frozenset(locks)
        self.queues = queues


class Transaction:
    """What one commit does. `locks`: held from the start. `wanted`: types of events somebody, somewhere, waits for."""

    def __init__(
        self,
        connection: psycopg.Connection,
        address: Address,
        shard: int,
        now: int,
        wanted: Container[str],
        locks: frozenset[int] = frozenset(),
    ) -> None:
        self._connection = connection
        self._address = address
        self._shard = shard
        self.now = now
        self.wanted = wanted
        self.events: list[Event] = []
        self.woken: set[str] = set()
        """Queues that may have work now."""
        self.xid = ""
        """Its number at the server."""
        self.witness: tuple[str, Sequence[Any]] | None = None
        """A query that is true after the commit and not before."""
        self.numbered: set[str] = set()
        """Queues whose sequence is known to be there."""
        self.doubtful: Callable[[str], bool] = lambda token: False
        """Whether a claim was settled by a commit of which nobody knew whether it was one."""
        self.settled: list[str] = []
        """Tokens of claims that this commit ends."""
        self._locks = set(locks)
        self._counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(STATES))
        self._keeps: dict[tuple[str, int], Keep] = {}
        self._flows: Flows | None = None
        self._paths: dict[str, Paths] | None = None

    @property
    def paths(self) -> dict[str, Paths]:
        """Where the keys of jobs are, by handler."""
        if self._paths is None:
            self._paths = keys.read(self)
        return self._paths

    def know_paths(self, any_there: bool) -> None:
        """Whether there are any, where that was asked beside something else."""
        if self._paths is None and not any_there:
            self._paths = {}

    def forget_paths(self) -> None:
        """They have changed."""
        self._paths = None

    def execute(self, query: str, values: Sequence[Any] = ()) -> psycopg.Cursor:
        """Run a statement."""
        return self._connection.execute(query.encode(), values, binary=True)

    # Locks ------------------------------------------------------------------------------------------------------

    def lock(self, kind: str, *ids: str) -> None:
        """Hold what these name until the commit. Raises Again."""
        wanted = {self.key(kind, id) for id in ids} - self._locks
        if not wanted:
            return
        select = "SELECT key FROM unnest(%s::bigint[]) AS u (key) WHERE NOT pg_try_advisory_xact_lock(key)"
        if self.execute(select, (numbers(wanted),)).fetchall():
            raise Again(wanted | self._locks)
        self._locks |= wanted

    def key(self, kind: str, id: str) -> int:
        """The number of a lock."""
        return self._address.key(kind, id)

    def try_lock(self, kind: str, id: str) -> bool:
        """Hold something if nobody else does."""
        key = self.key(kind, id)
        if key not in self._locks:
            if self.execute("SELECT pg_try_advisory_xact_lock(%s)", (key,)).fetchone() != (True,):
                return False
            self._locks.add(key)
        return True

    # Flows, numbers, counts -------------------------------------------------------------------------------------

    @property
    def flows(self) -> Flows:
        """The flows that this commit is about."""
        if self._flows is None:
            self._flows = Flows(self)
        return self._flows

    def next_seqs(self, count: int) -> list[int]:
        """So many numbers, each above those of all jobs that were added before."""
        return [seq for (seq,) in self.execute(_NUMBERS, (count,)).fetchall()]

    def need_numbers(self, queues: Collection[str]) -> None:
        """Make sure that queues can number their jobs. Raises Again if not, before any number is used up."""
        wanted = [queue for queue in queues if queue not in self.numbered]
        names = words(sequence_of(queue) for queue in wanted)
        select = "SELECT to_regclass(name) IS NULL FROM unnest(%s::text[]) AS u (name)"
        missing = [lacks for (lacks,) in self.execute(select, (names,)).fetchall()] if wanted else []
        if any(missing):
            raise Again(self._locks, [queue for queue, lacks in zip(wanted, missing, strict=True) if lacks])
        self.numbered.update(wanted)

    def next_ids(self, queue: str, count: int) -> list[str]:
        """The next numbers of a queue, as ids."""
        return [str(id) for (id,) in self.execute(_IDS, (sequence_of(queue), count)).fetchall()]

    def count(self, queue: str, state: int, jobs: int = 1) -> None:
        """Count jobs that came into this state from nowhere, or left it for good."""
        self._counts[queue][state] += jobs

    def move(self, queue: str, old: int, new: int, jobs: int = 1) -> None:
        """Count jobs that went from one state to another."""
        counts = self._counts[queue]
        counts[old] -= jobs
        counts[new] += jobs

    def counted(self, queue: str, state: int) -> int:
        """By how many this transaction has changed the number of jobs in a state, so far only here."""
        return self._counts[queue][state]

    def counts(self, queue: str) -> list[int]:
        """The number of jobs in each state."""
        rows = self.execute(_COUNTS, (queue,)).fetchall()
        return [there + own for there, own in zip(rows[0], self._counts[queue], strict=True)]

    def merge_counts(self, which: str, values: Sequence[object] = ()) -> None:
        """Sum rows of `counts` up in this host's own."""
        for queue, *counts in self.execute(_MERGE.format(which), values).fetchall():
            for state, jobs in enumerate(counts):
                self._counts[queue][state] += jobs

    def forget_counts(self, queue: str) -> None:
        """Nothing is left to count."""
        self._counts.pop(queue, None)

    # What comes of it -------------------------------------------------------------------------------------------

    def emit(
        self,
        type: str,
        queue: str,
        id: str | None = None,
        name: str | None = None,
        attempt: int = 0,
        data: Json | None = None,
    ) -> None:
        """Keep an event for after the commit, if somebody waits for its type."""
        if type in self.wanted:
            self.events.append(Event(type, queue, id, name, self.now, attempt, data))

    def finished(self, queue: str, state: int, keep: Keep) -> None:
        """Say that a job got into a finished state, whose jobs are to be pruned before the commit."""
        self._keeps[queue, state] = keep

    def finish(self) -> None:
        """Do what is done once for all operations: end flows, prune, count."""
        if self._flows is not None:
            self._flows.finish()
        for (queue, state), keep in self._keeps.items():
            prune(self, queue, state, keep)
        for queue in {queue for queue, _ in self._keeps} if "drained" in self.wanted else ():
            counts = self.counts(queue)
            if not any(counts[state] for state in (WAITING, PRIORITIZED, ACTIVE)):
                self.emit("drained", queue)
        self._write_counts()

    def _write_counts(self) -> None:
        changed = sorted(item for item in self._counts.items() if any(item[1]))
        if changed:
            columns = [numbers(column) for column in zip(*(counts for _, counts in changed), strict=True)]
            self.execute(COUNT, (self._shard, words(queue for queue, _ in changed), *columns))
        self._counts.clear()
