"""Queues on Redis in BullMQ's format: producers, workers and dashboards of BullMQ see nothing but BullMQ queues."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path

from ..admission import Admission
from ..dead_letters import Replayed
from ..drivers import WithoutTransactions
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
from . import adding, claiming, flows, letters, listening, looking, schedules, scripts, settling, state, steering
from .address import parse_url
from .client import Client
from .connection import Connection
from .store import Clock, Store

USED = (
    "extendLocks",
    "getCounts",
    "getStateV2",
    "moveJobFromActiveToWait",
    "moveStalledJobsToWait",
    "moveToActive",
    "moveToDelayed",
    "moveToFinished",
    "retryJob",
    "updateProgress",
)
LAST_WORDS = 1.0
"""Seconds that streams of events have to read what there is, when the backend is closed."""
ADDING = ("addStandardJob", "addDelayedJob", "addPrioritizedJob")


def _now() -> int:
    return int(time.time() * 1000)


class RedisBackend(SingleChanges, WithoutTransactions):
    """The `Backend` of `redis://` and `rediss://`. `prefix`: BullMQ's key prefix."""

    most_at_once = 32
    claims_at_once = 3

    def __init__(self, url: str, prefix: str = "bull", clock: Clock = _now) -> None:
        client = Client(parse_url(url), prefix, prepare=_load_scripts)
        self._store = Store(client, prefix, clock, secrets.token_hex(6))
        self._markers: dict[str, list[listening.Markers]] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    @classmethod
    def from_url(cls, url: str, base_dir: Path, prefix: str) -> RedisBackend:
        """`base_dir` says nothing here."""
        return cls(url, prefix)

    async def open(self) -> None:
        scripts.folder()
        self._store.closing.clear()
        await self._store.client.open()
        await self._store.learn_time()

    async def close(self) -> None:
        markers = [one for some in self._markers.values() for one in some]
        self._markers.clear()
        for one in markers:
            one.stop()
        await asyncio.gather(*(one.stopped() for one in markers), *self._stopping)
        self._store.closing.set()
        if self._store.reading:
            await asyncio.wait(list(self._store.reading), timeout=LAST_WORDS)
        await asyncio.gather(*(client.close() for client in list(self._store.listeners)))
        await self._store.client.close()

    # Producing and working ----------------------------------------------------------------------------------------

    async def add(self, jobs: Sequence[NewJob]) -> list[Added]:
        return await adding.add(self._store, jobs)

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
        for markers in self._markers.get(queue, ()):
            markers.claimed.set()
        return await claiming.claim(self._store, queue, limit, admission, lease_ms, host, rate, limits)

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return await settling.settle(self._store, settlements)

    async def renew(self, leases: Sequence[Lease], lease_ms: int) -> list[Renewal]:
        return await claiming.renew(self._store, leases, lease_ms)

    async def recover(
        self, queue: str, max_stalled: int, keep: Keep | None = None, dead_letter: str | None = None
    ) -> Recovered:
        return await claiming.recover(self._store, queue, max_stalled, keep, dead_letter)

    def watch(self, queues: Sequence[str], wake: Callable[[str], None]) -> Callable[[], None]:
        mine = {queue: listening.Markers(self._store, queue, wake) for queue in queues}
        for queue, markers in mine.items():
            self._markers.setdefault(queue, []).append(markers)

        def unwatch() -> None:
            for queue, markers in mine.items():
                if markers in self._markers.get(queue, ()):
                    self._markers[queue].remove(markers)
                    markers.stop()
                    task = asyncio.get_running_loop().create_task(markers.stopped())
                    self._stopping.add(task)
                    task.add_done_callback(self._stopping.discard)

        return unwatch

    async def progress(self, updates: Sequence[tuple[Lease, Json]]) -> None:
        await settling.progress(self._store, updates)

    async def update_data(self, lease: Lease, data: Json) -> None:
        await settling.update_data(self._store, lease, data)

    async def wait_for_children(self, lease: Lease) -> bool:
        return await settling.wait_for_children(self._store, lease)

    async def log(self, lines: Sequence[tuple[Lease, LogLine]]) -> None:
        await settling.log(self._store, lines)

    # Looking ------------------------------------------------------------------------------------------------------

    async def get(self, queue: str, id: str) -> Job | None:
        return await looking.get(self._store, queue, id)

    async def jobs(
        self, queue: str | None = None, states: Sequence[State] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Job], str | None]:
        return await looking.jobs(self._store, queue, states, limit, cursor)

    async def logs(self, queue: str, id: str, after: int = 0) -> list[tuple[int, LogLine]]:
        return await looking.logs(self._store, queue, id, after)

    async def children(self, queue: str, id: str) -> Json:
        return await looking.children(self._store, queue, id)

    async def queues(self) -> list[QueueInfo]:
        return await looking.queues(self._store)

    async def counts(self, queue: str) -> dict[str, int]:
        return await looking.counts(self._store, queue)

    def events(self, queue: str | None = None, types: Collection[str] = ()) -> AsyncIterator[Event]:
        if set(types) == {"cancel"}:
            return listening.cancels(self._store)
        if set(types) == {"flow"}:
            return listening.flows(self._store)
        if set(types) == {"flow_failed"}:
            return listening.failed_flows(self._store)
        return listening.events(self._store, queue, types)

    # Steering -----------------------------------------------------------------------------------------------------

    async def pause(self, queue: str) -> None:
        await steering.pause(self._store, queue, True)

    async def resume(self, queue: str) -> None:
        await steering.pause(self._store, queue, False)

    async def retry(self, queue: str, id: str) -> bool:
        return await steering.retry(self._store, queue, id)

    async def edit(self, queue: str, id: str, data: Json) -> bool:
        return await letters.edit(self._store, queue, id, data)

    async def replay(self, queue: str, id: str) -> Replayed:
        return await letters.replay(self._store, queue, id)

    async def cancel(self, queue: str, id: str) -> Cancelled:
        return await steering.cancel(self._store, queue, id)

    async def promote(self, queue: str, id: str) -> bool:
        return await steering.promote(self._store, queue, id)

    async def remove(self, queue: str, id: str) -> bool:
        return await steering.remove(self._store, queue, id)

    async def foreign_workers(self, queue: str) -> list[str]:
        return await listening.foreign_workers(self._store, queue)

    async def drain(self, queue: str, delayed: bool = False) -> int:
        return await steering.drain(self._store, queue, delayed)

    async def clean(self, queue: str, state: State, older_than_ms: int = 0, limit: int = 0) -> int:
        return await steering.clean(self._store, queue, state, older_than_ms, limit)

    async def remove_queue(self, queue: str) -> int:
        return await steering.remove_queue(self._store, queue)

    # Flows --------------------------------------------------------------------------------------------------------

    async def start_flow(self, flow: NewFlow) -> tuple[bool, int]:
        return await flows.start(self._store, flow)

    async def emit(self, lease: Lease, place: InFlow, attempt: int, emits: Sequence[Emit]) -> list[str]:
        return await flows.emit(self._store, lease, place, attempt, emits)

    async def happened(self, happenings: Sequence[Happening]) -> None:
        await flows.happened(self._store, happenings)

    async def flow(self, id: str) -> FlowInfo | None:
        return await flows.info(self._store, id)

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> tuple[list[FlowInfo], str | None]:
        return await flows.page(self._store, name, statuses, limit, cursor)

    async def flow_children(self, id: str) -> list[FlowInfo]:
        return await flows.children(self._store, id)

    async def flow_jobs(self, id: str) -> list[Job]:
        return await flows.jobs(self._store, id)

    async def flow_events(self, id: str, after: int = 0, limit: int = 1_000) -> list[FlowEvent]:
        return await flows.events(self._store, id, after, limit)

    async def tell_flow(self, id: str, type: str, data: Json | None = None) -> None:
        await flows.tell(self._store, id, type, data)

    async def cancel_flow(self, id: str) -> bool:
        return await flows.cancel(self._store, id)

    async def reopen_flow(self, id: str) -> bool:
        return await flows.reopen(self._store, id)

    async def sweep_flows(self, state_before: int | None, ended_before: int) -> int:
        return await flows.sweep(self._store, state_before, ended_before)

    # Schedules ----------------------------------------------------------------------------------------------------

    async def put_schedule(self, schedule: Schedule) -> None:
        await schedules.put(self._store, schedule)

    async def schedule(self, id: str) -> Schedule | None:
        return await schedules.one(self._store, id)

    async def schedules(self) -> list[Schedule]:
        return await schedules.all_of_them(self._store)

    async def remove_schedule(self, id: str) -> bool:
        return await schedules.remove(self._store, id)

    async def due_schedules(self, limit: int) -> tuple[list[Schedule], int | None]:
        return await schedules.due(self._store, limit)

    async def fire(self, firing: Firing) -> Fired | None:
        return await schedules.fire(self._store, firing)

    # State --------------------------------------------------------------------------------------------------------

    async def state_get(self, scope: str, key: str) -> Json | None:
        return await state.get(self._store, scope, key)

    async def state_change(self, scope: str, ops: Sequence[StateOp], lease: Lease | None = None) -> list[Result]:
        return await state.change(self._store, scope, ops, lease)

    async def state_keys(self, scope: str, cursor: str | None = None) -> tuple[list[str], str | None]:
        return await state.keys(self._store, scope, cursor)

    async def state_scopes(self) -> list[str]:
        return await state.scopes(self._store)

    # Hosts --------------------------------------------------------------------------------------------------------

    async def heartbeat(self, host: HostInfo) -> None:
        await state.heartbeat(self._store, host)

    async def forget_host(self, id: str) -> None:
        await self._store.client.call("HDEL", self._store.shared("hosts"), id)

    async def hosts(self) -> list[HostInfo]:
        return await state.hosts(self._store)

    async def publish(self, handlers: Sequence[PublishedHandler]) -> None:
        await state.publish(self._store, handlers)

    async def unpublish(self, names: Sequence[str]) -> int:
        return await state.unpublish(self._store, names)

    async def published(self) -> list[PublishedHandler]:
        return await state.published(self._store)


async def _load_scripts(connection: Connection) -> None:
    """Make the server know the scripts of the hot path: transactions call them by their name alone."""
    texts = [scripts.bullmq(name) for name in USED] + [scripts.adding(name) for name in ADDING]
    texts += [scripts.adding_in_flow(name) for name in ADDING]
    texts += [scripts.finishing_many(), scripts.ending_in_flow(), scripts.asking_flows()]
    texts += [*scripts.all_own(), scripts.failing(), scripts.handing_back()]
    await asyncio.gather(*(connection.call("SCRIPT", "LOAD", script.text) for script in texts))
