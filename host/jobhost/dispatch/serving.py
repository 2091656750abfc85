"""Which queues a host serves, and what concerns all of them at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..catalogue import Catalogue
from ..config.document import Config
from ..config.queues import dead_letter_queues, queue_settings
from ..errors import ConfigurationError
from ..queues.seam import Backend
from . import alerts
from .found_queues import FoundQueues, is_pattern
from .leases import keep_leases, recover_stalled
from .queue_worker import QueueWorker

if TYPE_CHECKING:
    from .host import Host


class Serving:
    """The part of a Host that has to do with its queues."""

    alerts: alerts.Alerts
    backend: Backend
    catalogue: Catalogue
    config: Config
    found: FoundQueues
    tended: bool
    workers: dict[str, QueueWorker]
    _only: list[str] | None
    _unwatch: Callable[[], None] | None

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """The host's own."""
        raise NotImplementedError

    def _wanted_queues(self) -> list[str]:
        own = [alerts.QUEUE] if self.alerts.deliver_here else []
        if self._only is not None:
            named = [name for name in self._only if not is_pattern(name)]
            # A pattern names no queue of dead letters: those are served only by their own names.
            return [*named, *sorted(self.found.names - set(named) - dead_letter_queues(self.config)), *own]
        there = self.found.names
        names = (
            {name for name in self.config.queues if not is_pattern(name)} | self.catalogue.queues | {"default"} | there
        )
        # A queue of dead letters is read by people; it is served only where it is named with -q.
        return sorted(names - dead_letter_queues(self.config))

    async def _alone(self, names: Sequence[str]) -> None:
        """Raise ConfigurationError if somebody else works a queue that is to be jobhost's alone."""
        for name in names:
            if queue_settings(self.config, name).exclusive and (foreign := await self.backend.foreign_workers(name)):
                text = f"queues.{name}: exclusive = true, and there are other workers: {', '.join(foreign)}; stop them first"
                raise ConfigurationError(text)

    def serve_found(self) -> None:
        """There are queues that a pattern names."""
        self._serve_queues(self._wanted_queues())

    def _serve_queues(self, names: Sequence[str]) -> None:
        new = [name for name in names if name not in self.workers]
        for name in new:
            settings = queue_settings(self.config, name)
            if name == alerts.QUEUE:
                settings = alerts.queue_of_alerts(settings)
            worker = self.workers[name] = QueueWorker(cast("Host", self), settings)
            worker.forget_plans()
            self.spawn(worker.run())
            for _ in range(self.backend.claims_at_once - 1):
                self.spawn(worker.help())
            if self.tended:
                self._tend(worker)
        if new:
            unwatch, self._unwatch = self._unwatch, self.backend.watch(list(self.workers), self._backend_wakes)
            if unwatch is not None:
                unwatch()

    def _backend_wakes(self, queue: str) -> None:
        worker = self.workers.get(queue)
        if worker is not None:
            worker.poke()

    async def _hear_cancels(self) -> None:
        """Cancels of running jobs, from whoever asks; what is missed here comes with the next renewal of the lease."""
        async with contextlib.aclosing(self.backend.events(types=("cancel",))) as events:  # type: ignore[type-var]
            async for event in events:
                worker = self.workers.get(event.queue)
                if worker is not None and event.job_id is not None:
                    worker.cancel(event.job_id)

    def room(self) -> None:
        """Places have become free. Queues that had nothing to do are not asked again: what arrives there pokes them."""
        for worker in self.workers.values():
            if worker.hungry:
                worker.poke()

    def poke_all(self) -> None:
        """Something that concerns every queue has changed."""
        for worker in self.workers.values():
            worker.poke()

    def pause(self, queue: str | None = None) -> None:
        """Claim nothing more here, from one queue or all; what runs goes on. Other hosts are not touched."""
        for worker in self._named(queue):
            worker.paused = True

    def resume(self, queue: str | None = None) -> None:
        for worker in self._named(queue):
            worker.paused = False
            worker.poke()

    def _named(self, queue: str | None) -> list[QueueWorker]:
        if queue is None:
            return list(self.workers.values())
        if queue not in self.workers:
            raise ConfigurationError(f"this host does not serve {queue!r}; it serves {', '.join(sorted(self.workers))}")
        return [self.workers[queue]]

    def _tend(self, worker: QueueWorker) -> None:
        self.spawn(keep_leases(worker))
        self.spawn(recover_stalled(worker))
