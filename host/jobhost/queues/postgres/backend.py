"""The Postgres backend: the seam, as orders to the two desks."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg

from jobhost.errors import BackendUnavailableError

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
from ..limits import Limits
from ..schedules import Fired, Firing, Schedule
from ..seam import Added, Cancelled, Claimed, Recovered, Renewal
from ..state_ops import Result, SingleChanges, StateOp
from . import adding, claiming, deleting, enqueueing, flows, logs, looking, schedules, settling, state, steering
from .address import Address, address_of
from .deleting import CHUNK
from .faults import in_words
from .listening import CANCEL, Ear
from .looking import EVER
from .reader import Look, Reader, scan
from .rows import CODES, DELAYED, PRIORITIZED, WAITING
from .transaction import Transaction
from .writer import Writer

RETURNED_MS = (100, 500, 1_000, 2_000, 5_000, 10_000)
"""Pauses between tries to hand back what was claimed for nobody: within the usual lease."""

PATIENCE = 30.0
"""Seconds for which a server is waited for."""

CLOSING = 5.0
"""Seconds for which what is under way is waited for at the end."""

AT_ONCE = 200
"""Settlements of jobs in flows made in one transaction: each holds its flow, and the server has room for some thousand locks."""

T = TypeVar("T")


class PostgresBackend(SingleChanges):
    """Jobs in a schema of a database. `address`: a URL, or one that was read."""

    most_at_once = 1_000
    claims_at_once = 1

    def __init__(self, address: Address | str, clock: Clock = unix_ms) -> None:
        self.address = address_of(address) if isinstance(address, str) else address
        self._clock = clock
        self._feed = Feed()
        self._writer = Writer(self.address, clock, self._feed)
        self._reader = Reader(self.address)
        self._ear = Ear(self.address, self._feed, self._writer.handle)
        self._outside = secrets.token_hex(4)
        """Of letters that come with a commit of the user's: this handle hears of them too."""
        self._handle = secrets.token_hex(6)
        self._claims = 0
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)
        self._undoing: set[asyncio.Task[None]] = set()

    @classmethod
    def from_url(cls, url: str, base_dir: Path, prefix: str) -> PostgresBackend:
        """Read `postgresql://…`, libpq's own, and `schema=NAME` in its query. Raises ConfigurationError."""
        return cls(address_of(url))

    async def open(self) -> None:
        await self._writer.open()
        try:
            await self._reader.open()
            try:
                await self._ear.open()
            except (psycopg.Error, OSError) as error:
                raise in_words(error, self.address.where) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._feed.close()
        for task in self._undoing:
            task.cancel()
        self._ear.close()
        await _closed(self._writer)
        await _closed(self._reader)

    async def _write(self, work: Callable[[Transaction], T], undo: Callable[[T], None] | None = None) -> T:
        return cast("T", await self._answered(self._writer, self._writer.ask(work, undo)))

    async def _read(self, look: Callable[[Look], T]) -> T:
        return cast("T", await self._answered(self._reader, self._reader.ask(look)))

    async def _answered(self, desk: Writer | Reader, answer: Coroutine[Any, Any, T]) -> T:
        """Wait for an answer, but not for ever: a server that hangs says nothing."""
        limit = asyncio.timeout(PATIENCE)
        try:
            async with limit:
                return await answer
        except TimeoutError as error:
            if not limit.expired():
                raise
            desk.shut()
            text = (
                f"the Postgres server {self.address.where} did not answer within {PATIENCE:g} s; look whether it hangs"
            )
            raise BackendUnavailableError(text) from error

    # Producing --------------------------------------------------------------------------------------------------

    async def add(self, jobs: Sequence[NewJob]) -> list[Added]:
        return await self._write(lambda tx: adding.add_jobs(tx, jobs)) if jobs else []

    async def add_within(self, connection: object, jobs: Sequence[NewJob]) -> list[Added]:
        driver = await enqueueing.checked_driver(connection)
        enqueueing.check(jobs)
        drawn = await self._write(lambda tx: enqueueing.draw(tx, jobs, self.address))
        return await enqueueing.run(driver, enqueueing.statements(drawn, self.address, self._outside))

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

    async def _return(self, leases: list[Lease]) -> None:
        for pause in RETURNED_MS:
            try:
                await self.settle([Settlement(lease, "waiting", attempt_used=False) for lease in leases])
            except BackendUnavailableError:
                await asyncio.sleep(pause / 1000)
            else:
                return

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if len(settlements) <= AT_ONCE or not any(settlement.flow for settlement in settlements):
            return await self._write(lambda tx: settling.settle(tx, settlements))
        some = [settlements[start : start + AT_ONCE] for start in range(0, len(settlements), AT_ONCE)]
        return [held for part in some for held in await self.settle(part)]

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
        return await self._write(lambda tx: settling.renew(tx, leases, lease_ms))

    async def recover(
        self, queue: str, max_stalled: int, keep: Keep | None = None, dead_letter: str | None = None
    ) -> Recovered:
        return await self._write(lambda tx: settling.recover(tx, queue, max_stalled, keep, dead_letter))

    def watch(self, queues: Sequence[str], wake: Callable[[str], None]) -> Callable[[], None]:
        return self._feed.watch(queues, wake)

    async def progress(self, updates: Sequence[tuple[Lease, Json]]) -> None:
        await self._write(lambda tx: settling.progress(tx, updates))

    async def update_data(self, lease: Lease, data: Json) -> None:
        await self._write(lambda tx: settling.update_data(tx, lease, data))

    async def wait_for_children(self, lease: Lease) -> bool:
        return False  # no job has children here

    async def log(self, lines: Sequence[tuple[Lease, LogLine]]) -> None:
        await self._write(lambda tx: logs.log(tx, lines))

    # Looking ----------------------------------------------------------------------------------------------------

    async def get(self, queue: str, id: str) -> Job | None:
        return await self._read(lambda look: looking.get(look, queue, id))

    async def jobs(
        self, queue: str | None = None, states: Sequence[State] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        return await self._read(lambda look: looking.jobs(look, queue, states, limit, cursor))

    async def logs(self, queue: str, id: str, after: int = 0) -> list[tuple[int, LogLine]]:
        return await self._read(lambda look: looking.logs(look, queue, id, after))

    async def children(self, queue: str, id: str) -> Json:
        return b"{}"

    async def queues(self) -> list[QueueInfo]:
        return await self._read(looking.queues)

    async def counts(self, queue: str) -> dict[str, int]:
        return await self._read(lambda look: looking.counts(look, queue))

    async def events(self, queue: str | None = None, types: Collection[str] = ()) -> AsyncIterator[Event]:
        unlisten = self._ear.listen() if set(types) != {CANCEL} else _nothing
        try:
            async with aclosing(self._feed.read(queue, types)) as events:
                async for event in events:
                    yield event
        finally:
            unlisten()

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
        seqs = await self._scan(lambda look: looking.seqs_in(look, queue, states, latest, limit))
        deleted = 0
        for start in range(0, len(seqs), CHUNK):
            some = seqs[start : start + CHUNK]
            delete = partial(deleting.delete_listed, seqs=some, states=states, latest=latest, tell=tell)
            deleted += await self._write(delete)
        return deleted

    async def _scan(self, look: Callable[[Look], T]) -> T:
        """Look at much: on a connection of its own, so that short reads do not wait behind it."""
        return cast("T", await asyncio.get_running_loop().run_in_executor(None, scan, self.address, look))

    # Flows ------------------------------------------------------------------------------------------------------

    async def start_flow(self, flow: NewFlow) -> tuple[bool, int]:
        return await self._write(lambda tx: flows.start(tx, flow))

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        return await self._write(lambda tx: settling.emit(tx, lease, place, attempt, emits))

    async def happened(self, happenings: Sequence[Happening]) -> None:
        await self._write(lambda tx: settling.happened(tx, happenings))

    async def flow(self, id: str) -> FlowInfo | None:
        return await self._read(lambda look: flows.info(look, id))

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[FlowInfo], str | None]:
        return await self._read(lambda look: flows.page(look, name, statuses, limit, cursor))

    async def flow_children(self, id: str) -> list[FlowInfo]:
        return await self._read(lambda look: flows.children(look, id))

    async def flow_jobs(self, id: str) -> list[Job]:
        return await self._read(lambda look: flows.jobs(look, id))

    async def flow_events(self, id: str, after: int = 0, limit: int = 1_000) -> list[FlowEvent]:
        return await self._read(lambda look: flows.events(look, id, after, limit))

    async def tell_flow(self, id: str, type: str, data: Json | None = None) -> None:
        await self._write(lambda tx: tx.flows.delivery.tell(id, type, data))

    async def cancel_flow(self, id: str) -> bool:
        return await self._write(lambda tx: flows.cancel(tx, id))

    async def reopen_flow(self, id: str) -> bool:
        return await self._write(lambda tx: flows.reopen(tx, id))

    async def sweep_flows(self, state_before: int | None, ended_before: int) -> int:
        silent = await self._scan(flows.silent)
        return await self._write(lambda tx: flows.sweep(tx, silent, state_before, ended_before))

    # Schedules --------------------------------------------------------------------------------------------------

    async def put_schedule(self, schedule: Schedule) -> None:
        await self._write(lambda tx: schedules.put(tx, schedule))

    async def schedule(self, id: str) -> Schedule | None:
        return await self._read(lambda look: schedules.one(look, id))

    async def schedules(self) -> list[Schedule]:
        return await self._read(schedules.all_of_them)

    async def remove_schedule(self, id: str) -> bool:
        return await self._write(lambda tx: schedules.remove(tx, id))

    async def due_schedules(self, limit: int) -> tuple[list[Schedule], int | None]:
        return await self._read(lambda look: schedules.due(look, self._clock(), limit))

    async def fire(self, firing: Firing) -> Fired | None:
        return await self._write(lambda tx: schedules.fire(tx, firing))

    # State ------------------------------------------------------------------------------------------------------

    async def state_get(self, scope: str, key: str) -> Json | None:
        return await self._read(lambda look: looking.state_get(look, scope, key, self._clock()))

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        return await self._write(lambda tx: state.change(tx, scope, ops, lease))

    async def state_keys(self, scope: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        return await self._read(lambda look: looking.state_keys(look, scope, cursor, self._clock()))

    async def state_scopes(self) -> list[str]:
        return await self._read(lambda look: looking.state_scopes(look, self._clock()))

    # Hosts ------------------------------------------------------------------------------------------------------

    async def heartbeat(self, host: HostInfo) -> None:
        await self._write(lambda tx: state.heartbeat(tx, host))

    async def forget_host(self, id: str) -> None:
        await self._write(lambda tx: state.forget_host(tx, id))

    async def hosts(self) -> list[HostInfo]:
        return await self._read(lambda look: looking.hosts(look, self._clock()))

    async def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        await self._write(lambda tx: state.publish(tx, handlers))

    async def unpublish(self, names: Sequence[str]) -> int:
        return await self._write(lambda tx: flows.unpublish(tx, names))

    async def published(self) -> list[PublishedHandler]:
        return await self._read(looking.published)


def _nothing() -> None:
    pass


async def _closed(desk: Writer | Reader) -> None:
    closing = asyncio.ensure_future(desk.close())
    await asyncio.wait([closing], timeout=CLOSING)
    if not closing.done():
        desk.shut()
    await closing
