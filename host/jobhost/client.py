"""Producing jobs from Python, and looking after them.

async with Client("sqlite:///jobs.db") as jobs:
    job = await jobs.enqueue("image.resize", {"width": 80}, delay="5s")
    print(await job.result(timeout="30s"))

The command line is built on it. Durations are texts with a unit ("5s"); what comes back is made of JSON values, as
`jobhost.listings` shapes them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, Unpack

from jobhost_sdk.durations import Duration, milliseconds
from jobhost_sdk.json_values import decode

from jobhost import versions
from jobhost.breakers import BreakerClient
from jobhost.dead_letters import DeadLetters
from jobhost.errors import ConfigurationError, JobNotFoundError, PayloadError, UnknownFlowError
from jobhost.flow_handles import FlowHandle
from jobhost.handles import JobHandle
from jobhost.listings import (
    Listing,
    flow_listing,
    handler_listing,
    host_listing,
    job_listing,
    log_listing,
    queue_listing,
)
from jobhost.newjobs import JobOptions, json_text, new_job
from jobhost.queues.flows import FlowStatus, NewFlow, Subscriber, new_flow_id, starts_of
from jobhost.queues.job import NewJob, State
from jobhost.queues.registry import open_backend
from jobhost.queues.seam import Added, Backend, Cancelled
from jobhost.schedule_client import ScheduleClient
from jobhost.watch import JobWatch

if TYPE_CHECKING:
    from jobhost.config.document import Config
    from jobhost.routes import Router

MAX_PAYLOAD = 1024 * 1024
"""Bytes of a job's data as JSON, where no configuration says otherwise (`max_payload`)."""

Handles = list[JobHandle]
Listings = list[Listing]
Logs = list[tuple[int, Listing]]

_QUEUES_LAST = 2.0
"""Seconds for which the published queue of a handler is remembered, so that a burst of jobs does not ask for each."""


class Page(NamedTuple):
    """Some jobs, the newest first, and the cursor of the next page (None: this is the last)."""

    jobs: list[Listing]
    cursor: str | None


class FlowPage(NamedTuple):
    """Some flows, the newest first, and the cursor of the next page (None: this is the last)."""

    flows: list[Listing]
    cursor: str | None


