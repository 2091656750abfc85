"""What all parts of the memory backend share: the jobs, and what is kept beside them."""

from __future__ import annotations

from jobhost.errors import LeaseLostError

from ..clock import Clock, unix_ms
from ..feed import Feed
from ..job import Event, HostInfo, Json, Lease, NewJob, PublishedHandler
from ..limits import Paths
from ..schedules import Schedule
from ..seam import Added
from .flows import MemoryFlows
from .record import Record
from .shelf import Shelf
from .state import StateStore


class Core:
    """The tables, and how a job is found in them."""

    def __init__(self, clock: Clock = unix_ms) -> None:
        self._clock = clock
        self._shelves: dict[str, Shelf] = {}
        self._state = StateStore(clock)
        self._hosts: dict[str, HostInfo] = {}
        self._paths: dict[str, Paths] = {}
        """Of handlers that have a key."""
        self._published: dict[str, PublishedHandler] = {}
        self._feed = Feed()
        self._last_seq = 0
        self._last_token = 0
        self._schedules: dict[str, Schedule] = {}
        self._flows = MemoryFlows(clock, lambda job: self._add(job, clock()), self._feed)

    def _shelf(self, queue: str) -> Shelf:
        shelf = self._shelves.get(queue)
        if shelf is None:
            shelf = self._shelves[queue] = Shelf(queue, self._paths)
        return shelf

    def _find(self, queue: str, id: str) -> tuple[Shelf, Record] | None:
        shelf = self._shelves.get(queue)
        record = shelf.records.get(id) if shelf else None
        return (shelf, record) if shelf and record else None

    def _emit(self, type: str, record: Record, attempt: int = 0, data: Json | None = None) -> None:
        if type in self._feed.wanted:
            self._feed.publish((Event(type, record.queue, record.id, record.name, self._clock(), attempt, data),))

    def _announce(self, type: str, queue: str) -> None:
        if type in self._feed.wanted:
            self._feed.publish((Event(type, queue, None, None, self._clock()),))

    def _held(self, lease: Lease) -> tuple[Shelf, Record] | None:
        """The job of a lease that still holds."""
        shelf = self._shelves.get(lease.queue)
        record = shelf.active.get(lease.id) if shelf else None
        return (shelf, record) if shelf and record and record.token == lease.token else None

    def _check(self, lease: Lease | None) -> None:
        if lease is not None and self._held(lease) is None:
            raise LeaseLostError

    def _add(self, new: NewJob, now: int) -> Added:
        """Add one job."""
        raise NotImplementedError
