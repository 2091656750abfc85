"""The memory backend: everything of the seam, in dictionaries.

No method waits: each does all it has to do before it returns, so nothing is locked and a batch is one step by nature.
Several hosts of one process may share one instance. Events are made only for those who listen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path

from jobhost.errors import ConfigurationError, JobActiveError, LeaseLostError

from ..admission import Admission
from ..clock import Clock, unix_ms
from ..feed import Feed
from ..flows import Emit, FlowEvent, FlowInfo, FlowStatus, Happening, InFlow, NewFlow, flow_in_data, flow_of
from ..job import (
    STATES,
    Claim,
    Event,
    HostInfo,
    Job,
    Json,
    Keep,
    Lease,
    LogLine,
    NewJob,
    PublishedHandler,
    QueueInfo,
    Rate,
    Settlement,
    State,
    job_scope,
)
from ..outcomes import CANCELLED, dead_letter_copy, retry_data, stalled_error, with_error
from ..schedules import Fired, Firing, Schedule, is_over, need_ours, settled
from ..seam import Added, Cancelled, Claimed, Recovered, Renewal
from ..state_ops import Result, StateOp
from .flows import MemoryFlows
from .record import READY, Record
from .shelf import Shelf
from .state import StateStore

HOST_LIVES_MS = 120_000
"""A host that has not sent a heartbeat for so long is not listed."""


class MemoryBackend:
    """Jobs in this process, gone with it."""

    most_at_once = 1_000
    claims_at_once = 1

    def __init__(self, clock: Clock = unix_ms) -> None:
        self._clock = clock
        self._shelves: dict[str, Shelf] = {}
        self._state = StateStore(clock)
        self._hosts: dict[str, HostInfo] = {}
        self._published: dict[str, PublishedHandler] = {}
        self._feed = Feed()
        self._last_seq = 0
        self._last_token = 0
        self._schedules: dict[str, Schedule] = {}
        self._flows = MemoryFlows(clock, lambda job: self._add(job, clock()), self._feed)

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

    def _shelf(self, queue: str) -> Shelf:
        shelf = self._shelves.get(queue)
        if shelf is None:
            shelf = self._shelves[queue] = Shelf(queue)
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
        record.flow_id, record.flow_name = (new.flow_id, new.flow_name) if new.flow_id else flow_in_data(new.data)
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

    def _held(self, lease: Lease) -> tuple[Shelf, Record] | None:
        """The job of a lease that still holds."""
        shelf = self._shelves.get(lease.queue)
        record = shelf.active.get(lease.id) if shelf else None
        return (shelf, record) if shelf and record and record.token == lease.token else None

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

    # Looking ----------------------------------------------------------------------------------------------------

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

    # Flows ------------------------------------------------------------------------------------------------------

    async def start_flow(self, flow: NewFlow) -> tuple[bool, int]:
        started = self._flows.delivery.start(flow)
        self._flows.finish()
        return started

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        self._check(lease)
        record = self._shelves[lease.queue].active[lease.id]
        if record.flow_id is None:
            self._flows.joins(record, place.id, place.name)
        unmatched = self._flows.delivery.emit(place, record, attempt, emits)
        self._flows.finish()
        return unmatched

    async def happened(self, happenings: Sequence[Happening]) -> None:
        for one in happenings:
            found = self._find(one.lease.queue, one.lease.id)
            if found is None:
                continue
            record = found[1]
            if record.flow_id is None and record.finished_at is None:
                self._flows.joins(record, one.place.id, one.place.name)
            self._flows.delivery.event(one.place, one.type, record, one.attempt, one.data)
        self._flows.finish()

    async def flow(self, id: str) -> FlowInfo | None:
        return self._flows.info(id)

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[FlowInfo], str | None]:
        return self._flows.page(name, statuses, limit, cursor)

    async def flow_children(self, id: str) -> list[FlowInfo]:
        return self._flows.children(id)

    async def flow_jobs(self, id: str) -> list[Job]:
        return [record.snapshot() for record in self._flows.jobs(id)]

    async def flow_events(self, id: str, after: int = 0, limit: int = 1_000) -> list[FlowEvent]:
        return self._flows.events(id, after, limit)

    async def tell_flow(self, id: str, type: str, data: Json | None = None) -> None:
        self._flows.delivery.tell(id, type, data)
        self._flows.finish()

    async def cancel_flow(self, id: str) -> bool:
        cancelled = self._flows.delivery.cancel(id)
        self._flows.finish()
        return cancelled

    async def reopen_flow(self, id: str) -> bool:
        reopened = self._flows.delivery.reopen(id)
        self._flows.finish()
        return reopened

    async def sweep_flows(self, state_before: int | None, ended_before: int) -> int:
        self._flows.look()
        gone = self._flows.sweep(ended_before)
        stale = [] if state_before is None else [*gone, *self._flows.ended(state_before)]
        for id in stale:
            self._state.drop(f"flow:{id}")
        return len(gone)

    # Schedules --------------------------------------------------------------------------------------------------

    async def put_schedule(self, schedule: Schedule) -> None:
        need_ours(schedule, "memory://")
        self._schedules[schedule.id] = schedule

    async def schedule(self, id: str) -> Schedule | None:
        return self._schedules.get(id)

    async def schedules(self) -> list[Schedule]:
        return [self._schedules[id] for id in sorted(self._schedules)]

    async def remove_schedule(self, id: str) -> bool:
        return self._schedules.pop(id, None) is not None

    async def due_schedules(self, limit: int) -> tuple[list[Schedule], int | None]:
        now = self._clock()
        by_time = sorted((one.due, one.id) for one in self._schedules.values() if one.due is not None)
        due = [self._schedules[id] for at, id in by_time if at <= now][:limit]
        return due, next((at for at, _ in by_time if at > now), None)

    async def fire(self, firing: Firing) -> Fired | None:
        before = self._schedules.get(firing.schedule.id)
        if before is None or before.tick != firing.before or before.paused:
            return None
        last = self._find(before.queue, before.last_job) if before.last_job is not None else None
        after, jobs, fired = settled(firing, before, last is not None and last[1].finished_at is None)
        if is_over(after):
            del self._schedules[after.id]
        else:
            self._schedules[after.id] = after
        await self.add(jobs)
        return fired

    # State ------------------------------------------------------------------------------------------------------

    def _check(self, lease: Lease | None) -> None:
        if lease is not None and self._held(lease) is None:
            raise LeaseLostError

    async def state_get(self, scope: str, key: str) -> Json | None:
        return self._state.get(scope, key)

    async def state_set(
        self, scope: str, key: str, value: Json, ttl_ms: int | None = None, lease: Lease | None = None
    ) -> None:
        await self.state_change(scope, [StateOp("set", key, value, ttl_ms)], lease)

    async def state_delete(self, scope: str, key: str, lease: Lease | None = None) -> bool:
        return bool((await self.state_change(scope, [StateOp("delete", key)], lease))[0])

    async def state_incr(self, scope: str, key: str, by: int = 1, lease: Lease | None = None) -> int:
        return int((await self.state_change(scope, [StateOp("incr", key, by=by)], lease))[0] or 0)

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        self._check(lease)
        return self._state.change(scope, ops)

    async def state_keys(self, scope: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        return self._state.keys(scope, cursor)

    async def state_scopes(self) -> list[str]:
        return self._state.scopes()

    # Hosts ------------------------------------------------------------------------------------------------------

    async def heartbeat(self, host: HostInfo) -> None:
        self._hosts[host.id] = host
        self._state.sweep()

    async def forget_host(self, id: str) -> None:
        self._hosts.pop(id, None)

    async def hosts(self) -> list[HostInfo]:
        oldest = self._clock() - HOST_LIVES_MS
        return sorted((host for host in self._hosts.values() if host.heartbeat_at > oldest), key=lambda host: host.id)

    async def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        self._published.update({handler.name: handler for handler in handlers})
        self._flows.publish(handlers)

    async def unpublish(self, names: Sequence[str]) -> int:
        known = [name for name in names if self._published.pop(name, None) is not None]
        self._flows.forget(known)
        return len(known)

    async def published(self) -> list[PublishedHandler]:
        return sorted(self._published.values(), key=lambda handler: handler.name)
