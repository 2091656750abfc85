"""The memory backend's part for what people ask of queues and jobs: pause, retry, replay, cancel, remove."""

from __future__ import annotations

from jobhost.errors import JobActiveError

from ..dead_letters import Replayed, origin_of, replayed_job, replayed_metadata
from ..job import Json, State
from ..outcomes import CANCELLED
from ..seam import Cancelled
from .record import READY, Record
from .shelf import Shelf
from .working_calls import WorkingCalls


class SteeringCalls(WorkingCalls):
    """What people ask."""

    async def pause(self, queue: str) -> None:
        self._shelf(queue).paused = True
        self._announce("paused", queue)

    async def resume(self, queue: str) -> None:
        self._shelf(queue).paused = False
        self._announce("resumed", queue)
        self._feed.wake((queue,))

    async def retry(self, queue: str, id: str) -> bool:
        found = self._find(queue, id)
        if found is None or found[1].state not in ("completed", "failed"):
            return False
        self._again(*found)
        self._flows.finish()
        return True

    def _again(self, shelf: Shelf, record: Record) -> None:
        """Let a finished job wait, as if it had never run."""
        shelf.withdraw(record)
        record.attempts_made = record.stalled = record.child_deaths = record.postponed = record.released = 0
        record.progress = record.result = record.error = None
        record.started_at = record.finished_at = None
        self._wait_again(shelf, record)
        self._flows.begins(record)
        self._flows.delivery.again(record, record.flow_id, record.flow_name)

    def _wait_again(self, shelf: Shelf, record: Record) -> None:
        record.since = self._clock()
        shelf.wait(record)
        self._emit("waiting", record)
        self._feed.wake((record.queue,))

    async def edit(self, queue: str, id: str, data: Json) -> bool:
        found = self._find(queue, id)
        if found is None or found[1].state not in (*READY, "delayed"):
            return False
        shelf, record = found
        if record.state in READY and record.name in self._paths:
            shelf.withdraw(record)  # its key may be another one
            record.data = data
            shelf.wait(record)
        record.data = data
        return True

    async def replay(self, queue: str, id: str) -> Replayed:
        found = self._find(queue, id)
        if found is None:
            return Replayed("missing")
        shelf, letter = found
        if letter.state == "active":
            raise JobActiveError(f"dead letter {id} of queue {queue} is running: cancel it first")
        origin = origin_of(letter)
        if origin is None:
            return Replayed("no_letter")
        now = self._clock()
        there = self._find(origin.queue, origin.id)
        if there is not None and there[1].created_at == origin.created_at:
            original = there[1]
            if original.state != "failed":
                return Replayed("alive", origin.queue, origin.id)
            original.data, original.metadata = letter.data, replayed_metadata(letter, now)
            self._again(*there)
            runs = origin.id
        else:
            again = replayed_job(letter, origin, now, id=None if there is not None else origin.id)
            runs = self._add(again, now).id
            self._feed.wake((origin.queue,))
        self._delete(shelf, letter)
        self._flows.finish()
        self._emit("removed", letter)
        return Replayed("replayed", origin.queue, runs)

    async def cancel(self, queue: str, id: str) -> Cancelled:
        found = self._find(queue, id)
        if found is None:
            return "missing"
        shelf, record = found
        if record.finished_at is not None:
            return "finished"
        if record.state == "active":
            record.cancel_requested = True
            self._emit("cancel", record, record.attempts_made + 1)
            return "requested"
        shelf.withdraw(record)
        self._fail(shelf, record, CANCELLED, record.attempts_made, self._clock())
        self._flows.finish()
        return "cancelled"

    async def promote(self, queue: str, id: str) -> bool:
        found = self._find(queue, id)
        if found is None or found[1].state != "delayed":
            return False
        found[0].withdraw(found[1])
        self._wait_again(*found)
        return True

    async def remove(self, queue: str, id: str) -> bool:
        found = self._find(queue, id)
        if found is None:
            return False
        if found[1].state == "active":
            raise JobActiveError(f"job {id} of queue {queue} is running: cancel it first")
        self._delete(*found)
        self._flows.finish()
        self._emit("removed", found[1])
        return True

    async def foreign_workers(self, queue: str) -> list[str]:
        return []

    async def drain(self, queue: str, delayed: bool = False) -> int:
        shelf = self._shelf(queue)
        drained = [
            record
            for record in shelf.records.values()
            if record.state in READY or (delayed and record.state == "delayed")
        ]
        for record in drained:
            self._delete(shelf, record)
        self._flows.finish()
        self._announce("drained", queue)
        return len(drained)

    async def clean(self, queue: str, state: State, older_than_ms: int = 0, limit: int = 0) -> int:
        if state == "active":
            raise ValueError("active jobs are not cleaned: cancel them")
        shelf = self._shelf(queue)
        latest = self._clock() - older_than_ms
        old = [record for record in shelf.records.values() if record.state == state and record.since <= latest]
        old.sort(key=lambda record: (record.since, record.seq))
        cleaned = old[:limit] if limit else old
        for record in cleaned:
            self._delete(shelf, record)
            self._emit("removed", record)
        self._flows.finish()
        return len(cleaned)

    async def remove_queue(self, queue: str) -> int:
        shelf = self._shelf(queue)
        if shelf.active:
            raise JobActiveError(f"{len(shelf.active)} jobs of queue {queue} are running: pause it and let them end")
        records = list(shelf.records.values())
        for record in records:
            self._delete(shelf, record)
        del self._shelves[queue]
        self._flows.finish()
        return len(records)