class Client:
    """A producer's connection to the queues of one store. Use it as `async with`, in one event loop.

    `url`: `sqlite:///FILE` (relative to the working directory), `postgresql://…` or `redis://…`; None: the
    configuration that `jobhost` itself would find here. `backend`: instead of a URL, one that is open already, such as a host's own; it
    is not closed. `config`: its queues' `max_payload` is kept. `prefix`: of keys on Redis.

    `memory://` works only inside one process: nobody else sees its jobs, so it takes the host's `backend` to have them run.

    Entering raises BackendUnavailableError and ConfigurationError.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        backend: Backend | None = None,
        config: Config | None = None,
        prefix: str | None = None,
    ) -> None:
        self._prefix = prefix
        if prefix is not None and url is not None and not url.startswith(("redis://", "rediss://")):
            raise ConfigurationError(f"prefix names keys on Redis, and {url.partition(':')[0]}:// has none")
        if url == "memory://" and backend is None:
            text = (
                "memory:// works only inside one process: pass backend= with that of the host that shall run the jobs"
            )
            warnings.warn(text, stacklevel=2)
        self._url = url
        self._given = backend
        self._config = config
        self._queues: dict[str, str] = {}
        self._queues_at = float("-inf")

    async def __aenter__(self) -> Self:
        if self._given is not None:
            self.backend = self._given
        else:
            self.backend = self._backend()
            await self.backend.open()
        self.watch = JobWatch(self.backend)
        self.state = StateClient(self.backend)
        self._router: Router | None = None
        if self._config is not None and self._config.routes:
            from jobhost.routes import Router

            self._router = Router(self.backend, self._config.routes)
        self.breakers = BreakerClient(self.backend)
        self.dead = DeadLetters(self.backend, self._dead_letters(), self._max_payload)
        self.schedules = ScheduleClient(
            self.backend, self.published_queue, lambda queue, added: JobHandle(self.backend, self.watch, queue, added)
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.watch.close()
        if self._given is None:
            await self.backend.close()

    def _backend(self) -> Backend:
        if self._url is not None:
            return open_backend(self._url, Path.cwd(), self._prefix or "bull")
        if self._config is None:
            from jobhost.config.load import load

            self._config = load().config
        return open_backend(self._config.queue_url, self._config.base_dir, self._prefix or self._config.prefix)

    # Producing ----------------------------------------------------------------------------------------------------

    async def enqueue(
        self, name: str, data: Any = None, *, conn: object = None, **options: Unpack[JobOptions]
    ) -> JobHandle:
        """Store one job, durably. `data`: a JSON value. `options`: see JobOptions.

        `conn`: a connection of yours to the database of the queues, in a transaction: the job is there if and only if that commits.
        One of psycopg 3 (sync or async) on Postgres, of sqlite3 on SQLite, or a session of SQLAlchemy over either.

        Raises PayloadError if the data is no JSON value or too large, ValueError for a wrong option, BackendUnavailableError,
        ConfigurationError for a `conn` that is none of these.
        """
        (job,) = await self.enqueue_many([{"name": name, "data": data, **options}], conn=conn)
        return job

    async def enqueue_many(self, jobs: Iterable[Mapping[str, Any]], *, conn: object = None) -> Handles:
        """Store jobs in one step, all or none: each a mapping of what `enqueue` takes. Raises what `enqueue` raises."""
        new = [await self._new_job(**job) for job in jobs]
        if not new:
            return []
        added = await (self.backend.add(new) if conn is None else self.backend.add_within(conn, new))
        return [JobHandle(self.backend, self.watch, job.queue, one) for job, one in zip(new, added, strict=True)]

    async def start_flow(
        self, name: str, data: Any = None, *, id: str | None = None, first: Sequence[Subscriber] | None = None
    ) -> FlowHandle:
        """Start a flow: each of its first steps gets a job with `data`, in one step. `id`: a second start of one changes nothing.
        `first`: its first steps, by default the published handlers of the flow that subscribe to nothing.

        Raises UnknownFlowError if there are none, PayloadError, BackendUnavailableError.
        """
        text = json_text(data, "data")
        queues = [one.queue for one in first] if first is not None else ["default"]
        for queue in queues:
            if len(text) > (most := self._max_payload(queue)):
                raise PayloadError(
                    f"the data is {len(text):,} bytes as JSON; queue {queue!r} takes {most:,} (max_payload)"
                )
        if not first:
            known = [begun for one in await self.backend.published() if (begun := starts_of(one.info)) is not None]
            if name not in known:
                raise UnknownFlowError(name, known)
        new = NewFlow(id or new_flow_id(), name, text, first=tuple(first) if first else None)
        created, _ = await self.backend.start_flow(new)
        return FlowHandle(self.backend, new.id, created)

    def flow(self, id: str) -> FlowHandle:
        """A handle of a flow; whether it is there, its methods say."""
        return FlowHandle(self.backend, id)

    async def flows(
        self, name: str | None = None, statuses: Sequence[FlowStatus] = (), limit: int = 100, cursor: str | None = None
    ) -> FlowPage:
        """Flows, the newest first."""
        flows, following = await self.backend.flows(name, statuses, limit, cursor)
        return FlowPage([flow_listing(flow) for flow in flows], following)

    async def forget_handlers(self, *names: str) -> int:
        """Forget published handlers with what they subscribe to; gives how many there were."""
        return await self.backend.unpublish(names)

    async def _new_job(self, name: str, data: Any = None, **options: Unpack[JobOptions]) -> NewJob:
        queue = options.get("queue")
        job = new_job(name, data, "default" if queue is None else queue, options)
        if queue is None:
            job.queue = queue = await self._queue_of(job)
        most = self._max_payload(queue)
        if len(job.data) > most:
            text = (
                f"the data of {name!r} is {len(job.data):,} bytes as JSON; queue {queue!r} takes {most:,} (max_payload)"
            )
            raise PayloadError(text)
        return job

    async def _queue_of(self, job: NewJob) -> str:
        """Where a job goes whose producer does not say: by the routes, else to its handler's own queue."""
        if self._router is not None and (routed := await self._router.queue(job.name, job.data, job.metadata)):
            return routed
        return await self.published_queue(job.name) or "default"

    def _dead_letters(self) -> set[str]:
        """The queues of dead letters that the configuration names."""
        if self._config is None:
            return set()
        from jobhost.config.queues import dead_letter_queues

        return dead_letter_queues(self._config)

    def _max_payload(self, queue: str) -> int:
        if self._config is None:
            return MAX_PAYLOAD
        from jobhost.config.queues import queue_settings

        return queue_settings(self._config, queue).max_payload

    async def published_queue(self, name: str) -> str | None:
        """The queue that a host has published for handlers of this name; None if no host has."""
        now = time.monotonic()
        if now - self._queues_at > _QUEUES_LAST:
            self._queues = {handler.name: handler.queue for handler in await self.backend.published()}
            self._queues_at = now
        return self._queues.get(name) or self._queues.get(versions.split(name)[0])

    # Looking ------------------------------------------------------------------------------------------------------

    async def get(self, id: str, queue: str = "default") -> Listing:
        """A job. Raises JobNotFoundError."""
        job = await self.backend.get(queue, id)
        if job is None:
            raise JobNotFoundError(f"there is no job {id!r} in queue {queue!r}")
        return job_listing(job)

    def handle(self, id: str, queue: str = "default") -> JobHandle:
        """A handle of a job that was enqueued before, maybe by somebody else; whether it is there, its methods say."""
        return JobHandle(self.backend, self.watch, queue, Added(id, False, 0))

    async def list(
        self,
        queue: str | None = None,
        states: Sequence[State] = (),
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Jobs of one queue or all, in some states or all, the newest first."""
        jobs, following = await self.backend.jobs(queue, states, limit, cursor)
        return Page([job_listing(job) for job in jobs], following)

    async def logs(self, id: str, queue: str = "default", after: int = 0) -> Logs:
        """Log lines of a job, each with its number; those above `after`."""
        return [(number, log_listing(line)) for number, line in await self.backend.logs(queue, id, after)]

    async def queues(self) -> Listings:
        """Every queue that has jobs or is paused."""
        return [queue_listing(queue) for queue in await self.backend.queues()]

    async def counts(self, queue: str) -> dict[str, int]:
        """The number of a queue's jobs in each state."""
        return await self.backend.counts(queue)

    async def hosts(self) -> Listings:
        """Hosts that were heard of within two minutes."""
        return [host_listing(host) for host in await self.backend.hosts()]

    async def handlers(self) -> Listings:
        """Handlers that hosts have published."""
        return [handler_listing(handler) for handler in await self.backend.published()]

    # Steering -----------------------------------------------------------------------------------------------------

    async def retry(self, id: str, queue: str = "default") -> bool:
        """Let a finished job run again with all its attempts; False if there is no finished job of that id."""
        return await self.backend.retry(queue, id)

    async def cancel(self, id: str, queue: str = "default") -> Cancelled:
        """Cancel a job: `cancelled`, or `requested` where it runs and its host was asked, `finished` or `missing`."""
        return await self.backend.cancel(queue, id)

    async def promote(self, id: str, queue: str = "default") -> bool:
        """Let a delayed job wait no longer; False if it isn't delayed."""
        return await self.backend.promote(queue, id)

    async def remove(self, id: str, queue: str = "default") -> bool:
        """Delete a job with its logs and state; False if it isn't there. Raises JobActiveError."""
        return await self.backend.remove(queue, id)

    async def pause(self, queue: str) -> None:
        """Let no host take jobs from the queue until `resume`."""
        await self.backend.pause(queue)

    async def resume(self, queue: str) -> None:
        """End a pause."""
        await self.backend.resume(queue)

    async def drain(self, queue: str, delayed: bool = False) -> int:
        """Delete the jobs that wait, and the delayed ones too if asked; gives how many."""
        return await self.backend.drain(queue, delayed)

    async def clean(self, queue: str, state: State, older_than: Duration = "0s", limit: int = 0) -> int:
        """Delete jobs that have been in `state` for so long, the oldest first, at most `limit` (0: all); gives how many."""
        return await self.backend.clean(queue, state, milliseconds(older_than), limit)

    async def remove_queue(self, queue: str) -> int:
        """Delete a queue with all its jobs; gives how many. Raises JobActiveError."""
        return await self.backend.remove_queue(queue)


class StateClient:
    """State that handlers keep, from outside: `client.state`. A scope is what `scopes` lists."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def get(self, scope: str, key: str, default: Any = None) -> Any:
        """A value; `default` where there is none."""
        text = await self._backend.state_get(scope, key)
        return default if text is None else decode(text)

    async def set(self, scope: str, key: str, new: Any, ttl: Duration | None = None) -> None:
        """Store a value, durably; it goes away after `ttl`. Raises PayloadError if it is no JSON value."""
        await self._backend.state_set(scope, key, json_text(new, "value"), None if ttl is None else milliseconds(ttl))

    async def keys(self, scope: str) -> AsyncIterator[str]:
        """The keys of a scope, in order."""
        cursor: str | None = None
        while True:
            keys, cursor = await self._backend.state_keys(scope, cursor)
            for key in keys:
                yield key
            if cursor is None:
                return

    async def scopes(self) -> list[str]:
        """Scopes that hold anything."""
        return await self._backend.state_scopes()
