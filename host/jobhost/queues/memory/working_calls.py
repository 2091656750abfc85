"""The memory backend's part for producing and working: jobs are added, claimed, settled, taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobhost.errors import LeaseLostError

from ..admission import Admission
from ..dead_letters import dead_letter_copy
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
from ..limits import Limits
from ..outcomes import CANCELLED, retry_data, stalled_error, with_error
from ..seam import Added, Claimed, Recovered, Renewal
from .core import Core
from .record import Record
from .shelf import Shelf


class WorkingCalls(Core):
    """What producers and hosts ask."""

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
        created_at = now if new.created_at is None else new.created_at
        record = Record(id, new.queue, new.name, new.data, "waiting", new.priority, created_at)
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
        return Added(id, True, created_at)

    # Working ----------------------------------------------------------------------------------------------------

    async def claim(
        self,
        queue: str,
        limit: int,
        admission: Admission,
        lease_ms: int,
        host: str,
        rate: Rate | None = None,
        limits: Limits | None = None,
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
        taken, due = shelf.take(limit, admission, limits, now)
        if rate is not None:
            shelf.window.count(rate, now, len(taken))
        claims = [self._activate(shelf, record, now, now + lease_ms, host) for record in taken]
        more = len(claims) >= limit and shelf.has_more(admission)
        if shelf.delayed and (delayed := shelf.next_due()) is not None:
            due = delayed if due is None else min(due, delayed)
        return Claimed(claims, due, more)

    def _activate(self, shelf: Shelf, record: Record, now: int, lease_until: int, host: str) -> Claim:
        self._last_token = token = self._last_token + 1
        record.token = str(token)
        record.lease_until = lease_until
        record.host = host
        record.started_at = record.since = now
        shelf.begin(record)
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
