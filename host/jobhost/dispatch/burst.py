"""`--burst`: when is nothing left to do?

Nothing waiting, prioritized or active, and nothing delayed by less than a minute (a retry is), in the queues that this host serves and
that are not paused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import BackendUnavailableError

if TYPE_CHECKING:
    from .host import Host

SOON_MS = 60_000
AGAIN = 0.2
"""Seconds between looks while other hosts still work, or a job comes due soon."""


class Burst:
    """Looks whenever a queue has run dry, and stops its host when all have."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._task: asyncio.Task[None] | None = None
        self._said_paused: set[str] = set()

    def look(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while not await self._done():  # noqa: ASYNC110 - other hosts tell nobody when they are done
            await asyncio.sleep(AGAIN)
        self._host.request_stop()

    async def _done(self) -> bool:
        host = self._host
        if not host.all_loaded or any(worker.live for worker in host.workers.values()):
            return False
        if host.bundles.missing and all(worker.idle for worker in host.workers.values()):
            return True  # what is left may be for a bundle that can't be loaded, and is kept for it
        try:
            infos = {info.name: info for info in await host.backend.queues()}
            for name, worker in host.workers.items():
                info = infos.get(name)
                if info is None:
                    continue
                if info.paused or worker.paused:
                    self._say_paused(name, sum(info.counts[s] for s in ("waiting", "prioritized", "delayed")))
                elif _left(info.counts, worker.next_due, host.clock()):
                    return False
        except BackendUnavailableError as error:
            host.backend_trouble(error)
            return False
        return True

    def _say_paused(self, name: str, jobs: int) -> None:
        if jobs and name not in self._said_paused:
            self._said_paused.add(name)
            self._host.log.warning("queue.paused", queue=name, left=jobs)


def _left(counts: dict[str, int], next_due: int | None, now: int) -> bool:
    if counts["waiting"] or counts["prioritized"] or counts["active"]:
        return True
    return bool(counts["delayed"]) and next_due is not None and next_due - now < SOON_MS
