"""The SQLite backend: the seam, as orders to the two desks."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from jobhost.errors import BackendUnavailableError, ConfigurationError

from ..admission import Admission
from ..clock import Clock, unix_ms
from ..dead_letters import Replayed
from ..fairness import Turns
from ..feed import Feed
from ..flows import Emit, FlowEvent, FlowInfo, FlowStatus, Happening, InFlow, NewFlow
from ..job import (
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
)
from ..letters import events_in
from ..limits import Limits
from ..schedules import Fired, Firing, Schedule
from ..seam import Added, Cancelled, Claimed, Recovered, Renewal
from ..state_ops import Result, SingleChanges, StateOp
from . import adding, claiming, deleting, enqueueing, flows, looking, schedules, settling, state, steering
from .bell import Bell, Kind, queues_in
from .deleting import CHUNK
from .faults import in_words
from .reader import Reader
from .rows import CODES, DELAYED, PRIORITIZED, WAITING
from .schema import connect_reader
from .transaction import Transaction
from .writer import Writer

BUSY_MS = 10_000
"""How long an operation waits for another process to let go of the file."""

EVER = 1 << 62
"""A time that no job is younger than."""

T = TypeVar("T")


class SqliteBackend(SingleChanges):
    """Jobs in a file. `busy_ms`: how long to wait while another process holds the file."""

    most_at_once = 1_000
    claims_at_once = 1

    def __init__(self, path: Path | str, clock: Clock = unix_ms, busy_ms: int = BUSY_MS) -> None:
        self._path = Path(path)
        self._clock = clock
        self._busy_ms = busy_ms
        self._feed = Feed()
        self._bell = Bell(self._path)
        self._writer = Writer(self._path, busy_ms, clock, self._feed, self._bell)
        self._reader = Reader(self._path, busy_ms)
        self._listeners: defaultdict[Kind, set[object]] = defaultdict(set)
        self._stop: dict[Kind, Callable[[], None]] = {}
        self._handle = secrets.token_hex(6)
        self._claims = 0
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)
        self._undoing: set[asyncio.Task[list[bool]]] = set()

    @classmethod
    def from_url(cls, url: str, base_dir: Path, prefix: str) -> SqliteBackend:
        """Read `sqlite:///FILE`, relative to `base_dir`, or `sqlite:////FILE`, absolute. Raises ConfigurationError."""
        file = url.removeprefix("sqlite:///")
        if file == url or not file.strip("/") or "?" in file:
            raise ConfigurationError(
                f"queue_url: {url!r}: write sqlite:///jobs.db for a file beside the configuration, sqlite:////var/jobs.db for any other"
            )
        if file == ":memory:":
            raise ConfigurationError("queue_url: for queues in memory write memory://")
        return cls(base_dir / file)

    async def open(self) -> None:
        await self._writer.open()
        try:
            await self._reader.open()
        except BackendUnavailableError:
            await self._writer.close()
            raise
        self._bell.open()

    async def close(self) -> None:
        self._feed.close()
        while self._stop:
            self._stop.popitem()[1]()
        await self._writer.close()
        await self._reader.close()
        self._bell.close()

    async def _write(self, work: Callable[[Transaction], T], undo: Callable[[T], None] | None = None) -> T:
        return cast("T", await self._writer.ask(work, undo))

    async def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        return cast("T", await self._reader.ask(look))

    # Producing --------------------------------------------------------------------------------------------------

    async def add(self, jobs: Sequence[NewJob]) -> list[Added]:
        return await self._write(lambda tx: adding.add_jobs(tx, jobs))

    async def add_within(self, connection: object, jobs: Sequence[NewJob]) -> list[Added]:
        return await enqueueing.add(connection, self._path, self._clock(), jobs)

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
        self._claims += 1
        mark = f"{self._handle}{self._claims:x}"
        claim = partial(claiming.claim, queue=queue, limit=limit, lease_ms=lease_ms, host=host, mark=mark, rate=rate)
        claim = partial(claim, limits=limits, turns=self._turns[queue])
        # A copy for each try: a transaction that failed has taken nothing.
        return await self._write(lambda tx: claim(tx, admission=admission.copy()), self._hand_back)

    def _hand_back(self, claimed: Claimed) -> None:
        """Return jobs whose claimer was cancelled while they were taken: else they would wait for their lease to run out."""
        leases = [Lease(claim.job.queue, claim.job.id, claim.token) for claim in claimed.claims]
        if leases:
            task = asyncio.ensure_future(self._return(leases))
            self._undoing.add(task)
            task.add_done_callback(self._undoing.discard)

    async def _return(self, leases: list[Lease]) -> list[bool]:
        try:
            return await self.settle([Settlement(lease, "waiting", attempt_used=False) for lease in leases])
        except BackendUnavailableError:
            return []  # then the leases run out

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return await self._write(lambda tx: settling.settle(tx, settlements))

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
        return await self._write(lambda tx: settling.renew(tx, leases, lease_ms))

    async def recover(
        self, queue: str, max_stalled: int, keep: Keep | None = None, dead_letter: str | None = None
    ) -> Recovered:
        return await self._write(lambda tx: settling.recover(tx, queue, max_stalled, keep, dead_letter))

    def watch(self, queues: Sequence[str], wake: Callable[[str], None]) -> Callable[[], None]:
        unlisten = self._listen("wake")
        unwatch = self._feed.watch(queues, wake)

        def stop() -> None:
            unwatch()
            unlisten()

        return stop

    async def progress(self, updates: Sequence[tuple[Lease, Json]]) -> None:
        await self._write(lambda tx: settling.progress(tx, updates))

    async def update_data(self, lease: Lease, data: Json) -> None:
        await self._write(lambda tx: settling.update_data(tx, lease, data))

    async def wait_for_children(self, lease: Lease) -> bool:
        return False  # no job has children here

    async def log(self, lines: Sequence[tuple[Lease, LogLine]]) -> None:
        await self._write(lambda tx: settling.log(tx, lines))

    # Looking ----------------------------------------------------------------------------------------------------

    async def get(self, queue: str, id: str) -> Job | None:
        return await self._read(lambda db: looking.get(db, queue, id))

    async def jobs(
        self, queue: str | None = None, states: Sequence[State] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        return await self._read(lambda db: looking.jobs(db, queue, states, limit, cursor))

    async def logs(self, queue: str, id: str, after: int = 0) -> list[tuple[int, LogLine]]:
        return await self._read(lambda db: looking.logs(db, queue, id, after))

    async def children(self, queue: str, id: str) -> Json:
        return b"{}"

    async def queues(self) -> list[QueueInfo]:
        return await self._read(looking.queues)

    async def counts(self, queue: str) -> dict[str, int]:
        return await self._read(lambda db: looking.counts(db, queue))

    async def events(self, queue: str | None = None, types: Collection[str] = ()) -> AsyncIterator[Event]:
        kind: Kind = "cancel" if set(types) == {"cancel"} else "events"
        # Of flows that fail only the process is told whose commit that is.
        unlisten = _nothing if set(types) == {"flow_failed"} else self._listen(kind)
        try:
            async with aclosing(self._feed.read(queue, types)) as events:
                async for event in events:
                    yield event
        finally:
            unlisten()

    def _listen(self, kind: Kind) -> Callable[[], None]:
        """Hear other processes as long as anybody here wants to: one socket for each kind. Gives the function that ends it."""
        if not self._listeners[kind]:
            self._stop[kind] = self._bell.listen(kind, partial(self._hear, kind))
        me = object()
        self._listeners[kind].add(me)

        def stop() -> None:
            self._listeners[kind].discard(me)
            if not self._listeners[kind]:
                self._stop.pop(kind, _nothing)()

        return stop

    def _hear(self, kind: Kind, letters: list[bytes]) -> None:
        if kind == "wake":
            queues = queues_in(letters)
            self._feed.wake(self._feed.watched if queues is None else queues)
        else:
            self._feed.publish(events_in(letters))

    # Steering ---------------------------------------------------------------------------------------------------

    async def pause(self, queue: str) -> None:
        await self._write(lambda tx: steering.pause(tx, queue, True))

    async def resume(self, queue: str) -> None:
        await self._write(lambda tx: steering.pause(tx, queue, False))

    async def retry(self, queue: str, id: str) -> bool:
        return await self._write(lambda tx: steering.retry(tx, queue, id))

    async def edit(self, queue: str, id: str, data: Json) -> bool:
        return await self._write(lambda tx: steering.edit(tx, queue, id, data))

    async def replay(self, queue: str, id: str) -> Replayed:
        return await self._write(lambda tx: steering.replay(tx, queue, id))

    async def cancel(self, queue: str, id: str) -> Cancelled:
        return await self._write(lambda tx: steering.cancel(tx, queue, id))

    async def promote(self, queue: str, id: str) -> bool:
        return await self._write(lambda tx: steering.promote(tx, queue, id))

    async def remove(self, queue: str, id: str) -> bool:
        return await self._write(lambda tx: deleting.remove(tx, queue, id))

    async def foreign_workers(self, queue: str) -> list[str]:
        return []

    async def drain(self, queue: str, delayed: bool = False) -> int:
        states = [WAITING, PRIORITIZED, DELAYED] if delayed else [WAITING, PRIORITIZED]
        drained = await self._delete_in(queue, states)
        await self._write(lambda tx: tx.emit("drained", queue))
        return drained

    async def clean(self, queue: str, state: State, older_than_ms: int = 0, limit: int = 0) -> int:
        if state == "active":
            raise ValueError("active jobs are not cleaned: cancel them")
        return await self._delete_in(queue, [CODES[state]], self._clock() - older_than_ms, limit, tell=True)

    async def remove_queue(self, queue: str) -> int:
        removed = 0
        await self._write(lambda tx: deleting.close_queue(tx, queue))
        while True:
            removed += await self._delete_in(queue, list(CODES.values()))
            if await self._write(lambda tx: deleting.forget_queue(tx, queue)):
                return removed

    async def _delete_in(
        self, queue: str, states: Sequence[int], latest: int = EVER, limit: int = 0, tell: bool = False
    ) -> int:
        """Delete jobs a chunk at a time. Those of the list that left their state meanwhile stay."""
        seqs = await self._scan(lambda db: looking.seqs_in(db, queue, states, latest, limit))
        deleted = 0
        for start in range(0, len(seqs), CHUNK):
            some = seqs[start : start + CHUNK]
            delete = partial(deleting.delete_listed, seqs=some, states=states, latest=latest, tell=tell)
            deleted += await self._write(delete)
        return deleted

    async def _scan(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """Look at much: on a connection of its own, so that short reads do not wait behind it."""
        return await asyncio.get_running_loop().run_in_executor(None, self._scan_now, look)

    def _scan_now(self, look: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with closing(connect_reader(self._path, self._busy_ms)) as connection:
                return look(connection)
        except sqlite3.Error as error:
            raise in_words(error, self._path) from error

    # Flows ------------------------------------------------------------------------------------------------------

    async def start_flow(self, flow: NewFlow) -> tuple[bool, int]:
        return await self._write(lambda tx: flows.start(tx, flow))

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        return await self._write(lambda tx: settling.emit(tx, lease, place, attempt, emits))

    async def happened(self, happenings: Sequence[Happening]) -> None:
        await self._write(lambda tx: settling.happened(tx, happenings))

    async def flow(self, id: str) -> FlowInfo | None:
        return await self._read(lambda db: flows.info(db, id))

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[FlowInfo], str | None]:
        return await self._read(lambda db: flows.page(db, name, statuses, limit, cursor))

    async def flow_children(self, id: str) -> list[FlowInfo]:
        return await self._read(lambda db: flows.children(db, id))

    async def flow_jobs(self, id: str) -> list[Job]:
        return await self._read(lambda db: flows.jobs(db, id))

    async def flow_events(self, id: str, after: int = 0, limit: int = 1_000) -> list[FlowEvent]:
        return await self._read(lambda db: flows.events(db, id, after, limit))

    async def tell_flow(self, id: str, type: str, data: Json | None = None) -> None:
        await self._write(lambda tx: tx.flows.delivery.tell(id, type, data))

    async def cancel_flow(self, id: str) -> bool:
        return await self._write(lambda tx: flows.cancel(tx, id))

    async def reopen_flow(self, id: str) -> bool:
        return await self._write(lambda tx: flows.reopen(tx, id))

    async def sweep_flows(self, state_before: int | None, ended_before: int) -> int:
        return await self._write(lambda tx: flows.sweep(tx, state_before, ended_before))

    # Schedules --------------------------------------------------------------------------------------------------

    async def put_schedule(self, schedule: Schedule) -> None:
        await self._write(lambda tx: schedules.put(tx, schedule))

    async def schedule(self, id: str) -> Schedule | None:
        return await self._read(lambda db: schedules.one(db, id))

    async def schedules(self) -> list[Schedule]:
        return await self._read(schedules.all_of_them)

    async def remove_schedule(self, id: str) -> bool:
        return await self._write(lambda tx: schedules.remove(tx, id))

    async def due_schedules(self, limit: int) -> tuple[list[Schedule], int | None]:
        return await self._read(lambda db: schedules.due(db, self._clock(), limit))

    async def fire(self, firing: Firing) -> Fired | None:
        return await self._write(lambda tx: schedules.fire(tx, firing))

    # State ------------------------------------------------------------------------------------------------------

    async def state_get(self, scope: str, key: str) -> Json | None:
        return await self._read(lambda db: looking.state_get(db, scope, key, self._clock()))

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        return await self._write(lambda tx: state.change(tx, scope, ops, lease))

    async def state_keys(self, scope: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        return await self._read(lambda db: looking.state_keys(db, scope, cursor, self._clock()))

    async def state_scopes(self) -> list[str]:
        return await self._read(lambda db: looking.state_scopes(db, self._clock()))

    # Hosts ------------------------------------------------------------------------------------------------------

    async def heartbeat(self, host: HostInfo) -> None:
        await self._write(lambda tx: state.heartbeat(tx, host))

    async def forget_host(self, id: str) -> None:
        await self._write(lambda tx: state.forget_host(tx, id))

    async def hosts(self) -> list[HostInfo]:
        return await self._read(lambda db: looking.hosts(db, self._clock()))

    async def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        await self._write(lambda tx: state.publish(tx, handlers))

    async def unpublish(self, names: Sequence[str]) -> int:
        return await self._write(lambda tx: flows.unpublish(tx, names))

    async def published(self) -> list[PublishedHandler]:
        return await self._read(looking.published)


def _nothing() -> None:
    pass
