"""A host over a backend, for tests: started, fed, waited for, stopped. Waits end as soon as what is awaited is so."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha1
from pathlib import Path
from typing import Any

import anyio
import structlog
from jobhost.config.document import Config
from jobhost.dispatch.host import Host
from jobhost.queues.job import Job, NewJob, State
from jobhost.queues.memory import MemoryBackend
from jobhost.queues.postgres import PostgresBackend
from jobhost.queues.redis import RedisBackend
from jobhost.queues.seam import Backend
from jobhost.queues.sqlite import SqliteBackend

from tests.postgres_server import url_of
from tests.redis_server import prefix_of, server_url

FIXTURES = Path(__file__).parent.parent / "fixtures" / "bundle"
PATIENCE = 30
"""Seconds within which anything must have happened, on a slow and busy machine."""
DONE: tuple[State, ...] = ("completed", "failed")

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def make_backend(kind: str, folder: Path) -> Backend:
    if kind == "postgres":
        return PostgresBackend(url_of(f"t_{sha1(str(folder).encode()).hexdigest()[:12]}"))
    if kind == "redis":
        return RedisBackend(server_url(), prefix_of(f"t-{sha1(str(folder).encode()).hexdigest()[:12]}"))
    return MemoryBackend() if kind == "memory" else SqliteBackend(folder / "jobs.db")


def bundle(language: str = "python", only: str | None = None, **settings: Any) -> dict[str, Any]:
    """A `[[bundles]]` table over the fixture handlers: all of a language, or one file."""
    suffixes = (".py",) if language == "python" else (".js", ".mjs")
    path = FIXTURES / language
    if only is not None:
        path = next(path / f"{only}{suffix}" for suffix in suffixes if (path / f"{only}{suffix}").exists())
    return {"path": path, **settings}


class Hosted:
    """A running host and its backend."""

    def __init__(self, host: Host, backend: Backend) -> None:
        self.host = host
        self.backend = backend

    async def add(self, name: str, data: Any = None, queue: str = "default", **options: Any) -> str:
        [added] = await self.backend.add([NewJob(name, json.dumps(data).encode(), queue, **options)])
        return added.id

    async def job(self, id: str, queue: str = "default") -> Job:
        job = await self.backend.get(queue, id)
        assert job is not None
        return job

    async def until(self, id: str, check: Callable[[Job], bool], queue: str = "default") -> Job:
        """Wait until a job is as `check` wants it: looks every 10 ms, within the time limit."""
        with anyio.fail_after(PATIENCE):
            while True:
                job = await self.job(id, queue)
                if check(job):
                    return job
                await anyio.sleep(0.01)

    async def done(self, id: str, queue: str = "default") -> Job:
        return await self.until(id, lambda job: job.state in DONE, queue)

    async def logged(self, id: str, text: str, queue: str = "default") -> None:
        """Wait until a line that contains `text` is kept with the job."""
        with anyio.fail_after(PATIENCE):
            while not any(text in line.message for _, line in await self.backend.logs(queue, id)):
                await anyio.sleep(0.01)

    async def run(self, name: str, data: Any = None, **options: Any) -> Job:
        """Enqueue one job and wait for its end."""
        return await self.done(await self.add(name, data, **options))


@asynccontextmanager
async def hosted(
    backend: Backend,
    *bundles: dict[str, Any],
    queues: Any = None,
    log: Any = None,
    on_host: Callable[[Host], None] | None = None,
    **config: Any,
) -> AsyncIterator[Hosted]:
    """A host that serves `bundles` from `backend`, stopped at the end. `on_host` is called with it before it starts."""
    settings = {
        "queue_url": "memory://",
        "bundles": list(bundles),
        "queues": queues or {},
        "shutdown_timeout": "5s",
        "defaults": {"backoff": {"type": "fixed", "delay": "10ms", "jitter": 0.0}},
        **config,
    }
    host = Host(Config.model_validate(settings), backend=backend, log=log)
    if on_host is not None:
        on_host(host)
    await host.start()
    try:
        yield Hosted(host, backend)
    finally:
        with anyio.CancelScope(shield=True):
            await host.stop(now=True)


def error_of(job: Job) -> dict[str, Any]:
    assert job.error is not None
    loaded: dict[str, Any] = json.loads(job.error)
    return loaded


def result_of(job: Job) -> Any:
    assert job.state == "completed", job
    assert job.result is not None
    return json.loads(job.result)
