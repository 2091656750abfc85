"""The memory backend: everything of the seam, in dictionaries.

No method waits: each does all it has to do before it returns, so nothing is locked and a batch is one step by nature.
Several hosts of one process may share one instance. Events are made only for those who listen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jobhost.errors import ConfigurationError, JobActiveError, LeaseLostError

from ..admission import Admission
from ..drivers import WithoutTransactions
from ..flows import flow_of, flow_of_new
from ..job import (
    Claim,
    Json,
    Keep,
    Lease,
    LogLine,
    NewJob,
    Rate,
    Settlement,
    State,
    job_scope,
)
from ..outcomes import CANCELLED, dead_letter_copy, retry_data, stalled_error, with_error
from ..seam import Added, Cancelled, Claimed, Recovered, Renewal
from .flow_calls import FlowCalls
from .looking_calls import LookingCalls
from .record import READY, Record
from .shelf import Shelf
from .side_calls import SideCalls


class MemoryBackend(LookingCalls, FlowCalls, SideCalls, WithoutTransactions):
    """Jobs in this process, gone with it."""

    most_at_once = 1_000
    claims_at_once = 1

    @classmethod
    def from_url(cls, url: str, base_dir: Path, prefix: str) -> MemoryBackend:
        """`memory://` has nothing to say but itself."""
        if url != "memory://":
            raise ConfigurationError(f"queue_url: {url!r}: memory:// takes nothing more")
        return cls()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """End watches and event streams; the jobs stay as long as the object."""
        self._feed.close()

    # Producing --------------------------------------------------------------------------------------------------

    async def add(self, jobs: Sequence[NewJob]) -> list[Added]:
        now = self._clock()
        added = [self._add(job, now) for job in jobs]
        self._flows.finish()
        self._feed.wake({job.queue for job in jobs})
        return added

    def _add(self, new: NewJob, now: int) -> Added:
        shelf = self._shelf(new.queue)
        if new.id is not None and (there := shelf.records.get(new.id)) is not None:
            return Added(there.id, False, there.created_at)
        id = shelf.new_id() if new.id is None else new.id
        record = Record(id, new.queue, new.name, new.data, "waiting", new.priority, now)
        record.max_attempts = new.attempts
        record.backoff = new.backoff
        record.timeout_ms = new.timeout_ms
        record.metadata = new.metadata
        record.flow_id, record.flow_name = flow_of_new(new)
        record.since = now
        self._last_seq = record.seq = seq = self._last_seq + 1
        record.rank = -seq if new.lifo else seq
        shelf.records[id] = record
        if new.delay_ms > 0:
            shelf.delay(record, now + new.delay_ms)
            self._emit("delayed", record)
        else:
            shelf.wait(record)
            self._emit("waiting", record)
        self._flows.begins(record)
        return Added(id, True, now)

    # Working ----------------------------------------------------------------------------------------------------

    async def claim(
        self, queue: str, limit: int, admission: Admission, lease_ms: int, host: str, rate: Rate | None = None
    ) -> Claimed:
        shelf = self._shelves.get(queue)
        if shelf is None or shelf.paused:
            return Claimed([], None, False)
        now = self._clock()
        if shelf.delayed:
            for record in shelf.ripen(now):
                self._emit("waiting", record)
        if rate is not None:
            limit = min(limit, shelf.window.left(rate, now))
            if limit <= 0:
                return Claimed([], shelf.window.ends_at, False)
        taken = shelf.take(limit, admission)
        if rate is not None:
            shelf.window.count(rate, now, len(taken))
        claims = [self._activate(shelf, record, now, now + lease_ms, host) for record in taken]
        more = len(claims) >= limit and shelf.has_more(admission)
        return Claimed(claims, shelf.next_due() if shelf.delayed else None, more)

    def _activate(self, shelf: Shelf, record: Record, now: int, lease_until: int, host: str) -> Claim:
        self._last_token = token = self._last_token + 1
        record.token = str(token)
        record.lease_until = lease_until
        record.host = host
        record.started_at = record.since = now
        shelf.active[record.id] = record
        if "active" in self._feed.wanted:
            self._emit("active", record, record.attempts_made + 1)
        return Claim(record.snapshot(), record.token)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        now = self._clock()
        keeps: dict[tuple[Shelf, State], Keep] = {}
        returned: set[str] = set()
        settled: list[bool] = []
        for settlement in settlements:
            held = self._held(settlement.lease)
            if held is not None:
                shelf, record = held
                self._end(shelf, record, settlement, now)
                if record.finished_at is None:
                    returned.add(record.queue)
                else:
                    keeps[shelf, record.state] = settlement.keep
            settled.append(held is not None)
        self._flows.finish()
        for (shelf, state), keep in keeps.items():
            self._prune(shelf, state, keep, now)
            if shelf.idle:
                self._announce("drained", shelf.name)
        if returned:
            self._feed.wake(returned)
        return settled

    def _end(self, shelf: Shelf, record: Record, settlement: Settlement, now: int) -> None:
        attempt = record.attempts_made + 1
        shelf.withdraw(record)
        if settlement.attempt_used:
            record.attempts_made = attempt
        if settlement.receipt is not None:
            record.receipt = settlement.receipt
        if settlement.flow is not None and record.flow_id is None:
            self._flows.joins(record, settlement.flow.id, settlement.flow.name)
        if settlement.to == "completed":
            record.result = settlement.result
            record.error = None
            shelf.finish(record, "completed", now)
            if "completed" in self._feed.wanted:
                self._emit("completed", record, attempt, settlement.result)
            if settlement.flow is not None:
                self._flow_ended(record, attempt, settlement)
        else:
            self._end_badly(shelf, record, settlement, attempt, now)

    def _end_badly(self, shelf: Shelf, record: Record, settlement: Settlement, attempt: int, now: int) -> None:
        record.child_deaths += settlement.child_death
        record.postponed += settlement.postponed
        record.released += settlement.released
        if settlement.error is not None:
            record.error = settlement.error
        if settlement.to == "failed":
            self._fail(shelf, record, record.error, attempt, now, settlement.dead_letter, settlement)
        else:
            if settlement.flow is not None and settlement.error is not None:
                data = retry_data(settlement.error, settlement.delay_ms)
                self._flows.delivery.event(settlement.flow, "step.retry", record, attempt, data)
            self._return(shelf, record, settlement.delay_ms if settlement.to == "delayed" else 0, attempt, now)

    def _flow_ended(self, record: Record, attempt: int, settlement: Settlement | None = None) -> None:
        """A job of a flow has finished."""
        place = settlement.flow if settlement is not None and settlement.flow is not None else flow_of(record)
        if place is None:
            return
        self._flows.ends(record)
        emits = settlement.emits if settlement is not None else ()
        failed = record.state == "failed"
        ended = self._flows.delivery.ended
        unmatched = ended(place, record, attempt, emits, record.result, record.error, failed)
        if settlement is not None:
            settlement.unmatched = unmatched

    def _return(self, shelf: Shelf, record: Record, delay_ms: int, attempt: int, now: int) -> None:
        """Let a job that was active come back, unless somebody asked for it to be cancelled."""
        record.since = now
        if record.cancel_requested:
            self._fail(shelf, record, CANCELLED, attempt, now)
        elif delay_ms > 0:
            shelf.delay(record, now + delay_ms)
            self._emit("delayed", record, attempt, with_error(record.error))
        else:
            shelf.wait(record)
            self._emit("waiting", record)

    def _fail(
        self,
        shelf: Shelf,
        record: Record,
        error: Json | None,
        attempt: int,
        now: int,
        dead_letter: str | None = None,
        settlement: Settlement | None = None,
    ) -> None:
        """Fail a job that was withdrawn."""
        record.error = error
        shelf.finish(record, "failed", now)
        self._emit("failed", record, attempt, with_error(error))
        if dead_letter is not None:
            self._add(dead_letter_copy(record, error, dead_letter, now), now)
            self._feed.wake((dead_letter,))
        self._flow_ended(record, attempt, settlement)

    def _prune(self, shelf: Shelf, state: State, keep: Keep, now: int) -> None:
        for record in shelf.surplus(state, keep, now):
            self._delete(shelf, record)

    def _delete(self, shelf: Shelf, record: Record) -> None:
        if record.finished_at is None:
            self._flows.ends(record)
        self._flows.deleted(record)
        shelf.withdraw(record)
        del shelf.records[record.id]
        if self._state:
            self._state.drop(job_scope(record.queue, record.id, record.created_at))

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
        until = self._clock() + lease_ms
        return [self._renew(lease, until) for lease in leases]

    def _renew(self, lease: Lease, until: int) -> Renewal:
        held = self._held(lease)
        if held is None:
            return "lost"
        held[1].lease_until = until
        return "cancel" if held[1].cancel_requested else "ok"

    async def recover(
        self, queue: str, max_stalled: int, keep: Keep | None = None, dead_letter: str | None = None
    ) -> Recovered:
        shelf = self._shelf(queue)
        now = self._clock()
        recovered = Recovered([], [])
        expired = [record for record in shelf.active.values() if record.lease_until <= now]
        for record in sorted(expired, key=lambda record: record.seq):
            self._recover(shelf, record, max_stalled, dead_letter, now)
            (recovered.failed if record.finished_at else recovered.waiting).append(record.id)
        self._flows.finish()
        if recovered.failed and keep is not None:
            self._prune(shelf, "failed", keep, now)
        if recovered.waiting:
            self._feed.wake((queue,))
        return recovered

    def _recover(self, shelf: Shelf, record: Record, max_stalled: int, dead_letter: str | None, now: int) -> None:
        record.stalled += 1
        attempt = record.attempts_made + 1
        self._emit("stalled", record, attempt)
        shelf.withdraw(record)
        if record.stalled > max_stalled and not record.cancel_requested:
            self._fail(shelf, record, stalled_error(record.stalled), attempt, now, dead_letter)
        else:
            self._return(shelf, record, 0, attempt, now)

    def watch(self, queues: Sequence[str], wake: Callable[[str], None]) -> Callable[[], None]:
        return self._feed.watch(queues, wake)

    async def progress(self, updates: Sequence[tuple[Lease, Json]]) -> None:
        for lease, value in updates:
            if held := self._held(lease):
                held[1].progress = value
                self._emit("progress", held[1], held[1].attempts_made + 1, value)

    async def update_data(self, lease: Lease, data: Json) -> None:
        held = self._held(lease)
        if held is None:
            raise LeaseLostError
        held[1].data = data

    async def wait_for_children(self, lease: Lease) -> bool:
        return False  # no job has children here

    async def log(self, lines: Sequence[tuple[Lease, LogLine]]) -> None:
        for lease, line in lines:
            if found := self._find(lease.queue, lease.id):
                found[1].log(line)

    # Steering ---------------------------------------------------------------------------------------------------

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
        shelf, record = found
        shelf.withdraw(record)
        record.attempts_made = record.stalled = record.child_deaths = record.postponed = record.released = 0
        record.progress = record.result = record.error = None
        record.started_at = record.finished_at = None
        self._wait_again(shelf, record)
        self._flows.begins(record)
        self._flows.delivery.again(record, record.flow_id, record.flow_name)
        self._flows.finish()
        return True

    def _wait_again(self, shelf: Shelf, record: Record) -> None:
        record.since = self._clock()
        shelf.wait(record)
        self._emit("waiting", record)
        self._feed.wake((record.queue,))

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
