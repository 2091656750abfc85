"""Jobs that wait, in order: a line that is cheap at both ends.

Jobs mostly arrive in the order they leave, so the line is a deque, beside a heap for those that arrive out of order. A job
that leaves from the middle (cancelled, removed) is not looked for: its entry is skipped when it comes up, and the line is
swept when most entries are such.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush

from .record import READY, Record

Entry = tuple[int, int, Record]
"""Priority, rank, job. Ranks are unique: two equal entries are the same job, and `<` never gets to compare records."""

SWEEP = 64
"""Stale entries are swept once there are this many and they are the larger part."""


class Line:
    """Waiting jobs by priority, then rank."""

    __slots__ = ("_heap", "_run", "_stale")

    def __init__(self) -> None:
        self._run: deque[Entry] = deque()
        self._heap: list[Entry] = []
        self._stale = 0

    def push(self, record: Record) -> None:
        """Put a job in its place."""
        entry = (record.priority, record.rank, record)
        run = self._run
        if not run or run[-1] < entry:
            run.append(entry)
        else:
            heappush(self._heap, entry)

    def discard(self) -> None:
        """Say that a job of the line, whichever, no longer waits."""
        self._stale += 1
        if self._stale > SWEEP and self._stale * 2 > len(self._run) + len(self._heap):
            self._run = deque(entry for entry in self._run if entry[2].state in READY)
            self._heap = [entry for entry in self._heap if entry[2].state in READY]
            heapify(self._heap)
            self._stale = 0

    def peek(self) -> Entry | None:
        """Give the first entry whose job waits, and leave it there."""
        while True:
            source = self._first()
            if source is None or source[0][2].state in READY:
                return source[0] if source else None
            self._drop(source)

    def pop(self) -> Record | None:
        """Take the first job."""
        while True:
            source = self._first()
            if source is None:
                return None
            record = source[0][2]
            self._drop(source)
            if record.state in READY:
                return record

    def take(self, limit: int) -> list[Record]:
        """Take the first jobs, whatever they are: `pop`, unrolled, since this is what every claim of a quiet host does."""
        taken: list[Record] = []
        run, heap = self._run, self._heap
        while len(taken) < limit:
            if run and (not heap or run[0] < heap[0]):
                record = run.popleft()[2]
            elif heap:
                record = heappop(heap)[2]
            else:
                break
            if record.state in READY:
                record.state = "active"
                taken.append(record)
        return taken

    def _first(self) -> deque[Entry] | list[Entry] | None:
        if self._run and (not self._heap or self._run[0] < self._heap[0]):
            return self._run
        return self._heap or None

    def _drop(self, source: deque[Entry] | list[Entry]) -> None:
        if source is self._run:
            self._run.popleft()
        else:
            heappop(self._heap)

    def __bool__(self) -> bool:
        return self.peek() is not None
