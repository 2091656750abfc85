"""`TestHost`: a whole host in memory, for tests of the handlers it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, cast

from jobhost_runtimes.run import Tokens
from jobhost_runtimes.threads import Threads
from jobhost_sdk.discovery import forget_bundle
from jobhost_sdk.durations import Duration, milliseconds
from jobhost_sdk.json_values import encode

from ..client import Client
from ..config.bundles import Bundle
from ..config.document import Config
from ..dispatch.host import Host
from ..errors import ConfigurationError, JobhostError
from ..listings import Listing, iso, value
from ..newjobs import JobOptions
from ..queues.clock import unix_ms
from ..queues.job import Job, State, job_scope
from ..schedule_client import ScheduleClient, ScheduleOptions
from .backend import RecordingBackend, at_once
from .course import Course
from .emits import ANY, Emitted, checked
from .flow import TestFlow
from .job import TestJob
from .log import HostLog
from .loop import VirtualLoop

T = TypeVar("T")
THREADS = Threads("handler-testing", 64)
"""Run the blocking handlers of all hosts of this process: to start a thread takes as long as much of a short test."""
TOKENS = Tokens()
"""Of all hosts of this process: they are cut from large draws, and one draw costs as much as a tenth of a short test."""
PLAIN = Config(queue_url="memory://")
SCOPES = ["flow", "job", "handler", "global"]


class TestHost:
    """The real dispatch, policies and runtimes over a queue in memory. Use it as `with`, or by the pytest fixture `jobhost`.

    Nothing runs by itself: `run_until_idle` and `advance` let jobs run, and time pass. Handlers see the real clock.
    From a coroutine it can be used too; where its event loop serves what handlers call: `await asyncio.to_thread(jobhost.run_until_idle)`.

    `config`: tables as in jobhost.toml, or the path of such a file, whose bundles run as it says; its `queue_url` does not count.
    `now`: the time at the start, with its zone, for tests of schedules; by default the real one. Raises ConfigurationError.
    """

    __test__ = False  # pytest looks for classes of such names

    def __init__(self, config: Mapping[str, Any] | str | Path | None = None, *, now: datetime | None = None) -> None:
        if now is not None and now.tzinfo is None:
            raise ValueError(f"{now.isoformat()} could be anywhere: give it a time zone")
        self._config = _config(config)
        self._start = unix_ms() if now is None else int(now.timestamp() * 1000)
        self._registered: list[tuple[Any, str | None, dict[str, Any]]] = []
        self._host: Host | None = None
        self._log = HostLog()
        self._loop = VirtualLoop()
        self._closed = False
        self.backend = RecordingBackend(self.clock)
        """The queue itself, whose calls are coroutines: see `call`."""
        self.has_run = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs, and the host. Twice does no harm."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._host is not None:
                self.call(self._end(self._host))
        finally:
            self._loop.close()
            self._forget_modules()
        self._complain()

    def _forget_modules(self) -> None:
        """Let the next host load its bundles anew: what a module keeps must not pass from one test to another."""
        for bundle in self._config.bundles:
            if bundle.path is not None and bundle.isolation == "none":
                path = bundle.path.resolve()
                forget_bundle(str(path if path.is_dir() else path.parent))

    async def _end(self, host: Host) -> None:
        """What is in memory needs no order to end in; children do."""
        runtimes = host.bundles.runtimes
        if any(runtime.spec.isolation != "none" for runtime in runtimes):
            await host.stop(now=True)
        for runtime in runtimes:
            await runtime.stop(now=True)
        left = asyncio.all_tasks()  # the host's, and those of handlers that start some and don't wait for them
        left.discard(cast("asyncio.Task[Any]", asyncio.current_task()))
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._loop.shutdown_asyncgens()

    # Handlers -----------------------------------------------------------------------------------------------------

    def register(self, fn: Any, name: str | None = None, **settings: Any) -> None:
        """Serve a function or `Handler` class, as `Host.register` does. Raises ConfigurationError."""
        if self._host is None:
            self._registered.append((fn, name, settings))
        else:
            self.call(_later(self._host.register, fn, name, **settings))

    def bundle(self, path: str | Path, isolation: str = "none", **settings: Any) -> None:
        """Serve the handlers of a folder or file. `isolation`: `none` runs them in this process, which takes no time to start, and
        Python ones only; `process` as a host would. `settings`: of `[[bundles]]`. To be called before the first job.
        """
        if self._host is not None:
            raise ConfigurationError("the host has begun: name its bundles before the first job")
        table = {"path": Path(path), "isolation": isolation, "state": SCOPES, **settings}
        self._config = replace(self._config, bundles=[*self._config.bundles, Bundle.model_validate(table)])

    @property
    def host(self) -> Host:
        """The host, started. Raises ConfigurationError for whatever is wrong with its handlers."""
        if self._host is None:
            self._host = Host(self._config, backend=self.backend, log=self._log, clock=self.clock, threads=THREADS)
            self._host.tokens = TOKENS
            for fn, name, settings in self._registered:
                self._host.register(fn, name, **settings)
            self.call(self._open(self._host))
        return self._host

    @staticmethod
    async def _open(host: Host) -> None:
        await host.start(tend=bool(host.config.schedules))
        await host.bundles.loaded()
        if host.catalogue.problems:
            raise ConfigurationError("\n".join(map(str, host.catalogue.problems)))

    # Jobs, flows, schedules -----------------------------------------------------------------------------------------

    def enqueue(self, name: str, data: Any = None, **options: Unpack[JobOptions]) -> TestJob:
        """Store a job; `options` as those of `Client.enqueue`. Raises what that raises."""
        if options.get("queue") is None:
            options["queue"] = self._queue_of(name)
        job = at_once(self._client.enqueue(name, data, **options))
        return TestJob(self, job.queue, job.id)

    def start_flow(self, name: str, data: Any = None, *, id: str | None = None) -> TestFlow:
        """Start a flow, as `Client.start_flow` does. Raises UnknownFlowError if no handler begins it."""
        self.call(self.host.publisher.done.wait())
        return TestFlow(self, at_once(self._client.start_flow(name, data, id=id)).id)

    def schedule(self, id: str, job: str, data: Any = None, **options: Unpack[ScheduleOptions]) -> Listing:
        """Add or change a schedule, as `Client.schedules.put` does: `cron`, `every` or `at`, and more."""
        if options.get("queue") is None:
            options["queue"] = self._queue_of(job)
        schedules = ScheduleClient(self.backend, self._client.published_queue, lambda *_: None, self.clock)
        return at_once(schedules.put(id, job, data, **options))

    def _queue_of(self, name: str) -> str:
        entry = self.host.catalogue.named(name)
        return "default" if entry is None else entry.queue

    @cached_property
    def _client(self) -> Client:
        return at_once(Client(backend=self.backend, config=self._config).__aenter__())

    # Time -----------------------------------------------------------------------------------------------------------

    def clock(self) -> int:
        """The time of this host, Unix ms."""
        return self._start + self._loop.now

    @property
    def now(self) -> datetime:
        """The time of this host."""
        return datetime.fromtimestamp(self.clock() / 1000, UTC)

    def run_until_idle(self, limit: Duration = "1d") -> None:
        """Run jobs until nothing runs and nothing comes due: delays, backoffs and schedules pass at once, by at most `limit`.

        Handlers run in real time. What comes due after the limit, such as the next job of a schedule, is left. Raises JobhostError if
        all of it takes more than a minute of real time.
        """
        self._run(limit, leaping=False)

    def advance(self, by: Duration) -> None:
        """Let so much time pass, and run what comes due meanwhile.

        An asynchronous handler that sleeps, or has a timeout, is made to wait no longer than that either; what waits for a socket or
        a thread takes the time it takes, and what still runs at the end goes on with the next call.
        """
        self._run(by, leaping=True)

    def _run(self, by: Duration, leaping: bool) -> None:
        course = Course(self._loop, self.host, self.backend, self.clock() + milliseconds(by), leaping)
        self.has_run = True
        self._outside(course.run)
        self._complain()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the host's loop and give its result: such as `jobhost.call(jobhost.backend.pause("mail"))`."""
        return self._outside(lambda: self._loop.run_until_complete(work))

    @staticmethod
    def _outside(work: Callable[[], T]) -> T:
        """Call `work` where no event loop runs: in this thread, or, from a coroutine, in another one while this waits."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return work()
        with ThreadPoolExecutor(1) as other:
            return other.submit(work).result()

    def _complain(self) -> None:
        defect, self._log.defect = self._log.defect, None
        if defect is not None:
            raise JobhostError("the host has stopped for a mistake of its own") from defect

    # Looking --------------------------------------------------------------------------------------------------------

    def jobs(self, name: str | None = None, queue: str | None = None, state: State | None = None) -> list[TestJob]:
        """Jobs that are there, those of flows and schedules too, the oldest first."""
        found, _ = at_once(self.backend.jobs(queue, (state,) if state else (), 100_000, None))
        return [TestJob(self, job.queue, job.id) for job in reversed(found) if name is None or job.name == name]

    def job(self, name: str) -> TestJob:
        """The only job of this name. Raises AssertionError, which tells all jobs, if there is none or more than one."""
        found = self.jobs(name)
        if len(found) != 1:
            raise AssertionError(f"there are {len(found)} jobs named {name!r}, not one; {self.describe()}")
        return found[0]

    @property
    def emits(self) -> list[Emitted]:
        """What handlers have emitted, in that order. A run that fails emits nothing."""
        return list(self.backend.emits.values())

    def assert_emitted(self, trigger: str, payload: Any = ANY) -> Emitted:
        """Some handler emitted this, with this payload if one is given; gives the emit."""
        return checked(self.emits, trigger, payload, "the handlers")

    def stored(self, scope: str, of: str | TestJob | None = None) -> dict[str, Any]:
        """What `ctx.state` holds in a scope: `global`, `handler` (`of`: its name), `flow` (its id) or `job` (the job)."""
        scope = self._scope(scope, of)
        return {key: value(at_once(self.backend.state_get(scope, key))) for key in self._keys(scope)}

    def store(self, scope: str, values: Mapping[str, Any], of: str | TestJob | None = None) -> None:
        """Put values into a scope of `ctx.state`, as an earlier run would have."""
        for key, item in values.items():
            at_once(self.backend.state_set(self._scope(scope, of), key, encode(item, f"state[{key!r}]")))

    def _keys(self, scope: str) -> list[str]:
        keys, cursor = at_once(self.backend.state_keys(scope))
        while cursor is not None:
            more, cursor = at_once(self.backend.state_keys(scope, cursor))
            keys += more
        return keys

    def _scope(self, scope: str, of: str | TestJob | None) -> str:
        if scope == "job" and isinstance(of, TestJob):
            job = of.job
            return job_scope(job.queue, job.id, job.created_at)
        if scope == "flow" and isinstance(of, str):
            return f"flow:{of}"
        if scope == "handler" and isinstance(of, str) and (entry := self.host.catalogue.named(of)) is not None:
            return f"handler:{entry.bundle}:{entry.name}"
        if scope == "global":
            return "global"
        raise ValueError(f"{scope!r} of {of!r} is no scope: global, handler of a name, flow of an id, job of a TestJob")

    # In words -------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """All jobs, and what the host had to say."""
        jobs = [job.describe() for job in self.jobs()]
        said = [f"host {level}: {event} {fields}" for level, event, fields in self._log.said]
        return "\n".join([f"jobs at {iso(self.clock())}:" if jobs else "there are no jobs", *jobs, *said])

    def why_waiting(self, job: Job) -> str:
        """Why a job still waits though all that could run has."""
        host = self.host
        if job.queue not in host.workers:
            return f"the host serves {', '.join(sorted(host.workers))}, and not its queue"
        if any(info.paused for info in at_once(self.backend.queues()) if info.name == job.queue):
            return "its queue is paused"
        return "run_until_idle() lets it run"


async def _later(fn: Callable[..., T], *args: Any, **named: Any) -> T:
    return fn(*args, **named)


def _config(given: Mapping[str, Any] | str | Path | None) -> Config:
    if isinstance(given, (str, Path)):
        from ..config.load import Flags, load

        return replace(load(Flags(config=Path(given)), environ={}).config, queue_url="memory://")
    return PLAIN if not given else Config.model_validate({**given, "queue_url": "memory://"})
