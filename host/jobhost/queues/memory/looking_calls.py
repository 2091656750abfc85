"""The memory backend's part for looking at queues and jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from ..job import STATES, Event, Job, Json, LogLine, QueueInfo, State
from .core import Core
from .record import Record
from .shelf import Shelf


class LookingCalls(Core):
    """What is asked to be shown."""

    async def get(self, queue: str, id: str) -> Job | None:
        found = self._find(queue, id)
        return found[1].snapshot() if found else None

    async def jobs(
        self, queue: str | None = None, states: Sequence[State] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        before = self._last_seq + 1 if cursor is None else int(cursor)
        found = (
            record
            for record in self._newest_first(queue)
            if record.seq < before and (not states or record.state in states)
        )
        page = list(islice(found, limit + 1))
        return [record.snapshot() for record in page[:limit]], str(page[limit - 1].seq) if len(page) > limit else None

    def _newest_first(self, queue: str | None) -> Iterator[Record]:
        shelves: Iterable[Shelf] = self._shelves.values()
        if queue is not None:
            shelves = [self._shelves[queue]] if queue in self._shelves else []
        return merge(*(reversed(shelf.records.values()) for shelf in shelves), key=lambda record: -record.seq)

    async def logs(self, queue: str, id: str, after: int = 0) -> list[tuple[int, LogLine]]:
        found = self._find(queue, id)
        lines = found[1].logs if found else None
        return [numbered for numbered in lines or () if numbered[0] > after]

    async def children(self, queue: str, id: str) -> Json:
        return b"{}"

    async def queues(self) -> list[QueueInfo]:
        shelves = sorted(self._shelves.values(), key=lambda shelf: shelf.name)
        return [
            QueueInfo(shelf.name, shelf.paused, shelf.counts()) for shelf in shelves if shelf.records or shelf.paused
        ]

    async def counts(self, queue: str) -> dict[str, int]:
        shelf = self._shelves.get(queue)
        return shelf.counts() if shelf else dict.fromkeys(STATES, 0)

    def events(self, queue: str | None = None, types: Collection[str] = ()) -> AsyncIterator[Event]:
        return self._feed.read(queue, types)
