"""Bundles without queues: what is in them (`check`, `handlers`), and one run of one handler (`run`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
from jobhost_runtimes.deadlines import Deadlines
from jobhost_runtimes.errors import ChildStartError
from jobhost_runtimes.run import Ending, Outcome, Run, Tokens
from jobhost_runtimes.runtime import Runtime
from jobhost_runtimes.services import Line

from .bundles import bundle_specs, make_runtime
from .catalogue import Catalogue, Entry, Problem, entries_of
from .config.document import Config
from .config.policy import handler_policy
from .dispatch.flows import Emitting
from .dispatch.journal import Journal
from .dispatch.live import Live
from .dispatch.services import HostServices
from .dispatch.wire import wire_context, wire_job
from .errors import UnknownJobTypeError
from .levels import hold
from .queues.admission import Admission
from .queues.flows import new_flow_id
from .queues.job import Job, Lease, NewJob
from .queues.memory import MemoryBackend
from .requires import problems_of, split

OnLog = Callable[[Line], None]
OnProgress = Callable[[bytes], None]


async def collect(config: Config, published: Collection[str] | None = None) -> Catalogue:
    """Start each bundle once, ask what it holds, and stop it. What can't be started is a problem of the catalogue, and so is a
    handler that requires one that is neither here nor `published`; None: what handlers require is not looked at."""
    async with Loaded(config, published) as loaded:
        return loaded.catalogue


async def run_once(
    config: Config, name: str, data: bytes, on_log: OnLog | None = None, on_progress: OnProgress | None = None
) -> Outcome:
    """Run one handler once, without a queue. Raises UnknownJobTypeError if no bundle has it.

    State lives as long as the run. `on_log` and `on_progress` are called as things happen.
    """
    async with Loaded(config, on_log=on_log, on_progress=on_progress) as loaded:
        entry = loaded.catalogue.find(name, "default")
        if entry is None:
            raise UnknownJobTypeError(name, loaded.catalogue.names())
        return await loaded.run(entry, name, data)


class Loaded:
    """All bundles of a configuration, started, over a backend in memory.

    `published`: as in `collect`.
    """

    def __init__(
        self,
        config: Config,
        published: Collection[str] | None = None,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._config = config
        self._published = published
        self._on_log = on_log
        self._on_progress = on_progress
        self._runtimes: list[Runtime] = []
        self.catalogue = Catalogue()

    async def __aenter__(self) -> Loaded:
        self._backend = MemoryBackend()
        await self._backend.open()
        self._deadlines = Deadlines(asyncio.get_running_loop())
        ready = asyncio.Event()
        ready.set()
        services = _Observed(
            self._backend,
            Journal(self._backend, lambda error: None),
            _all_scopes,
            self._child_log,
            self._run_log,
            emitting=_Unstarted(self._backend, lambda live: None, ready, structlog.get_logger("jobhost")),
        )
        services.on_progress = self._on_progress
        specs = bundle_specs(self._config)
        await hold([spec for _, spec in specs], confined=True)
        self._runtimes = [make_runtime(spec, services, self._deadlines, None) for _, spec in specs]
        contents = await asyncio.gather(*(runtime.start() for runtime in self._runtimes), return_exceptions=True)
        found: list[Entry] = []
        for (bundle, spec), runtime, held in zip(specs, self._runtimes, contents, strict=True):
            if isinstance(held, ChildStartError):
                self.catalogue.problems.append(Problem(str(spec.root), None, str(held)))
            elif isinstance(held, BaseException):
                raise held
            else:
                entries, problems = entries_of(held, spec, bundle, self._config, runtime)
                found += entries
                self.catalogue.problems += problems
        self._take(found)
        return self

    def _take(self, entries: Sequence[Entry]) -> None:
        unmet: list[Entry] = []
        if self._published is not None:
            entries, unmet = split(entries, self._published)
        self.catalogue.add(entries)
        self.catalogue.problems += problems_of(unmet, {*self.catalogue.names(), *(self._published or ())})

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(runtime.stop() for runtime in self._runtimes))
        self._deadlines.close()
        await self._backend.close()

    async def run(self, entry: Entry, name: str, data: bytes) -> Outcome:
        job, lease = await self._job(entry, name, data)
        policy = handler_policy(name, entry.queue, entry.settings, self._config)
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        live = Live(job, lease, entry, policy)
        run = Run(
            Tokens().next(),
            entry.handler,
            wire_job(job, policy),
            wire_context(job, policy),
            lambda _, outcome: ended.set_result(outcome),
            timeout_ms=policy.timeout,
            tag=live,
        )
        live.run = run
        assert entry.runtime is not None
        entry.runtime.submit(run)
        try:
            outcome = await ended
            if outcome.ending is Ending.RETURNED and self._on_log is not None:
                for emit in live.emits:
                    text = f"emits {emit.trigger} {emit.payload.decode()}"
                    self._on_log(Line(int(time.time() * 1000), "info", text, None, "host"))
            return outcome
        except asyncio.CancelledError:
            entry.runtime.cancel(run, "cancelled")
            raise

    async def _job(self, entry: Entry, name: str, data: bytes) -> tuple[Job, Lease]:
        """A real claim, so that state is fenced here as everywhere."""
        await self._backend.add([NewJob(name, data, entry.queue)])
        hour = 3_600_000
        claimed = await self._backend.claim(entry.queue, 1, Admission(), hour * 24, "run")
        job, token = claimed.claims[0].job, claimed.claims[0].token
        return job, Lease(entry.queue, job.id, token)

    def _run_log(self, live: Live, line: Line) -> None:
        if self._on_log is not None:
            self._on_log(line)

    def _child_log(self, bundle: str, pid: int, line: Line, candidates: Sequence[Live]) -> None:
        if self._on_log is not None:
            self._on_log(line)


class _Unstarted(Emitting):
    """Where nothing is served a flow that a run starts is not begun."""

    async def start(self, live: Live, params: dict[str, Any]) -> dict[str, Any]:
        return {"flow_id": new_flow_id()}


class _Observed(HostServices):
    """Services whose progress is told to somebody who looks on."""

    on_progress: OnProgress | None = None

    def progress(self, run: Run, value: bytes) -> None:
        super().progress(run, value)
        if self.on_progress is not None:
            self.on_progress(value)


def _all_scopes(live: Live) -> Sequence[str]:
    return ("flow", "job", "handler", "global")
