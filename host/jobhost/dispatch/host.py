"""The host: opens a backend, starts bundles, serves queues, and stops in order.

host = Host(config)
host.register(send_mail, "mail.send")      # besides the bundles of the configuration
await host.start()
await host.wait()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.isolation import cgroups
from jobhost_runtimes.run import Tokens
from jobhost_runtimes.services import Line
from jobhost_runtimes.threads import Threads

from .. import __version__
from ..bundles import bundle_specs
from ..catalogue import Catalogue, Entry
from ..config.document import Config
from ..config.queues import dead_letter_queues
from ..errors import BackendUnavailableError, ConfigurationError
from ..levels import hold
from ..queues.clock import Clock, unix_ms
from ..queues.job import HostInfo, Job, PublishedHandler, Settlement
from ..queues.registry import open_backend
from ..queues.seam import Backend
from ..registered import checked
from . import alerts
from .breakers import Breakers
from .bundles import Bundles
from .burst import Burst
from .flows import Emitting, Held
from .found_queues import FoundQueues
from .hooked import Hooked
from .housekeeping import keep_house
from .journal import Journal
from .live import Live
from .outcomes import brief
from .publisher import Publisher
from .queue_worker import QueueWorker
from .required import Required
from .scheduler import serve_schedules
from .services import HostServices
from .serving import Serving
from .settler import Settler
from .strategies import Strategy

HEARTBEAT = 30.0
"""Seconds between heartbeats."""
CLAIMING = 1.0
"""Seconds that a host which stops waits for the answer to a claim."""
WRITING = 5.0
"""Seconds that a host which stops waits for a backend that is gone, before it leaves its jobs to their leases."""


class Host(Hooked, Serving):
    """Takes jobs from queues and runs them. One event loop, the caller's; `start` once, `stop` any time and twice.

    `config`: see jobhost.config. `backend`: instead of the one `config.queue_url` names. `queues`: serve only these. `burst`: `wait`
    returns once nothing is left to do. `failed` counts the jobs that failed for good while it ran.
    `clock`: the time, as that of its backend. `threads`: handlers inside this process run on the host's own loop, the blocking ones on
    these threads, which the caller keeps.
    """

    def __init__(
        self,
        config: Config,
        *,
        backend: Backend | None = None,
        queues: Sequence[str] | None = None,
        burst: bool = False,
        log: Any = None,
        on_run_log: Callable[[Live, Line], None] | None = None,
        clock: Clock = unix_ms,
        threads: Threads | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.threads = threads
        self.id = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        # Bound now: the logger that structlog hands out binds itself anew at each call, which was a tenth of a job's cost.
        self.log = (log if log is not None else structlog.get_logger("jobhost")).bind()
        self.catalogue = Catalogue()
        self.tokens = Tokens()
        self.strategies: dict[str, Strategy] = {}
        self.failed = 0
        self.completed = 0
        self.all_loaded = False
        self._news = asyncio.Event()
        self.started_at = clock()
        self._given_backend = backend
        self._only = list(queues) if queues else None
        self._burst = Burst(self) if burst else None
        self._on_run_log = on_run_log
        self.bundles = Bundles(self)
        self.alerts = alerts.Alerts(self)
        self.breakers = Breakers(self)
        self.found = FoundQueues(self, self.config.queues if self._only is None else self._only)
        self.required = Required(self)
        self.workers: dict[str, QueueWorker] = {}
        self.claiming = asyncio.Semaphore()
        """One queue claims at a time: two that share a pool, or a handler's limit, must not both be promised its last place."""
        self.asked = 0
        """Places that claims under way may fill."""
        self.running_of: defaultdict[str, int] = defaultdict(int)
        """Runs under way of each handler, counted by the workers."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unwatch: Callable[[], None] | None = None
        self._stopped = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._started = False
        self.tended = False
        self._trouble = False

    # From code ----------------------------------------------------------------------------------------------------

    def register(self, fn: Any, name: str | None = None, **settings: Any) -> None:
        """Serve a function or `Handler` class of this process, as isolation `none` does; from the loop of the host once it runs.

        `name`: the job name, by default the one of `@handler`, else the function's. `settings`: as in `@handler` (queue,
        timeout, concurrency, …).
        Raises ConfigurationError if the name is taken or a setting is wrong.
        """
        handler = checked(fn, name, settings)
        if (other := self.catalogue.named(handler.name)) is not None:
            raise ConfigurationError(f"there is a handler named {handler.name!r} already: {other.file}")
        self.bundles.registered.put(handler)
        if self.workers:
            self.bundles.take_in_registered()

    def backoff_strategy(self, name: str, strategy: Strategy) -> None:
        """Let `backoff = { type = NAME }` wait as `strategy(attempts_made, error, job)` says, in milliseconds."""
        self.strategies[name] = strategy

    # Start --------------------------------------------------------------------------------------------------------

    async def start(self, tend: bool = True) -> None:
        """Open the backend, start bundles and queues. Returns when the queues are served; bundles may still be loading.

        `tend`: without it the caller calls `tend` before time passes, as tests do, most of which are over before.

        Raises ConfigurationError where a bundle's folder is missing or two handlers have one name, and
        BackendUnavailableError; the host is stopped then.
        """
        self._started = True
        try:
            await self._start(tend)
        except BaseException:
            await self.stop(now=True)
            raise

    async def _start(self, tend: bool) -> None:
        specs = bundle_specs(self.config)
        self.alerts.prepare()
        await self.start_hooks(self.config)
        self.backend = self._given_backend or open_backend(
            self.config.queue_url, self.config.base_dir, self.config.prefix
        )
        await self.backend.open()
        self.claiming = asyncio.Semaphore(self.backend.claims_at_once)
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self.journal = Journal(self.backend, self.backend_trouble, self.clock)
        self.settler = Settler(self.backend, self.journal, self.backend_trouble, self.spawn)
        self.publisher = Publisher(self)
        self.held = Held(self.publisher.done, self.settler.add)
        self.emitting = Emitting(self.backend, self.bundles.emits, self.publisher.done, self.log)
        services = HostServices(
            self.backend,
            self.journal,
            self.bundles.scopes,
            self._child_log,
            self._on_run_log,
            emitting=self.emitting,
            default_ttl=self.config.state.ttl if self.config.state.cleanup == "ttl" else None,
        )
        await self._alone(self._wanted_queues())
        children = [spec for _, spec in specs]
        await hold(children, confined=True)
        self.bundles.start(specs, services)
        await self.found.look()
        self._serve_queues(self._wanted_queues())
        if tend:
            self.tend()
        self.spawn(self._when_loaded())
        # Mistakes of the first moment are told by `start`; a bundle that hangs holds nobody up.
        await self.bundles.loaded(min((spec.start_timeout for _, spec in specs), default=0.0))
        await hold(children, confined=False)
        if self.catalogue.conflicts:
            raise ConfigurationError("\n".join(map(str, self.catalogue.conflicts)))

    def tend(self) -> None:
        """Begin what goes by the clock: heartbeats, leases, schedules, housekeeping; and to hear of cancels. Twice does no harm."""
        if self.tended:
            return
        self.tended = True
        self.spawn(self._heartbeats())
        self.spawn(self._hear_cancels())
        self.spawn(self.found.watch())
        self.spawn(self.alerts.hear_flows())
        self.spawn(serve_schedules(self))
        self.spawn(keep_house(self.backend, self.config, self.log, self.backend_trouble, self.clock))
        for worker in self.workers.values():
            self._tend(worker)

    async def _when_loaded(self) -> None:
        """Once every bundle has answered or given up, a name that nobody has is unknown."""
        await self.bundles.loaded()
        await self.required.settle()
        self.all_loaded = True
        self.publisher.publish()
        self.log.info("host.ready", host=self.id, queues=sorted(self.workers), handlers=self.catalogue.names())
        self.poke_all()

    def took_in(self, entries: Sequence[Entry]) -> None:
        """Handlers were loaded: serve the queues they name, and tell producers where each is served."""
        for worker in self.workers.values():
            worker.forget_plans()
        self.breakers.take_in(entries)
        self._serve_queues(self._wanted_queues())
        handlers = [
            PublishedHandler(e.name, e.queue, json.dumps(e.listing()).encode())
            for e in entries
            if e.name != "*" and self.catalogue.named(e.name) is e  # of several versions the newest is told of
        ]
        self.publisher.publish(handlers)
        self.poke_all()

    # What workers tell ----------------------------------------------------------------------------------------------

    def queue_idle(self) -> None:
        if self._burst is not None:
            self._burst.look()

    def settled(self, worker: QueueWorker, job: Job, decided: Settlement, held: bool) -> None:
        """A job's end is written, or was refused because another host has it."""
        if decided.unmatched:
            self.emitting.told(decided.unmatched, job.name)
        if not held:
            self.log.warning("lease.lost", queue=worker.name, job_id=job.id, name=job.name, result="dropped")
        elif decided.to == "completed":
            self.completed += 1
            self.log.debug("job.completed", queue=worker.name, job_id=job.id, name=job.name)
        elif decided.to == "failed":
            self.failed += 1
            if self.alerts.on:
                self.alerts.job_failed(job, decided)
            self.log.error("job.failed", queue=worker.name, job_id=job.id, name=job.name, error=brief(decided.error))
        elif decided.error is not None:
            self.log.warning(
                "job.retried",
                queue=worker.name,
                job_id=job.id,
                name=job.name,
                delay_ms=decided.delay_ms,
                error=brief(decided.error),
            )

    def backend_trouble(self, error: BackendUnavailableError) -> None:
        """The backend can't be used now: said once, and once more when it is over."""
        if not self._trouble:
            self._trouble = True
            self.log.error("backend.unavailable", error=str(error))
            self.spawn(self._say_when_back())

    async def _say_when_back(self) -> None:
        while self._trouble:
            await asyncio.sleep(1.0)
            try:
                await self.backend.heartbeat(self._info())  # a write: a full disk can still be read
            except BackendUnavailableError:
                continue
            self._trouble = False
            self.log.info("backend.available")
            self.poke_all()

    def _child_log(self, bundle: str, pid: int, line: Line, candidates: Sequence[Live]) -> None:
        """A line that no single run can be given: kept in the host's log, with those who may have written it."""
        names = [f"{live.job.queue}:{live.job.id}" for live in candidates]
        self.log.info(
            "child.output",
            bundle=bundle,
            pid=pid,
            level_given=line.level,
            source=line.source,
            text=line.message,
            candidates=names,
        )

    def tell_soon(self) -> None:
        """Something that other processes are told of has changed."""
        self._news.set()

    async def _heartbeats(self) -> None:
        while True:
            await self._quietly(self.backend.heartbeat(self._info()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self._news.wait()
            self._news.clear()

    def _info(self) -> HostInfo:
        runs = sum(len(worker.live) for worker in self.workers.values())
        info = {"version": __version__, "pid": os.getpid(), "queues": sorted(self.workers), "runs": runs}
        info["bundles"] = self.bundles.told()
        info["dead_letters"] = sorted(dead_letter_queues(self.config))
        return HostInfo(self.id, self.started_at, self.clock(), json.dumps(info).encode())

    async def health(self) -> dict[str, Any]:
        """Whether it works, and what it does: the numbers a health check wants."""
        try:
            counts = {info.name: info.counts for info in await self.backend.queues()}
        except BackendUnavailableError as error:
            return {"ok": False, "error": str(error), "host": self.id}
        return {
            "ok": self.all_loaded and not self.catalogue.problems,
            "host": self.id,
            "uptime_s": (self.clock() - self.started_at) / 1000,
            "handlers": self.catalogue.names(),
            "problems": [str(problem) for problem in self.catalogue.problems],
            "bundles": self.bundles.told(),
            "queues": counts,
            **self.metrics(),
        }

    def metrics(self) -> dict[str, Any]:
        """Counts since the start of this host."""
        return {
            "completed": self.completed,
            "failed": self.failed,
            "active": sum(worker.running for worker in self.workers.values()),
        }

    async def _quietly(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except BackendUnavailableError as error:
            self.backend_trouble(error)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # None of these tasks ends by itself with an error but by a defect of ours: better to stop than to serve half.
            self.log.critical("host.defect", exc_info=error)
            self.request_stop()

    # Stop ---------------------------------------------------------------------------------------------------------

    async def wait(self) -> None:
        """Return when the host has stopped; with `burst`, stop it once nothing is left to do."""
        await self._stopped.wait()
        if self._broken is not None:
            raise self._broken

    def request_stop(self, now: bool = False) -> None:
        """Begin to stop; `wait` tells when it is done."""
        if self._stopping is None or now:
            self._spawn_stop(now)

    def _spawn_stop(self, now: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._stop(now))
        if self._stopping is not None and not self._stopping.done():
            self._stopping.cancel()
        self._stopping = task
        task.add_done_callback(self._stop_ended)

    def _stop_ended(self, task: asyncio.Task[None]) -> None:
        """A stop that fails half way is a defect of ours: said, and nobody waits for its end for ever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.critical("host.defect", exc_info=error)
            self._broken = error
            self._stopped.set()

    async def stop(self, now: bool = False) -> None:
        """Drain within `shutdown_timeout`, then hand back what still runs; `now`: hand back at once. Safe before start and twice."""
        if not self._started:
            self._stopped.set()
            return
        self.request_stop(now)
        await self.wait()

    async def _stop(self, now: bool) -> None:
        if self._stopped.is_set():
            return
        if not hasattr(self, "settler"):
            await self._close()
            return
        self.log.info("host.stopping", runs=sum(len(worker.live) for worker in self.workers.values()), now=now)
        for worker in self.workers.values():
            worker.drain()
        with contextlib.suppress(TimeoutError):
            # Jobs of a claim on its way are begun and handed back with the others, not left to their leases.
            async with asyncio.timeout(CLAIMING):
                for _ in range(self.backend.claims_at_once):
                    await self.claiming.acquire()
        if not now:
            await self._drain()
        if self.hooks is not None:
            self.hooks.hand_back()
        await self.bundles.stop(now)
        self.held.hand_back()
        await self._finish_writing()
        if self.hooks is not None:
            await self.hooks.close(now)
        await self._close()

    async def _drain(self) -> None:
        """Let runs end by themselves, until only the grace of the shutdown timeout is left."""
        grace = max((runtime.spec.limits.grace for runtime in self.bundles.runtimes), default=0.0)
        patience = max(0.0, self.config.shutdown_timeout / 1000 - grace)
        deadline = asyncio.get_running_loop().time() + patience
        while any(worker.running for worker in self.workers.values()):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return
            await asyncio.sleep(min(0.02, left))

    async def _finish_writing(self) -> None:
        try:
            async with asyncio.timeout(WRITING):
                await self.settler.flush()
                await self.alerts.flush()
                await self.journal.close()
        except TimeoutError:
            lost = await self.settler.abandon()
            self.log.error("host.unsettled", settlements=lost, hint="the backend is gone; their leases will expire")

    async def _close(self) -> None:
        cgroups.remove_spares()
        if self.hooks is not None:
            self.hooks.end()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._unwatch is not None:
            self._unwatch()
        if hasattr(self, "deadlines"):
            self.deadlines.close()
        if hasattr(self, "backend"):
            with contextlib.suppress(BackendUnavailableError):  # closing what is gone already
                await self.backend.forget_host(self.id)
            await self.backend.close()
        self.log.info("host.stopped", completed=self.completed, failed=self.failed)
        self._stopped.set()
