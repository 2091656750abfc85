"""One commit: what the operations in it share.

A queue's row is read once and written once, however many operations touch it. What the commit means to others (events,
hosts to wake) is collected here and let out only after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Sequence
from typing import Any, Protocol

from ..fair_claims import BEHIND, BETWEEN
from ..job import Event, Json, Keep
from ..limits import Paths
from . import keys
from .deleting import prune
from .flows import Flows
from .rows import ACTIVE, PRIORITIZED, WAITING

_READ_QUEUE = "SELECT * FROM queues WHERE name = ?"
_WRITE_QUEUE = "INSERT OR REPLACE INTO queues VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Connection(Protocol):
    """What a transaction needs of one."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> sqlite3.Cursor: ...
    def executemany(self, statement: str, values: Sequence[Any], /) -> sqlite3.Cursor: ...


class QueueRow:
    """A row of `queues`; `counts` by state code."""

    __slots__ = ("counts", "dirty", "last_id", "name", "paused")

    def __init__(self, name: str, paused: int = 0, last_id: int = 0, *counts: int) -> None:
        self.name = name
        self.paused = bool(paused)
        self.last_id = last_id
        self.counts = list(counts) or [0] * 7
        self.dirty = False

    def move(self, old: int, new: int, jobs: int = 1) -> None:
        """Count jobs that went from one state to another."""
        self.counts[old] -= jobs
        self.counts[new] += jobs
        self.dirty = True

    def count(self, state: int, jobs: int = 1) -> None:
        """Count jobs that came into this state from nowhere, or left it for good."""
        self.counts[state] += jobs
        self.dirty = True

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self.counts[WAITING] or self.counts[PRIORITIZED] or self.counts[ACTIVE])


class Transaction:
    """What one commit does. `wanted`: the types of events somebody, somewhere, waits for."""

    def __init__(self, connection: Connection, now: int, wanted: Container[str]) -> None:
        self.execute = connection.execute
        self.execute_many = connection.executemany
        self.now = now
        self.wanted = wanted
        self.events: list[Event] = []
        self.woken: set[str] = set()
        """Queues that may have work now."""
        self._queues: dict[str, QueueRow] = {}
        self._keeps: dict[tuple[str, int], Keep] = {}
        self._last_seq: int | None = None
        self._flows: Flows | None = None
        self._paths: dict[str, Paths] | None = None

    @property
    def flows(self) -> Flows:
        """The flows that this commit is about."""
        if self._flows is None:
            self._flows = Flows(self)
        return self._flows

    @property
    def paths(self) -> dict[str, Paths]:
        """Where the keys of jobs are, by handler."""
        if self._paths is None:
            self._paths = keys.read(self)
        return self._paths

    def forget_paths(self) -> None:
        """They have changed."""
        self._paths = None

    def queue(self, name: str) -> QueueRow:
        """Give the row of a queue, an empty one if there is none yet."""
        row = self._queues.get(name)
        if row is None:
            found = self.execute(_READ_QUEUE, (name,)).fetchone()
            row = self._queues[name] = QueueRow(*found) if found else QueueRow(name)
        return row

    def forget_queue(self, name: str) -> None:
        """Delete the row of a queue."""
        self.execute("DELETE FROM queues WHERE name = ?", (name,))
        self.execute(
            "DELETE FROM windows WHERE queue = ? OR (queue > ? AND queue < ?)", (name, name + BETWEEN, name + BEHIND)
        )
        self._queues.pop(name, None)

    def last_seq(self) -> int:
        """The seq of the youngest job there is."""
        if self._last_seq is None:
            self._last_seq = self.execute("SELECT coalesce(max(seq), 0) FROM jobs").fetchone()[0]
        return self._last_seq

    def next_seq(self) -> int:
        """A seq above those of all jobs there are."""
        self._last_seq = self.last_seq() + 1
        return self._last_seq

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
        """Do what is done once for all operations: prune, and write the rows of the queues."""
        if self._flows is not None:
            self._flows.finish()
        for (queue, state), keep in self._keeps.items():
            prune(self, queue, state, keep)
        for queue in {queue for queue, _ in self._keeps}:
            if self.queue(queue).idle:
                self.emit("drained", queue)
        for row in self._queues.values():
            if row.dirty:
                self._write(row)

    def _write(self, row: QueueRow) -> None:
        values: tuple[Any, ...] = (row.name, row.paused, row.last_id, *row.counts)
        self.execute(_WRITE_QUEUE, values)
