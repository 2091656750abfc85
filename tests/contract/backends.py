"""Every queue backend, for tests: the same store under one or two handles, and a clock that tests turn.

A new backend joins the contract with one line in `STORES`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from jobhost.queues.admission import Admission
from jobhost.queues.job import Claim, Event, Job, Lease, NewJob, Settlement
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

from tests.postgres_server import fresh_url
from tests.redis_server import age, fresh_prefix, server_url

PATIENCE = 10
"""Seconds within which anything must have happened."""

LEASE_MS = 30_000


class TurnedClock:
    """Unix ms that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.turned: list[Callable[[int], None]] = []
        """Called with each turn, by what has a clock of its own."""

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms
        for tell in self.turned:
            tell(ms)


Handles = Callable[[], Backend]


def _memory(folder: Path, clock: TurnedClock) -> Handles:
    store = MemoryBackend(clock)
    return lambda: store


def _sqlite(folder: Path, clock: TurnedClock) -> Handles:
    return lambda: SqliteBackend(folder / "queues" / "jobs.db", clock)


def _redis(folder: Path, clock: TurnedClock) -> Handles:
    prefix = fresh_prefix()
    clock.turned.append(lambda ms: age(prefix, ms))
    return lambda: RedisBackend(server_url(), prefix, clock)


def _postgres(folder: Path, clock: TurnedClock) -> Handles:
    url = fresh_url()
    return lambda: PostgresBackend(url, clock)


STORES: dict[str, Callable[[Path, TurnedClock], Handles]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "postgres": _postgres,
}
"""Each gives a function that makes handles on one and the same store; one whose jobs live in the handle gives it again."""


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture(params=list(STORES))
def handles(request: pytest.FixtureRequest, tmp_path: Path, clock: TurnedClock) -> Handles:
    return STORES[request.param](tmp_path, clock)


@pytest.fixture
async def backend(handles: Handles, anyio_backend: str) -> AsyncIterator[Backend]:
    async with opened(handles()) as handle:
        yield handle


@pytest.fixture
async def other(handles: Handles, backend: Backend) -> AsyncIterator[Backend]:
    """A second host's handle on the store of `backend`."""
    async with opened(handles()) as handle:
        yield handle


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Backend]:
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def add(backend: Backend, *names: str, queue: str = "default") -> list[str]:
    """Add a job of each name; gives their ids."""
    return [added.id for added in await backend.add([NewJob(name, queue=queue) for name in names])]


async def claim(
    backend: Backend, limit: int = 1, queue: str = "default", admission: Admission | None = None, host: str = "host-1"
) -> list[Claim]:
    return (await backend.claim(queue, limit, admission or Admission(), LEASE_MS, host)).claims


async def claim_one(backend: Backend, queue: str = "default") -> Claim:
    [claimed] = await claim(backend, 1, queue)
    return claimed


def lease(claim: Claim) -> Lease:
    return Lease(claim.job.queue, claim.job.id, claim.token)


def completed(claim: Claim, result: bytes = b"null", **options: object) -> Settlement:
    return Settlement(lease(claim), "completed", result=result, **options)  # type: ignore[arg-type]


def failed(claim: Claim, error: bytes = b'{"type":"ValueError","message":"no"}', **options: object) -> Settlement:
    return Settlement(lease(claim), "failed", error=error, **options)  # type: ignore[arg-type]


def returned(claim: Claim, delay_ms: int = 0, **options: object) -> Settlement:
    to = "delayed" if delay_ms else "waiting"
    return Settlement(lease(claim), to, delay_ms=delay_ms, **options)  # type: ignore[arg-type]


async def complete(backend: Backend, count: int = 1, queue: str = "default") -> None:
    """Claim jobs and complete them, one after the other."""
    for _ in range(count):
        assert await backend.settle([completed(await claim_one(backend, queue))]) == [True]


async def job_of(backend: Backend, id: str, queue: str = "default") -> Job:
    job = await backend.get(queue, id)
    assert job is not None
    return job


async def ids(backend: Backend, queue: str | None = None, **which: object) -> list[str]:
    """The ids that a listing gives."""
    jobs, _ = await backend.jobs(queue, **which)  # type: ignore[arg-type]
    return [job.id for job in jobs]


class Listener:
    """Collects events in the background."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = anyio.Event()

    async def listen(self, events: AsyncIterator[Event]) -> None:
        async for event in events:
            self.events.append(event)
            self._arrived.set()

    async def until(self, type: str, count: int = 1) -> list[Event]:
        """Wait until there have been `count` events of a type; gives them."""
        with anyio.fail_after(PATIENCE):
            while len(found := [event for event in self.events if event.type == type]) < count:
                self._arrived = anyio.Event()
                await self._arrived.wait()
        return found

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]


@asynccontextmanager
async def listening(events: AsyncIterator[Event]) -> AsyncIterator[Listener]:
    """Listen from before the block on."""
    listener = Listener()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.listen, events)
        await anyio.wait_all_tasks_blocked()
        yield listener
        tasks.cancel_scope.cancel()


class Wakes:
    """Remembers which queues were woken."""

    def __init__(self) -> None:
        self.queues: list[str] = []
        self._woken = anyio.Event()

    def __call__(self, queue: str) -> None:
        self.queues.append(queue)
        self._woken.set()

    async def wait(self) -> str:
        """Wait for the next wake and give its queue."""
        with anyio.fail_after(PATIENCE):
            while not self.queues:
                self._woken = anyio.Event()
                await self._woken.wait()
        return self.queues.pop(0)


@pytest.fixture
async def wakes(backend: Backend) -> AsyncIterator[Wakes]:
    """Wakes of queue `default` at `backend`."""
    woken = Wakes()
    stop = backend.watch(["default"], woken)
    yield woken
    stop()
