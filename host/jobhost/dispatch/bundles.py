"""The bundles of a host: started, started again where that fails, and what they hold taken in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobhost_runtimes.bundle import BundleSpec
from jobhost_runtimes.errors import ChildStartError
from jobhost_runtimes.runtime import Runtime

from ..bundles import make_runtime
from ..catalogue import Problem, entries_of
from ..config.bundles import Bundle
from ..grants import granted_emits
from ..registered import Registered
from .live import Live
from .services import HostServices

if TYPE_CHECKING:
    from .host import Host

TOLD = 500
"""Characters of an error that other processes are told."""
RELOAD_PAUSE = 1.0
RELOAD_LONGEST = 60.0
"""Seconds before a bundle that could not be loaded is tried again: the first pause, and the longest."""
OPENS_AT = 3
"""Failed starts one after the other with which the breaker of a bundle opens."""


@dataclass(slots=True)
class Trouble:
    """Starts of a bundle's children that failed one after the other. From the third on its breaker is open."""

    failures: int
    error: str

    @property
    def open(self) -> bool:
        return self.failures >= OPENS_AT


class Bundles:
    """One a host. What is loaded goes to its catalogue."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.registered = Registered()
        self.runtimes: list[Runtime] = []
        self.missing: set[str] = set()
        """Bundles that have not been loaded yet: whose handlers they hold nobody knows."""
        self._troubles: dict[str, Trouble] = {}
        self._scopes: dict[str, Sequence[str]] = {}
        self._emits: dict[str, Sequence[str] | None] = {}
        self._answered: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, specs: Sequence[tuple[Bundle, BundleSpec]], services: HostServices) -> None:
        """Begin to load all of them; what code registered is there at once."""
        self._services = services
        self.take_in_registered()
        for bundle, spec in specs:
            self.missing.add(spec.name)
            runtime = make_runtime(spec, services, self._host.deadlines, self._trouble, self._host.threads)
            self._add(runtime, bundle)
            answered = asyncio.get_running_loop().create_future()
            self._answered.append(answered)
            self._tasks.append(self._host.spawn(self._load(bundle, spec, runtime, answered)))

    def _add(self, runtime: Runtime, bundle: Bundle) -> None:
        runtime.on_room = self._host.room
        self.runtimes.append(runtime)
        self._scopes[runtime.spec.name] = bundle.state
        self._emits[runtime.spec.name] = granted_emits(runtime.spec, bundle)

    async def loaded(self, patience: float | None = None) -> None:
        """Wait until each has answered or given up, or until that has taken so many seconds."""
        if self._answered:
            await asyncio.wait(self._answered, timeout=patience)

    async def stop(self, now: bool) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(runtime.stop(now) for runtime in self.runtimes))

    def scopes(self, live: Live) -> Sequence[str]:
        """The scopes of state that a run's bundle is granted."""
        return self._scopes.get(live.entry.bundle, ("flow", "job"))

    def emits(self, live: Live) -> Sequence[str] | None:
        """The patterns of triggers that a run's bundle is granted; None: any."""
        return self._emits.get(live.entry.bundle)

    # Loading ------------------------------------------------------------------------------------------------------

    def take_in_registered(self) -> None:
        """Serve what code has registered since the last time."""
        contents = self.registered.take(self._services, self._host.deadlines, self._host.config, self._host.threads)
        runtime = self.registered.runtime
        if contents is None or runtime is None:
            return
        if runtime not in self.runtimes:
            self._add(runtime, self.registered.bundle)
        self._take_in(contents, self.registered.spec, self.registered.bundle, runtime)

    async def _load(self, bundle: Bundle, spec: BundleSpec, runtime: Runtime, answered: asyncio.Future[None]) -> None:
        """Start a bundle, however often that takes; its jobs wait meanwhile. `answered`: it has succeeded or failed once."""
        problems = self._host.catalogue.problems
        pause = RELOAD_PAUSE
        try:
            while (error := await self._tried(bundle, spec, runtime)) is not None:
                problem = Problem(str(spec.root), None, str(error))
                problems.append(problem)
                _done(answered)
                await asyncio.sleep(pause)
                pause = min(RELOAD_LONGEST, pause * 2)
                problems.remove(problem)
        finally:
            _done(answered)

    async def _tried(self, bundle: Bundle, spec: BundleSpec, runtime: Runtime) -> ChildStartError | None:
        try:
            contents = await runtime.start()
        except ChildStartError as error:
            self._trouble(spec, error)
            return error
        self.missing.discard(spec.name)
        self._trouble(spec, None)
        self._take_in(contents, spec, bundle, runtime)
        return None

    def _take_in(self, contents: Any, spec: BundleSpec, bundle: Bundle, runtime: Runtime) -> None:
        host = self._host
        entries, problems = entries_of(contents, spec, bundle, host.config, runtime)
        host.catalogue.problems += problems
        conflicts = len(host.catalogue.conflicts)
        added = host.catalogue.add(host.required.hold(entries))
        for problem in (*problems, *host.catalogue.conflicts[conflicts:]):
            host.log.error("handler.problem", file=problem.file, line=problem.line, error=problem.error)
        host.log.info(
            "bundle.loaded",
            bundle=spec.name,
            language=contents.language or spec.language,
            isolation=spec.isolation,
            handlers=[entry.name for entry in added],
        )
        for entry in added:
            if entry.isolation == "none" and entry.settings.timeout:
                host.log.warning(
                    "handler.timeout_not_enforced",
                    handler=entry.name,
                    timeout_ms=entry.settings.timeout,
                    hint='a handler in the host is told to stop, and can\'t be made to: isolation = "process" would',
                )
        host.took_in(added)
        host.required.look()

    def _trouble(self, spec: BundleSpec, error: ChildStartError | None) -> None:
        """A start failed, or children work again. Jobs wait meanwhile, without using attempts."""
        log = self._host.log
        if error is None:
            over = self._troubles.pop(spec.name, None)
            if over is not None and over.open:
                log.info("bundle.breaker_closed", bundle=spec.name)
                self._host.tell_soon()
            return
        log.error("bundle.start_failed", bundle=spec.name, error=str(error))
        trouble = self._troubles.setdefault(spec.name, Trouble(0, ""))
        trouble.failures += 1
        trouble.error = str(error)
        if trouble.failures == OPENS_AT:
            self._host.tell_soon()
            log.error(
                "bundle.breaker_open",
                bundle=spec.name,
                failures=trouble.failures,
                hint="its jobs wait and use no attempts; a start is tried again after a pause that grows to a minute",
            )

    def told(self) -> list[dict[str, Any]]:
        """Each bundle as hosts tell of it to others: name, language, level, and its breaker if that is open."""
        found = []
        for spec in dict.fromkeys(runtime.spec.name for runtime in self.runtimes):
            runtime = next(one for one in self.runtimes if one.spec.name == spec)
            trouble = self._troubles.get(spec)
            breaker = (
                {"failures": trouble.failures, "error": trouble.error[:TOLD]} if trouble and trouble.open else None
            )
            found.append(
                {
                    "name": spec,
                    "language": runtime.spec.language,
                    "isolation": runtime.spec.isolation,
                    "breaker": breaker,
                }
            )
        return found


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
